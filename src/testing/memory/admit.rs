//! Whether the model takes a record.

use ggen_protocols::catalogue::{Contribution, Fact, Namespace, is_granted};
use ggen_protocols::id::OwnerId;
use ggen_protocols::limits;
use ggen_protocols::record::{Record, Refusal, Verified};

use super::State;
use crate::registry::Admission;

impl State {
    /// Effective records of an owner.
    pub(super) fn held_of(&self, owner: OwnerId) -> u64 {
        self.counts.get(&owner).map_or(0, |(held, _)| *held)
    }

    /// Whether an owner has room for one more record that has an effect, or for one that has none.
    fn has_room(&self, owner: OwnerId, is_effective: bool) -> bool {
        let (held, inert) = self.counts.get(&owner).copied().unwrap_or_default();
        match is_effective {
            true => held < self.owner_records_max,
            false => inert < self.owner_records_max.min(limits::INERT_PER_OWNER_MAX),
        }
    }

    /// Takes one record, or says why not.
    pub(super) fn admit_one(
        &mut self,
        record: Verified<Record>,
        added: Contribution,
        fills_gap: bool,
        now_ms: u64,
    ) -> Admission {
        let (id, owner) = (added.id, added.owner);
        if self.held.contains_key(&id) {
            return Admission::Known;
        }
        let empty = || Namespace::new(self.network, owner);
        let mut namespace = self.namespaces.get(&owner).cloned().unwrap_or_else(empty);
        if let Err(refusal) = namespace.admit(&record) {
            let previous = added.previous.and_then(|id| self.declined.get(&id));
            let refusal = match refusal {
                Refusal::Unauthorised { .. }
                    if added.fact == Fact::Document && previous == Some(&owner) =>
                {
                    Refusal::SuperfluousDocument { owner }
                }
                other => other,
            };
            if matches!(refusal, Refusal::SuperfluousDocument { .. }) {
                self.decline(id, owner);
            }
            return Admission::Refused(refusal);
        }
        if self.evicted.contains(&owner) {
            self.decline(id, owner);
            return Admission::Evicted;
        }
        if added.fact != Fact::Document {
            let is_granted = is_granted(namespace.documents().standing(), &added);
            let is_effective = is_granted || fills_gap;
            if !self.has_room(owner, is_effective) {
                self.decline(id, owner);
                return Admission::OwnerFull;
            }
            let (held, inert) = self.counts.entry(owner).or_default();
            *held += u64::from(is_effective);
            *inert += u64::from(!is_effective);
        }
        self.namespaces.insert(owner, namespace);
        self.undecline(&id);
        self.step(&added);
        self.positions.insert(id, self.last());
        self.held.insert(id, (record, now_ms));
        Admission::New
    }
}
