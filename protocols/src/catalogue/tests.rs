//! The rules of the catalogue, each against a derivation that does not merge.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::owner::Mark;
use crate::owner::SCOPE_ALL;
use crate::trust::{Endorse, Level};

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

/// The namespace of a bare key that let a second one in, by a document that comes first.
fn owner() -> OwnerId {
    OwnerId::of_key(NetworkId::main(), key(1))
}

fn document(publishers: &[(u8, &[&str])], retired: &[(u8, RecordId)]) -> Body {
    let scopes = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    let publishers = publishers.iter().map(|(n, all)| (key(*n), scopes(all)));
    let retired = retired.iter().map(|(n, head)| (key(*n), *head));
    Body::Acl(Box::new(NamespaceDocument {
        publishers: publishers.collect(),
        retired: retired.collect(),
        mark: Mark::Reason(String::new()),
        ..NamespaceDocument::implicit(key(1))
    }))
}

fn acl(body: Body) -> Verified<Record> {
    record(
        key(1),
        1,
        Some(RecordId::from_bytes(*owner().as_bytes())),
        body,
    )
}

fn record(key: PublicKey, seq: u64, previous: Option<RecordId>, body: Body) -> Verified<Record> {
    let record = Record {
        owner: Some(owner()),
        seq,
        previous,
        time_ms: 0,
        body,
    };
    record.by(key)
}

fn publish(name: &str, version: &str, content: u8) -> Body {
    let id = format!("{name}@{version}").parse().unwrap();
    let mut metadata = PackageMetadata::new(id);
    metadata.checksums.blake3 = Some(crate::hash::ContentHash::from_blake3([content; 32]));
    Body::Publish(Box::new(Publish::from_metadata(&metadata).unwrap()))
}

fn state(name: &str, version: Option<&str>, revision: u64, yanked: bool, withdrawn: bool) -> Body {
    Body::State(State {
        name: name.to_owned(),
        version: version.map(str::to_owned),
        revision,
        yanked,
        withdrawn,
        note: String::new(),
        info: None,
    })
}

fn namespace<'a>(records: impl IntoIterator<Item = &'a Verified<Record>>) -> Namespace {
    let mut namespace = Namespace::new(NetworkId::main(), owner());
    for record in records {
        namespace.admit(record).unwrap();
    }
    namespace
}

/// What these records mean where both keys may write everything.
fn meaning<'a>(records: impl IntoIterator<Item = &'a Verified<Record>>) -> Meaning {
    let all: &[&str] = &[SCOPE_ALL];
    let both = acl(document(&[(1, all), (2, all)], &[]));
    let mut namespace = namespace([&both]);
    for record in records {
        namespace.admit(record).unwrap();
    }
    namespace.meaning()
}

/// Records of two keys that publish, contradict themselves, yank, and fork.
fn worlds() -> impl Strategy<Value = Vec<Verified<Record>>> {
    let bodies = prop_oneof![
        3 => (
            prop::sample::select(vec!["Foo_x", "foo-x", "bar"]),
            prop::sample::select(vec!["1.0.0", "1.0.0+b", "1.1.0"]),
            0..2u8,
        )
            .prop_map(|(name, version, content)| publish(name, version, content)),
        2 => (
            prop::sample::select(vec!["foo-x", "bar"]),
            prop::sample::select(vec![None, Some("1.0.0"), Some("1.1.0+z")]),
            1..4u64,
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(name, version, revision, yanked, withdrawn)| {
                state(name, version, revision, yanked, withdrawn)
            }),
    ];
    prop::collection::vec((0..2u8, any::<prop::sample::Index>(), bodies), 0..24).prop_map(|steps| {
        let mut feeds: BTreeMap<u8, Vec<(u64, RecordId)>> = BTreeMap::new();
        let mut records = Vec::new();
        for (key, at, body) in steps {
            let feed = feeds.entry(key).or_default();
            // Mostly the newest record, sometimes an older one or none: a fork.
            let at = at.index(3 * feed.len() + 1);
            let place = if at < feed.len() {
                at.checked_sub(1)
            } else {
                feed.len().checked_sub(1)
            };
            let previous = place.map(|place| feed[place]);
            let seq = previous.map_or(0, |(seq, _)| seq) + 1;
            let record = record(self::key(key + 1), seq, previous.map(|(_, id)| id), body);
            feed.push((seq, record.id()));
            records.push(record);
        }
        records
    })
}

