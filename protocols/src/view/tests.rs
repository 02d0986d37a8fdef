//! Whom a name means: each step, and that strangers take no part.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;

use super::*;

fn owner(n: u16) -> OwnerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    OwnerId::from_bytes(bytes)
}

/// Claims in memory, that count how often they are asked.
#[derive(Default)]
struct Claimed {
    owners: BTreeSet<OwnerId>,
    vetoed: BTreeSet<OwnerId>,
    asked: Cell<usize>,
}

impl Claimed {
    fn by(owners: impl IntoIterator<Item = u16>) -> Self {
        let owners = owners.into_iter().map(owner).collect();
        Self {
            owners,
            ..Self::default()
        }
    }
}

impl Claims for Claimed {
    type Error = Infallible;

    fn has(&self, owner: OwnerId) -> Result<bool, Infallible> {
        self.asked.set(self.asked.get() + 1);
        Ok(self.owners.contains(&owner))
    }

    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, Infallible> {
        self.asked.set(self.asked.get() + limit);
        let counted = self.owners.difference(&self.vetoed);
        Ok(counted.take(limit).copied().collect())
    }
}

#[derive(Default)]
struct Policy {
    pin: Option<u16>,
    own: Vec<u16>,
    scores: Vec<(u16, u8)>,
    mode: Mode,
}

impl Policy {
    fn means(&self, claims: &Claimed) -> View {
        let own: Vec<_> = self.own.iter().map(|n| owner(*n)).collect();
        let scores = self.scores.iter().map(|(n, score)| (owner(*n), *score));
        let local = Local {
            pin: self.pin.map(owner),
            own: &own,
            scores: &scores.collect(),
            mode: self.mode,
        };
        let Ok(view) = resolve(local, claims);
        view
    }
}

fn is(n: u16, why: Why) -> View {
    View::Owner(owner(n), why)
}

#[test]
fn nobody_claims_it() {
    let policy = Policy {
        own: vec![1],
        scores: vec![(2, 3)],
        ..Policy::default()
    };
    assert_eq!(policy.means(&Claimed::by([])), View::Nobody);
}

#[test]
fn a_pin_stands_above_all_and_a_pinned_owner_without_the_name_leaves_nobody() {
    let mut policy = Policy {
        pin: Some(1),
        own: vec![2],
        scores: vec![(3, 3)],
        mode: Mode::Strict,
    };
    assert_eq!(policy.means(&Claimed::by([1, 2, 3])), is(1, Why::Pin));
    assert_eq!(policy.means(&Claimed::by([2, 3])), View::Nobody);
    policy.pin = None;
    assert_eq!(policy.means(&Claimed::by([1, 2, 3])), is(2, Why::Own));
}

#[test]
fn one_own_owner_stands_above_trusted_ones_and_two_do_not() {
    let mut policy = Policy {
        own: vec![2, 2],
        scores: vec![(2, 3), (3, 3)],
        ..Policy::default()
    };
    assert_eq!(policy.means(&Claimed::by([1, 2, 3])), is(2, Why::Own));
    policy.own = vec![1, 2];
    assert_eq!(policy.means(&Claimed::by([1, 2])), is(2, Why::Trusted));
    assert_eq!(policy.means(&Claimed::by([1, 2, 3])), View::Contested);
    assert_eq!(policy.means(&Claimed::by([1, 3])), is(1, Why::Own));
    policy.scores.clear();
    assert_eq!(policy.means(&Claimed::by([1, 2])), View::Contested);
}

#[test]
fn only_a_full_score_prefers_and_only_one_of_them() {
    let mut policy = Policy {
        scores: vec![(1, 3), (2, 2)],
        ..Policy::default()
    };
    assert_eq!(policy.means(&Claimed::by([1, 2, 9])), is(1, Why::Trusted));
    assert_eq!(policy.means(&Claimed::by([2, 9])), View::Contested);
    policy.scores = vec![(1, 3), (2, 3)];
    assert_eq!(policy.means(&Claimed::by([1, 2])), View::Contested);
}

#[test]
fn a_sole_claimant_is_meant_unless_the_user_is_strict() {
    let mut policy = Policy {
        scores: vec![(2, 2)],
        ..Policy::default()
    };
    assert_eq!(policy.means(&Claimed::by([1])), is(1, Why::SoleClaimant));
    assert_eq!(policy.means(&Claimed::by([2])), is(2, Why::SoleClaimant));
    assert_eq!(policy.means(&Claimed::by([1, 2])), View::Contested);
    policy.mode = Mode::Strict;
    assert_eq!(policy.means(&Claimed::by([1])), View::Contested);
    assert_eq!(policy.means(&Claimed::by([])), View::Nobody);
    policy.scores = vec![(1, 3)];
    assert_eq!(policy.means(&Claimed::by([1, 2])), is(1, Why::Trusted));
    policy.own = vec![2];
    assert_eq!(policy.means(&Claimed::by([1, 2])), is(2, Why::Own));
}

#[test]
fn whom_the_user_vetoed_contests_nothing() {
    let mut claims = Claimed::by([1, 2]);
    claims.vetoed = [owner(2)].into();
    let policy = Policy::default();
    assert_eq!(policy.means(&claims), is(1, Why::SoleClaimant));
    claims.vetoed.insert(owner(1));
    assert_eq!(policy.means(&claims), View::Nobody);
}

/// And they do not make the answer slow: what is asked depends on the policy alone.
#[test]
fn ten_thousand_strangers_displace_nobody_who_is_pinned_own_or_trusted() {
    let known = [1u16, 2, 3];
    let few = Claimed::by(known);
    let many = Claimed::by((1_000..11_000).chain(known));
    assert!(many.owners.len() > 10_000);
    for mode in [Mode::Tofu, Mode::Strict] {
        for (pin, own, scores, expected) in [
            (Some(1), vec![2], vec![(3, 3)], is(1, Why::Pin)),
            (None, vec![2], vec![(3, 3)], is(2, Why::Own)),
            (None, vec![], vec![(3, 3), (1, 2)], is(3, Why::Trusted)),
        ] {
            let policy = Policy {
                pin,
                own,
                scores,
                mode,
            };
            few.asked.set(0);
            many.asked.set(0);
            assert_eq!(policy.means(&few), expected);
            assert_eq!(policy.means(&many), expected);
            assert_eq!(few.asked.take(), many.asked.take());
        }
    }
    // A sole claimant was never more than that.
    let unknown = Policy::default();
    assert_eq!(unknown.means(&many), View::Contested);
    assert!(many.asked.take() <= 2);
}
