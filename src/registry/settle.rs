//! What follows from the records of a namespace, once something came that changes what others mean: a document, or
//! a record that the feed of a retired key lacked.
//!
//! Only the feeds of keys that may write something else than before are looked at, and only in their keys, which tell
//! who follows whom. Of the records, those are read that gained an effect. Where one lost its effect, all that
//! speak of the same packages are read: a row tells what was claimed and not by whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ggen_protocols::catalogue::{Contribution, Fact, Feed, Meaning};
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::owner::{Documents, NamespaceDocument, SCOPE_ALL, Standing};
use redb::{ReadableTable, Table, TableHandle, WriteTransaction};

use super::stored::{self, Source, scan};
use super::tables::{self, DECLINED, Row, damaged, key, row};
use super::{derive, pool};
use crate::db::Fault;

/// The documents of a namespace that a batch meets.
pub(super) struct Known {
    pub(super) documents: Documents,
    /// Set once a record made it uncertain what the others mean.
    pub(super) unsettled: Option<Unsettled>,
}

impl Known {
    /// The document that holds. A bare key's namespace needs none to be founded by that key.
    pub(super) fn in_force(&mut self, key: PublicKey) -> Option<NamespaceDocument> {
        self.documents.admit(key);
        match self.documents.standing() {
            Standing::Active(_, document) => Some(document.clone()),
            _ => None,
        }
    }

    /// Notes that a record changes what others mean; `before` is the document that held before it.
    pub(super) fn unsettle(
        &mut self,
        cause: RecordId,
        before: Option<NamespaceDocument>,
        fills_gap: bool,
    ) {
        let unsettled = self.unsettled.get_or_insert_with(|| Unsettled {
            cause,
            before,
            pending: Vec::new(),
            fills_gap,
        });
        unsettled.cause = cause;
        unsettled.fills_gap |= fills_gap;
    }
}

/// What a batch left undecided about a namespace.
pub(super) struct Unsettled {
    /// The last record that changed what others mean.
    pub(super) cause: RecordId,
    /// The document that held before, if one did.
    pub(super) before: Option<NamespaceDocument>,
    /// Records of which nothing was derived yet, and whether each was counted as an effective one.
    pub(super) pending: Vec<(Contribution, bool)>,
    /// Whether one came that the feed of a retired key lacked.
    pub(super) fills_gap: bool,
}

/// What settling a namespace came to.
pub(super) struct Settled {
    /// The position of the last change.
    pub(super) position: u64,
    /// Whether the namespace says something else of others now.
    pub(super) is_endorsing: bool,
}

/// What a document lets one key do.
#[derive(PartialEq, Eq)]
struct Rights<'a> {
    all: bool,
    names: BTreeSet<&'a str>,
    /// Its last good records, if it is retired.
    good: BTreeSet<RecordId>,
}

impl<'a> Rights<'a> {
    fn of(document: Option<&'a NamespaceDocument>, key: PublicKey) -> Self {
        let publishers = document.map_or(&[][..], |document| &document.publishers);
        let retired = document.map_or(&[][..], |document| &document.retired);
        let scopes = publishers.iter().filter(|(publisher, _)| *publisher == key);
        let mut names: BTreeSet<_> = scopes
            .flat_map(|(_, scopes)| scopes.iter().map(String::as_str))
            .collect();
        let all = names.contains(SCOPE_ALL);
        if all {
            names.clear();
        }
        let good = retired.iter().filter(|(retired, _)| *retired == key);
        Self {
            all,
            names,
            good: good.map(|(_, good)| *good).collect(),
        }
    }
}

/// A record in the feed of one key.
struct Member {
    id: RecordId,
    previous: Option<RecordId>,
    position: u64,
}

/// What a document makes of one feed.
struct Effect {
    /// Which of its records are effective, in their order.
    effective: Vec<bool>,
    /// The first record that is not here on the way back from each last good one.
    lacking: BTreeSet<RecordId>,
}

/// The records of one key, those that follow the same one together, and which of them are effective.
type Followed = (Vec<Member>, Vec<bool>);

