//! Writes decisions, and what follows from them: who is vetoed, and that search hears of it.

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::id::{Label, NetworkId, OwnerId, RecordId, ReleaseKey};
use ggen_protocols::trust::{FULL, Veto};
use ggen_protocols::view::Mode;
use redb::{ReadableTable, WriteTransaction};

use super::decisions::Concern;
use super::policy::Decision;
use super::pool;
use super::stored::{self, Source, Stored};
use super::tables::{self, Row, Rows, key, row};
use super::trust::{self, Reach};
use super::view::{Failure, Namespace, Snapshot};
use crate::db::Fault;

/// Packages that one transaction tells of when their owner is vetoed or not any more; an owner may have 100,000.
const PACKAGES_PER_TURN: usize = 4096;

const TRUST: &[u8] = b"trust";
const MODE: &[u8] = b"mode";
/// The number of [`TRUST`] that [`tables::TRUSTED`] was computed at.
const TRUSTED_AT: &[u8] = b"trusted";
/// The number of [`TRUST`] that [`tables::INTRODUCERS`] was computed at.
const INTRODUCERS_AT: &[u8] = b"introducers";
/// Set while the vetoes may be others than those stored.
const DIRTY: &[u8] = b"dirty";

/// What the row `trust` says: another number whenever trust may be another.
pub(super) fn generation(source: &impl Source) -> Result<u64, Fault> {
    let about = source.table(tables::ABOUT)?;
    let row = about.get(TRUST)?;
    row.map_or(Ok(0), |row| {
        tables::read_position(tables::ABOUT, row.value())
    })
}

fn about(transaction: &WriteTransaction, key: &[u8], row: Option<&[u8]>) -> Result<(), Fault> {
    put(transaction, tables::ABOUT, key, row)
}

