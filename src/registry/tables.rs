//! The tables of a catalogue in redb: what stands in each, and how keys and rows are written and read.
//!
//! All keys and rows are bytes. Keys are built so that what is read together stands together.

use ggen_protocols::catalogue::{Claim, Feed, Register, Slot};
use ggen_protocols::cbor;
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId};
use ggen_protocols::limits;
use ggen_protocols::record::{FeedHead, Info};
use redb::TableDefinition;
use semver::{BuildMetadata, Version};

use super::view::Package;
use super::{Admitted, Verdict};
use crate::db::Fault;

/// Keys and rows of every table.
pub(super) type Row = &'static [u8];
/// One table.
pub(super) type Rows = TableDefinition<'static, Row, Row>;

/// `network` -> the network's id.
pub(super) const ABOUT: Rows = TableDefinition::new("about");
/// position -> first seen in ms, envelope. Appended to, so that large rows never move others.
pub(super) const RECORDS: Rows = TableDefinition::new("records");
/// position -> record, and the package that it speaks of.
pub(super) const CHANGES: Rows = TableDefinition::new("changes");
/// record -> its position; 0 if it was declined.
pub(super) const IDS: Rows = TableDefinition::new("ids");
/// depth and prefix -> count and hash of the sixteen children.
pub(super) const TREE: Rows = TableDefinition::new("tree");
/// owner -> records held, records declined.
pub(super) const OWNERS: Rows = TableDefinition::new("owners");
/// name, owner -> nothing: every package.
pub(super) const NAMES: Rows = TableDefinition::new("names");
/// author in lower case, owner, name -> nothing: packages of which some release names the author.
pub(super) const AUTHORS: Rows = TableDefinition::new("authors");
/// owner, name, version -> claims.
pub(super) const SLOTS: Rows = TableDefinition::new("slots");
/// owner, name, version or nothing -> register.
pub(super) const REGISTERS: Rows = TableDefinition::new("registers");
/// owner, key -> feed.
pub(super) const FEEDS: Rows = TableDefinition::new("feeds");
/// owner, key, record or zeros -> the record that follows it.
pub(super) const SUCCESSORS: Rows = TableDefinition::new("successors");
/// record -> verdict. Known to this node only.
pub(super) const VERDICTS: Rows = TableDefinition::new("verdicts");
/// label -> owner. Chosen on this node only.
pub(super) const PINS: Rows = TableDefinition::new("pins");

/// Every table.
pub(super) const ALL: [Rows; 14] = [
    ABOUT, RECORDS, CHANGES, IDS, TREE, OWNERS, NAMES, AUTHORS, SLOTS, REGISTERS, FEEDS,
    SUCCESSORS, VERDICTS, PINS,
];

/// The position of declined records in [`IDS`].
pub(super) const DECLINED: u64 = 0;
/// Ends a text inside a key: no name, version or author contains it.
pub(super) const END: u8 = 0;

/// The keys of rows.
pub(super) mod key {
    use super::{CanonicalName, END, OwnerId, PublicKey, RecordId, Version};

    pub(in super::super) fn package(owner: OwnerId, name: &CanonicalName) -> Vec<u8> {
        [owner.as_bytes(), name.as_str().as_bytes()].concat()
    }

    pub(in super::super) fn name(name: &CanonicalName, owner: OwnerId) -> Vec<u8> {
        [name.as_str().as_bytes(), &[END], owner.as_bytes()].concat()
    }

    pub(in super::super) fn author(author: &str, package: &[u8]) -> Vec<u8> {
        [author.as_bytes(), &[END], package].concat()
    }

    pub(in super::super) fn release(
        owner: OwnerId,
        name: &CanonicalName,
        version: Option<&Version>,
    ) -> Vec<u8> {
        let version = version.map(ToString::to_string).unwrap_or_default();
        let name = name.as_str().as_bytes();
        [owner.as_bytes(), name, &[END], version.as_bytes()].concat()
    }

