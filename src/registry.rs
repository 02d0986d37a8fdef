//! The traits `Registry` and `Catalogue`: what packages there are, and the signed records that say so.

mod audit;
mod contested;
mod decide;
mod decisions;
mod derive;
pub(crate) mod downloads;
pub mod evidence;
pub mod graph;
pub(crate) mod heads;
pub mod local;
pub(crate) mod names;
pub(crate) mod offers;
pub mod policy;
mod pool;
pub mod resolve;
mod settle;
mod shelf;
pub(crate) mod sign;
mod stored;
mod tables;
mod text;
pub mod tokens;
mod tree;
pub(crate) mod trust;
mod updates;
pub(crate) mod view;
mod write;

pub use contested::Contested;
pub(crate) use decisions::Concern;
pub use decisions::Decisions;
pub use downloads::{PackageStats, Trend};
pub use evidence::{Evidence, Question};
pub use policy::{
    Choices, Claimant, Claimants, Decision, KeyIdentity, OwnerStatus, OwnerTrust, Policy,
};
#[cfg(feature = "testing")]
pub(crate) use pool::forget::{ids_left, ids_max};
#[cfg(feature = "testing")]
pub(crate) use pool::{DECLINED_BYTES, record_bytes, records_room};
pub use tokens::{Fingerprint, Grant, NoToken, Scope, Terms, Token, TokenId, TokenRefusal, Tokens};
pub(crate) use tokens::{is_random, random_text};
pub use updates::MetadataUpdates;
#[cfg(feature = "testing")]
pub(crate) use write::precedence;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{
    CanonicalName, NetworkId, OwnerId, PackageId, PublicKey, RecordId, ReleaseKey,
};
use ggen_protocols::message::HeadPlace;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root};
use ggen_protocols::record::{FeedHead, Record, Refusal, State, Verified};
use semver::{Version, VersionReq};
use tokio::sync::watch;

use crate::Result;
use crate::db::DbError;
pub use graph::DependencyGraph;
pub use heads::{Sight, Witnessed};

