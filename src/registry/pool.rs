//! Room for strangers: owners that the user of this node never chose share a bounded number of bytes. When there
//! are too many, whole owners go, who was never used and has been quiet for longest going first.
//!
//! The ids of what went stay known as declined, so that the root stays and nobody is asked for them again. When the
//! user comes to have to do with such an owner, they are forgotten, and reconciling brings the records back.

use std::collections::BTreeSet;

use ggen_protocols::id::{NetworkId, OwnerId, RecordId};
use redb::{ReadableTable, Table, TableHandle, WriteTransaction};

pub(super) use account::{Account, Accounts, Place, Size};

use super::stored::{self, Source, scan};
use super::tables::{self, DECLINED, Row, Rows, damaged, key, row};
use super::write::{self, Terms};
use super::{decide, derive, tree};
use crate::crash;
use crate::db::Fault;

mod account;
pub(super) mod changes;
pub(super) mod forget;
#[cfg(test)]
mod tests;

/// What a record takes besides its envelope, in bytes. In the flood of `tests/it/flood.rs` its rows (id, change, feed,
/// slot, name, author, place in the tree) take some 710 bytes of pages; the rest are pages that one transaction frees and
/// the next one fills.
const RECORD_OVERHEAD_BYTES: u64 = 1024;
/// What the id of a declined record takes, in bytes: measured there, 75 with its place in the tree, and pages between
/// two transactions.
pub(crate) const DECLINED_BYTES: u64 = 100;
/// Of the ids of declined records that are remembered, those of one owner: a few flooding owners must not use them up.
pub(super) const DECLINED_PER_OWNER_MAX: u64 = 1 << 16;
/// Rows that one transaction removes, and twice the records that one adds, at the most: so that no other writer
/// waits long for an owner of many records to go.
const PIECE_ROWS: usize = 4096;
/// The same beside the smallest pool.
const PIECE_ROWS_MIN: usize = 64;
/// Bytes of the pool for each row of a piece. Ids stand in no order, so each row may cost pages that are written anew, while
/// the old ones are only free after the commit: what one commit needs besides must be little beside the pool.
const PIECE_SHARE_BYTES: u64 = 128 << 10;

/// What is kept free for pages between two commits, in bytes; of a small pool, an eighth.
const COMMIT_BYTES_MAX: u64 = 1 << 20;

const OWN: &[u8] = b"own";
const EVICTING: &[u8] = b"evicting";

/// What a record with an envelope of so many bytes takes of the pool, or a head record.
#[cfg(feature = "testing")]
pub(crate) fn record_bytes(envelope: usize) -> u64 {
    Account::bytes_of(envelope)
}

/// What records and declined ids have of a pool of so many bytes: the rest is for changes that tell of those that went,
/// and for pages between two commits.
pub(crate) fn records_room(pool_bytes_max: u64) -> u64 {
    let pages = (pool_bytes_max / 8).min(COMMIT_BYTES_MAX);
    pool_bytes_max - changes::bytes(pool_bytes_max) - pages
}

/// Rows that one transaction removes beside a pool of so many bytes.
fn piece_rows(pool_bytes_max: u64) -> usize {
    let rows = usize::try_from(pool_bytes_max / PIECE_SHARE_BYTES).unwrap_or(usize::MAX);
    rows.clamp(PIECE_ROWS_MIN, PIECE_ROWS)
}

/// Records that one transaction adds beside a pool of so many bytes.
pub(super) fn records_per_job(pool_bytes_max: u64) -> usize {
    piece_rows(pool_bytes_max) / 2
}

/// Notes that so many more records of an owner are effective, and as many fewer are not.
pub(super) fn recount(
    transaction: &WriteTransaction,
    owner: OwnerId,
    gained: i64,
) -> Result<(), Fault> {
    let mut accounts = Accounts::open(transaction)?;
    let before = accounts.get(owner)?;
    let now = Account {
        held: before.held.saturating_add_signed(gained),
        inert: before.inert.saturating_add_signed(-gained),
        ..before
    };
    accounts.set(owner, &before, &now)?;
    accounts.finish().map(drop)
}

/// Counts a head record about an owner, which takes the place of one with an envelope of `before` bytes. Gives what the
/// pool holds then.
pub(super) fn count_head(
    transaction: &WriteTransaction,
    owner: OwnerId,
    before: Option<usize>,
    envelope: usize,
) -> Result<Size, Fault> {
    let mut accounts = Accounts::open(transaction)?;
    let known = accounts.get(owner)?;
    let less = before.map_or(0, Account::bytes_of);
    let now = Account {
        bytes: (known.bytes + Account::bytes_of(envelope)).saturating_sub(less),
        ..known
    };
    accounts.set(owner, &known, &now)?;
    accounts.finish()
}

