//! Worlds of chance: one namespace, its documents, what its publishers wrote, and who else would like to.

use std::collections::BTreeMap;

use ggen_protocols::catalogue::{Meaning, Namespace};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::owner::{Mark, NamespaceDocument, commitment};
use ggen_protocols::record::{Body, Publish, Record, State, Verified};
use ggen_protocols::trust::Endorse;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use serde_bytes::ByteArray;

use super::gathering::gather;
use super::keyed;

/// Keys by number: publishers are 0 to 2.
pub(crate) const PUBLISHERS: u8 = 3;
pub(crate) const ROOT: u8 = 10;
pub(crate) const RECOVERY: u8 = 20;
pub(crate) const EVIL: u8 = 66;

pub(crate) fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes(*ContentHash::blake3([number]).as_bytes())
}

/// A document in numbers.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) root: u8,
    pub(crate) recovery: Option<u8>,
    pub(crate) publishers: Vec<(u8, &'static str)>,
    pub(crate) retired: Vec<(u8, RecordId)>,
    pub(crate) reason: u16,
}

/// One that the key with this number alone may publish by.
pub(crate) fn of_one(root: u8, recovery: Option<u8>, publisher: u8) -> Draft {
    Draft {
        root,
        recovery,
        publishers: vec![(publisher, "*")],
        retired: Vec::new(),
        reason: 0,
    }
}

impl Draft {
    fn document(&self, mark: Mark) -> Box<NamespaceDocument> {
        let publishers = self.publishers.iter();
        let retired = self.retired.iter().map(|(n, head)| (key(*n), *head));
        let mut document = NamespaceDocument {
            label: "acme".to_owned(),
            root: key(self.root),
            recovery: self.recovery.map(|n| ByteArray::new(commitment(key(n)))),
            publishers: publishers
                .map(|(n, scope)| (key(*n), vec![(*scope).to_owned()]))
                .collect(),
            retired: retired.collect(),
            mark,
        };
        document.publishers.sort();
        document.publishers.dedup_by_key(|(key, _)| *key);
        document.retired.sort();
        document.retired.dedup();
        Box::new(document)
    }
}

/// A document of a world: its record, its place, and what decides what may follow it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) id: RecordId,
    pub(crate) seq: u64,
    pub(crate) root: u8,
    pub(crate) recovery: Option<u8>,
}

/// A namespace and all records that anybody wrote in it.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) owner: OwnerId,
    pub(crate) records: Vec<Verified<Record>>,
    pub(crate) documents: Vec<Known>,
    /// Place and id of the records of each key.
    pub(crate) feeds: BTreeMap<u8, Vec<(u64, RecordId)>>,
    /// How many documents a step put after each by its recovery key.
    recovered: BTreeMap<RecordId, usize>,
}

impl World {
    /// One that a genesis founds, by which all publishers may publish everything.
    pub(crate) fn founded() -> Self {
        let draft = Draft {
            publishers: (0..PUBLISHERS).map(|n| (n, "*")).collect(),
            ..of_one(ROOT, Some(RECOVERY), 0)
        };
        let record = Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: 0,
            body: Body::Genesis(draft.document(Mark::Nonce(ByteArray::new([1; 16])))),
        };
        let genesis = keyed::verify(keyed::seal(&record, key(ROOT))).unwrap();
        let known = Known {
            id: genesis.id(),
            seq: 0,
            root: ROOT,
            recovery: Some(RECOVERY),
        };
        Self {
            owner: genesis.namespace().unwrap(),
            records: vec![genesis],
            documents: vec![known],
            feeds: BTreeMap::new(),
            recovered: BTreeMap::new(),
        }
    }

    fn add(&mut self, signer: u8, record: &Record) -> RecordId {
        let record = keyed::verify(keyed::seal(record, key(signer))).unwrap();
        let id = record.id();
        if self.records.iter().all(|known| known.id() != id) {
            self.records.push(record);
        }
        id
    }

    /// Puts a document after another one.
    pub(crate) fn amend(&mut self, before: Known, signer: u8, draft: &Draft) -> Known {
        let record = Record {
            owner: Some(self.owner),
            seq: before.seq + 1,
            previous: Some(before.id),
            time_ms: 0,
            body: Body::Acl(draft.document(Mark::Reason(draft.reason.to_string()))),
        };
        let known = Known {
            id: self.add(signer, &record),
            seq: before.seq + 1,
            root: draft.root,
            recovery: draft.recovery,
        };
        if self.documents.iter().all(|other| other.id != known.id) {
            self.documents.push(known);
        }
        known
    }

    /// Writes a record after the one with this place and id.
    pub(crate) fn write(
        &mut self,
        signer: u8,
        after: Option<(u64, RecordId)>,
        body: Body,
    ) -> RecordId {
        let record = Record {
            owner: Some(self.owner),
            // Whoever writes after a founding record still has to say that another record came before.
            seq: after.map_or(1, |(seq, _)| seq.max(1) + 1),
            previous: after.map(|(_, id)| id),
            time_ms: 0,
            body,
        };
        let id = self.add(signer, &record);
        self.feeds.entry(signer).or_default().push((record.seq, id));
        id
    }

    /// What the world means to a node that holds all of it.
    pub(crate) fn meaning(&self) -> Meaning {
        self.namespace().meaning()
    }

    pub(crate) fn namespace(&self) -> Namespace {
        gathered(self.owner, &self.records)
    }

    /// Follows the steps.
    pub(crate) fn follow(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Write {
                    signer,
                    after,
                    body,
                } => {
                    let feed = self.feeds.get(signer).map_or(&[][..], Vec::as_slice);
                    // Mostly the newest record, sometimes an older one or none: a fork.
                    let at = after.index(3 * feed.len() + 1);
                    let after = match at < feed.len() {
                        true => at.checked_sub(1),
                        false => feed.len().checked_sub(1),
                    };
                    let after = after.map(|at| feed[at]);
                    self.write(*signer, after, body.clone());
                }
                Step::Amend {
                    before,
                    as_recovery,
                    draft,
                    retire,
                } => {
                    let before = self.documents[before.index(self.documents.len())];
                    let mut draft = draft.clone();
                    for (n, head) in retire {
                        if let Some(feed) = self.feeds.get(n).filter(|feed| !feed.is_empty()) {
                            draft.retired.push((*n, feed[head.index(feed.len())].1));
                        }
                    }
                    // Of two that continue one document by recovery, a node holds both, of more any two.
                    let used = self.recovered.entry(before.id).or_default();
                    let as_recovery = *as_recovery && *used < 2;
                    *used += usize::from(as_recovery);
                    let signer = match before.recovery.filter(|_| as_recovery) {
                        Some(recovery) => {
                            draft.recovery = Some(recovery + 1);
                            recovery
                        }
                        None => {
                            draft.recovery = before.recovery;
                            before.root
                        }
                    };
                    self.amend(before, signer, &draft);
                }
            }
        }
    }
}

