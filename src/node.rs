//! One peer: the handle that others hold, and what can be asked of it.

mod actor;
mod admit;
mod audit;
mod caught_up;
mod check;
mod config;
mod events;
mod fetch;
mod follow;
mod mirror;
mod network;
mod observe;
mod publish;
mod rate;
mod readme;
mod spawn;
mod swarm;
mod sync;
pub(crate) mod transfer;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{OwnerId, PackageName, PeerId, PublicKey, RecordId};
use ggen_protocols::record::FeedHead;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::Result;
use crate::metrics::MetricsCollector;
use crate::registry::{Catalogue, Choices, Release, Verdict};
use crate::search::{SearchError, SearchIndex, SearchPage, SearchQuery};
use crate::store::BlobStore;
use actor::{Commands, Fetch, Seen, Write, stopped};
use admit::Door;
use events::Teller;
use fetch::{Blob, State};
use network::Network;
use observe::Meters;
use publish::Look;
use swarm::Wire;

pub use caught_up::CaughtUp;
pub use config::{Config, Listen, Mirror};
pub use events::{BlobEvent, Event, Events, PeerEvent, RecordEvent, Told};
pub use network::Availability;
pub use spawn::{Builder, Running};
pub use wanted::{Wanted, WantedVersion};

/// A running node. Cheap to clone; the node stops when [`Running::stop`] is called, not when handles go.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
    commands: Commands,
    /// The position of the catalogue's changes up to which searches show everything.
    searchable: watch::Receiver<u64>,
    peer: Option<PeerId>,
    /// Nothing for a node without network.
    network: Option<Network>,
    /// What the network layer counts.
    wire: Option<Wire>,
}

/// What the handle, the loop and its jobs work on.
#[derive(Debug)]
struct Shared {
    catalogue: Arc<dyn Catalogue>,
    store: Arc<dyn BlobStore>,
    index: Option<Arc<dyn SearchIndex>>,
    choices: Option<Arc<dyn Choices>>,
    config: Config,
    door: Door,
    teller: Teller,
    meters: Arc<Meters>,
    /// Whose metrics are shown besides the node's own.
    also: Option<Arc<dyn MetricsCollector>>,
    /// Read-locked between holding an archive and writing its record, and write-locked to look for archives
    /// without a record.
    writing: RwLock<()>,
    start: Instant,
}

impl Node {
    /// Begins a node from its catalogue, its store and its configuration. Both belong to the node from then on: an
    /// archive in the store that no record of the catalogue names is taken for what a crash left, and dropped.
    pub fn builder(
        catalogue: Arc<dyn Catalogue>,
        store: Arc<dyn BlobStore>,
        config: Config,
    ) -> Builder {
        Builder::new(catalogue, store, config)
    }

    /// The catalogue that it keeps.
    pub fn catalogue(&self) -> &Arc<dyn Catalogue> {
        &self.shared.catalogue
    }

    /// The decisions of its user.
    ///
    /// # Errors
    /// [`NodeError::Config`] if it was started without.
    pub fn choices(&self) -> Result<&dyn Choices> {
        let missing =
            || NodeError::Config("this node was started without a place for decisions".to_owned());
        Ok(self.shared.choices.as_deref().ok_or_else(missing)?)
    }

