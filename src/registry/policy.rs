//! What a node's user decides: whom a name means here, whom to rely on, whom to keep away from. Known to this node
//! only; nothing of it is ever sent.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ggen_protocols::catalogue::Status;
use ggen_protocols::id::{CanonicalName, Label, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::limits;
use ggen_protocols::metadata::OwnerIdText;
use ggen_protocols::trust::{Anchor, FULL, Level, PARTIAL};
use ggen_protocols::view::Mode;
use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Question};
use super::tokens::Tokens;
use super::{Decisions, RegistryError, text};
use crate::Result;

/// The decisions of a node's user, and what follows from them here.
///
/// # Contract (checked by `testing::registry::policy::suite`)
/// - What a method returned `Ok` for survives a crash; a decision is made as a whole or not at all.
/// - Pins are made by [`Choices::used`] and [`Choices::decide`] alone: never by what others send.
/// - A change of who is vetoed is a change of every package of theirs in the catalogue's feed.
/// - `decisions` counts one more once a decision was made, and once a use pinned something.
#[async_trait]
pub trait Choices: Tokens + fmt::Debug + Send + Sync {
    /// Counts, while it is open, what changed of the decisions: what was read after this was asked may be kept until
    /// there was a change that concerns it, or the catalogue's feed tells of one.
    fn decisions(&self) -> &Decisions;

    /// All decisions that hold.
    async fn policy(&self) -> Result<Policy>;

    /// Decides.
    ///
    /// # Errors
    /// [`RegistryError::Validation`] for what cannot be decided; nothing has changed then.
    async fn decide(&self, decision: Decision) -> Result<()>;

    /// The owners that this node writes as are these from now on, the first one first.
    async fn write_as(&self, owners: Vec<OwnerId>) -> Result<()>;

    /// Notes that this node's user used a release: `namespace` is what stood before the name. A bare name without
    /// a pin means its owner from now on, and so does a label; an owner id pins neither. The content is
    /// pinned in any case.
    async fn used(
        &self,
        namespace: Option<&str>,
        release: &ReleaseKey,
        record: RecordId,
    ) -> Result<()>;

    /// How far an owner is relied on here, and why; with a name, whether that is pinned to it.
    async fn trust(&self, owner: OwnerId, name: Option<&CanonicalName>) -> Result<OwnerTrust>;

    /// The namespaces that a key writes in, as far as documents are known: the one of the bare key first.
    async fn identities(&self, key: PublicKey) -> Result<Vec<KeyIdentity>>;

    /// Who claims a name: those with a score first, then by id; at most `limit` of them.
    async fn claimants(
        &self,
        namespace: Option<&str>,
        name: &CanonicalName,
        limit: usize,
    ) -> Result<Claimants>;

    /// What owners signed that contradicts itself.
    async fn evidence(&self, question: Question) -> Result<Evidence>;
}

