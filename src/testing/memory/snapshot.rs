//! What the model holds, as the rules for views read it.

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::catalogue::{Fact, Feed, Namespace, Register, Slot, Status};
use ggen_protocols::id::{CanonicalName, Label, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::owner::{Documents, Standing};
use ggen_protocols::trust::{Anchor, Endorsement, Veto};
use ggen_protocols::view::Mode;
use semver::Version;

use super::State;
use crate::db::Fault;
use crate::registry::Verdict;
use crate::registry::evidence::Question;
use crate::registry::view::{Held, Package, Snapshot};

impl Snapshot for State {
    fn held(&self, id: &RecordId) -> Result<Option<Held>, Fault> {
        let held = self.held.get(id).cloned();
        Ok(held.map(|(record, first_seen_ms)| Held {
            record,
            first_seen_ms,
        }))
    }

    fn slot(&self, key: &ReleaseKey) -> Result<Option<Slot>, Fault> {
        let meaning = self.meanings.get(&key.owner);
        Ok(meaning.and_then(|meaning| meaning.slots.get(key).cloned()))
    }

    fn slots(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, Slot>, Fault> {
        let slots = self.meanings.get(&owner).into_iter();
        let slots = slots.flat_map(|meaning| &meaning.slots);
        let of_package = slots.filter(|(key, _)| (key.owner, &key.name) == (owner, name));
        Ok(of_package
            .map(|(key, slot)| (key.version.clone(), slot.clone()))
            .collect())
    }

    fn registers(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Option<Version>, Register>, Fault> {
        let registers = self.meanings.get(&owner).into_iter();
        let registers = registers.flat_map(|meaning| &meaning.registers);
        let of_package = registers.filter(|(key, _)| (key.0, &key.1) == (owner, name));
        Ok(of_package
            .map(|(key, register)| (key.2.clone(), register.clone()))
            .collect())
    }

    fn register(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
        version: Option<&Version>,
    ) -> Result<Option<Register>, Fault> {
        Ok(self.registers(owner, name)?.remove(&version.cloned()))
    }

    fn owners(&self, name: &CanonicalName) -> Result<Vec<OwnerId>, Fault> {
        let packages = self.packages().into_iter();
        let named = packages.filter(|(_, other)| other == name);
        Ok(named.map(|(owner, _)| owner).collect())
    }

    fn owners_after(
        &self,
        name: &CanonicalName,
        after: Option<OwnerId>,
        limit: usize,
    ) -> Result<Vec<OwnerId>, Fault> {
        let owners = self.owners(name)?.into_iter();
        let later = owners.filter(|owner| after.is_none_or(|after| *owner > after));
        Ok(later.take(limit).collect())
    }

    fn names(&self, prefix: &str, limit: usize) -> Result<Vec<CanonicalName>, Fault> {
        let packages = self.packages().into_iter().map(|(_, name)| name);
        let names: BTreeSet<_> = packages
            .filter(|name| name.as_str().starts_with(prefix))
            .collect();
        Ok(names.into_iter().take(limit).collect())
    }

    fn has_package(&self, owner: OwnerId, name: &CanonicalName) -> Result<bool, Fault> {
        Ok(self.packages().contains(&(owner, name.clone())))
    }

    fn authored(
        &self,
        author: &str,
        after: Option<&Package>,
        limit: usize,
    ) -> Result<Vec<Package>, Fault> {
        let packages = self.packages().into_iter();
        let rest = packages.filter(|package| after.is_none_or(|after| package > after));
        Ok(rest
            .filter(|package| self.names(package, author))
            .take(limit)
            .collect())
    }

    fn pin(&self, label: &Label) -> Result<Option<OwnerId>, Fault> {
        Ok(self.pins.get(label).copied())
    }

    fn feed(&self, owner: OwnerId, key: PublicKey) -> Result<Feed, Fault> {
        let meaning = self.meanings.get(&owner);
        let feed = meaning.and_then(|meaning| meaning.feeds.get(&key));
        Ok(feed.copied().unwrap_or_default())
    }

    fn documents(&self, owner: OwnerId) -> Result<Documents, Fault> {
        let known = self.namespaces.get(&owner);
        let known = known.map(|namespace| namespace.documents().clone());
        Ok(known.unwrap_or_else(|| Documents::none(self.network, owner)))
    }

    fn status(&self, owner: OwnerId) -> Result<Option<Status>, Fault> {
        let namespace = self.namespaces.get(&owner);
        let mut records = namespace.into_iter().flat_map(Namespace::records);
        let has_documents = records.any(|record| record.fact == Fact::Document);
        let status = self.meanings.get(&owner).map(|meaning| meaning.status);
        Ok(status.filter(|_| has_documents))
    }

    fn label(&self, owner: OwnerId) -> Result<Option<String>, Fault> {
        let namespace = self.namespaces.get(&owner);
        let standing = namespace.map(|namespace| namespace.documents().standing());
        Ok(match standing {
            Some(Standing::Active(_, document)) => Some(document.label.clone()),
            _ => None,
        }
        .filter(|label| !label.is_empty()))
    }

    fn endorsements(&self, issuer: OwnerId) -> Result<BTreeMap<OwnerId, Endorsement>, Fault> {
        let meaning = self.meanings.get(&issuer);
        Ok(meaning.map_or_else(BTreeMap::new, |meaning| meaning.endorsements.clone()))
    }

    fn endorsement(&self, issuer: OwnerId, subject: OwnerId) -> Result<Option<Endorsement>, Fault> {
        Ok(self.endorsements(issuer)?.remove(&subject))
    }

    fn namespaces_of(&self, key: PublicKey) -> Result<Vec<OwnerId>, Fault> {
        Ok(self.namespaces_naming(key))
    }

    fn suspended(&self, limit: usize) -> Result<Vec<OwnerId>, Fault> {
        let meanings = self.meanings.iter();
        let suspended = meanings
            .filter(|(_, meaning)| matches!(meaning.status, Status::Frozen(_) | Status::Dead(_)));
        Ok(suspended.map(|(owner, _)| *owner).take(limit).collect())
    }

    fn conflicted(
        &self,
        question: &Question,
        limit: usize,
    ) -> Result<Vec<(ReleaseKey, Slot)>, Fault> {
        Ok(self.conflicts(question, limit))
    }

    fn forks(&self, owner: OwnerId, limit: usize) -> Result<Vec<Vec<RecordId>>, Fault> {
        Ok(self.forked_places(owner, limit))
    }

    fn mode(&self) -> Result<Mode, Fault> {
        Ok(self.decided.mode)
    }

    fn name_pin(&self, name: &CanonicalName) -> Result<Option<OwnerId>, Fault> {
        Ok(self.decided.names.get(name).copied())
    }

    fn name_pins(&self) -> Result<BTreeMap<CanonicalName, OwnerId>, Fault> {
        Ok(self.decided.names.clone())
    }

    fn label_pins(&self) -> Result<BTreeMap<Label, OwnerId>, Fault> {
        Ok(self.pins.clone())
    }

    fn contents(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, RecordId>, Fault> {
        let contents = self.decided.contents.iter();
        let of_package = contents.filter(|(key, _)| (key.owner, &key.name) == (owner, name));
        Ok(of_package
            .map(|(key, record)| (key.version.clone(), *record))
            .collect())
    }

    fn content(&self, release: &ReleaseKey) -> Result<Option<RecordId>, Fault> {
        Ok(self.decided.contents.get(release).copied())
    }

    fn anchors(&self) -> Result<BTreeMap<OwnerId, Anchor>, Fault> {
        Ok(self.decided.anchors.clone())
    }

    fn blocked(&self) -> Result<BTreeMap<OwnerId, String>, Fault> {
        Ok(self.decided.blocked.clone())
    }

    fn blocked_keys(&self) -> Result<BTreeMap<PublicKey, String>, Fault> {
        Ok(self.decided.blocked_keys.clone())
    }

    fn vetoed(&self, owner: OwnerId) -> Result<Option<Veto>, Fault> {
        Ok(self.decided.vetoed.get(&owner).copied())
    }

    fn trust_generation(&self) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault> {
        Ok(self.verdicts.get(id).cloned().unwrap_or_default())
    }
}
