//! `LocalRegistry`: the catalogue in a redb database, with one writer and snapshot reads.

mod catalogue;
mod choices;
mod downloads;
mod tokens;
mod trust_store;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{Label, NetworkId, OwnerId, PackageId, ReleaseKey};
use ggen_protocols::limits;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Record, Verified};
use redb::{ReadTransaction, WriteTransaction};
use semver::{Version, VersionReq};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::downloads::day_of;
use super::sign::{self, Identity};
use super::stored::{self, Source, Stored};
use super::trust::Viewer;
use super::view::{self, Failure, Namespace};
use super::write::{self, Offer, Terms, Written};
use super::{
    Admission, Concern, Decisions, DependencyGraph, MetadataUpdates, PackageStats, Registry,
    RegistryError, decide, offers, pool, tables,
};
use crate::Result;
use crate::crypto::PrivateKey;
use crate::db::{Db, DbError, Fault, Schema};
use downloads::Downloads;

const SCHEMA: Schema = Schema {
    name: "catalogue",
    version: 3,
    crash_points: ["registry.before-commit", "registry.after-commit"],
};

/// Memory for pages, in bytes, of a catalogue with a small pool: what one batch of records touches.
const CACHE_BYTES_MIN: u64 = 8 << 20;

/// How a catalogue is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Whose records it takes.
    pub network: NetworkId,
    /// The key that `register` and `yank` sign with; without it they are `Unauthorized`.
    pub identity: Option<PrivateKey>,
    /// Further owners that this node writes as: a bare name means the one of them that has it.
    pub own: Vec<OwnerId>,
    /// Effective records held of one owner, and others if that is less than [`limits::INERT_PER_OWNER_MAX`].
    pub owner_records_max: u64,
    /// What the records of all owners together may take whom the user of this node has nothing to do with, in bytes.
    /// Of more, whole owners are evicted.
    pub pool_bytes_max: u64,
    /// Milliseconds since 1970: the time in records signed here, and when others were first seen.
    pub clock: fn() -> u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            network: NetworkId::main(),
            identity: None,
            own: Vec::new(),
            owner_records_max: limits::RECORDS_PER_OWNER_MAX,
            pool_bytes_max: limits::POOL_BYTES_MAX,
            clock: system_clock,
        }
    }
}

impl OpenOptions {
    /// The owner that the identity writes as, then the others.
    pub(crate) fn owners(&self) -> Vec<OwnerId> {
        let identity = self.identity.as_ref();
        let first = identity.map(|key| OwnerId::of_key(self.network, key.public()));
        let others = self.own.iter().filter(|owner| Some(**owner) != first);
        first.iter().chain(others).copied().collect()
    }
}

/// The catalogue in a redb database. Dropping it finishes what was handed over to be written.
#[derive(Debug)]
pub struct LocalRegistry {
    db: Db,
    downloads: Downloads,
    position: watch::Sender<u64>,
    decisions: Arc<Decisions>,
    network: NetworkId,
    identity: Option<Identity>,
    viewer: RwLock<Arc<Viewer>>,
    owner_records_max: u64,
    pool_bytes_max: u64,
    clock: fn() -> u64,
}

impl LocalRegistry {
    /// Opens or makes a catalogue with an identity of its own, whose key stands beside it in `<path>.key`.
    ///
    /// # Errors
    /// Those of [`LocalRegistry::open`] and of key files.
    pub async fn new(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut key = path.as_os_str().to_owned();
        key.push(".key");
        let loading = spawn_blocking(move || PrivateKey::load_or_create(Path::new(&key)));
        let (identity, _) = joined(loading.await)??;
        let options = OpenOptions {
            identity: Some(identity),
            ..OpenOptions::default()
        };
        Self::open(path, options).await
    }

