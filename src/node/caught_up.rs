//! Whether a node has caught up with the nodes that it knows of. No I/O: what happened comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ggen_protocols::id::PeerId;
use ggen_protocols::reconcile::Outcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Nodes that a reconciliation must have ended with, or all that are known if those are fewer: one alone may be
/// behind itself.
const ENOUGH: usize = 3;

/// How far a node has caught up with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaughtUp {
    /// Whether reconciliations ended since it started with three of the known nodes, or with all if those are
    /// fewer, and it is still connected to one of them. So it is with a node that knows of no other.
    pub complete: bool,
    /// Nodes that it knows of: configured, connected, or reconciled with since it started. One that has met
    /// others before it started knows of one at least.
    pub known: usize,
    /// How many of them a reconciliation ended with since it started; of those who are gone at most three count.
    pub reconciled: usize,
}

impl fmt::Display for CaughtUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            complete,
            known,
            reconciled,
        } = self;
        if *known == 0 {
            return f.write_str("yes: no other node is configured, and none was ever met");
        }
        let answer = if *complete { "yes" } else { "no" };
        write!(f, "{answer}: reconciled with {reconciled} of {known} known")?;
        if !complete && *reconciled >= ENOUGH.min(*known) {
            f.write_str(", of whom none is connected now")?;
        }
        Ok(())
    }
}

/// How far the node has come with a connected peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It keeps the records of the same network.
    Greeted,
    /// A reconciliation has ended.
    Reconciled,
    /// It said what no honest peer says: what it knows does not count.
    Lied,
}

/// Whom the node met.
#[derive(Debug)]
pub(super) struct Meetings {
    /// Whether any peer was ever met, before the start or after it.
    met: bool,
    /// The connected peers: no more than there are connections.
    present: BTreeMap<PeerId, Stage>,
    /// The first [`ENOUGH`] that a reconciliation ended with.
    reconciled: BTreeSet<PeerId>,
}

impl Meetings {
    /// Begins with nobody present; `met` is whether any peer was met in an earlier run.
    pub(super) fn new(met: bool) -> Self {
        Self {
            met,
            present: BTreeMap::new(),
            reconciled: BTreeSet::new(),
        }
    }

    /// A connected peer told that it keeps the records of the same network. Whether it is the first ever.
    pub(super) fn greeted(&mut self, peer: PeerId) -> bool {
        self.present.entry(peer).or_insert(Stage::Greeted);
        !std::mem::replace(&mut self.met, true)
    }

    /// A reconciliation with a peer came to this end.
    pub(super) fn ended(&mut self, peer: PeerId, outcome: &Outcome) {
        let Some(stage) = self.present.get_mut(&peer) else {
            return;
        };
        match outcome {
            Outcome::InSync | Outcome::Ahead => {
                *stage = Stage::Reconciled;
                if self.reconciled.len() < ENOUGH {
                    self.reconciled.insert(peer);
                }
            }
            Outcome::Failed => {}
            Outcome::Lied(_) => {
                *stage = Stage::Lied;
                self.reconciled.remove(&peer);
            }
        }
    }