/// Whether this owner had to make room.
pub(super) fn is_evicted(transaction: &WriteTransaction, owner: OwnerId) -> Result<bool, Fault> {
    let account = Accounts::open(transaction)?.get(owner)?;
    Ok(account.place == Place::Evicted)
}

/// Whether an eviction or forgetting was begun and not ended.
pub(super) fn is_busy(about: &impl ReadableTable<Row, Row>) -> Result<bool, Fault> {
    Ok(read_evicting(about)?.is_some() || forget::Going::read(about)?.is_some())
}

/// The owner that is being evicted, if one is.
pub(super) fn read_evicting(
    about: &impl ReadableTable<Row, Row>,
) -> Result<Option<OwnerId>, Fault> {
    let row = about.get(EVICTING)?;
    let owner = row.map(|row| tables::bytes32(row.value()).map(OwnerId::from_bytes));
    owner
        .map(|owner| owner.ok_or_else(|| damaged(tables::ABOUT, EVICTING)))
        .transpose()
}

/// The owners that this node writes as.
pub(super) fn read_own(about: &impl ReadableTable<Row, Row>) -> Result<BTreeSet<OwnerId>, Fault> {
    let row = about.get(OWN)?;
    let ids = row.map_or_else(Vec::new, |row| row.value().to_vec());
    let (ids, rest) = ids.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(damaged(tables::ABOUT, OWN));
    }
    Ok(ids.iter().map(|id| OwnerId::from_bytes(*id)).collect())
}

/// Notes which owners this node writes as from now on. Returns the position of the last change.
pub(super) fn set_own(transaction: &WriteTransaction, own: &[OwnerId]) -> Result<u64, Fault> {
    let own: BTreeSet<OwnerId> = own.iter().copied().collect();
    let before = {
        let mut about = transaction.table(tables::ABOUT)?;
        let before = read_own(&about)?;
        if before != own {
            let ids: Vec<[u8; 32]> = own.iter().map(|owner| *owner.as_bytes()).collect();
            about.insert(OWN, ids.as_flattened())?;
        }
        before
    };
    let mut position = stored::last_position(&transaction.table(tables::CHANGES)?)?;
    for owner in before.symmetric_difference(&own) {
        position = reconsider(transaction, *owner)?;
    }
    Ok(position)
}

/// Everyone whom this node never evicts.
pub(super) fn protected(source: &impl Source) -> Result<BTreeSet<OwnerId>, Fault> {
    let mut owners = read_own(&source.table(tables::ABOUT)?)?;
    for rows in [tables::PINS, tables::NAME_PINS] {
        for stored in source.table(rows)?.iter()? {
            let (key, row) = stored?;
            owners.insert(leading_owner(rows, key.value(), row.value())?);
        }
    }
    for rows in [tables::ANCHORS, tables::TRUSTED] {
        for stored in source.table(rows)?.iter()? {
            let (key, _) = stored?;
            owners.insert(leading_owner(rows, key.value(), key.value())?);
        }
    }
    Ok(owners)
}

fn leading_owner(rows: Rows, key: &[u8], bytes: &[u8]) -> Result<OwnerId, Fault> {
    let owner = bytes.first_chunk().ok_or_else(|| damaged(rows, key))?;
    Ok(OwnerId::from_bytes(*owner))
}

/// Where an owner stands by what the user of this node chose and used, and when that was.
fn deserved(transaction: &WriteTransaction, owner: OwnerId) -> Result<(Place, Option<u64>), Fault> {
    let used = transaction.table(tables::USED)?;
    let used = used.get(owner.as_bytes().as_slice())?;
    let used = used.map(|row| tables::read_position(tables::USED, row.value()));
    let used = used.transpose()?;
    let place = match (protected(transaction)?.contains(&owner), used) {
        (true, _) => Place::Protected,
        (false, Some(_)) => Place::Used,
        (false, None) => Place::Unused,
    };
    Ok((place, used))
}

