//! Records and heads whose signer no document names yet: kept for a while, for the document may be on its way.
//!
//! What does not fit is forgotten; reconciliation brings it again once the documents are here.

use std::collections::{BTreeMap, VecDeque};

use ggen_protocols::id::{OwnerId, RecordId};
use ggen_protocols::record::{Record, Verified};

/// Records that wait in one namespace.
const WAITING_PER_OWNER_MAX: usize = 256;
/// Bytes of envelopes of records that wait in all.
pub(super) const RECORDS_BYTES_MAX: usize = 16 << 20;
/// Bytes of envelopes of heads that wait in all: they have room of their own, because they take no room elsewhere.
pub(super) const HEADS_BYTES_MAX: usize = 1 << 20;

/// Verified records that wait for documents, by namespace.
#[derive(Debug)]
pub(super) struct Pending {
    /// Bytes of envelopes that it may hold.
    bytes_max: usize,
    waiting: BTreeMap<OwnerId, BTreeMap<RecordId, Verified<Record>>>,
    /// Namespaces in the order in which their first record came.
    order: VecDeque<OwnerId>,
    bytes: usize,
}

impl Pending {
    /// Nothing, with room for envelopes of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Keeps a record. Where there is no room, the namespace that waits longest makes some.
    pub(super) fn keep(&mut self, owner: OwnerId, record: Verified<Record>) {
        let size = record.envelope().len();
        while self.bytes + size > self.bytes_max {
            let Some(oldest) = self.order.front().copied() else {
                return;
            };
            drop(self.take(oldest));
        }
        let of_owner = self.waiting.entry(owner).or_default();
        if of_owner.len() >= WAITING_PER_OWNER_MAX {
            return;
        }
        if of_owner.is_empty() {
            self.order.push_back(owner);
        }
        if of_owner.insert(record.id(), record).is_none() {
            self.bytes += size;
        }
    }

    /// Everything that waits in a namespace.
    pub(super) fn take(&mut self, owner: OwnerId) -> Vec<Verified<Record>> {
        let Some(of_owner) = self.waiting.remove(&owner) else {
            return Vec::new();
        };
        self.order.retain(|other| *other != owner);
        let records: Vec<_> = of_owner.into_values().collect();
        let bytes: usize = records.iter().map(|record| record.envelope().len()).sum();
        self.bytes -= bytes;
        records
    }
}

#[cfg(test)]
mod tests;
