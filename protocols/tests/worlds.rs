//! Recorded worlds: what an executable model of the rules said of them is what the rules say.
//!
//! `worlds/record.py` writes the worlds and tells their form. Here each becomes real records, which come in an
//! order of chance.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use ggen_protocols::catalogue::{Claim, Meaning, Namespace, Status};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::owner::{Mark, NamespaceDocument, commitment};
use ggen_protocols::record::{Body, Publish, Record, State, Verified};
use ggen_protocols::trust::{Anchor, Endorse, Level, Trust};
use ggen_protocols::view::{self, Claims, Local, Mode, View, Why};
use serde_bytes::ByteArray;

#[path = "golden/gathering.rs"]
mod gathering;
#[path = "golden/keyed.rs"]
mod keyed;

/// Worlds of namespaces that must be recorded.
const WORLDS_MIN: usize = 10_000;

fn lines(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds");
    fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

/// The items of a list; none if it is `-`.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| *item != "-")
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn key(text: &str) -> PublicKey {
    PublicKey::from_bytes(*ContentHash::blake3(format!("key {text}")).as_bytes())
}

fn owner(text: &str) -> OwnerId {
    OwnerId::from_bytes([number::<u8>(text); 32])
}

/// The records of a block, and those of one of its further worlds.
struct Block {
    name: String,
    owner: OwnerId,
    keys: BTreeMap<PublicKey, String>,
    /// By their numbers; the implicit genesis is an id and no record.
    ids: Vec<RecordId>,
    records: Vec<Verified<Record>>,
    /// How many of both are those of the block itself, once it is known.
    first: Option<(usize, usize)>,
    /// Of the first records, those that stand in this world; all if there are none.
    only: Vec<RecordId>,
}

impl Block {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: OwnerId::from_bytes([0; 32]),
            keys: BTreeMap::new(),
            ids: Vec::new(),
            records: Vec::new(),
            first: None,
            only: Vec::new(),
        }
    }

    fn key(&mut self, text: &str) -> PublicKey {
        let key = key(text);
        self.keys.insert(key, text.to_owned());
        key
    }

    fn id(&self, text: &str) -> Option<RecordId> {
        (text != "-").then(|| self.ids[number::<usize>(text)])
    }

    fn document(&mut self, text: &str, founds: bool) -> Box<NamespaceDocument> {
        let [root, recovery, publishers, retired, mark] = words(text, ';');
        let recovery = (recovery != "-").then(|| ByteArray::new(commitment(self.key(recovery))));
        let mut document = NamespaceDocument {
            label: "acme".to_owned(),
            root: self.key(root),
            recovery,
            publishers: Vec::new(),
            retired: Vec::new(),
            mark: if founds {
                Mark::Nonce(ByteArray::new([number::<u8>(mark); 16]))
            } else {
                Mark::Reason(mark.to_owned())
            },
        };
        for item in list(publishers) {
            let [publisher, scopes] = words(item, ':');
            let scopes = scopes.split('+').map(ToOwned::to_owned).collect();
            document.publishers.push((self.key(publisher), scopes));
        }
        for item in list(retired) {
            let [retired, head] = words(item, '@');
            let head = self.id(head).unwrap();
            document.retired.push((self.key(retired), head));
        }
        document.publishers.sort();
        document.retired.sort();
        Box::new(document)
    }

    fn add(&mut self, signer: PublicKey, record: &Record) {
        let record = keyed::verify(keyed::seal(record, signer)).unwrap();
        if self.ids.is_empty() {
            self.owner = record.namespace().unwrap();
        }
        self.ids.push(record.id());
        self.records.push(record);
    }

    fn read(&mut self, line: &str) {
        let (kind, rest) = line.split_once(' ').unwrap();
        let mut record = Record {
            owner: Some(self.owner),
            seq: 0,
            previous: None,
            time_ms: 0,
            body: Body::Genesis(Box::new(NamespaceDocument::implicit(PublicKey::default()))),
        };
        match kind {
            "i" => {
                let signer = self.key(rest);
                self.owner = OwnerId::of_key(NetworkId::main(), signer);
                self.ids.push(RecordId::from_bytes(*self.owner.as_bytes()));
            }
            "g" => {
                let document = self.document(rest, true);
                record.owner = None;
                let signer = document.root;
                record.body = Body::Genesis(document);
                self.add(signer, &record);
            }
            "a" => {
                let [signer, seq, parent, document] = words(rest, ' ');
                record.seq = number(seq);
                record.previous = self.id(parent);
                record.body = Body::Acl(self.document(document, false));
                let signer = self.key(signer);
                self.add(signer, &record);
            }
            _ => {
                let (head, body) = rest
                    .match_indices(' ')
                    .nth(3)
                    .map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
                let [signer, seq, previous, time] = words(head, ' ');
                record.seq = number(seq);
                record.previous = self.id(previous);
                record.time_ms = number(time);
                record.body = body_of(kind, body);
                let signer = self.key(signer);
                self.add(signer, &record);
            }
        }
    }

    /// The records of the world that stands here.
    fn world(&self) -> Vec<Verified<Record>> {
        let first = self.first.map_or(0, |(_, records)| records);
        let stands = |(at, record): &(usize, &Verified<Record>)| {
            *at >= first || self.only.is_empty() || self.only.contains(&record.id())
        };
        let all = self.records.iter().enumerate().filter(stands);
        all.map(|(_, record)| record.clone()).collect()
    }

    /// What the world means, in the words of the recording.
    fn means(&self, world: &[Verified<Record>], meaning: &Meaning) -> String {
        let number = |id: RecordId| self.ids.iter().position(|known| *known == id).unwrap();
        let status = match meaning.status {
            Status::Unknown => "u".to_owned(),
            Status::Active(id) => format!("a{}", number(id)),
            Status::Frozen(id) => format!("f{}", number(id)),
            Status::Dead(id) => format!("d{}", number(id)),
        };
        let first_with = |content: [u8; 32]| {
            let holds = |record: &&Verified<Record>| match &record.content().body {
                Body::Publish(publish) => Claim::of(record.id(), publish).content == content,
                _ => false,
            };
            number(world.iter().find(holds).unwrap().id())
        };
        let slots = meaning.slots.iter().map(|(key, slot)| {
            let what = match slot.is_conflicted() {
                false => format!("={}", first_with(slot.first().content)),
                true => format!("!{}", slot.claims().count()),
            };
            assert_eq!(key.owner, self.owner);
            format!("{}@{}{what}", key.name, key.version)
        });
        let states = meaning
            .registers
            .iter()
            .map(|((_, name, version), register)| {
                let yanked = if register.yanked { "Y" } else { "N" };
                format!("{name}@{}={yanked}", version.as_ref().unwrap())
            });
        let endorsements = meaning.endorsements.iter().map(|(subject, value)| {
            let subject = subject.as_bytes()[0];
            format!("{subject}={}:{}", value.level.number(), value.depth)
        });
        let forked = meaning.feeds.iter().filter(|(_, feed)| feed.forked);
        let forked = forked.map(|(key, _)| self.keys[key].clone());
        let lists = [
            sorted(slots),
            sorted(states),
            sorted(endorsements),
            sorted(forked),
        ];
        format!("{status} {}", lists.join(" "))
    }
}

