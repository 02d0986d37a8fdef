//! What owners signed that contradicts itself, in a form that anybody can check without a node.

use std::fmt;

use bytes::Bytes;
use ggen_protocols::catalogue::{Claim, Contribution, Fact};
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::limits;
use ggen_protocols::record::{Body, Record, Signed, Verified};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::policy::OwnerStatus;
use super::text;
use super::view::Snapshot;
use crate::crypto::StrictSignatures;
use crate::db::Fault;

/// Contradictions in one answer.
pub const ITEMS_MAX: usize = 64;
/// Digits of envelopes in one answer, but for the last contradiction.
const DIGITS_MAX: usize = 4 << 20;

/// What is asked for: everything, or what concerns one owner, one name, one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Whose.
    #[serde(with = "text::option")]
    pub owner: Option<OwnerId>,
    /// Of which package; then only its releases are told of.
    #[serde(with = "text::option")]
    pub name: Option<CanonicalName>,
    /// Of which version of it.
    pub version: Option<Version>,
}

impl Question {
    /// Whether a release is what is asked for.
    pub(crate) fn asks_for(&self, release: &ReleaseKey) -> bool {
        let version = self
            .version
            .as_ref()
            .map(|version| ReleaseKey::new(release.owner, release.name.clone(), version).version);
        self.owner.is_none_or(|owner| owner == release.owner)
            && self.name.as_ref().is_none_or(|name| *name == release.name)
            && version.is_none_or(|version| version == release.version)
    }
}

/// Contradictions, each with the records that prove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The network that the records are signed for: its id in hexadecimal.
    pub network: String,
    /// The contradictions; at most 64.
    pub items: Vec<Contradiction>,
    /// Whether there are more than are told of.
    pub more: bool,
}

/// Two records of one owner that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// In what they do.
    pub kind: Kind,
    /// Whose.
    #[serde(with = "text")]
    pub owner: OwnerId,
    /// Of which release, as `name@version`.
    pub release: Option<String>,
    /// The records, at least two.
    pub records: Vec<Proof>,
}

/// In what two records contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// They give one version two contents.
    Conflict,
    /// The root continued one document twice.
    Frozen,
    /// The recovery key was used twice.
    Dead,
    /// A key continued its feed twice: a restored backup, or two devices. Not an offence.
    Forked,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "two contents for one version",
            Self::Frozen => "two documents of the root",
            Self::Dead => "two documents of the recovery key",
            Self::Forked => "two records at one place of a feed",
        })
    }
}

/// One record, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Its id.
    #[serde(with = "text")]
    pub id: RecordId,
    /// Who signed it.
    #[serde(with = "text")]
    pub key: PublicKey,
    /// What it is the archive's hash of, if it publishes one.
    pub content: Option<String>,
    /// The envelope, in hexadecimal.
    pub envelope: String,
}

/// Gathers what a snapshot holds.
pub(crate) fn gather(
    snapshot: &impl Snapshot,
    network: NetworkId,
    question: &Question,
) -> Result<Evidence, Fault> {
    let mut found = Vec::new();
    if question.name.is_none() {
        let owners = match question.owner {
            Some(owner) => vec![owner],
            None => snapshot.suspended(ITEMS_MAX + 1)?,
        };
        for owner in owners {
            let kind = match OwnerStatus::from(snapshot.status(owner)?) {
                OwnerStatus::Frozen => Kind::Frozen,
                OwnerStatus::Dead => Kind::Dead,
                OwnerStatus::Active | OwnerStatus::Unknown => continue,
            };
            let records = snapshot.documents(owner)?.contradiction();
            found.push((kind, owner, None, records));
        }
        if let Some(owner) = question.owner {
            let forks = snapshot.forks(owner, ITEMS_MAX + 1)?.into_iter();
            found.extend(forks.map(|records| (Kind::Forked, owner, None, records)));
        }
    }
    for (release, slot) in snapshot.conflicted(question, ITEMS_MAX + 1)? {
        let records = slot.claims().map(|claim| claim.record).collect();
        let package = format!("{}@{}", release.name, release.version);
        found.push((Kind::Conflict, release.owner, Some(package), records));
    }
    let mut evidence = Evidence {
        network: hex(network.as_bytes()),
        items: Vec::new(),
        more: false,
    };
    let mut digits = 0;
    for (kind, owner, release, ids) in found {
        if evidence.items.len() == ITEMS_MAX || digits > DIGITS_MAX {
            evidence.more = true;
            break;
        }
        let mut records = Vec::new();
        // Two prove it.
        for id in ids.into_iter().take(2) {
            if let Some(held) = snapshot.held(&id)? {
                records.push(Proof::of(&held.record));
            }
        }
        digits += records
            .iter()
            .map(|proof| proof.envelope.len())
            .sum::<usize>();
        evidence.items.push(Contradiction {
            kind,
            owner,
            release,
            records,
        });
    }
    Ok(evidence)
}

