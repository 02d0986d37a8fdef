//! Ids of declined records: they take their part of the pool, and those that have been remembered for longest go.
//!
//! An owner of whom none is left was never here. If a peer still holds records of it, they are taken as a stranger's
//! and may go again; their ids are the newest then, so that a peer that holds less than is remembered here is
//! not asked for them for ever.

use std::collections::BTreeMap;

use ggen_protocols::id::OwnerId;
use ggen_protocols::limits;
use redb::{ReadableTable, WriteTransaction};

use super::account::read_number;
use super::{Accounts, DECLINED_BYTES, tell, tree};
use crate::db::Fault;
use crate::registry::stored::{self, Source};
use crate::registry::tables::{self, DECLINED, Row, damaged};

/// Ids that are remembered however small the pool is.
const IDS_MIN: u64 = 4096;
/// Rows that are looked at for each that may be removed: ids stand in no order of age.
const LOOK: usize = 16;

const FORGETTING: &[u8] = b"forgetting";
const FORGOT: &[u8] = b"forgot";

/// How many ids of declined records are remembered beside a pool of so many bytes: half of it, because the records
/// of a stranger are only worth having if nobody is asked for the others again and again.
pub(crate) fn ids_max(pool_bytes_max: u64) -> u64 {
    let half = pool_bytes_max / 2 / DECLINED_BYTES;
    half.clamp(IDS_MIN, limits::DECLINED_MAX)
}

/// How many are left when some had to go: fewer, so that it is worth reading all of them.
pub(crate) fn ids_left(pool_bytes_max: u64) -> u64 {
    ids_max(pool_bytes_max) / 8 * 7
}

/// Forgetting that was begun.
pub(in crate::registry) struct Going {
    /// The last serial of those whose ids go.
    serial: u64,
    /// The id to go on at.
    from: [u8; 32],
}

impl Going {
    pub(in crate::registry) fn read(
        about: &impl ReadableTable<Row, Row>,
    ) -> Result<Option<Self>, Fault> {
        let Some(row) = about.get(FORGETTING)? else {
            return Ok(None);
        };
        let going = row.value().split_first_chunk().and_then(|(serial, from)| {
            Some(Self {
                serial: u64::from_be_bytes(*serial),
                from: tables::bytes32(from)?,
            })
        });
        let going = going.ok_or_else(|| damaged(tables::ABOUT, FORGETTING));
        going.map(Some)
    }

    fn write(&self, transaction: &WriteTransaction) -> Result<(), Fault> {
        let row = [&self.serial.to_be_bytes()[..], &self.from].concat();
        let mut about = transaction.table(tables::ABOUT)?;
        about.insert(FORGETTING, row.as_slice())?;
        Ok(())
    }
}

/// Up to which change owners may be told of of whom nothing is known any more.
pub(in crate::registry) fn read_forgot(about: &impl ReadableTable<Row, Row>) -> Result<u64, Fault> {
    read_number(about, FORGOT)
}

/// Chooses whose ids go: the oldest, until few enough are left.
pub(super) fn begin(
    transaction: &WriteTransaction,
    declined: u64,
    pool_bytes_max: u64,
) -> Result<(), Fault> {
    let (mut left, mut last) = (declined, 0);
    {
        let accounts = Accounts::open(transaction)?;
        for stored in accounts.decliners.iter()? {
            if left <= ids_left(pool_bytes_max) {
                break;
            }
            let (serial, owner) = stored?;
            let owner = tables::read_owner_id(tables::DECLINERS, owner.value())?;
            left = left.saturating_sub(accounts.get(owner)?.declined);
            last = tables::read_position(tables::DECLINERS, serial.value())?;
        }
    }
    let going = Going {
        serial: last,
        from: [0; 32],
    };
    going.write(transaction)
}

/// Forgets as many ids as there is room for, in their order: so that few pages are written anew at once.
pub(super) fn go_on(transaction: &WriteTransaction, room: &mut usize) -> Result<(), Fault> {
    let Some(going) = Going::read(&transaction.table(tables::ABOUT)?)? else {
        return Ok(());
    };
    let is_old = |serial| serial <= going.serial;
    let look = *room * LOOK;
    let found = remove(transaction, going.from, is_old, *room, look)?;
    *room -= found.removed;
    let mut accounts = Accounts::open(transaction)?;
    let mut last = None;
    for (serial, count) in found.serials {
        let owner = match accounts.decliners.get(serial.to_be_bytes().as_slice())? {
            Some(row) => tables::read_owner_id(tables::DECLINERS, row.value())?,
            None => return Err(damaged(tables::DECLINERS, &serial.to_be_bytes())),
        };
        let before = accounts.get(owner)?;
        let mut now = before;
        now.declined = now.declined.saturating_sub(count);
        accounts.set(owner, &before, &now)?;
        last = Some(owner);
    }
    accounts.finish()?;
    if let Some(owner) = last {
        told(transaction, owner)?;
    }
    match found.next {
        Some(from) => {
            *room = 0;
            Going { from, ..going }.write(transaction)
        }
        None => {
            let mut about = transaction.table(tables::ABOUT)?;
            about.remove(FORGETTING)?;
            Ok(())
        }
    }
}

/// The root is another one: who follows the changes must hear of it.
fn told(transaction: &WriteTransaction, owner: OwnerId) -> Result<(), Fault> {
    let mut changes = transaction.table(tables::CHANGES)?;
    let position = stored::last_position(&changes)?;
    let position = tell(&mut changes, position, owner, None)?;
    let mut about = transaction.table(tables::ABOUT)?;
    about.insert(FORGOT, position.to_be_bytes().as_slice())?;
    Ok(())
}

/// Forgets all ids of the owner with this serial. Reads all that are known: what calls this is a user's choice.
pub(super) fn all_of(transaction: &WriteTransaction, serial: u64) -> Result<(), Fault> {
    if serial > 0 {
        let is_it = |other| other == serial;
        remove(transaction, [0; 32], is_it, usize::MAX, usize::MAX)?;
    }
    Ok(())
}

struct Found {
    /// How many of each serial went.
    serials: BTreeMap<u64, u64>,
    removed: usize,
    /// Where to go on, if that was not all.
    next: Option<[u8; 32]>,
}

/// Removes ids of declined records from `from` on: at most `room`, after at most `look` rows.
fn remove(
    transaction: &WriteTransaction,
    from: [u8; 32],
    goes: impl Fn(u64) -> bool,
    room: usize,
    look: usize,
) -> Result<Found, Fault> {
    let mut ids = transaction.table(tables::IDS)?;
    let mut serials = BTreeMap::new();
    let (mut forgotten, mut next) = (Vec::new(), None);
    for (looked, row) in ids.range::<&[u8]>(from.as_slice()..)?.enumerate() {
        let (id, position) = row?;
        let id = tables::read_id(id.value())?;
        if forgotten.len() >= room || looked >= look {
            next = Some(*id.as_bytes());
            break;
        }
        let position = tables::read_position(tables::IDS, position.value())?;
        if position >= DECLINED && goes(position ^ DECLINED) {
            *serials.entry(position ^ DECLINED).or_default() += 1;
            forgotten.push(id);
        }
    }
    for id in &forgotten {
        ids.remove(id.as_bytes().as_slice())?;
    }
    tree::remove(&ids, &mut transaction.table(tables::TREE)?, &forgotten)?;
    Ok(Found {
        serials,
        removed: forgotten.len(),
        next,
    })
}
