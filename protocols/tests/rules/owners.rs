//! Invariants of namespaces: nobody becomes an owner, and nothing is replaced, against the rules.

use std::collections::BTreeSet;

use ggen_protocols::catalogue::{Fact, Meaning, Namespace, Status, is_granted};
use ggen_protocols::id::{NetworkId, RecordId};
use ggen_protocols::record::{Body, Record, Refusal, Signed, Verified};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::proptest;
use proptest::sample::{Index, select};

use super::gathering::{gather, shuffled};
use super::keyed;
use super::world::{
    EVIL, Known, PUBLISHERS, RECOVERY, ROOT, World, body, gathered, of_one, publish, unrecovered,
    world,
};

fn held(namespace: &Namespace) -> BTreeSet<RecordId> {
    namespace.records().map(|record| record.id).collect()
}

/// What users see of a namespace; where keys go on writing is no part of it.
fn seen(meaning: Meaning) -> Meaning {
    Meaning {
        feeds: Default::default(),
        ..meaning
    }
}

/// What somebody does who has `keys` and nothing else: documents after any document, records after any record.
fn attack(world: &mut World, keys: &[u8], acts: &[(Index, Index, u8, Body)]) {
    for (signer, at, how, body) in acts {
        let signer = *signer.get(keys);
        let before = world.documents[at.index(world.documents.len())];
        let recovery = [before.recovery, Some(EVIL), None][usize::from(how % 3)];
        if how % 2 == 0 {
            world.amend(before, signer, &of_one(signer, recovery, signer));
            continue;
        }
        let after = world.records[at.index(world.records.len())].clone();
        let after = (how % 3 > 0).then(|| (after.content().seq, after.id()));
        world.write(signer, after, body.clone());
    }
}

fn acts() -> impl proptest::strategy::Strategy<Value = Vec<(Index, Index, u8, Body)>> {
    vec((any::<Index>(), any::<Index>(), 0..6u8, body()), 1..9)
}

/// Root documents of a thief who has every key that was ever root, after any documents.
fn steal(world: &mut World, steps: &[(Index, u16)]) -> Vec<Known> {
    let roots = |known: &Known| known.recovery == Some(RECOVERY);
    let mut stolen = Vec::new();
    for (at, reason) in steps {
        let before = world.documents[at.index(world.documents.len())];
        let mut draft = of_one(EVIL, before.recovery, EVIL);
        draft.reason = 100 + reason;
        if roots(&before) {
            stolen.push(world.amend(before, before.root, &draft));
        }
    }
    world.write(EVIL, None, publish("bar", "6.6.6", 66));
    stolen
}

fn thefts() -> impl proptest::strategy::Strategy<Value = Vec<(Index, u16)>> {
    vec((any::<Index>(), 0..9u16), 0..6)
}

/// Documents have their effect by R1, and are not counted among what a publisher wrote.
#[test]
fn a_root_that_may_publish_everything_publishes_no_document() {
    let mut world = World::founded();
    let genesis = world.documents[0];
    world.amend(genesis, ROOT, &of_one(ROOT, genesis.recovery, ROOT));
    world.write(ROOT, None, publish("bar", "1.0.0", 1));
    let namespace = world.namespace();
    let standing = namespace.documents().standing();
    assert_eq!(namespace.records().count(), 3);
    for record in namespace.records() {
        assert_eq!(
            is_granted(standing, record),
            record.fact != Fact::Document,
            "{record:?}"
        );
    }
}