    /// Opens or makes a catalogue.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if the file cannot be used, [`RegistryError::OtherNetwork`].
    pub async fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let network = options.network;
        let file = path.clone();
        let cache = (options.pool_bytes_max / 4).max(CACHE_BYTES_MIN);
        let cache = usize::try_from(cache).unwrap_or(usize::MAX);
        let opening = spawn_blocking(move || Db::open(&file, SCHEMA, cache));
        let db = joined(opening.await)?.map_err(RegistryError::from)?;
        let own = options.owners();
        let prepare = move |transaction: &WriteTransaction| prepare(transaction, network, &own);
        let prepared = db.write(prepare, |_| {});
        let prepared = prepared.await.map_err(RegistryError::from)?;
        let Prepared {
            network: found,
            last,
            size,
            is_evicting,
            more,
        } = prepared;
        if found != network {
            return Err(RegistryError::OtherNetwork { path }.into());
        }
        let registry = Self {
            downloads: Downloads::new(db.weak()),
            db,
            position: watch::Sender::new(last),
            decisions: Arc::default(),
            network,
            viewer: RwLock::new(Arc::new(Viewer::new(options.owners()))),
            identity: options.identity.map(|key| Identity::new(network, key)),
            owner_records_max: options.owner_records_max,
            pool_bytes_max: options.pool_bytes_max,
            clock: options.clock,
        };
        if size.is_beyond(registry.pool_bytes_max) || is_evicting {
            // What a crash interrupted, or a smaller bound asks for.
            registry.make_room().await?;
        }
        if more {
            registry.settle().await?;
        }
        Ok(registry)
    }

    /// Who looks at it, with the owners that it writes as.
    pub(super) fn viewer(&self) -> Arc<Viewer> {
        // Nobody panics with the lock: all that is done with it is this and an assignment.
        let viewer = self.viewer.read().unwrap_or_else(PoisonError::into_inner);
        viewer.clone()
    }

    fn identity(&self, what: &str) -> Result<Identity> {
        let missing = || {
            RegistryError::Unauthorized(format!(
                "this registry has no key to {what} with: sign with the `market` command, or open it with an identity"
            ))
        };
        Ok(self.identity.clone().ok_or_else(missing)?)
    }

    /// Answers a question from a snapshot.
    pub(super) async fn view<T: Send + 'static>(
        &self,
        view: impl FnOnce(&Stored<'_, ReadTransaction>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let network = self.network;
        let read = self
            .db
            .read(move |snapshot| settle(view(&Stored(snapshot, network))));
        read.await.map_err(RegistryError::from)?
    }

    /// Reads a snapshot's tables.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        Ok(self.db.read(read).await.map_err(RegistryError::from)?)
    }

    /// Writes, and tells those who follow once it is durable. What is refused must not have written anything.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<Written<T>, Failure> + Send + 'static,
    ) -> Result<T> {
        let written = self.commit(change).await?;
        let (value, more) = written.value;
        if written.is_crowded {
            self.make_room().await?;
        }
        if more {
            self.settle().await?;
        }
        Ok(value)
    }

    /// Evicts strangers until the others have room, in transactions of bounded work.
    async fn make_room(&self) -> Result<()> {
        loop {
            let terms = self.terms();
            let evict = move |transaction: &WriteTransaction| {
                let evicted = pool::evict(transaction, &terms)?;
                Ok(Written::at(evicted.position, evicted.more))
            };
            let (more_to_evict, more_to_tell) = self.commit(evict).await?.value;
            if more_to_tell {
                self.settle().await?;
            }
            if !more_to_evict {
                return Ok(());
            }
        }
    }

    /// Tells of all packages that are offered or not any more because of whom this node relies on, a bounded
    /// number in one transaction.
    async fn settle(&self) -> Result<()> {
        let nothing = |transaction: &WriteTransaction| {
            let position = stored::last_position(&transaction.table(tables::CHANGES)?)?;
            Ok(Written::at(position, ()))
        };
        while self.commit(nothing).await?.value.1 {}
        Ok(())
    }

    /// Writes; also gives whether there is more to tell.
    async fn commit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<Written<T>, Failure> + Send + 'static,
    ) -> Result<Written<(T, bool)>> {
        let (position, network) = (self.position.clone(), self.network);
        let decisions = self.decisions.clone();
        let told = move |outcome: &Result<Written<(T, bool)>>| {
            if let Ok(written) = outcome {
                if let Some(concern) = &written.decided {
                    decisions.add(concern.clone());
                }
                position.send_if_modified(|last| {
                    let moved = written.position > *last;
                    *last = written.position.max(*last);
                    moved
                });
            }
        };
        let job = move |transaction: &WriteTransaction| {
            settle(change(transaction).and_then(|written| {
                let (position, more) = decide::settle(transaction, network, written.position)?;
                let value = (written.value, more);
                Ok(Written {
                    value,
                    position,
                    is_crowded: written.is_crowded,
                    decided: written.decided,
                })
            }))
        };
        let written = self.db.write(job, told).await;
        written.map_err(RegistryError::from)?
    }

    /// What a record of this registry's own user needs to be written in one transaction.
    fn own_writer(&self) -> OwnWriter {
        OwnWriter {
            viewer: self.viewer(),
            terms: self.terms(),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            network: self.network,
            now_ms: (self.clock)(),
            owner_records_max: self.owner_records_max,
            pool_bytes_max: self.pool_bytes_max,
        }
    }
}

