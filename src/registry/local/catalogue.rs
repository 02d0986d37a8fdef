//! The records behind a `LocalRegistry`.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ggen_protocols::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root};
use ggen_protocols::record::{FeedHead, Record, Verified};
use redb::ReadableTableMetadata;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::{LocalRegistry, joined};
use crate::Result;
use crate::crypto::StrictSignatures;
use crate::registry::stored::{self, Source, Stored};
use crate::registry::tables::{self, DECLINED, key};
use crate::registry::view::{self, Package, Snapshot};
use crate::registry::write::{self, Offer, Written};
use crate::registry::{
    Admission, Admitted, Audit, Catalogue, RegistryError, Release, Totals, Verdict, audit, sign,
    tree,
};

/// Records that one job writes: enough that a path of the tree is touched once for many of them.
const RECORDS_PER_JOB: usize = 2048;
/// Jobs of one call that are prepared or written at a time.
const JOBS_AT_A_TIME: usize = 2;

#[async_trait]
impl Catalogue for LocalRegistry {
    fn network(&self) -> NetworkId {
        self.network
    }

    fn own(&self) -> Vec<OwnerId> {
        self.own.clone()
    }

    async fn admit(&self, records: Vec<Verified<Record>>) -> Result<Vec<Admission>> {
        let mut jobs = Vec::with_capacity(records.len().div_ceil(RECORDS_PER_JOB));
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            jobs.push(records.by_ref().take(RECORDS_PER_JOB).collect::<Vec<_>>());
        }
        let (max, clock) = (self.owner_records_max, self.clock);
        let write = |records: Vec<Verified<Record>>| async move {
            let preparing = spawn_blocking(move || records.iter().map(Offer::of).collect());
            let offers = joined(preparing.await)?;
            self.change(move |transaction| Ok(write::admit(transaction, offers, clock(), max)?))
                .await
        };
        let written = stream::iter(jobs).map(write).buffered(JOBS_AT_A_TIME);
        let admissions: Vec<Vec<Admission>> = written.try_collect().await?;
        Ok(admissions.into_iter().flatten().collect())
    }

    async fn admit_own(&self, record: Verified<Record>) -> Result<Admission> {
        let writer = self.own_writer();
        self.change(move |transaction| {
            let is_new = sign::check_own(&Stored(transaction, writer.network), &record, None)?;
            writer.write(transaction, is_new.then_some(&record), None)
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

    fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    async fn feed_head(&self, owner: OwnerId, key: PublicKey) -> Result<FeedHead> {
        self.view(move |stored| Ok(stored.feed(owner, key)?.head))
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
            let slots = snapshot.table(tables::SLOTS)?;
            stored::packages(&slots, after.as_ref(), limit)
        })
        .await
    }

    async fn owner_of(&self, namespace: Option<&str>, name: &CanonicalName) -> Result<OwnerId> {
        let (namespace, name) = (namespace.map(str::to_owned), name.clone());
        let own = self.own.clone();
        self.view(move |stored| view::owner_of(stored, &own, namespace.as_deref(), &name))
            .await
    }

    async fn judge(&self, record: RecordId, verdict: Verdict) -> Result<()> {
        let network = self.network;
        self.change(move |transaction| {
            let stored = Stored(transaction, network);
            let Some(position) = stored.position(&record)?.filter(|at| *at != DECLINED) else {
                let what = format!("record {record}");
                return Err(RegistryError::NotFound(what).into());
            };
            let package = stored.package(position)?;
            let package = package.map(|(owner, name)| key::package(owner, &name));
            let before = stored.verdict(&record)?;
            let position =
                write::judge(transaction, record, package.as_deref(), &before, &verdict)?;
            Ok(Written {
                value: (),
                position,
            })
        })
        .await
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
