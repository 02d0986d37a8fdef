//! Download counts of a `LocalRegistry`: collected in memory, written many at a time.
//!
//! A count is no acknowledged record. What a crash may lose are the downloads of the last [`WRITE_AFTER`]; an orderly
//! end loses none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ggen_protocols::id::{CanonicalName, OwnerId, ReleaseKey};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use semver::Version;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::LocalRegistry;
use crate::Result;
use crate::db::{Fault, WeakDb};
use crate::registry::RegistryError;
use crate::registry::downloads::{Pending, SUM, is_summed};
use crate::registry::stored::{Source, scan};
use crate::registry::tables::{DOWNLOADS, damaged, key};

/// How long the first of the downloads that wait may wait to be written.
const WRITE_AFTER: Duration = Duration::from_secs(2);
/// Releases that wait: so many are written at once without waiting longer.
const WRITE_AT_RELEASES: usize = 256;
/// Most releases that wait, while the writer has no time; further ones are not counted.
const WAITING_RELEASES_MAX: usize = 4 * WRITE_AT_RELEASES;

/// Counts downloads, and sees to it that they are written.
#[derive(Debug, Clone)]
pub(super) struct Downloads {
    pending: Arc<Mutex<Pending>>,
    db: WeakDb,
}

impl Downloads {
    pub(super) fn new(db: WeakDb) -> Self {
        let pending = Arc::default();
        Self { pending, db }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nobody panics with the lock, and a count more or less breaks nothing.
        let pending = self.pending.lock();
        pending.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one download of a release on this day.
    pub(super) fn count(&self, release: ReleaseKey, day: u32) {
        let (is_first, waiting) = {
            let mut pending = self.pending();
            let is_first = pending.len() == 0;
            if !pending.add(release, day, WAITING_RELEASES_MAX) {
                tracing::debug!("downloads come faster than they are written: one is not counted");
            }
            (is_first, pending.len())
        };
        if waiting >= WRITE_AT_RELEASES {
            self.hand_over();
        } else if let (true, Ok(runtime)) = (is_first, Handle::try_current()) {
            let downloads = self.clone();
            runtime.spawn(async move {
                sleep(WRITE_AFTER).await;
                downloads.hand_over();
            });
        }
    }

    /// Gives what waits to the writer, if it has time; else it waits on.
    pub(super) fn hand_over(&self) {
        if self.pending().len() > 0 {
            let (write, written) = self.job();
            self.db.try_write(write, written);
        }
    }

    /// Writes what waits when it is carried out, and then notes that this is durable.
    fn job(
        &self,
    ) -> (
        impl FnOnce(&WriteTransaction) -> Result<u64, Fault> + Send + 'static,
        impl FnOnce(&u64) + Send + 'static,
    ) {
        let (before, after) = (self.clone(), self.clone());
        let write = move |transaction: &WriteTransaction| {
            let counts = before.pending().take();
            let downloads = counts.values().sum();
            write(transaction, counts)?;
            Ok(downloads)
        };
        (write, move |downloads: &u64| {
            after.pending().settled(*downloads);
        })
    }
}

impl LocalRegistry {
    /// The counts of every version and day of a package, with all downloads that were counted before.
    pub(super) async fn counted(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<Vec<(Version, u32, u64)>> {
        // What was handed over and is not committed yet is written before this job.
        if self.downloads.pending().unsettled() > 0 {
            let (write, written) = self.downloads.job();
            let written = self.db.write(write, written).await;
            written.map_err(RegistryError::from)?;
        }
        let prefix = key::release(owner, name, None);
        self.read(move |snapshot| read(snapshot, &prefix)).await
    }
}

fn read(snapshot: &ReadTransaction, prefix: &[u8]) -> Result<Vec<(Version, u32, u64)>, Fault> {
    let mut counts = Vec::new();
    scan(&snapshot.table(DOWNLOADS)?, prefix, prefix, |key, row| {
        let count = read_key(prefix.len(), key).zip(read_count(row));
        let ((version, day), count) = count.ok_or_else(|| damaged(DOWNLOADS, key))?;
        counts.push((version, day, count));
        Ok(true)
    })?;
    Ok(counts)
}

fn write(
    transaction: &WriteTransaction,
    counts: BTreeMap<(ReleaseKey, u32), u64>,
) -> Result<(), Fault> {
    let mut table = transaction.table(DOWNLOADS)?;
    for ((release, day), count) in counts {
        let prefix = key::downloads(&release);
        let mut rows = BTreeMap::new();
        if table.get(at(&prefix, day).as_slice())?.is_none() {
            // A day begins, which is when others grow old.
            scan(&table, &prefix, &prefix, |key, row| {
                let found = read_day(&prefix, key).zip(read_count(row));
                let (day, count) = found.ok_or_else(|| damaged(DOWNLOADS, key))?;
                rows.insert(day, count);
                Ok(true)
            })?;
        }
        let mut changed = BTreeMap::from([(day, count)]);
        for (old, count) in rows.into_iter().filter(|(old, _)| is_summed(*old, day)) {
            let sum: &mut u64 = changed.entry(SUM).or_default();
            *sum = sum.saturating_add(count);
            table.remove(at(&prefix, old).as_slice())?;
        }
        for (day, count) in changed {
            let key = at(&prefix, day);
            let before = match table.get(key.as_slice())? {
                Some(row) => read_count(row.value()).ok_or_else(|| damaged(DOWNLOADS, &key))?,
                None => 0,
            };
            let count = before.saturating_add(count).to_be_bytes();
            table.insert(key.as_slice(), count.as_slice())?;
        }
    }
    Ok(())
}

/// The key of a release's count of one day.
fn at(prefix: &[u8], day: u32) -> Vec<u8> {
    [prefix, &day.to_be_bytes()].concat()
}

fn read_day(prefix: &[u8], key: &[u8]) -> Option<u32> {
    let day = key.get(prefix.len()..)?.try_into().ok()?;
    Some(u32::from_be_bytes(day))
}

/// The version and the day at the end of a key below the prefix of a package.
fn read_key(prefix: usize, key: &[u8]) -> Option<(Version, u32)> {
    let (rest, day) = key.get(prefix..)?.split_last_chunk()?;
    let (_, version) = rest.split_last()?;
    let version = std::str::from_utf8(version).ok()?.parse().ok()?;
    Some((version, u32::from_be_bytes(*day)))
}

fn read_count(row: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(row.try_into().ok()?))
}
