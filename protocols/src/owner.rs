//! Who may write in a namespace: the tree of its documents, and which one of them holds.
//!
//! A namespace is founded by a genesis document, whose record id is the owner id; that of a bare key is
//! implicit and never sent. Every later document hangs off an earlier one, signed either by the root of that
//! one, or by the recovery key that it committed to. Rule R1 says which document holds ([`Documents::standing`]):
//!
//! 1. From the genesis, follow recovery documents. Two of them for one commitment kill the namespace: the key
//!    was used twice, and nobody can say by whom. It is frozen for good, and never taken over.
//! 2. From the last recovery document, follow root documents. Where two continue the same one, the namespace is
//!    frozen until its recovery key speaks: the root contradicted itself, or a key that was root once leaked.
//!
//! Nothing here depends on the order in which documents come, and no clock is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::cbor;
use crate::hash;
use crate::id::{CanonicalName, NetworkId, OwnerId, PublicKey, RecordId};
use crate::limits;
use crate::record::{self, Body, Record, Verified};

/// The number of the record kind that founds a namespace.
pub const KIND_GENESIS: u64 = 1;
/// The number of the record kind that replaces the document of a namespace.
pub const KIND_ACL: u64 = 2;

/// The scope that covers every name.
pub const SCOPE_ALL: &str = "*";

const COMMITMENT_CONTEXT: &str = "ggen-market 2026 recovery commitment";

/// What a document says of a recovery key without naming it.
pub fn commitment(key: PublicKey) -> [u8; 32] {
    hash::derive(COMMITMENT_CONTEXT, &[key.as_bytes()])
}

/// A namespace's document: who its root is and which keys may publish what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct NamespaceDocument {
    /// What its owner calls it; empty for a bare key.
    pub label: String,
    /// The key that may change the document.
    pub root: PublicKey,
    /// The [`commitment`] to a recovery key, if there is one.
    pub recovery: Option<ByteArray<32>>,
    /// Keys that may publish, each with the names it may publish ([`SCOPE_ALL`]: all), sorted.
    pub publishers: Vec<(PublicKey, Vec<String>)>,
    /// Keys that published once, each with its last good record, sorted. Of such a key, that record and those
    /// before it in its feed stay effective.
    pub retired: Vec<(PublicKey, RecordId)>,
    /// Tells equal documents apart.
    pub mark: Mark,
}

