//! Checks a whole catalogue: every record again, and that every other row follows from the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ggen_protocols::catalogue::{self, Contribution, Fact, Namespace};
use ggen_protocols::id::{NetworkId, OwnerId, RecordId};
use ggen_protocols::owner::Documents;
use ggen_protocols::record::{CheckSignature, Record, Refusal, Signed, Verified};
use redb::{ReadTransaction, ReadableTable, TableHandle};

use super::pool::{self, Account, Place};
use super::stored::Source;
use super::tables::{self, DECLINED, Rows, hex, key, row};
use super::{Admitted, Audit, derive, heads, tree, write};
use crate::db::Fault;

/// Findings that are listed; more are counted.
const FINDINGS_MAX: usize = 1000;

/// Rows as they should be.
type Expected = derive::RowsByKey;

struct Auditor<'a> {
    snapshot: &'a ReadTransaction,
    findings: Vec<String>,
    unlisted: u64,
}

/// What the stored records say, computed anew.
#[derive(Default)]
struct Recomputed {
    owners: BTreeMap<OwnerId, Held>,
    /// Where each record stands.
    positions: BTreeMap<RecordId, u64>,
    /// The owner of each record, and the package that it speaks of.
    packages: BTreeMap<RecordId, (OwnerId, Option<Vec<u8>>)>,
}

/// The records of one namespace.
#[derive(Default)]
struct Held {
    documents: Vec<(Verified<Record>, Contribution)>,
    members: Vec<Contribution>,
    bytes: u64,
    /// The position of the last record.
    latest: u64,
    authors: BTreeSet<Vec<u8>>,
}

impl Held {
    /// How many of its records are effective, and how many are not.
    fn counts(&self, network: NetworkId, owner: OwnerId) -> (u64, u64) {
        let mut documents = Documents::none(network, owner);
        let mut held: Vec<_> = self.documents.iter().collect();
        held.sort_by_key(|(_, added)| added.seq);
        for (record, _) in held {
            documents.offer(record);
        }
        for added in &self.members {
            // A bare key's namespace is known by what it signed.
            documents.admit(added.key);
        }
        let namespace = Namespace::of(documents, self.members.iter().cloned());
        derive::counts(&namespace, &namespace.meaning())
    }
}

/// Reads everything in `snapshot` and compares it with what follows from the records.
pub(super) fn audit(
    snapshot: &ReadTransaction,
    network: NetworkId,
    checker: &impl CheckSignature,
) -> Result<Audit, Fault> {
    let mut auditor = Auditor {
        snapshot,
        findings: Vec::new(),
        unlisted: 0,
    };
    let (records, recomputed) = auditor.read_records(network, checker)?;
    auditor.check_ids(&recomputed)?;
    auditor.check_changes(&recomputed)?;
    auditor.check_accounts(&recomputed, network)?;
    auditor.check_derived(recomputed, network)?;
    auditor.check_heads(network, checker)?;
    let mut findings = auditor.findings;
    if auditor.unlisted > 0 {
        findings.push(format!("and {} more", auditor.unlisted));
    }
    Ok(Audit { records, findings })
}

fn check_envelope(
    envelope: &[u8],
    network: NetworkId,
    checker: &impl CheckSignature,
) -> Result<(Verified<Record>, Contribution), Refusal> {
    let signed = Signed::from_envelope(Bytes::copy_from_slice(envelope))?;
    let record = signed.verify(checker, network)?;
    let contribution = Contribution::of(&record)?;
    Ok((record, contribution))
}

