//! The rules of trust by example, and that paths and scores tell the same.

use proptest::prelude::*;

use super::*;

use Level::{Distrust, Full, None as Nothing, Partial};

/// An owner by one character.
fn owner(name: char) -> OwnerId {
    OwnerId::from_bytes([name as u8; 32])
}

type Said<'a> = &'a [(char, char, Level, u8)];

fn trust(anchors: &[(char, u8, u8)], said: Said<'_>) -> Trust {
    let mut trust = Trust::default();
    for (name, weight, depth) in anchors {
        let (weight, depth) = (*weight, *depth);
        trust.anchors.insert(owner(*name), Anchor { weight, depth });
    }
    for (issuer, subject, level, depth) in said {
        let edges = trust.web.entry(owner(*issuer)).or_default();
        edges.insert(owner(*subject), (*level, *depth));
    }
    trust
}

fn score(trust: &Trust, name: char) -> u8 {
    trust.scores().get(&owner(name)).copied().unwrap_or(0)
}

fn names(path: &Path) -> String {
    let names = path.owners.iter().map(|owner| owner.as_bytes()[0] as char);
    names.collect()
}

#[test]
fn levels_are_numbered_as_on_the_wire() {
    for (number, level) in [Distrust, Nothing, Partial, Full].into_iter().enumerate() {
        assert_eq!(Level::of(number as u64), Some(level));
        assert_eq!(level.number(), number as u64);
    }
    assert_eq!(Level::of(4), None);
    assert_eq!(
        [Distrust, Nothing, Partial, Full].map(Level::weight),
        [0, 0, 1, 3]
    );
}

#[test]
fn whom_an_anchor_vouches_for_may_not_introduce_without_depth() {
    let t = trust(
        &[('A', FULL, 1)],
        &[('A', 'B', Full, 0), ('B', 'C', Full, 0)],
    );
    assert_eq!(t.scores(), [(owner('A'), 3), (owner('B'), 3)].into());
    let t = trust(
        &[('A', FULL, 2)],
        &[('A', 'B', Full, 1), ('B', 'C', Full, 0)],
    );
    assert_eq!(score(&t, 'C'), 3);
    // The anchor's own depth caps what endorsements claim.
    let t = trust(
        &[('A', FULL, 1)],
        &[('A', 'B', Full, 9), ('B', 'C', Full, 0)],
    );
    assert_eq!(score(&t, 'C'), 0);
    let t = trust(&[('A', FULL, 0)], &[('A', 'B', Full, 3)]);
    assert_eq!((score(&t, 'A'), score(&t, 'B')), (3, 0));
}

#[test]
fn three_partial_anchors_are_as_good_as_a_full_one() {
    let said = [
        ('A', 'X', Full, 0),
        ('B', 'X', Full, 0),
        ('C', 'X', Full, 0),
    ];
    let three = [('A', PARTIAL, 1), ('B', PARTIAL, 1), ('C', PARTIAL, 1)];
    assert_eq!(score(&trust(&three, &said), 'X'), 3);
    assert_eq!(score(&trust(&three[..2], &said), 'X'), 2);
    let four = [three.as_slice(), &[('D', FULL, 1)]].concat();
    let said = [said.as_slice(), &[('D', 'X', Full, 0)]].concat();
    assert_eq!(score(&trust(&four, &said), 'X'), 3);
}

#[test]
fn introducers_under_one_anchor_do_not_add_up() {
    let mut said = Vec::new();
    for puppet in ['p', 'q', 'r'] {
        said.extend([('A', puppet, Partial, 1), (puppet, 'X', Full, 0)]);
    }
    assert_eq!(score(&trust(&[('A', FULL, 2)], &said), 'X'), 1);
}

#[test]
fn a_path_is_as_strong_as_its_weakest_hop() {
    let said = [('A', 'B', Partial, 1), ('B', 'C', Full, 0)];
    assert_eq!(score(&trust(&[('A', FULL, 2)], &said), 'C'), 1);
    let none = [('A', 'B', Nothing, 3), ('B', 'C', Full, 0)];
    let t = trust(&[('A', FULL, 3)], &none);
    assert_eq!((score(&t, 'B'), score(&t, 'C')), (0, 0));
}