impl Proof {
    fn of(record: &Verified<Record>) -> Self {
        Self {
            id: record.id(),
            key: record.key(),
            content: content(record),
            envelope: hex(record.envelope()),
        }
    }

    /// Reads the record out of its envelope, and checks that the rest is what it says.
    fn open(&self, network: NetworkId) -> Result<Verified<Record>, String> {
        let id = self.id;
        if self.envelope.len() > 2 * limits::ENVELOPE_BYTES_MAX {
            return Err(format!("record {id}: its envelope is too long"));
        }
        let bytes = unhex(&self.envelope)
            .ok_or_else(|| format!("record {id}: its envelope is not in hexadecimal"))?;
        let signed = Signed::from_envelope(Bytes::from(bytes));
        let record = signed.and_then(|signed| signed.verify(&StrictSignatures, network));
        let record = record.map_err(|refusal| format!("record {id}: {refusal}"))?;
        if (record.id(), record.key(), content(&record)) != (id, self.key, self.content.clone()) {
            return Err(format!("record {id}: its envelope says something else"));
        }
        Ok(record)
    }
}

fn content(record: &Verified<Record>) -> Option<String> {
    match &record.content().body {
        Body::Publish(publish) => publish.checksums().blake3.map(|hash| hash.to_string()),
        _ => None,
    }
}

impl Evidence {
    /// Checks that the records prove what is said, by their signatures alone.
    ///
    /// # Errors
    /// What is wrong with the first that does not.
    pub fn check(&self) -> Result<(), String> {
        let network = unhex(&self.network).and_then(|id| <[u8; 32]>::try_from(id).ok());
        let network = network.ok_or("the network's id is not 64 hexadecimal digits")?;
        for item in &self.items {
            item.check(NetworkId::from_bytes(network))?;
        }
        Ok(())
    }
}

impl Contradiction {
    fn check(&self, network: NetworkId) -> Result<(), String> {
        let opened = self.records.iter().map(|proof| proof.open(network));
        let records = opened.collect::<Result<Vec<_>, _>>()?;
        let [one, other] = records.as_slice() else {
            return Err(format!("{}: two records are needed", self.kind));
        };
        let place = |record: &Verified<Record>| {
            let content = record.content();
            (content.owner, record.key(), content.previous)
        };
        let is_document = |record: &Verified<Record>| matches!(record.content().body, Body::Acl(_));
        let same_place = one.id() != other.id() && place(one) == place(other);
        let is_proof = one.content().owner == Some(self.owner)
            && match self.kind {
                Kind::Conflict => {
                    let (one, other) = (claim(one), claim(other));
                    let release = one.as_ref().map(|(release, _)| release.clone());
                    one.is_some_and(|(release, claim)| {
                        other.is_some_and(|(same, other)| {
                            release == same && claim.content != other.content
                        })
                    }) && release == self.release
                }
                Kind::Frozen | Kind::Dead => same_place && is_document(one) && is_document(other),
                Kind::Forked => same_place && !is_document(one) && !is_document(other),
            };
        if !is_proof || other.content().owner != Some(self.owner) {
            return Err(format!(
                "records {} and {} do not prove {}",
                one.id(),
                other.id(),
                self.kind
            ));
        }
        Ok(())
    }
}

/// The release that a record claims, and with which content.
fn claim(record: &Verified<Record>) -> Option<(String, Claim)> {
    match Contribution::of(record).ok()?.fact {
        Fact::Claim(release, claim) => {
            Some((format!("{}@{}", release.name, release.version), claim))
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    super::tables::hex(bytes)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let text = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)?;
            let lower = !text
                .bytes()
                .any(|byte| byte.is_ascii_uppercase() || byte == b'+');
            u8::from_str_radix(text, 16).ok().filter(|_| lower)
        })
        .collect()
}
