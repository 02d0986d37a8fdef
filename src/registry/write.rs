//! Adds records to the tables: envelope, id, derived rows, tree and change feed, all in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use ggen_protocols::catalogue::{
    self, Claim, Contribution, Fact, Feed, Register, RegisterKey, Slot,
};
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::limits;
use ggen_protocols::owner::{Documents, Standing};
use ggen_protocols::record::{Body, Record, Refusal, Verified};
use ggen_protocols::trust::Endorsement;
use redb::{ReadableTable, Table, WriteTransaction};

use super::pool::{self, Account, Accounts, DECLINED_PER_OWNER_MAX, Place};
use super::settle::{self, Known};
use super::stored::{self, Source, scan};
use super::tables::{self, DECLINED, Row, key, row};
use super::{Admission, Concern, Verdict, decide, derive, tree};
use crate::db::Fault;

/// A record, with all that can be computed of it before the transaction.
#[derive(Debug)]
pub(super) struct Offer {
    record: Verified<Record>,
    contribution: Result<Contribution, Refusal>,
    /// The keys of its rows in [`tables::KEYS`].
    named_keys: Vec<Vec<u8>>,
    /// Authors whom it names, in lower case.
    authors: Vec<String>,
}

impl Offer {
    pub(super) fn of(record: Verified<Record>) -> Self {
        Self {
            contribution: Contribution::of(&record),
            authors: authors(record.content()),
            named_keys: named_keys(&record),
            record,
        }
    }
}

/// Authors whom a record names, in lower case.
fn authors(record: &Record) -> Vec<String> {
    match &record.body {
        Body::Publish(publish) => publish.authors.iter().map(|a| a.to_lowercase()).collect(),
        _ => Vec::new(),
    }
}

/// The keys of its rows in [`tables::AUTHORS`].
pub(super) fn author_keys(record: &Verified<Record>) -> Vec<Vec<u8>> {
    let (Body::Publish(publish), Some(owner)) = (&record.content().body, record.content().owner)
    else {
        return Vec::new();
    };
    let package = key::package(owner, &publish.package_name().canonical());
    let authors = authors(record.content()).into_iter();
    authors
        .map(|author| key::author(&author, &package))
        .collect()
}

/// The keys of its rows in [`tables::KEYS`].
pub(super) fn named_keys(record: &Verified<Record>) -> Vec<Vec<u8>> {
    let (Body::Genesis(document) | Body::Acl(document), Ok(owner)) =
        (&record.content().body, record.namespace())
    else {
        return Vec::new();
    };
    let named = document.keys().map(|named| key::named(named, owner));
    named.collect()
}

/// Where a record stands among those that come together: documents first, each after the one it continues, because
/// they say who may write the others.
pub(crate) fn precedence(record: &Record) -> (bool, u64) {
    match record.body {
        Body::Genesis(_) | Body::Acl(_) => (false, record.seq),
        _ => (true, 0),
    }
}

/// What bounds what is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) network: NetworkId,
    pub(super) now_ms: u64,
    pub(super) owner_records_max: u64,
    /// What the records of all strangers together may take, in bytes.
    pub(super) pool_bytes_max: u64,
}

/// What a transaction gave, and the position of the last change then.
#[derive(Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) position: u64,
    /// Whether strangers have to make room now: [`super::pool::evict`] is to be called until they have.
    pub(super) is_crowded: bool,
    /// What is concerned if other decisions hold than before.
    pub(super) decided: Option<Concern>,
}

impl<T> Written<T> {
    /// Of a transaction that added no record.
    pub(super) fn at(position: u64, value: T) -> Self {
        Self {
            value,
            position,
            is_crowded: false,
            decided: None,
        }
    }
}

/// Adds what is new of `offers`; one answer for each, in order.
pub(super) fn admit(
    transaction: &WriteTransaction,
    offers: Vec<Offer>,
    terms: Terms,
) -> Result<Written<Vec<Admission>>, Fault> {
    let mut batch = Batch::begin(transaction, terms)?;
    let mut admissions = Vec::with_capacity(offers.len());
    for offer in offers {
        admissions.push(batch.take(offer)?);
    }
    let (position, size) = batch.finish(transaction)?;
    Ok(Written {
        value: admissions,
        position,
        is_crowded: size.is_beyond(terms.pool_bytes_max),
        decided: None,
    })
}