fn put(
    transaction: &WriteTransaction,
    rows: Rows,
    key: &[u8],
    row: Option<&[u8]>,
) -> Result<(), Fault> {
    let mut table = transaction.table(rows)?;
    match row {
        Some(row) => drop(table.insert(key, row)?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}

/// Trust is computed anew when it is asked for next; vetoes before this transaction ends.
fn touch(transaction: &WriteTransaction) -> Result<(), Fault> {
    let next = generation(transaction)?.wrapping_add(1).to_be_bytes();
    about(transaction, TRUST, Some(&next))?;
    about(transaction, DIRTY, Some(&[]))
}

/// Notes that these owners may say something else of others than before. Vetoes come from anchors alone.
///
/// What a stranger says changes no score: trust comes over those whose word counts, and as long as none of these says
/// something else, the same ones do. So nothing is computed because of strangers, however many.
pub(super) fn endorsed(
    transaction: &WriteTransaction,
    network: NetworkId,
    issuers: &BTreeSet<OwnerId>,
) -> Result<(), Fault> {
    if issuers.is_empty() {
        return Ok(());
    }
    let own = own(transaction)?;
    let anchors = transaction.table(tables::ANCHORS)?;
    let mut is_anchor = false;
    for issuer in issuers {
        let at = issuer.as_bytes().as_slice();
        is_anchor |= own.contains(issuer) || anchors.get(at)?.is_some();
    }
    drop(anchors);
    if is_anchor {
        return touch(transaction);
    }
    if !is_at(transaction, INTRODUCERS_AT)? {
        let reach = Reach::load(&Stored(transaction, network), &own)?;
        note_introducers(transaction, &reach)?;
    }
    let introducers = transaction.table(tables::INTRODUCERS)?;
    let mut counts = false;
    for issuer in issuers {
        counts |= introducers.get(issuer.as_bytes().as_slice())?.is_some();
    }
    drop(introducers);
    if !counts {
        return Ok(());
    }
    let next = generation(transaction)?.wrapping_add(1).to_be_bytes();
    about(transaction, TRUST, Some(&next))
}

/// Whether something was computed at the trust that there is now.
fn is_at(transaction: &WriteTransaction, what: &[u8]) -> Result<bool, Fault> {
    let now = generation(transaction)?.to_be_bytes();
    let about = transaction.table(tables::ABOUT)?;
    let at = about.get(what)?;
    Ok(at.is_some_and(|at| at.value() == now))
}

/// Notes whose word on others counts now.
fn note_introducers(transaction: &WriteTransaction, reach: &Reach) -> Result<(), Fault> {
    replace_owners(transaction, tables::INTRODUCERS, &reach.introducers())?;
    let now = generation(transaction)?.to_be_bytes();
    about(transaction, INTRODUCERS_AT, Some(&now))
}

/// Makes these the owners in a table of bare owners. Returns those who are and were not, or were and are not.
fn replace_owners(
    transaction: &WriteTransaction,
    rows: Rows,
    owners: &BTreeSet<OwnerId>,
) -> Result<Vec<OwnerId>, Fault> {
    let mut before = BTreeSet::new();
    for row in transaction.table(rows)?.iter()? {
        before.insert(tables::read_owner_id(rows, row?.0.value())?);
    }
    let others: Vec<_> = before.symmetric_difference(owners).copied().collect();
    for owner in &others {
        let row: Option<&[u8]> = owners.contains(owner).then_some(&[]);
        put(transaction, rows, owner.as_bytes(), row)?;
    }
    Ok(others)
}

fn own(transaction: &WriteTransaction) -> Result<Vec<OwnerId>, Fault> {
    let own = pool::read_own(&transaction.table(tables::ABOUT)?)?;
    Ok(own.into_iter().collect())
}

/// Notes whom this node writes as. Returns the position of the last change.
pub(super) fn open(transaction: &WriteTransaction, owners: &[OwnerId]) -> Result<u64, Fault> {
    let before = own(transaction)?;
    let position = pool::set_own(transaction, owners)?;
    if own(transaction)? != before {
        touch(transaction)?;
    }
    Ok(position)
}

/// Writes one decision after the other.
pub(super) fn decide(
    transaction: &WriteTransaction,
    network: NetworkId,
    decision: Decision,
) -> Result<(), Failure> {
    let stored = Stored(transaction, network);
    // What is refused must not have written anything.
    let decisions = decision.checked(&own(transaction)?, stored.anchors()?)?;
    let mut touched = BTreeSet::new();
    for decision in decisions {
        touched.extend(concerned(&stored, &decision)?);
        write(transaction, &stored, decision)?;
    }
    for owner in touched {
        pool::reconsider(transaction, owner)?;
    }
    refresh_trusted(transaction, network)?;
    Ok(())
}

/// Whose place in the pool of strangers, or out of it, a decision may change by itself.
fn concerned(snapshot: &impl Snapshot, decision: &Decision) -> Result<Vec<OwnerId>, Fault> {
    Ok(match decision {
        Decision::PinName(name, owner) => {
            let before = snapshot.name_pin(name)?;
            before.into_iter().chain([*owner]).collect()
        }
        Decision::UnpinName(name) => snapshot.name_pin(name)?.into_iter().collect(),
        Decision::PinLabel(label, owner) => {
            let before = snapshot.pin(label)?;
            before.into_iter().chain([*owner]).collect()
        }
        Decision::UnpinLabel(label) => snapshot.pin(label)?.into_iter().collect(),
        Decision::Anchor(owner, _) | Decision::NoAnchor(owner) => vec![*owner],
        Decision::All(decisions) => {
            let each = decisions.iter().map(|one| concerned(snapshot, one));
            let each = each.collect::<Result<Vec<_>, Fault>>()?;
            each.into_iter().flatten().collect()
        }
        _ => Vec::new(),
    })
}

/// Notes who is trusted now, and so no stranger: computed when that matters, which is when the user decides something
/// and when a stranger is about to be evicted.
pub(super) fn refresh_trusted(
    transaction: &WriteTransaction,
    network: NetworkId,
) -> Result<(), Fault> {
    if is_at(transaction, TRUSTED_AT)? {
        return Ok(());
    }
    let reach = Reach::load(&Stored(transaction, network), &own(transaction)?)?;
    note_introducers(transaction, &reach)?;
    let scores = reach.scores.iter();
    let trusted = scores.filter_map(|(owner, score)| (*score >= FULL).then_some(*owner));
    let trusted: BTreeSet<OwnerId> = trusted.collect();
    for owner in replace_owners(transaction, tables::TRUSTED, &trusted)? {
        pool::reconsider(transaction, owner)?;
    }
    let now = generation(transaction)?.to_be_bytes();
    about(transaction, TRUSTED_AT, Some(&now))
}

fn write(
    transaction: &WriteTransaction,
    stored: &Stored<'_, WriteTransaction>,
    decision: Decision,
) -> Result<(), Fault> {
    let put = |rows, key: &[u8], row: Option<&[u8]>| put(transaction, rows, key, row);
    match decision {
        Decision::Mode(Mode::Tofu) => about(transaction, MODE, None),
        Decision::Mode(Mode::Strict) => about(transaction, MODE, Some(b"strict")),
        Decision::PinName(name, owner) => put(
            tables::NAME_PINS,
            name.as_str().as_bytes(),
            Some(owner.as_bytes()),
        ),
        Decision::UnpinName(name) => put(tables::NAME_PINS, name.as_str().as_bytes(), None),
        Decision::PinLabel(label, owner) => pin_label(transaction, &label, Some(owner)),
        Decision::UnpinLabel(label) => pin_label(transaction, &label, None),
        Decision::Anchor(owner, anchor) => {
            put(
                tables::ANCHORS,
                owner.as_bytes(),
                Some(&row::anchor(anchor)),
            )?;
            touch(transaction)
        }
        Decision::NoAnchor(owner) => {
            put(tables::ANCHORS, owner.as_bytes(), None)?;
            touch(transaction)
        }
        Decision::Block(owner, why) => {
            put(tables::BLOCKS, owner.as_bytes(), Some(why.as_bytes()))?;
            touch(transaction)
        }
        Decision::Unblock(owner) => {
            put(tables::BLOCKS, owner.as_bytes(), None)?;
            touch(transaction)
        }
        Decision::BlockKey(key, why) => {
            put(tables::BLOCKED_KEYS, key.as_bytes(), Some(why.as_bytes()))?;
            tell_of(transaction, stored.namespaces_of(key)?)
        }
        Decision::UnblockKey(key) => {
            put(tables::BLOCKED_KEYS, key.as_bytes(), None)?;
            tell_of(transaction, stored.namespaces_of(key)?)
        }
        Decision::All(decisions) => decisions
            .into_iter()
            .try_for_each(|one| write(transaction, stored, one)),
    }
}

/// A label means this owner from now on.
pub(super) fn pin_label(
    transaction: &WriteTransaction,
    label: &Label,
    owner: Option<OwnerId>,
) -> Result<(), Fault> {
    let owner = owner.map(|owner| *owner.as_bytes());
    let row = owner.as_ref().map(|owner| owner.as_slice());
    put(transaction, tables::PINS, label.as_str().as_bytes(), row)
}

/// Notes that this node's user used a release. Returns what that concerns, if it pins anything that was not pinned.
pub(super) fn used(
    transaction: &WriteTransaction,
    network: NetworkId,
    namespace: Option<&str>,
    release: &ReleaseKey,
    record: RecordId,
) -> Result<Option<Concern>, Failure> {
    let stored = Stored(transaction, network);
    let mut pinned = None;
    let owner = release.owner.as_bytes().as_slice();
    match Namespace::parse(namespace)? {
        Namespace::Bare if stored.name_pin(&release.name)?.is_none() => {
            let name = release.name.as_str().as_bytes();
            put(transaction, tables::NAME_PINS, name, Some(owner))?;
            pinned = Some(Concern::Name(release.name.clone()));
        }
        Namespace::Label(label) if stored.pin(&label)?.is_none() => {
            pin_label(transaction, &label, Some(release.owner))?;
            pinned = Some(Concern::All);
        }
        _ => {}
    }
    let contents = stored.contents(release.owner, &release.name)?;
    if !contents.contains_key(&release.version) {
        let at = key::release(release.owner, &release.name, Some(&release.version));
        put(transaction, tables::CONTENTS, &at, Some(record.as_bytes()))?;
        pinned.get_or_insert_with(|| Concern::Name(release.name.clone()));
    }
    let last = stored::last_position(&transaction.table(tables::CHANGES)?)?;
    let used = last.to_be_bytes();
    put(transaction, tables::USED, owner, Some(&used))?;
    pool::reconsider(transaction, release.owner)?;
    Ok(pinned)
}

/// Whether a use is noted as it would be now: [`used`] would change nothing.
pub(super) fn is_used<S: Source>(
    stored: &Stored<'_, S>,
    namespace: Option<&str>,
    release: &ReleaseKey,
) -> Result<bool, Failure> {
    let is_pinned = match Namespace::parse(namespace)? {
        Namespace::Bare => stored.name_pin(&release.name)?.is_some(),
        Namespace::Label(label) => stored.pin(&label)?.is_some(),
        Namespace::Owner(_) => true,
    };
    if !is_pinned {
        return Ok(false);
    }
    let at = key::release(release.owner, &release.name, Some(&release.version));
    let contents = stored.0.table(tables::CONTENTS)?;
    if contents.get(at.as_slice()).map_err(Fault::from)?.is_none() {
        return Ok(false);
    }
    let last = stored::last_position(&stored.0.table(tables::CHANGES)?)?;
    let used = stored.0.table(tables::USED)?;
    let used = used.get(release.owner.as_bytes().as_slice());
    let used = used.map_err(Fault::from)?;
    Ok(used.is_some_and(|at| at.value() == last.to_be_bytes()))
}

/// Makes the vetoes those that follow, and tells of packages that are offered or not any more because of it.
/// Returns the position of the last change, and whether there is more to tell.
pub(super) fn settle(
    transaction: &WriteTransaction,
    network: NetworkId,
    mut position: u64,
) -> Result<(u64, bool), Fault> {
    let is_dirty = transaction.table(tables::ABOUT)?.get(DIRTY)?.is_some();
    if is_dirty {
        let stored = Stored(transaction, network);
        let vetoes = trust::vetoes(&stored, &own(transaction)?)?;
        let others = replace(transaction, &vetoes)?;
        tell_of(transaction, others)?;
        about(transaction, DIRTY, None)?;
    }
    let mut room = PACKAGES_PER_TURN;
    while room > 0 {
        let Some((owner, after)) = first(&transaction.table(tables::UNTOLD)?)? else {
            return Ok((position, false));
        };
        let packages = {
            let slots = transaction.table(tables::SLOTS)?;
            stored::packages_of(&slots, owner, &after, room)?
        };
        let is_last = packages.len() < room;
        room -= packages.len();
        let last = packages.last().map(|(_, name)| name.as_str().as_bytes());
        let row = last.filter(|_| !is_last);
        put(transaction, tables::UNTOLD, owner.as_bytes(), row)?;
        for package in &packages {
            position += 1;
            tell(transaction, package, position)?;
        }
    }
    Ok((position, true))
}

fn first(table: &impl ReadableTable<Row, Row>) -> Result<Option<(OwnerId, Vec<u8>)>, Fault> {
    let Some((owner, after)) = table.first()? else {
        return Ok(None);
    };
    let owner = tables::read_owner_id(tables::UNTOLD, owner.value())?;
    Ok(Some((owner, after.value().to_vec())))
}

/// Stores who is vetoed, and gives those who are and were not, or were and are not.
fn replace(
    transaction: &WriteTransaction,
    vetoes: &BTreeMap<OwnerId, Veto>,
) -> Result<Vec<OwnerId>, Fault> {
    let mut table = transaction.table(tables::VETOED)?;
    let mut before = BTreeMap::new();
    for row in table.iter()? {
        let (owner, veto) = row?;
        let owner = tables::read_owner_id(tables::VETOED, owner.value())?;
        before.insert(owner, tables::read_veto(veto.value())?);
    }
    let mut others = Vec::new();
    for owner in before.keys().filter(|owner| !vetoes.contains_key(owner)) {
        table.remove(owner.as_bytes().as_slice())?;
        others.push(*owner);
    }
    for (owner, veto) in vetoes {
        let known = before.get(owner);
        if known != Some(veto) {
            table.insert(owner.as_bytes().as_slice(), row::veto(*veto).as_slice())?;
        }
        if known.is_none() {
            others.push(*owner);
        }
    }
    Ok(others)
}

/// The packages of these owners are to be told of, from the first one.
fn tell_of(transaction: &WriteTransaction, owners: Vec<OwnerId>) -> Result<(), Fault> {
    for owner in owners {
        put(transaction, tables::UNTOLD, owner.as_bytes(), Some(&[]))?;
    }
    Ok(())
}

/// One more change: of this package something else is offered, which is not the doing of a record.
fn tell(
    transaction: &WriteTransaction,
    (owner, name): &(OwnerId, ggen_protocols::id::CanonicalName),
    position: u64,
) -> Result<(), Fault> {
    let prefix = key::release(*owner, name, None);
    let mut record = None;
    stored::scan(
        &transaction.table(tables::SLOTS)?,
        &prefix,
        &prefix,
        |at, slot| {
            record = Some(tables::read_slot(at, slot)?.first().record);
            Ok(false)
        },
    )?;
    let Some(record) = record else { return Ok(()) };
    let change = row::change(record, Some(&key::package(*owner, name)));
    let at = position.to_be_bytes();
    put(transaction, tables::CHANGES, &at, Some(&change))
}