/// Everything that a node's user decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What to do with a name that one unknown owner alone claims.
    pub mode: Mode,
    /// Whom names mean.
    #[serde(with = "text::keys")]
    pub names: BTreeMap<CanonicalName, OwnerIdText>,
    /// Whom labels mean.
    #[serde(with = "text::keys")]
    pub labels: BTreeMap<Label, OwnerIdText>,
    /// Whom the user relies on.
    #[serde(with = "text::keys")]
    pub anchors: BTreeMap<OwnerId, Anchor>,
    /// Whom the user blocked, and why.
    #[serde(with = "text::keys")]
    pub blocked: BTreeMap<OwnerId, String>,
    /// Which keys the user blocked, and why.
    #[serde(with = "text::keys")]
    pub blocked_keys: BTreeMap<PublicKey, String>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// What to do with a name that one unknown owner alone claims.
    Mode(Mode),
    /// A name means this owner.
    PinName(
        #[serde(with = "text")] CanonicalName,
        #[serde(with = "text")] OwnerId,
    ),
    /// A name means whom the rules say.
    UnpinName(#[serde(with = "text")] CanonicalName),
    /// A label means this owner.
    PinLabel(
        #[serde(with = "text")] Label,
        #[serde(with = "text")] OwnerId,
    ),
    /// A label means whom the rules say.
    UnpinLabel(#[serde(with = "text")] Label),
    /// This owner is relied on; at most 64 are.
    Anchor(#[serde(with = "text")] OwnerId, Anchor),
    /// This owner is not relied on any more.
    NoAnchor(#[serde(with = "text")] OwnerId),
    /// Nothing of this owner is offered, for this reason of at most 256 bytes.
    Block(#[serde(with = "text")] OwnerId, String),
    /// This owner is not blocked any more.
    Unblock(#[serde(with = "text")] OwnerId),
    /// Nothing that this key signed is offered, for this reason of at most 256 bytes.
    BlockKey(#[serde(with = "text")] PublicKey, String),
    /// This key is not blocked any more.
    UnblockKey(#[serde(with = "text")] PublicKey),
    /// All of these, in order.
    All(Vec<Decision>),
}

impl Decision {
    /// What cannot be decided on a node that writes as `own` and relies on `anchors`.
    fn check(
        &self,
        own: &[OwnerId],
        anchors: &BTreeMap<OwnerId, Anchor>,
    ) -> Result<(), RegistryError> {
        let refuse = |why: String| Err(RegistryError::Validation(why));
        match self {
            Self::Anchor(owner, _) if own.contains(owner) => refuse(format!(
                "{owner} is this node's own: it is relied on anyway"
            )),
            Self::Anchor(_, anchor)
                if !matches!(anchor.weight, FULL | PARTIAL)
                    || anchor.depth > limits::TRUST_HOPS_MAX =>
            {
                refuse("an anchor is full or partial, and of depth 0 to 3".to_owned())
            }
            Self::Anchor(owner, _)
                if !anchors.contains_key(owner) && anchors.len() >= limits::ANCHORS_MAX =>
            {
                refuse(format!(
                    "{} owners are relied on, as many as can be; `market trust revoke` one first",
                    anchors.len()
                ))
            }
            Self::Block(owner, _) if own.contains(owner) => refuse(format!(
                "{owner} is this node's own and cannot be blocked here"
            )),
            Self::Block(_, why) | Self::BlockKey(_, why) if why.len() > limits::NOTE_BYTES_MAX => {
                refuse("a reason has at most 256 bytes".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The single decisions in it, in order, if all of them can be made.
    pub(crate) fn checked(
        self,
        own: &[OwnerId],
        mut anchors: BTreeMap<OwnerId, Anchor>,
    ) -> Result<Vec<Self>, RegistryError> {
        let decisions = self.each();
        for decision in &decisions {
            decision.check(own, &anchors)?;
            match decision {
                Self::Anchor(owner, anchor) => drop(anchors.insert(*owner, *anchor)),
                Self::NoAnchor(owner) => drop(anchors.remove(owner)),
                _ => {}
            }
        }
        Ok(decisions)
    }

    fn each(self) -> Vec<Self> {
        match self {
            Self::All(decisions) => decisions.into_iter().flat_map(Self::each).collect(),
            one => vec![one],
        }
    }
}

/// How far an owner is relied on here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTrust {
    /// Whom this is about.
    #[serde(with = "text")]
    pub owner: OwnerId,
    /// What its document calls it.
    pub label: Option<String>,
    /// Which document of it holds.
    pub status: OwnerStatus,
    /// Whether this node writes as it.
    pub own: bool,
    /// Whether the name that was asked for is pinned to it.
    pub pinned: bool,
    /// 0 to 3; 3 is trusted.
    pub score: u8,
    /// How the user relies on it, if so.
    pub anchor: Option<Anchor>,
    /// The best way from each anchor to it.
    pub paths: Vec<TrustPath>,
    /// Why the user blocked it, if so.
    pub blocked: Option<String>,
    /// The anchor whose distrust takes all trust from it, if one does.
    #[serde(with = "text::option")]
    pub vetoed_by: Option<OwnerId>,
    /// What this node's own namespaces and those that its anchors reach say of it.
    pub endorsed_by: Vec<Endorser>,
    /// What owners named in this are called by their documents.
    #[serde(with = "text::keys")]
    pub labels: BTreeMap<OwnerId, String>,
}

impl OwnerTrust {
    /// One word or two for what a user may expect of packages of this owner.
    pub fn badge(&self) -> &'static str {
        match self {
            Self {
                blocked: Some(_), ..
            } => "blocked",
            Self {
                vetoed_by: Some(_), ..
            } => "distrusted",
            Self { own: true, .. } => "own",
            Self { pinned: true, .. } => "pinned",
            Self { score: FULL.., .. } => "trusted",
            Self { score: 1.., .. } => "partly trusted",
            _ => "unverified",
        }
    }
}

/// How trust comes from one anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustPath {
    /// What it adds: the least weight on it.
    pub weight: u8,
    /// From the anchor to the subject, both included.
    #[serde(with = "text::list")]
    pub owners: Vec<OwnerId>,
}

/// What one owner says of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorser {
    /// Who says so.
    #[serde(with = "text")]
    pub issuer: OwnerId,
    /// The revision of its word.
    pub revision: u64,
    /// How far it trusts.
    pub level: Level,
    /// How many further introductions it allows.
    pub depth: u8,
    /// What it calls the subject.
    pub label: Option<String>,
    /// Why.
    pub reason: String,
}

/// How the documents of a namespace stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerStatus {
    /// One document holds.
    Active,
    /// Its root signed two documents that contradict each other.
    Frozen,
    /// Its recovery key was used twice.
    Dead,
    /// No document is known here, nor a record of a bare key.
    Unknown,
}

impl From<Option<Status>> for OwnerStatus {
    fn from(status: Option<Status>) -> Self {
        match status {
            // A bare key has no document.
            None | Some(Status::Active(_)) => Self::Active,
            Some(Status::Frozen(_)) => Self::Frozen,
            Some(Status::Dead(_)) => Self::Dead,
            Some(Status::Unknown) => Self::Unknown,
        }
    }
}

impl fmt::Display for OwnerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        })
    }
}

/// A namespace that a key writes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyIdentity {
    /// The namespace.
    #[serde(with = "text")]
    pub owner: OwnerId,
    /// Whether the key is its root.
    pub is_root: bool,
    /// Whether the document that holds lets the key write.
    pub is_listed: bool,
}

/// Who claims a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimants {
    /// How many there are, of those that were looked at: [`limits::CLAIMANTS_MAX`], and all with a score.
    pub total: u64,
    /// Whether there are others, which were not looked at.
    pub is_more: bool,
    /// Those that are told of.
    pub shown: Vec<Claimant>,
}

/// One owner who claims a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// The owner.
    #[serde(with = "text")]
    pub owner: OwnerId,
    /// What its document calls it.
    pub label: Option<String>,
    /// How many versions it has of the package.
    pub versions: usize,
    /// Its score.
    pub score: u8,
    /// Those who vouch for it directly, on the best way from each anchor: by what they are called.
    pub vouched_by: Vec<String>,
    /// When this node first saw its lowest version.
    pub first_seen: DateTime<Utc>,
    /// How it spells the name.
    pub spelled: String,
}