/// The open tables, and what several records of one batch change, which is written once at its end.
struct Batch<'t> {
    terms: Terms,
    position: u64,
    added: Vec<RecordId>,
    /// Of each owner, its account before the batch, and now.
    accounts: HashMap<OwnerId, (Account, Account)>,
    streams: HashMap<(OwnerId, PublicKey), Feed>,
    namespaces: BTreeMap<OwnerId, Known>,
    /// Owners who may say something else of others now.
    endorsed: BTreeSet<OwnerId>,
    records: Table<'t, Row, Row>,
    changes: Table<'t, Row, Row>,
    ids: Table<'t, Row, Row>,
    tree: Table<'t, Row, Row>,
    stored_accounts: Accounts<'t>,
    names: Table<'t, Row, Row>,
    authors: Table<'t, Row, Row>,
    slots: Table<'t, Row, Row>,
    registers: Table<'t, Row, Row>,
    endorsements: Table<'t, Row, Row>,
    feeds: Table<'t, Row, Row>,
    members: Table<'t, Row, Row>,
    documents: Table<'t, Row, Row>,
    keys: Table<'t, Row, Row>,
    gaps: Table<'t, Row, Row>,
}

impl<'t> Batch<'t> {
    fn begin(transaction: &'t WriteTransaction, terms: Terms) -> Result<Self, Fault> {
        let changes = transaction.table(tables::CHANGES)?;
        Ok(Self {
            terms,
            position: stored::last_position(&changes)?,
            added: Vec::new(),
            accounts: HashMap::new(),
            streams: HashMap::new(),
            namespaces: BTreeMap::new(),
            endorsed: BTreeSet::new(),
            records: transaction.table(tables::RECORDS)?,
            changes,
            ids: transaction.table(tables::IDS)?,
            tree: transaction.table(tables::TREE)?,
            stored_accounts: Accounts::open(transaction)?,
            names: transaction.table(tables::NAMES)?,
            authors: transaction.table(tables::AUTHORS)?,
            slots: transaction.table(tables::SLOTS)?,
            registers: transaction.table(tables::REGISTERS)?,
            endorsements: transaction.table(tables::ENDORSEMENTS)?,
            feeds: transaction.table(tables::FEEDS)?,
            members: transaction.table(tables::MEMBERS)?,
            documents: transaction.table(tables::DOCUMENTS)?,
            keys: transaction.table(tables::KEYS)?,
            gaps: transaction.table(tables::GAPS)?,
        })
    }

    fn take(&mut self, offer: Offer) -> Result<Admission, Fault> {
        let record = match offer.contribution {
            Ok(record) => record,
            Err(refusal) => return Ok(Admission::Refused(refusal)),
        };
        let known = stored::position_of(&self.ids, &record.id)?;
        if known.is_some_and(|position| position < DECLINED) {
            return Ok(Admission::Known);
        }
        if self.account(record.owner)?.place == Place::Evicted {
            // Who writes by a document that went is not known any more: anybody might use up the room for ids.
            let mut none = Documents::none(self.terms.network, record.owner);
            if let Err(refusal) = catalogue::belongs(&mut none, &offer.record) {
                return self.refuse(&record, known, refusal);
            }
            self.decline(&record, known)?;
            return Ok(Admission::Evicted);
        }
        let is_document = record.fact == Fact::Document;
        let namespace = self.namespace(record.owner)?;
        let before = match is_document && namespace.unsettled.is_none() {
            true => namespace.in_force(record.key),
            false => None,
        };
        if let Err(refusal) = catalogue::belongs(&mut namespace.documents, &offer.record) {
            return self.refuse(&record, known, refusal);
        }
        let is_granted = catalogue::is_granted(namespace.documents.standing(), &record);
        let gap = key::pair(record.owner, record.id.as_bytes());
        let fills_gap = self.gaps.get(gap.as_slice())?.is_some();
        // What has no effect takes no room from what has some.
        let is_effective = is_granted || fills_gap;
        let max = self.terms.owner_records_max;
        let account = self.account(record.owner)?;
        let has_room = match is_effective {
            true => account.held < max,
            false => account.inert < max.min(limits::INERT_PER_OWNER_MAX),
        };
        // Documents have bounds of their own: no number of releases may keep an owner from recovering.
        if !is_document && !has_room {
            self.decline(&record, known)?;
            return Ok(Admission::OwnerFull);
        }
        if known.is_some() {
            // It was declined when its owner had no room; now there is some.
            account.declined -= 1;
        }
        let envelope = offer.record.envelope();
        self.store(&record, envelope, known.is_none())?;
        let position = self.position;
        let account = self.account(record.owner)?;
        account.held += u64::from(!is_document && is_effective);
        account.inert += u64::from(!is_document && !is_effective);
        account.bytes += Account::bytes_of(envelope.len());
        if account.place != Place::Used {
            account.turn = position;
        }
        for named in &offer.named_keys {
            note(&mut self.keys, named)?;
        }
        if is_document {
            let document = key::pair(record.owner, record.id.as_bytes());
            let at = position.to_be_bytes();
            self.documents.insert(document.as_slice(), at.as_slice())?;
            let namespace = self.namespace(record.owner)?;
            namespace.unsettle(record.id, before, fills_gap);
        } else {
            self.derive(record, &offer.authors, is_granted, fills_gap)?;
        }
        Ok(Admission::New)
    }