    pub(in super::super) fn feed(owner: OwnerId, key: PublicKey) -> Vec<u8> {
        [*owner.as_bytes(), *key.as_bytes()].concat()
    }

    pub(in super::super) fn successor(
        owner: OwnerId,
        key: PublicKey,
        previous: Option<RecordId>,
    ) -> Vec<u8> {
        let previous = previous.map_or([0; 32], |id| *id.as_bytes());
        [*owner.as_bytes(), *key.as_bytes(), previous].concat()
    }
}

/// The contents of rows.
pub(super) mod row {
    use super::{Feed, RecordId, Register, Slot, Verdict, cbor};

    pub(in super::super) fn record(first_seen_ms: u64, envelope: &[u8]) -> Vec<u8> {
        [&first_seen_ms.to_be_bytes(), envelope].concat()
    }

    pub(in super::super) fn change(id: RecordId, package: Option<&[u8]>) -> Vec<u8> {
        [id.as_bytes(), package.unwrap_or_default()].concat()
    }

    pub(in super::super) fn owner(held: u64, declined: u64) -> Vec<u8> {
        [held.to_be_bytes(), declined.to_be_bytes()].concat()
    }

    pub(in super::super) fn slot(slot: &Slot) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(65);
        for claim in slot.claims() {
            let build = claim.build.as_bytes();
            bytes.extend(claim.record.as_bytes());
            bytes.extend(claim.content);
            // A version has at most 150 bytes.
            bytes.push(build.len() as u8);
            bytes.extend(build);
        }
        bytes
    }

    pub(in super::super) fn register(register: &Register) -> Vec<u8> {
        let Register {
            revision,
            withdrawn,
            yanked,
            record,
            note,
            info,
        } = register;
        cbor::encode(&(revision, withdrawn, yanked, record, note, info))
    }

    pub(in super::super) fn feed(feed: &Feed) -> Vec<u8> {
        let last = feed.head.last.map_or([0; 32], |id| *id.as_bytes());
        let head = feed.head.seq.to_be_bytes();
        [&head[..], &[feed.forked.into()], &last].concat()
    }

    pub(in super::super) fn verdict(verdict: &Verdict) -> Option<Vec<u8>> {
        match verdict {
            Verdict::Unchecked => None,
            Verdict::Sound => Some(vec![1]),
            Verdict::Unsound(why) => Some([&[2], why.as_bytes()].concat()),
        }
    }
}

pub(super) fn damaged(rows: Rows, key: &[u8]) -> Fault {
    let table = redb::TableHandle::name(&rows);
    Fault::Damaged(format!("`{table}`, row {}", hex(key)))
}

/// Bytes as messages show them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn bytes32(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

/// Reads the key of [`IDS`].
pub(super) fn read_id(bytes: &[u8]) -> Result<RecordId, Fault> {
    let id = bytes32(bytes).ok_or_else(|| damaged(IDS, bytes))?;
    Ok(RecordId::from_bytes(id))
}

/// Reads a position, which is a key of [`RECORDS`] and [`CHANGES`] and a row of [`IDS`].
pub(super) fn read_position(rows: Rows, bytes: &[u8]) -> Result<u64, Fault> {
    let position = bytes.try_into().map_err(|_| damaged(rows, bytes))?;
    Ok(u64::from_be_bytes(position))
}

/// Splits a row of [`RECORDS`] into the time and the envelope.
pub(super) fn read_record(position: u64, row: &[u8]) -> Result<(u64, &[u8]), Fault> {
    let (time, envelope) = row
        .split_first_chunk()
        .ok_or_else(|| damaged(RECORDS, &position.to_be_bytes()))?;
    Ok((u64::from_be_bytes(*time), envelope))
}

/// Reads a package inside a key or a row.
pub(super) fn read_package(rows: Rows, key: &[u8]) -> Result<Package, Fault> {
    let package = key.split_first_chunk().and_then(|(owner, name)| {
        let name = std::str::from_utf8(name).ok()?.parse().ok()?;
        Some((OwnerId::from_bytes(*owner), name))
    });
    package.ok_or_else(|| damaged(rows, key))
}