impl Auditor<'_> {
    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.unlisted += 1;
        }
    }

    /// Makes a finding of a row that cannot be read.
    fn readable<T>(&mut self, read: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Damaged(what)) => {
                self.find(format!("{what} cannot be read"));
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn read_records(
        &mut self,
        network: NetworkId,
        checker: &impl CheckSignature,
    ) -> Result<(u64, Recomputed), Fault> {
        let mut recomputed = Recomputed::default();
        let mut count = 0;
        for stored in self.snapshot.table(tables::RECORDS)?.iter()? {
            let (position, row) = stored?;
            count += 1;
            let position = tables::read_position(tables::RECORDS, position.value());
            let Some(position) = self.readable(position)? else {
                continue;
            };
            let read = tables::read_record(position, row.value());
            let Some((_, envelope)) = self.readable(read)? else {
                continue;
            };
            match check_envelope(envelope, network, checker) {
                Ok((record, contribution)) => {
                    if let Some(first) = recomputed.positions.insert(contribution.id, position) {
                        let id = contribution.id;
                        self.find(format!(
                            "record {id} is stored at {first} and at {position}"
                        ));
                    }
                    let package = contribution.package();
                    let package = package.map(|(owner, name)| key::package(owner, name));
                    let owner = contribution.owner;
                    recomputed
                        .packages
                        .insert(contribution.id, (owner, package));
                    let held = recomputed.owners.entry(owner).or_default();
                    held.bytes += Account::bytes_of(envelope.len());
                    held.latest = held.latest.max(position);
                    held.authors.extend(write::author_keys(&record));
                    match contribution.fact {
                        Fact::Document => held.documents.push((record, contribution)),
                        _ => held.members.push(contribution),
                    }
                }
                Err(refusal) => self.find(format!("the record at position {position}: {refusal}")),
            }
        }
        Ok((count, recomputed))
    }

    /// Ids are those of the records and of declined ones, and the tree is the one over them.
    fn check_ids(&mut self, recomputed: &Recomputed) -> Result<(), Fault> {
        let mut expected: Expected = recomputed
            .positions
            .iter()
            .map(|(id, position)| (id.as_bytes().to_vec(), position.to_be_bytes().to_vec()))
            .collect();
        let decliners = self.snapshot.table(tables::DECLINERS)?;
        let mut ids = Vec::new();
        for stored in self.snapshot.table(tables::IDS)?.iter()? {
            let (id, row) = stored?;
            ids.extend(self.readable(tables::read_id(id.value()))?);
            let read = tables::read_position(tables::IDS, row.value());
            let declined = self.readable(read)?.filter(|at| *at >= DECLINED);
            let serial = declined.map(|at| (at ^ DECLINED).to_be_bytes());
            if let Some(serial) = serial
                && decliners.get(serial.as_slice())?.is_some()
            {
                // Of an id that is not held, only its owner's account tells.
                let row = || row.value().to_vec();
                expected.entry(id.value().to_vec()).or_insert_with(row);
            }
        }
        self.compare(tables::IDS, &expected)?;
        self.compare(tables::TREE, &tree::rows_over(&ids))
    }

    /// Every record stands in the feed at its position. Other changes speak of records that are held, of whole
    /// namespaces, or of records that went with their namespace later.
    fn check_changes(&mut self, recomputed: &Recomputed) -> Result<(), Fault> {
        let mut expected = Expected::new();
        for (id, position) in &recomputed.positions {
            let package = recomputed.packages.get(id);
            let package = package.and_then(|(_, package)| package.as_deref());
            expected.insert(position.to_be_bytes().to_vec(), row::change(*id, package));
        }
        let accounts = self.snapshot.table(tables::OWNERS)?;
        let forgot = pool::forget::read_forgot(&self.snapshot.table(tables::ABOUT)?);
        let forgot = self.readable(forgot)?.unwrap_or_default();
        let mut whole: BTreeSet<OwnerId> = BTreeSet::new();
        // From the last one back, so that what came later is known.
        for stored in self.snapshot.table(tables::CHANGES)?.iter()?.rev() {
            let (position, change) = stored?;
            let read = tables::read_position(tables::CHANGES, position.value());
            let at = self.readable(read)?;
            let read = tables::read_change(at.unwrap_or_default(), change.value());
            let Some(Admitted {
                record, package, ..
            }) = self.readable(read)?
            else {
                continue;
            };
            // What a record changes beside its own package belongs to the same owner.
            let owner = package.map(|(owner, _)| owner);
            let founding = OwnerId::of_genesis(record);
            let is_whole = accounts.get(founding.as_bytes().as_slice())?.is_some();
            if is_whole {
                whole.insert(founding);
            }
            let fits = match recomputed.packages.get(&record) {
                Some((of, _)) => owner.is_none_or(|owner| owner == *of),
                None if at.is_some_and(|at| at <= forgot) => true,
                None if is_whole => owner.is_none_or(|owner| owner == founding),
                None => owner.is_some_and(|owner| whole.contains(&owner)),
            };
            if fits {
                expected
                    .entry(position.value().to_vec())
                    .or_insert_with(|| change.value().to_vec());
            }
        }
        self.compare(tables::CHANGES, &expected)?;
        for stored in self.snapshot.table(tables::VERDICTS)?.iter()? {
            let (id, verdict) = stored?;
            let Some(id) = self.readable(tables::read_id(id.value()))? else {
                continue;
            };
            self.readable(tables::read_verdict(&id, verdict.value()))?;
            if !recomputed.positions.contains_key(&id) {
                self.find(format!("`verdicts`: record {id} is not held"));
            }
        }
        Ok(())
    }

    /// Accounts count what is held and declined of each owner, and the pool is the sum of the strangers'.
    fn check_accounts(&mut self, recomputed: &Recomputed, network: NetworkId) -> Result<(), Fault> {
        let declined = self.declined()?;
        let mut heads: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        for stored in self.snapshot.table(tables::HEADS)?.iter()? {
            let (at, head) = stored?;
            let subject = at.value().first_chunk().copied().unwrap_or_default();
            *heads.entry(subject).or_default() += Account::bytes_of(head.value().len());
        }
        let protected = self.readable(pool::protected(self.snapshot))?;
        let protected = protected.unwrap_or_default();
        let about = self.snapshot.table(tables::ABOUT)?;
        let evicting = self.readable(pool::read_evicting(&about))?.flatten();
        let used = self.snapshot.table(tables::USED)?;
        let held = recomputed.owners.keys();
        let owners: BTreeSet<OwnerId> = held
            .chain(declined.keys())
            .chain(&protected)
            .copied()
            .collect();
        let stored = self.snapshot.table(tables::OWNERS)?;
        let mut expected = Expected::new();
        let (mut turns, mut decliners) = (Expected::new(), Expected::new());
        let mut size = pool::Size {
            bytes: 0,
            declined: 0,
        };
        let mut check = |owner: OwnerId, found: Option<Account>| -> Result<(), Fault> {
            let used = used.get(owner.as_bytes().as_slice())?;
            let used = used.and_then(|row| tables::read_position(tables::USED, row.value()).ok());
            let evicted = found.is_some_and(|found| found.place == Place::Evicted);
            let held = recomputed.owners.get(&owner);
            let place = match used {
                _ if protected.contains(&owner) => Place::Protected,
                Some(_) => Place::Used,
                // That an owner was evicted follows from nothing that is left; but then nothing is.
                None if evicted && (held.is_none() || evicting == Some(owner)) => Place::Evicted,
                None => Place::Unused,
            };
            let (effective, inert) = match held {
                // Which of those that are left would have an effect does not matter any more.
                Some(held) if place == Place::Evicted => (0, held.members.len() as u64),
                Some(held) => held.counts(network, owner),
                None => (0, 0),
            };
            let (serial, declined) = declined.get(&owner).copied().unwrap_or_default();
            let account = Account {
                held: effective,
                inert,
                declined,
                serial,
                bytes: held.map_or(0, |held| held.bytes)
                    + heads.get(owner.as_bytes()).copied().unwrap_or_default(),
                turn: match place {
                    Place::Unused | Place::Protected => held.map_or(0, |held| held.latest),
                    Place::Used => used.unwrap_or_default(),
                    Place::Evicted => 0,
                },
                place,
            };
            expected.insert(owner.as_bytes().to_vec(), row::account(&account));
            turns.extend(account.turn_key(owner).map(|key| (key, Vec::new())));
            if declined > 0 {
                decliners.insert(serial.to_be_bytes().to_vec(), owner.as_bytes().to_vec());
            }
            size.bytes += account.pooled();
            size.declined += declined;
            Ok(())
        };
        for row in stored.iter()? {
            let (owner, account) = row?;
            if let Some(id) = tables::bytes32(owner.value()) {
                let account = tables::read_account(owner.value(), account.value());
                check(OwnerId::from_bytes(id), account.ok())?;
            }
        }
        for owner in owners {
            if stored.get(owner.as_bytes().as_slice())?.is_none() {
                check(owner, None)?;
            }
        }
        self.compare(tables::OWNERS, &expected)?;
        self.compare(tables::TURNS, &turns)?;
        self.compare(tables::DECLINERS, &decliners)?;
        if self.readable(pool::Size::read(&about))? != Some(size) {
            let pool::Size { bytes, declined } = size;
            self.find(format!(
                "`about`: the pool of strangers has {bytes} bytes and {declined} ids"
            ));
        }
        Ok(())
    }

    /// Of each owner of whom declined records are remembered, its serial and how many there are.
    fn declined(&mut self) -> Result<BTreeMap<OwnerId, (u64, u64)>, Fault> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for stored in self.snapshot.table(tables::IDS)?.iter()? {
            let (_, row) = stored?;
            let read = tables::read_position(tables::IDS, row.value());
            if let Some(declined) = self.readable(read)?.filter(|at| *at >= DECLINED) {
                *counts.entry(declined ^ DECLINED).or_default() += 1;
            }
        }
        let mut declined = BTreeMap::new();
        for stored in self.snapshot.table(tables::DECLINERS)?.iter()? {
            let (serial, owner) = stored?;
            let serial = tables::read_position(tables::DECLINERS, serial.value());
            let owner = tables::read_owner_id(tables::DECLINERS, owner.value());
            if let (Some(serial), Some(owner)) = (self.readable(serial)?, self.readable(owner)?) {
                let count = counts.get(&serial).copied().unwrap_or_default();
                declined.insert(owner, (serial, count));
            }
        }
        Ok(declined)
    }

    /// Heads follow from nothing, but each is signed by the key that it stands under.
    fn check_heads(
        &mut self,
        network: NetworkId,
        checker: &impl CheckSignature,
    ) -> Result<(), Fault> {
        let accounts = self.snapshot.table(tables::OWNERS)?;
        let about = self.snapshot.table(tables::ABOUT)?;
        let evicting = self.readable(pool::read_evicting(&about))?.flatten();
        for stored in self.snapshot.table(tables::HEADS)?.iter()? {
            let (at, row) = stored?;
            let subject = at.value().first_chunk().copied().unwrap_or_default();
            if let Some(account) = accounts.get(subject.as_slice())? {
                let read = tables::read_account(&subject, account.value());
                let place = self.readable(read)?.map(|account| account.place);
                let is_going = evicting == Some(OwnerId::from_bytes(subject));
                if place == Some(Place::Evicted) && !is_going {
                    self.find(format!("`heads`: row {}: its owner went", hex(at.value())));
                }
            }
            let envelope = Bytes::copy_from_slice(row.value());
            let read = Signed::from_envelope(envelope);
            let read = read.and_then(|signed| signed.verify(checker, network));
            let fits = read.is_ok_and(|record| {
                let head = heads::head_of(&record);
                head.is_some_and(|head| {
                    at.value() == key::pair(head.subject, record.key().as_bytes())
                })
            });
            if !fits {
                self.find(format!("`heads`: row {} is wrong", hex(at.value())));
            }
        }
        Ok(())
    }

    fn check_derived(&mut self, recomputed: Recomputed, network: NetworkId) -> Result<(), Fault> {
        let mut expected: BTreeMap<String, (Rows, Expected)> = BTreeMap::new();
        let mut expect = |rows: Rows, of_owner: Expected| {
            let table = expected.entry(rows.name().to_owned());
            table.or_insert((rows, Expected::new())).1.extend(of_owner);
        };
        let at = |id: &RecordId| recomputed.positions.get(id).copied().unwrap_or_default();
        let mut refused = Vec::new();
        let about = self.snapshot.table(tables::ABOUT)?;
        let evicting = self.readable(pool::read_evicting(&about))?.flatten();
        for (owner, mut held) in recomputed.owners {
            let mut documents = Documents::none(network, owner);
            held.documents.sort_by_key(|(_, added)| added.seq);
            let rows = held.documents.iter().map(|(_, added)| {
                let key = key::pair(owner, added.id.as_bytes());
                (key, at(&added.id).to_be_bytes().to_vec())
            });
            expect(tables::DOCUMENTS, rows.collect());
            let rows = held.members.iter().map(|added| {
                let key = key::member(owner, added.key, added.previous, added.id);
                (key, at(&added.id).to_be_bytes().to_vec())
            });
            expect(tables::MEMBERS, rows.collect());
            for (record, added) in &held.documents {
                if let Err(refusal) = catalogue::belongs(&mut documents, record) {
                    refused.push(format!("record {}: {refusal}", added.id));
                }
            }
            for added in &held.members {
                if !documents.admit(added.key) {
                    let key = added.key;
                    refused.push(format!("record {}: {key} may not write there", added.id));
                }
            }
            let keys = held.documents.iter();
            let keys = keys.flat_map(|(record, _)| write::named_keys(record));
            let keys: Expected = keys.map(|key| (key, Vec::new())).collect();
            let keys = keys.into_iter();
            let documents_held = held.documents.into_iter().map(|(_, added)| added);
            let all = held.members.into_iter().chain(documents_held);
            let namespace = Namespace::of(documents, all);
            let meaning = namespace.meaning();
            let names = meaning.slots.keys();
            let names = names.map(|at| (key::name(&at.name, owner), Vec::new()));
            let authors = held.authors.into_iter().map(|key| (key, Vec::new()));
            let mut derived = derive::rows(&namespace, &meaning);
            derived.push((tables::NAMES, names.collect()));
            derived.push((tables::AUTHORS, authors.collect()));
            derived.push((tables::KEYS, keys.collect()));
            for (rows, mut of_owner) in derived {
                if evicting == Some(owner) {
                    // These go before the records do, and may be gone already.
                    let table = self.snapshot.table(rows)?;
                    let there = table.iter()?.map(|row| Ok(row?.0.value().to_vec()));
                    let there = there.collect::<Result<BTreeSet<_>, Fault>>()?;
                    of_owner.retain(|key, _| there.contains(key));
                }
                expect(rows, of_owner);
            }
        }
        for finding in refused {
            self.find(finding);
        }
        // A table of which nothing is expected must be empty.
        let others = [tables::NAMES, tables::AUTHORS, tables::KEYS];
        for rows in derive::TABLES.into_iter().chain(others) {
            let (_, rows_of) = expected
                .remove(rows.name())
                .unwrap_or((rows, Expected::new()));
            self.compare(rows, &rows_of)?;
        }
        for (rows, rows_of) in expected.into_values() {
            self.compare(rows, &rows_of)?;
        }
        Ok(())
    }

    fn compare(&mut self, rows: Rows, expected: &Expected) -> Result<(), Fault> {
        let name = rows.name().to_owned();
        let mut seen = 0;
        for stored in self.snapshot.table(rows)?.iter()? {
            let (key, row) = stored?;
            match expected.get(key.value()) {
                Some(wanted) if wanted == row.value() => {}
                Some(_) => self.find(format!("`{name}`: row {} is wrong", hex(key.value()))),
                None => {
                    self.find(format!(
                        "`{name}`: row {} should not be there",
                        hex(key.value())
                    ));
                    continue;
                }
            }
            seen += 1;
        }
        if seen < expected.len() {
            let table = self.snapshot.table(rows)?;
            for key in expected.keys() {
                if table.get(key.as_slice())?.is_none() {
                    self.find(format!("`{name}`: row {} is missing", hex(key)));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