#[test]
fn trust_goes_three_hops_and_no_further() {
    let said = [
        ('A', 'b', Full, 9),
        ('b', 'c', Full, 9),
        ('c', 'd', Full, 9),
        ('d', 'e', Full, 9),
    ];
    let scores = trust(&[('A', FULL, 9)], &said).scores();
    assert_eq!(scores.get(&owner('d')), Some(&3));
    assert_eq!(scores.get(&owner('e')), None);
}

#[test]
fn a_full_anchor_vetoes_and_a_partial_one_does_not() {
    let anchors = [('A', FULL, 1), ('B', PARTIAL, 1)];
    let t = trust(&anchors, &[('A', 'X', Distrust, 0), ('B', 'X', Full, 0)]);
    assert!(!t.scores().contains_key(&owner('X')));
    assert_eq!(t.vetoes(), [(owner('X'), Veto::By(owner('A')))].into());
    assert!(t.paths(owner('X')).is_empty());
    let t = trust(&anchors, &[('B', 'X', Distrust, 0), ('A', 'X', Full, 0)]);
    assert_eq!(score(&t, 'X'), 3);
    assert!(t.vetoes().is_empty());
}

#[test]
fn nobody_but_anchors_vetoes_and_no_anchor_is_vetoed_by_another() {
    let anchors = [('A', FULL, 3), ('B', FULL, 3)];
    let said = [
        ('A', 'B', Distrust, 0),
        ('A', 'C', Full, 3),
        ('C', 'X', Distrust, 0),
        ('B', 'X', Full, 0),
    ];
    let t = trust(&anchors, &said);
    assert!(t.vetoes().is_empty());
    assert_eq!((score(&t, 'B'), score(&t, 'X')), (3, 3));
}

#[test]
fn no_path_passes_whom_somebody_vetoed() {
    let said = [
        ('A', 'B', Full, 2),
        ('B', 'C', Full, 0),
        ('D', 'B', Distrust, 0),
    ];
    let t = trust(&[('A', FULL, 3), ('D', FULL, 3)], &said);
    assert_eq!((score(&t, 'B'), score(&t, 'C')), (0, 0));
}

#[test]
fn a_local_block_wins() {
    let mut t = trust(&[('A', FULL, 1)], &[('A', 'B', Full, 0)]);
    t.blocked = [owner('B')].into();
    assert_eq!(t.scores(), [(owner('A'), 3)].into());
    assert_eq!(t.vetoes(), [(owner('B'), Veto::Blocked)].into());
    // Of an anchor, too; and over what another anchor says against it.
    t.blocked = [owner('A'), owner('B')].into();
    assert!(t.scores().is_empty());
    let mut t = trust(&[('A', FULL, 1)], &[('A', 'B', Distrust, 0)]);
    t.blocked = [owner('B')].into();
    assert_eq!(t.vetoes(), [(owner('B'), Veto::Blocked)].into());
}

#[test]
fn cycles_end() {
    let said = [
        ('A', 'B', Full, 3),
        ('B', 'A', Full, 3),
        ('B', 'C', Full, 3),
        ('C', 'B', Full, 3),
    ];
    let t = trust(&[('A', FULL, 3)], &said);
    assert_eq!(score(&t, 'C'), 3);
    assert_eq!(
        t.paths(owner('C')).iter().map(names).collect::<Vec<_>>(),
        ["ABC"]
    );
}

