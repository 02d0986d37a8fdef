//! redb databases: opening, schema version, group commit, snapshots.
//!
//! One thread owns all writing. It takes jobs from a bounded channel, runs as many as are waiting in one
//! transaction, commits it durably, and only then answers them. Reading happens in snapshots beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::{fmt, io};

use redb::{Durability, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio::task;

use crate::crash;

/// Write jobs that may wait; a caller past them waits to hand over its own.
const WAITING_JOBS_MAX: usize = 256;
/// Write jobs in one transaction: enough to share the cost of a commit, few enough to bound its latency.
const JOBS_PER_COMMIT_MAX: usize = 256;
/// Most memory for pages, in bytes: the inner pages of a catalogue of a million records.
const CACHE_BYTES_MAX: usize = 64 << 20;

const SCHEMA: TableDefinition<'_, &str, u64> = TableDefinition::new("schema");

/// What a database is for, and the newest form of it that this code knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// Names it in the database and in messages.
    pub(crate) name: &'static str,
    /// Counts incompatible forms, from 1.
    pub(crate) version: u64,
    /// The crash points around a commit.
    pub(crate) crash_points: [&'static str; 2],
}

/// Why a database failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Another process has it open.
    #[error(
        "{} is open in another process: this home is used by another running node; stop that one, or use another home", path.display()
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a newer program.
    #[error(
        "{} has form {found} of `{name}` and this program reads up to {known}: use the newer program that wrote it", path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        name: &'static str,
        /// Its form.
        found: u64,
        /// The newest form known here.
        known: u64,
    },
    /// It was written by an older program, in a form that is not read any more.
    #[error(
        "{} has form {found} of `{name}`, which this program does not read any more: move it away, and the node fetches its records from its peers again", path.display()
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        name: &'static str,
        /// Its form.
        found: u64,
    },
    /// It is a database of something else.
    #[error("{} is no database of `{name}`; choose another path", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it was opened for.
        name: &'static str,
    },
    /// The disk is full. Nothing acknowledged is lost; the database must be opened again.
    #[error("no space is left for {}: free some and start again; everything acknowledged is safe", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// Stored bytes are not what was stored.
    #[error("{0}")]
    Damaged(String),
    /// Anything else that went wrong.
    #[error("cannot use {}: {source}", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The thread that writes has ended.
    #[error("the database is closed")]
    Closed,
}

/// What a transaction failed with: redb's error, or a damaged row.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Whatever redb says.
    Database(redb::Error),
    /// Stored bytes are not what was stored.
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl Fault {
    /// The error of the database at `path`.
    pub(crate) fn on(self, path: &Path) -> DbError {
        let path = path.to_owned();
        match self {
            Self::Damaged(what) => DbError::Damaged(what),
            Self::Database(redb::Error::DatabaseAlreadyOpen) => DbError::InUse { path },
            Self::Database(redb::Error::Io(error)) if is_full(&error) => DbError::Full { path },
            Self::Database(error) => DbError::Failed {
                path,
                source: Arc::new(error),
            },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Runs in the transaction, if there still is one, and says whether it may go on and whom to tell how it ended.
type Job = Box<dyn FnOnce(Option<&WriteTransaction>) -> (Result<(), Fault>, Answer) + Send>;
type Answer = Box<dyn FnOnce(Result<(), DbError>) + Send>;

/// A way to hand over jobs that keeps no database open.
#[derive(Clone)]
pub(crate) struct WeakDb(mpsc::WeakSender<Job>);

impl fmt::Debug for WeakDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakDb")
    }
}

impl WeakDb {
    /// Hands over a job as [`Db::write`] does, if the database is open and has room for one more; nobody is told how
    /// it ends but `committed`.
    pub(crate) fn try_write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, Fault> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) {
        let (job, _) = prepared(job, committed);
        if let Some(jobs) = self.0.upgrade() {
            // One that is refused did nothing.
            drop(jobs.try_send(job));
        }
    }
}

/// A job, and where its answer comes.
fn prepared<T: Send + 'static>(
    job: impl FnOnce(&WriteTransaction) -> Result<T, Fault> + Send + 'static,
    committed: impl FnOnce(&T) + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, DbError>>) {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |transaction| {
        let (ran, value) = match transaction.map(job) {
            Some(Ok(value)) => (Ok(()), Some(value)),
            Some(Err(fault)) => (Err(fault), None),
            None => (Ok(()), None),
        };
        let answer = move |outcome: Result<(), DbError>| {
            let outcome = outcome.and_then(|()| value.ok_or(DbError::Closed));
            if let Ok(value) = &outcome {
                committed(value);
            }
            // It fails if nobody waits for the answer any more.
            drop(reply.send(outcome));
        };
        (ran, Box::new(answer))
    });
    (job, answer)
}

/// An open database. Dropping it finishes the jobs that were handed over, and closes the file.
pub(crate) struct Db {
    path: Arc<Path>,
    database: Arc<redb::Database>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.path.display())
    }
}

