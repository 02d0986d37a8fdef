//! Invariants of trust and views: identities that cost nothing gain nothing and take nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use ggen_protocols::id::OwnerId;
use ggen_protocols::limits;
use ggen_protocols::trust::{Anchor, Edge, FULL, Level, Trust};
use ggen_protocols::view::{self, Claims, Local, Mode, View, Why};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::select;

/// Anchors are owners 0 to 3, other honest ones 4 to 7, Sybils from 100 on.
const ANCHORS: u8 = 4;
const HONEST: u8 = 8;
const SYBILS: std::ops::Range<u8> = 100..106;

fn owner(n: u8) -> OwnerId {
    OwnerId::from_bytes([n; 32])
}

fn edge() -> impl Strategy<Value = Edge> {
    let level = select(vec![
        Level::Distrust,
        Level::None,
        Level::Partial,
        Level::Full,
    ]);
    (level, 0..4u8)
}

fn positive() -> impl Strategy<Value = Edge> {
    (
        select(vec![Level::None, Level::Partial, Level::Full]),
        0..4u8,
    )
}

/// Anchors, and what honest owners say of each other.
fn honest() -> impl Strategy<Value = Trust> {
    let anchor =
        (select(vec![1, FULL]), 0..4u8).prop_map(|(weight, depth)| Anchor { weight, depth });
    let anchors = btree_map(0..ANCHORS, anchor, 1..=4);
    let blocked = prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(0..HONEST, 1..3)];
    let said = vec((0..HONEST, 0..HONEST, edge()), 0..30);
    (anchors, blocked, said).prop_map(|(anchors, blocked, said)| {
        let mut trust = Trust {
            anchors: anchors
                .into_iter()
                .map(|(n, anchor)| (owner(n), anchor))
                .collect(),
            blocked: blocked.into_iter().map(owner).collect(),
            ..Trust::default()
        };
        for (issuer, subject, edge) in said {
            say(&mut trust, issuer, subject, edge);
        }
        trust
    })
}

/// Anchors who vouch for two owners, those for two others, and those again: where many paths of as many hops lead to
/// an owner, and what one endorsement changes is not lost among what others say.
fn introductions() -> impl Strategy<Value = Trust> {
    let weight = select(vec![1, FULL, FULL]);
    let anchors = btree_map(0..2u8, weight, 1..=2);
    let edge = (select(vec![Level::Partial, Level::Full]), 0..4u8);
    let said = vec((0..HONEST - 2, 0..2u8, edge), 8..20);
    (anchors, said).prop_map(|(anchors, said)| {
        let mut trust = Trust::default();
        for (n, weight) in anchors {
            let depth = limits::TRUST_HOPS_MAX;
            trust.anchors.insert(owner(n), Anchor { weight, depth });
        }
        for (issuer, which, edge) in said {
            say(&mut trust, issuer, issuer / 2 * 2 + 2 + which, edge);
        }
        trust
    })
}

fn say(trust: &mut Trust, issuer: u8, subject: u8, edge: Edge) {
    let edges = trust.web.entry(owner(issuer)).or_default();
    edges.insert(owner(subject), edge);
}

fn score(scores: &BTreeMap<OwnerId, u8>, owner: OwnerId) -> u8 {
    scores.get(&owner).copied().unwrap_or(0)
}

/// With entries from honest owners to Sybils, without and with what Sybils say.
fn attacked(
    mut trust: Trust,
    entries: &[(u8, u8, Edge)],
    lies: &[(u8, u8, Edge)],
) -> (Trust, Trust) {
    for (issuer, subject, edge) in entries {
        say(&mut trust, *issuer, *subject, *edge);
    }
    let mut lied = trust.clone();
    for (issuer, subject, edge) in lies {
        say(&mut lied, *issuer, *subject, *edge);
    }
    (trust, lied)
}

fn lies() -> impl Strategy<Value = Vec<(u8, u8, Edge)>> {
    vec((SYBILS, prop_oneof![SYBILS, 0..HONEST], edge()), 0..40)
}

fn entries() -> impl Strategy<Value = Vec<(u8, u8, Edge)>> {
    vec((0..HONEST, SYBILS, positive()), 0..6)
}

/// The least that anyone can say in favour of anyone.
fn raises() -> impl Iterator<Item = (u8, u8, Edge)> {
    let pairs = (0..HONEST).flat_map(|n| (0..HONEST).map(move |m| (n, m)));
    let edges = [Level::Partial, Level::Full].map(|level| [(level, 0), (level, 1)]);
    pairs.flat_map(move |(n, m)| edges.concat().into_iter().map(move |edge| (n, m, edge)))
}

