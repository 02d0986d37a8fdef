//! The contract of `Registry` and `Catalogue`, one fact after the other, for any implementation.
#![allow(clippy::unwrap_used)] // It is a test.

mod admission;
mod counting;
mod describing;
mod namespaces;
pub mod policy;
mod publishing;
mod reading;
mod strangers;
pub mod tokens;

pub use namespaces::world;

use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PackageId, PublicKey, RecordId};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::owner::{self, Mark, NamespaceDocument};
use ggen_protocols::record::{
    Body, FeedHead, Head, Info, Publish, Record, Signed, State, Verified,
};
use ggen_protocols::trust::{Endorse, Level};
use serde_bytes::ByteArray;

use crate::Error;
use crate::crypto::{PrivateKey, StrictSignatures};
use crate::registry::local::OpenOptions;
use crate::registry::{Catalogue, RegistryError};

/// Checks every promise of the traits on catalogues that `make` opens, empty and with these options.
///
/// # Panics
/// If a promise is broken.
pub async fn suite(make: impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    publishing::suite(&make).await;
    describing::suite(&make).await;
    reading::suite(&make).await;
    counting::suite(&make).await;
    admission::suite(&make).await;
    namespaces::suite(&make).await;
    strangers::suite(&make).await;
}

/// Options with the identity of [`Author::new`]`(0)`.
pub fn with_identity() -> OpenOptions {
    OpenOptions {
        identity: Some(PrivateKey::from_seed([0; 32])),
        ..OpenOptions::default()
    }
}

/// Somebody who signs records.
#[derive(Debug, Clone)]
pub struct Author {
    key: PrivateKey,
    network: NetworkId,
    /// Where the next record continues; set it back to fork.
    pub head: FeedHead,
    /// The time in the next record, in milliseconds since 1970.
    pub time_ms: u64,
}

impl Author {
    /// The author with this number, in the main network, who has not written anything.
    pub fn new(number: u8) -> Self {
        Self {
            key: PrivateKey::from_seed([number; 32]),
            network: NetworkId::main(),
            head: FeedHead::default(),
            time_ms: 1_700_000_000_000,
        }
    }

    /// The author with this seed; for more authors than there are numbers.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            key: PrivateKey::from_seed(seed),
            ..Self::new(0)
        }
    }

    /// The author's key.
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// The author's namespace.
    pub fn owner(&self) -> OwnerId {
        OwnerId::of_key(self.network, self.key())
    }

    /// Signs the next record.
    pub fn write(&mut self, body: Body) -> Verified<Record> {
        self.write_in(self.owner(), body)
    }

    /// Signs the next record, in a namespace that may be somebody else's. A feed belongs to one namespace: set
    /// `head` back before the first record in another one.
    pub fn write_in(&mut self, owner: OwnerId, body: Body) -> Verified<Record> {
        let record = self.sign(Record {
            owner: Some(owner),
            seq: self.head.seq + 1,
            previous: self.head.last,
            time_ms: self.time_ms,
            body,
        });
        self.head = FeedHead {
            seq: self.head.seq + 1,
            last: Some(record.id()),
        };
        record
    }

    fn sign(&self, record: Record) -> Verified<Record> {
        let draft = record.draft(self.network, self.key()).unwrap();
        let signed = Signed::from_envelope(self.key.seal(draft)).unwrap();
        signed.verify(&StrictSignatures, self.network).unwrap()
    }

    /// Founds a namespace whose root is this author, who alone may publish in it; `recovery` is the author whose
    /// key recovers it.
    pub fn found(&self, label: &str, recovery: Option<&Author>) -> Verified<Record> {
        let document = NamespaceDocument {
            label: label.to_owned(),
            recovery: recovery.map(Author::commitment),
            ..NamespaceDocument::implicit(self.key())
        };
        self.sign(Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: 0,
            body: Body::Genesis(Box::new(document)),
        })
    }

    /// What a document says of this author as its recovery key.
    pub fn commitment(&self) -> ByteArray<32> {
        ByteArray::new(owner::commitment(self.key()))
    }

    /// Signs a document of the namespace of `owner` that follows the one that `at` names: as its root, or as its
    /// recovery key.
    pub fn acl(
        &self,
        owner: OwnerId,
        at: FeedHead,
        document: NamespaceDocument,
    ) -> Verified<Record> {
        self.sign(Record {
            owner: Some(owner),
            seq: at.seq + 1,
            previous: at.last,
            time_ms: 0,
            body: Body::Acl(Box::new(document)),
        })
    }

    /// Publishes a release in the namespace of `owner`, which may be somebody else's.
    pub fn publish_in(&mut self, owner: OwnerId, release: &str, content: &str) -> Verified<Record> {
        let body = body(metadata(release), content);
        self.write_in(owner, body)
    }

    /// Says how far the own namespace relies on another one.
    pub fn endorse_with(
        &mut self,
        subject: OwnerId,
        revision: u64,
        level: Level,
    ) -> Verified<Record> {
        self.endorse_with_depth(subject, revision, level, 0)
    }

    /// Endorses an owner, who may introduce others one introduction further; each time with a larger revision.
    pub fn endorse(&mut self, subject: OwnerId, level: Level) -> Verified<Record> {
        let revision = self.head.seq + 1;
        self.endorse_with_depth(subject, revision, level, 1)
    }

    fn endorse_with_depth(
        &mut self,
        subject: OwnerId,
        revision: u64,
        level: Level,
        depth: u64,
    ) -> Verified<Record> {
        self.write(Body::Endorse(Endorse {
            subject,
            revision,
            level: level.number(),
            depth,
            label: None,
            reason: "the reason".to_owned(),
        }))
    }

    /// Tells of the own namespace what its last record is.
    pub fn witness(&self) -> Verified<Record> {
        let subject = self.owner();
        let feeds = self.head.last.map(|last| (self.key(), self.head.seq, last));
        let head = Head {
            subject,
            acl: RecordId::from_bytes(*subject.as_bytes()),
            feeds: feeds.into_iter().collect(),
        };
        self.sign(Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: self.time_ms,
            body: Body::Head(Box::new(head)),
        })
    }

    /// Publishes a release whose archive is `content`.
    pub fn publish(&mut self, release: &str, content: &str) -> Verified<Record> {
        self.publish_metadata(metadata(release), content)
    }

    /// Publishes a release with this metadata whose archive is `content`.
    pub fn publish_metadata(
        &mut self,
        metadata: PackageMetadata,
        content: impl AsRef<[u8]>,
    ) -> Verified<Record> {
        self.write(body(metadata, content))
    }

    /// Sets whether a release (`name@version`) or a package (`name`) is yanked.
    pub fn yank(&mut self, what: &str, revision: u64, yanked: bool) -> Verified<Record> {
        self.state(what, |state| State {
            revision,
            yanked,
            ..state
        })
    }

    /// Sets the state of a release (`name@version`) or of a package (`name`) to the one that `set` makes of the
    /// state with revision 1 that says nothing.
    pub fn state(&mut self, what: &str, set: impl FnOnce(State) -> State) -> Verified<Record> {
        let (name, version) = match what.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (what, None),
        };
        let state = State {
            name: name.to_owned(),
            version,
            revision: 1,
            yanked: false,
            withdrawn: false,
            note: String::new(),
            info: None::<Info>,
        };
        self.write(Body::State(set(state)))
    }
}