/// What is known of packages: the part of a registry that programs use.
///
/// # Contract (checked by `testing::registry::suite`)
/// - What a method returned `Ok` for survives a crash.
/// - A version is never replaced: registering it again with the same content changes nothing, with other
///   content or metadata it is a [`RegistryError::Conflict`].
/// - Names are compared in lower case with `_` as `-`, versions without build metadata.
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync {
    /// Signs and adds a release. The registry's own key becomes its owner; `signature`, `checksums` and
    /// `published_at` are computed here, whatever `metadata` says.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] if the version exists with other content, [`RegistryError::Validation`]
    /// if a field breaks its limits, [`RegistryError::Unauthorized`] if the namespace is somebody else's.
    async fn register(
        &self,
        metadata: &PackageMetadata,
        content_hash: ContentHash,
    ) -> Result<PackageId>;

    /// The metadata of a release, yanked or not.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Contested`] for a bare name that several owners use,
    /// [`RegistryError::Withheld`] for a version with two contents.
    async fn get(&self, id: &PackageId) -> Result<PackageMetadata>;

    /// All published versions in ascending order, yanked ones included, withheld ones not; none of a package
    /// that is not known.
    ///
    /// # Errors
    /// [`RegistryError::Contested`] for a bare name that several owners use.
    async fn list_versions(&self, name: &str, namespace: Option<&str>) -> Result<Vec<Version>>;

    /// The highest version that `req` allows and that is neither yanked, withdrawn nor withheld. `name` may be
    /// `namespace/name`.
    async fn resolve_version(&self, name: &str, req: &VersionReq) -> Result<Option<PackageId>>;

    /// What a release needs with its default features, on any platform: the highest versions that fit together,
    /// and what those need, or without `transitive` only the first step of that. What is needed of other
    /// registries is told of and not followed.
    ///
    /// # Errors
    /// Those of [`Registry::get`]; [`RegistryError::DependencyConflict`] if nothing fits together, or if that was
    /// not known after [`resolve::STEPS`] steps.
    async fn resolve_dependencies(
        &self,
        id: &PackageId,
        transitive: bool,
    ) -> Result<DependencyGraph>;

    /// Signs and adds a state record that replaces what describes a release. What the updates do not name stays as it
    /// is, and so does whether it is yanked. Updates that say nothing new change nothing.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Unauthorized`] if it is not this registry's to describe;
    /// [`RegistryError::Validation`] if a field breaks its limits or is fixed in a release.
    async fn update_metadata(&self, id: &PackageId, updates: MetadataUpdates) -> Result<()>;

    /// Hides a version from search and resolution; its exact id still works.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Unauthorized`] if it is not this registry's to yank.
    async fn yank(&self, id: &PackageId, reason: Option<&str>) -> Result<()>;

    /// Takes a yank back.
    ///
    /// # Errors
    /// As for [`Registry::yank`].
    async fn unyank(&self, id: &PackageId) -> Result<()>;

    /// Whether a version is yanked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn is_yanked(&self, id: &PackageId) -> Result<bool>;

    /// The best version of each package that names `author` (compared without case), ordered by owner and name. What
    /// is published or hidden between two pages moves only what comes after it.
    async fn list_by_author(
        &self,
        author: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<PackageMetadata>>;

    /// How often the package of a release was downloaded from this node. Tells of every download that was recorded
    /// before it was asked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn get_stats(&self, id: &PackageId) -> Result<PackageStats>;

    /// Counts a download of a release. The count is no record: a crash may lose the downloads of the last seconds.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn record_download(&self, id: &PackageId) -> Result<()>;
}

/// The records behind a registry: what node, search and gateway hold.
///
/// # Contract (checked by `testing::registry::suite`)
/// - The state is a function of the set of admitted records, whatever their order, repetition or grouping.
/// - `admit` returns only after the records survive a crash.
/// - `root` is the root of the tree of `ggen_protocols::reconcile::fingerprint` over all known ids.
#[async_trait]
pub trait Catalogue: Registry {
    /// The network whose records it takes.
    fn network(&self) -> NetworkId;

    /// The owners that this node writes as; a bare name of several owners means these first.
    fn own(&self) -> Vec<OwnerId>;

    /// Adds records; one answer for each, in order. The one door into the catalogue. Whether a record may be
    /// written by its signer, and whether its owner has room, is decided here; whether its time has come
    /// (`Verified::in_time`) is for the caller to check, for it is no property of the set.
    ///
    /// Documents of one call are taken first. A record that is `Unauthorised` may be taken later, when the
    /// documents are here that name its signer.
    async fn admit(&self, records: Vec<Verified<Record>>) -> Result<Vec<Admission>>;

    /// Adds one record that was signed for a user of this node, if it continues its key's feed and contradicts
    /// nothing here. A record from elsewhere must not be refused for that: it goes to [`Catalogue::admit`].
    /// `Known` if it is held, or if it publishes what is published already.
    ///
    /// # Errors
    /// [`RegistryError::Stale`], [`RegistryError::Conflict`], [`RegistryError::Spelling`],
    /// [`RegistryError::Unauthorized`].
    async fn admit_own(&self, record: Verified<Record>) -> Result<Admission>;

    /// Count and hash of all known ids.
    async fn root(&self) -> Result<Root>;

    /// What lies below each prefix, in order.
    async fn branches(&self, prefixes: Vec<Prefix>) -> Result<Vec<Branch>>;

    /// The first `limit` known ids in the range, ascending.
    async fn ids(&self, range: RangeInclusive<RecordId>, limit: usize) -> Result<Vec<RecordId>>;

    /// Which of these ids are known, in order.
    async fn known(&self, ids: Vec<RecordId>) -> Result<Vec<bool>>;

    /// The envelopes of these records, in order; `None` where not held.
    async fn envelopes(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Bytes>>>;

    /// The first `limit` changes after position `since`, in the order of admission.
    ///
    /// Of changes up to [`Catalogue::pruned`], those of records that are not held any more may be gone. Who
    /// begins at 0 lacks nothing by that; who had come less far than that must begin there again.
    async fn changes(&self, since: u64, limit: usize) -> Result<Vec<Admitted>>;

    /// Up to which position changes of records that are not held any more may be gone; 0 if none are.
    async fn pruned(&self) -> Result<u64> {
        Ok(0)
    }

    /// The position of the last change; follows every commit.
    fn position(&self) -> watch::Receiver<u64>;

    /// Where `key` continues its feed in the namespace of `owner`.
    async fn feed_head(&self, owner: OwnerId, key: PublicKey) -> Result<FeedHead>;

    /// Takes a head record: what its signer saw last of a namespace. Kept beside the set, the newest of each signer.
    ///
    /// # Errors
    /// [`RegistryError::Validation`] if it is no head record.
    async fn witness(&self, head: Verified<Record>) -> Result<Witnessed>;

    /// The first `limit` heads after a place, ascending, and where each stands.
    async fn heads(
        &self,
        after: Option<HeadPlace>,
        limit: usize,
    ) -> Result<Vec<(HeadPlace, Bytes)>>;

    /// How much of a namespace is here, by the word of its own keys; newest first, none older than
    /// `limits::HEAD_LIFE`.
    async fn sights(&self, owner: OwnerId) -> Result<Vec<Sight>>;

    /// The envelopes of the documents that are held of a namespace, each after the one that it continues.
    async fn documents(&self, owner: OwnerId) -> Result<Vec<Bytes>>;

    /// Keys that wrote in the namespace of `owner` and of which two records follow the same one, ascending.
    async fn forked(&self, owner: OwnerId) -> Result<Vec<PublicKey>>;

    /// All releases of one package, versions ascending, conflicted ones included.
    async fn releases(&self, owner: OwnerId, name: &CanonicalName) -> Result<Vec<Release>>;

    /// Everyone who published under this name, ascending.
    async fn owners_of(&self, name: &CanonicalName) -> Result<Vec<OwnerId>>;

    /// The first `limit` packages after `after`, ordered by owner and name.
    async fn packages(
        &self,
        after: Option<(OwnerId, CanonicalName)>,
        limit: usize,
    ) -> Result<Vec<(OwnerId, CanonicalName)>>;

    /// Whose package a namespace (label, owner id or nothing) and a name mean here.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Contested`].
    async fn owner_of(&self, namespace: Option<&str>, name: &CanonicalName) -> Result<OwnerId>;

    /// Notes what checking the archive of a publish record gave. Known to this node only: it is not covered by
    /// the root. A verdict that changes whether the release is offered is a change of its own in the feed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the record is not held.
    async fn judge(&self, record: RecordId, verdict: Verdict) -> Result<()>;

    /// Counts a download of a release that the caller has just given out, as [`Registry::record_download`] does, and
    /// without looking whether it is here.
    fn downloaded(&self, release: &ReleaseKey);

    /// How often the releases of a package were downloaded from this node; 0 of one that is not known.
    async fn downloads(&self, owner: OwnerId, name: &CanonicalName) -> Result<u64>;

    /// How much there is.
    async fn totals(&self) -> Result<Totals>;

    /// Checks every record again, and that everything else follows from the records. Reads it all.
    ///
    /// # Errors
    /// Those of storage; what is wrong with the contents is no error but a finding.
    async fn audit(&self) -> Result<Audit>;
}

/// What checking a whole catalogue gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records checked.
    pub records: u64,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<String>,
}

/// What became of a record that was offered to the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// It is stored now.
    New,
    /// It was known before.
    Known,
    /// It is not stored, for this reason.
    Refused(Refusal),
    /// It is not stored because its owner has as many records as one may have.
    OwnerFull,
    /// It is not stored because its owner is a stranger here and had to make room for others. It is taken when
    /// the user of this node has to do with that owner, and a peer then offers it again.
    Evicted,
}

