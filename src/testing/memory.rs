//! A catalogue in plain maps: the model that stored ones are compared with.

mod admit;
mod catalogue;
mod decided;
mod downloads;
mod pool;
mod snapshot;
mod tokens;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use async_trait::async_trait;
use ggen_protocols::catalogue::{Contribution, Fact, Meaning, Namespace};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{
    CanonicalName, Label, NetworkId, OwnerId, PackageId, PublicKey, RecordId, ReleaseKey,
};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::owner::Standing;
use ggen_protocols::record::{Body, Record, Refusal, Verified};
use semver::{Version, VersionReq};
use tokio::sync::watch;

use decided::Decided;

use crate::Result;
use crate::db::Fault;
use crate::registry::downloads::day_of;
use crate::registry::local::OpenOptions;
use crate::registry::sign::{self, Identity};
use crate::registry::tokens::{Fingerprint, Grant, TokenId};
use crate::registry::trust::Viewer;
use crate::registry::view::{self, Failure, Package};
use crate::registry::{
    Admission, Admitted, Concern, Decisions, DependencyGraph, MetadataUpdates, PackageStats,
    Registry, RegistryError, Verdict, offers, precedence,
};

/// A catalogue that is gone when it is dropped. It derives everything with the pure rules and searches its maps
/// from end to end, so that it can be believed by reading it.
#[derive(Debug)]
pub struct MemoryRegistry {
    state: Mutex<State>,
    position: watch::Sender<u64>,
    network: NetworkId,
    identity: Option<Identity>,
    viewer: RwLock<Arc<Viewer>>,
    clock: fn() -> u64,
    decisions: Decisions,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) network: NetworkId,
    pub(super) own: Vec<OwnerId>,
    owner_records_max: u64,
    pool_bytes_max: u64,
    pub(super) namespaces: BTreeMap<OwnerId, Namespace>,
    pub(super) meanings: BTreeMap<OwnerId, Meaning>,
    pub(super) held: BTreeMap<RecordId, (Verified<Record>, u64)>,
    declined: BTreeMap<RecordId, OwnerId>,
    /// Who declined records are remembered of, by when the first of them was.
    decliners: BTreeMap<u64, OwnerId>,
    /// The last number of those.
    serial: u64,
    evicted: BTreeSet<OwnerId>,
    /// How many records of each owner are effective and how many are not, as last derived.
    counts: BTreeMap<OwnerId, (u64, u64)>,
    changes: Vec<Admitted>,
    /// Where each held record was told of first.
    positions: BTreeMap<RecordId, u64>,
    verdicts: BTreeMap<RecordId, Verdict>,
    heads: BTreeMap<OwnerId, BTreeMap<PublicKey, Verified<Record>>>,
    pub(super) pins: BTreeMap<Label, OwnerId>,
    pub(super) decided: Decided,
    tokens: BTreeMap<TokenId, (Fingerprint, Grant)>,
    downloads: BTreeMap<ReleaseKey, BTreeMap<u32, u64>>,
}

impl MemoryRegistry {
    /// An empty catalogue.
    pub fn new(options: OpenOptions) -> Self {
        let state = State {
            network: options.network,
            own: options.owners(),
            owner_records_max: options.owner_records_max,
            pool_bytes_max: options.pool_bytes_max,
            namespaces: BTreeMap::new(),
            meanings: BTreeMap::new(),
            held: BTreeMap::new(),
            declined: BTreeMap::new(),
            decliners: BTreeMap::new(),
            serial: 0,
            evicted: BTreeSet::new(),
            counts: BTreeMap::new(),
            changes: Vec::new(),
            positions: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            pins: BTreeMap::new(),
            heads: BTreeMap::new(),
            decided: Decided::default(),
            tokens: BTreeMap::new(),
            downloads: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            position: watch::Sender::new(0),
            network: options.network,
            viewer: RwLock::new(Arc::new(Viewer::new(options.owners()))),
            clock: options.clock,
            decisions: Decisions::default(),
            identity: options
                .identity
                .map(|key| Identity::new(options.network, key)),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    fn identity(&self) -> Result<Identity> {
        let missing = || RegistryError::Unauthorized("this registry has no key".to_owned());
        Ok(self.identity.clone().ok_or_else(missing)?)
    }

    pub(super) fn viewer(&self) -> Arc<Viewer> {
        self.viewer
            .read()
            .expect("no holder of this lock can panic")
            .clone()
    }

    /// Changes the state, then tells those who follow.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut state = self.state();
        let changed = answer(change(&mut state));
        answer(state.follow_vetoes().map_err(Failure::from))?;
        let last = state.last();
        self.position.send_if_modified(|position| {
            let moved = *position != last;
            *position = last;
            moved
        });
        changed
    }

    fn set_yanked(&self, id: &PackageId, yanked: Option<&str>) -> Result<()> {
        let (identity, now) = (self.identity()?, (self.clock)());
        self.change(|state| {
            let record = sign::set_yanked(state, &identity, &self.viewer(), id, yanked, now)?;
            state.write(record, now).map(drop)
        })
    }
}

pub(super) fn answer<T>(outcome: Result<T, Failure>) -> Result<T> {
    outcome.map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Fault(fault) => RegistryError::from(fault.on(Path::new("memory"))).into(),
    })
}