/// The place after which a document comes that follows this one.
pub fn after(document: &Verified<Record>) -> FeedHead {
    FeedHead {
        seq: document.content().seq,
        last: Some(document.id()),
    }
}

/// The place after which the first document of a bare key's namespace comes.
pub fn after_implicit(owner: OwnerId) -> FeedHead {
    FeedHead {
        seq: 0,
        last: Some(RecordId::from_bytes(*owner.as_bytes())),
    }
}

/// A document with this root and these publishers, each of one name or of all ([`SCOPE_ALL`](ggen_protocols::owner::SCOPE_ALL)), and with nothing else.
pub fn document(root: &Author, publishers: &[(&Author, &str)]) -> NamespaceDocument {
    let scoped = publishers.iter();
    let mut publishers: Vec<_> = scoped
        .map(|(author, scope)| (author.key(), vec![(*scope).to_owned()]))
        .collect();
    publishers.sort();
    NamespaceDocument {
        publishers,
        mark: Mark::Reason(String::new()),
        ..NamespaceDocument::implicit(root.key())
    }
}

/// The same document with keys that published once, each with its last good record.
pub fn retiring(
    mut document: NamespaceDocument,
    retired: &[(&Author, &Verified<Record>)],
) -> NamespaceDocument {
    let retired = retired.iter();
    document.retired = retired.map(|(a, last)| (a.key(), last.id())).collect();
    document.retired.sort();
    document
}

fn body(mut metadata: PackageMetadata, content: impl AsRef<[u8]>) -> Body {
    let content = content.as_ref();
    metadata.checksums.blake3 = Some(ContentHash::blake3(content));
    metadata.checksums.sha256 = Some(ContentHash::sha256(content));
    metadata.checksums.size = Some(content.len() as u64);
    Body::Publish(Box::new(Publish::from_metadata(&metadata).unwrap()))
}

/// Metadata of the release `[namespace/]name@version` that says little more.
pub fn metadata(release: &str) -> PackageMetadata {
    PackageMetadata {
        description: format!("The description of {release}."),
        authors: vec!["Alice <alice@example.org>".to_owned()],
        ..PackageMetadata::new(release.parse().unwrap())
    }
}

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn name(text: &str) -> CanonicalName {
    text.parse().unwrap()
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// The registry's error in an answer that must be one.
fn refused<T: std::fmt::Debug>(answer: crate::Result<T>) -> RegistryError {
    match answer {
        Err(Error::Registry(error)) => error,
        other => panic!("expected a registry's error, got {other:?}"),
    }
}

macro_rules! assert_refused {
    ($answer:expr, $pattern:pat) => {
        let error = $crate::testing::registry::refused($answer);
        assert!(matches!(&error, $pattern), "{error:?}");
    };
}
use assert_refused;