proptest! {
    #[test]
    fn i6_sybils_never_lower_or_veto_anyone(trust in honest(), entries in entries(), lies in lies()) {
        let (before, after) = attacked(trust, &entries, &lies);
        prop_assert_eq!(after.vetoes(), before.vetoes());
        let (old, new) = (before.scores(), after.scores());
        for n in 0..HONEST {
            prop_assert!(score(&new, owner(n)) >= score(&old, owner(n)), "{}", n);
        }
    }

    #[test]
    fn i6_a_sybil_scores_at_most_what_honest_edges_give_to_any_of_them(
        trust in honest(),
        entries in entries(),
        lies in lies(),
    ) {
        let (before, after) = attacked(trust, &entries, &lies);
        let mut bound = 0;
        for (anchor, settings) in &before.anchors {
            // One anchor alone, but with the vetoes of all.
            let mut alone = before.clone();
            alone.blocked = before.vetoes().into_keys().collect();
            alone.anchors = [(*anchor, *settings)].into();
            let scores = alone.scores();
            bound += SYBILS.map(|n| score(&scores, owner(n))).max().unwrap_or(0);
        }
        let scores = after.scores();
        for n in SYBILS {
            prop_assert!(score(&scores, owner(n)) <= FULL.min(bound), "{}", n);
        }
    }

    #[test]
    fn i6_without_an_honest_edge_no_sybil_has_a_score(trust in honest(), lies in lies()) {
        let (_, after) = attacked(trust, &[], &lies);
        let scores = after.scores();
        let mut sybils = SYBILS;
        prop_assert!(sybils.all(|n| score(&scores, owner(n)) == 0));
    }

    #[test]
    fn i7_strangers_displace_nobody_who_is_pinned_own_or_trusted(
        claims in btree_set(0..12u8, 0..12),
        pin in prop_oneof![Just(None), (0..12u8).prop_map(Some)],
        own in btree_set(0..12u8, 0..4),
        scores in btree_map(0..12u8, 1..=3u8, 0..6),
        strangers in 0..200u8,
        strict: bool,
    ) {
        let own: Vec<_> = own.into_iter().map(owner).collect();
        let scores = scores.into_iter().map(|(n, score)| (owner(n), score)).collect();
        let mode = if strict { Mode::Strict } else { Mode::Tofu };
        let local = Local { pin: pin.map(owner), own: &own, scores: &scores, mode };
        let few: BTreeSet<_> = claims.into_iter().map(owner).collect();
        let many = few.iter().copied().chain((20..20 + strangers).map(owner)).collect();
        let Ok(before) = view::resolve(local, &Claimed(few));
        let Ok(after) = view::resolve(local, &Claimed(many));
        match before {
            View::Owner(_, Why::SoleClaimant) | View::Nobody if local.pin.is_none() => {
                // Nothing was known of whoever claimed it; still, a stranger is never preferred to another.
                let sole = matches!(after, View::Owner(_, Why::SoleClaimant));
                prop_assert!(sole || after == View::Contested || after == View::Nobody);
            }
            before => prop_assert_eq!(after, before),
        }
    }

    #[test]
    fn i16_a_better_endorsement_lowers_no_score(trust in prop_oneof![1 => honest(), 3 => introductions()]) {
        let old = trust.scores();
        for (issuer, subject, better) in raises() {
            let mut raised = trust.clone();
            let edges = raised.web.entry(owner(issuer)).or_default();
            let edge = edges.entry(owner(subject)).or_insert((Level::None, 0));
            *edge = (edge.0.max(better.0), edge.1.max(better.1));
            let new = raised.scores();
            for n in 0..HONEST {
                let is_lower = score(&new, owner(n)) < score(&old, owner(n));
                prop_assert!(!is_lower, "{} of {}, {:?}: {}", issuer, subject, better, n);
            }
        }
    }

    #[test]
    fn i16_only_full_anchors_and_the_user_take_trust_away(trust in honest(), subject in 0..HONEST, depth in 0..4u8) {
        let old = trust.scores();
        for issuer in 0..HONEST {
            let anchor = trust.anchors.get(&owner(issuer));
            let said = trust.web.get(&owner(issuer)).is_some_and(|e| e.contains_key(&owner(subject)));
            if said {
                continue;
            }
            let mut harmed = trust.clone();
            say(&mut harmed, issuer, subject, (Level::Distrust, depth));
            let vetoes = anchor.is_some_and(|anchor| anchor.weight == FULL)
                && !trust.anchors.contains_key(&owner(subject));
            if vetoes {
                prop_assert_eq!(score(&harmed.scores(), owner(subject)), 0);
            } else {
                prop_assert_eq!(&harmed.scores(), &old, "{}", issuer);
            }
        }
        let mut blocked = trust;
        blocked.blocked.insert(owner(subject));
        prop_assert_eq!(score(&blocked.scores(), owner(subject)), 0);
    }
}

struct Claimed(BTreeSet<OwnerId>);

impl Claims for Claimed {
    type Error = Infallible;

    fn has(&self, owner: OwnerId) -> Result<bool, Infallible> {
        Ok(self.0.contains(&owner))
    }

    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, Infallible> {
        Ok(self.0.iter().take(limit).copied().collect())
    }
}
