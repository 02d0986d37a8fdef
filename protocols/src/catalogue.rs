//! What the records of a namespace mean: slots, registers, endorsements, conflicts and forks. Merge is union.
//!
//! A namespace is the set of its records ([`Namespace`]); everything else follows from that set
//! ([`Namespace::meaning`], rules R2 to R6). Every part is a semilattice: [`Slot`], [`Register`], [`Feed`] and
//! [`Endorsement`] have a `merge` that does not care about order, repetition or grouping. A node stores the parts
//! as rows and merges one record at a time where the effect of a record is its own ([`is_granted`]), and
//! derives them anew where it is not; [`Meaning`] says what the rows must be.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use semver::{BuildMetadata, Version};

use crate::cbor;
use crate::hash;
use crate::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey};
use crate::metadata::PackageMetadata;
use crate::owner::{Documents, NamespaceDocument, Offered, Standing};
use crate::record::{Body, FeedHead, Info, Publish, Record, Refusal, State, Verified};
use crate::trust::Endorsement;

/// Contents that one slot remembers, those with the smallest record ids. Two already make a conflict; the
/// bound keeps a slot's row small, however often its owner contradicts itself.
pub const CLAIMS_MAX: usize = 16;

const CONTENT_CONTEXT: &str = "ggen-market 2026 release content";

/// One content that records claim for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The record that claims it; of several with this content, the smallest id.
    pub record: RecordId,
    /// Identifies the content: a hash of the publish body.
    pub content: [u8; 32],
    /// The build metadata of the version, which is content and not identity.
    pub build: BuildMetadata,
}

impl Claim {
    /// The claim that the record with this id makes.
    pub fn of(record: RecordId, publish: &Publish) -> Self {
        // The grammar of versions was checked when the body was made.
        let build = Version::parse(&publish.version).map(|version| version.build);
        Self {
            record,
            content: hash::derive(CONTENT_CONTEXT, &[&cbor::encode(publish)]),
            build: build.unwrap_or_default(),
        }
    }
}

/// Everything that was claimed for one release. One content is a publication, more are a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    first: Claim,
    /// Ascending by record, each content once, at most `CLAIMS_MAX - 1`.
    others: Vec<Claim>,
}

impl From<Claim> for Slot {
    fn from(first: Claim) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl Slot {
    /// The claim with the smallest record id.
    pub fn first(&self) -> &Claim {
        &self.first
    }

    /// All remembered claims, ascending by record id.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether two contents were claimed.
    pub fn is_conflicted(&self) -> bool {
        !self.others.is_empty()
    }

    /// Adds a claim.
    pub fn merge(&mut self, claim: Claim) {
        let known = self.claims().find(|known| known.content == claim.content);
        if known.is_some_and(|known| known.record <= claim.record) {
            return;
        }
        let mut claims: Vec<_> = self
            .claims()
            .filter(|known| known.content != claim.content)
            .cloned()
            .collect();
        claims.push(claim);
        claims.sort_by_key(|known| known.record);
        claims.truncate(CLAIMS_MAX);
        self.others = claims.split_off(1);
        self.first = claims.swap_remove(0);
    }
}

/// The state that an owner gave to a release or to a package: the largest by revision, then by the safer
/// value, then by record id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Its revision.
    pub revision: u64,
    /// Whether the owner took it back altogether.
    pub withdrawn: bool,
    /// Whether new resolutions pass over it.
    pub yanked: bool,
    /// The record that says so.
    pub record: RecordId,
    /// Why.
    pub note: String,
    /// What replaces published metadata.
    pub info: Option<Info>,
}

impl Register {
    /// The value that the record with this id gives.
    pub fn of(record: RecordId, state: &State) -> Self {
        Self {
            revision: state.revision,
            withdrawn: state.withdrawn,
            yanked: state.yanked,
            record,
            note: state.note.clone(),
            info: state.info.clone(),
        }
    }