    /// A peer is not connected any more.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.present.remove(peer);
    }

    /// How far the node has caught up, if these nodes are configured; nothing stands for an address where nobody
    /// has answered yet.
    pub(super) fn caught_up(&self, configured: impl Iterator<Item = Option<PeerId>>) -> CaughtUp {
        let of = |stage: Stage| {
            let present = self.present.iter();
            present.filter_map(move |(peer, is)| (*is == stage).then_some(*peer))
        };
        let mut reconciled = self.reconciled.clone();
        reconciled.extend(of(Stage::Reconciled));
        let mut known = reconciled.clone();
        known.extend(of(Stage::Greeted));
        let mut strangers = 0;
        for peer in configured {
            match peer {
                Some(peer) if self.present.get(&peer) == Some(&Stage::Lied) => {}
                Some(peer) => {
                    known.insert(peer);
                }
                None => strangers += 1,
            }
        }
        let known = (known.len() + strangers).max(usize::from(self.met));
        let is_together = of(Stage::Reconciled).next().is_some();
        CaughtUp {
            complete: known == 0 || (is_together && reconciled.len() >= ENOUGH.min(known)),
            known,
            reconciled: reconciled.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_protocols::reconcile::Lie;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn seen(meetings: &Meetings, configured: &[Option<PeerId>]) -> (bool, usize, usize) {
        let seen = meetings.caught_up(configured.iter().copied());
        (seen.complete, seen.known, seen.reconciled)
    }

    #[test]
    fn a_node_that_knows_nobody_has_nothing_to_catch_up_with() {
        assert_eq!(seen(&Meetings::new(false), &[]), (true, 0, 0));
    }

    #[test]
    fn a_node_that_met_others_before_must_meet_one_again() {
        let mut meetings = Meetings::new(true);
        assert_eq!(seen(&meetings, &[]), (false, 1, 0));
        assert!(!meetings.greeted(peer(1)), "not the first ever");
        assert_eq!(seen(&meetings, &[]), (false, 1, 0));
        meetings.ended(peer(1), &Outcome::InSync);
        assert_eq!(seen(&meetings, &[]), (true, 1, 1));
    }

    #[test]
    fn a_configured_node_counts_from_the_start_and_once() {
        let mut meetings = Meetings::new(false);
        assert_eq!(seen(&meetings, &[None]), (false, 1, 0));
        assert!(meetings.greeted(peer(1)), "the first ever");
        meetings.ended(peer(1), &Outcome::Ahead);
        assert_eq!(seen(&meetings, &[Some(peer(1))]), (true, 1, 1));
        assert_eq!(seen(&meetings, &[Some(peer(1)), None]), (false, 2, 1));
    }

    #[test]
    fn a_meeting_that_failed_or_has_not_ended_counts_as_none() {
        let mut meetings = Meetings::new(false);
        meetings.greeted(peer(1));
        meetings.greeted(peer(2));
        meetings.ended(peer(1), &Outcome::InSync);
        meetings.ended(peer(2), &Outcome::Failed);
        assert_eq!(seen(&meetings, &[]), (false, 2, 1));
        meetings.ended(peer(2), &Outcome::InSync);
        assert_eq!(seen(&meetings, &[]), (true, 2, 2));
    }

    #[test]
    fn three_are_enough_while_one_of_them_is_there() {
        let mut meetings = Meetings::new(false);
        for number in 1..=4 {
            meetings.greeted(peer(number));
        }
        for number in 1..=3 {
            assert!(!seen(&meetings, &[]).0, "{number}");
            meetings.ended(peer(number), &Outcome::InSync);
        }
        assert_eq!(seen(&meetings, &[]), (true, 4, 3));
        for number in 1..=3 {
            assert!(seen(&meetings, &[]).0, "{number}");
            meetings.gone(&peer(number));
        }
        assert_eq!(seen(&meetings, &[]), (false, 4, 3));
        let told = meetings.caught_up(std::iter::empty()).to_string();
        assert!(told.contains("none is connected"), "{told}");
    }

    #[test]
    fn a_liar_is_nobody_to_catch_up_with() {
        let mut meetings = Meetings::new(false);
        meetings.greeted(peer(1));
        meetings.greeted(peer(2));
        meetings.ended(peer(1), &Outcome::InSync);
        meetings.ended(peer(2), &Outcome::InSync);
        meetings.ended(peer(2), &Outcome::Lied(Lie::Invalid));
        meetings.greeted(peer(2));
        assert_eq!(seen(&meetings, &[Some(peer(2))]), (true, 1, 1));
        // With nobody else, what it said is not enough.
        meetings.gone(&peer(1));
        assert!(!seen(&meetings, &[]).0);
    }
}