/// A list in the order of its items' texts.
fn sorted(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<_> = items.collect();
    items.sort();
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(",")
    }
}

fn words<const N: usize>(text: &str, separator: char) -> [&str; N] {
    let words: Vec<_> = text.splitn(N, separator).collect();
    words.try_into().unwrap()
}

fn body_of(kind: &str, text: &str) -> Body {
    match kind {
        "p" => {
            let [name, version, content] = words(text, ' ');
            let mut publish = Publish::from_metadata(&{
                let id = format!("{name}@{version}").parse().unwrap();
                let mut metadata = ggen_protocols::metadata::PackageMetadata::new(id);
                metadata.checksums.blake3 = Some(ContentHash::blake3(content));
                metadata
            })
            .unwrap();
            publish.format = 2;
            Body::Publish(Box::new(publish))
        }
        "s" => {
            let [name, version, revision, yanked] = words(text, ' ');
            Body::State(State {
                name: name.to_owned(),
                version: Some(version.to_owned()),
                revision: number(revision),
                yanked: yanked == "Y",
                withdrawn: false,
                note: String::new(),
                info: None,
            })
        }
        "e" => {
            let [subject, revision, level, depth] = words(text, ' ');
            Body::Endorse(Endorse {
                subject: owner(subject),
                revision: number(revision),
                level: number(level),
                depth: number(depth),
                label: None,
                reason: String::new(),
            })
        }
        other => panic!("no kind {other}"),
    }
}

#[test]
fn namespaces_mean_what_was_recorded() {
    let text = lines("namespaces.txt");
    let blocks: Vec<_> = text.split_inclusive('\n').collect();
    let blocks: Vec<_> = blocks.chunk_by(|_, next| !next.starts_with("B ")).collect();
    // The machine's cores share the work.
    let parts = blocks.chunks(blocks.len().div_ceil(4));
    let worlds: usize = thread::scope(|scope| {
        let checks: Vec<_> = parts
            .map(|part| scope.spawn(|| checked(part.iter().copied().flatten())))
            .collect();
        let ends = checks.into_iter().map(|check| check.join().unwrap());
        ends.sum()
    });
    assert!(worlds >= WORLDS_MIN, "{worlds} worlds");
}

