//! What follows from the records of one namespace, written anew: for when a document changed who may write there,
//! or a record completed the feed of a retired key.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ggen_protocols::catalogue::{Contribution, Fact, Namespace};
use ggen_protocols::id::{NetworkId, OwnerId, RecordId};
use ggen_protocols::owner::Documents;
use ggen_protocols::record::{Record, Verified};
use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::stored::{Source, scan, trusted};
use super::tables::{self, Row, Rows, damaged, key, row};
use crate::db::Fault;

/// The tables that [`rows`] are for, and those of what is held of a namespace.
pub(super) const TABLES: [Rows; 8] = [
    tables::MEMBERS,
    tables::DOCUMENTS,
    tables::SLOTS,
    tables::REGISTERS,
    tables::ENDORSEMENTS,
    tables::FEEDS,
    tables::GAPS,
    tables::STATUS,
];

/// Rows of one table, by key.
pub(super) type RowsByKey = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows that follow from one namespace, table by table.
pub(super) struct Derived {
    pub(super) owner: OwnerId,
    /// Records that are effective, and those that are not; documents are neither.
    pub(super) counts: (u64, u64),
    tables: Vec<(Rows, RowsByKey)>,
    names: BTreeSet<Vec<u8>>,
}

/// The rows that must follow from a namespace: slots, registers, endorsements, feeds, gaps and status.
pub(super) fn rows(namespace: &Namespace) -> Vec<(Rows, RowsByKey)> {
    let meaning = namespace.meaning();
    let owner = namespace.documents().owner();
    let slots = meaning.slots.iter().map(|(at, slot)| {
        let key = key::release(owner, &at.name, Some(&at.version));
        (key, row::slot(slot))
    });
    let registers = meaning.registers.iter();
    let registers = registers.map(|((_, name, version), register)| {
        let key = key::release(owner, name, version.as_ref());
        (key, row::register(register))
    });
    let endorsements = meaning.endorsements.iter();
    let endorsements = endorsements.map(|(subject, endorsement)| {
        let key = key::pair(owner, subject.as_bytes());
        (key, row::endorsement(endorsement))
    });
    let feeds = meaning.feeds.iter();
    let feeds = feeds.map(|(key, feed)| (key::feed(owner, *key), row::feed(feed)));
    let gaps = namespace.gaps().into_iter();
    let gaps = gaps.map(|id| (key::pair(owner, id.as_bytes()), Vec::new()));
    // Of a bare key that never wrote a document, nothing needs to be said.
    let has_documents = namespace
        .records()
        .any(|record| record.fact == Fact::Document);
    let status = row::status(meaning.status).filter(|_| has_documents);
    let status = status.map(|row| (owner.as_bytes().to_vec(), row));
    vec![
        (tables::SLOTS, slots.collect()),
        (tables::REGISTERS, registers.collect()),
        (tables::ENDORSEMENTS, endorsements.collect()),
        (tables::FEEDS, feeds.collect()),
        (tables::GAPS, gaps.collect()),
        (tables::STATUS, status.into_iter().collect()),
    ]
}

/// How many records of a namespace are effective, and how many are not; documents are neither.
pub(super) fn counts(namespace: &Namespace) -> (u64, u64) {
    let records = namespace.records();
    let members = records
        .filter(|record| record.fact != Fact::Document)
        .count() as u64;
    let effective = namespace.meaning().effective;
    (effective, members - effective)
}

/// A stored record.
pub(super) fn record(
    records: &impl ReadableTable<Row, Row>,
    position: u64,
    network: NetworkId,
) -> Result<Verified<Record>, Fault> {
    let at = position.to_be_bytes();
    let found = records.get(at.as_slice())?;
    let found = found.ok_or_else(|| damaged(tables::RECORDS, &at))?;
    let (_, envelope) = tables::read_record(position, found.value())?;
    trusted(Bytes::copy_from_slice(envelope), network)
}

/// What a stored record adds to its namespace, and the record.
pub(super) fn contribution(
    records: &impl ReadableTable<Row, Row>,
    position: u64,
    network: NetworkId,
) -> Result<(Contribution, Verified<Record>), Fault> {
    let record = record(records, position, network)?;
    let contribution = Contribution::of(&record);
    let damaged = |why| Fault::Damaged(format!("the record at {position} is no member: {why}"));
    Ok((contribution.map_err(damaged)?, record))
}

