//! What is held of one namespace, and the rows that must follow from it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_protocols::catalogue::{Contribution, Fact, Meaning, Namespace};
use ggen_protocols::id::{NetworkId, OwnerId};
use ggen_protocols::owner::Documents;
use ggen_protocols::record::{Record, Verified};
use redb::ReadableTable;

use super::stored::{scan, trusted};
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

/// The rows that must follow from a namespace: slots, registers, endorsements, feeds, gaps and status.
pub(super) fn rows(namespace: &Namespace, meaning: &Meaning) -> Vec<(Rows, RowsByKey)> {
    let owner = namespace.documents().owner();
    let mut rows = fact_rows(owner, meaning);
    let feeds = meaning.feeds.iter();
    let feeds = feeds.map(|(key, feed)| (key::feed(owner, *key), row::feed(feed)));
    let gaps = namespace.gaps().into_iter();
    let gaps = gaps.map(|id| (key::pair(owner, id.as_bytes()), Vec::new()));
    // Of a bare key that never wrote a document, nothing needs to be said.
    let has_documents = namespace
        .records()
        .any(|record| record.fact == Fact::Document);
    let status = row::status(namespace.documents().standing()).filter(|_| has_documents);
    let status = status.map(|row| (owner.as_bytes().to_vec(), row));
    rows.extend([
        (tables::FEEDS, feeds.collect()),
        (tables::GAPS, gaps.collect()),
        (tables::STATUS, status.into_iter().collect()),
    ]);
    rows
}

/// The rows that must follow from what effective records say: slots, registers and endorsements.
pub(super) fn fact_rows(owner: OwnerId, meaning: &Meaning) -> Vec<(Rows, RowsByKey)> {
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
    vec![
        (tables::SLOTS, slots.collect()),
        (tables::REGISTERS, registers.collect()),
        (tables::ENDORSEMENTS, endorsements.collect()),
    ]
}

/// How many records of a namespace are effective, and how many are not; documents are neither.
pub(super) fn counts(namespace: &Namespace, meaning: &Meaning) -> (u64, u64) {
    let records = namespace.records();
    let members = records
        .filter(|record| record.fact != Fact::Document)
        .count() as u64;
    (meaning.effective, members - meaning.effective)
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

/// The package in the key of a slot or register.
pub(super) fn package_of(rows: Rows, key: &[u8]) -> Result<Vec<u8>, Fault> {
    let end = key.iter().skip(32).position(|byte| *byte == tables::END);
    let package = end.and_then(|end| key.get(..32 + end));
    Ok(package.ok_or_else(|| damaged(rows, key))?.to_vec())
}
