//! Accounts: what is kept of each owner, and what all strangers together take.

use ggen_protocols::id::OwnerId;
use redb::{ReadableTable, Table, WriteTransaction};

use super::{DECLINED_BYTES, RECORD_OVERHEAD_BYTES, forget, records_room};
use crate::db::Fault;
use crate::registry::stored::Source;
use crate::registry::tables::{self, Row, damaged, row};

const POOL: &[u8] = b"pool";
const DECLINED_COUNT: &[u8] = b"declined";
const SERIAL: &[u8] = b"serial";
/// Of envelopes up to this size, in bytes, what a page has no room for is little.
const SMALL_BYTES_MAX: u64 = 1024;
/// What a row with an envelope has besides it in its page, in bytes.
const ROW_BYTES: u64 = 128;

/// What is kept of one owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::registry) struct Account {
    /// Effective records held.
    pub(in crate::registry) held: u64,
    /// Records held without effect, but for documents. Of one that was evicted, all that are still to go.
    pub(in crate::registry) inert: u64,
    /// Records declined, whose ids are remembered.
    pub(in crate::registry) declined: u64,
    /// Its key in [`tables::DECLINERS`] while there are such.
    pub(in crate::registry) serial: u64,
    /// What its records take, documents among them, and the head records about it.
    pub(in crate::registry) bytes: u64,
    /// The position of the last record that was taken of it; of one that was used, that of [`tables::USED`].
    pub(in crate::registry) turn: u64,
    pub(in crate::registry) place: Place,
}

/// Whether an owner has to make room for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::registry) enum Place {
    /// A stranger of whom nothing was ever used here.
    #[default]
    Unused = 0,
    /// A stranger of whom something was used here.
    Used = 1,
    /// Own, pinned, an anchor or trusted: its records count nowhere.
    Protected = 2,
    /// It had to make room.
    Evicted = 3,
}

impl Account {
    /// What one more record takes, or one more head record.
    pub(in crate::registry) fn bytes_of(envelope: usize) -> u64 {
        let envelope = envelope as u64;
        // Of large ones few or one stand in a page, and pages larger than the smallest double in size.
        let paged = match envelope <= SMALL_BYTES_MAX {
            true => envelope,
            false => (envelope + ROW_BYTES).next_power_of_two(),
        };
        paged + RECORD_OVERHEAD_BYTES
    }

    /// What it takes of the pool.
    pub(in crate::registry) fn pooled(&self) -> u64 {
        let declined = self.declined * DECLINED_BYTES;
        match self.place {
            Place::Protected => declined,
            _ => self.bytes + declined,
        }
    }

    /// Whether nothing is left of an owner who had to make room.
    fn is_gone(&self) -> bool {
        self.place == Place::Evicted && self.declined == 0 && self.bytes == 0
    }

    /// The key of its row in [`tables::TURNS`], if it has one.
    pub(in crate::registry) fn turn_key(&self, owner: OwnerId) -> Option<Vec<u8>> {
        let class = match self.place {
            Place::Unused | Place::Used => self.place as u8,
            Place::Protected | Place::Evicted => return None,
        };
        let key = [&[class], &self.turn.to_be_bytes()[..], owner.as_bytes()].concat();
        (self.bytes > 0).then_some(key)
    }
}

/// What the pool of strangers holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) struct Size {
    /// What it takes, in bytes.
    pub(in crate::registry) bytes: u64,
    /// Declined records whose ids are remembered.
    pub(in crate::registry) declined: u64,
}

impl Size {
    pub(in crate::registry) fn read(about: &impl ReadableTable<Row, Row>) -> Result<Self, Fault> {
        Ok(Self {
            bytes: read_number(about, POOL)?,
            declined: read_number(about, DECLINED_COUNT)?,
        })
    }

    /// Whether a pool of so many bytes is too small for it.
    pub(in crate::registry) fn is_beyond(&self, bytes_max: u64) -> bool {
        self.bytes > records_room(bytes_max) || self.declined > forget::ids_max(bytes_max)
    }
}

