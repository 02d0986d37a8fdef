//! Virtual time: a heap of events, and links with latency and loss; all randomness comes from one seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ggen_protocols::Moment;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Everything that is to happen, in order; what happens at one moment happens in the order it was planned.
#[derive(Debug)]
pub struct World<E> {
    now: Moment,
    planned: u64,
    events: BinaryHeap<Reverse<Planned<E>>>,
    random: ChaCha8Rng,
}

#[derive(Debug)]
struct Planned<E> {
    at: Moment,
    number: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> World<E> {
    /// A world at its start, in which nothing is planned.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Moment::default(),
            planned: 0,
            events: BinaryHeap::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Plans an event.
    pub fn plan(&mut self, at: Moment, event: E) {
        self.planned += 1;
        let number = self.planned;
        let at = at.max(self.now);
        self.events.push(Reverse(Planned { at, number, event }));
    }

    /// Plans an event so long from now.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.plan(self.now + delay, event);
    }

    /// Moves on to the next event, if there is one up to `end`; otherwise time stands at `end`.
    pub fn next(&mut self, end: Moment) -> Option<E> {
        if self.events.peek().is_none_or(|Reverse(next)| next.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let Reverse(next) = self.events.pop()?;
        self.now = next.at;
        Some(next.event)
    }

    /// A number below `bound`; 0 where there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound.max(1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A duration between two, in whole milliseconds.
    pub fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        let spread = most_ms.saturating_sub(least_ms) + 1;
        Duration::from_millis(least_ms + self.below(spread))
    }
}
