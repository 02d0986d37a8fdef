//! A catalogue in plain maps: the model that stored ones are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use ggen_protocols::catalogue::{Contribution, Feed, Meaning, Register, Slot};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{
    CanonicalName, Label, NetworkId, OwnerId, PackageId, PublicKey, RecordId, ReleaseKey,
};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root, branch_of};
use ggen_protocols::record::{Body, FeedHead, Record, Verified};
use semver::{Version, VersionReq};
use tokio::sync::watch;

use crate::Result;
use crate::db::Fault;
use crate::registry::local::OpenOptions;
use crate::registry::sign::{self, Identity};
use crate::registry::view::{self, Failure, Held, Package, Snapshot};
use crate::registry::{
    Admission, Admitted, Audit, Catalogue, Registry, RegistryError, Release, Totals, Verdict,
};

/// A catalogue that is gone when it is dropped. It derives everything with the pure rules and searches its maps
/// from end to end, so that it can be believed by reading it.
#[derive(Debug)]
pub struct MemoryRegistry {
    state: Mutex<State>,
    position: watch::Sender<u64>,
    network: NetworkId,
    identity: Option<Identity>,
    own: Vec<OwnerId>,
    clock: fn() -> u64,
}

#[derive(Debug, Default)]
struct State {
    owner_records_max: u64,
    meaning: Meaning,
    held: BTreeMap<RecordId, (Verified<Record>, u64)>,
    declined: BTreeSet<RecordId>,
    changes: Vec<Admitted>,
    verdicts: BTreeMap<RecordId, Verdict>,
    pins: BTreeMap<Label, OwnerId>,
}

impl MemoryRegistry {
    /// An empty catalogue.
    pub fn new(options: OpenOptions) -> Self {
        let state = State {
            owner_records_max: options.owner_records_max,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            position: watch::Sender::new(0),
            network: options.network,
            own: options.owners(),
            clock: options.clock,
            identity: options
                .identity
                .map(|key| Identity::new(options.network, key)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    fn identity(&self) -> Result<Identity> {
        let missing = || RegistryError::Unauthorized("this registry has no key".to_owned());
        Ok(self.identity.clone().ok_or_else(missing)?)
    }

    /// Changes the state, then tells those who follow.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Failure>) -> Result<T> {
        let mut state = self.state();
        let changed = answer(change(&mut state));
        let last = state.changes.len() as u64;
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
            let record = sign::set_yanked(state, &identity, &self.own, id, yanked, now)?;
            state.write(record, now).map(drop)
        })
    }
}

fn answer<T>(outcome: Result<T, Failure>) -> Result<T> {
    outcome.map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Fault(fault) => RegistryError::from(fault.on(Path::new("memory"))).into(),
    })
}

impl State {
    fn known(&self) -> Vec<RecordId> {
        let known: BTreeSet<_> = self.held.keys().chain(&self.declined).copied().collect();
        known.into_iter().collect()
    }

    fn held_of(&self, owner: OwnerId) -> u64 {
        let owners = self.meaning.records.values();
        owners.filter(|other| **other == owner).count() as u64
    }

    fn admit(&mut self, record: Verified<Record>, now_ms: u64) -> Admission {
        let contribution = match Contribution::of(&record) {
            Ok(contribution) => contribution,
            Err(refusal) => return Admission::Refused(refusal),
        };
        let id = contribution.id;
        if self.held.contains_key(&id) {
            return Admission::Known;
        }
        if self.held_of(contribution.owner) >= self.owner_records_max {
            self.declined.insert(id);
            return Admission::OwnerFull;
        }
        self.declined.remove(&id);
        self.step(&contribution);
        self.meaning.add(contribution);
        self.held.insert(id, (record, now_ms));
        Admission::New
    }

