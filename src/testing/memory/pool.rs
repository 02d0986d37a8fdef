//! The pool of strangers in the model: whole owners go, by plain search.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use ggen_protocols::catalogue::Namespace;
use ggen_protocols::id::{OwnerId, RecordId};
use ggen_protocols::trust::FULL;

use super::State;
use crate::db::Fault;
use crate::registry::trust::Reach;
use crate::registry::{DECLINED_BYTES, ids_left, ids_max, record_bytes, records_room};

impl State {
    fn strangers(&self) -> impl Iterator<Item = OwnerId> {
        let owners = self.namespaces.keys().copied();
        owners.filter(|owner| !self.is_protected(owner))
    }

    fn is_protected(&self, owner: &OwnerId) -> bool {
        let decided = &self.decided;
        let mut pinned = self.pins.values().chain(decided.names.values());
        self.own.contains(owner)
            || pinned.any(|pinned| pinned == owner)
            || decided.anchors.contains_key(owner)
            || decided.trusted.contains(owner)
    }

    /// Takes records of owners again who were evicted and are no strangers any more, or were used.
    pub(super) fn reconsider(&mut self, owners: impl IntoIterator<Item = OwnerId>) {
        for owner in owners {
            if self.is_protected(&owner) || self.decided.used.contains_key(&owner) {
                self.readmit(owner);
            }
        }
    }

    /// Who is trusted is looked at when the user decides something, and before a stranger is evicted.
    pub(super) fn refresh_trusted(&mut self) -> Result<(), Fault> {
        let scores = Reach::load(self, &self.own)?.scores.into_iter();
        let trusted = scores.filter_map(|(owner, score)| (score >= FULL).then_some(owner));
        let trusted: BTreeSet<_> = trusted.collect();
        let before = std::mem::replace(&mut self.decided.trusted, trusted.clone());
        self.reconsider(trusted.difference(&before).copied());
        Ok(())
    }

    /// What the records of an owner take, and the heads about it.
    fn bytes_of(&self, owner: OwnerId) -> u64 {
        let namespace = self.namespaces.get(&owner).into_iter();
        let held = namespace.flat_map(Namespace::records);
        let held = held.filter_map(|record| self.held.get(&record.id));
        let held = held.map(|(record, _)| record);
        let heads = self
            .heads
            .get(&owner)
            .into_iter()
            .flat_map(BTreeMap::values);
        held.chain(heads)
            .map(|record| record_bytes(record.envelope().len()))
            .sum()
    }

    /// The position of the last record that was taken of an owner.
    fn latest(&self, owner: OwnerId) -> u64 {
        let namespace = self.namespaces.get(&owner).into_iter();
        let held = namespace.flat_map(Namespace::records);
        held.filter_map(|record| self.admission(record.id))
            .map(|at| self.changes[at].position)
            .max()
            .unwrap_or(0)
    }

    /// Where the changes tell of the admission of a held record. A change because of it comes later; that its whole
    /// namespace went, which a founding record stands for, came earlier.
    fn admission(&self, id: RecordId) -> Option<usize> {
        let position = self.positions.get(&id)?;
        self.changes
            .iter()
            .position(|change| change.position == *position)
    }

    /// Remembers the id of a record that is not held.
    pub(super) fn decline(&mut self, id: RecordId, owner: OwnerId) {
        if self.declined.insert(id, owner).is_none()
            && !self.decliners.values().any(|o| *o == owner)
        {
            self.serial += 1;
            self.decliners.insert(self.serial, owner);
        }
    }

    /// Forgets a declined id.
    pub(super) fn undecline(&mut self, id: &RecordId) {
        if let Some(owner) = self.declined.remove(id)
            && !self.declined.values().any(|of| *of == owner)
        {
            self.decliners.retain(|_, of| *of != owner);
        }
    }

    /// Forgets the ids that have been remembered for longest, if they are too many.
    fn forget(&mut self) {
        if self.declined.len() as u64 <= ids_max(self.pool_bytes_max) {
            return;
        }
        let mut gone = Vec::new();
        while self.declined.len() as u64 > ids_left(self.pool_bytes_max) {
            let Some((_, owner)) = self.decliners.pop_first() else {
                break;
            };
            self.declined.retain(|_, of| *of != owner);
            self.evicted.remove(&owner);
            gone.push(owner);
        }
        if let Some(owner) = gone.last() {
            self.tell(RecordId::from_bytes(*owner.as_bytes()), None);
        }
    }

    /// Evicts strangers until the others have room.
    pub(super) fn make_room(&mut self) -> Result<(), Fault> {
        loop {
            self.forget();
            let strangers: Vec<_> = self.strangers().collect();
            let bytes = strangers.iter().map(|owner| self.bytes_of(*owner));
            let ids = self.declined.len() as u64 * DECLINED_BYTES;
            if bytes.sum::<u64>() + ids <= records_room(self.pool_bytes_max) {
                return Ok(());
            }
            self.refresh_trusted()?;
            let strangers: Vec<_> = self.strangers().collect();
            let holding = strangers
                .into_iter()
                .filter(|owner| self.bytes_of(*owner) > 0);
            let turn = |owner: &OwnerId| match self.decided.used.get(owner) {
                None => (false, self.latest(*owner), *owner),
                Some(used) => (true, *used, *owner),
            };
            let Some(owner) = holding.min_by_key(turn) else {
                return Ok(());
            };
            self.evict(owner);
        }
    }

    fn evict(&mut self, owner: OwnerId) {
        let whole = RecordId::from_bytes(*owner.as_bytes());
        self.tell(whole, None);
        let meaning = self.meanings.remove(&owner).unwrap_or_default();
        let names: BTreeSet<_> = meaning.slots.into_keys().map(|key| key.name).collect();
        for name in names {
            self.tell(whole, Some((owner, name)));
        }
        let Some(namespace) = self.namespaces.remove(&owner) else {
            return;
        };
        for record in namespace.records() {
            if let Some(at) = self.admission(record.id) {
                self.changes.remove(at);
            }
            self.positions.remove(&record.id);
            self.held.remove(&record.id);
            self.verdicts.remove(&record.id);
            self.decline(record.id, owner);
        }
        self.heads.remove(&owner);
        self.counts.remove(&owner);
        self.evicted.insert(owner);
        self.decided.used.remove(&owner);
    }

    /// Takes records of an evicted owner again.
    pub(super) fn readmit(&mut self, owner: OwnerId) {
        if self.evicted.remove(&owner) {
            self.declined.retain(|_, of| *of != owner);
            self.decliners.retain(|_, of| *of != owner);
            self.tell(RecordId::from_bytes(*owner.as_bytes()), None);
        }
    }
}