proptest! {
    #[test]
    fn meaning_does_not_depend_on_order_repetition_or_grouping(
        (records, shuffled) in worlds().prop_flat_map(|world| {
            let twice = [world.clone(), world.clone()].concat();
            (Just(world), Just(twice).prop_shuffle())
        }),
    ) {
        let whole = meaning(&records);
        prop_assert_eq!(&meaning(&shuffled), &whole);
        let distinct: BTreeSet<_> = records.iter().map(|record| record.id()).collect();
        let mut merged = Meaning {
            feeds: whole.feeds.clone(),
            status: whole.status,
            effective: distinct.len() as u64,
            ..Meaning::default()
        };
        for record in &shuffled {
            merged.merge(Contribution::of(record).unwrap().fact);
        }
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn a_slot_holds_each_distinct_body_under_its_smallest_record(records in worlds()) {
        let mut bodies: BTreeMap<ReleaseKey, BTreeMap<Vec<u8>, RecordId>> = BTreeMap::new();
        for record in &records {
            if let Body::Publish(body) = &record.content().body {
                let contents = bodies.entry(body.key(owner())).or_default();
                let id = contents.entry(cbor::encode(body)).or_insert(record.id());
                *id = (*id).min(record.id());
            }
        }
        let slots = meaning(&records).slots;
        prop_assert_eq!(slots.len(), bodies.len());
        for (key, contents) in bodies {
            let ids: BTreeSet<_> = contents.into_values().collect();
            let claimed: Vec<_> = slots[&key].claims().map(|claim| claim.record).collect();
            prop_assert_eq!(slots[&key].is_conflicted(), ids.len() > 1);
            prop_assert_eq!(claimed, ids.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_register_is_the_largest_value_ever_set(records in worlds()) {
        let mut largest = BTreeMap::new();
        for record in &records {
            if let Body::State(state) = &record.content().body {
                let version = state.version.as_ref().map(|version| {
                    version.split('+').next().unwrap().parse::<Version>().unwrap()
                });
                let name: CanonicalName = state.name.parse().unwrap();
                let rank = (state.revision, state.withdrawn, state.yanked, record.id());
                let known = largest.entry((owner(), name, version)).or_insert(rank);
                *known = rank.max(*known);
            }
        }
        let registers = meaning(&records).registers.into_iter();
        let ranks: BTreeMap<_, _> = registers
            .map(|(key, r)| (key, (r.revision, r.withdrawn, r.yanked, r.record)))
            .collect();
        prop_assert_eq!(ranks, largest);
    }

    #[test]
    fn a_feed_is_forked_when_two_records_follow_one(records in worlds()) {
        let mut followers: BTreeMap<_, BTreeSet<RecordId>> = BTreeMap::new();
        for record in &records {
            let place = (record.key(), record.content().previous);
            followers.entry(place).or_default().insert(record.id());
        }
        for (key, feed) in meaning(&records).feeds {
            let mut places = followers.iter().filter(|((of, _), _)| *of == key);
            prop_assert_eq!(feed.forked, places.any(|(_, ids)| ids.len() > 1));
            let of_key = records.iter().filter(|record| record.key() == key);
            let head = of_key.map(|record| (record.content().seq, record.id())).max().unwrap();
            prop_assert_eq!((feed.head.seq, feed.head.last), (head.0, Some(head.1)));
        }
    }

    #[test]
    fn concurrent_yanks_end_equal_in_any_order(
        values in prop::collection::vec((1..3u64, any::<bool>()), 1..6).prop_shuffle(),
    ) {
        let key = key(1);
        let writes: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(at, (revision, yanked))| {
                let body = state("a", Some("1.0.0"), *revision, *yanked, false);
                record(key, 2, Some(RecordId::from_bytes([at as u8; 32])), body)
            })
            .collect();
        let newest = values.iter().map(|(revision, _)| *revision).max().unwrap();
        let yanked = values.contains(&(newest, true));
        for shift in 0..writes.len() {
            let order = writes[shift..].iter().chain(&writes[..shift]).rev();
            let meaning = meaning(order);
            prop_assert!(meaning.registers.values().all(|register| register.yanked == yanked));
        }
    }
}

#[test]
fn a_slot_forgets_all_but_its_smallest_records() {
    let claims: Vec<_> = (0..=CLAIMS_MAX as u8)
        .map(|n| Claim {
            record: RecordId::from_bytes([n; 32]),
            content: [100 - n; 32],
            build: BuildMetadata::EMPTY,
        })
        .collect();
    let mut upward = Slot::from(claims[0].clone());
    let mut downward = Slot::from(claims[CLAIMS_MAX].clone());
    for claim in &claims {
        upward.merge(claim.clone());
    }
    for claim in claims.iter().rev() {
        downward.merge(claim.clone());
    }
    assert_eq!(upward, downward);
    assert!(upward.claims().eq(&claims[..CLAIMS_MAX]));
    for known in [CLAIMS_MAX, 3] {
        upward.merge(claims[known].clone());
        assert_eq!(upward, downward, "{known}");
    }
}

#[test]
fn the_same_content_published_again_is_no_conflict() {
    let key = key(1);
    let first = record(key, 1, None, publish("a", "1.0.0", 7));
    let again = record(key, 2, Some(first.id()), publish("a", "1.0.0", 7));
    let meaning = meaning([&first, &again]);
    let slot = meaning.slots.values().next().unwrap();
    assert!(!slot.is_conflicted());
    assert_eq!(slot.first().record, first.id().min(again.id()));
}

#[test]
fn a_record_waits_until_a_document_names_its_key() {
    let record = record(key(2), 1, None, publish("a", "1.0.0", 7));
    let mut namespace = Namespace::new(NetworkId::main(), owner());
    let (key, owner) = (key(2), owner());
    let refusal = Err(Refusal::Unauthorised { key, owner });
    assert_eq!(namespace.admit(&record), refusal);
    let document = acl(document(&[(1, &[SCOPE_ALL]), (2, &["b"])], &[]));
    assert_eq!(namespace.admit(&document), Ok(true));
    assert_eq!(namespace.admit(&record), Ok(true));
    assert_eq!(namespace.admit(&record), Ok(false));
    // It is held, and has no effect: the key may publish another name.
    let meaning = namespace.meaning();
    assert!(meaning.slots.is_empty());
    assert_eq!(meaning.feeds[&key].head.last, Some(record.id()));
}

#[test]
fn a_head_and_a_record_of_no_namespace_are_no_part_of_any() {
    let mut namespace = Namespace::new(NetworkId::main(), owner());
    let body = cbor::decode(&[0x80], 1).unwrap();
    let record = Record {
        owner: None,
        seq: 1,
        previous: None,
        time_ms: 0,
        body: Body::Other { kind: 1000, body },
    };
    assert_eq!(
        namespace.admit(&record.by(key(1))),
        Err(Refusal::NoNamespace)
    );
}

#[test]
fn of_a_retired_key_stays_what_stands_before_its_last_good_record() {
    let first = record(key(2), 1, None, publish("a", "1.0.0", 1));
    let other = cbor::decode(&[0x80], 1).unwrap();
    let unknown = Body::Other {
        kind: 1000,
        body: other,
    };
    let second = record(key(2), 2, Some(first.id()), unknown);
    let good = record(key(2), 3, Some(second.id()), publish("a", "1.1.0", 1));
    let late = record(key(2), 4, Some(good.id()), publish("a", "1.2.0", 1));
    let retire = acl(document(&[(1, &[SCOPE_ALL])], &[(2, good.id())]));
    let versions = |records: &[&Verified<Record>]| {
        let meaning = namespace(records.iter().copied()).meaning();
        let keys = meaning.slots.into_keys();
        keys.map(|key| key.version.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        versions(&[&retire, &first, &second, &good, &late]),
        ["1.0.0", "1.1.0"]
    );
    // Without the record between, the first is not known to stand before the last good one.
    assert_eq!(versions(&[&retire, &first, &good, &late]), ["1.1.0"]);
    let gaps = |records: &[&Verified<Record>]| namespace(records.iter().copied()).gaps();
    assert_eq!(gaps(&[&retire, &first, &good, &late]), [second.id()].into());
    assert_eq!(gaps(&[&retire, &late]), [good.id()].into());
    assert_eq!(gaps(&[&retire, &good, &second, &first]), [].into());
}

#[test]
fn an_endorsement_is_the_newest_and_of_equal_ones_the_less_trusting() {
    let subject = OwnerId::from_bytes([9; 32]);
    let endorse = |n, revision, level: Level, depth| {
        let body = Body::Endorse(Endorse {
            subject,
            revision,
            level: level.number(),
            depth,
            label: None,
            reason: String::new(),
        });
        record(key(1), 2, Some(RecordId::from_bytes([n; 32])), body)
    };
    let said = |records: &[Verified<Record>]| {
        let endorsement = &meaning(records).endorsements[&subject];
        (endorsement.level, endorsement.depth)
    };
    let newer = [
        endorse(1, 1, Level::Distrust, 0),
        endorse(2, 2, Level::Full, 1),
    ];
    assert_eq!(said(&newer), (Level::Full, 1));
    let tied = [
        endorse(1, 1, Level::Full, 1),
        endorse(2, 1, Level::Partial, 3),
        endorse(3, 1, Level::Partial, 2),
    ];
    assert_eq!(said(&tied), (Level::Partial, 2));
    let narrow = acl(document(&[(1, &["a"])], &[]));
    let speaks_for_one_name = namespace([&narrow, &tied[0]]).meaning();
    assert!(speaks_for_one_name.endorsements.is_empty());
}

#[test]
fn what_an_owner_edits_later_replaces_only_what_it_states() {
    let mut metadata = PackageMetadata::new("a@1.0.0".parse().unwrap());
    metadata.description = "old".to_owned();
    metadata.homepage = Some("http://example.org/".parse().unwrap());
    metadata.keywords = vec!["old".to_owned()];
    let info = Info {
        description: Some("new".to_owned()),
        deprecated: Some("use b".to_owned()),
        ..Info::default()
    };
    info.apply(&mut metadata);
    assert_eq!(metadata.description, "new");
    assert_eq!(metadata.deprecated.as_deref(), Some("use b"));
    assert_eq!(metadata.keywords, ["old"]);
    assert!(metadata.homepage.is_some());
}