    /// The store that it keeps.
    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.shared.store
    }

    /// The search index that it keeps up to date.
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if it was started without.
    pub fn index(&self) -> Result<&dyn SearchIndex> {
        let missing = || {
            let why = "this node was started without a search index";
            SearchError::QueryFailed(why.to_owned())
        };
        Ok(self.shared.index.as_deref().ok_or_else(missing)?)
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// What happens from now on. Watching costs the node little, and a slow watcher nothing: it loses events.
    pub fn events(&self) -> Events {
        self.shared.teller.watch()
    }

    /// The first `limit` steps of the catalogue after a position, at most 64, as [`Node::events`] tells of them.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub async fn records_since(&self, position: u64, limit: usize) -> Result<Vec<RecordEvent>> {
        events::records(&*self.shared.catalogue, position, limit).await
    }

    /// Whether a blob is held here, and how many of the connected peers say now that they hold it: some of them are
    /// asked, and given a second and a half.
    pub async fn availability(&self, hash: &ContentHash) -> Availability {
        let asked = match &self.network {
            Some(network) => network.availability(hash).await,
            None => Availability::default(),
        };
        Availability {
            held: self.shared.store.is_held(hash),
            ..asked
        }
    }

    /// What the holder of `key` must know to sign its next record.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub async fn feed_head(&self, owner: OwnerId, key: PublicKey) -> Result<FeedHead> {
        self.shared.catalogue.feed_head(owner, key).await
    }

    /// The envelopes of all documents that are held of a namespace, each after the one that it continues.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub async fn documents(&self, owner: OwnerId) -> Result<Vec<Bytes>> {
        self.shared.catalogue.documents(owner).await
    }

    /// The envelope of a record; nothing if it is not held.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub async fn record(&self, id: RecordId) -> Result<Option<Bytes>> {
        let found = self.shared.catalogue.envelopes(vec![id]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Takes a signed publish record and its archive: stages the bytes, checks them against the record, holds
    /// them, admits the record, announces it. Returns when both survive a crash. Dropping the future leaves
    /// either nothing or everything.
    ///
    /// # Errors
    /// [`NodeError::Stale`] if the record does not continue its feed: sign again from [`Node::feed_head`].
    /// Otherwise archive, registry (conflict, refusal) and storage errors.
    pub async fn publish(
        &self,
        envelope: Bytes,
        archive: &mut (dyn AsyncRead + Unpin + Send),
    ) -> Result<Published> {
        let (record, publish) = match publish::look(&self.shared, envelope).await? {
            Look::Done(published) => return Ok(published),
            Look::Wanted(wanted) => *wanted,
        };
        let staging = publish::stage(&self.shared, record, publish, archive).await?;
        let staging = Box::new(staging);
        let write = |reply| Write::Publish { staging, reply };
        command(&self.commands.writes, write).await?
    }

    /// Takes a signed record that needs no archive (a state record: yank, unyank), and announces it.
    ///
    /// # Errors
    /// As for [`Node::publish`].
    pub async fn submit(&self, envelope: Bytes) -> Result<RecordId> {
        let record = Box::new(publish::verify_state(&self.shared, envelope).await?);
        let write = |reply| Write::Submit { record, reply };
        command(&self.commands.writes, write).await?
    }

    /// Searches the local index.
    ///
    /// # Errors
    /// Those of the search engine.
    pub async fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        self.index()?.search_page(query).await
    }

    /// All releases of one package, and whose it is.
    ///
    /// # Errors
    /// `NotFound`, `Contested`.
    pub async fn info(
        &self,
        namespace: Option<&str>,
        name: &PackageName,
    ) -> Result<(OwnerId, Vec<Release>)> {
        let name = name.canonical();
        let owner = self.shared.catalogue.owner_of(namespace, &name).await?;
        let releases = self.shared.catalogue.releases(owner, &name).await?;
        Ok((owner, releases))
    }

    /// Makes sure that the blob of the release that `wanted` means is held here, fetching it from peers if it
    /// is not; `progress` gets the bytes fetched so far and the size, and may lag. The archive is checked.
    /// This is a use by the node's user: it pins the content, and what the name or label means.
    /// Dropping the future does not stop a fetch that others wait for, or that is under way.
    ///
    /// # Errors
    /// `NotFound`, `Withheld`, [`NodeError::NoProvider`], [`NodeError::FetchFailed`].
    pub async fn fetch(
        &self,
        wanted: &Wanted,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Result<Fetched> {
        let start = Instant::now();
        let shared = &self.shared;
        let mut local = true;
        let mut given = Arc::new(BTreeMap::new());
        loop {
            let release = wanted.resolve(&*shared.catalogue).await?;
            let Some(blob) = Blob::of(&release) else {
                return Err(NodeError::FetchFailed {
                    package: wanted::package(&release),
                    why: "its record names no archive".to_owned(),
                }
                .into());
            };
            if !shared.store.is_held(&blob.hash) {
                local = false;
                let fetch = |reply| Fetch {
                    blob: Box::new(blob.clone()),
                    reply,
                };
                let running = command(&self.commands.fetches, fetch).await?;
                let of_this = running.record == release.record;
                match ended(running, progress.as_ref()).await? {
                    State::Failed(failure) if of_this => return Err(failure.error(&blob)),
                    State::Held(providers) => given = providers,
                    // The same blob was fetched for another release, and may be wrong for that one only.
                    State::Failed(_) | State::Running(_) => {}
                }
                continue;
            }
            if release.verdict != Verdict::Sound {
                fetch::vet_held(shared, &blob).await?;
            }
            let providers = given.iter().map(|(peer, bytes)| (peer.to_string(), *bytes));
            if let Some(choices) = &shared.choices {
                let label = wanted.namespace.as_deref();
                choices.used(label, &release.key, release.record).await?;
            }
            shared.catalogue.downloaded(&release.key);
            return Ok(Fetched {
                package: wanted::package(&release),
                owner: release.key.owner.to_string(),
                blake3: blob.hash,
                sha256: match release.metadata.checksums.sha256 {
                    Some(sha256) => sha256,
                    None => shared.store.metadata(&blob.hash).await?.sha256,
                },
                size: blob.size,
                local,
                providers: providers.collect(),
                millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
                warning: wanted::warning(&release),
            });
        }
    }

    /// The bytes of a held blob.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read(&self, hash: &ContentHash) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.shared.store.stream(hash).await
    }

    /// The README of a release, cut to 512 KiB; nothing if its archive is not held, is not what its record says, or
    /// has none. It is text of strangers. Reading it is no use: nothing is pinned.
    ///
    /// # Errors
    /// Those of the store, and of an archive that cannot be read.
    pub async fn readme(&self, release: &Release) -> Result<Option<String>> {
        readme::of(&self.shared, release).await
    }

    /// The peers that this node is connected to.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub async fn peers(&self) -> Result<Vec<PeerStatus>> {
        Ok(self.seen().await?.peers)
    }

    /// How the node is doing.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] and those of catalogue and store.
    pub async fn status(&self) -> Result<Status> {
        let Seen {
            peers,
            addresses,
            caught_up,
            ..
        } = self.seen().await?;
        let shared = &self.shared;
        let totals = shared.catalogue.totals().await?;
        let stats = shared.store.stats().await?;
        Ok(Status {
            peer: self.peer.map(|peer| peer.to_string()),
            owner: shared.catalogue.own().first().map(ToString::to_string),
            root: shared.catalogue.root().await?.to_hex(),
            records: totals.records,
            packages: totals.packages,
            versions: totals.versions,
            blobs: stats.blobs,
            blob_bytes: stats.bytes,
            peers: peers.len(),
            caught_up,
            addresses,
            http: None,
            canonical: None,
            search_behind: self.search_behind(),
            uptime_seconds: shared.start.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Checks everything on disk: every record's signature and form, that the derived state follows from the
    /// records, every held blob's bytes against its hash and its record, and that nothing is left over.
    ///
    /// # Errors
    /// Those of catalogue and store; findings are no error.
    pub async fn verify(&self) -> Result<VerifyReport> {
        audit::verify(&self.shared).await
    }

    /// How many changes of the catalogue searches do not show yet.
    fn search_behind(&self) -> u64 {
        let latest = *self.shared.catalogue.position().borrow();
        match self.shared.index {
            Some(_) => latest.saturating_sub(*self.searchable.borrow()),
            None => 0,
        }
    }

    async fn seen(&self) -> Result<Seen, NodeError> {
        command(&self.commands.looks, |reply| reply).await
    }
}

/// Asks the loop and waits for its answer.
async fn command<C, T>(
    way: &mpsc::Sender<C>,
    command: impl FnOnce(oneshot::Sender<T>) -> C,
) -> Result<T, NodeError> {
    let (reply, answer) = oneshot::channel();
    way.send(command(reply)).await.map_err(stopped)?;
    answer.await.map_err(stopped)
}

/// Waits until a fetch has ended, and passes its progress on meanwhile.
async fn ended(
    mut running: fetch::Running,
    progress: Option<&mpsc::Sender<Progress>>,
) -> Result<State, NodeError> {
    loop {
        let state = running.state.borrow_and_update().clone();
        match state {
            State::Running(step) => {
                if let Some(progress) = progress {
                    // One that does not look misses steps.
                    let _full = progress.try_send(step);
                }
            }
            state => return Ok(state),
        }
        running.state.changed().await.map_err(stopped)?;
    }
}

/// What this node calls itself to peers.
fn agent() -> String {
    concat!("market/", env!("CARGO_PKG_VERSION")).to_owned()
}

/// What publishing gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// `name@version`, in the publisher's spelling.
    pub package: String,
    /// Whose it is.
    pub owner: String,
    /// The record that says so.
    pub record: String,
    /// The archive's BLAKE3 hash.
    #[schema(value_type = String)]
    pub blake3: ContentHash,
    /// Its length in bytes.
    pub size: u64,
    /// False if exactly this was published before.
    pub new: bool,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes here, of this blob.
    pub bytes: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// What fetching gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// `name@version`, in the publisher's spelling.
    pub package: String,
    /// Whose it is.
    pub owner: String,
    /// Its BLAKE3 hash.
    pub blake3: ContentHash,
    /// Its SHA-256 hash.
    pub sha256: ContentHash,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it was here before.
    pub local: bool,
    /// Which peers gave how many bytes of it, by the text of their ids.
    pub providers: BTreeMap<String, u64>,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What the user should know, such as that the version is yanked.
    pub warning: Option<String>,
}

/// One peer, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// Its id.
    pub peer: String,
    /// The addresses it is connected by.
    pub addresses: Vec<String>,
    /// Its software, once it said so.
    pub agent: Option<String>,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<u64>,
    /// The root it last told, in hexadecimal.
    pub root: Option<String>,
    /// Whether that was ours when the last reconciliation ended.
    pub in_sync: bool,
    /// Bytes of blobs that it was sent, proofs included, since this node started.
    pub sent_bytes: u64,
}