/// The last field of a document: a founding one has a nonce, a later one tells why it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Mark {
    /// Makes equal founding documents different namespaces; zero for a bare key.
    Nonce(ByteArray<16>),
    /// Why the document was changed, at most 256 bytes.
    Reason(String),
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Field;
        impl serde::de::Visitor<'_> for Field {
            type Value = Mark;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("16 bytes or a text")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Mark, E> {
                let bytes: [u8; 16] = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Mark::Nonce(ByteArray::new(bytes)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Mark, E> {
                Ok(Mark::Reason(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Field)
    }
}

impl NamespaceDocument {
    /// What a key that never founded a namespace is taken to have said: it alone may publish everything.
    pub fn implicit(key: PublicKey) -> Self {
        Self {
            label: String::new(),
            root: key,
            recovery: None,
            publishers: vec![(key, vec![SCOPE_ALL.to_owned()])],
            retired: Vec::new(),
            mark: Mark::Nonce(ByteArray::new([0; 16])),
        }
    }

    /// Whether `key` may publish under `name`; without a name, whether it may speak for the whole namespace.
    pub fn grants(&self, key: PublicKey, name: Option<&CanonicalName>) -> bool {
        let covers =
            |scope: &String| scope == SCOPE_ALL || name.is_some_and(|name| name.as_str() == scope);
        let mut publishers = self.publishers.iter();
        publishers.any(|(publisher, scopes)| *publisher == key && scopes.iter().any(covers))
    }

    /// Every key that the document names, as root, publisher or retired.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        let publishers = self.publishers.iter().map(|(key, _)| *key);
        let retired = self.retired.iter().map(|(key, _)| *key);
        std::iter::once(self.root).chain(publishers).chain(retired)
    }

    /// Lets a key publish under these names, whatever it might before.
    pub fn let_publish(&mut self, key: PublicKey, mut scopes: Vec<String>) {
        scopes.sort();
        scopes.dedup();
        self.drop_publisher(key);
        self.publishers.push((key, scopes));
        self.publishers.sort();
    }

    /// Takes a key's right to publish away; its records stay up to `last` where there is one.
    pub fn retire(&mut self, key: PublicKey, last: Option<RecordId>) {
        self.drop_publisher(key);
        self.retired.extend(last.map(|last| (key, last)));
        self.retired.sort();
        self.retired.dedup();
    }

    /// Takes everything away that a key ever wrote.
    pub fn forget(&mut self, key: PublicKey) {
        self.drop_publisher(key);
        self.retired.retain(|(retired, _)| *retired != key);
    }

    fn drop_publisher(&mut self, key: PublicKey) {
        self.publishers.retain(|(publisher, _)| *publisher != key);
    }

    fn is_recovered_by(&self, key: PublicKey) -> bool {
        let recovery = self.recovery.map(ByteArray::into_array);
        recovery == Some(commitment(key))
    }
}

impl OwnerId {
    /// The owner that a bare key is: the id of its implicit founding record, which is never sent.
    pub fn of_key(network: NetworkId, key: PublicKey) -> Self {
        let no_owner: Option<OwnerId> = None;
        let no_previous: Option<RecordId> = None;
        let document = NamespaceDocument::implicit(key);
        let payload = cbor::encode(&(KIND_GENESIS, no_owner, 0u64, no_previous, 0u64, document));
        Self::of_genesis(record::id(network, key, &payload))
    }

    /// The owner that the founding record with this id makes.
    pub fn of_genesis(id: RecordId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

/// What became of a document that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is held now.
    New,
    /// It was held before.
    Known,
    /// The document before it is not here.
    Waits,
    /// There are as many as are kept; more would not change what holds.
    Superfluous,
    /// No node will ever take it, for this reason.
    Wrong(&'static str),
}

/// Which document of a namespace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nobody founded it, as far as is known here.
    Unknown,
    /// This document holds.
    Active(RecordId, &'a NamespaceDocument),
    /// Two documents of the root continue this one: nothing holds until the recovery key speaks.
    Frozen(RecordId),
    /// Two documents of the recovery key continue this one: nothing will ever hold again.
    Dead(RecordId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Genesis,
    Recovery,
    Root,
}

#[derive(Debug, Clone)]
struct Held {
    document: NamespaceDocument,
    seq: u64,
    class: Class,
    /// The genesis or recovery document that began its epoch; its own id if it is one.
    start: RecordId,
    /// How often the namespace was recovered up to here.
    recovered: usize,
    /// Those that continue it, by what signed them.
    recoveries: BTreeSet<RecordId>,
    roots: BTreeSet<RecordId>,
}

/// Where a document stands among the others.
struct Place {
    seq: u64,
    start: RecordId,
    recovered: usize,
}

impl Place {
    /// That of the genesis with this id.
    fn first(id: RecordId) -> Self {
        Self {
            seq: 0,
            start: id,
            recovered: 0,
        }
    }
}

/// The documents held of one namespace.
#[derive(Debug, Clone)]
pub struct Documents {
    network: NetworkId,
    owner: OwnerId,
    held: BTreeMap<RecordId, Held>,
    /// Root documents of each epoch.
    epochs: BTreeMap<RecordId, usize>,
    listed: BTreeSet<PublicKey>,
}

impl Documents {
    /// Those of a namespace of which nothing is held.
    pub fn none(network: NetworkId, owner: OwnerId) -> Self {
        Self {
            network,
            owner,
            held: BTreeMap::new(),
            epochs: BTreeMap::new(),
            listed: BTreeSet::new(),
        }
    }

    /// Whose namespace it is.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// How many are held, an implicit founding one included.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is known of the namespace.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The document with this id.
    pub fn get(&self, id: &RecordId) -> Option<&NamespaceDocument> {
        self.held.get(id).map(|held| &held.document)
    }

    /// Whether a record of `key` belongs to the namespace: some document names the key. Once it does so, it
    /// always does, whatever else comes. Whether the record has an effect is another question.
    pub fn admit(&mut self, key: PublicKey) -> bool {
        self.found_by(key);
        self.listed.contains(&key)
    }

    /// Takes a genesis or acl record of this namespace.
    pub fn offer(&mut self, record: &Verified<Record>) -> Offered {
        let id = record.id();
        match &record.content().body {
            Body::Genesis(document) if OwnerId::of_genesis(id) == self.owner => {
                if self.held.contains_key(&id) {
                    return Offered::Known;
                }
                self.hold(
                    id,
                    document.as_ref().clone(),
                    Class::Genesis,
                    Place::first(id),
                );
                Offered::New
            }
            Body::Acl(document) if record.content().owner == Some(self.owner) => {
                self.found_by(record.key());
                self.continue_by(record, document)
            }
            _ => Offered::Wrong("it is no document of this namespace"),
        }
    }

    /// A bare key's namespace needs no record to be founded.
    fn found_by(&mut self, key: PublicKey) {
        if self.held.is_empty() && OwnerId::of_key(self.network, key) == self.owner {
            let id = RecordId::from_bytes(*self.owner.as_bytes());
            let document = NamespaceDocument::implicit(key);
            self.hold(id, document, Class::Genesis, Place::first(id));
        }
    }

    fn continue_by(&mut self, record: &Verified<Record>, document: &NamespaceDocument) -> Offered {
        let (id, key, seq) = (record.id(), record.key(), record.content().seq);
        if self.held.contains_key(&id) {
            return Offered::Known;
        }
        let Some(previous) = record.content().previous else {
            return Offered::Wrong("it continues nothing");
        };
        let Some(before) = self.held.get(&previous) else {
            return Offered::Waits;
        };
        if seq != before.seq + 1 {
            return Offered::Wrong("its place is not the next one");
        }
        let class = match self.class(before, key, document) {
            Ok(class) => class,
            Err(why) => return Offered::Wrong(why),
        };
        let is_recovery = class == Class::Recovery;
        let start = if is_recovery { id } else { before.start };
        let recovered = before.recovered + usize::from(is_recovery);
        if recovered > limits::RECOVERIES_MAX {
            return Offered::Wrong("a namespace is recovered at most 1,024 times");
        }
        let is_full = match class {
            Class::Root => {
                let place = seq - self.held.get(&start).map_or(0, |start| start.seq);
                if place > limits::DOCUMENTS_PER_EPOCH_MAX as u64 {
                    return Offered::Wrong("an epoch has at most 1,024 documents in a row");
                }
                let count = self.epochs.get(&start).copied().unwrap_or(0);
                count >= limits::DOCUMENTS_PER_EPOCH_MAX && !self.decides(start, previous)
            }
            // Two already say all that more could.
            _ => before.recoveries.len() >= 2,
        };
        if is_full {
            return Offered::Superfluous;
        }
        if let Some(before) = self.held.get_mut(&previous) {
            match class {
                Class::Root => before.roots.insert(id),
                _ => before.recoveries.insert(id),
            };
        }
        if class == Class::Root {
            *self.epochs.entry(start).or_default() += 1;
        }
        let place = Place {
            seq,
            start,
            recovered,
        };
        self.hold(id, document.clone(), class, place);
        Offered::New
    }

    /// Whether one more document of the root after `previous` can change which document of this epoch holds: it
    /// can unless the documents of the root up to there contradict each other already.
    ///
    /// Such a document is always held, or nodes that were flooded with others in different orders would not agree.
    /// At each place of an epoch there are two of them at the most.
    fn decides(&self, start: RecordId, previous: RecordId) -> bool {
        let mut at = start;
        while let Some(held) = self.held.get(&at) {
            match held.roots.first() {
                _ if held.roots.len() > 1 => return false,
                _ if at == previous => return true,
                Some(next) => at = *next,
                None => return false,
            }
        }
        false
    }

    /// By what right `key` replaces the document `before`.
    fn class(
        &self,
        before: &Held,
        key: PublicKey,
        document: &NamespaceDocument,
    ) -> Result<Class, &'static str> {
        let same_recovery = document.recovery == before.document.recovery;
        if key == before.document.root && same_recovery {
            return Ok(Class::Root);
        }
        if before.document.is_recovered_by(key) {
            return match before.class {
                Class::Root => Err("a recovery document continues the one that began the epoch"),
                _ if same_recovery => Err("a recovery key is used once: commit to another one"),
                _ => Ok(Class::Recovery),
            };
        }
        Err(if key == before.document.root {
            "the root may not change the commitment to the recovery key"
        } else {
            "its signer is neither the root nor the recovery key of the document before it"
        })
    }

    fn hold(&mut self, id: RecordId, document: NamespaceDocument, class: Class, place: Place) {
        self.listed.extend(document.keys());
        let held = Held {
            document,
            seq: place.seq,
            class,
            start: place.start,
            recovered: place.recovered,
            recoveries: BTreeSet::new(),
            roots: BTreeSet::new(),
        };
        self.held.insert(id, held);
    }

    /// Rule R1: which document holds.
    pub fn standing(&self) -> Standing<'_> {
        let mut at = RecordId::from_bytes(*self.owner.as_bytes());
        let Some(mut held) = self.held.get(&at) else {
            return Standing::Unknown;
        };
        while let Some(next) = held.recoveries.first() {
            if held.recoveries.len() > 1 {
                return Standing::Dead(at);
            }
            (at, held) = (*next, &self.held[next]);
        }
        while let Some(next) = held.roots.first() {
            if held.roots.len() > 1 {
                return Standing::Frozen(at);
            }
            (at, held) = (*next, &self.held[next]);
        }
        Standing::Active(at, &held.document)
    }

    /// Where a new document goes: the last one that its signer could continue, and its place. A root continues
    /// the one that holds; a recovery key the one that began the epoch, whatever the root did since.
    ///
    /// # Errors
    /// Why the key can sign no document now.
    pub fn next(&self, key: PublicKey) -> Result<(RecordId, u64), &'static str> {
        let mut at = RecordId::from_bytes(*self.owner.as_bytes());
        let mut held = self.held.get(&at).ok_or("nobody founded the namespace")?;
        while let Some(next) = held.recoveries.first() {
            if held.recoveries.len() > 1 {
                return Err("the namespace is dead: its recovery key was used twice");
            }
            (at, held) = (*next, &self.held[next]);
        }
        if held.document.is_recovered_by(key) {
            return Ok((at, held.seq + 1));
        }
        match self.standing() {
            Standing::Active(at, document) if document.root == key => {
                Ok((at, self.held[&at].seq + 1))
            }
            Standing::Active(..) => Err("the key is neither the root nor the recovery key"),
            Standing::Frozen(_) => Err("the namespace is frozen: only its recovery key can go on"),
            Standing::Dead(_) | Standing::Unknown => Err("nothing can be written there"),
        }
    }

    /// The record by which `key` puts a document in the place of the one that holds; to be signed. Made twice, it is the
    /// same one.
    ///
    /// # Errors
    /// Why the key can sign no document now.
    pub fn continued(
        &self,
        key: PublicKey,
        document: NamespaceDocument,
    ) -> Result<Record, &'static str> {
        let (previous, seq) = self.next(key)?;
        Ok(Record {
            owner: Some(self.owner),
            seq,
            previous: Some(previous),
            time_ms: 0,
            body: Body::Acl(Box::new(document)),
        })
    }

    /// The two or more documents that contradict each other, ascending; empty if none do.
    pub fn contradiction(&self) -> Vec<RecordId> {
        let children = |at: RecordId, of: fn(&Held) -> &BTreeSet<RecordId>| {
            let held = self.held.get(&at);
            held.map_or_else(Vec::new, |held| of(held).iter().copied().collect())
        };
        match self.standing() {
            Standing::Frozen(at) => children(at, |held| &held.roots),
            Standing::Dead(at) => children(at, |held| &held.recoveries),
            Standing::Active(..) | Standing::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
