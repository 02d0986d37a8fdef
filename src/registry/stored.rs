//! Reads a catalogue from its tables, in a snapshot or in the transaction that writes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_protocols::catalogue::{Feed, Register, Slot};
use ggen_protocols::id::{
    CanonicalName, Label, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey,
};
use ggen_protocols::record::{Record, Signed, Verified};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};
use semver::Version;

use super::Verdict;
use super::tables::{
    ABOUT, AUTHORS, CHANGES, DECLINED, END, FEEDS, IDS, NAMES, OWNERS, PINS, RECORDS, REGISTERS,
    Row, Rows, SLOTS, VERDICTS, bytes32, damaged, key, read_change, read_feed, read_owner,
    read_package, read_position, read_record, read_register, read_slot, read_verdict, read_version,
};
use super::view::{Held, Package, Snapshot};
use crate::db::Fault;

/// A transaction that tables can be read in.
pub(super) trait Source {
    type Table<'a>: ReadableTable<Row, Row>
    where
        Self: 'a;

    fn table(&self, rows: Rows) -> Result<Self::Table<'_>, Fault>;
}

impl Source for ReadTransaction {
    type Table<'a> = ReadOnlyTable<Row, Row>;

    fn table(&self, rows: Rows) -> Result<Self::Table<'_>, Fault> {
        Ok(self.open_table(rows)?)
    }
}

impl Source for WriteTransaction {
    type Table<'a> = Table<'a, Row, Row>;

    fn table(&self, rows: Rows) -> Result<Self::Table<'_>, Fault> {
        Ok(self.open_table(rows)?)
    }
}

/// Calls `each` with the rows whose keys begin with `prefix`, in order, until it says that it has enough.
pub(super) fn scan(
    table: &impl ReadableTable<Row, Row>,
    prefix: &[u8],
    after: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    for row in table.range(after..)? {
        let (key, row) = row?;
        if !key.value().starts_with(prefix) || !each(key.value(), row.value())? {
            break;
        }
    }
    Ok(())
}

/// The first `limit` packages that have a release, after `after`, ordered by owner and name.
pub(super) fn packages(
    slots: &impl ReadableTable<Row, Row>,
    after: Option<&Package>,
    limit: usize,
) -> Result<Vec<Package>, Fault> {
    // Past all versions of one package lies the first of the next.
    let past = |(owner, name): &Package| [&key::package(*owner, name)[..], &[END + 1]].concat();
    let mut from = after.map(past).unwrap_or_default();
    let mut packages = Vec::new();
    while packages.len() < limit {
        let Some(row) = slots.range::<&[u8]>(from.as_slice()..)?.next() else {
            break;
        };
        let (release, _) = row?;
        let release = release.value();
        let end = release.iter().skip(32).position(|byte| *byte == END);
        let end = end.ok_or_else(|| damaged(SLOTS, release))?;
        let package = read_package(SLOTS, &release[..32 + end])?;
        from = past(&package);
        packages.push(package);
    }
    Ok(packages)
}

/// The position of a record: [`DECLINED`], that of its admission, or nothing if its id is unknown.
pub(super) fn position_of(
    ids: &impl ReadableTable<Row, Row>,
    id: &RecordId,
) -> Result<Option<u64>, Fault> {
    let found = ids.get(id.as_bytes().as_slice())?;
    found
        .map(|found| read_position(IDS, found.value()))
        .transpose()
}

/// The position of the last change.
pub(super) fn last_position(changes: &impl ReadableTable<Row, Row>) -> Result<u64, Fault> {
    let last = changes.last()?;
    last.map_or(Ok(0), |(position, _)| {
        read_position(CHANGES, position.value())
    })
}

/// The network whose records these are; nothing in a new database.
pub(super) fn network(source: &impl Source) -> Result<Option<NetworkId>, Fault> {
    let table = source.table(ABOUT)?;
    let row = table.get(b"network".as_slice())?;
    let network = row.map(|row| bytes32(row.value()).ok_or_else(|| damaged(ABOUT, b"network")));
    Ok(network.transpose()?.map(NetworkId::from_bytes))
}

/// Reads the records of one network.
pub(super) struct Stored<'a, S>(pub(super) &'a S, pub(super) NetworkId);

impl<S: Source> Stored<'_, S> {
    /// The position of a record, as [`position_of`] gives it.
    pub(super) fn position(&self, id: &RecordId) -> Result<Option<u64>, Fault> {
        position_of(&self.0.table(IDS)?, id)
    }

    /// The package that the record at a position speaks of.
    pub(super) fn package(&self, position: u64) -> Result<Option<Package>, Fault> {
        let table = self.0.table(CHANGES)?;
        let key = position.to_be_bytes();
        let row = table.get(key.as_slice())?;
        let row = row.ok_or_else(|| damaged(CHANGES, &key))?;
        Ok(read_change(position, row.value())?.package)
    }

    /// How many records of an owner are held.
    pub(super) fn records_of(&self, owner: OwnerId) -> Result<u64, Fault> {
        let table = self.0.table(OWNERS)?;
        let row = table.get(owner.as_bytes().as_slice())?;
        let counts = row.map(|row| read_owner(owner.as_bytes(), row.value()));
        Ok(counts.transpose()?.unwrap_or_default().0)
    }

    /// The envelope of a record and when it was first seen.
    pub(super) fn envelope(&self, id: &RecordId) -> Result<Option<(u64, Bytes)>, Fault> {
        let Some(position) = self.position(id)?.filter(|position| *position != DECLINED) else {
            return Ok(None);
        };
        let table = self.0.table(RECORDS)?;
        let key = position.to_be_bytes();
        let row = table.get(key.as_slice())?;
        let row = row.ok_or_else(|| damaged(RECORDS, &key))?;
        let (time, envelope) = read_record(position, row.value())?;
        Ok(Some((time, Bytes::copy_from_slice(envelope))))
    }
}