struct OwnWriter {
    viewer: Arc<Viewer>,
    terms: Terms,
}

impl OwnWriter {
    /// Adds a record that was checked against what is here, and the pin that comes with it.
    fn write(
        &self,
        transaction: &WriteTransaction,
        record: Option<Verified<Record>>,
        pin: Option<(Label, OwnerId)>,
    ) -> Result<Written<Admission>, Failure> {
        let releases = record.as_ref().filter(|record| !sign::is_document(record));
        if let Some(owner) = releases.and_then(|record| record.content().owner) {
            let held = Stored(transaction, self.terms.network).records_of(owner)?;
            if held >= self.terms.owner_records_max {
                return Err(sign::full(owner, held).into());
            }
        }
        if let Some(owner) = record.as_ref().and_then(|record| record.namespace().ok()) {
            // What a user of this node writes in is no namespace of strangers.
            pool::readmit(transaction, owner)?;
        }
        let offers = record.into_iter().map(Offer::of).collect();
        let decided = pin.is_some().then_some(Concern::All);
        if let Some((label, owner)) = pin {
            decide::pin_label(transaction, &label, Some(owner))?;
        }
        let written = write::admit(transaction, offers, self.terms)?;
        Ok(Written {
            value: written.value.into_iter().next().unwrap_or(Admission::Known),
            position: written.position,
            is_crowded: written.is_crowded,
            decided,
        })
    }
}

/// What a catalogue holds when it is opened.
struct Prepared {
    network: NetworkId,
    /// The position of the last change.
    last: u64,
    /// What the pool of strangers holds.
    size: pool::Size,
    /// Whether an eviction or forgetting was begun and not ended.
    is_evicting: bool,
    /// Whether there is more to tell.
    more: bool,
}

/// Makes missing tables, and the network's row in a new database, and notes whom this node writes as.
fn prepare(
    transaction: &WriteTransaction,
    network: NetworkId,
    own: &[OwnerId],
) -> Result<Prepared, Fault> {
    for rows in tables::ALL {
        transaction.table(rows)?;
    }
    let found = match stored::network(transaction)? {
        Some(found) => found,
        None => {
            let mut about = transaction.table(tables::ABOUT)?;
            about.insert(b"network".as_slice(), network.as_bytes().as_slice())?;
            network
        }
    };
    let (last, more) = match found == network {
        true => {
            let last = decide::open(transaction, own)?;
            decide::settle(transaction, network, last)?
        }
        false => (0, false),
    };
    let about = transaction.table(tables::ABOUT)?;
    Ok(Prepared {
        network: found,
        last,
        size: pool::Size::read(&about)?,
        is_evicting: pool::is_busy(&about)?,
        more,
    })
}

/// Whether an id says itself whose release it is.
fn names_owner(id: &PackageId) -> bool {
    let namespace = id.namespace.as_deref();
    matches!(Namespace::parse(namespace), Ok(Namespace::Owner(_)))
}

/// A refusal is an answer; a fault is a failure of the transaction.
fn settle<T>(outcome: Result<T, Failure>) -> Result<Result<T>, Fault> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Refused(error)) => Ok(Err(error)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// The result of work that left the runtime.
fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(RegistryError::from(DbError::Closed).into()),
    }
}

fn system_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[async_trait]
impl Registry for LocalRegistry {
    async fn register(
        &self,
        metadata: &PackageMetadata,
        content_hash: ContentHash,
    ) -> Result<PackageId> {
        let identity = self.identity("publish")?;
        let (writer, metadata) = (self.own_writer(), metadata.clone());
        let id = metadata.id.clone();
        self.change(move |transaction| {
            let snapshot = Stored(transaction, writer.terms.network);
            let (viewer, now) = (&writer.viewer, writer.terms.now_ms);
            let signed =
                sign::register(&snapshot, &identity, viewer, &metadata, content_hash, now)?;
            let pin = signed.pin.map(|label| (label, identity.owner()));
            writer.write(transaction, signed.record, pin)
        })
        .await?;
        Ok(id)
    }