/// The documents that are held of a namespace.
pub(super) fn documents(
    documents: &impl ReadableTable<Row, Row>,
    records: &impl ReadableTable<Row, Row>,
    network: NetworkId,
    owner: OwnerId,
) -> Result<Documents, Fault> {
    let mut found = Documents::none(network, owner);
    for record in document_records(documents, records, network, owner)? {
        found.offer(&record);
    }
    Ok(found)
}

/// The records of the documents that are held of a namespace, each after the one that it continues.
pub(super) fn document_records(
    documents: &impl ReadableTable<Row, Row>,
    records: &impl ReadableTable<Row, Row>,
    network: NetworkId,
    owner: OwnerId,
) -> Result<Vec<Verified<Record>>, Fault> {
    let mut positions = Vec::new();
    let prefix = owner.as_bytes().as_slice();
    scan(documents, prefix, prefix, |_, position| {
        positions.push(tables::read_position(tables::DOCUMENTS, position)?);
        Ok(true)
    })?;
    let held = positions.into_iter();
    let held = held.map(|position| record(records, position, network));
    let mut held = held.collect::<Result<Vec<_>, Fault>>()?;
    held.sort_by_key(|record| record.content().seq);
    Ok(held)
}

/// Reads a whole namespace and derives what follows from it.
pub(super) fn namespace(
    source: &impl Source,
    network: NetworkId,
    documents: Documents,
) -> Result<Derived, Fault> {
    let owner = documents.owner();
    let prefix = owner.as_bytes().as_slice();
    let records = source.table(tables::RECORDS)?;
    let mut members = Vec::new();
    for rows in [tables::MEMBERS, tables::DOCUMENTS] {
        scan(&source.table(rows)?, prefix, prefix, |_, position| {
            let position = tables::read_position(rows, position)?;
            members.push(contribution(&records, position, network)?.0);
            Ok(true)
        })?;
    }
    let namespace = Namespace::of(documents, members);
    let names = namespace.meaning().slots.into_keys();
    let names = names.map(|at| key::package(owner, &at.name));
    Ok(Derived {
        owner,
        counts: counts(&namespace),
        names: names.collect(),
        tables: rows(&namespace),
    })
}

/// Replaces what was derived of the namespace before, and tells of every package that this changed: because of the
/// record `cause`, after the change at `position`. Returns the position of the last change.
pub(super) fn write(
    transaction: &WriteTransaction,
    derived: Derived,
    cause: RecordId,
    mut position: u64,
) -> Result<u64, Fault> {
    let prefix = derived.owner.as_bytes().as_slice();
    let mut changed = BTreeSet::new();
    for (rows, expected) in derived.tables {
        let mut table = transaction.table(rows)?;
        let mut stored = BTreeMap::new();
        scan(&table, prefix, prefix, |key, row| {
            stored.insert(key.to_vec(), row.to_vec());
            Ok(true)
        })?;
        let gone = stored.keys().filter(|key| !expected.contains_key(*key));
        let mut touched: Vec<Vec<u8>> = gone.cloned().collect();
        for key in &touched {
            table.remove(key.as_slice())?;
        }
        for (key, row) in expected {
            if stored.get(&key) != Some(&row) {
                table.insert(key.as_slice(), row.as_slice())?;
                touched.push(key);
            }
        }
        let tells_of_packages = [tables::SLOTS, tables::REGISTERS];
        if tells_of_packages.iter().any(|of| of.name() == rows.name()) {
            for key in &touched {
                changed.insert(package_of(rows, key)?);
            }
        }
    }
    let mut names = transaction.table(tables::NAMES)?;
    let mut changes = transaction.table(tables::CHANGES)?;
    for package in changed {
        let (owner, name) = tables::read_package(tables::SLOTS, &package)?;
        let at = key::name(&name, owner);
        if derived.names.contains(&package) {
            let nothing: &[u8] = &[];
            names.insert(at.as_slice(), nothing)?;
        } else {
            names.remove(at.as_slice())?;
        }
        position += 1;
        let change = row::change(cause, Some(&package));
        changes.insert(position.to_be_bytes().as_slice(), change.as_slice())?;
    }
    Ok(position)
}

/// The package in the key of a slot or register.
pub(super) fn package_of(rows: Rows, key: &[u8]) -> Result<Vec<u8>, Fault> {
    let end = key.iter().skip(32).position(|byte| *byte == tables::END);
    let package = end.and_then(|end| key.get(..32 + end));
    Ok(package.ok_or_else(|| damaged(rows, key))?.to_vec())
}