/// One step of the catalogue: an admission, a record or verdict that changed what others mean, or the eviction or
/// readmission of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Counts steps on this node, from 1.
    pub position: u64,
    /// The record; where an owner was evicted or readmitted, the founding record that the owner's id is.
    pub record: RecordId,
    /// The package that it speaks of, if it speaks of one.
    pub package: Option<(OwnerId, CanonicalName)>,
}

/// One version of one package as the records tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Where it stands.
    pub key: ReleaseKey,
    /// The record that published it; of several with the same content, the smallest id.
    pub record: RecordId,
    /// What it says; the namespace is the owner id.
    pub metadata: PackageMetadata,
    /// Whether its content is known for certain.
    pub standing: Standing,
    /// Whether its owner yanked it; or it is withheld, and shown because it was used here.
    pub yanked: bool,
    /// Whether its owner took it back altogether.
    pub withdrawn: bool,
    /// What its owner said about that.
    pub note: String,
    /// Its own state register, without the package's; nothing if it was never set. The next record that sets it
    /// says one more than this revision, and repeats what it does not mean to change.
    pub state: Option<State>,
    /// The state register of its package as a whole; nothing if it was never set.
    pub package_state: Option<State>,
    /// What checking its archive gave on this node.
    pub verdict: Verdict,
    /// Whether this node's user used this very content before: then it is served whatever else is known of it.
    pub pinned: bool,
    /// When this node first saw it.
    pub first_seen: DateTime<Utc>,
}

