//! Each fact about choosing, replacing and giving up, on a virtual clock.
#![allow(clippy::unwrap_used)]
#![allow(clippy::single_range_in_vec_init)] // One range is what is meant.

use super::*;

const MIB: u64 = 1 << 20;
const ALICE: PeerId = PeerId::from_bytes([1; 32]);
const BOB: PeerId = PeerId::from_bytes([2; 32]);
const CAROL: PeerId = PeerId::from_bytes([3; 32]);

fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

/// A fetch and the lanes that are open, as its owner would keep them.
struct Run {
    fetch: Fetch,
    lanes: BTreeMap<LaneId, (PeerId, usize, Range<u64>)>,
    wake_at: Option<Moment>,
    effects: Vec<Effect>,
}

impl Run {
    fn new(size: u64, peers: &[PeerId]) -> Self {
        Self::resumed(size, vec![0..size], peers)
    }

    fn resumed(size: u64, missing: Vec<Range<u64>>, peers: &[PeerId]) -> Self {
        let mut run = Self {
            fetch: Fetch::new(size, missing),
            lanes: BTreeMap::new(),
            wake_at: None,
            effects: Vec::new(),
        };
        for peer in peers {
            run.tell(at(0), Input::Provider(*peer));
        }
        run
    }

    fn tell(&mut self, now: Moment, input: Input) {
        self.effects = self.fetch.handle(now, input);
        for effect in &self.effects {
            match effect {
                Effect::Start {
                    lane,
                    peer,
                    slot,
                    range,
                } => {
                    let same = |(p, s, _): &(PeerId, usize, _)| p == peer && s == slot;
                    assert!(!self.lanes.values().any(same), "slot used twice");
                    assert!(range.start < range.end && range.start % BLOCK_BYTES == 0);
                    self.lanes.insert(*lane, (*peer, *slot, range.clone()));
                }
                Effect::Stop { lane, .. } => {
                    self.lanes
                        .remove(lane)
                        .expect("only open lanes are stopped");
                }
                Effect::WakeAt(moment) => self.wake_at = Some(*moment),
                _ => {}
            }
        }
    }

    fn receive(&mut self, now: Moment, lane: LaneId, bytes: u64) {
        self.tell(now, Input::Received { lane, bytes });
    }

    fn finish(&mut self, now: Moment, lane: LaneId) {
        let (_, _, range) = self.lanes[&lane].clone();
        self.receive(now, lane, range.end - range.start);
        if self.lanes.remove(&lane).is_some() {
            self.tell(now, Input::Ended(lane));
        }
    }

    fn fail(&mut self, now: Moment, lane: LaneId, why: Failure) {
        self.lanes.remove(&lane);
        self.tell(now, Input::Failed { lane, why });
    }

    fn inspected(&mut self, now: Moment, missing: Vec<Range<u64>>) {
        assert!(self.effects.contains(&Effect::Inspect));
        let size = missing.is_empty().then_some(self.fetch.size);
        self.tell(now, Input::Inspected { size, missing });
    }

    fn only(&self) -> (LaneId, PeerId, Range<u64>) {
        assert_eq!(self.lanes.len(), 1, "{:?}", self.lanes);
        let (id, (peer, _, range)) = self.lanes.first_key_value().unwrap();
        (*id, *peer, range.clone())
    }

    fn of(&self, peer: PeerId) -> Vec<LaneId> {
        let of = self.lanes.iter().filter(|(_, (p, ..))| *p == peer);
        of.map(|(id, _)| *id).collect()
    }

    /// Lets time pass until the fetch, woken when it wishes, does something; at most until `end`.
    fn idle_until(&mut self, end: Moment) -> Moment {
        while let Some(now) = self.wake_at.take().filter(|wake_at| *wake_at <= end) {
            self.tell(now, Input::Tick);
            let acts = |effect: &Effect| !matches!(effect, Effect::WakeAt(_));
            if self.effects.iter().any(acts) {
                return now;
            }
        }
        end
    }
}

#[test]
fn a_small_blob_is_asked_of_one_peer_in_one_request() {
    let mut run = Run::new(5 * MIB, &[ALICE, BOB]);
    let (lane, peer, range) = run.only();
    assert_eq!((peer, range), (ALICE, 0..5 * MIB));
    run.finish(at(10), lane);
    run.inspected(at(11), vec![]);
    assert_eq!(run.effects, [Effect::Done]);
    assert_eq!(run.fetch.given(), BTreeMap::from([(ALICE, 5 * MIB)]));
}

#[test]
fn an_empty_or_whole_blob_is_asked_of_nobody() {
    let mut run = Run::resumed(0, vec![], &[]);
    run.tell(at(0), Input::Tick);
    run.inspected(at(0), vec![]);
    assert_eq!(run.effects, [Effect::Done]);
    let mut run = Run::resumed(MIB, vec![], &[ALICE]);
    run.inspected(at(0), vec![]);
    assert_eq!(run.effects, [Effect::Done]);
}

