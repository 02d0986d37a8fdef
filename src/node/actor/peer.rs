//! What the loop keeps of one peer: how much it may still say.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Gossiped messages that a peer may send at once, and how many it may send per second from then on. What is
/// beyond is not lost: it comes by reconciliation. Peers of this machine and of private networks are exempt.
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 50.0;
/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its questions in work.
    pub(super) answers: Arc<Semaphore>,
    /// Whether both knew the same when they last met.
    pub(super) in_sync: bool,
    /// Whether it is exempt from the message rate.
    near: bool,
    tokens: f64,
    filled_at: Instant,
}

impl Peer {
    pub(super) fn new(answers_max: usize, near: bool) -> Self {
        Self {
            answers: Arc::new(Semaphore::new(answers_max)),
            in_sync: false,
            near,
            tokens: BURST,
            filled_at: Instant::now(),
        }
    }

    /// Whether it may send one more message now.
    pub(super) fn may_gossip(&mut self) -> bool {
        if self.near {
            return true;
        }
        let now = Instant::now();
        let filled = now.duration_since(self.filled_at).as_secs_f64() * PER_SECOND;
        self.tokens = BURST.min(self.tokens + filled);
        self.filled_at = now;
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_may_burst_and_then_keep_its_rate() {
        let mut peer = Peer::new(1, false);
        let burst = (0..2000).filter(|_| peer.may_gossip()).count();
        assert_eq!(burst, 500);
        tokio::time::advance(Duration::from_secs(2)).await;
        let later = (0..2000).filter(|_| peer.may_gossip()).count();
        assert_eq!(later, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_has_no_rate() {
        let mut peer = Peer::new(1, true);
        assert!((0..5000).all(|_| peer.may_gossip()));
    }
}
