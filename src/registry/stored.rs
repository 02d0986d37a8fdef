//! Reads a catalogue from its tables, in a snapshot or in the transaction that writes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_protocols::catalogue::{Feed, Register, Slot, Status};
use ggen_protocols::id::{
    CanonicalName, Label, NetworkId, OwnerId, PublicKey, RecordId, ReleaseKey,
};
use ggen_protocols::owner::Documents;
use ggen_protocols::record::{Record, Signed, Verified};
use ggen_protocols::trust::{Anchor, Endorsement, Veto};
use ggen_protocols::view::Mode;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};
use semver::Version;

use super::evidence::Question;
use super::tables::{
    ABOUT, ANCHORS, AUTHORS, BLOCKED_KEYS, BLOCKS, CHANGES, CONTENTS, DECLINED, DOCUMENTS, END,
    ENDORSEMENTS, FEEDS, IDS, KEYS, MEMBERS, NAME_PINS, NAMES, OWNERS, PINS, RECORDS, REGISTERS,
    Row, Rows, SLOTS, STATUS, VERDICTS, VETOED, bytes32, damaged, key, read_account, read_anchor,
    read_change, read_endorsement, read_feed, read_member, read_owner_id, read_package,
    read_position, read_record, read_register, read_release, read_second, read_slot, read_status,
    read_text, read_verdict, read_version, read_veto,
};
use super::view::{Held, Package, Snapshot};
use super::{Verdict, decide, derive};
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
    let from = after.map(past_package).unwrap_or_default();
    packages_from(slots, from, &[], limit)
}

fn past_package((owner, name): &Package) -> Vec<u8> {
    [&key::package(*owner, name)[..], &[END + 1]].concat()
}

/// The first `limit` packages of one owner after the name `after`.
pub(super) fn packages_of(
    slots: &impl ReadableTable<Row, Row>,
    owner: OwnerId,
    after: &[u8],
    limit: usize,
) -> Result<Vec<Package>, Fault> {
    let mut from = [owner.as_bytes().as_slice(), after].concat();
    if !after.is_empty() {
        from.push(END + 1);
    }
    packages_from(slots, from, owner.as_bytes(), limit)
}

fn packages_from(
    slots: &impl ReadableTable<Row, Row>,
    mut from: Vec<u8>,
    prefix: &[u8],
    limit: usize,
) -> Result<Vec<Package>, Fault> {
    let mut packages = Vec::new();
    while packages.len() < limit {
        let Some(row) = slots.range::<&[u8]>(from.as_slice()..)?.next() else {
            break;
        };
        let (release, _) = row?;
        let release = release.value();
        if !release.starts_with(prefix) {
            break;
        }
        let end = release.iter().skip(32).position(|byte| *byte == END);
        let end = end.ok_or_else(|| damaged(SLOTS, release))?;
        let package = read_package(SLOTS, &release[..32 + end])?;
        from = past_package(&package);
        packages.push(package);
    }
    Ok(packages)
}