/// How a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its id in the network; nothing for a node without network.
    pub peer: Option<String>,
    /// The owner that packages published here belong to; nothing if there is no identity key yet.
    pub owner: Option<String>,
    /// The hash over all known records, in hexadecimal.
    pub root: String,
    /// Records held.
    pub records: u64,
    /// Packages.
    pub packages: u64,
    /// Releases.
    pub versions: u64,
    /// Blobs held.
    pub blobs: u64,
    /// Bytes of them.
    pub blob_bytes: u64,
    /// Peers connected.
    pub peers: usize,
    /// How far it has caught up with the nodes that it knows of.
    pub caught_up: CaughtUp,
    /// Where it listens for peers.
    pub addresses: Vec<String>,
    /// Where it answers HTTP; filled in by who serves it.
    pub http: Option<String>,
    /// The base of the addresses of cargo indexes, which all nodes of the swarm use; filled in likewise.
    pub canonical: Option<String>,
    /// How many changes the search index is behind the catalogue.
    pub search_behind: u64,
    /// How long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// Its software version.
    pub version: String,
}

/// What checking everything gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Records checked.
    pub records: u64,
    /// Blobs read.
    pub blobs: u64,
    /// Bytes of them.
    pub blob_bytes: u64,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<String>,
}

/// Why a node could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// It has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The record does not continue the feed of its key.
    #[error("the record does not continue its key's feed: another one came first; sign it again")]
    Stale,
    /// A record of another kind than the method takes.
    #[error("the record is refused: {0}")]
    OtherKind(&'static str),
    /// An envelope that is refused.
    #[error("the record is refused: {0}")]
    Refused(#[from] ggen_protocols::record::Refusal),
    /// Nobody who is connected holds the blob.
    #[error(
        "no connected peer holds {package} ({hash}): {asked} peers were asked; it can be fetched when one that has it is connected"
    )]
    NoProvider {
        /// What was wanted.
        package: String,
        /// Its hash.
        hash: ContentHash,
        /// How many were asked.
        asked: usize,
    },
    /// Every provider failed.
    #[error("{package} could not be fetched: {why}")]
    FetchFailed {
        /// What was wanted.
        package: String,
        /// What the last provider failed with.
        why: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Which one.
        address: String,
        /// Why not.
        why: String,
    },
    /// The configuration contradicts itself.
    #[error("the configuration is wrong: {0}")]
    Config(String),
    /// It did not stop in time.
    #[error("the node did not finish its work within {0:?}")]
    Grace(Duration),
}