/// The packages of which a release or a register is another one than before.
fn changed(before: &Meaning, after: &Meaning) -> BTreeSet<CanonicalName> {
    let mut names = BTreeSet::new();
    for (one, other) in [(before, after), (after, before)] {
        let slots = one.slots.iter();
        let slots = slots.filter(|(key, slot)| other.slots.get(key) != Some(slot));
        names.extend(slots.map(|(key, _)| key.name.clone()));
        let registers = one.registers.iter();
        let registers = registers.filter(|(key, value)| other.registers.get(key) != Some(value));
        names.extend(registers.map(|(key, _)| key.1.clone()));
    }
    names
}

impl State {
    fn known(&self) -> Vec<RecordId> {
        let known: BTreeSet<_> = self.held.keys().chain(self.declined.keys()).collect();
        known.into_iter().copied().collect()
    }

    /// The position of the last change.
    fn last(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.position)
    }

    fn tell(&mut self, record: RecordId, package: Option<Package>) {
        self.changes.push(Admitted {
            position: self.last() + 1,
            record,
            package,
        });
    }

    /// Adds records, documents first; one answer for each, in order.
    fn admit(
        &mut self,
        records: Vec<Verified<Record>>,
        now_ms: u64,
    ) -> Result<Vec<Admission>, Fault> {
        let mut offered: Vec<_> = records.into_iter().enumerate().collect();
        offered.sort_by_key(|(at, record)| (precedence(record.content()), *at));
        let mut answers = vec![Admission::Known; offered.len()];
        let mut unsettled = BTreeMap::new();
        let mut touched = BTreeSet::new();
        let mut gaps = BTreeMap::new();
        for (at, record) in offered {
            let Ok(added) = Contribution::of(&record) else {
                answers[at] = Admission::Refused(Refusal::NoNamespace);
                continue;
            };
            let (id, owner) = (added.id, added.owner);
            let namespace = self.namespaces.get(&owner);
            // What lacked before this call: nothing is derived anew before its end.
            let gaps = match gaps.entry(owner) {
                Entry::Occupied(gaps) => gaps.into_mut(),
                Entry::Vacant(none) => {
                    none.insert(namespace.map(Namespace::gaps).unwrap_or_default())
                }
            };
            let fills_gap = gaps.contains(&id);
            let settled = !unsettled.contains_key(&owner);
            let unsettles =
                fills_gap || added.fact == Fact::Document || (settled && self.is_uncertain(&added));
            let before = namespace.map(Namespace::meaning).unwrap_or_default();
            answers[at] = self.admit_one(record, added, fills_gap, now_ms);
            if answers[at] == Admission::New {
                touched.insert(owner);
                if unsettles {
                    // What followed from the records before was told with each of them.
                    if settled {
                        self.meanings.insert(owner, before);
                    }
                    unsettled.insert(owner, id);
                }
            }
        }
        for owner in touched {
            self.settle(owner, unsettled.get(&owner).copied());
        }
        self.follow_vetoes()?;
        self.make_room()?;
        Ok(answers)
    }

    /// Whether a record forks with one of a retired key, whose effect only its whole feed tells.
    fn is_uncertain(&self, added: &Contribution) -> bool {
        let Some(namespace) = self.namespaces.get(&added.owner) else {
            return false;
        };
        let standing = namespace.documents().standing();
        let Standing::Active(_, document) = standing else {
            return false;
        };
        let place = |record: &Contribution| (record.key, record.previous);
        let mut others = namespace
            .records()
            .filter(|other| other.fact != Fact::Document && place(other) == place(added));
        added.fact != Fact::Document
            && added.is_granted(document)
            && document.retired.iter().any(|(key, _)| *key == added.key)
            && others.any(|other| !other.is_granted(document))
    }

    /// Derives what follows from a namespace. If the record `cause` changed what others mean, every package that is
    /// another now is a change of its own.
    fn settle(&mut self, owner: OwnerId, cause: Option<RecordId>) {
        let Some(namespace) = self.namespaces.get(&owner) else {
            return;
        };
        let after = namespace.meaning();
        let members = namespace.records();
        let members = members
            .filter(|record| record.fact != Fact::Document)
            .count() as u64;
        let counts = (after.effective, members - after.effective);
        self.counts.insert(owner, counts);
        let before = self.meanings.insert(owner, after.clone());
        let Some(record) = cause else { return };
        for name in changed(&before.unwrap_or_default(), &after) {
            self.tell(record, Some((owner, name)));
        }
    }

    fn step(&mut self, contribution: &Contribution) {
        let package = contribution.package();
        let package = package.map(|(owner, name)| (owner, name.clone()));
        self.tell(contribution.id, package);
    }

    /// Adds a record that was checked against what is here.
    fn write(
        &mut self,
        record: Option<Verified<Record>>,
        now_ms: u64,
    ) -> Result<Admission, Failure> {
        let Some(record) = record else {
            return Ok(Admission::Known);
        };
        let release = Some(&record).filter(|record| !sign::is_document(record));
        if let Some(owner) = release.and_then(|record| record.content().owner) {
            let held = self.held_of(owner);
            if held >= self.owner_records_max {
                return Err(sign::full(owner, held).into());
            }
        }
        if let Ok(owner) = record.namespace() {
            self.readmit(owner);
        }
        let answers = self.admit(vec![record], now_ms)?;
        Ok(answers.into_iter().next().unwrap_or(Admission::Known))
    }

    fn judge(&mut self, record: RecordId, verdict: Verdict) -> Result<(), Failure> {
        let missing = || RegistryError::NotFound(format!("record {record}"));
        let (held, _) = self.held.get(&record).ok_or_else(missing)?;
        let contribution = Contribution::of(held);
        let is_unsound = |verdict: &Verdict| matches!(verdict, Verdict::Unsound(_));
        let after = is_unsound(&verdict);
        let before = self.verdicts.insert(record, verdict);
        if let (true, Ok(contribution)) = (
            is_unsound(&before.unwrap_or_default()) != after,
            contribution,
        ) && contribution.package().is_some()
        {
            self.step(&contribution);
        }
        Ok(())
    }

    pub(super) fn packages(&self) -> BTreeSet<Package> {
        let releases = self
            .meanings
            .values()
            .flat_map(|meaning| meaning.slots.keys());
        releases
            .map(|release| (release.owner, release.name.clone()))
            .collect()
    }

    /// Whether some release of the package names the author.
    fn names(&self, (owner, name): &Package, author: &str) -> bool {
        let mut records = self.held.values().map(|(record, _)| record.content());
        records.any(|record| match &record.body {
            Body::Publish(publish) if record.owner == Some(*owner) => {
                let mut authors = publish.authors.iter();
                publish.package_name().canonical() == *name
                    && authors.any(|other| other.to_lowercase() == author)
            }
            _ => false,
        })
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register(
        &self,
        metadata: &PackageMetadata,
        content_hash: ContentHash,
    ) -> Result<PackageId> {
        let (identity, now) = (self.identity()?, (self.clock)());
        self.change(|state| {
            let signed = sign::register(
                state,
                &identity,
                &self.viewer(),
                metadata,
                content_hash,
                now,
            )?;
            state.write(signed.record, now)?;
            if let Some(label) = signed.pin {
                state.pins.insert(label, identity.owner());
                self.decisions.add(Concern::All);
            }
            Ok(metadata.id.clone())
        })
    }

    async fn get(&self, id: &PackageId) -> Result<PackageMetadata> {
        answer(view::get(&*self.state(), &self.viewer(), id))
    }

    async fn list_versions(&self, name: &str, namespace: Option<&str>) -> Result<Vec<Version>> {
        let state = self.state();
        answer(view::list_versions(
            &*state,
            &self.viewer(),
            namespace,
            name,
        ))
    }

    async fn resolve_version(&self, name: &str, req: &VersionReq) -> Result<Option<PackageId>> {
        answer(view::resolve_version(
            &*self.state(),
            &self.viewer(),
            name,
            req,
        ))
    }

    async fn resolve_dependencies(
        &self,
        id: &PackageId,
        transitive: bool,
    ) -> Result<DependencyGraph> {
        let (state, viewer) = (self.state(), self.viewer());
        answer(offers::resolve_dependencies(
            &*state, &viewer, id, transitive,
        ))
    }

    async fn update_metadata(&self, id: &PackageId, updates: MetadataUpdates) -> Result<()> {
        let (identity, now) = (self.identity()?, (self.clock)());
        self.change(|state| {
            let record = sign::update(state, &identity, &self.viewer(), id, updates, now)?;
            state.write(record, now).map(drop)
        })
    }

    async fn yank(&self, id: &PackageId, reason: Option<&str>) -> Result<()> {
        self.set_yanked(id, Some(reason.unwrap_or_default()))
    }

    async fn unyank(&self, id: &PackageId) -> Result<()> {
        self.set_yanked(id, None)
    }

    async fn is_yanked(&self, id: &PackageId) -> Result<bool> {
        answer(view::is_yanked(&*self.state(), &self.viewer(), id))
    }

    async fn list_by_author(
        &self,
        author: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<PackageMetadata>> {
        let state = self.state();
        answer(view::list_by_author(&*state, author, limit, offset))
    }

    async fn get_stats(&self, id: &PackageId) -> Result<PackageStats> {
        let state = self.state();
        let release = answer(view::key_of(&*state, &self.viewer(), id))?;
        let counted = state.counted(release.owner, &release.name);
        Ok(PackageStats::of(counted, day_of((self.clock)())))
    }

    async fn record_download(&self, id: &PackageId) -> Result<()> {
        let mut state = self.state();
        let release = answer(view::key_of(&*state, &self.viewer(), id))?;
        state.count(&release, day_of((self.clock)()));
        Ok(())
    }
}
