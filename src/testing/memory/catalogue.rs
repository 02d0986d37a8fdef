//! The records behind a `MemoryRegistry`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use async_trait::async_trait;
use bytes::Bytes;
use ggen_protocols::catalogue::Namespace;
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::message::HeadPlace;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root, branch_of};
use ggen_protocols::record::{FeedHead, Record, Verified};
use tokio::sync::watch;

use super::{MemoryRegistry, answer};
use crate::Result;
use crate::registry::downloads::day_of;
use crate::registry::sign;
use crate::registry::view::{self, Failure, Package, Snapshot};
use crate::registry::{
    Admission, Admitted, Audit, Catalogue, Release, Sight, Totals, Verdict, Witnessed, heads,
};
use crate::registry::{names, precedence};

#[async_trait]
impl Catalogue for MemoryRegistry {
    fn network(&self) -> NetworkId {
        self.network
    }

    fn own(&self) -> Vec<OwnerId> {
        self.viewer().own.clone()
    }

    async fn admit(&self, records: Vec<Verified<Record>>) -> Result<Vec<Admission>> {
        let now = (self.clock)();
        self.change(|state| Ok(state.admit(records, now)?))
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
        let known = |id| state.held.contains_key(id) || state.declined.contains_key(id);
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
        let feed = self.state().feed(owner, key);
        Ok(answer(feed.map_err(Failure::from))?.head)
    }

    async fn witness(&self, head: Verified<Record>) -> Result<Witnessed> {
        self.change(|state| {
            let said = heads::head_of(&head).ok_or_else(heads::not_a_head)?;
            let (subject, key) = (said.subject, head.key());
            let is_evicted = state.evicted.contains(&subject);
            if is_evicted {
                return Ok(Witnessed::Stranger);
            }
            let objection = heads::objection(state, &self.own(), self.network, subject, key)?;
            if let Some(objection) = objection {
                return Ok(objection);
            }
            let of_subject = state.heads.entry(subject).or_default();
            if !heads::is_newer(&head, of_subject.get(&key)) {
                return Ok(Witnessed::Older);
            }
            of_subject.insert(key, head);
            state.make_room()?;
            Ok(Witnessed::Newer)
        })
    }

    async fn heads(
        &self,
        after: Option<HeadPlace>,
        limit: usize,
    ) -> Result<Vec<(HeadPlace, Bytes)>> {
        let state = self.state();
        let all = state.heads.iter().flat_map(|(subject, heads)| {
            let placed = |(key, head): (&PublicKey, &Verified<Record>)| {
                ((*subject, *key), head.envelope().clone())
            };
            heads.iter().map(placed).collect::<Vec<_>>()
        });
        let later = all.filter(|(place, _)| after.is_none_or(|after| *place > after));
        Ok(later.take(limit).collect())
    }

    async fn sights(&self, owner: OwnerId) -> Result<Vec<Sight>> {
        let state = self.state();
        let none = BTreeMap::new();
        let heads = state.heads.get(&owner).unwrap_or(&none);
        let sights = heads::sights(&*state, owner, heads, (self.clock)());
        answer(sights.map_err(Failure::from))
    }

    async fn documents(&self, owner: OwnerId) -> Result<Vec<Bytes>> {
        let state = self.state();
        let mut records: Vec<_> = state
            .held
            .values()
            .map(|(record, _)| record)
            .filter(|record| record.namespace() == Ok(owner) && sign::is_document(record))
            .collect();
        records.sort_by_key(|record| record.content().seq);
        Ok(records
            .into_iter()
            .map(|record| record.envelope().clone())
            .collect())
    }

    async fn forked(&self, owner: OwnerId) -> Result<Vec<PublicKey>> {
        let state = self.state();
        let meaning = state.meanings.get(&owner).into_iter();
        let feeds = meaning.flat_map(|meaning| &meaning.feeds);
        let forked = feeds.filter(|(_, feed)| feed.forked);
        Ok(forked.map(|(key, _)| *key).collect())
    }

    async fn releases(&self, owner: OwnerId, name: &CanonicalName) -> Result<Vec<Release>> {
        let releases = view::releases(&*self.state(), owner, name);
        answer(releases.map_err(Failure::from))
    }

    async fn owners_of(&self, name: &CanonicalName) -> Result<Vec<OwnerId>> {
        answer(self.state().owners(name).map_err(Failure::from))
    }

    async fn packages(&self, after: Option<Package>, limit: usize) -> Result<Vec<Package>> {
        let state = self.state();
        let used = state.decided.contents.keys();
        let used = used.map(|release| (release.owner, release.name.clone()));
        let packages: BTreeSet<_> = state.packages().into_iter().chain(used).collect();
        let packages = packages.into_iter();
        let rest = packages.filter(|package| after.as_ref().is_none_or(|after| package > after));
        Ok(rest.take(limit).collect())
    }

    async fn owner_of(&self, namespace: Option<&str>, name: &CanonicalName) -> Result<OwnerId> {
        let state = self.state();
        answer(names::owner_of(&*state, &self.viewer(), namespace, name))
    }

    async fn judge(&self, record: RecordId, verdict: Verdict) -> Result<()> {
        self.change(|state| state.judge(record, verdict))
    }

    fn downloaded(&self, release: &ReleaseKey) {
        self.state().count(release, day_of((self.clock)()));
    }

    async fn downloads(&self, owner: OwnerId, name: &CanonicalName) -> Result<u64> {
        let counted = self.state().counted(owner, name).into_iter();
        Ok(counted.map(|(_, _, count)| count).sum())
    }

    async fn totals(&self) -> Result<Totals> {
        let state = self.state();
        Ok(Totals {
            records: state.held.len() as u64,
            packages: state.packages().len() as u64,
            versions: state
                .meanings
                .values()
                .map(|meaning| meaning.slots.len() as u64)
                .sum(),
        })
    }

    async fn audit(&self) -> Result<Audit> {
        let state = self.state();
        let mut findings = Vec::new();
        for (owner, namespace) in &state.namespaces {
            let mut records: Vec<_> = state.held.values().map(|(record, _)| record).collect();
            records.retain(|record| record.namespace() == Ok(*owner));
            records.sort_by_key(|record| precedence(record.content()));
            let mut again = Namespace::new(state.network, *owner);
            for record in records {
                if let Err(refusal) = again.admit(record) {
                    findings.push(format!("record {}: {refusal}", record.id()));
                }
            }
            let meaning = again.meaning();
            if Some(&meaning) != state.meanings.get(owner) || meaning != namespace.meaning() {
                findings.push(format!("{owner}: what was derived does not follow"));
            }
        }
        Ok(Audit {
            records: state.held.len() as u64,
            findings,
        })
    }
}
