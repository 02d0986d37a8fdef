//! The decisions of a `MemoryRegistry`'s user, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ggen_protocols::catalogue::{Contribution, Fact, Slot};
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::record::Body;
use ggen_protocols::trust::{Anchor, Veto};
use ggen_protocols::view::Mode;

use super::{MemoryRegistry, State, answer};
use crate::Result;
use crate::db::Fault;
use crate::registry::evidence::{self, Evidence, Question};
use crate::registry::policy::{Claimants, Decision, KeyIdentity, OwnerTrust, Policy};
use crate::registry::trust::Viewer;
use crate::registry::view::{self, Failure, Namespace, Snapshot};
use crate::registry::{Choices, Concern, Decisions, names, trust};

/// What was decided, and whom that vetoes.
#[derive(Debug, Default)]
pub(in super::super) struct Decided {
    pub(in super::super) mode: Mode,
    pub(in super::super) names: BTreeMap<CanonicalName, OwnerId>,
    pub(in super::super) contents: BTreeMap<ReleaseKey, RecordId>,
    pub(in super::super) anchors: BTreeMap<OwnerId, Anchor>,
    pub(in super::super) blocked: BTreeMap<OwnerId, String>,
    pub(in super::super) blocked_keys: BTreeMap<PublicKey, String>,
    pub(in super::super) vetoed: BTreeMap<OwnerId, Veto>,
    /// Who was trusted when that was looked at last.
    pub(in super::super) trusted: BTreeSet<OwnerId>,
    /// The position of the last change when something of an owner was used last.
    pub(in super::super) used: BTreeMap<OwnerId, u64>,
    /// Owners whose packages may be offered or not any more.
    untold: BTreeSet<OwnerId>,
}

impl State {
    fn decide(&mut self, decision: Decision) {
        let owners = match &decision {
            Decision::BlockKey(key, _) | Decision::UnblockKey(key) => self.namespaces_naming(*key),
            _ => Vec::new(),
        };
        let decided = &mut self.decided;
        decided.untold.extend(owners);
        match decision {
            Decision::Mode(mode) => decided.mode = mode,
            Decision::PinName(name, owner) => drop(decided.names.insert(name, owner)),
            Decision::UnpinName(name) => drop(decided.names.remove(&name)),
            Decision::PinLabel(label, owner) => drop(self.pins.insert(label, owner)),
            Decision::UnpinLabel(label) => drop(self.pins.remove(&label)),
            Decision::Anchor(owner, anchor) => drop(decided.anchors.insert(owner, anchor)),
            Decision::NoAnchor(owner) => drop(decided.anchors.remove(&owner)),
            Decision::Block(owner, why) => drop(decided.blocked.insert(owner, why)),
            Decision::Unblock(owner) => drop(decided.blocked.remove(&owner)),
            Decision::BlockKey(key, why) => drop(decided.blocked_keys.insert(key, why)),
            Decision::UnblockKey(key) => drop(decided.blocked_keys.remove(&key)),
            Decision::All(decisions) => decisions.into_iter().for_each(|one| self.decide(one)),
        }
    }

    fn used(
        &mut self,
        namespace: Option<&str>,
        release: &ReleaseKey,
        record: RecordId,
    ) -> Result<(), Failure> {
        let decided = &mut self.decided;
        match Namespace::parse(namespace)? {
            Namespace::Bare => {
                let name = release.name.clone();
                decided.names.entry(name).or_insert(release.owner);
            }
            Namespace::Label(label) => {
                self.pins.entry(label).or_insert(release.owner);
            }
            Namespace::Owner(_) => {}
        }
        decided.contents.entry(release.clone()).or_insert(record);
        let last = self.last();
        self.decided.used.insert(release.owner, last);
        self.reconsider([release.owner]);
        Ok(())
    }

    /// Makes the vetoes those that follow, and tells of every package that is offered or not any more.
    pub(super) fn follow_vetoes(&mut self) -> Result<(), Fault> {
        let after = trust::vetoes(self, &self.own)?;
        let before = std::mem::replace(&mut self.decided.vetoed, after.clone());
        let is_other = |owner: &&OwnerId| before.contains_key(owner) != after.contains_key(owner);
        let others = before.keys().chain(after.keys()).filter(is_other);
        self.decided.untold.extend(others);
        for owner in std::mem::take(&mut self.decided.untold) {
            for (_, name) in self.packages().into_iter().filter(|(of, _)| *of == owner) {
                let slots = self.slots(owner, &name)?;
                let mut slots: Vec<_> = slots.into_iter().collect();
                // As they are stored: by the text of the version.
                slots.sort_by_key(|(version, _)| version.to_string());
                let Some((_, slot)) = slots.first() else {
                    continue;
                };
                self.tell(slot.first().record, Some((owner, name)));
            }
        }
        Ok(())
    }