/// The package in the row of a change; none if the record speaks of none.
type Group = Option<Vec<u8>>;

struct Settlement<'t> {
    transaction: &'t WriteTransaction,
    network: NetworkId,
    owner: OwnerId,
    records: Table<'t, Row, Row>,
    ids: Table<'t, Row, Row>,
    members: Table<'t, Row, Row>,
    changes: Table<'t, Row, Row>,
    /// Packages of which a row is another one now.
    changed: BTreeSet<Vec<u8>>,
    is_endorsing: bool,
}

/// Writes what follows from the namespace of these documents now, and tells of every package that this changed after
/// the change at `position`.
pub(super) fn settle(
    transaction: &WriteTransaction,
    network: NetworkId,
    documents: &Documents,
    unsettled: Unsettled,
    position: u64,
) -> Result<Settled, Fault> {
    let owner = documents.owner();
    let standing = documents.standing();
    let after = match standing {
        Standing::Active(_, document) => Some(document),
        _ => None,
    };
    put_status(transaction, owner, standing)?;
    let mut settlement = Settlement {
        transaction,
        network,
        owner,
        records: transaction.table(tables::RECORDS)?,
        ids: transaction.table(tables::IDS)?,
        members: transaction.table(tables::MEMBERS)?,
        changes: transaction.table(tables::CHANGES)?,
        changed: BTreeSet::new(),
        is_endorsing: false,
    };
    let gained = settlement.follow(&unsettled, after)?;
    let position = settlement.tell(unsettled.cause, position)?;
    let is_endorsing = settlement.is_endorsing;
    drop(settlement);
    if gained != 0 {
        pool::recount(transaction, owner, gained)?;
    }
    Ok(Settled {
        position,
        is_endorsing,
    })
}

fn put_status(
    transaction: &WriteTransaction,
    owner: OwnerId,
    standing: Standing<'_>,
) -> Result<(), Fault> {
    let mut status = transaction.table(tables::STATUS)?;
    if let Some(row) = row::status(standing) {
        status.insert(owner.as_bytes().as_slice(), row.as_slice())?;
    }
    Ok(())
}