    async fn get(&self, id: &PackageId) -> Result<PackageMetadata> {
        let viewer = self.viewer();
        if names_owner(id) {
            // A few rows of one release: no trust is looked at, and no claims.
            let network = self.network;
            let read = self
                .db
                .read_here(|snapshot| settle(view::get(&Stored(snapshot, network), &viewer, id)));
            return read.map_err(RegistryError::from)?;
        }
        let id = id.clone();
        self.view(move |stored| view::get(stored, &viewer, &id))
            .await
    }

    async fn list_versions(&self, name: &str, namespace: Option<&str>) -> Result<Vec<Version>> {
        let (name, namespace, viewer) =
            (name.to_owned(), namespace.map(str::to_owned), self.viewer());
        self.view(move |stored| view::list_versions(stored, &viewer, namespace.as_deref(), &name))
            .await
    }

    async fn resolve_version(&self, name: &str, req: &VersionReq) -> Result<Option<PackageId>> {
        let (name, req, viewer) = (name.to_owned(), req.clone(), self.viewer());
        self.view(move |stored| view::resolve_version(stored, &viewer, &name, &req))
            .await
    }

    async fn resolve_dependencies(
        &self,
        id: &PackageId,
        transitive: bool,
    ) -> Result<DependencyGraph> {
        let (id, viewer) = (id.clone(), self.viewer());
        self.view(move |stored| offers::resolve_dependencies(stored, &viewer, &id, transitive))
            .await
    }

    async fn update_metadata(&self, id: &PackageId, updates: MetadataUpdates) -> Result<()> {
        let identity = self.identity("describe releases")?;
        let (writer, id) = (self.own_writer(), id.clone());
        self.change(move |transaction| {
            let snapshot = Stored(transaction, writer.terms.network);
            let (viewer, now) = (&writer.viewer, writer.terms.now_ms);
            let record = sign::update(&snapshot, &identity, viewer, &id, updates, now)?;
            writer.write(transaction, record, None)
        })
        .await?;
        Ok(())
    }

    async fn yank(&self, id: &PackageId, reason: Option<&str>) -> Result<()> {
        self.set_yanked(id, Some(reason.unwrap_or_default().to_owned()))
            .await
    }

    async fn unyank(&self, id: &PackageId) -> Result<()> {
        self.set_yanked(id, None).await
    }

    async fn is_yanked(&self, id: &PackageId) -> Result<bool> {
        let (id, viewer) = (id.clone(), self.viewer());
        self.view(move |stored| view::is_yanked(stored, &viewer, &id))
            .await
    }

    async fn list_by_author(
        &self,
        author: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<PackageMetadata>> {
        let author = author.to_owned();
        self.view(move |stored| view::list_by_author(stored, &author, limit, offset))
            .await
    }

    async fn get_stats(&self, id: &PackageId) -> Result<PackageStats> {
        let release = self.key_of(id).await?;
        let counted = self.counted(release.owner, &release.name).await?;
        Ok(PackageStats::of(counted, day_of((self.clock)())))
    }

    async fn record_download(&self, id: &PackageId) -> Result<()> {
        let release = self.key_of(id).await?;
        self.downloads.count(release, day_of((self.clock)()));
        Ok(())
    }
}

impl Drop for LocalRegistry {
    fn drop(&mut self) {
        // The database finishes what it was given before it closes.
        self.downloads.hand_over();
    }
}

impl LocalRegistry {
    async fn key_of(&self, id: &PackageId) -> Result<ReleaseKey> {
        let (id, viewer) = (id.clone(), self.viewer());
        self.view(move |stored| view::key_of(stored, &viewer, &id))
            .await
    }

    async fn set_yanked(&self, id: &PackageId, yanked: Option<String>) -> Result<()> {
        let identity = self.identity("yank")?;
        let (writer, id) = (self.own_writer(), id.clone());
        self.change(move |transaction| {
            let snapshot = Stored(transaction, writer.terms.network);
            let (viewer, yanked, now) = (&writer.viewer, yanked.as_deref(), writer.terms.now_ms);
            let record = sign::set_yanked(&snapshot, &identity, viewer, &id, yanked, now)?;
            writer.write(transaction, record, None)
        })
        .await?;
        Ok(())
    }
}
