//! What the loop keeps of one peer: how much it may still say and ask.
//!
//! What is beyond is not lost. Gossip that is not taken comes by reconciliation, and whoever asks too much is told
//! when to come again.

use std::sync::Arc;

use ggen_protocols::limits;
use tokio::sync::Semaphore;

use crate::node::rate::Bucket;

/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its questions in work.
    pub(super) answers: Arc<Semaphore>,
    /// Whether both knew the same when they last met.
    pub(super) in_sync: bool,
    /// Whether it was asked for the heads that it keeps.
    pub(super) told_heads: bool,
    /// What bounds it; nothing for peers of this machine and of private networks.
    bounds: Option<Bounds>,
}

#[derive(Debug)]
struct Bounds {
    messages: Bucket,
    questions: Bucket,
    bytes: Bucket,
}

impl Peer {
    pub(super) fn new(answers_max: usize, near: bool) -> Self {
        let bounds = || Bounds {
            messages: Bucket::new(
                limits::PEER_MESSAGES_BURST,
                limits::PEER_MESSAGES_PER_SECOND,
            ),
            questions: Bucket::new(
                limits::PEER_QUESTIONS_BURST,
                limits::PEER_QUESTIONS_PER_SECOND,
            ),
            bytes: Bucket::new(limits::PEER_BYTES_BURST, limits::PEER_BYTES_PER_SECOND),
        };
        Self {
            answers: Arc::new(Semaphore::new(answers_max)),
            in_sync: false,
            told_heads: false,
            bounds: (!near).then(bounds),
        }
    }

    /// Whether it may send one more gossiped message now.
    pub(super) fn may_gossip(&mut self) -> bool {
        self.bounds
            .as_mut()
            .is_none_or(|bounds| bounds.messages.take(1))
    }

    /// Whether it may ask one more question now.
    pub(super) fn may_ask(&mut self) -> bool {
        self.bounds
            .as_mut()
            .is_none_or(|bounds| bounds.bytes.has_some() && bounds.questions.take(1))
    }

    /// Notes that it was answered with this many bytes.
    pub(super) fn was_sent(&mut self, bytes: u64) {
        if let Some(bounds) = &mut self.bounds {
            bounds.bytes.owe(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_bounded_in_messages_questions_and_bytes() {
        let mut peer = Peer::new(1, false);
        let burst = (0..2000).filter(|_| peer.may_gossip()).count() as u64;
        assert_eq!(burst, limits::PEER_MESSAGES_BURST);
        let burst = (0..5000).filter(|_| peer.may_ask()).count() as u64;
        assert_eq!(burst, limits::PEER_QUESTIONS_BURST);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(peer.may_ask());
        peer.was_sent(limits::PEER_BYTES_BURST);
        assert!(!peer.may_ask(), "what it was sent counts");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(peer.may_ask());
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_is_not_bounded() {
        let mut peer = Peer::new(1, true);
        peer.was_sent(2 * limits::PEER_BYTES_BURST);
        assert!((0..5000).all(|_| peer.may_gossip() && peer.may_ask()));
    }
}