impl Settlement<'_> {
    /// Returns how many more records are effective than were counted.
    fn follow(
        &mut self,
        unsettled: &Unsettled,
        after: Option<&NamespaceDocument>,
    ) -> Result<i64, Fault> {
        let before = unsettled.before.as_ref();
        let retired = |document: Option<&NamespaceDocument>| -> BTreeSet<_> {
            let retired = document.map(|document| document.retired.iter().copied());
            retired.into_iter().flatten().collect()
        };
        let (retired_before, retired_after) = (retired(before), retired(after));
        let others = unsettled.fills_gap || retired_before != retired_after;
        let gaps = if others {
            self.gaps()?
        } else {
            BTreeSet::new()
        };
        let named = before.into_iter().chain(after).flat_map(|d| d.keys());
        let mut keys: BTreeSet<_> = named
            .filter(|key| Rights::of(before, *key) != Rights::of(after, *key))
            .collect();
        keys.extend(unsettled.pending.iter().map(|(record, _)| record.key));
        if !gaps.is_empty() {
            // What one feed lacks another one may lack, too.
            let retired = retired_before.union(&retired_after);
            keys.extend(retired.map(|(key, _)| *key));
        }
        let pending = unsettled.pending.iter();
        let pending: BTreeMap<RecordId, bool> =
            pending.map(|(r, counted)| (r.id, *counted)).collect();
        let (mut gained, mut lacking) = (0, BTreeSet::new());
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut followed = BTreeMap::new();
        for key in keys {
            let members = self.feed(key)?;
            let old = self.effect(&Rights::of(before, key), &members, |id| {
                !pending.contains_key(id)
            })?;
            let new = self.effect(&Rights::of(after, key), &members, |_| true)?;
            let effects = old.effective.iter().zip(&new.effective);
            for (member, (was, is)) in members.iter().zip(effects) {
                let counted = pending.get(&member.id).unwrap_or(was);
                gained += i64::from(*is) - i64::from(*counted);
                match (was, is) {
                    (false, true) => added.push(member.position),
                    (true, false) => removed.push(member.position),
                    _ => {}
                }
            }
            self.put_feed(key, &members, &new.effective, unsettled)?;
            lacking.extend(new.lacking);
            followed.insert(key, (members, new.effective));
        }
        self.put_gaps(&gaps, &lacking)?;
        if removed.is_empty() {
            self.merge(&added)?;
        } else {
            let touched = added.into_iter().chain(removed);
            let touched = touched.map(|position| self.group(position));
            let touched = touched.collect::<Result<BTreeSet<_>, Fault>>()?;
            self.derive(after, followed, &touched)?;
        }
        Ok(gained)
    }

    /// The records of one key.
    fn feed(&self, key: PublicKey) -> Result<Vec<Member>, Fault> {
        let prefix = key::feed(self.owner, key);
        let mut members = Vec::new();
        scan(&self.members, &prefix, &prefix, |at, position| {
            members.push(read_member(at, position)?);
            Ok(true)
        })?;
        Ok(members)
    }

    /// Rule R2 for the records of one key for which `counts`.
    fn effect(
        &self,
        rights: &Rights<'_>,
        members: &[Member],
        counts: impl Fn(&RecordId) -> bool,
    ) -> Result<Effect, Fault> {
        let mut effective = Vec::with_capacity(members.len());
        for member in members {
            let is_granted = rights.all || self.is_named(rights, member.position)?;
            effective.push(is_granted && counts(&member.id));
        }
        let mut lacking = BTreeSet::new();
        if rights.good.is_empty() {
            return Ok(Effect { effective, lacking });
        }
        let here = members.iter().zip(&mut effective);
        let here = here.filter(|(member, _)| counts(&member.id));
        let mut unseen: HashMap<RecordId, _> = here.map(|(m, is)| (m.id, (m, is))).collect();
        let mut seen = HashSet::new();
        for good in &rights.good {
            let mut at = Some(*good);
            // What one of them comes by is known from there on.
            while let Some(id) = at.filter(|id| seen.insert(*id)) {
                at = None;
                if let Some((member, is_effective)) = unseen.remove(&id) {
                    *is_effective = true;
                    at = member.previous;
                } else if !self.is_of_another(&id)? {
                    lacking.insert(id);
                }
            }
        }
        drop(unseen);
        Ok(Effect { effective, lacking })
    }

    /// Whether the record at `position` speaks of a package that these rights name.
    fn is_named(&self, rights: &Rights<'_>, position: u64) -> Result<bool, Fault> {
        if rights.names.is_empty() {
            return Ok(false);
        }
        let group = self.group(position)?;
        let name = group.as_deref().and_then(|package| package.get(32..));
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        Ok(name.is_some_and(|name| rights.names.contains(name)))
    }

    /// Whether a record of this namespace is held that is not in the feed in which it was looked for.
    fn is_of_another(&self, id: &RecordId) -> Result<bool, Fault> {
        let Some(position) = stored::position_of(&self.ids, id)? else {
            return Ok(false);
        };
        if position >= DECLINED {
            return Ok(false);
        }
        let found = derive::contribution(&self.records, position, self.network)?.0;
        Ok(found.owner == self.owner)
    }

    /// The package that the record at `position` speaks of.
    fn group(&self, position: u64) -> Result<Group, Fault> {
        let at = position.to_be_bytes();
        let change = self.changes.get(at.as_slice())?;
        let change = change.ok_or_else(|| damaged(tables::CHANGES, &at))?;
        let package = change.value().get(32..);
        let package = package.ok_or_else(|| damaged(tables::CHANGES, &at))?;
        Ok((!package.is_empty()).then(|| package.to_vec()))
    }

    /// Writes where a key continues its feed, and whether effective records of it fork.
    fn put_feed(
        &self,
        key: PublicKey,
        members: &[Member],
        effective: &[bool],
        unsettled: &Unsettled,
    ) -> Result<(), Fault> {
        if members.is_empty() {
            return Ok(());
        }
        let mut feeds = self.transaction.table(tables::FEEDS)?;
        let at = key::feed(self.owner, key);
        let before = feeds.get(at.as_slice())?.map(|row| row.value().to_vec());
        let feed = before.as_deref().map(|row| tables::read_feed(&at, row));
        let mut feed: Feed = feed.transpose()?.unwrap_or_default();
        let pending = unsettled.pending.iter();
        for record in pending.filter(|(record, _)| record.key == key) {
            if let Some(other) = record.0.feed() {
                feed.merge(other);
            }
        }
        let effective = members.iter().zip(effective).filter(|(_, is)| **is);
        let mut places = effective.map(|(member, _)| member.previous).peekable();
        // Those at the same place stand together.
        feed.forked = std::iter::from_fn(|| places.next().map(|at| places.peek() == Some(&at)))
            .any(|same| same);
        let now = row::feed(&feed);
        if before.as_deref() != Some(now.as_slice()) {
            feeds.insert(at.as_slice(), now.as_slice())?;
        }
        Ok(())
    }

    /// What the feeds of retired keys lacked before.
    fn gaps(&self) -> Result<BTreeSet<RecordId>, Fault> {
        let prefix = self.owner.as_bytes().as_slice();
        let mut gaps = BTreeSet::new();
        let table = self.transaction.table(tables::GAPS)?;
        scan(&table, prefix, prefix, |at, _| {
            let id = tables::read_second(tables::GAPS, at)?;
            gaps.insert(RecordId::from_bytes(id));
            Ok(true)
        })?;
        Ok(gaps)
    }

    /// Replaces `before` by what the feeds lack now.
    fn put_gaps(&self, before: &BTreeSet<RecordId>, now: &BTreeSet<RecordId>) -> Result<(), Fault> {
        let mut gaps = self.transaction.table(tables::GAPS)?;
        for gone in before.difference(now) {
            gaps.remove(key::pair(self.owner, gone.as_bytes()).as_slice())?;
        }
        for new in now.difference(before) {
            let nothing: &[u8] = &[];
            gaps.insert(key::pair(self.owner, new.as_bytes()).as_slice(), nothing)?;
        }
        Ok(())
    }

    /// Merges what the records at these positions say with what is there.
    fn merge(&mut self, added: &[u64]) -> Result<(), Fault> {
        let mut meaning = Meaning::default();
        let slots = self.transaction.table(tables::SLOTS)?;
        let registers = self.transaction.table(tables::REGISTERS)?;
        let endorsements = self.transaction.table(tables::ENDORSEMENTS)?;
        for position in added {
            let added = derive::contribution(&self.records, *position, self.network)?.0;
            match &added.fact {
                Fact::Claim(release, _) if !meaning.slots.contains_key(release) => {
                    let at = key::release(self.owner, &release.name, Some(&release.version));
                    if let Some(row) = slots.get(at.as_slice())? {
                        let slot = tables::read_slot(&at, row.value())?;
                        meaning.slots.insert(release.clone(), slot);
                    }
                }
                Fact::Register(register, _) if !meaning.registers.contains_key(register) => {
                    let at = key::release(self.owner, &register.1, register.2.as_ref());
                    if let Some(row) = registers.get(at.as_slice())? {
                        let known = tables::read_register(&at, row.value())?;
                        meaning.registers.insert(register.clone(), known);
                    }
                }
                Fact::Endorse(subject, _) if !meaning.endorsements.contains_key(subject) => {
                    let at = key::pair(self.owner, subject.as_bytes());
                    if let Some(row) = endorsements.get(at.as_slice())? {
                        let known = tables::read_endorsement(&at, row.value())?;
                        meaning.endorsements.insert(*subject, known);
                    }
                }
                _ => {}
            }
            meaning.merge(added.fact);
        }
        drop((slots, registers, endorsements));
        self.put(&meaning, &BTreeSet::new())
    }

    /// Derives anew what the records of these packages say.
    fn derive(
        &mut self,
        document: Option<&NamespaceDocument>,
        mut followed: BTreeMap<PublicKey, Followed>,
        touched: &BTreeSet<Group>,
    ) -> Result<(), Fault> {
        let prefix = self.owner.as_bytes().as_slice();
        let mut keys = Vec::new();
        scan(
            &self.transaction.table(tables::FEEDS)?,
            prefix,
            prefix,
            |at, _| {
                let key = tables::read_second(tables::FEEDS, at)?;
                keys.push(PublicKey::from_bytes(key));
                Ok(true)
            },
        )?;
        let mut meaning = Meaning::default();
        for key in keys {
            let (members, effective) = match followed.remove(&key) {
                Some(followed) => followed,
                None => {
                    let members = self.feed(key)?;
                    let effect = self.effect(&Rights::of(document, key), &members, |_| true)?;
                    (members, effect.effective)
                }
            };
            let effective = members.iter().zip(effective).filter(|(_, is)| *is);
            for (Member { position, .. }, _) in effective {
                if touched.contains(&self.group(*position)?) {
                    let found = derive::contribution(&self.records, *position, self.network)?.0;
                    meaning.merge(found.fact);
                }
            }
        }
        self.put(&meaning, touched)
    }

    /// Writes the rows of a meaning that are others than before, and removes those of packages in `whole` that it
    /// does not have.
    fn put(&mut self, meaning: &Meaning, whole: &BTreeSet<Group>) -> Result<(), Fault> {
        for (rows, expected) in derive::fact_rows(self.owner, meaning) {
            let is_endorsement = rows.name() == tables::ENDORSEMENTS.name();
            let mut table = self.transaction.table(rows)?;
            let mut touched = Vec::new();
            for group in whole {
                let prefix = match group {
                    None if is_endorsement => self.owner.as_bytes().to_vec(),
                    Some(package) if !is_endorsement => [package, &[tables::END][..]].concat(),
                    _ => continue,
                };
                scan(&table, &prefix, &prefix, |at, _| {
                    if !expected.contains_key(at) {
                        touched.push(at.to_vec());
                    }
                    Ok(true)
                })?;
            }
            for gone in &touched {
                table.remove(gone.as_slice())?;
            }
            for (at, row) in expected {
                let known = table.get(at.as_slice())?;
                let is_same = known.is_some_and(|known| known.value() == row);
                if !is_same {
                    table.insert(at.as_slice(), row.as_slice())?;
                    touched.push(at);
                }
            }
            if is_endorsement {
                self.is_endorsing |= !touched.is_empty();
            } else {
                for at in touched {
                    self.changed.insert(derive::package_of(rows, &at)?);
                }
            }
        }
        Ok(())
    }

    /// Tells of every package that is another one now, and lists those that have a release. Returns the position of
    /// the last change.
    fn tell(&mut self, cause: RecordId, mut position: u64) -> Result<u64, Fault> {
        let slots = self.transaction.table(tables::SLOTS)?;
        let mut names = self.transaction.table(tables::NAMES)?;
        for package in &self.changed {
            let (owner, name) = tables::read_package(tables::SLOTS, package)?;
            let prefix = key::release(owner, &name, None);
            let mut has_release = false;
            scan(&slots, &prefix, &prefix, |_, _| {
                has_release = true;
                Ok(false)
            })?;
            let at = key::name(&name, owner);
            if has_release {
                let nothing: &[u8] = &[];
                names.insert(at.as_slice(), nothing)?;
            } else {
                names.remove(at.as_slice())?;
            }
            position += 1;
            let change = row::change(cause, Some(package));
            let at = position.to_be_bytes();
            self.changes.insert(at.as_slice(), change.as_slice())?;
        }
        Ok(position)
    }
}

/// A row of [`tables::MEMBERS`].
fn read_member(at: &[u8], position: &[u8]) -> Result<Member, Fault> {
    let previous = at.get(64..96).and_then(tables::bytes32);
    let previous = previous.ok_or_else(|| damaged(tables::MEMBERS, at))?;
    Ok(Member {
        id: tables::read_member(at)?,
        previous: (previous != [0; 32]).then(|| RecordId::from_bytes(previous)),
        position: tables::read_position(tables::MEMBERS, position)?,
    })
}

#[cfg(test)]
mod tests;
