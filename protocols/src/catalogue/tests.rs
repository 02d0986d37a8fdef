//! The rules of the catalogue, each against a derivation that does not merge.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::id::NetworkId;
use crate::record::{Body, CheckSignature, Signed};

struct AnySignature;

impl CheckSignature for AnySignature {
    fn check(&self, _: &PublicKey, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

fn owner(key: PublicKey) -> OwnerId {
    OwnerId::of_key(NetworkId::main(), key)
}

fn record(key: PublicKey, seq: u64, previous: Option<RecordId>, body: Body) -> Verified<Record> {
    let record = Record {
        owner: Some(owner(key)),
        seq,
        previous,
        time_ms: 0,
        body,
    };
    let draft = record.draft(NetworkId::main(), key).unwrap();
    let signed = Signed::from_envelope(draft.sealed([0; 64])).unwrap();
    signed.verify(&AnySignature, NetworkId::main()).unwrap()
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

fn meaning<'a>(records: impl IntoIterator<Item = &'a Verified<Record>>) -> Meaning {
    let mut meaning = Meaning::default();
    for record in records {
        meaning.add(Contribution::of(record).unwrap());
    }
    meaning
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
            let key_bytes = PublicKey::from_bytes([key + 1; 32]);
            let record = record(key_bytes, seq, previous.map(|(_, id)| id), body);
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
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = meaning(&records);
        prop_assert_eq!(&meaning(&shuffled), &whole);
        let cut = cut.index(shuffled.len() + 1);
        let mut joined = meaning(&shuffled[..cut]);
        joined.merge(meaning(&shuffled[cut..]));
        prop_assert_eq!(&joined, &whole);
        joined.merge(whole.clone());
        prop_assert_eq!(joined, whole);
    }

    #[test]
    fn a_slot_holds_each_distinct_body_under_its_smallest_record(records in worlds()) {
        let mut bodies: BTreeMap<ReleaseKey, BTreeMap<Vec<u8>, RecordId>> = BTreeMap::new();
        for record in &records {
            if let Body::Publish(body) = &record.content().body {
                let contents = bodies.entry(body.key(owner(record.key()))).or_default();
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
                let known = largest.entry((owner(record.key()), name, version)).or_insert(rank);
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
        for ((_, key), feed) in meaning(&records).feeds {
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
        let key = PublicKey::from_bytes([1; 32]);
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
    assert!(!upward.merge(claims[CLAIMS_MAX].clone()));
    assert!(!upward.merge(claims[3].clone()));
}

#[test]
fn the_same_content_published_again_is_no_conflict() {
    let key = PublicKey::from_bytes([1; 32]);
    let first = record(key, 1, None, publish("a", "1.0.0", 7));
    let again = record(key, 2, Some(first.id()), publish("a", "1.0.0", 7));
    let meaning = meaning([&first, &again]);
    let slot = meaning.slots.values().next().unwrap();
    assert!(!slot.is_conflicted());
    assert_eq!(slot.first().record, first.id().min(again.id()));
}

#[test]
fn a_record_in_the_namespace_of_another_key_contributes_nothing() {
    let record = Record {
        owner: Some(owner(PublicKey::from_bytes([1; 32]))),
        seq: 1,
        previous: None,
        time_ms: 0,
        body: publish("a", "1.0.0", 7),
    };
    let intruder = PublicKey::from_bytes([2; 32]);
    let draft = record.draft(NetworkId::main(), intruder).unwrap();
    let signed = Signed::from_envelope(draft.sealed([0; 64])).unwrap();
    let verified = signed.verify(&AnySignature, NetworkId::main()).unwrap();
    assert!(matches!(
        Contribution::of(&verified),
        Err(Refusal::Unauthorised { .. })
    ));
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
