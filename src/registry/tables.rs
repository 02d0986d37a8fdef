//! The tables of a catalogue in redb: what stands in each, and how keys and rows are written and read.
//!
//! All keys and rows are bytes. Keys are built so that what is read together stands together.

use ggen_protocols::catalogue::{Claim, Feed, Register, Slot, Status};
use ggen_protocols::cbor;
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::limits;
use ggen_protocols::owner::Standing;
use ggen_protocols::record::{FeedHead, Info};
use ggen_protocols::trust::{Anchor, Endorsement, Level, Veto};
use redb::TableDefinition;
use semver::{BuildMetadata, Version};

use super::pool::{Account, Place};
use super::view::Package;
use super::{Admitted, Verdict};
use crate::db::Fault;

/// Keys and rows of every table.
pub(super) type Row = &'static [u8];
/// One table.
pub(super) type Rows = TableDefinition<'static, Row, Row>;

/// `network` -> the network's id; `own` -> the owners that this node writes as; `pool` -> bytes in the pool of strangers;
/// `evicting` -> the owner who is being removed from it; `declined` -> how many ids of declined records are remembered;
/// `serial` -> the last one given in [`DECLINERS`]; `forgetting` -> the last serial of those whose ids are being
/// forgotten, and the id to go on at; `forgot` -> up to which change owners may be told of of whom nothing is known;
/// `pruned` -> up to which position changes of records that are not held are gone; `mode` -> whether a sole claimant is
/// enough; `trust` -> a number that changes with endorsements that count, anchors and blocks; `trusted` and
/// `introducers` -> that number when [`TRUSTED`] and [`INTRODUCERS`] were computed.
pub(super) const ABOUT: Rows = TableDefinition::new("about");
/// position -> first seen in ms, envelope. Appended to, so that large rows never move others.
pub(super) const RECORDS: Rows = TableDefinition::new("records");
/// position -> record, and the package that it speaks of.
pub(super) const CHANGES: Rows = TableDefinition::new("changes");
/// record -> its position; if it was declined, [`DECLINED`] and the serial of its owner.
pub(super) const IDS: Rows = TableDefinition::new("ids");
/// depth and prefix -> count and hash of the sixteen children.
pub(super) const TREE: Rows = TableDefinition::new("tree");
/// owner -> account.
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
/// owner, key, previous record or zeros, record -> its position: every held record but documents, feed by feed.
pub(super) const MEMBERS: Rows = TableDefinition::new("members");
/// owner, record -> its position: every held document.
pub(super) const DOCUMENTS: Rows = TableDefinition::new("documents");
/// owner -> which document holds, and the label in it. Only of namespaces of which documents are held.
pub(super) const STATUS: Rows = TableDefinition::new("status");
/// key, owner -> nothing: the namespaces of which some document that is held names the key.
pub(super) const KEYS: Rows = TableDefinition::new("keys");
/// owner, record -> nothing: records that the feeds of retired keys still lack.
pub(super) const GAPS: Rows = TableDefinition::new("gaps");
/// issuer, subject -> endorsement.
pub(super) const ENDORSEMENTS: Rows = TableDefinition::new("endorsements");
/// owner, key -> the newest head record of that key about the owner. Not part of the set.
pub(super) const HEADS: Rows = TableDefinition::new("heads");
/// record -> verdict. Known to this node only.
pub(super) const VERDICTS: Rows = TableDefinition::new("verdicts");
/// label -> owner. Chosen on this node only.
pub(super) const PINS: Rows = TableDefinition::new("pins");
/// serial -> owner: those of whom declined records are remembered, the oldest first.
pub(super) const DECLINERS: Rows = TableDefinition::new("decliners");
/// class, position, owner -> nothing: owners in the pool of strangers, who goes first standing first.
pub(super) const TURNS: Rows = TableDefinition::new("turns");
/// name -> owner. Chosen on this node only, as is all that follows.
pub(super) const NAME_PINS: Rows = TableDefinition::new("name-pins");
/// owner, name, version -> the record whose content was used here.
pub(super) const CONTENTS: Rows = TableDefinition::new("contents");
/// owner -> weight, depth.
pub(super) const ANCHORS: Rows = TableDefinition::new("anchors");
/// owner -> why it is blocked.
pub(super) const BLOCKS: Rows = TableDefinition::new("blocks");
/// key -> why it is blocked.
pub(super) const BLOCKED_KEYS: Rows = TableDefinition::new("blocked-keys");
/// owner -> the anchor that distrusts it; nothing if the user blocked it.
pub(super) const VETOED: Rows = TableDefinition::new("vetoed");
/// owner -> the last name that was told of: owners whose packages are offered or not any more, which not all changes
/// tell of yet.
pub(super) const UNTOLD: Rows = TableDefinition::new("untold");
/// owner -> nothing: owners of full trust, as last computed.
pub(super) const TRUSTED: Rows = TableDefinition::new("trusted");
/// owner -> nothing: owners whose word on others counts, as last computed.
pub(super) const INTRODUCERS: Rows = TableDefinition::new("introducers");
/// owner -> position of the last change when its user last used a package of it.
pub(super) const USED: Rows = TableDefinition::new("used");
/// id of a token -> its digest and what it allows.
pub(super) const TOKENS: Rows = TableDefinition::new("tokens");

