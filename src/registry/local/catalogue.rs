//! The records behind a `LocalRegistry`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::message::HeadPlace;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root};
use ggen_protocols::record::{FeedHead, Record, Verified};
use redb::{ReadableTable, ReadableTableMetadata};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::{LocalRegistry, joined};
use crate::Result;
use crate::crypto::StrictSignatures;
use crate::db::Fault;
use crate::registry::downloads::day_of;
use crate::registry::heads::not_a_head;
use crate::registry::pool;
use crate::registry::stored::{self, Source, Stored};
use crate::registry::tables::{self, DECLINED, key};
use crate::registry::view::{self, Package, Snapshot};
use crate::registry::write::{self, Offer, Written};
use crate::registry::{
    Admission, Admitted, Audit, Catalogue, RegistryError, Release, Sight, Totals, Verdict,
    Witnessed, audit, derive, heads, names, sign, tree,
};

/// Jobs of one call that are prepared or written at a time.
const JOBS_AT_A_TIME: usize = 2;

#[async_trait]
impl Catalogue for LocalRegistry {
    fn network(&self) -> NetworkId {
        self.network
    }

    fn own(&self) -> Vec<OwnerId> {
        self.viewer().own.clone()
    }

    async fn admit(&self, records: Vec<Verified<Record>>) -> Result<Vec<Admission>> {
        let mut offered: Vec<_> = records.into_iter().enumerate().collect();
        offered.sort_by_key(|(at, record)| (write::precedence(record.content()), *at));
        let (places, mut records): (Vec<_>, Vec<_>) = offered.into_iter().unzip();
        // What is one job is written in order. Of several, one may overtake another: no record may do so with the
        // document that lets it in.
        let per_job = pool::records_per_job(self.pool_bytes_max);
        let documents = match records.len() > per_job {
            true => records.partition_point(|record| !write::precedence(record.content()).0),
            false => 0,
        };
        let others = records.split_off(documents);
        let write = |records: Vec<Verified<Record>>| async move {
            let preparing = spawn_blocking(move || records.into_iter().map(Offer::of).collect());
            let offers = joined(preparing.await)?;
            let terms = self.terms();
            self.change(move |transaction| Ok(write::admit(transaction, offers, terms)?))
                .await
        };
        let mut admissions = Vec::with_capacity(places.len());
        for (records, at_a_time) in [(records, 1), (others, JOBS_AT_A_TIME)] {
            let mut records = records.into_iter().peekable();
            let mut jobs = Vec::with_capacity(records.len().div_ceil(per_job));
            while records.peek().is_some() {
                jobs.push(records.by_ref().take(per_job).collect::<Vec<_>>());
            }
            let written = stream::iter(jobs).map(write).buffered(at_a_time);
            let written: Vec<Vec<Admission>> = written.try_collect().await?;
            admissions.extend(written.into_iter().flatten());
        }
        let mut answers = vec![Admission::Known; places.len()];
        for (at, admission) in places.into_iter().zip(admissions) {
            answers[at] = admission;
        }
        Ok(answers)
    }

    async fn admit_own(&self, record: Verified<Record>) -> Result<Admission> {
        let writer = self.own_writer();
        self.change(move |transaction| {
            let stored = Stored(transaction, writer.terms.network);
            let is_new = sign::check_own(&stored, &record, None)?;
            writer.write(transaction, is_new.then_some(record), None)
        })
        .await
    }

    async fn root(&self) -> Result<Root> {
        self.read(|snapshot| Ok(tree::branch(snapshot, Prefix::ROOT)?.root()))
            .await
    }

    async fn branches(&self, prefixes: Vec<Prefix>) -> Result<Vec<Branch>> {
        self.read(move |snapshot| {
            let prefixes = prefixes.into_iter();
            prefixes
                .map(|prefix| tree::branch(snapshot, prefix))
                .collect()
        })
        .await
    }

    async fn ids(&self, range: RangeInclusive<RecordId>, limit: usize) -> Result<Vec<RecordId>> {
        self.read(move |snapshot| {
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let (first, last) = (range.start().as_bytes(), range.end().as_bytes());
            let table = snapshot.table(tables::IDS)?;
            let rows = table.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
            rows.take(limit)
                .map(|row| tables::read_id(row?.0.value()))
                .collect()
        })
        .await
    }