#[test]
fn of_each_anchor_the_heaviest_path_is_shown_then_the_shortest_then_the_smallest() {
    let said = [
        ('A', 'X', Partial, 0),
        ('A', 'c', Full, 2),
        ('A', 'b', Full, 2),
        ('A', 'd', Full, 2),
        ('d', 'e', Full, 1),
        ('e', 'X', Full, 0),
        ('c', 'X', Full, 0),
        ('b', 'X', Full, 0),
        ('B', 'X', Full, 0),
        ('B', 'b', Full, 1),
    ];
    let t = trust(&[('A', FULL, 3), ('B', PARTIAL, 3), ('C', FULL, 3)], &said);
    let paths = t.paths(owner('X'));
    assert_eq!(paths.iter().map(names).collect::<Vec<_>>(), ["AbX", "BX"]);
    assert_eq!(
        paths.iter().map(|path| path.weight).collect::<Vec<_>>(),
        [3, 1]
    );
    assert_eq!(
        t.paths(owner('C')).iter().map(names).collect::<Vec<_>>(),
        ["C"]
    );
    // The smallest is not always the first that is found: it has more depth, or a hop before the last is larger.
    let deeper = [
        ('A', 'b', Full, 2),
        ('A', 'c', Full, 2),
        ('b', 'X', Full, 1),
        ('c', 'X', Full, 0),
    ];
    let longer = [
        ('A', 'b', Full, 2),
        ('A', 'c', Full, 2),
        ('b', 'e', Full, 1),
        ('c', 'd', Full, 1),
        ('d', 'X', Full, 0),
        ('e', 'X', Full, 0),
    ];
    for (said, smallest) in [(&deeper[..], "AbX"), (&longer, "AbeX")] {
        let paths = trust(&[('A', FULL, 3)], said).paths(owner('X'));
        assert_eq!(paths.iter().map(names).collect::<Vec<_>>(), [smallest]);
    }
    // What weighs less and allows more hops is remembered beside what weighs more.
    let said = [
        ('A', 'b', Full, 0),
        ('A', 'c', Partial, 3),
        ('c', 'b', Full, 3),
        ('b', 'X', Full, 0),
    ];
    let t = trust(&[('A', FULL, 3)], &said);
    assert_eq!((score(&t, 'b'), score(&t, 'X')), (3, 1));
    assert_eq!(
        t.paths(owner('X')).iter().map(names).collect::<Vec<_>>(),
        ["AcbX"]
    );
}

#[test]
fn of_one_issuer_only_so_many_endorsements_count() {
    let id = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        OwnerId::from_bytes(bytes)
    };
    let mut t = trust(&[('A', FULL, 1)], &[]);
    let edges = t.web.entry(owner('A')).or_default();
    let count = limits::ENDORSEMENTS_PER_ISSUER_MAX as u16;
    edges.extend((0..=count).map(|n| (id(n), (Full, 0))));
    let scores = t.scores();
    assert_eq!(scores.len(), usize::from(count) + 1);
    assert!(scores.contains_key(&id(count - 1)) && !scores.contains_key(&id(count)));
}

proptest! {
    /// A score is the sum of the weights of the paths that are shown for it.
    #[test]
    fn paths_explain_scores(
        anchors in prop::collection::btree_map(0u8..8, (prop::sample::select(vec![1u8, 3]), 0u8..4), 1..4),
        said in prop::collection::vec((0u8..8, 0u8..8, 0u64..4, 0u8..4), 0..30),
        blocked in prop::collection::btree_set(0u8..8, 0..2),
    ) {
        let name = |n: u8| char::from(b'a' + n);
        let anchors: Vec<_> = anchors.into_iter().map(|(n, (w, d))| (name(n), w, d)).collect();
        let said: Vec<_> = said
            .into_iter()
            .filter_map(|(a, b, level, depth)| Some((name(a), name(b), Level::of(level)?, depth)))
            .collect();
        let mut trust = trust(&anchors, &said);
        trust.blocked = blocked.into_iter().map(|n| owner(name(n))).collect();
        let scores = trust.scores();
        for n in 0..8 {
            let owner = owner(name(n));
            let paths = trust.paths(owner);
            let sum: u8 = paths.iter().map(|path| path.weight).sum();
            prop_assert_eq!(FULL.min(sum), scores.get(&owner).copied().unwrap_or(0));
            for path in &paths {
                prop_assert!(path.owners.len() <= 4);
                prop_assert!(path.owners.iter().all(|on| !trust.vetoes().contains_key(on)));
            }
        }
    }
}