/// To be called in the transaction in which an owner becomes, or is no more, one of those in [`tables::PINS`],
/// [`tables::NAME_PINS`], [`tables::ANCHORS`], [`tables::TRUSTED`] or [`tables::USED`]: moves it out of the pool of
/// strangers or into it, and readmits it if it was evicted and no longer is to be. Returns the position of the last
/// change. Reads those tables: they are small, and what calls this is a user's choice.
pub(super) fn reconsider(transaction: &WriteTransaction, owner: OwnerId) -> Result<u64, Fault> {
    let (place, used) = deserved(transaction, owner)?;
    let before = Accounts::open(transaction)?.get(owner)?;
    if before.place == Place::Evicted {
        if place == Place::Unused {
            return stored::last_position(&transaction.table(tables::CHANGES)?);
        }
        return readmit(transaction, owner);
    }
    let turn = match (before.place, place) {
        (_, Place::Used) => used.unwrap_or_default(),
        (Place::Used, _) => latest(transaction, owner)?,
        _ => before.turn,
    };
    let now = Account {
        place,
        turn,
        ..before
    };
    let mut accounts = Accounts::open(transaction)?;
    accounts.set(owner, &before, &now)?;
    accounts.finish()?;
    stored::last_position(&transaction.table(tables::CHANGES)?)
}

/// The position of the last record that was taken of an owner and is held.
fn latest(transaction: &WriteTransaction, owner: OwnerId) -> Result<u64, Fault> {
    let prefix = owner.as_bytes().as_slice();
    let mut latest = 0;
    for rows in [tables::MEMBERS, tables::DOCUMENTS] {
        scan(&transaction.table(rows)?, prefix, prefix, |_, position| {
            latest = latest.max(tables::read_position(rows, position)?);
            Ok(true)
        })?;
    }
    Ok(latest)
}

/// Takes records of an evicted owner again, and forgets the ids of those that were declined, so that they come again.
/// Returns the position of the last change.
pub(super) fn readmit(transaction: &WriteTransaction, owner: OwnerId) -> Result<u64, Fault> {
    let evicted = Accounts::open(transaction)?.get(owner)?.place == Place::Evicted;
    if !evicted {
        return stored::last_position(&transaction.table(tables::CHANGES)?);
    }
    // Half of an owner would be neither held nor declined.
    while read_evicting(&transaction.table(tables::ABOUT)?)? == Some(owner) {
        Eviction::open(transaction)?.go_on(owner, &mut PIECE_ROWS.clone())?;
    }
    let (place, used) = deserved(transaction, owner)?;
    let before = Accounts::open(transaction)?.get(owner)?;
    forget::all_of(transaction, before.serial)?;
    let mut accounts = Accounts::open(transaction)?;
    let now = Account {
        place,
        turn: used.filter(|_| place == Place::Used).unwrap_or(0),
        declined: 0,
        ..before
    };
    accounts.set(owner, &before, &now)?;
    accounts.finish()?;
    // The root is another one: who follows the changes must hear of it.
    let mut changes = transaction.table(tables::CHANGES)?;
    let position = stored::last_position(&changes)?;
    tell(&mut changes, position, owner, None)
}

/// One more step in the feed of changes, about a whole namespace. Returns its position.
fn tell(
    changes: &mut Table<'_, Row, Row>,
    last: u64,
    owner: OwnerId,
    package: Option<&[u8]>,
) -> Result<u64, Fault> {
    let position = last + 1;
    let change = row::change(RecordId::from_bytes(*owner.as_bytes()), package);
    changes.insert(position.to_be_bytes().as_slice(), change.as_slice())?;
    Ok(position)
}

/// What one piece of work came to.
pub(super) struct Evicted {
    /// The position of the last change.
    pub(super) position: u64,
    /// Whether there is more to do.
    pub(super) more: bool,
}

/// Removes a bounded number of rows of owners that have to make room, or of ids that were declined long ago: to be
/// repeated while there is more to do.
/// What was begun before a crash goes on.
pub(super) fn evict(transaction: &WriteTransaction, terms: &Terms) -> Result<Evicted, Fault> {
    passed(transaction)?;
    let mut room = piece_rows(terms.pool_bytes_max);
    let more = loop {
        let (going, forgetting, size) = {
            let about = transaction.table(tables::ABOUT)?;
            (
                read_evicting(&about)?,
                forget::Going::read(&about)?,
                Size::read(&about)?,
            )
        };
        if going.is_none() && forgetting.is_some() {
            forget::go_on(transaction, &mut room)?;
            if room == 0 {
                break true;
            }
            continue;
        }
        let going = match going {
            Some(owner) => Some(owner),
            None if size.declined > forget::ids_max(terms.pool_bytes_max) => {
                forget::begin(transaction, size.declined, terms.pool_bytes_max)?;
                continue;
            }
            None if !size.is_beyond(terms.pool_bytes_max) => None,
            None => {
                decide::refresh_trusted(transaction, terms.network)?;
                begin(transaction)?
            }
        };
        let Some(owner) = going else { break false };
        if room == 0 {
            break true;
        }
        Eviction::open(transaction)?.go_on(owner, &mut room)?;
    };
    changes::prune(transaction, terms.pool_bytes_max)?;
    let position = stored::last_position(&transaction.table(tables::CHANGES)?)?;
    Ok(Evicted { position, more })
}