/// The position of a record: that of its admission, from [`DECLINED`] on if it was declined, or nothing if its id is
/// unknown.
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
    /// All rows of a small table.
    fn rows<K: Ord, V>(
        &self,
        rows: Rows,
        read: impl Fn(&[u8], &[u8]) -> Result<(K, V), Fault>,
    ) -> Result<BTreeMap<K, V>, Fault> {
        let table = self.0.table(rows)?;
        let rows = table.iter()?.map(|row| {
            let (key, row) = row?;
            read(key.value(), row.value())
        });
        rows.collect()
    }

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

    /// How many effective records of an owner are held.
    pub(super) fn records_of(&self, owner: OwnerId) -> Result<u64, Fault> {
        let table = self.0.table(OWNERS)?;
        let row = table.get(owner.as_bytes().as_slice())?;
        let account = row.map(|row| read_account(owner.as_bytes(), row.value()));
        Ok(account.transpose()?.unwrap_or_default().held)
    }

    /// The envelope of a record and when it was first seen.
    pub(super) fn envelope(&self, id: &RecordId) -> Result<Option<(u64, Bytes)>, Fault> {
        let Some(position) = self.position(id)?.filter(|position| *position < DECLINED) else {
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
pub(super) fn trusted(envelope: Bytes, network: NetworkId) -> Result<Verified<Record>, Fault> {
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

    fn register(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
        version: Option<&Version>,
    ) -> Result<Option<Register>, Fault> {
        let key = key::release(owner, name, version);
        let table = self.0.table(REGISTERS)?;
        let row = table.get(key.as_slice())?;
        row.map(|row| read_register(&key, row.value())).transpose()
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

    fn owners_after(
        &self,
        name: &CanonicalName,
        after: Option<OwnerId>,
        limit: usize,
    ) -> Result<Vec<OwnerId>, Fault> {
        let prefix = [name.as_str().as_bytes(), &[END]].concat();
        let last = after.map(|owner| key::name(name, owner));
        let from = last.as_ref().unwrap_or(&prefix);
        let mut owners = Vec::new();
        scan(&self.0.table(NAMES)?, &prefix, from, |key, _| {
            if Some(key) != last.as_deref() && owners.len() < limit {
                let owner = key.get(prefix.len()..).unwrap_or_default();
                owners.push(read_owner_id(NAMES, owner)?);
            }
            Ok(owners.len() < limit)
        })?;
        Ok(owners)
    }

    fn names(&self, prefix: &str, limit: usize) -> Result<Vec<CanonicalName>, Fault> {
        let prefix = prefix.as_bytes();
        let mut names: Vec<CanonicalName> = Vec::new();
        scan(&self.0.table(NAMES)?, prefix, prefix, |key, _| {
            let name = key.split(|byte| *byte == END).next().unwrap_or_default();
            let is_new = names
                .last()
                .is_none_or(|last| last.as_str().as_bytes() != name);
            if is_new && names.len() < limit {
                names.push(read_text(NAMES, name)?);
            }
            Ok(!is_new || names.len() < limit)
        })?;
        Ok(names)
    }

    fn has_package(&self, owner: OwnerId, name: &CanonicalName) -> Result<bool, Fault> {
        let table = self.0.table(NAMES)?;
        Ok(table.get(key::name(name, owner).as_slice())?.is_some())
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

    fn documents(&self, owner: OwnerId) -> Result<Documents, Fault> {
        let (documents, records) = (self.0.table(DOCUMENTS)?, self.0.table(RECORDS)?);
        derive::documents(&documents, &records, self.1, owner)
    }

    fn status(&self, owner: OwnerId) -> Result<Option<Status>, Fault> {
        let table = self.0.table(STATUS)?;
        let key = owner.as_bytes().as_slice();
        let row = table.get(key)?;
        let status = row.map(|row| read_status(key, row.value())).transpose()?;
        Ok(status.map(|(status, _)| status))
    }

    fn label(&self, owner: OwnerId) -> Result<Option<String>, Fault> {
        let table = self.0.table(STATUS)?;
        let key = owner.as_bytes().as_slice();
        let row = table.get(key)?;
        let status = row.map(|row| read_status(key, row.value())).transpose()?;
        let label = status.map(|(_, label)| label);
        Ok(label.filter(|label| !label.is_empty()))
    }

    fn endorsements(&self, issuer: OwnerId) -> Result<BTreeMap<OwnerId, Endorsement>, Fault> {
        let prefix = issuer.as_bytes().as_slice();
        let mut endorsements = BTreeMap::new();
        scan(&self.0.table(ENDORSEMENTS)?, prefix, prefix, |key, row| {
            let subject = OwnerId::from_bytes(read_second(ENDORSEMENTS, key)?);
            endorsements.insert(subject, read_endorsement(key, row)?);
            Ok(true)
        })?;
        Ok(endorsements)
    }

    fn endorsement(&self, issuer: OwnerId, subject: OwnerId) -> Result<Option<Endorsement>, Fault> {
        let key = key::pair(issuer, subject.as_bytes());
        let table = self.0.table(ENDORSEMENTS)?;
        let row = table.get(key.as_slice())?;
        row.map(|row| read_endorsement(&key, row.value()))
            .transpose()
    }

    fn namespaces_of(&self, key: PublicKey) -> Result<Vec<OwnerId>, Fault> {
        let own = OwnerId::of_key(self.1, key);
        let mut owners = vec![own];
        let prefix = key.as_bytes().as_slice();
        scan(&self.0.table(KEYS)?, prefix, prefix, |at, _| {
            let owner = OwnerId::from_bytes(read_second(KEYS, at)?);
            owners.extend((owner != own).then_some(owner));
            Ok(true)
        })?;
        Ok(owners)
    }

    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault> {
        let table = self.0.table(VERDICTS)?;
        let row = table.get(id.as_bytes().as_slice())?;
        row.map_or(Ok(Verdict::Unchecked), |row| read_verdict(id, row.value()))
    }

    fn suspended(&self, limit: usize) -> Result<Vec<OwnerId>, Fault> {
        let mut owners = Vec::new();
        scan(&self.0.table(STATUS)?, &[], &[], |owner, row| {
            if matches!(
                read_status(owner, row)?.0,
                Status::Frozen(_) | Status::Dead(_)
            ) {
                owners.push(read_owner_id(STATUS, owner)?);
            }
            Ok(owners.len() < limit)
        })?;
        Ok(owners)
    }

    fn conflicted(
        &self,
        question: &Question,
        limit: usize,
    ) -> Result<Vec<(ReleaseKey, Slot)>, Fault> {
        let prefix = match (question.owner, &question.name) {
            (Some(owner), Some(name)) => key::release(owner, name, None),
            (Some(owner), None) => owner.as_bytes().to_vec(),
            (None, _) => Vec::new(),
        };
        let mut found = Vec::new();
        scan(&self.0.table(SLOTS)?, &prefix, &prefix, |key, row| {
            let slot = read_slot(key, row)?;
            if slot.is_conflicted() {
                let release = read_release(key)?;
                if question.asks_for(&release) {
                    found.push((release, slot));
                }
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    fn forks(&self, owner: OwnerId, limit: usize) -> Result<Vec<Vec<RecordId>>, Fault> {
        let prefix = owner.as_bytes().as_slice();
        let mut forks: Vec<Vec<RecordId>> = Vec::new();
        let mut place = Vec::new();
        let mut here: Vec<RecordId> = Vec::new();
        let feeds = self.0.table(FEEDS)?;
        let mut end = |place: &[u8], here: &mut Vec<RecordId>| {
            let records = std::mem::take(here);
            if let (true, Some(feed)) = (records.len() > 1, place.get(..64)) {
                let row = feeds.get(feed)?;
                let known = row.map(|row| read_feed(feed, row.value())).transpose()?;
                if known.is_some_and(|feed| feed.forked) {
                    forks.push(records);
                }
            }
            Ok::<_, Fault>(forks.len() < limit)
        };
        scan(&self.0.table(MEMBERS)?, prefix, prefix, |key, _| {
            let id = read_member(key)?;
            let at = key.get(..96).unwrap_or_default();
            let more = at == place || end(&place, &mut here)?;
            place = at.to_vec();
            here.push(id);
            Ok(more)
        })?;
        end(&place, &mut here)?;
        forks.truncate(limit);
        Ok(forks)
    }

    fn mode(&self) -> Result<Mode, Fault> {
        let table = self.0.table(ABOUT)?;
        let strict = table.get(b"mode".as_slice())?.is_some();
        Ok(if strict { Mode::Strict } else { Mode::Tofu })
    }

    fn name_pin(&self, name: &CanonicalName) -> Result<Option<OwnerId>, Fault> {
        let table = self.0.table(NAME_PINS)?;
        let row = table.get(name.as_str().as_bytes())?;
        row.map(|row| read_owner_id(NAME_PINS, row.value()))
            .transpose()
    }

    fn name_pins(&self) -> Result<BTreeMap<CanonicalName, OwnerId>, Fault> {
        self.rows(NAME_PINS, |name, owner| {
            Ok((
                read_text(NAME_PINS, name)?,
                read_owner_id(NAME_PINS, owner)?,
            ))
        })
    }

    fn label_pins(&self) -> Result<BTreeMap<Label, OwnerId>, Fault> {
        self.rows(PINS, |label, owner| {
            Ok((read_text(PINS, label)?, read_owner_id(PINS, owner)?))
        })
    }

    fn contents(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, RecordId>, Fault> {
        let prefix = key::release(owner, name, None);
        let mut contents = BTreeMap::new();
        scan(&self.0.table(CONTENTS)?, &prefix, &prefix, |key, row| {
            let version = read_version(CONTENTS, prefix.len(), key)?;
            let version = version.ok_or_else(|| damaged(CONTENTS, key))?;
            let record = bytes32(row).ok_or_else(|| damaged(CONTENTS, key))?;
            contents.insert(version, RecordId::from_bytes(record));
            Ok(true)
        })?;
        Ok(contents)
    }

    fn content(&self, release: &ReleaseKey) -> Result<Option<RecordId>, Fault> {
        let key = key::release(release.owner, &release.name, Some(&release.version));
        let table = self.0.table(CONTENTS)?;
        let row = table.get(key.as_slice())?;
        let record = row.map(|row| bytes32(row.value()).ok_or_else(|| damaged(CONTENTS, &key)));
        Ok(record.transpose()?.map(RecordId::from_bytes))
    }

    fn anchors(&self) -> Result<BTreeMap<OwnerId, Anchor>, Fault> {
        self.rows(ANCHORS, |owner, anchor| {
            Ok((read_owner_id(ANCHORS, owner)?, read_anchor(owner, anchor)?))
        })
    }

    fn blocked(&self) -> Result<BTreeMap<OwnerId, String>, Fault> {
        self.rows(BLOCKS, |owner, why| {
            Ok((read_owner_id(BLOCKS, owner)?, read_text(BLOCKS, why)?))
        })
    }

    fn blocked_keys(&self) -> Result<BTreeMap<PublicKey, String>, Fault> {
        self.rows(BLOCKED_KEYS, |key, why| {
            let key = bytes32(key).ok_or_else(|| damaged(BLOCKED_KEYS, key))?;
            Ok((PublicKey::from_bytes(key), read_text(BLOCKED_KEYS, why)?))
        })
    }

    fn vetoed(&self, owner: OwnerId) -> Result<Option<Veto>, Fault> {
        let table = self.0.table(VETOED)?;
        let row = table.get(owner.as_bytes().as_slice())?;
        row.map(|row| read_veto(row.value())).transpose()
    }

    fn trust_generation(&self) -> Result<Option<u64>, Fault> {
        decide::generation(self.0).map(Some)
    }
}