#[test]
fn a_large_blob_goes_over_four_connections_of_one_peer() {
    let run = Run::new(1024 * MIB, &[ALICE]);
    assert_eq!(run.lanes.len(), LANES_PER_PEER_MAX);
    let slots: Vec<usize> = run.lanes.values().map(|(_, slot, _)| *slot).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    let starts: Vec<u64> = run.lanes.values().map(|(.., range)| range.start).collect();
    assert_eq!(starts, [0, PIECE_BYTES, 2 * PIECE_BYTES, 3 * PIECE_BYTES]);
}

#[test]
fn a_large_blob_is_striped_over_peers_within_the_bound() {
    let peers: Vec<PeerId> = (0..40).map(|n| PeerId::from_bytes([n; 32])).collect();
    let mut run = Run::new(1024 * MIB, &peers[..2]);
    // The second peer came when the first had its four pieces already.
    assert_eq!((run.of(peers[0]).len(), run.of(peers[1]).len()), (4, 4));
    for peer in &peers[2..] {
        run.tell(at(1), Input::Provider(*peer));
    }
    assert_eq!(run.lanes.len(), LANES_MAX);
}

#[test]
fn what_is_here_already_is_not_asked_for() {
    let run = Run::resumed(8 * MIB, vec![3 * MIB + 5..4 * MIB], &[ALICE]);
    assert_eq!(run.only().2, 3 * MIB..4 * MIB);
}

#[test]
fn a_silent_peer_is_replaced_within_two_seconds_and_its_range_goes_on_where_it_stopped() {
    let mut run = Run::new(10 * MIB, &[ALICE, BOB]);
    let (lane, ..) = run.only();
    run.receive(at(100), lane, 3 * MIB + 7);
    let replaced = run.idle_until(at(10_000));
    assert!(
        replaced.since(at(100)) <= Duration::from_secs(2),
        "{replaced:?}"
    );
    let (_, peer, range) = run.only();
    assert_eq!((peer, range), (BOB, 3 * MIB..10 * MIB));
}

#[test]
fn a_peer_that_cannot_be_reached_is_replaced_at_once() {
    let mut run = Run::new(MIB, &[ALICE, BOB]);
    let (lane, ..) = run.only();
    run.fail(at(5), lane, Failure::Connection("refused".to_owned()));
    assert_eq!(run.only().1, BOB);
}

#[test]
fn a_lane_that_says_something_after_its_end_is_ignored() {
    let mut run = Run::new(MIB, &[ALICE, BOB]);
    let (lane, ..) = run.only();
    let replaced = run.idle_until(at(5_000));
    let before = run.only();
    run.receive(replaced, lane, MIB);
    run.tell(replaced, Input::Ended(lane));
    assert_eq!(run.only(), before);
    assert_eq!(run.fetch.given(), BTreeMap::new());
}

#[test]
fn four_lanes_that_break_at_once_are_one_failure() {
    let mut run = Run::new(1024 * MIB, &[ALICE]);
    for lane in run.of(ALICE) {
        run.fail(at(50), lane, Failure::Connection("reset".to_owned()));
    }
    assert_eq!(run.effects, [], "it waits before it asks again");
    run.tell(at(50) + RETRY_DELAY_MIN, Input::Tick);
    assert_eq!(run.lanes.len(), LANES_PER_PEER_MAX);
}

#[test]
fn a_peer_that_fails_again_and_again_is_asked_later_and_later_and_then_given_up() {
    let mut run = Run::new(MIB, &[ALICE]);
    let refused = Failure::Connection("refused".to_owned());
    let mut now = at(0);
    for pause in [100, 200, 400] {
        let (lane, ..) = run.only();
        run.fail(now, lane, refused.clone());
        assert_eq!(run.lanes.len(), 0);
        let again = run.idle_until(at(60_000));
        assert_eq!(again.since(now), Duration::from_millis(pause));
        now = again;
    }
    let (lane, ..) = run.only();
    run.fail(now, lane, refused.clone());
    let refusal = Refusal::AllFailed {
        peer: ALICE,
        why: refused,
    };
    assert_eq!(run.effects, [Effect::GiveUp(refusal)]);
}

#[test]
fn progress_forgives_failures() {
    let mut run = Run::new(MIB, &[ALICE]);
    for round in 0..20 {
        let now = at(round * 1000);
        run.tell(now, Input::Tick);
        let (lane, ..) = run.only();
        run.receive(now, lane, BLOCK_BYTES);
        run.fail(now, lane, Failure::Connection("reset".to_owned()));
    }
    run.tell(at(60_000), Input::Tick);
    assert_eq!(run.only().2.start, 20 * BLOCK_BYTES);
}

#[test]
fn a_peer_that_lies_is_accused_and_not_asked_again() {
    let mut run = Run::new(1024 * MIB, &[ALICE, BOB]);
    let lane = run.of(ALICE)[0];
    run.fail(at(5), lane, Failure::Lied);
    assert!(run.effects.contains(&Effect::Accuse(ALICE)));
    assert_eq!(run.of(ALICE), []);
    run.tell(at(60_000), Input::Tick);
    assert_eq!(run.of(ALICE), []);
}

