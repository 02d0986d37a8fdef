//! Changes of records that went: they take a bounded part of the pool, and the oldest go.
//!
//! Whoever reads the changes from the first one on lacks nothing: of what is held, the change that took it stays. Who was in
//! the middle learns from [`read_pruned`] that some may be gone before it read them.

use redb::{ReadableTable, WriteTransaction};

use super::account::read_number;
use crate::db::Fault;
use crate::registry::stored::{self, Source};
use crate::registry::tables::{self, DECLINED, Row};

/// What a change takes, in bytes: measured in the flood of `tests/it/flood.rs`.
const CHANGE_BYTES: u64 = 128;
/// The newest changes that stay however small the pool is: who follows is seldom that far behind.
const CHANGES_MIN: u64 = 4096;
/// Changes that one transaction looks at.
const LOOK: usize = 8192;

const PRUNED: &[u8] = b"pruned";

/// What a pool of so many bytes has for changes of records that went, in bytes.
pub(super) fn bytes(pool_bytes_max: u64) -> u64 {
    pool_bytes_max / 16
}

/// How many of the newest changes stay in any case.
pub(in crate::registry) fn kept(pool_bytes_max: u64) -> u64 {
    (bytes(pool_bytes_max) / CHANGE_BYTES).max(CHANGES_MIN)
}

/// Up to which position changes of records that are not held may be gone.
pub(in crate::registry) fn read_pruned(about: &impl ReadableTable<Row, Row>) -> Result<u64, Fault> {
    read_number(about, PRUNED)
}

/// Removes changes of records that are not held, but for the newest ones.
pub(super) fn prune(transaction: &WriteTransaction, pool_bytes_max: u64) -> Result<(), Fault> {
    let mut changes = transaction.table(tables::CHANGES)?;
    let mut about = transaction.table(tables::ABOUT)?;
    let before = read_pruned(&about)?;
    let last = stored::last_position(&changes)?;
    let to = last.saturating_sub(kept(pool_bytes_max));
    if to <= before {
        return Ok(());
    }
    let ids = transaction.table(tables::IDS)?;
    let (mut gone, mut pruned) = (Vec::new(), to);
    let (first, end) = ((before + 1).to_be_bytes(), to.to_be_bytes());
    for (looked, row) in changes
        .range::<&[u8]>(first.as_slice()..=end.as_slice())?
        .enumerate()
    {
        let (at, change) = row?;
        let position = tables::read_position(tables::CHANGES, at.value())?;
        if looked >= LOOK {
            pruned = position - 1;
            break;
        }
        let change = tables::read_change(position, change.value())?;
        let held = stored::position_of(&ids, &change.record)?;
        if held.is_none_or(|at| at >= DECLINED) {
            gone.push(position);
        }
    }
    for position in gone {
        changes.remove(position.to_be_bytes().as_slice())?;
    }
    about.insert(PRUNED, pruned.to_be_bytes().as_slice())?;
    Ok(())
}