    fn step(&mut self, contribution: &Contribution) {
        let package = contribution.package();
        self.changes.push(Admitted {
            position: self.changes.len() as u64 + 1,
            record: contribution.id,
            package: package.map(|(owner, name)| (owner, name.clone())),
        });
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
        if let Some(owner) = record.content().owner {
            let held = self.held_of(owner);
            if held >= self.owner_records_max {
                return Err(sign::full(owner, held).into());
            }
        }
        Ok(self.admit(record, now_ms))
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
        ) {
            self.step(&contribution);
        }
        Ok(())
    }

    fn packages(&self) -> BTreeSet<Package> {
        let releases = self.meaning.slots.keys();
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

impl Snapshot for State {
    fn held(&self, id: &RecordId) -> Result<Option<Held>, Fault> {
        let held = self.held.get(id).cloned();
        Ok(held.map(|(record, first_seen_ms)| Held {
            record,
            first_seen_ms,
        }))
    }

    fn slot(&self, key: &ReleaseKey) -> Result<Option<Slot>, Fault> {
        Ok(self.meaning.slots.get(key).cloned())
    }

    fn slots(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, Slot>, Fault> {
        let slots = self.meaning.slots.iter();
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
        let registers = self.meaning.registers.iter();
        let of_package = registers.filter(|(key, _)| (key.0, &key.1) == (owner, name));
        Ok(of_package
            .map(|(key, register)| (key.2.clone(), register.clone()))
            .collect())
    }

    fn owners(&self, name: &CanonicalName) -> Result<Vec<OwnerId>, Fault> {
        let packages = self.packages().into_iter();
        let named = packages.filter(|(_, other)| other == name);
        Ok(named.map(|(owner, _)| owner).collect())
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
        let feed = self.meaning.feeds.get(&(owner, key));
        Ok(feed.copied().unwrap_or_default())
    }

    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault> {
        Ok(self.verdicts.get(id).cloned().unwrap_or_default())
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
            let signed = sign::register(state, &identity, &self.own, metadata, content_hash, now)?;
            state.write(signed.record, now)?;
            if let Some(label) = signed.pin {
                state.pins.insert(label, identity.owner());
            }
            Ok(metadata.id.clone())
        })
    }

    async fn get(&self, id: &PackageId) -> Result<PackageMetadata> {
        answer(view::get(&*self.state(), &self.own, id))
    }

    async fn list_versions(&self, name: &str, namespace: Option<&str>) -> Result<Vec<Version>> {
        let state = self.state();
        answer(view::list_versions(&*state, &self.own, namespace, name))
    }

    async fn resolve_version(&self, name: &str, req: &VersionReq) -> Result<Option<PackageId>> {
        answer(view::resolve_version(&*self.state(), &self.own, name, req))
    }

    async fn yank(&self, id: &PackageId, reason: Option<&str>) -> Result<()> {
        self.set_yanked(id, Some(reason.unwrap_or_default()))
    }

    async fn unyank(&self, id: &PackageId) -> Result<()> {
        self.set_yanked(id, None)
    }

    async fn is_yanked(&self, id: &PackageId) -> Result<bool> {
        answer(view::is_yanked(&*self.state(), &self.own, id))
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
}

#[async_trait]
impl Catalogue for MemoryRegistry {
    fn network(&self) -> NetworkId {
        self.network
    }

    fn own(&self) -> Vec<OwnerId> {
        self.own.clone()
    }

    async fn admit(&self, records: Vec<Verified<Record>>) -> Result<Vec<Admission>> {
        let now = (self.clock)();
        self.change(|state| {
            let records = records.into_iter();
            Ok(records.map(|record| state.admit(record, now)).collect())
        })
    }

    async fn admit_own(&self, record: Verified<Record>) -> Result<Admission> {
        let now = (self.clock)();
        self.change(|state| {
            let is_new = sign::check_own(state, &record, None)?;
            state.write(is_new.then_some(record), now)
        })
    }

    async fn root(&self) -> Result<Root> {
        Ok(branch_of(Prefix::ROOT, &self.state().known()).root())
    }

    async fn branches(&self, prefixes: Vec<Prefix>) -> Result<Vec<Branch>> {
        let known = self.state().known();
        let branch = |prefix: Prefix| {
            let below = known.iter().filter(|id| prefix.contains(id)).copied();
            branch_of(prefix, &below.collect::<Vec<_>>())
        };
        Ok(prefixes.into_iter().map(branch).collect())
    }

    async fn ids(&self, range: RangeInclusive<RecordId>, limit: usize) -> Result<Vec<RecordId>> {
        let known = self.state().known().into_iter();
        let within = known.filter(|id| range.contains(id));
        Ok(within.take(limit).collect())
    }

    async fn known(&self, ids: Vec<RecordId>) -> Result<Vec<bool>> {
        let state = self.state();
        let known = |id| state.held.contains_key(id) || state.declined.contains(id);
        Ok(ids.iter().map(known).collect())
    }

    async fn envelopes(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Bytes>>> {
        let state = self.state();
        let held = ids.iter().map(|id| state.held.get(id));
        Ok(held
            .map(|held| held.map(|(record, _)| record.envelope().clone()))
            .collect())
    }

    async fn changes(&self, since: u64, limit: usize) -> Result<Vec<Admitted>> {
        let changes = &self.state().changes;
        let later = changes.iter().filter(|change| change.position > since);
        Ok(later.take(limit).cloned().collect())
    }

    fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    async fn feed_head(&self, owner: OwnerId, key: PublicKey) -> Result<FeedHead> {
        let feed = self.state().meaning.feeds.get(&(owner, key)).copied();
        Ok(feed.unwrap_or_default().head)
    }

    async fn forked(&self, owner: OwnerId) -> Result<Vec<PublicKey>> {
        let state = self.state();
        let feeds = state.meaning.feeds.iter();
        let forked = feeds.filter(|((of, _), feed)| *of == owner && feed.forked);
        Ok(forked.map(|((_, key), _)| *key).collect())
    }

    async fn releases(&self, owner: OwnerId, name: &CanonicalName) -> Result<Vec<Release>> {
        let releases = view::releases(&*self.state(), owner, name);
        answer(releases.map_err(Failure::from))
    }

    async fn owners_of(&self, name: &CanonicalName) -> Result<Vec<OwnerId>> {
        answer(self.state().owners(name).map_err(Failure::from))
    }

    async fn packages(&self, after: Option<Package>, limit: usize) -> Result<Vec<Package>> {
        let packages = self.state().packages().into_iter();
        let rest = packages.filter(|package| after.as_ref().is_none_or(|after| package > after));
        Ok(rest.take(limit).collect())
    }

    async fn owner_of(&self, namespace: Option<&str>, name: &CanonicalName) -> Result<OwnerId> {
        let state = self.state();
        answer(view::owner_of(&*state, &self.own, namespace, name))
    }

    async fn judge(&self, record: RecordId, verdict: Verdict) -> Result<()> {
        self.change(|state| state.judge(record, verdict))
    }

    async fn totals(&self) -> Result<Totals> {
        let state = self.state();
        Ok(Totals {
            records: state.held.len() as u64,
            packages: state.packages().len() as u64,
            versions: state.meaning.slots.len() as u64,
        })
    }

    async fn audit(&self) -> Result<Audit> {
        let state = self.state();
        let mut again = Meaning::default();
        let mut findings = Vec::new();
        for (record, _) in state.held.values() {
            match Contribution::of(record) {
                Ok(contribution) => again.add(contribution),
                Err(refusal) => findings.push(format!("record {}: {refusal}", record.id())),
            }
        }
        if again != state.meaning {
            findings.push("what was derived does not follow from the records".to_owned());
        }
        Ok(Audit {
            records: state.held.len() as u64,
            findings,
        })
    }
}