#[test]
fn a_peer_that_does_not_hold_it_is_not_asked_again() {
    let mut run = Run::new(MIB, &[ALICE]);
    let (lane, ..) = run.only();
    run.fail(at(5), lane, Failure::NotHeld);
    let peer = ALICE;
    let why = Failure::NotHeld;
    let refusal = Refusal::AllFailed { peer, why };
    assert_eq!(run.effects, [Effect::GiveUp(refusal)]);
}

#[test]
fn a_peer_that_drips_is_replaced() {
    let mut run = Run::new(MIB, &[ALICE, BOB]);
    let (lane, ..) = run.only();
    let mut now = 0;
    let mut bytes = 0;
    while run.of(ALICE) == [lane] {
        now += 500;
        bytes += 1024;
        run.receive(at(now), lane, bytes);
        assert!(now <= 16_000, "it drips on");
    }
    assert_eq!(now, 15_000);
    assert_eq!(run.only().1, BOB);
}

#[test]
fn a_slow_but_steady_peer_is_kept() {
    let mut run = Run::new(16 * MIB, &[ALICE]);
    let (lane, ..) = run.only();
    for tick in 1..200 {
        run.receive(at(tick * 500), lane, tick * 8 * 1024);
    }
    assert_eq!(run.only().0, lane);
}

#[test]
fn one_stuck_connection_does_not_condemn_its_peer() {
    let mut run = Run::new(1024 * MIB, &[ALICE]);
    let lanes = run.of(ALICE);
    let mut now = 0;
    while run.lanes.contains_key(&lanes[0]) {
        now += 500;
        for lane in &lanes[1..] {
            run.receive(at(now), *lane, now * 1024);
        }
        assert!(now <= 7_000, "the stuck lane is kept");
    }
    assert_eq!(now, 6_000);
    assert!(run.of(ALICE).starts_with(&lanes[1..]));
}

#[test]
fn an_idle_peer_takes_over_half_of_what_another_has_left() {
    let mut run = Run::new(32 * MIB, &[ALICE]);
    let [first, second] = run.of(ALICE)[..] else {
        panic!("two pieces");
    };
    run.finish(at(10), second);
    run.receive(at(10), first, 2 * MIB);
    run.tell(at(20), Input::Provider(BOB));
    let stolen = run.of(BOB);
    assert_eq!(run.lanes[&stolen[0]].2, 9 * MIB..16 * MIB);
    // The first is stopped where the second began.
    run.receive(at(30), first, 9 * MIB);
    let broken = false;
    assert!(run.effects.contains(&Effect::Stop {
        lane: first,
        broken
    }));
}

#[test]
fn a_peer_without_a_rest_worth_splitting_stays_idle() {
    let mut run = Run::new(17 * MIB, &[ALICE]);
    let lanes = run.of(ALICE);
    run.receive(at(10), lanes[0], 9 * MIB);
    run.tell(at(20), Input::Provider(BOB));
    assert_eq!(run.of(BOB), []);
}

#[test]
fn what_is_missing_in_the_end_is_asked_for_again_but_not_for_ever() {
    let mut run = Run::new(MIB, &[ALICE]);
    for _ in 0..ROUNDS_MAX {
        let (lane, ..) = run.only();
        run.finish(at(1), lane);
        run.inspected(at(1), vec![0..BLOCK_BYTES]);
        assert_eq!(run.only().2, 0..BLOCK_BYTES);
    }
    let (lane, ..) = run.only();
    run.finish(at(1), lane);
    run.inspected(at(1), vec![0..BLOCK_BYTES]);
    assert_eq!(run.effects, [Effect::GiveUp(Refusal::Incomplete)]);
}

#[test]
fn a_record_that_tells_the_wrong_size_ends_the_fetch() {
    let mut run = Run::new(MIB, &[ALICE, BOB]);
    let (lane, ..) = run.only();
    run.finish(at(1), lane);
    let actual = MIB - 1;
    let size = Some(actual);
    let missing = vec![];
    run.tell(at(1), Input::Inspected { size, missing });
    let declared = MIB;
    let refusal = Refusal::WrongSize { declared, actual };
    assert_eq!(run.effects, [Effect::GiveUp(refusal)]);
}

#[test]
fn without_anybody_to_ask_it_gives_up() {
    let mut run = Run::new(MIB, &[]);
    run.tell(at(0), Input::Tick);
    assert_eq!(run.effects, [Effect::GiveUp(Refusal::NoProvider)]);
    run.tell(at(1), Input::Provider(CAROL));
    assert_eq!(run.effects, [], "it is over");
}

#[test]
fn a_peer_named_while_it_runs_is_used() {
    let mut run = Run::new(MIB, &[ALICE]);
    run.tell(at(1000), Input::Provider(CAROL));
    run.idle_until(at(5000));
    assert_eq!(run.only().1, CAROL);
}
