//! What jobs see of the network: questions to peers, who is connected, and blobs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use ggen_protocols::message::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::transfer::Transfer;

/// How long peers are given to say whether they hold a blob.
const HOLDS_DEADLINE: Duration = Duration::from_millis(500);
/// How long others are waited for once one said that it does.
const HEDGE: Duration = Duration::from_millis(20);

/// How many peers are asked how widely a blob is held: a sample that costs them little.
const AVAILABILITY_PEERS_MAX: usize = 16;
/// How long they are given.
const AVAILABILITY_DEADLINE: Duration = Duration::from_millis(1500);

/// Where a blob can be had at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Availability {
    /// Whether it is held here.
    pub held: bool,
    /// How many peers are connected.
    pub peers: usize,
    /// How many of them were asked: at most 16.
    pub asked: usize,
    /// How many of those answered in time.
    pub answered: usize,
    /// How many said that they hold it.
    pub holding: usize,
}

/// A question of a job, on its way to the loop that owns the network.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) peer: PeerId,
    pub(super) request: Request,
    /// Dropped if there is no answer.
    pub(super) reply: oneshot::Sender<Response>,
}

/// The network as jobs see it.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) peers: watch::Receiver<Arc<Vec<PeerId>>>,
    pub(super) transfer: Transfer,
}

impl Network {
    /// Asks a peer; nothing if it does not answer.
    pub(super) async fn ask(&self, peer: PeerId, request: Request) -> Option<Response> {
        let (reply, answer) = oneshot::channel();
        let question = Question {
            peer,
            request,
            reply,
        };
        self.questions.send(question).await.ok()?;
        answer.await.ok()
    }

    /// Asks some of the connected peers whether they hold a blob; `held` is for the caller to say.
    pub(super) async fn availability(&self, hash: &ContentHash) -> Availability {
        let peers = self.peers.borrow().clone();
        let mut asks: FuturesUnordered<_> = peers
            .iter()
            .take(AVAILABILITY_PEERS_MAX)
            .map(|peer| self.holds(*peer, hash))
            .collect();
        let mut seen = Availability {
            peers: peers.len(),
            asked: asks.len(),
            ..Availability::default()
        };
        let deadline = Instant::now() + AVAILABILITY_DEADLINE;
        while let Ok(Some(answer)) = timeout_at(deadline, asks.next()).await {
            seen.answered += usize::from(answer.is_some());
            seen.holding += usize::from(answer == Some(true));
        }
        seen
    }

    /// Whether a peer says that it holds a blob; nothing if it does not say.
    async fn holds(&self, peer: PeerId, hash: &ContentHash) -> Option<bool> {
        let request = Request::Holds(vec![ByteArray::new(*hash.as_bytes())]);
        match self.ask(peer, request).await {
            Some(Response::Holds(held)) => match held[..] {
                [held] => Some(held),
                _ => None,
            },
            _ => None,
        }
    }

    /// Who of the connected peers holds a blob, the fastest first, and how many were asked. Once one is found,
    /// others are waited for only shortly.
    pub(super) async fn providers(&self, hash: &ContentHash) -> (Vec<PeerId>, usize) {
        let peers = self.peers.borrow().clone();
        let mut asks: FuturesUnordered<_> = peers
            .iter()
            .map(|peer| async move {
                let holds = self.holds(*peer, hash).await;
                (holds == Some(true)).then_some(*peer)
            })
            .collect();
        let mut providers = Vec::new();
        let mut deadline = Instant::now() + HOLDS_DEADLINE;
        while let Ok(Some(answer)) = timeout_at(deadline, asks.next()).await {
            if let Some(peer) = answer {
                providers.push(peer);
                deadline = deadline.min(Instant::now() + HEDGE);
            }
        }
        (providers, peers.len())
    }
}