/// owner, name, version, day -> downloads on that day; of day 0, those of all days that are not kept. Not part of the set.
pub(super) const DOWNLOADS: Rows = TableDefinition::new("downloads");

/// Every table.
pub(super) const ALL: [Rows; 34] = [
    ABOUT,
    RECORDS,
    CHANGES,
    IDS,
    TREE,
    OWNERS,
    NAMES,
    AUTHORS,
    SLOTS,
    REGISTERS,
    FEEDS,
    MEMBERS,
    DOCUMENTS,
    STATUS,
    KEYS,
    GAPS,
    ENDORSEMENTS,
    HEADS,
    VERDICTS,
    PINS,
    DECLINERS,
    TURNS,
    NAME_PINS,
    CONTENTS,
    ANCHORS,
    BLOCKS,
    BLOCKED_KEYS,
    VETOED,
    UNTOLD,
    TRUSTED,
    INTRODUCERS,
    USED,
    TOKENS,
    DOWNLOADS,
];

/// What is added in [`IDS`] to the serial of a declined record's owner, which tells it from a position.
pub(super) const DECLINED: u64 = 1 << 63;
/// Ends a text inside a key: no name, version or author contains it.
pub(super) const END: u8 = 0;

/// The keys of rows.
pub(super) mod key {
    use super::{CanonicalName, END, OwnerId, PublicKey, RecordId, ReleaseKey, Version};

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

    /// What the keys of a release's counts begin with.
    pub(in super::super) fn downloads(release: &ReleaseKey) -> Vec<u8> {
        let mut key = self::release(release.owner, &release.name, Some(&release.version));
        key.push(END);
        key
    }

    pub(in super::super) fn feed(owner: OwnerId, key: PublicKey) -> Vec<u8> {
        [*owner.as_bytes(), *key.as_bytes()].concat()
    }

    /// A place in a feed, which the keys of all that stand there begin with.
    pub(in super::super) fn place(
        owner: OwnerId,
        key: PublicKey,
        previous: Option<RecordId>,
    ) -> Vec<u8> {
        let previous = previous.map_or([0; 32], |id| *id.as_bytes());
        [*owner.as_bytes(), *key.as_bytes(), previous].concat()
    }

    pub(in super::super) fn member(
        owner: OwnerId,
        key: PublicKey,
        previous: Option<RecordId>,
        id: RecordId,
    ) -> Vec<u8> {
        [place(owner, key, previous).as_slice(), id.as_bytes()].concat()
    }

    pub(in super::super) fn named(key: PublicKey, owner: OwnerId) -> Vec<u8> {
        [*key.as_bytes(), *owner.as_bytes()].concat()
    }

    /// A record of a namespace, or what one owner says of another.
    pub(in super::super) fn pair(owner: OwnerId, other: &[u8; 32]) -> Vec<u8> {
        [*owner.as_bytes(), *other].concat()
    }
}

/// The contents of rows.
pub(super) mod row {
    use super::{
        Account, Anchor, Endorsement, Feed, RecordId, Register, Slot, Standing, Verdict, Veto, cbor,
    };

    pub(in super::super) fn record(first_seen_ms: u64, envelope: &[u8]) -> Vec<u8> {
        [&first_seen_ms.to_be_bytes(), envelope].concat()
    }

    pub(in super::super) fn change(id: RecordId, package: Option<&[u8]>) -> Vec<u8> {
        [id.as_bytes(), package.unwrap_or_default()].concat()
    }