impl Release {
    /// Why it is not given to those who did not use it before, whatever its archive holds; nothing if it is.
    pub fn withheld(&self) -> Option<String> {
        match &self.standing {
            Standing::Published => None,
            Standing::Conflicted(records) => Some(format!(
                "its owner published {} different contents under this version; `market evidence {} {}@{}` shows them",
                records.len(),
                self.key.owner,
                self.key.name,
                self.key.version
            )),
            Standing::Withheld(why) => Some(why.clone()),
        }
    }

    /// Whether search and resolution may offer it.
    pub fn is_offered(&self) -> bool {
        self.standing == Standing::Published
            && !self.yanked
            && !self.withdrawn
            && !matches!(self.verdict, Verdict::Unsound(_))
    }
}

/// Whether the records agree on a release's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// One content.
    Published,
    /// Two or more contents: nobody can say which is meant, so it is withheld. Holds one record for each
    /// content, ascending, and of very many contents the first ones.
    Conflicted(Vec<RecordId>),
    /// This node does not give it out, for this reason: its owner is frozen, dead or distrusted here, or took away
    /// the right of the key that signed it.
    Withheld(String),
}

/// What checking a release's archive gave on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The archive was never here.
    #[default]
    Unchecked,
    /// It was here, whole, and is what the record says.
    Sound,
    /// It was here and is not what the record says, for this reason; it is not served.
    Unsound(String),
}

/// How much a catalogue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records held.
    pub records: u64,
    /// Packages (owner and name).
    pub packages: u64,
    /// Releases.
    pub versions: u64,
}

/// Why a registry refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The version exists with other content or metadata.
    #[error("{id} exists with other content; a version is never replaced: publish a new one")]
    Conflict {
        /// Which one.
        id: PackageId,
    },
    /// The package is published in another spelling.
    #[error("{id} is published as `{published}`: one package has one spelling; keep that one")]
    Spelling {
        /// What was to be published.
        id: PackageId,
        /// How its name is spelled.
        published: String,
    },
    /// A record does not continue the feed of its key.
    #[error("the record does not continue its key's feed: another one came first; sign it again")]
    Stale,
    /// The catalogue holds the records of another network.
    #[error("{} holds the records of another network; use another home for this one", path.display())]
    OtherNetwork {
        /// Which file.
        path: PathBuf,
    },
    /// A field breaks its grammar or limit.
    #[error("cannot be published: {0}")]
    Validation(String),
    /// There is no such package or version here.
    #[error("{0} is not in this node's catalogue")]
    NotFound(String),
    /// The namespace or name is somebody else's, or there is no key to sign with.
    #[error("{0}")]
    Unauthorized(String),
    /// A name that means nobody until the user decides. It has several lines.
    #[error(transparent)]
    Contested(Box<Contested>),
    /// A release that is not given out, for this reason.
    #[error("{id} is withheld: {why}")]
    Withheld {
        /// Which one.
        id: String,
        /// Why.
        why: String,
    },
    /// There is no set of versions that fit together, for this reason, of at most 20 lines.
    #[error("{0}")]
    DependencyConflict(String),
    /// A token cannot be made or revoked.
    #[error(transparent)]
    Token(#[from] tokens::TokenError),
    /// The database on disk failed.
    #[error(transparent)]
    Database(DbError),
    /// Stored bytes are not what was stored.
    #[error("the catalogue database holds a damaged row: {0}")]
    Damaged(String),
}

impl From<DbError> for RegistryError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Damaged(what) => Self::Damaged(what),
            other => Self::Database(other),
        }
    }
}
