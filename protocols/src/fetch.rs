//! Whom to ask for which part of a blob, and when to give up. No I/O: time comes in.
//!
//! The owner of a [`Fetch`] tells it what happens as [`Input`]s and carries out its [`Effect`]s. A blob is
//! cut into pieces; a *lane* is one request for one piece to one peer. What arrives is verified by the
//! transport, so a piece that breaks off is asked for again only from where it stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::Moment;
use crate::id::PeerId;

#[cfg(test)]
mod tests;

/// Bytes of one request. A blob that is not larger is asked of one peer at a time.
pub const PIECE_BYTES: u64 = 16 << 20;
/// What a range is rounded to, in bytes: the transport verifies and stores in blocks of this size.
pub const BLOCK_BYTES: u64 = 16 << 10;
/// Requests to one peer at a time, each over a connection of its own: more bring no more speed.
pub const LANES_PER_PEER_MAX: usize = 4;
/// Requests at a time.
pub const LANES_MAX: usize = 16;
/// Peers considered for one blob; further ones are not taken.
pub const PROVIDERS_MAX: usize = 64;
/// How long a peer may send nothing, connecting included, before its work goes to another.
pub const SILENCE_MAX: Duration = Duration::from_millis(1500);
/// How long one request may bring nothing while its peer sends on others.
pub const LANE_SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long a request is watched before it is judged too slow.
pub const SLOW_WINDOW: Duration = Duration::from_secs(15);
/// What a request must bring within [`SLOW_WINDOW`], in bytes.
pub const SLOW_BYTES_MIN: u64 = 64 << 10;
/// Failures in a row, with nothing received between them, after which a peer is not asked again.
pub const FAILURES_MAX: u32 = 4;
/// Pause after a peer's first failure; it doubles with each further one.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// A rest that is not larger than twice this is not split for an idle peer, in bytes.
pub const STEAL_BYTES_MIN: u64 = 4 << 20;
/// How often what is missing in the end is asked for again.
pub const ROUNDS_MAX: u32 = 3;

const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(STEAL_BYTES_MIN >= BLOCK_BYTES);
const _: () = assert!(LANES_PER_PEER_MAX <= LANES_MAX);
// A silent peer is replaced within two seconds even if the wake-up comes late.
const _: () = assert!(SILENCE_MAX.as_millis() <= 1_700);

/// One request for one piece to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A peer that may hold the blob.
    Provider(PeerId),
    /// How many verified bytes a lane has brought so far.
    Received {
        /// Which one.
        lane: LaneId,
        /// All of its bytes, not only the new ones.
        bytes: u64,
    },
    /// A lane has brought all that it was asked for.
    Ended(LaneId),
    /// A lane broke off.
    Failed {
        /// Which one.
        lane: LaneId,
        /// Why.
        why: Failure,
    },
    /// What the store has, as [`Effect::Inspect`] asked.
    Inspected {
        /// The blob's length in bytes, if its last block is there and proves it.
        size: Option<u64>,
        /// The ranges that are not there.
        missing: Vec<Range<u64>>,
    },
    /// The time of [`Effect::WakeAt`] has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask `peer` for `range` over its connection number `slot` (below [`LANES_PER_PEER_MAX`]).
    Start {
        /// How to speak of this request.
        lane: LaneId,
        /// Whom to ask.
        peer: PeerId,
        /// Which of the connections to it.
        slot: usize,
        /// Which bytes.
        range: Range<u64>,
    },
    /// End this lane; nothing that it still says counts.
    Stop {
        /// Which one.
        lane: LaneId,
        /// Whether its connection is of no more use.
        broken: bool,
    },
    /// This peer gave bytes that are not the blob's.
    Accuse(PeerId),
    /// Call again at this time, if nothing else happens before.
    WakeAt(Moment),
    /// Say what the store has, by [`Input::Inspected`].
    Inspect,
    /// The blob is whole.
    Done,
    /// It cannot be had.
    GiveUp(Refusal),
}

/// Why a lane broke off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection to the peer, or it broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The peer does not hold the blob, or does not give it to us.
    #[error("it does not hold the blob")]
    NotHeld,
    /// The peer has too much to do.
    #[error("it is busy")]
    Busy,
    /// The bytes were not those of the blob.
    #[error("it sent bytes that are not the blob's")]
    Lied,
    /// Nothing came for [`SILENCE_MAX`].
    #[error("it sent nothing for too long")]
    Silent,
    /// Less than [`SLOW_BYTES_MIN`] came within [`SLOW_WINDOW`].
    #[error("it sent too slowly")]
    Slow,
}