    /// Takes the other value if it is the larger one, and says whether that changed anything.
    pub fn merge(&mut self, other: Self) -> bool {
        // A yank wins a tie: hiding a good release for a while is the smaller harm.
        let rank = |r: &Self| (r.revision, r.withdrawn, r.yanked, r.record);
        let changed = rank(&other) > rank(self);
        if changed {
            *self = other;
        }
        changed
    }
}

/// Names a register: a release's, or without a version a package's.
pub type RegisterKey = (OwnerId, CanonicalName, Option<Version>);

/// What one key wrote in one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feed {
    /// Its last record: the one with the largest place, of several there the one with the largest id.
    pub head: FeedHead,
    /// Whether two of its records follow the same one: a restored backup, or two devices. Not an offence.
    pub forked: bool,
}

impl Feed {
    /// Takes in another part of the same feed.
    pub fn merge(&mut self, other: Self) {
        self.head = self.head.max(other.head);
        self.forked |= other.forked;
    }
}

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A release has this content.
    Claim(ReleaseKey, Claim),
    /// A register has this value.
    Register(RegisterKey, Register),
    /// The namespace thinks this of another one.
    Endorse(OwnerId, Endorsement),
    /// Who may write in the namespace.
    Document,
    /// Nothing that this version understands.
    Nothing,
}

/// What one record adds to its namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// The record.
    pub id: RecordId,
    /// The namespace it is written in.
    pub owner: OwnerId,
    /// Who signed it.
    pub key: PublicKey,
    /// Its place in the feed of its key; of a document, its place after the genesis.
    pub seq: u64,
    /// The record before it in that feed; of a document, the one that it continues.
    pub previous: Option<RecordId>,
    /// What it says.
    pub fact: Fact,
}

impl Contribution {
    /// What `record` adds, if its key may write there.
    ///
    /// # Errors
    /// [`Refusal::NoNamespace`].
    pub fn of(record: &Verified<Record>) -> Result<Self, Refusal> {
        let owner = record.namespace()?;
        let id = record.id();
        let fact = match &record.content().body {
            Body::Publish(publish) => Fact::Claim(publish.key(owner), Claim::of(id, publish)),
            Body::State(state) => {
                let (name, version) = state.key();
                Fact::Register((owner, name, version), Register::of(id, state))
            }
            Body::Endorse(endorse) => Endorsement::of(id, endorse)
                .map_or(Fact::Nothing, |value| Fact::Endorse(endorse.subject, value)),
            Body::Genesis(_) | Body::Acl(_) => Fact::Document,
            Body::Head(_) | Body::Other { .. } => Fact::Nothing,
        };
        Ok(Self {
            id,
            owner,
            key: record.key(),
            seq: record.content().seq,
            previous: record.content().previous,
            fact,
        })
    }

    /// The feed that consists of this record; documents stand in none.
    pub fn feed(&self) -> Option<Feed> {
        let head = FeedHead {
            seq: self.seq,
            last: Some(self.id),
        };
        (self.fact != Fact::Document).then_some(Feed {
            head,
            forked: false,
        })
    }

    /// The package that it speaks of, if it speaks of one.
    pub fn package(&self) -> Option<(OwnerId, &CanonicalName)> {
        match &self.fact {
            Fact::Claim(key, _) => Some((key.owner, &key.name)),
            Fact::Register((owner, name, _), _) => Some((*owner, name)),
            Fact::Endorse(..) | Fact::Document | Fact::Nothing => None,
        }
    }

    /// Whether the publishers that `document` names include its signer, with a scope that covers it.
    pub fn is_granted(&self, document: &NamespaceDocument) -> bool {
        match &self.fact {
            Fact::Document => false,
            _ => document.grants(self.key, self.package().map(|(_, name)| name)),
        }
    }
}