impl Db {
    /// Opens a database or makes it, with so many bytes of memory for pages, 64 MiB at the most. Blocks.
    pub(crate) fn open(path: &Path, schema: Schema, cache_bytes: usize) -> Result<Self, DbError> {
        let opened = redb::Builder::new()
            .set_cache_size(cache_bytes.min(CACHE_BYTES_MAX))
            .create(path);
        let database = opened.map_err(|error| Fault::from(error).on(path))?;
        Self::start(database, path, schema)
    }

    fn start(database: redb::Database, path: &Path, schema: Schema) -> Result<Self, DbError> {
        check_schema(&database, path, schema)?;
        let path: Arc<Path> = path.into();
        let database = Arc::new(database);
        let (jobs, waiting) = mpsc::channel(WAITING_JOBS_MAX);
        let writer = Writer {
            path: path.clone(),
            database: database.clone(),
            crash_points: schema.crash_points,
        };
        let writer = thread::Builder::new()
            .name(format!("{} writer", schema.name))
            .spawn(move || writer.run(waiting))
            .map_err(|error| Fault::from(redb::Error::Io(error)).on(&path))?;
        Ok(Self {
            path,
            database,
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    /// Runs `job` in a transaction that other jobs may share and returns what it gave once that is durable.
    /// `committed` runs then in any case, on the writing thread and in the order of commits, even if the
    /// returned future was dropped meanwhile: a job that was handed over is carried out.
    ///
    /// A job that fails undoes the whole transaction, so it must fail only for what fails every write.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, Fault> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, DbError> {
        let (job, answer) = prepared(job, committed);
        let jobs = self.jobs.as_ref().ok_or(DbError::Closed)?;
        jobs.send(job).await.map_err(|_| DbError::Closed)?;
        answer.await.map_err(|_| DbError::Closed)?
    }

    /// Runs `read` on a snapshot of what is committed, on this thread: only for what reads a handful of rows, which
    /// takes less time than handing it to another thread.
    pub(crate) fn read_here<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, DbError> {
        let snapshot = self.database.begin_read().map_err(Fault::from);
        let read = snapshot.and_then(|snapshot| read(&snapshot));
        read.map_err(|fault| fault.on(&self.path))
    }

    /// A way to hand over jobs for whoever may outlive it.
    pub(crate) fn weak(&self) -> WeakDb {
        let jobs = self.jobs.as_ref().map(mpsc::Sender::downgrade);
        // It is there until the database is dropped.
        WeakDb(jobs.unwrap_or_else(|| mpsc::channel(1).0.downgrade()))
    }

    /// Runs `read` on a snapshot of what is committed, off the runtime's threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, DbError> {
        let (database, path) = (self.database.clone(), self.path.clone());
        let reading = task::spawn_blocking(move || {
            let snapshot = database.begin_read().map_err(Fault::from);
            snapshot
                .and_then(|snapshot| read(&snapshot))
                .map_err(|fault| fault.on(&path))
        });
        match reading.await {
            Ok(read) => read,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(DbError::Closed),
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // It has at most `WAITING_JOBS_MAX` jobs to finish. If it panicked, its callers were told.
            drop(writer.join());
        }
    }
}

fn check_schema(database: &redb::Database, path: &Path, schema: Schema) -> Result<(), DbError> {
    let found = stored_schema(database, schema).map_err(|fault| fault.on(path))?;
    let path = path.to_owned();
    match found {
        Some(found) if found == schema.version => Ok(()),
        Some(found) if found > schema.version => Err(DbError::Newer {
            path,
            name: schema.name,
            found,
            known: schema.version,
        }),
        Some(found) => Err(DbError::Older {
            path,
            name: schema.name,
            found,
        }),
        None => Err(DbError::Foreign {
            path,
            name: schema.name,
        }),
    }
}

/// The form that the database says it has; an empty database is given this one.
fn stored_schema(database: &redb::Database, schema: Schema) -> Result<Option<u64>, Fault> {
    let transaction = database.begin_write()?;
    let is_new = transaction.list_tables()?.next().is_none();
    let found = {
        let mut table = transaction.open_table(SCHEMA)?;
        if is_new {
            table.insert(schema.name, schema.version)?;
        }
        let found = redb::ReadableTable::get(&table, schema.name)?;
        found.map(|found| found.value())
    };
    if is_new {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(found)
}

struct Writer {
    path: Arc<Path>,
    database: Arc<redb::Database>,
    crash_points: [&'static str; 2],
}

impl Writer {
    fn run(self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            let rest = std::iter::from_fn(|| waiting.try_recv().ok());
            let group = std::iter::once(first).chain(rest).take(JOBS_PER_COMMIT_MAX);
            let mut answers = Vec::new();
            let outcome = self.commit(group, &mut answers);
            let outcome = outcome.map_err(|fault| fault.on(&self.path));
            if let Err(error) = &outcome {
                tracing::error!(%error, "a write to the database failed");
            }
            for answer in answers {
                answer(outcome.clone());
            }
        }
    }

    fn commit(
        &self,
        group: impl Iterator<Item = Job>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        let [before, after] = self.crash_points;
        let mut begun = self.database.begin_write().map_err(Fault::from);
        if let Ok(transaction) = &mut begun {
            transaction.set_durability(Durability::Immediate)?;
        }
        for job in group {
            let (ran, answer) = job(begun.as_ref().ok());
            answers.push(answer);
            if let Err(fault) = ran {
                begun = Err(fault);
            }
        }
        let transaction = begun?;
        crash::point(before);
        transaction.commit()?;
        crash::point(after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use redb::{StorageBackend, backends::InMemoryBackend};

    use super::*;

    const TEST: Schema = Schema {
        name: "test",
        version: 2,
        crash_points: ["test.before-commit", "test.after-commit"],
    };
    const COUNTS: TableDefinition<'_, u64, u64> = TableDefinition::new("counts");

    fn set(at: u64, to: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), Fault> {
        move |transaction| {
            transaction.open_table(COUNTS)?.insert(at, to)?;
            Ok(())
        }
    }

    async fn get(db: &Db, at: u64) -> Option<u64> {
        let read = move |snapshot: &ReadTransaction| {
            let found = snapshot.open_table(COUNTS)?.get(at)?;
            Ok(found.map(|found| found.value()))
        };
        db.read(read).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_reopening() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("test.redb");
        let commits = Arc::new(AtomicU64::new(0));
        for round in 0..3u64 {
            let db = Db::open(&path, TEST, 1 << 20).unwrap();
            let committed = commits.clone();
            let count = move |(): &()| {
                committed.fetch_add(1, Ordering::Relaxed);
            };
            db.write(set(1, round), count).await.unwrap();
            assert_eq!(get(&db, 1).await, Some(round));
        }
        assert_eq!(commits.load(Ordering::Relaxed), 3);
        assert_eq!(
            get(&Db::open(&path, TEST, 1 << 20).unwrap(), 1).await,
            Some(2)
        );
    }

    #[tokio::test]
    async fn a_second_opening_is_told_that_the_home_is_in_use() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("test.redb");
        let _first = Db::open(&path, TEST, 1 << 20).unwrap();
        let error = Db::open(&path, TEST, 1 << 20).unwrap_err();
        assert!(matches!(&error, DbError::InUse { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("home is used by another running node")
        );
    }

    #[tokio::test]
    async fn another_form_and_a_foreign_database_are_refused_untouched() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("test.redb");
        drop(Db::open(&path, TEST, 1 << 20).unwrap());
        let older = Schema { version: 1, ..TEST };
        let error = Db::open(&path, older, 1 << 20).unwrap_err();
        assert!(
            matches!(
                &error,
                DbError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        let newer = Schema { version: 3, ..TEST };
        let error = Db::open(&path, newer, 1 << 20).unwrap_err();
        assert!(matches!(&error, DbError::Older { found: 2, .. }), "{error}");
        let other = Schema {
            name: "other",
            ..TEST
        };
        let error = Db::open(&path, other, 1 << 20).unwrap_err();
        assert!(matches!(&error, DbError::Foreign { .. }), "{error}");
        assert!(Db::open(&path, TEST, 1 << 20).is_ok());
    }

    #[tokio::test]
    async fn a_failing_job_undoes_and_fails_its_whole_transaction() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(&home.path().join("test.redb"), TEST, 1 << 20).unwrap();
        db.write(set(1, 1), |()| {}).await.unwrap();
        let damaged = |transaction: &WriteTransaction| {
            transaction.open_table(COUNTS)?.insert(1, 9)?;
            Err::<(), _>(Fault::Damaged("a row".to_owned()))
        };
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        let failed = db.write(damaged, move |()| tell.store(true, Ordering::Relaxed));
        assert!(matches!(failed.await, Err(DbError::Damaged(_))));
        assert!(!told.load(Ordering::Relaxed));
        assert_eq!(get(&db, 1).await, Some(1));
    }

    #[tokio::test]
    async fn a_job_is_carried_out_though_nobody_waits_for_it() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(&home.path().join("test.redb"), TEST, 1 << 20).unwrap();
        let (committed, done) = oneshot::channel();
        let mut write = Box::pin(db.write(set(1, 1), move |()| committed.send(()).unwrap()));
        assert!(futures::poll!(&mut write).is_pending());
        drop(write);
        done.await.unwrap();
        assert_eq!(get(&db, 1).await, Some(1));
    }

    /// A disk that can be full.
    #[derive(Debug)]
    struct Disk {
        memory: InMemoryBackend,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn room(&self) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.memory.write(offset, data)
        }
    }

    #[tokio::test]
    async fn a_full_disk_has_its_own_error() {
        let full = Arc::new(AtomicBool::new(false));
        let disk = Disk {
            memory: InMemoryBackend::new(),
            full: full.clone(),
        };
        let database = redb::Builder::new().create_with_backend(disk).unwrap();
        let db = Db::start(database, Path::new("disk"), TEST).unwrap();
        db.write(set(1, 1), |()| {}).await.unwrap();
        full.store(true, Ordering::Relaxed);
        let error = db.write(set(1, 2), |()| {}).await.unwrap_err();
        assert!(matches!(&error, DbError::Full { .. }), "{error}");
    }
}