/// Why a blob cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There was nobody to ask.
    #[error("nobody who might hold it is known")]
    NoProvider,
    /// All peers failed; this was the last.
    #[error("every peer failed, {peer} last: {why}")]
    AllFailed {
        /// Who.
        peer: PeerId,
        /// How.
        why: Failure,
    },
    /// The blob has another length than its record says: the record is wrong, not the peers.
    #[error("its record says {declared} bytes, but it has {actual}")]
    WrongSize {
        /// In the record, in bytes.
        declared: u64,
        /// Of the blob, in bytes.
        actual: u64,
    },
    /// Peers said that all was sent, again and again, and yet it is not whole.
    #[error("it is not whole after {ROUNDS_MAX} rounds")]
    Incomplete,
}

#[derive(Debug)]
struct Provider {
    peer: PeerId,
    failures: u32,
    ready_at: Moment,
    heard_at: Moment,
    gone: bool,
    bytes: u64,
}

#[derive(Debug)]
struct Lane {
    provider: usize,
    slot: usize,
    /// What it still has to bring; the end moves when another peer takes over the second half.
    range: Range<u64>,
    /// Where the request ends.
    asked_end: u64,
    got: u64,
    heard_at: Moment,
    watched_at: Moment,
    watched_got: u64,
}

impl Lane {
    fn rest(&self) -> Range<u64> {
        let whole_blocks = self.got / BLOCK_BYTES * BLOCK_BYTES;
        (self.range.start + whole_blocks).min(self.range.end)..self.range.end
    }
}