    pub(in super::super) fn account(account: &Account) -> Vec<u8> {
        let Account {
            held,
            inert,
            declined,
            serial,
            bytes,
            turn,
            place,
        } = *account;
        let numbers = [held, inert, declined, serial, bytes, turn].map(u64::to_be_bytes);
        [numbers.as_flattened(), &[place as u8]].concat()
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

    /// Nothing for a namespace that nobody founded: there is no row of it.
    pub(in super::super) fn status(standing: Standing<'_>) -> Option<Vec<u8>> {
        let (code, id, label) = match standing {
            Standing::Unknown => return None,
            Standing::Active(id, document) => (1, id, document.label.as_str()),
            Standing::Frozen(id) => (2, id, ""),
            Standing::Dead(id) => (3, id, ""),
        };
        Some([&[code][..], id.as_bytes(), label.as_bytes()].concat())
    }

    pub(in super::super) fn endorsement(endorsement: &Endorsement) -> Vec<u8> {
        let Endorsement {
            revision,
            level,
            depth,
            record,
            label,
            reason,
        } = endorsement;
        cbor::encode(&(revision, level.number(), depth, record, label, reason))
    }

    pub(in super::super) fn anchor(anchor: Anchor) -> [u8; 2] {
        [anchor.weight, anchor.depth]
    }

    pub(in super::super) fn veto(veto: Veto) -> Vec<u8> {
        match veto {
            Veto::Blocked => Vec::new(),
            Veto::By(anchor) => anchor.as_bytes().to_vec(),
        }
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

pub(super) fn read_account(key: &[u8], row: &[u8]) -> Result<Account, Fault> {
    let account = row.split_first_chunk::<48>().and_then(|(numbers, place)| {
        let number = |at: usize| {
            Some(u64::from_be_bytes(
                numbers.get(at..at + 8)?.try_into().ok()?,
            ))
        };
        Some(Account {
            held: number(0)?,
            inert: number(8)?,
            declined: number(16)?,
            serial: number(24)?,
            bytes: number(32)?,
            turn: number(40)?,
            place: match place {
                [0] => Place::Unused,
                [1] => Place::Used,
                [2] => Place::Protected,
                [3] => Place::Evicted,
                _ => return None,
            },
        })
    });
    account.ok_or_else(|| damaged(OWNERS, key))
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

/// Which document holds, and the label in it: empty if it has none, or if no document holds.
pub(super) fn read_status(key: &[u8], row: &[u8]) -> Result<(Status, String), Fault> {
    let status = row.split_first().and_then(|(code, rest)| {
        let (id, label) = rest.split_first_chunk()?;
        let id = RecordId::from_bytes(*id);
        let status = match code {
            1 => Status::Active(id),
            2 => Status::Frozen(id),
            3 => Status::Dead(id),
            _ => return None,
        };
        Some((status, std::str::from_utf8(label).ok()?.to_owned()))
    });
    status.ok_or_else(|| damaged(STATUS, key))
}

pub(super) fn read_endorsement(key: &[u8], row: &[u8]) -> Result<Endorsement, Fault> {
    type Fields = (u64, u64, u8, RecordId, Option<String>, String);
    let refuse = || damaged(ENDORSEMENTS, key);
    let fields = cbor::decode::<Fields>(row, limits::ENVELOPE_BYTES_MAX);
    let (revision, level, depth, record, label, reason) = fields.map_err(|_| refuse())?;
    Ok(Endorsement {
        revision,
        level: Level::of(level).ok_or_else(refuse)?,
        depth,
        record,
        label,
        reason,
    })
}

/// The second half of a key of two ids.
pub(super) fn read_second(rows: Rows, key: &[u8]) -> Result<[u8; 32], Fault> {
    let second = key.get(32..).and_then(bytes32);
    second.ok_or_else(|| damaged(rows, key))
}

/// The record at the end of a key of [`MEMBERS`].
pub(super) fn read_member(key: &[u8]) -> Result<RecordId, Fault> {
    let id = key.get(96..).and_then(bytes32);
    Ok(RecordId::from_bytes(
        id.ok_or_else(|| damaged(MEMBERS, key))?,
    ))
}

/// Reads an owner that is a key or a row.
pub(super) fn read_owner_id(rows: Rows, bytes: &[u8]) -> Result<OwnerId, Fault> {
    let id = bytes32(bytes).ok_or_else(|| damaged(rows, bytes))?;
    Ok(OwnerId::from_bytes(id))
}

pub(super) fn read_anchor(key: &[u8], row: &[u8]) -> Result<Anchor, Fault> {
    match *row {
        [weight, depth] => Ok(Anchor { weight, depth }),
        _ => Err(damaged(ANCHORS, key)),
    }
}

pub(super) fn read_veto(row: &[u8]) -> Result<Veto, Fault> {
    match row {
        [] => Ok(Veto::Blocked),
        anchor => read_owner_id(VETOED, anchor).map(Veto::By),
    }
}

/// Reads a text that is a key or a row: a name, a label, a reason.
pub(super) fn read_text<T: std::str::FromStr>(rows: Rows, bytes: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(bytes).ok();
    let value = text.and_then(|text| text.parse().ok());
    value.ok_or_else(|| damaged(rows, bytes))
}

pub(super) fn read_verdict(id: &RecordId, row: &[u8]) -> Result<Verdict, Fault> {
    match row {
        [1] => Ok(Verdict::Sound),
        [2, why @ ..] => Ok(Verdict::Unsound(String::from_utf8_lossy(why).into_owned())),
        _ => Err(damaged(VERDICTS, id.as_bytes())),
    }
}

/// Reads the key of [`SLOTS`].
pub(super) fn read_release(key: &[u8]) -> Result<ReleaseKey, Fault> {
    let end = key.iter().skip(32).position(|byte| *byte == END);
    let end = 32 + end.ok_or_else(|| damaged(SLOTS, key))?;
    let (owner, name) = read_package(SLOTS, &key[..end])?;
    let version = read_version(SLOTS, end + 1, key)?;
    let version = version.ok_or_else(|| damaged(SLOTS, key))?;
    Ok(ReleaseKey::new(owner, name, &version))
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
