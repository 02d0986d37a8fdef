//! The contract of `Registry` and `Catalogue`, one fact after the other, for any implementation.
#![allow(clippy::unwrap_used)] // It is a test.

mod admission;
mod publishing;
mod reading;

use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PackageId, PublicKey};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Body, FeedHead, Info, Publish, Record, Signed, State, Verified};

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
    reading::suite(&make).await;
    admission::suite(&make).await;
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

    /// Signs the next record, in a namespace that may be somebody else's.
    pub fn write_in(&mut self, owner: OwnerId, body: Body) -> Verified<Record> {
        let record = Record {
            owner: Some(owner),
            seq: self.head.seq + 1,
            previous: self.head.last,
            time_ms: self.time_ms,
            body,
        };
        let draft = record.draft(self.network, self.key()).unwrap();
        let signed = Signed::from_envelope(self.key.seal(draft)).unwrap();
        let record = signed.verify(&StrictSignatures, self.network).unwrap();
        self.head = FeedHead {
            seq: self.head.seq + 1,
            last: Some(record.id()),
        };
        record
    }

    /// Publishes a release whose archive is `content`.
    pub fn publish(&mut self, release: &str, content: &str) -> Verified<Record> {
        self.publish_metadata(metadata(release), content)
    }

    /// Publishes a release with this metadata whose archive is `content`.
    pub fn publish_metadata(
        &mut self,
        mut metadata: PackageMetadata,
        content: impl AsRef<[u8]>,
    ) -> Verified<Record> {
        let content = content.as_ref();
        metadata.checksums.blake3 = Some(ContentHash::blake3(content));
        metadata.checksums.sha256 = Some(ContentHash::sha256(content));
        metadata.checksums.size = Some(content.len() as u64);
        let publish = Publish::from_metadata(&metadata).unwrap();
        self.write(Body::Publish(Box::new(publish)))
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