/// The fetch of one blob.
pub struct Fetch {
    size: u64,
    todo: Vec<Range<u64>>,
    providers: Vec<Provider>,
    lanes: BTreeMap<LaneId, Lane>,
    lanes_started: u64,
    rounds: u32,
    inspecting: bool,
    ended: bool,
    last: Option<(PeerId, Failure)>,
    wake_at: Option<Moment>,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("size", &self.size)
            .field("todo", &self.todo)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl Fetch {
    /// Begins the fetch of a blob of `size` bytes of which the `missing` ranges are not here yet.
    pub fn new(size: u64, missing: Vec<Range<u64>>) -> Self {
        let mut fetch = Self {
            size,
            todo: Vec::new(),
            providers: Vec::new(),
            lanes: BTreeMap::new(),
            lanes_started: 0,
            rounds: 0,
            inspecting: false,
            ended: false,
            last: None,
            wake_at: None,
        };
        fetch.want(missing);
        fetch
    }

    /// How many bytes each peer has given.
    pub fn given(&self) -> BTreeMap<PeerId, u64> {
        let gave = self.providers.iter().filter(|p| p.bytes > 0);
        gave.map(|p| (p.peer, p.bytes)).collect()
    }

    /// Takes one input and says what is to be done.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        if self.ended {
            return Vec::new();
        }
        let mut effects = Vec::new();
        match input {
            Input::Provider(peer) => self.add(now, peer),
            Input::Received { lane, bytes } => self.receive(now, lane, bytes, &mut effects),
            // What it left out all the same is found when the store is asked what it has.
            Input::Ended(lane) => drop(self.lanes.remove(&lane)),
            Input::Failed { lane, why } => {
                if let Some(lane) = self.lanes.remove(&lane) {
                    let provider = lane.provider;
                    self.put_back(lane.rest());
                    self.fail(now, provider, why, &mut effects);
                }
            }
            Input::Inspected { size, missing } => self.inspected(size, missing, &mut effects),
            Input::Tick => self.wake_at = None,
        }
        self.judge(now, &mut effects);
        self.assign(now, &mut effects);
        self.settle(now, &mut effects);
        effects
    }

    fn add(&mut self, now: Moment, peer: PeerId) {
        let known = self.providers.iter().any(|p| p.peer == peer);
        if known || self.providers.len() >= PROVIDERS_MAX {
            return;
        }
        self.providers.push(Provider {
            peer,
            failures: 0,
            ready_at: now,
            heard_at: now,
            gone: false,
            bytes: 0,
        });
    }

    fn receive(&mut self, now: Moment, id: LaneId, bytes: u64, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if bytes <= lane.got {
            return;
        }
        let provider = &mut self.providers[lane.provider];
        let wanted = lane.range.end - lane.range.start;
        provider.bytes += bytes.min(wanted).saturating_sub(lane.got);
        provider.failures = 0;
        provider.heard_at = now;
        lane.got = bytes;
        lane.heard_at = now;
        // Its second half was taken over: it is not asked to send the rest too.
        if bytes >= wanted && lane.range.end < lane.asked_end {
            self.lanes.remove(&id);
            effects.push(Effect::Stop {
                lane: id,
                broken: false,
            });
        }
    }

    fn inspected(
        &mut self,
        size: Option<u64>,
        missing: Vec<Range<u64>>,
        effects: &mut Vec<Effect>,
    ) {
        if !std::mem::take(&mut self.inspecting) {
            return;
        }
        let declared = self.size;
        match size {
            Some(actual) if actual != declared => {
                self.end(
                    Effect::GiveUp(Refusal::WrongSize { declared, actual }),
                    effects,
                );
            }
            _ if missing.is_empty() => self.end(Effect::Done, effects),
            _ if self.rounds >= ROUNDS_MAX => {
                self.end(Effect::GiveUp(Refusal::Incomplete), effects);
            }
            _ => {
                self.rounds += 1;
                self.want(missing);
            }
        }
    }

    /// Ends what is silent or slow.
    fn judge(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut failures: Vec<(usize, LaneId, Failure)> = Vec::new();
        for (id, lane) in &mut self.lanes {
            let provider = &self.providers[lane.provider];
            if now.since(provider.heard_at.max(lane.heard_at)) >= SILENCE_MAX {
                failures.push((lane.provider, *id, Failure::Silent));
            } else if now.since(lane.heard_at) >= LANE_SILENCE_MAX {
                let why = "nothing came on it while others went on".to_owned();
                failures.push((lane.provider, *id, Failure::Connection(why)));
            } else if now.since(lane.watched_at) >= SLOW_WINDOW {
                if lane.got - lane.watched_got < SLOW_BYTES_MIN {
                    failures.push((lane.provider, *id, Failure::Slow));
                }
                lane.watched_at = now;
                lane.watched_got = lane.got;
            }
        }
        for (provider, id, why) in failures {
            if let Some(lane) = self.lanes.remove(&id) {
                self.put_back(lane.rest());
                effects.push(Effect::Stop {
                    lane: id,
                    broken: true,
                });
                self.fail(now, provider, why, effects);
            }
        }
    }

    /// Notes a failure of a peer, and ends its other lanes if it is no good any more.
    fn fail(&mut self, now: Moment, at: usize, why: Failure, effects: &mut Vec<Effect>) {
        let provider = &mut self.providers[at];
        if provider.gone {
            return;
        }
        if why == Failure::Lied {
            effects.push(Effect::Accuse(provider.peer));
        }
        // Several lanes that break at once are one failure.
        if provider.ready_at <= now {
            provider.ready_at = now + RETRY_DELAY_MIN * (1 << provider.failures.min(FAILURES_MAX));
            provider.failures += 1;
        }
        provider.gone = provider.failures >= FAILURES_MAX
            || matches!(why, Failure::Lied | Failure::NotHeld | Failure::Slow);
        let silent = why == Failure::Silent;
        let ends = provider.gone || silent;
        self.last = Some((provider.peer, why));
        if !ends {
            return;
        }
        let of_it = self.lanes.iter().filter(|(_, lane)| lane.provider == at);
        let ids: Vec<LaneId> = of_it.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(lane) = self.lanes.remove(&id) {
                self.put_back(lane.rest());
                effects.push(Effect::Stop {
                    lane: id,
                    broken: silent,
                });
            }
        }
    }

    /// Gives work to whoever is free: an open piece, or the second half of what another peer has in hand.
    fn assign(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while !self.ended && !self.inspecting && self.lanes.len() < LANES_MAX {
            let Some(provider) = self.free(now, None) else {
                return;
            };
            if let Some(range) = self.take_piece() {
                self.start(now, provider, range, effects);
                continue;
            }
            let Some(victim) = self.splittable() else {
                return;
            };
            let owner = self.lanes[&victim].provider;
            let Some(thief) = self.free(now, Some(owner)) else {
                return;
            };
            let lane = self.lanes.get_mut(&victim).expect("it was just found");
            let rest = lane.rest();
            let middle = rest.start
                + (rest.end - rest.start)
                    .div_ceil(2)
                    .next_multiple_of(BLOCK_BYTES);
            lane.range.end = middle;
            self.start(now, thief, middle..rest.end, effects);
        }
    }

    /// The provider with the fewest failures and lanes that may be asked now. One that is to take over work
    /// must be idle, and another than `not`.
    fn free(&self, now: Moment, not: Option<usize>) -> Option<usize> {
        let lanes = |at: usize| self.lanes.values().filter(|l| l.provider == at).count();
        let lanes_max = if not.is_some() { 1 } else { LANES_PER_PEER_MAX };
        let free = self.providers.iter().enumerate().filter(|(at, provider)| {
            !provider.gone && provider.ready_at <= now && Some(*at) != not && lanes(*at) < lanes_max
        });
        free.min_by_key(|(at, provider)| (provider.failures, lanes(*at), *at))
            .map(|(at, _)| at)
    }

    fn start(
        &mut self,
        now: Moment,
        provider: usize,
        range: Range<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let taken = |slot: usize| {
            let mut lanes = self.lanes.values();
            lanes.any(|lane| lane.provider == provider && lane.slot == slot)
        };
        let slot = (0..LANES_PER_PEER_MAX)
            .find(|slot| !taken(*slot))
            .expect("a free provider has a free slot");
        let id = LaneId(self.lanes_started);
        self.lanes_started += 1;
        effects.push(Effect::Start {
            lane: id,
            peer: self.providers[provider].peer,
            slot,
            range: range.clone(),
        });
        let lane = Lane {
            provider,
            slot,
            asked_end: range.end,
            range,
            got: 0,
            heard_at: now,
            watched_at: now,
            watched_got: 0,
        };
        self.lanes.insert(id, lane);
    }

    /// The lane with the largest rest, if that is worth splitting.
    fn splittable(&self) -> Option<LaneId> {
        if self.size <= PIECE_BYTES {
            return None;
        }
        let rests = self.lanes.iter().map(|(id, lane)| {
            let rest = lane.rest();
            (rest.end - rest.start, *id)
        });
        let (bytes, id) = rests.max()?;
        (bytes > 2 * STEAL_BYTES_MIN).then_some(id)
    }

    fn take_piece(&mut self) -> Option<Range<u64>> {
        let first = self.todo.first_mut()?;
        let piece_end = (first.start + 1).next_multiple_of(PIECE_BYTES);
        if first.end <= piece_end {
            return Some(self.todo.remove(0));
        }
        let piece = first.start..piece_end;
        first.start = piece_end;
        Some(piece)
    }

    fn put_back(&mut self, range: Range<u64>) {
        if range.start < range.end {
            let at = self.todo.partition_point(|r| r.start < range.start);
            self.todo.insert(at, range);
        }
    }

    fn want(&mut self, missing: Vec<Range<u64>>) {
        for range in missing {
            let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
            self.put_back(start..range.end.min(self.size));
        }
    }

    /// Ends the fetch if nothing can go on, and says when to wake otherwise.
    fn settle(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.ended || self.inspecting {
            return;
        }
        if self.lanes.is_empty() {
            if self.todo.is_empty() {
                self.inspecting = true;
                effects.push(Effect::Inspect);
                return;
            }
            if self.providers.iter().all(|p| p.gone) {
                let refusal = self.last.take().map_or(Refusal::NoProvider, |(peer, why)| {
                    Refusal::AllFailed { peer, why }
                });
                self.end(Effect::GiveUp(refusal), effects);
                return;
            }
        }
        let judged = self.lanes.values().map(|lane| {
            let heard_at = self.providers[lane.provider].heard_at.max(lane.heard_at);
            let silent_at = (heard_at + SILENCE_MAX).min(lane.heard_at + LANE_SILENCE_MAX);
            silent_at.min(lane.watched_at + SLOW_WINDOW)
        });
        let waiting = self.providers.iter().filter(|p| !p.gone);
        let ready = waiting.map(|p| p.ready_at).filter(|at| *at > now);
        let next = judged.chain(ready).min();
        // A wake-up that comes too early costs nothing; so it is not moved with every block received.
        if let Some(next) = next
            && self.wake_at.is_none_or(|wake_at| next < wake_at)
        {
            self.wake_at = Some(next);
            effects.push(Effect::WakeAt(next));
        }
    }

    fn end(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        self.ended = true;
        for lane in std::mem::take(&mut self.lanes).into_keys() {
            effects.push(Effect::Stop {
                lane,
                broken: false,
            });
        }
        effects.push(effect);
    }
}