/// The accounts of owners, and what follows from them.
pub(in crate::registry) struct Accounts<'t> {
    pub(super) about: Table<'t, Row, Row>,
    owners: Table<'t, Row, Row>,
    turns: Table<'t, Row, Row>,
    pub(super) decliners: Table<'t, Row, Row>,
    size: Size,
    serial: u64,
}

impl<'t> Accounts<'t> {
    pub(in crate::registry) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let about = transaction.table(tables::ABOUT)?;
        Ok(Self {
            size: Size::read(&about)?,
            serial: read_number(&about, SERIAL)?,
            about,
            owners: transaction.table(tables::OWNERS)?,
            turns: transaction.table(tables::TURNS)?,
            decliners: transaction.table(tables::DECLINERS)?,
        })
    }

    pub(in crate::registry) fn get(&self, owner: OwnerId) -> Result<Account, Fault> {
        let at = owner.as_bytes().as_slice();
        let found = self.owners.get(at)?;
        let account = found.map(|found| tables::read_account(at, found.value()));
        Ok(account.transpose()?.unwrap_or_default())
    }

    /// Counts one more declined record.
    pub(in crate::registry) fn decline(&mut self, account: &mut Account) {
        if account.declined == 0 {
            self.serial += 1;
            account.serial = self.serial;
        }
        account.declined += 1;
    }

    /// Replaces an account that [`Accounts::get`] gave.
    pub(in crate::registry) fn set(
        &mut self,
        owner: OwnerId,
        before: &Account,
        now: &Account,
    ) -> Result<(), Fault> {
        let mut now = *now;
        if now.declined == 0 {
            now.serial = 0;
        }
        if *before == now {
            return Ok(());
        }
        if before.serial != now.serial {
            if before.serial > 0 {
                let serial = before.serial.to_be_bytes();
                self.decliners.remove(serial.as_slice())?;
            }
            if now.serial > 0 {
                let serial = now.serial.to_be_bytes();
                self.decliners
                    .insert(serial.as_slice(), owner.as_bytes().as_slice())?;
            }
        }
        let (old, new) = (before.turn_key(owner), now.turn_key(owner));
        if old != new {
            if let Some(old) = old {
                self.turns.remove(old.as_slice())?;
            }
            if let Some(new) = new {
                let nothing: &[u8] = &[];
                self.turns.insert(new.as_slice(), nothing)?;
            }
        }
        let Size { bytes, declined } = &mut self.size;
        *bytes = (*bytes + now.pooled()).saturating_sub(before.pooled());
        *declined = (*declined + now.declined).saturating_sub(before.declined);
        let at = owner.as_bytes().as_slice();
        match now.is_gone() {
            true => self.owners.remove(at)?,
            false => self.owners.insert(at, row::account(&now).as_slice())?,
        };
        Ok(())
    }

    /// Writes what the pool holds and returns it.
    pub(in crate::registry) fn finish(mut self) -> Result<Size, Fault> {
        let Size { bytes, declined } = self.size;
        for (at, number) in [
            (POOL, bytes),
            (DECLINED_COUNT, declined),
            (SERIAL, self.serial),
        ] {
            if read_number(&self.about, at)? != number {
                self.about.insert(at, number.to_be_bytes().as_slice())?;
            }
        }
        Ok(self.size)
    }
}

/// A number in [`tables::ABOUT`]; 0 if there is none.
pub(super) fn read_number(about: &impl ReadableTable<Row, Row>, at: &[u8]) -> Result<u64, Fault> {
    let row = about.get(at)?;
    let number = row.map(|row| {
        let number = row
            .value()
            .try_into()
            .map_err(|_| damaged(tables::ABOUT, at))?;
        Ok(u64::from_be_bytes(number))
    });
    number.unwrap_or(Ok(0))
}