/// Reads an envelope that was checked when it came.
fn trusted(envelope: Bytes, network: NetworkId) -> Result<Verified<Record>, Fault> {
    let read = Signed::from_envelope(envelope).and_then(|signed| signed.trust_stored(network));
    read.map_err(|why| Fault::Damaged(format!("an envelope in `records`: {why}")))
}

impl<S: Source> Snapshot for Stored<'_, S> {
    fn held(&self, id: &RecordId) -> Result<Option<Held>, Fault> {
        let Some((first_seen_ms, envelope)) = self.envelope(id)? else {
            return Ok(None);
        };
        Ok(Some(Held {
            record: trusted(envelope, self.1)?,
            first_seen_ms,
        }))
    }

    fn slot(&self, key: &ReleaseKey) -> Result<Option<Slot>, Fault> {
        let key = key::release(key.owner, &key.name, Some(&key.version));
        let table = self.0.table(SLOTS)?;
        let row = table.get(key.as_slice())?;
        row.map(|row| read_slot(&key, row.value())).transpose()
    }

    fn slots(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, Slot>, Fault> {
        let prefix = key::release(owner, name, None);
        let mut slots = BTreeMap::new();
        scan(&self.0.table(SLOTS)?, &prefix, &prefix, |key, row| {
            let version = read_version(SLOTS, prefix.len(), key)?;
            slots.insert(
                version.ok_or_else(|| damaged(SLOTS, key))?,
                read_slot(key, row)?,
            );
            Ok(true)
        })?;
        Ok(slots)
    }

    fn registers(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Option<Version>, Register>, Fault> {
        let prefix = key::release(owner, name, None);
        let mut registers = BTreeMap::new();
        scan(&self.0.table(REGISTERS)?, &prefix, &prefix, |key, row| {
            let version = read_version(REGISTERS, prefix.len(), key)?;
            registers.insert(version, read_register(key, row)?);
            Ok(true)
        })?;
        Ok(registers)
    }

    fn owners(&self, name: &CanonicalName) -> Result<Vec<OwnerId>, Fault> {
        let prefix = [name.as_str().as_bytes(), &[END]].concat();
        let mut owners = Vec::new();
        scan(&self.0.table(NAMES)?, &prefix, &prefix, |key, _| {
            let owner = key.get(prefix.len()..).and_then(bytes32);
            owners.push(OwnerId::from_bytes(
                owner.ok_or_else(|| damaged(NAMES, key))?,
            ));
            Ok(true)
        })?;
        Ok(owners)
    }

    fn authored(
        &self,
        author: &str,
        after: Option<&Package>,
        limit: usize,
    ) -> Result<Vec<Package>, Fault> {
        let prefix = key::author(author, &[]);
        let last = after.map(|(owner, name)| key::author(author, &key::package(*owner, name)));
        let from = last.as_ref().unwrap_or(&prefix);
        let mut packages = Vec::new();
        scan(&self.0.table(AUTHORS)?, &prefix, from, |key, _| {
            if Some(key) != last.as_deref() && packages.len() < limit {
                packages.push(read_package(
                    AUTHORS,
                    key.get(prefix.len()..).unwrap_or_default(),
                )?);
            }
            Ok(packages.len() < limit)
        })?;
        Ok(packages)
    }

    fn pin(&self, label: &Label) -> Result<Option<OwnerId>, Fault> {
        let table = self.0.table(PINS)?;
        let row = table.get(label.as_str().as_bytes())?;
        let refuse = || damaged(PINS, label.as_str().as_bytes());
        row.map(|row| {
            Ok(OwnerId::from_bytes(
                bytes32(row.value()).ok_or_else(refuse)?,
            ))
        })
        .transpose()
    }

    fn feed(&self, owner: OwnerId, key: PublicKey) -> Result<Feed, Fault> {
        let key = key::feed(owner, key);
        let table = self.0.table(FEEDS)?;
        let row = table.get(key.as_slice())?;
        row.map_or(Ok(Feed::default()), |row| read_feed(&key, row.value()))
    }

    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault> {
        let table = self.0.table(VERDICTS)?;
        let row = table.get(id.as_bytes().as_slice())?;
        row.map_or(Ok(Verdict::Unchecked), |row| read_verdict(id, row.value()))
    }
}