    async fn known(&self, ids: Vec<RecordId>) -> Result<Vec<bool>> {
        self.read(move |snapshot| {
            let table = snapshot.table(tables::IDS)?;
            let known = |id| Ok(stored::position_of(&table, id)?.is_some());
            ids.iter().map(known).collect()
        })
        .await
    }

    async fn envelopes(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Bytes>>> {
        self.view(move |stored| {
            let envelope = |id| Ok(stored.envelope(id)?.map(|(_, envelope)| envelope));
            ids.iter().map(envelope).collect()
        })
        .await
    }

    async fn changes(&self, since: u64, limit: usize) -> Result<Vec<Admitted>> {
        self.read(move |snapshot| {
            let first = since.saturating_add(1).to_be_bytes();
            let table = snapshot.table(tables::CHANGES)?;
            let rows = table.range::<&[u8]>(first.as_slice()..)?;
            let mut changes = Vec::new();
            for row in rows.take(limit) {
                let (position, change) = row?;
                let position = tables::read_position(tables::CHANGES, position.value())?;
                changes.push(tables::read_change(position, change.value())?);
            }
            Ok(changes)
        })
        .await
    }

    async fn pruned(&self) -> Result<u64> {
        self.read(|snapshot| pool::changes::read_pruned(&snapshot.table(tables::ABOUT)?))
            .await
    }

    fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    async fn feed_head(&self, owner: OwnerId, key: PublicKey) -> Result<FeedHead> {
        self.view(move |stored| Ok(stored.feed(owner, key)?.head))
            .await
    }

    async fn witness(&self, head: Verified<Record>) -> Result<Witnessed> {
        let (network, own) = (self.network, self.own());
        let pool_bytes_max = self.pool_bytes_max;
        self.change(move |transaction| {
            let stored = Stored(transaction, network);
            let said = heads::head_of(&head).ok_or_else(not_a_head)?;
            let position = stored::last_position(&transaction.table(tables::CHANGES)?)?;
            let written = |value| Written::at(position, value);
            let is_evicted = pool::is_evicted(transaction, said.subject)?;
            if is_evicted {
                return Ok(written(Witnessed::Stranger));
            }
            let objection = heads::objection(&stored, &own, network, said.subject, head.key())?;
            if let Some(objection) = objection {
                return Ok(written(objection));
            }
            let at = key::pair(said.subject, head.key().as_bytes());
            let mut table = transaction.table(tables::HEADS)?;
            let kept = table.get(at.as_slice()).map_err(Fault::from)?;
            let kept = kept.map(|kept| Bytes::copy_from_slice(kept.value()));
            let kept = kept.map(|kept| heads::stored(kept, network)).transpose()?;
            if !heads::is_newer(&head, kept.as_ref()) {
                return Ok(written(Witnessed::Older));
            }
            let envelope: &[u8] = head.envelope();
            table.insert(at.as_slice(), envelope).map_err(Fault::from)?;
            let before = kept.map(|kept| kept.envelope().len());
            let size = pool::count_head(transaction, said.subject, before, envelope.len())?;
            Ok(Written {
                is_crowded: size.is_beyond(pool_bytes_max),
                ..written(Witnessed::Newer)
            })
        })
        .await
    }

    async fn heads(
        &self,
        after: Option<HeadPlace>,
        limit: usize,
    ) -> Result<Vec<(HeadPlace, Bytes)>> {
        self.read(move |snapshot| {
            let after = after.map(|(owner, witness)| key::pair(owner, witness.as_bytes()));
            let from = after.clone().unwrap_or_default();
            let table = snapshot.table(tables::HEADS)?;
            let mut heads = Vec::new();
            for row in table.range::<&[u8]>(from.as_slice()..)? {
                let (at, envelope) = row?;
                if heads.len() >= limit {
                    break;
                }
                if after.as_deref() != Some(at.value()) {
                    let owner = tables::read_owner_id(tables::HEADS, &at.value()[..32])?;
                    let witness = tables::read_second(tables::HEADS, at.value())?;
                    let place = (owner, PublicKey::from_bytes(witness));
                    heads.push((place, Bytes::copy_from_slice(envelope.value())));
                }
            }
            Ok(heads)
        })
        .await
    }

    async fn sights(&self, owner: OwnerId) -> Result<Vec<Sight>> {
        let (network, clock) = (self.network, self.clock);
        self.view(move |stored| {
            let prefix = owner.as_bytes().as_slice();
            let mut kept = BTreeMap::new();
            stored::scan(
                &stored.0.table(tables::HEADS)?,
                prefix,
                prefix,
                |at, row| {
                    let key = PublicKey::from_bytes(tables::read_second(tables::HEADS, at)?);
                    let row = Bytes::copy_from_slice(row);
                    kept.insert(key, heads::stored(row, network)?);
                    Ok(true)
                },
            )?;
            Ok(heads::sights(stored, owner, &kept, clock())?)
        })
        .await
    }

    async fn documents(&self, owner: OwnerId) -> Result<Vec<Bytes>> {
        let network = self.network;
        self.read(move |snapshot| {
            let tables = (
                snapshot.table(tables::DOCUMENTS)?,
                snapshot.table(tables::RECORDS)?,
            );
            let records = derive::document_records(&tables.0, &tables.1, network, owner)?;
            let envelopes = records.iter().map(|record| record.envelope().clone());
            Ok(envelopes.collect())
        })
        .await
    }

    async fn forked(&self, owner: OwnerId) -> Result<Vec<PublicKey>> {
        self.read(move |snapshot| {
            let owner = owner.as_bytes().as_slice();
            let mut forked = Vec::new();
            stored::scan(&snapshot.table(tables::FEEDS)?, owner, owner, |at, row| {
                if let (true, Some(key)) = (
                    tables::read_feed(at, row)?.forked,
                    at.get(owner.len()..).and_then(|key| key.try_into().ok()),
                ) {
                    forked.push(PublicKey::from_bytes(key));
                }
                Ok(true)
            })?;
            Ok(forked)
        })
        .await
    }

    async fn releases(&self, owner: OwnerId, name: &CanonicalName) -> Result<Vec<Release>> {
        let name = name.clone();
        self.view(move |stored| Ok(view::releases(stored, owner, &name)?))
            .await
    }

    async fn owners_of(&self, name: &CanonicalName) -> Result<Vec<OwnerId>> {
        let name = name.clone();
        self.view(move |stored| Ok(stored.owners(&name)?)).await
    }

    async fn packages(&self, after: Option<Package>, limit: usize) -> Result<Vec<Package>> {
        self.read(move |snapshot| {
            // What was used here stays a package, whatever became of its owner.
            let mut packages = Vec::new();
            for rows in [tables::SLOTS, tables::CONTENTS] {
                let releases = snapshot.table(rows)?;
                packages.extend(stored::packages(&releases, after.as_ref(), limit)?);
            }
            packages.sort_unstable();
            packages.dedup();
            packages.truncate(limit);
            Ok(packages)
        })
        .await
    }

    async fn owner_of(&self, namespace: Option<&str>, name: &CanonicalName) -> Result<OwnerId> {
        let (namespace, name) = (namespace.map(str::to_owned), name.clone());
        let viewer = self.viewer();
        self.view(move |stored| names::owner_of(stored, &viewer, namespace.as_deref(), &name))
            .await
    }

    async fn judge(&self, record: RecordId, verdict: Verdict) -> Result<()> {
        let network = self.network;
        self.change(move |transaction| {
            let stored = Stored(transaction, network);
            let Some(position) = stored.position(&record)?.filter(|at| *at < DECLINED) else {
                let what = format!("record {record}");
                return Err(RegistryError::NotFound(what).into());
            };
            let package = stored.package(position)?;
            let package = package.map(|(owner, name)| key::package(owner, &name));
            let before = stored.verdict(&record)?;
            let position =
                write::judge(transaction, record, package.as_deref(), &before, &verdict)?;
            Ok(Written::at(position, ()))
        })
        .await
    }

    fn downloaded(&self, release: &ReleaseKey) {
        self.downloads
            .count(release.clone(), day_of((self.clock)()));
    }

    async fn downloads(&self, owner: OwnerId, name: &CanonicalName) -> Result<u64> {
        let counted = self.counted(owner, name).await?;
        Ok(counted.into_iter().map(|(_, _, count)| count).sum())
    }

    async fn totals(&self) -> Result<Totals> {
        self.read(|snapshot| {
            Ok(Totals {
                records: snapshot.table(tables::RECORDS)?.len()?,
                packages: snapshot.table(tables::NAMES)?.len()?,
                versions: snapshot.table(tables::SLOTS)?.len()?,
            })
        })
        .await
    }

    async fn audit(&self) -> Result<Audit> {
        let network = self.network;
        self.read(move |snapshot| audit::audit(snapshot, network, &StrictSignatures))
            .await
    }
}