/// Crash points between the pieces of what was begun.
fn passed(transaction: &WriteTransaction) -> Result<(), Fault> {
    let about = transaction.table(tables::ABOUT)?;
    if read_evicting(&about)?.is_some() {
        crash::point("pool.evicting");
    } else if forget::Going::read(&about)?.is_some() {
        crash::point("pool.forgetting");
    }
    Ok(())
}

/// Whose turn it is.
fn begin(transaction: &WriteTransaction) -> Result<Option<OwnerId>, Fault> {
    let turns = transaction.table(tables::TURNS)?;
    let first = turns.first()?.map(|(key, _)| key.value().to_vec());
    // It is opened again with the accounts.
    drop(turns);
    let Some(first) = first else { return Ok(None) };
    let owner = first.get(9..).and_then(tables::bytes32);
    let owner = OwnerId::from_bytes(owner.ok_or_else(|| damaged(tables::TURNS, &first))?);
    let mut accounts = Accounts::open(transaction)?;
    let before = accounts.get(owner)?;
    let now = Account {
        place: Place::Evicted,
        turn: 0,
        held: 0,
        inert: before.held + before.inert,
        ..before
    };
    accounts.set(owner, &before, &now)?;
    accounts
        .about
        .insert(EVICTING, owner.as_bytes().as_slice())?;
    accounts.finish()?;
    // Only another use brings it back.
    let mut used = transaction.table(tables::USED)?;
    used.remove(owner.as_bytes().as_slice())?;
    let mut changes = transaction.table(tables::CHANGES)?;
    let position = stored::last_position(&changes)?;
    // Also keeps the last position, when the changes of the owner's records go.
    tell(&mut changes, position, owner, None)?;
    Ok(Some(owner))
}

/// The first keys that begin with an owner.
fn first_keys(
    table: &impl ReadableTable<Row, Row>,
    prefix: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut keys = Vec::new();
    if limit > 0 {
        scan(table, prefix, prefix, |key, _| {
            keys.push(key.to_vec());
            Ok(keys.len() < limit)
        })?;
    }
    Ok(keys)
}

/// The tables that an owner is removed from.
struct Eviction<'t> {
    transaction: &'t WriteTransaction,
    network: NetworkId,
    changes: Table<'t, Row, Row>,
    accounts: Accounts<'t>,
}

