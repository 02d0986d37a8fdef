//! Checks a whole catalogue: every record again, and that every other row follows from the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ggen_protocols::catalogue::{Contribution, Meaning};
use ggen_protocols::id::{NetworkId, RecordId};
use ggen_protocols::record::{CheckSignature, Record, Refusal, Signed, Verified};
use redb::{ReadTransaction, ReadableTable, TableHandle};

use super::stored::Source;
use super::tables::{self, DECLINED, Rows, hex, key, row};
use super::{Admitted, Audit, tree, write};
use crate::db::Fault;

/// Findings that are listed; more are counted.
const FINDINGS_MAX: usize = 1000;

/// Rows as they should be, by key.
type Expected = BTreeMap<Vec<u8>, Vec<u8>>;

struct Auditor<'a> {
    snapshot: &'a ReadTransaction,
    findings: Vec<String>,
    unlisted: u64,
}

/// What the stored records say, computed anew.
#[derive(Default)]
struct Recomputed {
    meaning: Meaning,
    /// Where each record stands.
    positions: BTreeMap<RecordId, u64>,
    /// The package that each record speaks of.
    packages: BTreeMap<RecordId, Option<Vec<u8>>>,
    authors: BTreeSet<Vec<u8>>,
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
    auditor.check_owners(&recomputed)?;
    auditor.check_derived(recomputed)?;
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
                    for author in write::authors(record.content()) {
                        let package = package.as_deref().unwrap_or_default();
                        recomputed.authors.insert(key::author(&author, package));
                    }
                    recomputed.packages.insert(contribution.id, package);
                    recomputed.meaning.add(contribution);
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
        let mut ids = Vec::new();
        for stored in self.snapshot.table(tables::IDS)?.iter()? {
            let (id, position) = stored?;
            ids.extend(self.readable(tables::read_id(id.value()))?);
            if self.readable(tables::read_position(tables::IDS, position.value()))?
                == Some(DECLINED)
            {
                expected
                    .entry(id.value().to_vec())
                    .or_insert_with(|| position.value().to_vec());
            }
        }
        self.compare(tables::IDS, &expected)?;
        self.compare(tables::TREE, &tree::rows_over(&ids))
    }

    /// Every record stands in the feed at its position; other changes speak of records that are held.
    fn check_changes(&mut self, recomputed: &Recomputed) -> Result<(), Fault> {
        let mut expected = Expected::new();
        for (id, position) in &recomputed.positions {
            let package = recomputed.packages.get(id).and_then(Option::as_deref);
            expected.insert(position.to_be_bytes().to_vec(), row::change(*id, package));
        }
        for stored in self.snapshot.table(tables::CHANGES)?.iter()? {
            let (position, change) = stored?;
            let read = tables::read_position(tables::CHANGES, position.value());
            let at = self.readable(read)?;
            let read = tables::read_change(at.unwrap_or_default(), change.value());
            let Some(Admitted { record, .. }) = self.readable(read)? else {
                continue;
            };
            if let Some(package) = recomputed.packages.get(&record) {
                expected
                    .entry(position.value().to_vec())
                    .or_insert_with(|| row::change(record, package.as_deref()));
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

    /// Held records are counted by owner. Whose the declined ones were is not known any more, only how many.
    fn check_owners(&mut self, recomputed: &Recomputed) -> Result<(), Fault> {
        let mut held = BTreeMap::new();
        for owner in recomputed.meaning.records.values() {
            *held.entry(*owner.as_bytes()).or_insert(0u64) += 1;
        }
        let mut declined = 0;
        for stored in self.snapshot.table(tables::OWNERS)?.iter()? {
            let (owner, counts) = stored?;
            let read = tables::read_owner(owner.value(), counts.value());
            let Some(counts) = self.readable(read)? else {
                continue;
            };
            let counted = <[u8; 32]>::try_from(owner.value()).ok();
            let counted = counted.and_then(|owner| held.remove(&owner)).unwrap_or(0);
            declined += counts.1;
            if counts.0 != counted {
                let text = hex(owner.value());
                self.find(format!(
                    "`owners`: {text} has {counted} records, not {}",
                    counts.0
                ));
            }
        }
        for owner in held.into_keys() {
            self.find(format!("`owners`: {} is missing", hex(&owner)));
        }
        let mut zeros = 0;
        for stored in self.snapshot.table(tables::IDS)?.iter()? {
            let position = self.readable(tables::read_position(tables::IDS, stored?.1.value()))?;
            zeros += u64::from(position == Some(DECLINED));
        }
        if zeros != declined {
            self.find(format!(
                "`owners`: {zeros} records were declined, not {declined}"
            ));
        }
        Ok(())
    }

    fn check_derived(&mut self, recomputed: Recomputed) -> Result<(), Fault> {
        let meaning = recomputed.meaning;
        let nothing = |key| (key, Vec::new());
        let names = meaning.slots.keys();
        let names = names.map(|at| nothing(key::name(&at.name, at.owner)));
        self.compare(tables::NAMES, &names.collect())?;
        let authors = recomputed.authors.into_iter().map(nothing);
        self.compare(tables::AUTHORS, &authors.collect())?;
        let slots = meaning.slots.iter().map(|(at, slot)| {
            let key = key::release(at.owner, &at.name, Some(&at.version));
            (key, row::slot(slot))
        });
        self.compare(tables::SLOTS, &slots.collect())?;
        let registers = meaning
            .registers
            .iter()
            .map(|((owner, name, version), register)| {
                let key = key::release(*owner, name, version.as_ref());
                (key, row::register(register))
            });
        self.compare(tables::REGISTERS, &registers.collect())?;
        let feeds = meaning.feeds.iter();
        let feeds = feeds.map(|((owner, key), feed)| (key::feed(*owner, *key), row::feed(feed)));
        self.compare(tables::FEEDS, &feeds.collect())?;
        let successors = meaning
            .successors
            .iter()
            .map(|((owner, key, previous), id)| {
                let key = key::successor(*owner, *key, *previous);
                (key, id.as_bytes().to_vec())
            });
        self.compare(tables::SUCCESSORS, &successors.collect())
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