    /// Answers for a record that does not belong to its namespace, or not yet.
    fn refuse(
        &mut self,
        record: &Contribution,
        known: Option<u64>,
        refusal: Refusal,
    ) -> Result<Admission, Fault> {
        let refusal = match refusal {
            // It would wait for ever for what is never taken.
            Refusal::Unauthorised { owner, .. } if self.continues_declined(record)? => {
                Refusal::SuperfluousDocument { owner }
            }
            other => other,
        };
        if matches!(refusal, Refusal::SuperfluousDocument { .. }) {
            self.decline(record, known)?;
        }
        Ok(Admission::Refused(refusal))
    }

    /// Whether this is a document after one of the same owner that was declined.
    fn continues_declined(&mut self, record: &Contribution) -> Result<bool, Fault> {
        let Some(previous) = record.previous.filter(|_| record.fact == Fact::Document) else {
            return Ok(false);
        };
        let Some(position) = stored::position_of(&self.ids, &previous)? else {
            return Ok(false);
        };
        let account = self.account(record.owner)?;
        Ok(account.declined > 0 && position == DECLINED | account.serial)
    }

    /// Remembers the id of a record that is not held, as far as there is room for such of its owner.
    fn decline(&mut self, record: &Contribution, known: Option<u64>) -> Result<(), Fault> {
        let mut account = *self.account(record.owner)?;
        if known.is_none() && account.declined < DECLINED_PER_OWNER_MAX {
            self.stored_accounts.decline(&mut account);
            *self.account(record.owner)? = account;
            self.know(record.id, DECLINED | account.serial, true)?;
        }
        Ok(())
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

    fn store(
        &mut self,
        record: &Contribution,
        envelope: &Bytes,
        is_new: bool,
    ) -> Result<(), Fault> {
        let package = record
            .package()
            .map(|(owner, name)| key::package(owner, name));
        self.change(record.id, package.as_deref())?;
        let position = self.position.to_be_bytes();
        let bytes = row::record(self.terms.now_ms, envelope);
        self.records.insert(position.as_slice(), bytes.as_slice())?;
        self.know(record.id, self.position, is_new)
    }

    /// One more step in the feed of changes.
    fn change(&mut self, record: RecordId, package: Option<&[u8]>) -> Result<(), Fault> {
        self.position += 1;
        let position = self.position.to_be_bytes();
        let change = row::change(record, package);
        self.changes
            .insert(position.as_slice(), change.as_slice())?;
        Ok(())
    }

    fn derive(
        &mut self,
        record: Contribution,
        authors: &[String],
        is_granted: bool,
        fills_gap: bool,
    ) -> Result<(), Fault> {
        let at = self.position.to_be_bytes();
        let member = key::member(record.owner, record.key, record.previous, record.id);
        self.members.insert(member.as_slice(), at.as_slice())?;
        if let Some((owner, name)) = record.package() {
            let package = key::package(owner, name);
            for author in authors {
                note(&mut self.authors, &key::author(author, &package))?;
            }
        }
        let is_settled = self.namespace(record.owner)?.unsettled.is_none();
        let is_forked = is_settled && !fills_gap && is_granted && self.is_forked(&record)?;
        let namespace = self.namespace(record.owner)?;
        if fills_gap {
            let before = namespace.in_force(record.key);
            namespace.unsettle(record.id, before, true);
        }
        if let Some(unsettled) = &mut namespace.unsettled {
            unsettled.pending.push((record, is_granted || fills_gap));
            return Ok(());
        }
        if let Some(feed) = record.feed() {
            let forked = is_forked;
            self.feed_of(record.owner, record.key)?
                .merge(Feed { forked, ..feed });
        }
        if !is_granted {
            return Ok(());
        }
        match record.fact {
            Fact::Claim(release, claim) => self.claim(release, claim),
            Fact::Register(register, value) => self.set(register, value),
            Fact::Endorse(subject, value) => self.endorse(record.owner, subject, value),
            Fact::Document | Fact::Nothing => Ok(()),
        }
    }

    /// Whether another effective record stands at the same place in the feed.
    fn is_forked(&mut self, record: &Contribution) -> Result<bool, Fault> {
        let place = key::place(record.owner, record.key, record.previous);
        let mut others = Vec::new();
        scan(&self.members, &place, &place, |key, position| {
            if tables::read_member(key)? != record.id {
                others.push(tables::read_position(tables::MEMBERS, position)?);
            }
            Ok(true)
        })?;
        let (mut forked, mut uncertain) = (false, false);
        for position in others {
            let other = derive::contribution(&self.records, position, self.terms.network)?.0;
            let standing = self.namespace(record.owner)?.documents.standing();
            let granted = catalogue::is_granted(standing, &other);
            forked |= granted;
            uncertain |= !granted && is_retired(standing, record.key);
        }
        if uncertain {
            // The other one may be a good one of a key that was narrowed since: only its whole feed tells.
            let namespace = self.namespace(record.owner)?;
            let before = namespace.in_force(record.key);
            namespace.unsettle(record.id, before, false);
        }
        Ok(forked)
    }

    fn claim(&mut self, release: ReleaseKey, claim: Claim) -> Result<(), Fault> {
        let at = key::release(release.owner, &release.name, Some(&release.version));
        let slot = Slot::from(claim.clone());
        // Mostly the slot is new: writing first saves one of two ways down the tree.
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

    fn endorse(
        &mut self,
        issuer: OwnerId,
        subject: OwnerId,
        value: Endorsement,
    ) -> Result<(), Fault> {
        self.endorsed.insert(issuer);
        let at = key::pair(issuer, subject.as_bytes());
        let known = self.endorsements.get(at.as_slice())?;
        let known = known
            .map(|known| tables::read_endorsement(&at, known.value()))
            .transpose()?;
        let endorsement = match known {
            None => Some(value),
            Some(mut endorsement) => endorsement.merge(value).then_some(endorsement),
        };
        if let Some(endorsement) = endorsement {
            self.endorsements
                .insert(at.as_slice(), row::endorsement(&endorsement).as_slice())?;
        }
        Ok(())
    }

    /// The namespace of an owner, with the documents that are held of it.
    fn namespace(&mut self, owner: OwnerId) -> Result<&mut Known, Fault> {
        use std::collections::btree_map::Entry;
        match self.namespaces.entry(owner) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(none) => {
                let documents =
                    derive::documents(&self.documents, &self.records, self.terms.network, owner)?;
                Ok(none.insert(Known {
                    documents,
                    unsettled: None,
                }))
            }
        }
    }

    fn account(&mut self, owner: OwnerId) -> Result<&mut Account, Fault> {
        use std::collections::hash_map::Entry;
        match self.accounts.entry(owner) {
            Entry::Occupied(account) => Ok(&mut account.into_mut().1),
            Entry::Vacant(none) => {
                let account = self.stored_accounts.get(owner)?;
                Ok(&mut none.insert((account, account)).1)
            }
        }
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

    /// Writes what the batch gathered. Returns the position of its last change, and what the pool of strangers holds.
    fn finish(mut self, transaction: &WriteTransaction) -> Result<(u64, pool::Size), Fault> {
        for (owner, (before, now)) in self.accounts.drain() {
            self.stored_accounts.set(owner, &before, &now)?;
        }
        let namespaces = std::mem::take(&mut self.namespaces);
        for ((owner, key), feed) in self.streams.drain() {
            let at = key::feed(owner, key);
            self.feeds
                .insert(at.as_slice(), row::feed(&feed).as_slice())?;
        }
        self.added.sort_unstable();
        tree::add(&self.ids, &mut self.tree, &self.added)?;
        let (mut position, network) = (self.position, self.terms.network);
        let mut endorsed = std::mem::take(&mut self.endorsed);
        let size = self.finish_accounts()?;
        for known in namespaces.into_values() {
            if let Some(unsettled) = known.unsettled {
                let documents = &known.documents;
                let settled = settle::settle(transaction, network, documents, unsettled, position)?;
                position = settled.position;
                if settled.is_endorsing {
                    endorsed.insert(documents.owner());
                }
            }
        }
        decide::endorsed(transaction, network, &endorsed)?;
        Ok((position, size))
    }

    /// Writes the size of the pool and returns it. Closes all tables, so that they can be opened to derive from them.
    fn finish_accounts(self) -> Result<pool::Size, Fault> {
        self.stored_accounts.finish()
    }
}

fn is_retired(standing: Standing<'_>, key: PublicKey) -> bool {
    let Standing::Active(_, document) = standing else {
        return false;
    };
    document.retired.iter().any(|(retired, _)| *retired == key)
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
    if package.is_some() && is_unsound(before) != is_unsound(verdict) {
        position += 1;
        let change = row::change(record, package);
        changes.insert(position.to_be_bytes().as_slice(), change.as_slice())?;
    }
    Ok(position)
}
