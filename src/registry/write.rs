//! Adds records to the tables: envelope, id, derived rows, tree and change feed, all in one transaction.

use std::collections::HashMap;

use bytes::Bytes;
use ggen_protocols::catalogue::{Claim, Contribution, Fact, Feed, Register, RegisterKey, Slot};
use ggen_protocols::id::{OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::record::{Body, Record, Refusal, Verified};
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::stored::{self, Source};
use super::tables::{self, DECLINED, Row, key, row};
use super::{Admission, Verdict, tree};
use crate::db::Fault;

/// Ids of declined records that are remembered, 32 bytes each, so that nobody is asked for them again.
const DECLINED_MAX: u64 = 1 << 20;
/// Of those, ids of one owner: a few flooding owners must not use them up.
const DECLINED_PER_OWNER_MAX: u64 = 1 << 16;

/// A record, with all that can be computed of it before the transaction.
#[derive(Debug)]
pub(super) struct Offer {
    contribution: Result<Contribution, Refusal>,
    envelope: Bytes,
    /// Authors whom it names, in lower case.
    authors: Vec<String>,
}

impl Offer {
    pub(super) fn of(record: &Verified<Record>) -> Self {
        Self {
            contribution: Contribution::of(record),
            envelope: record.envelope().clone(),
            authors: authors(record.content()),
        }
    }
}

/// Authors whom a record names, in lower case.
pub(super) fn authors(record: &Record) -> Vec<String> {
    match &record.body {
        Body::Publish(publish) => publish.authors.iter().map(|a| a.to_lowercase()).collect(),
        _ => Vec::new(),
    }
}

/// What became of offers, and the position of the last change then.
#[derive(Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) position: u64,
}

/// Adds what is new of `offers`; one answer for each, in order.
pub(super) fn admit(
    transaction: &WriteTransaction,
    offers: Vec<Offer>,
    now_ms: u64,
    owner_records_max: u64,
) -> Result<Written<Vec<Admission>>, Fault> {
    let mut batch = Batch::begin(transaction, now_ms, owner_records_max)?;
    let mut admissions = Vec::with_capacity(offers.len());
    for offer in offers {
        admissions.push(batch.take(offer)?);
    }
    let position = batch.finish()?;
    Ok(Written {
        value: admissions,
        position,
    })
}

/// The open tables, and what several records of one batch change, which is written once at its end.
struct Batch<'t> {
    now_ms: u64,
    owner_records_max: u64,
    position: u64,
    added: Vec<RecordId>,
    counts: HashMap<OwnerId, (u64, u64)>,
    streams: HashMap<(OwnerId, PublicKey), Feed>,
    records: Table<'t, Row, Row>,
    changes: Table<'t, Row, Row>,
    ids: Table<'t, Row, Row>,
    tree: Table<'t, Row, Row>,
    owners: Table<'t, Row, Row>,
    names: Table<'t, Row, Row>,
    authors: Table<'t, Row, Row>,
    slots: Table<'t, Row, Row>,
    registers: Table<'t, Row, Row>,
    feeds: Table<'t, Row, Row>,
    successors: Table<'t, Row, Row>,
}

impl<'t> Batch<'t> {
    fn begin(
        transaction: &'t WriteTransaction,
        now_ms: u64,
        owner_records_max: u64,
    ) -> Result<Self, Fault> {
        let changes = transaction.table(tables::CHANGES)?;
        let records = transaction.table(tables::RECORDS)?;
        let ids = transaction.table(tables::IDS)?;
        Ok(Self {
            now_ms,
            owner_records_max,
            position: stored::last_position(&changes)?,
            added: Vec::new(),
            counts: HashMap::new(),
            streams: HashMap::new(),
            records,
            changes,
            ids,
            tree: transaction.table(tables::TREE)?,
            owners: transaction.table(tables::OWNERS)?,
            names: transaction.table(tables::NAMES)?,
            authors: transaction.table(tables::AUTHORS)?,
            slots: transaction.table(tables::SLOTS)?,
            registers: transaction.table(tables::REGISTERS)?,
            feeds: transaction.table(tables::FEEDS)?,
            successors: transaction.table(tables::SUCCESSORS)?,
        })
    }