proptest! {
    #[test]
    fn i1_order_repetition_and_grouping_of_records_do_not_matter(
        world in world(),
        seeds in any::<[u64; 3]>(),
        cut in any::<Index>(),
    ) {
        let whole = world.namespace();
        let twice = [world.records.clone(), world.records.clone()].concat();
        let other = gathered(world.owner, &shuffled(&twice, seeds[0]));
        prop_assert_eq!(held(&other), held(&whole));
        prop_assert_eq!(other.meaning(), whole.meaning());
        // The founding document names all who publish.
        let in_feeds = world.feeds.values().flatten().map(|(_, id)| *id);
        prop_assert!(held(&whole).is_superset(&in_feeds.collect()));
        // Two nodes that each saw a part, and then all of what the other holds.
        let mixed = shuffled(&world.records, seeds[1]);
        let (left, right) = mixed.split_at(cut.index(mixed.len() + 1));
        let mut joined = gathered(world.owner, left);
        joined.meaning();
        gather(&mut joined, &shuffled(&[right, left].concat(), seeds[2]));
        prop_assert_eq!(joined.meaning(), whole.meaning());
    }

    #[test]
    fn i1_what_is_merged_again_changes_nothing(world in world()) {
        let meaning = world.meaning();
        for value in meaning.registers.values() {
            prop_assert!(!value.clone().merge(value.clone()));
        }
        for value in meaning.endorsements.values() {
            prop_assert!(!value.clone().merge(value.clone()));
        }
    }

    #[test]
    fn i2_keys_that_no_document_names_change_nothing(world in world(), acts in acts(), seed: u64) {
        let before = world.namespace();
        let mut attacked = world.clone();
        attack(&mut attacked, &[EVIL, EVIL + 1], &acts);
        let after = gathered(world.owner, &shuffled(&attacked.records, seed));
        prop_assert_eq!(held(&after), held(&before));
        prop_assert_eq!(after.meaning(), before.meaning());
    }

    #[test]
    fn i2_keys_that_are_held_and_may_not_publish_change_nothing_that_is_seen(
        world in unrecovered(),
        acts in acts(),
        seed: u64,
    ) {
        // The intruder is named where nobody looks any more: before a recovery.
        let mut world = world;
        let genesis = world.documents[0];
        world.amend(genesis, ROOT, &of_one(ROOT, genesis.recovery, EVIL));
        world.amend(genesis, RECOVERY, &of_one(ROOT + 5, Some(RECOVERY + 1), 0));
        let before = seen(world.meaning());
        attack(&mut world, &[EVIL], &acts);
        let after = gathered(world.owner, &shuffled(&world.records, seed));
        prop_assert_eq!(seen(after.meaning()), before);
    }

    #[test]
    fn i3_one_recovery_document_beats_whatever_roots_did_before_or_after(
        world in unrecovered(),
        before in thefts(),
        after in thefts(),
        seed: u64,
    ) {
        let mut world = world;
        steal(&mut world, &before);
        let genesis = world.documents[0];
        let mut draft = of_one(ROOT + 5, Some(RECOVERY + 1), 9);
        draft.retired = world.feeds.iter().map(|(n, feed)| (*n, feed[0].1)).collect();
        draft.retired.retain(|(n, _)| *n < PUBLISHERS);
        let recovery = world.amend(genesis, RECOVERY, &draft);
        let documents = world.documents.len();
        let stolen = world.clone();
        // What comes later hangs off the documents of the thief.
        world.documents.retain(|known| known.id != recovery.id);
        steal(&mut world, &after);
        prop_assert!(world.documents.len() + 1 >= documents);
        let node = gathered(world.owner, &shuffled(&world.records, seed));
        prop_assert_eq!(node.meaning().status, Status::Active(recovery.id));
        prop_assert_eq!(seen(node.meaning()), seen(stolen.meaning()));
    }

    #[test]
    fn i3b_a_root_never_changes_the_commitment(world in world(), at: Index, to in select(vec![None, Some(EVIL)])) {
        let before = world.namespace();
        let mut changed = world.clone();
        let known = world.documents[at.index(world.documents.len())];
        changed.amend(known, known.root, &of_one(known.root, to, known.root));
        let mut after = gathered(world.owner, &changed.records);
        prop_assert_eq!(after.meaning(), before.meaning());
        let last = changed.records.last().unwrap();
        let refusal = after.admit(last).unwrap_err();
        let held = after.documents().get(&known.id).is_some();
        let wrong = matches!(refusal, Refusal::WrongDocument { .. });
        prop_assert_eq!(wrong, held, "{}", refusal);
    }

    #[test]
    fn i3c_a_recovery_key_that_is_used_twice_kills_and_takes_nothing_over(
        world in unrecovered(),
        thefts in thefts(),
        seed: u64,
    ) {
        let mut world = world;
        let genesis = world.documents[0];
        let first = world.amend(genesis, RECOVERY, &of_one(ROOT + 5, Some(RECOVERY + 1), 9));
        let second = world.amend(genesis, RECOVERY, &of_one(EVIL, Some(EVIL), EVIL));
        world.amend(first, ROOT + 5, &of_one(ROOT + 5, first.recovery, 9));
        world.amend(second, EVIL, &of_one(EVIL, None, EVIL));
        steal(&mut world, &thefts);
        let meaning = gathered(world.owner, &shuffled(&world.records, seed)).meaning();
        prop_assert_eq!(meaning.status, Status::Dead(genesis.id));
        prop_assert!(meaning.slots.is_empty() && meaning.registers.is_empty());
        prop_assert!(meaning.endorsements.is_empty());
    }

    #[test]
    fn i3d_a_former_root_freezes_and_never_takes_over_however_much_it_grinds(
        grinds in vec(any::<u16>(), 1..9),
        rotations in 1..4u8,
        seed: u64,
    ) {
        let mut world = World::founded();
        let genesis = world.documents[0];
        let mut last = genesis;
        for n in 1..=rotations {
            last = world.amend(last, last.root, &of_one(ROOT + n, last.recovery, 0));
        }
        let rotated = world.clone();
        for reason in grinds {
            let mut draft = of_one(EVIL, genesis.recovery, EVIL);
            draft.reason = reason;
            world.amend(genesis, ROOT, &draft);
        }
        world.write(EVIL, None, publish("bar", "1.0.0", 66));
        prop_assert_eq!(rotated.meaning().status, Status::Active(last.id));
        let meaning = gathered(world.owner, &shuffled(&world.records, seed)).meaning();
        prop_assert_eq!(meaning.status, Status::Frozen(genesis.id));
        prop_assert!(meaning.slots.is_empty());
        let recovery = world.amend(genesis, RECOVERY, &of_one(ROOT + 5, Some(RECOVERY + 1), 0));
        let meaning = gathered(world.owner, &shuffled(&world.records, seed)).meaning();
        prop_assert_eq!(meaning.status, Status::Active(recovery.id));
    }

    #[test]
    fn i4_a_stolen_retired_key_adds_changes_and_backdates_nothing(
        world in unrecovered(),
        heads in any::<[Index; 3]>(),
        stolen in acts(),
        seed: u64,
    ) {
        let mut world = world;
        let mut draft = of_one(ROOT + 5, Some(RECOVERY + 1), 9);
        for (n, feed) in &world.feeds {
            draft.retired.push((*n, heads[usize::from(*n)].get(feed).1));
        }
        let genesis = world.documents[0];
        world.amend(genesis, RECOVERY, &draft);
        let before = seen(world.meaning());
        attack(&mut world, &[0, 1, 2], &stolen);
        let after = gathered(world.owner, &shuffled(&world.records, seed));
        prop_assert_eq!(seen(after.meaning()), before);
    }

    #[test]
    fn i4b_nobody_smuggles_records_of_another_key_into_a_retired_feed(world in unrecovered(), seed: u64) {
        let mut world = world;
        let genesis = world.documents[0];
        // The intruder's record is held, because some document names its key.
        world.amend(genesis, ROOT, &of_one(ROOT, genesis.recovery, EVIL));
        let evil = world.write(EVIL, None, publish("bar", "6.6.6", 66));
        let tip = world.write(0, Some((1, evil)), publish("bar", "7.0.0", 7));
        let mut draft = of_one(ROOT + 5, Some(RECOVERY + 1), 9);
        draft.retired = vec![(0, tip)];
        world.amend(genesis, RECOVERY, &draft);
        let meaning = gathered(world.owner, &shuffled(&world.records, seed)).meaning();
        let versions: Vec<_> = meaning.slots.keys().map(|key| key.version.to_string()).collect();
        prop_assert_eq!(versions, ["7.0.0"]);
    }

    #[test]
    fn i5_a_published_slot_stays_or_is_conflicted_while_the_document_stays(
        world in world(),
        more in vec((0..PUBLISHERS, any::<Index>(), body()), 1..6),
    ) {
        let before = world.meaning();
        let mut world = world;
        for (signer, at, body) in more {
            let feed = world.feeds.get(&signer).cloned().unwrap_or_default();
            let after = (!feed.is_empty()).then(|| *at.get(&feed));
            world.write(signer, after, body);
        }
        let after = world.meaning();
        prop_assert_eq!(after.status, before.status);
        for (key, slot) in before.slots {
            let now = &after.slots[&key];
            prop_assert!(now.is_conflicted() || now.first().content == slot.first().content);
            prop_assert!(now.is_conflicted() || !slot.is_conflicted());
        }
    }

    #[test]
    fn i9_an_id_has_one_meaning_whatever_the_signature(world in world(), signature in vec(any::<u8>(), 64)) {
        let signature: [u8; 64] = signature.try_into().unwrap();
        let resealed: Vec<Verified<Record>> = world.records.iter().map(|record| {
            let draft = record.content().draft(NetworkId::main(), record.key()).unwrap();
            let signed = Signed::from_envelope(draft.sealed(signature)).unwrap();
            signed.trust_stored(NetworkId::main()).unwrap()
        }).collect();
        for (one, other) in world.records.iter().zip(&resealed) {
            prop_assert_eq!(one.id(), other.id());
            prop_assert_eq!(keyed::verify(other.envelope().clone()), Err(Refusal::Signature));
        }
        prop_assert_eq!(gathered(world.owner, &resealed).meaning(), world.meaning());
    }

    #[test]
    fn i11_what_two_nodes_hold_is_admissible_together(
        world in world(),
        acts in acts(),
        parts in vec(0..4u8, 64),
        seed: u64,
    ) {
        let mut world = world;
        attack(&mut world, &[EVIL, 0, ROOT], &acts);
        let part = |bit: u8| {
            let sees = |(at, _): &(usize, &Verified<Record>)| parts[at % parts.len()] & bit == 0;
            let seen: Vec<_> = world.records.iter().enumerate().filter(sees).collect();
            let seen: Vec<_> = seen.into_iter().map(|(_, record)| record.clone()).collect();
            held(&gathered(world.owner, &shuffled(&seen, seed)))
        };
        let union: BTreeSet<_> = part(1).union(&part(2)).copied().collect();
        let records: Vec<_> = world.records.iter().filter(|r| union.contains(&r.id())).cloned().collect();
        let both = gathered(world.owner, &shuffled(&records, !seed));
        prop_assert_eq!(held(&both), union);
    }

    #[test]
    fn i2_a_publisher_is_no_root(world in unrecovered(), seed: u64) {
        let before = world.namespace();
        let mut attacked = world.clone();
        for known in world.documents.clone() {
            attacked.amend(known, 0, &of_one(0, known.recovery, 0));
        }
        let after = gathered(world.owner, &shuffled(&attacked.records, seed));
        prop_assert_eq!(after.meaning(), before.meaning());
        prop_assert_eq!(after.documents().len(), before.documents().len());
    }
}