impl<'t> Eviction<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let network = stored::network(transaction)?;
        Ok(Self {
            transaction,
            network: network.ok_or_else(|| damaged(tables::ABOUT, b"network"))?,
            changes: transaction.table(tables::CHANGES)?,
            accounts: Accounts::open(transaction)?,
        })
    }

    /// Removes as many rows as there is room for: what follows from the records first, because that is read together
    /// with them.
    fn go_on(mut self, owner: OwnerId, room: &mut usize) -> Result<(), Fault> {
        let prefix = owner.as_bytes().as_slice();
        self.drop_slots(owner, room)?;
        for rows in derive::TABLES {
            let later = [tables::MEMBERS, tables::DOCUMENTS];
            if later.iter().any(|other| other.name() == rows.name()) {
                continue;
            }
            let mut table = self.transaction.table(rows)?;
            for key in first_keys(&table, prefix, *room)? {
                table.remove(key.as_slice())?;
                *room -= 1;
            }
        }
        let before = self.accounts.get(owner)?;
        let mut now = before;
        self.drop_heads(owner, room, &mut now)?;
        let mut forgotten = Vec::new();
        for rows in [tables::MEMBERS, tables::DOCUMENTS] {
            self.drop_records(owner, rows, room, &mut now, &mut forgotten)?;
        }
        forgotten.sort_unstable();
        let ids = self.transaction.table(tables::IDS)?;
        let mut tree = self.transaction.table(tables::TREE)?;
        tree::remove(&ids, &mut tree, &forgotten)?;
        self.accounts.set(owner, &before, &now)?;
        // Otherwise there may be more.
        let is_gone = *room > 0;
        if is_gone {
            self.accounts.about.remove(EVICTING)?;
        }
        self.accounts.finish()?;
        if is_gone {
            // Its word went with its records.
            decide::endorsed(self.transaction, self.network, &BTreeSet::from([owner]))?;
        }
        Ok(())
    }

    /// Removes releases, and tells of each package of which none is left.
    fn drop_slots(&mut self, owner: OwnerId, room: &mut usize) -> Result<(), Fault> {
        let prefix = owner.as_bytes().as_slice();
        let mut slots = self.transaction.table(tables::SLOTS)?;
        let mut packages = BTreeSet::new();
        for key in first_keys(&slots, prefix, *room)? {
            slots.remove(key.as_slice())?;
            packages.insert(derive::package_of(tables::SLOTS, &key)?);
            *room -= 1;
        }
        if let Some(key) = first_keys(&slots, prefix, 1)?.first() {
            packages.remove(&derive::package_of(tables::SLOTS, key)?);
        }
        let mut names = self.transaction.table(tables::NAMES)?;
        let mut position = stored::last_position(&self.changes)?;
        for package in packages {
            let (_, name) = tables::read_package(tables::SLOTS, &package)?;
            names.remove(key::name(&name, owner).as_slice())?;
            position = tell(&mut self.changes, position, owner, Some(&package))?;
        }
        Ok(())
    }

    /// Removes what others say that they saw last of its namespace.
    fn drop_heads(
        &mut self,
        owner: OwnerId,
        room: &mut usize,
        account: &mut Account,
    ) -> Result<(), Fault> {
        let mut heads = self.transaction.table(tables::HEADS)?;
        for key in first_keys(&heads, owner.as_bytes(), *room)? {
            if let Some(head) = heads.remove(key.as_slice())? {
                let bytes = Account::bytes_of(head.value().len());
                account.bytes = account.bytes.saturating_sub(bytes);
            }
            *room -= 1;
        }
        Ok(())
    }

    /// Removes records, and declines them as far as there is room for more such.
    fn drop_records(
        &mut self,
        owner: OwnerId,
        rows: Rows,
        room: &mut usize,
        account: &mut Account,
        forgotten: &mut Vec<RecordId>,
    ) -> Result<(), Fault> {
        let mut members = self.transaction.table(rows)?;
        let mut records = self.transaction.table(tables::RECORDS)?;
        let mut ids = self.transaction.table(tables::IDS)?;
        let mut verdicts = self.transaction.table(tables::VERDICTS)?;
        let mut authors = self.transaction.table(tables::AUTHORS)?;
        let mut keys = self.transaction.table(tables::KEYS)?;
        for member in first_keys(&members, owner.as_bytes(), *room)? {
            *room -= 1;
            let position = match members.remove(member.as_slice())? {
                Some(row) => tables::read_position(rows, row.value())?,
                None => continue,
            };
            let at = position.to_be_bytes();
            let envelope = match records.remove(at.as_slice())? {
                Some(row) => tables::read_record(position, row.value())?.1.to_vec(),
                None => return Err(damaged(tables::RECORDS, &at)),
            };
            account.bytes = account
                .bytes
                .saturating_sub(Account::bytes_of(envelope.len()));
            self.changes.remove(at.as_slice())?;
            // Both kinds of key end with the record.
            let id = member
                .last_chunk::<32>()
                .ok_or_else(|| damaged(rows, &member))?;
            verdicts.remove(id.as_slice())?;
            let record = stored::trusted(envelope.into(), self.network)?;
            for at in write::author_keys(&record) {
                authors.remove(at.as_slice())?;
            }
            for at in write::named_keys(&record) {
                keys.remove(at.as_slice())?;
            }
            if rows.name() == tables::MEMBERS.name() {
                account.inert = account.inert.saturating_sub(1);
            }
            if account.declined < DECLINED_PER_OWNER_MAX {
                self.accounts.decline(account);
                let declined = DECLINED | account.serial;
                ids.insert(id.as_slice(), declined.to_be_bytes().as_slice())?;
            } else {
                ids.remove(id.as_slice())?;
                forgotten.push(RecordId::from_bytes(*id));
            }
        }
        Ok(())
    }
}