    fn take(&mut self, offer: Offer) -> Result<Admission, Fault> {
        let record = match offer.contribution {
            Ok(record) => record,
            Err(refusal) => return Ok(Admission::Refused(refusal)),
        };
        let known = stored::position_of(&self.ids, &record.id)?;
        if known.is_some_and(|position| position != DECLINED) {
            return Ok(Admission::Known);
        }
        let (held, declined) = self.counts_of(record.owner)?;
        if held >= self.owner_records_max {
            let all_declined = self.ids.len()? - self.records.len()?;
            let room = all_declined < DECLINED_MAX && declined < DECLINED_PER_OWNER_MAX;
            if known.is_none() && room {
                self.counts.insert(record.owner, (held, declined + 1));
                self.know(record.id, DECLINED, true)?;
            }
            return Ok(Admission::OwnerFull);
        }
        // It was declined when its owner had no room; now there is some.
        let declined = declined - u64::from(known.is_some());
        self.counts.insert(record.owner, (held + 1, declined));
        self.store(&record, &offer.envelope, known.is_none())?;
        self.derive(record, &offer.authors)?;
        Ok(Admission::New)
    }

    fn know(&mut self, id: RecordId, position: u64, is_new: bool) -> Result<(), Fault> {
        let position = position.to_be_bytes();
        self.ids
            .insert(id.as_bytes().as_slice(), position.as_slice())?;
        if is_new {
            self.added.push(id);
        }
        Ok(())
    }

    fn store(&mut self, record: &Contribution, envelope: &[u8], is_new: bool) -> Result<(), Fault> {
        self.position += 1;
        let position = self.position.to_be_bytes();
        let bytes = row::record(self.now_ms, envelope);
        self.records.insert(position.as_slice(), bytes.as_slice())?;
        let package = record
            .package()
            .map(|(owner, name)| key::package(owner, name));
        let change = row::change(record.id, package.as_deref());
        self.changes
            .insert(position.as_slice(), change.as_slice())?;
        self.know(record.id, self.position, is_new)
    }

    fn derive(&mut self, record: Contribution, authors: &[String]) -> Result<(), Fault> {
        let mut feed = record.feed();
        feed.forked = self.succeed(&record)?;
        self.feed_of(record.owner, record.key)?.merge(feed);
        match record.fact {
            Fact::Claim(release, claim) => self.claim(release, claim, authors),
            Fact::Register(register, value) => self.set(register, value),
            Fact::Nothing => Ok(()),
        }
    }

    /// Notes that the record continues its feed at a place; true if another one does so too.
    fn succeed(&mut self, record: &Contribution) -> Result<bool, Fault> {
        let place = key::successor(record.owner, record.key, record.previous);
        let id = record.id.as_bytes().as_slice();
        // Mostly there is no other: writing first saves one of two ways down the tree.
        let other = self.successors.insert(place.as_slice(), id)?;
        let other = other.map(|other| tables::read_id(other.value()));
        let Some(other) = other.transpose()? else {
            return Ok(false);
        };
        if other < record.id {
            let other = other.as_bytes().as_slice();
            self.successors.insert(place.as_slice(), other)?;
        }
        Ok(true)
    }

    fn claim(
        &mut self,
        release: ReleaseKey,
        claim: Claim,
        authors: &[String],
    ) -> Result<(), Fault> {
        let at = key::release(release.owner, &release.name, Some(&release.version));
        let slot = Slot::from(claim.clone());
        // As for successors: mostly the slot is new.
        let other = self
            .slots
            .insert(at.as_slice(), row::slot(&slot).as_slice())?;
        let other = other.map(|other| tables::read_slot(&at, other.value()));
        if let Some(mut slot) = other.transpose()? {
            slot.merge(claim);
            self.slots
                .insert(at.as_slice(), row::slot(&slot).as_slice())?;
        } else {
            note(&mut self.names, &key::name(&release.name, release.owner))?;
        }
        let package = key::package(release.owner, &release.name);
        for author in authors {
            note(&mut self.authors, &key::author(author, &package))?;
        }
        Ok(())
    }