    /// Namespaces that some document of theirs gives a key a part in; the one of the bare key first.
    pub(super) fn namespaces_naming(&self, key: PublicKey) -> Vec<OwnerId> {
        let own = OwnerId::of_key(self.network, key);
        let documents = self.held.values().filter_map(|(record, _)| {
            let (Body::Genesis(document) | Body::Acl(document)) = &record.content().body else {
                return None;
            };
            let is_named = document.keys().any(|named| named == key);
            record.namespace().ok().filter(|_| is_named)
        });
        let others: BTreeSet<_> = documents.filter(|owner| *owner != own).collect();
        [own].into_iter().chain(others).collect()
    }

    pub(super) fn conflicts(&self, question: &Question, limit: usize) -> Vec<(ReleaseKey, Slot)> {
        let slots = self.meanings.values().flat_map(|meaning| &meaning.slots);
        let mut found: Vec<_> = slots
            .filter(|(release, slot)| slot.is_conflicted() && question.asks_for(release))
            .map(|(release, slot)| (release.clone(), slot.clone()))
            .collect();
        found.sort_by_key(|(release, _)| {
            let name = release.name.as_str().to_owned();
            (release.owner, name, release.version.to_string())
        });
        found.truncate(limit);
        found
    }

    pub(super) fn forked_places(&self, owner: OwnerId, limit: usize) -> Vec<Vec<RecordId>> {
        let mut places: BTreeMap<_, Vec<RecordId>> = BTreeMap::new();
        let namespace = self.namespaces.get(&owner).into_iter();
        let records = namespace.flat_map(|namespace| namespace.records());
        for Contribution {
            id, key, previous, ..
        } in records.filter(|record| record.fact != Fact::Document)
        {
            // A feed's start is stored as zeros.
            let previous = previous.unwrap_or(RecordId::from_bytes([0; 32]));
            places.entry((*key, previous)).or_default().push(*id);
        }
        let feeds = self.meanings.get(&owner).map(|meaning| &meaning.feeds);
        let is_forked = |key: &PublicKey| {
            let feed = feeds.and_then(|feeds| feeds.get(key));
            feed.is_some_and(|feed| feed.forked)
        };
        let places = places.into_iter();
        let forked = places.filter(|((key, _), here)| here.len() > 1 && is_forked(key));
        forked.map(|(_, here)| here).take(limit).collect()
    }
}

#[async_trait]
impl Choices for MemoryRegistry {
    fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    async fn policy(&self) -> Result<Policy> {
        answer(view::policy(&*self.state()).map_err(Failure::from))
    }

    async fn decide(&self, decision: Decision) -> Result<()> {
        self.change(|state| {
            let anchors = state.decided.anchors.clone();
            let decisions = decision.checked(&state.own, anchors)?;
            decisions.into_iter().for_each(|one| state.decide(one));
            let evicted: Vec<_> = state.evicted.iter().copied().collect();
            state.reconsider(evicted);
            Ok(state.refresh_trusted()?)
        })?;
        self.decisions.add(Concern::All);
        Ok(())
    }

    async fn write_as(&self, owners: Vec<OwnerId>) -> Result<()> {
        self.change(|state| {
            state.own = owners.clone();
            let evicted: Vec<_> = state.evicted.iter().copied().collect();
            state.reconsider(evicted);
            Ok(())
        })?;
        let mut viewer = self
            .viewer
            .write()
            .expect("no holder of this lock can panic");
        *viewer = Arc::new(Viewer::new(owners));
        drop(viewer);
        self.decisions.add(Concern::All);
        Ok(())
    }

    async fn used(
        &self,
        namespace: Option<&str>,
        release: &ReleaseKey,
        record: RecordId,
    ) -> Result<()> {
        self.change(|state| state.used(namespace, release, record))?;
        self.decisions.add(match Namespace::parse(namespace) {
            Ok(Namespace::Label(_)) | Err(_) => Concern::All,
            Ok(_) => Concern::Name(release.name.clone()),
        });
        Ok(())
    }

    async fn trust(&self, owner: OwnerId, name: Option<&CanonicalName>) -> Result<OwnerTrust> {
        let trust = trust::of_owner(&*self.state(), &self.viewer(), owner, name);
        answer(trust.map_err(Failure::from))
    }

    async fn identities(&self, key: PublicKey) -> Result<Vec<KeyIdentity>> {
        answer(trust::identities(&*self.state(), key).map_err(Failure::from))
    }

    async fn claimants(
        &self,
        namespace: Option<&str>,
        name: &CanonicalName,
        limit: usize,
    ) -> Result<Claimants> {
        let state = self.state();
        let claimants = names::claimants(&*state, &self.viewer(), namespace, name, limit);
        answer(claimants)
    }

    async fn evidence(&self, question: Question) -> Result<Evidence> {
        let gathered = evidence::gather(&*self.state(), self.network, &question);
        answer(gathered.map_err(Failure::from))
    }
}