/// Checks the worlds of some blocks, and counts them.
fn checked<'a>(lines: impl Iterator<Item = &'a &'a str>) -> usize {
    let mut block = Block::new("");
    let mut variant = String::new();
    let mut worlds = 0;
    for line in lines {
        let line = line.trim_end();
        match line.split_once(' ').unwrap() {
            ("B", name) => (block, variant) = (Block::new(name), "itself".to_owned()),
            ("v", rest) => {
                let [name, places] = words(rest, ' ');
                variant = name.to_owned();
                if places != "ALL" {
                    block.only = list(places).map(|place| block.id(place).unwrap()).collect();
                }
            }
            ("=", expected) => {
                let world = block.world();
                let mut namespace = Namespace::new(NetworkId::main(), block.owner);
                gathering::gather(&mut namespace, &gathering::shuffled(&world, worlds as u64));
                if namespace.documents().is_empty() {
                    // Of a bare key nothing is known before its first record; then nothing has an effect.
                    assert!(block.name.starts_with("bare"));
                    assert_eq!(expected, "a0 - - - -", "{}", block.name);
                    assert_eq!(namespace.meaning(), Meaning::default());
                } else {
                    let [status, lists] = words(expected, ' ');
                    let lists = lists
                        .split(' ')
                        .map(|all| sorted(list(all).map(str::to_owned)));
                    let lists = lists.collect::<Vec<_>>().join(" ");
                    let means = block.means(&world, &namespace.meaning());
                    assert_eq!(
                        means,
                        format!("{status} {lists}"),
                        "{} {variant}",
                        block.name
                    );
                }
                worlds += 1;
                let ends = (block.ids.len(), block.records.len());
                let (ids, records) = *block.first.get_or_insert(ends);
                block.ids.truncate(ids);
                block.records.truncate(records);
                block.only.clear();
            }
            _ => block.read(line),
        }
    }
    worlds
}

#[test]
fn trust_is_what_was_recorded() {
    let text = lines("trust.txt");
    for line in text.lines() {
        let [anchors, said, blocked, expected] = words(line, ' ');
        let mut trust = Trust::default();
        for item in list(anchors) {
            let [anchor, weight, depth] = words(item, ':');
            let (weight, depth) = (number(weight), number(depth));
            trust
                .anchors
                .insert(owner(anchor), Anchor { weight, depth });
        }
        for item in list(said) {
            let [edge, level, depth] = words(item, ':');
            let [issuer, subject] = words(edge, '>');
            let edge = (Level::of(number(level)).unwrap(), number(depth));
            let edges = trust.web.entry(owner(issuer)).or_default();
            edges.insert(owner(subject), edge);
        }
        trust.blocked = list(blocked).map(owner).collect();
        assert_eq!(trust.scores(), scores(expected), "{line}");
    }
    assert!(text.lines().count() >= 1_000);
}

fn scores(text: &str) -> BTreeMap<OwnerId, u8> {
    let score = |item| {
        let [of, score] = words(item, ':');
        (owner(of), number(score))
    };
    list(text).map(score).collect()
}

struct Claimed(Vec<OwnerId>);

impl Claims for Claimed {
    type Error = std::convert::Infallible;

    fn has(&self, owner: OwnerId) -> Result<bool, Self::Error> {
        Ok(self.0.contains(&owner))
    }

    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, Self::Error> {
        Ok(self.0.iter().take(limit).copied().collect())
    }
}

#[test]
fn views_are_what_was_recorded() {
    let text = lines("views.txt");
    for line in text.lines() {
        let [claims, pin, own, scored, expected] = words(line, ' ');
        let own: Vec<_> = list(own).map(owner).collect();
        let local = Local {
            pin: list(pin).map(owner).next(),
            own: &own,
            scores: &scores(scored),
            mode: Mode::Tofu,
        };
        let Ok(view) = view::resolve(local, &Claimed(list(claims).map(owner).collect()));
        let means = match view {
            View::Contested => "contested".to_owned(),
            View::Nobody => "none".to_owned(),
            View::Owner(owner, why) => {
                let why = match why {
                    Why::Pin => "pin",
                    Why::Own => "own",
                    Why::Trusted => "trusted",
                    Why::SoleClaimant => "sole-claimant",
                    _ => "another reason",
                };
                format!("{}={why}", owner.as_bytes()[0])
            }
        };
        assert_eq!(means, expected, "{line}");
    }
    assert!(text.lines().count() >= 1_000);
}