pub(super) fn read_change(position: u64, row: &[u8]) -> Result<Admitted, Fault> {
    let refuse = || damaged(CHANGES, &position.to_be_bytes());
    let (record, package) = row.split_first_chunk().ok_or_else(refuse)?;
    Ok(Admitted {
        position,
        record: RecordId::from_bytes(*record),
        package: match package {
            [] => None,
            package => Some(read_package(CHANGES, package)?),
        },
    })
}

pub(super) fn read_owner(key: &[u8], row: &[u8]) -> Result<(u64, u64), Fault> {
    let counts = row.split_first_chunk().and_then(|(held, declined)| {
        Some((
            u64::from_be_bytes(*held),
            u64::from_be_bytes(declined.try_into().ok()?),
        ))
    });
    counts.ok_or_else(|| damaged(OWNERS, key))
}

pub(super) fn read_slot(key: &[u8], row: &[u8]) -> Result<Slot, Fault> {
    fn claim(row: &[u8]) -> Option<(Claim, &[u8])> {
        let (record, row) = row.split_first_chunk()?;
        let (content, row) = row.split_first_chunk()?;
        let (length, row) = row.split_first()?;
        let (build, row) = row.split_at_checked(usize::from(*length))?;
        let claim = Claim {
            record: RecordId::from_bytes(*record),
            content: *content,
            build: BuildMetadata::new(std::str::from_utf8(build).ok()?).ok()?,
        };
        Some((claim, row))
    }
    let refuse = || damaged(SLOTS, key);
    let (first, mut rest) = claim(row).ok_or_else(refuse)?;
    let mut slot = Slot::from(first);
    while !rest.is_empty() {
        let next = claim(rest).ok_or_else(refuse)?;
        slot.merge(next.0);
        rest = next.1;
    }
    Ok(slot)
}

pub(super) fn read_register(key: &[u8], row: &[u8]) -> Result<Register, Fault> {
    type Fields = (u64, bool, bool, RecordId, String, Option<Info>);
    let fields = cbor::decode::<Fields>(row, limits::ENVELOPE_BYTES_MAX);
    let (revision, withdrawn, yanked, record, note, info) =
        fields.map_err(|_| damaged(REGISTERS, key))?;
    Ok(Register {
        revision,
        withdrawn,
        yanked,
        record,
        note,
        info,
    })
}

pub(super) fn read_feed(key: &[u8], row: &[u8]) -> Result<Feed, Fault> {
    let feed = row.split_first_chunk().and_then(|(seq, rest)| {
        let (forked, last) = rest.split_first()?;
        let last = bytes32(last).filter(|last| *last != [0; 32]);
        let head = FeedHead {
            seq: u64::from_be_bytes(*seq),
            last: last.map(RecordId::from_bytes),
        };
        Some(Feed {
            head,
            forked: *forked != 0,
        })
    });
    feed.ok_or_else(|| damaged(FEEDS, key))
}

pub(super) fn read_verdict(id: &RecordId, row: &[u8]) -> Result<Verdict, Fault> {
    match row {
        [1] => Ok(Verdict::Sound),
        [2, why @ ..] => Ok(Verdict::Unsound(String::from_utf8_lossy(why).into_owned())),
        _ => Err(damaged(VERDICTS, id.as_bytes())),
    }
}

/// The version at the end of a key of [`SLOTS`] or [`REGISTERS`] below a prefix; nothing for a package's register.
pub(super) fn read_version(
    rows: Rows,
    prefix: usize,
    key: &[u8],
) -> Result<Option<Version>, Fault> {
    match key.get(prefix..) {
        Some([]) => Ok(None),
        version => {
            let text = version.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let version = text.and_then(|text| text.parse().ok());
            Ok(Some(version.ok_or_else(|| damaged(rows, key))?))
        }
    }
}