/// Rule R2, but for the feeds of retired keys: whether the document that holds grants what a record does.
///
/// A record that is not granted is effective if it is the last good one of a retired key, or before that one in its
/// feed; so one of the [`Namespace::gaps`] changes more than itself, and what follows must be derived anew.
pub fn is_granted(standing: Standing<'_>, record: &Contribution) -> bool {
    matches!(standing, Standing::Active(_, document) if record.is_granted(document))
}

/// All that is held of one namespace.
#[derive(Debug, Clone)]
pub struct Namespace {
    documents: Documents,
    records: BTreeMap<RecordId, Contribution>,
}

/// Which document holds, without the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// Nobody founded it, as far as is known here.
    #[default]
    Unknown,
    /// This document holds.
    Active(RecordId),
    /// Two documents of the root continue this one.
    Frozen(RecordId),
    /// Two documents of the recovery key continue this one.
    Dead(RecordId),
}

impl From<Standing<'_>> for Status {
    fn from(standing: Standing<'_>) -> Self {
        match standing {
            Standing::Unknown => Self::Unknown,
            Standing::Active(id, _) => Self::Active(id),
            Standing::Frozen(id) => Self::Frozen(id),
            Standing::Dead(id) => Self::Dead(id),
        }
    }
}

/// Everything that follows from the records of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Which document holds.
    pub status: Status,
    /// Releases.
    pub slots: BTreeMap<ReleaseKey, Slot>,
    /// States of releases and packages.
    pub registers: BTreeMap<RegisterKey, Register>,
    /// What it thinks of others.
    pub endorsements: BTreeMap<OwnerId, Endorsement>,
    /// Where each key continues its feed: this counts all held records. A key is forked by effective ones.
    pub feeds: BTreeMap<PublicKey, Feed>,
    /// How many records are effective; documents are not counted.
    pub effective: u64,
}

impl Namespace {
    /// A namespace of which nothing is held.
    pub fn new(network: NetworkId, owner: OwnerId) -> Self {
        Self::of(Documents::none(network, owner), [])
    }

    /// A namespace with these documents and with these records, documents among them or not.
    pub fn of(documents: Documents, records: impl IntoIterator<Item = Contribution>) -> Self {
        let records = records.into_iter().map(|record| (record.id, record));
        Self {
            documents,
            records: records.collect(),
        }
    }

    /// Its documents.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The records held, ascending by id.
    pub fn records(&self) -> impl Iterator<Item = &Contribution> {
        self.records.values()
    }

    /// Takes a record of this namespace and says whether it is new (rule R0: the set grows, nothing is replaced).
    ///
    /// # Errors
    /// [`Refusal::Unauthorised`] if no document names its key yet, or if the document that it continues is not
    /// here: offer it again when more documents are. [`Refusal::WrongDocument`],
    /// [`Refusal::SuperfluousDocument`], [`Refusal::NoNamespace`].
    pub fn admit(&mut self, record: &Verified<Record>) -> Result<bool, Refusal> {
        let added = Contribution::of(record)?;
        if self.records.contains_key(&added.id) {
            return Ok(false);
        }
        belongs(&mut self.documents, record)?;
        self.records.insert(added.id, added);
        Ok(true)
    }

    /// Rules R1 to R6: what follows from the records, whatever order they came in.
    pub fn meaning(&self) -> Meaning {
        let standing = self.documents.standing();
        let mut meaning = Meaning {
            status: standing.into(),
            ..Meaning::default()
        };
        let good = self.retired_and_good();
        let mut successors = BTreeMap::new();
        for record in self.records.values() {
            let Some(mut feed) = record.feed() else {
                continue;
            };
            if is_granted(standing, record) || good.contains(&record.id) {
                let place = (record.key, record.previous);
                meaning.effective += 1;
                feed.forked = *successors.entry(place).or_insert(record.id) != record.id;
                meaning.merge(record.fact.clone());
            }
            meaning.feeds.entry(record.key).or_default().merge(feed);
        }
        meaning
    }