    fn set(&mut self, (owner, name, version): RegisterKey, value: Register) -> Result<(), Fault> {
        let at = key::release(owner, &name, version.as_ref());
        let known = self.registers.get(at.as_slice())?;
        let known = known
            .map(|known| tables::read_register(&at, known.value()))
            .transpose()?;
        let register = match known {
            None => Some(value),
            Some(mut register) => register.merge(value).then_some(register),
        };
        if let Some(register) = register {
            self.registers
                .insert(at.as_slice(), row::register(&register).as_slice())?;
        }
        Ok(())
    }

    fn counts_of(&mut self, owner: OwnerId) -> Result<(u64, u64), Fault> {
        if let Some(counts) = self.counts.get(&owner) {
            return Ok(*counts);
        }
        let at = owner.as_bytes().as_slice();
        let found = self.owners.get(at)?;
        let counts = found
            .map(|found| tables::read_owner(at, found.value()))
            .transpose()?;
        let counts = counts.unwrap_or_default();
        self.counts.insert(owner, counts);
        Ok(counts)
    }

    fn feed_of(&mut self, owner: OwnerId, key: PublicKey) -> Result<&mut Feed, Fault> {
        use std::collections::hash_map::Entry;
        match self.streams.entry((owner, key)) {
            Entry::Occupied(feed) => Ok(feed.into_mut()),
            Entry::Vacant(none) => {
                let at = key::feed(owner, key);
                let found = self.feeds.get(at.as_slice())?;
                let feed = found
                    .map(|found| tables::read_feed(&at, found.value()))
                    .transpose()?;
                Ok(none.insert(feed.unwrap_or_default()))
            }
        }
    }

    /// Writes what the batch gathered and returns the position of its last change.
    fn finish(mut self) -> Result<u64, Fault> {
        for (owner, (held, declined)) in self.counts.drain() {
            let counts = row::owner(held, declined);
            self.owners
                .insert(owner.as_bytes().as_slice(), counts.as_slice())?;
        }
        for ((owner, key), feed) in self.streams.drain() {
            let at = key::feed(owner, key);
            self.feeds
                .insert(at.as_slice(), row::feed(&feed).as_slice())?;
        }
        self.added.sort_unstable();
        tree::add(&self.ids, &mut self.tree, &self.added)?;
        Ok(self.position)
    }
}

/// Makes sure that a table of bare keys has this one. Mostly it does, and reading dirties no page.
fn note(table: &mut Table<'_, Row, Row>, key: &[u8]) -> Result<(), Fault> {
    if table.get(key)?.is_none() {
        let nothing: &[u8] = &[];
        table.insert(key, nothing)?;
    }
    Ok(())
}

/// Notes a verdict on a held record and returns the position of the last change. If the verdict decides whether
/// the release is offered, those who follow the changes hear of it.
pub(super) fn judge(
    transaction: &WriteTransaction,
    record: RecordId,
    package: Option<&[u8]>,
    before: &Verdict,
    verdict: &Verdict,
) -> Result<u64, Fault> {
    let mut changes = transaction.table(tables::CHANGES)?;
    let mut position = stored::last_position(&changes)?;
    if before == verdict {
        return Ok(position);
    }
    let mut verdicts = transaction.table(tables::VERDICTS)?;
    let at = record.as_bytes().as_slice();
    match row::verdict(verdict) {
        Some(row) => verdicts.insert(at, row.as_slice())?,
        None => verdicts.remove(at)?,
    };
    let is_unsound = |verdict: &Verdict| matches!(verdict, Verdict::Unsound(_));
    if is_unsound(before) != is_unsound(verdict) {
        position += 1;
        let change = row::change(record, package);
        changes.insert(position.to_be_bytes().as_slice(), change.as_slice())?;
    }
    Ok(position)
}