/// A namespace with these records, offered in their order.
pub(crate) fn gathered(owner: OwnerId, records: &[Verified<Record>]) -> Namespace {
    let mut namespace = Namespace::new(NetworkId::main(), owner);
    gather(&mut namespace, records);
    namespace
}

/// One thing that somebody who may does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write {
        signer: u8,
        after: Index,
        body: Body,
    },
    Amend {
        before: Index,
        as_recovery: bool,
        draft: Draft,
        retire: Vec<(u8, Index)>,
    },
}

pub(crate) fn publish(name: &str, version: &str, content: u8) -> Body {
    let mut metadata = PackageMetadata::new(format!("{name}@{version}").parse().unwrap());
    metadata.checksums.blake3 = Some(ContentHash::from_blake3([content; 32]));
    Body::Publish(Box::new(Publish::from_metadata(&metadata).unwrap()))
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    let names = select(vec!["Foo_x", "foo-x", "bar"]);
    let versions = select(vec!["1.0.0", "1.0.0+b", "1.1.0"]);
    let publish = (names.clone(), versions.clone(), 0..3u8)
        .prop_map(|(name, version, content)| publish(name, version, content));
    let state = (names, versions, 1..4u64, any::<[bool; 2]>()).prop_map(
        |(name, version, revision, [yanked, withdrawn])| {
            Body::State(State {
                name: name.to_owned(),
                version: Some(version.to_owned()),
                revision,
                yanked,
                withdrawn,
                note: String::new(),
                info: None,
            })
        },
    );
    let endorse =
        (1..3u8, 1..3u64, 0..4u64, 0..4u64).prop_map(|(subject, revision, level, depth)| {
            Body::Endorse(Endorse {
                subject: OwnerId::from_bytes([subject; 32]),
                revision,
                level,
                depth,
                label: None,
                reason: String::new(),
            })
        });
    prop_oneof![4 => publish, 2 => state, 1 => endorse]
}

fn draft() -> impl Strategy<Value = Draft> {
    let scope = select(vec!["*", "*", "*", "bar", "foo-x"]);
    let publishers = proptest::collection::btree_map(0..PUBLISHERS, scope, 0..=3);
    (ROOT..ROOT + 2, publishers, 0..3u16).prop_map(|(root, publishers, reason)| Draft {
        root,
        recovery: None,
        publishers: publishers.into_iter().collect(),
        retired: Vec::new(),
        reason,
    })
}

fn step(recoveries: bool) -> impl Strategy<Value = Step> {
    let write =
        (0..PUBLISHERS, any::<Index>(), body()).prop_map(|(signer, after, body)| Step::Write {
            signer,
            after,
            body,
        });
    let as_recovery = if recoveries {
        prop_oneof![4 => Just(false), 1 => Just(true)].boxed()
    } else {
        Just(false).boxed()
    };
    let retire = proptest::collection::vec((0..PUBLISHERS, any::<Index>()), 0..3);
    let amend = (any::<Index>(), as_recovery, draft(), retire).prop_map(
        |(before, as_recovery, draft, retire)| Step::Amend {
            before,
            as_recovery,
            draft,
            retire,
        },
    );
    prop_oneof![6 => write, 1 => amend]
}

/// Worlds in which everyone did what they may, contradictions, forks and used recovery keys included.
pub(crate) fn world() -> impl Strategy<Value = World> {
    worlds(true)
}

/// The same, but the recovery key was not used yet.
pub(crate) fn unrecovered() -> impl Strategy<Value = World> {
    worlds(false)
}

fn worlds(recoveries: bool) -> impl Strategy<Value = World> {
    proptest::collection::vec(step(recoveries), 0..20).prop_map(|steps| {
        let mut world = World::founded();
        world.follow(&steps);
        world
    })
}
