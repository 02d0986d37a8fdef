//! `LocalRegistry`: the catalogue in a redb database, with one writer and snapshot reads.

mod catalogue;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{Label, NetworkId, OwnerId, PackageId};
use ggen_protocols::limits;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Record, Verified};
use redb::{ReadTransaction, WriteTransaction};
use semver::{Version, VersionReq};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::sign::{self, Identity};
use super::stored::{self, Source, Stored};
use super::view::{self, Failure};
use super::write::{self, Offer, Written};
use super::{Admission, Registry, RegistryError, tables};
use crate::Result;
use crate::crypto::PrivateKey;
use crate::db::{Db, DbError, Fault, Schema};

const SCHEMA: Schema = Schema {
    name: "catalogue",
    version: 1,
    crash_points: ["registry.before-commit", "registry.after-commit"],
};

/// How a catalogue is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Whose records it takes.
    pub network: NetworkId,
    /// The key that `register` and `yank` sign with; without it they are `Unauthorized`.
    pub identity: Option<PrivateKey>,
    /// Further owners that this node writes as, in order: a bare name means the first of them that has it.
    pub own: Vec<OwnerId>,
    /// Records held of one owner.
    pub owner_records_max: u64,
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
    position: watch::Sender<u64>,
    network: NetworkId,
    identity: Option<Identity>,
    own: Vec<OwnerId>,
    owner_records_max: u64,
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
        let opening = spawn_blocking(move || Db::open(&file, SCHEMA));
        let db = joined(opening.await)?.map_err(RegistryError::from)?;
        let prepared = db.write(move |transaction| prepare(transaction, network), |_| {});
        let (found, last) = prepared.await.map_err(RegistryError::from)?;
        if found != network {
            return Err(RegistryError::OtherNetwork { path }.into());
        }
        Ok(Self {
            db,
            position: watch::Sender::new(last),
            network,
            own: options.owners(),
            identity: options.identity.map(|key| Identity::new(network, key)),
            owner_records_max: options.owner_records_max,
            clock: options.clock,
        })
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
    async fn view<T: Send + 'static>(
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
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        Ok(self.db.read(read).await.map_err(RegistryError::from)?)
    }

    /// Writes, and tells those who follow once it is durable. What is refused must not have written anything.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<Written<T>, Failure> + Send + 'static,
    ) -> Result<T> {
        let position = self.position.clone();
        let told = move |outcome: &Result<Written<T>>| {
            if let Ok(written) = outcome {
                position.send_if_modified(|last| {
                    let moved = written.position > *last;
                    *last = written.position.max(*last);
                    moved
                });
            }
        };
        let job = move |transaction: &WriteTransaction| settle(change(transaction));
        let written = self.db.write(job, told).await;
        Ok(written.map_err(RegistryError::from)??.value)
    }

    /// What a record of this registry's own user needs to be written in one transaction.
    fn own_writer(&self) -> OwnWriter {
        OwnWriter {
            network: self.network,
            own: self.own.clone(),
            owner_records_max: self.owner_records_max,
            now_ms: (self.clock)(),
        }
    }
}

struct OwnWriter {
    network: NetworkId,
    own: Vec<OwnerId>,
    owner_records_max: u64,
    now_ms: u64,
}

impl OwnWriter {
    /// Adds a record that was checked against what is here, and the pin that comes with it.
    fn write(
        &self,
        transaction: &WriteTransaction,
        record: Option<&Verified<Record>>,
        pin: Option<(Label, OwnerId)>,
    ) -> Result<Written<Admission>, Failure> {
        let offers: Vec<_> = record.iter().map(|record| Offer::of(record)).collect();
        if let Some(owner) = record.and_then(|record| record.content().owner) {
            let held = Stored(transaction, self.network).records_of(owner)?;
            if held >= self.owner_records_max {
                return Err(sign::full(owner, held).into());
            }
        }
        if let Some((label, owner)) = pin {
            let mut pins = transaction.table(tables::PINS)?;
            let owner = owner.as_bytes().as_slice();
            pins.insert(label.as_str().as_bytes(), owner)
                .map_err(Fault::from)?;
        }
        let written = write::admit(transaction, offers, self.now_ms, self.owner_records_max)?;
        Ok(Written {
            value: written.value.into_iter().next().unwrap_or(Admission::Known),
            position: written.position,
        })
    }
}

/// Makes missing tables, and the network's row in a new database; returns the network and the last position.
fn prepare(transaction: &WriteTransaction, network: NetworkId) -> Result<(NetworkId, u64), Fault> {
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
    let last = stored::last_position(&transaction.table(tables::CHANGES)?)?;
    Ok((found, last))
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
            let snapshot = Stored(transaction, writer.network);
            let (own, now) = (&writer.own, writer.now_ms);
            let signed = sign::register(&snapshot, &identity, own, &metadata, content_hash, now)?;
            let pin = signed.pin.map(|label| (label, identity.owner()));
            writer.write(transaction, signed.record.as_ref(), pin)
        })
        .await?;
        Ok(id)
    }

    async fn get(&self, id: &PackageId) -> Result<PackageMetadata> {
        let (id, own) = (id.clone(), self.own.clone());
        self.view(move |stored| view::get(stored, &own, &id)).await
    }

    async fn list_versions(&self, name: &str, namespace: Option<&str>) -> Result<Vec<Version>> {
        let (name, namespace, own) = (
            name.to_owned(),
            namespace.map(str::to_owned),
            self.own.clone(),
        );
        self.view(move |stored| view::list_versions(stored, &own, namespace.as_deref(), &name))
            .await
    }

    async fn resolve_version(&self, name: &str, req: &VersionReq) -> Result<Option<PackageId>> {
        let (name, req, own) = (name.to_owned(), req.clone(), self.own.clone());
        self.view(move |stored| view::resolve_version(stored, &own, &name, &req))
            .await
    }

    async fn yank(&self, id: &PackageId, reason: Option<&str>) -> Result<()> {
        self.set_yanked(id, Some(reason.unwrap_or_default().to_owned()))
            .await
    }

    async fn unyank(&self, id: &PackageId) -> Result<()> {
        self.set_yanked(id, None).await
    }

    async fn is_yanked(&self, id: &PackageId) -> Result<bool> {
        let (id, own) = (id.clone(), self.own.clone());
        self.view(move |stored| view::is_yanked(stored, &own, &id))
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
}

impl LocalRegistry {
    async fn set_yanked(&self, id: &PackageId, yanked: Option<String>) -> Result<()> {
        let identity = self.identity("yank")?;
        let (writer, id) = (self.own_writer(), id.clone());
        self.change(move |transaction| {
            let snapshot = Stored(transaction, writer.network);
            let (own, yanked, now) = (&writer.own, yanked.as_deref(), writer.now_ms);
            let record = sign::set_yanked(&snapshot, &identity, own, &id, yanked, now)?;
            writer.write(transaction, record.as_ref(), None)
        })
        .await?;
        Ok(())
    }
}