    /// Records of retired keys that stay effective: of each, its last good one and those before it in its feed.
    fn retired_and_good(&self) -> BTreeSet<RecordId> {
        let mut good = BTreeSet::new();
        self.walk_retired(|id, record| {
            if record.is_some() {
                good.insert(id);
            }
        });
        good
    }

    /// Records that are not held and that the feeds of retired keys need, to be known up to their last good
    /// record.
    pub fn gaps(&self) -> BTreeSet<RecordId> {
        let mut gaps = BTreeSet::new();
        self.walk_retired(|id, record| {
            if record.is_none() {
                gaps.insert(id);
            }
        });
        gaps
    }

    /// Walks back from the last good record of each retired key, over records of that key in this namespace, until
    /// the feed's start, a record of another, or one that is not held.
    fn walk_retired<'a>(&'a self, mut see: impl FnMut(RecordId, Option<&'a Contribution>)) {
        let Standing::Active(_, document) = self.documents.standing() else {
            return;
        };
        for (key, head) in &document.retired {
            let mut seen = BTreeSet::new();
            let mut at = Some(*head);
            while let Some(id) = at.filter(|id| seen.insert(*id)) {
                let record = self.records.get(&id);
                if record.is_some_and(|r| r.key != *key || r.fact == Fact::Document) {
                    break;
                }
                see(id, record);
                at = record.and_then(|record| record.previous);
            }
        }
    }
}

/// Whether a record belongs to the namespace of these documents, which take it in if it is one.
///
/// # Errors
/// As for [`Namespace::admit`].
pub fn belongs(documents: &mut Documents, record: &Verified<Record>) -> Result<(), Refusal> {
    let (key, owner) = (record.key(), documents.owner());
    if !matches!(record.content().body, Body::Genesis(_) | Body::Acl(_)) {
        return match documents.admit(key) {
            true => Ok(()),
            false => Err(Refusal::Unauthorised { key, owner }),
        };
    }
    match documents.offer(record) {
        Offered::New | Offered::Known => Ok(()),
        Offered::Waits => Err(Refusal::Unauthorised { key, owner }),
        Offered::Superfluous => Err(Refusal::SuperfluousDocument { owner }),
        Offered::Wrong(why) => Err(Refusal::WrongDocument { owner, why }),
    }
}

impl Meaning {
    /// Merges the fact of an effective record.
    pub fn merge(&mut self, fact: Fact) {
        match fact {
            Fact::Claim(key, claim) => match self.slots.entry(key) {
                Entry::Occupied(slot) => slot.into_mut().merge(claim),
                Entry::Vacant(none) => {
                    none.insert(claim.into());
                }
            },
            Fact::Register(key, value) => match self.registers.entry(key) {
                Entry::Occupied(register) => {
                    register.into_mut().merge(value);
                }
                Entry::Vacant(none) => {
                    none.insert(value);
                }
            },
            Fact::Endorse(subject, value) => match self.endorsements.entry(subject) {
                Entry::Occupied(endorsement) => {
                    endorsement.into_mut().merge(value);
                }
                Entry::Vacant(none) => {
                    none.insert(value);
                }
            },
            Fact::Document | Fact::Nothing => {}
        }
    }
}

impl Info {
    /// Replaces in `metadata` what this states; what is absent here stays.
    pub fn apply(&self, metadata: &mut PackageMetadata) {
        let url = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        if let Some(description) = &self.description {
            metadata.description.clone_from(description);
        }
        metadata.repository = url(&self.links.repository).or(metadata.repository.take());
        metadata.homepage = url(&self.links.homepage).or(metadata.homepage.take());
        metadata.documentation = url(&self.links.documentation).or(metadata.documentation.take());
        if let Some(keywords) = &self.keywords {
            metadata.keywords.clone_from(keywords);
        }
        if let Some(categories) = &self.categories {
            metadata.categories.clone_from(categories);
        }
        if let Some(reason) = &self.deprecated {
            metadata.deprecated = Some(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests;
