//! What jobs see of the network: questions to peers, who is connected, and blobs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use ggen_protocols::message::{Request, Response};
use serde_bytes::ByteArray;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::transfer::Transfer;

/// How long peers are given to say whether they hold a blob.
const HOLDS_DEADLINE: Duration = Duration::from_millis(500);
/// How long others are waited for once one said that it does.
const HEDGE: Duration = Duration::from_millis(20);

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

    /// Who of the connected peers holds a blob, the fastest first, and how many were asked. Once one is found,
    /// others are waited for only shortly.
    pub(super) async fn providers(&self, hash: &ContentHash) -> (Vec<PeerId>, usize) {
        let peers = self.peers.borrow().clone();
        let mut asks: FuturesUnordered<_> = peers
            .iter()
            .map(|peer| async move {
                let request = Request::Holds(vec![ByteArray::new(*hash.as_bytes())]);
                match self.ask(*peer, request).await {
                    Some(Response::Holds(held)) if held == [true] => Some(*peer),
                    _ => None,
                }
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
