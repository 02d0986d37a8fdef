//! What happens on a node, told to those who watch: records from the catalogue's feed, blobs, peers.

use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use ggen_protocols::record::{Body, Record, Signed, Verified};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Shared;
use crate::Result;
use crate::registry::{Admitted, Catalogue};

/// Events that a watcher may be behind; who is further behind loses the oldest, and is told so.
const BEHIND_MAX: usize = 1024;
/// Changes that are read at a time: their records may have 256 KiB each.
const CHANGES_MAX: usize = 64;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The catalogue took a step.
    Record(RecordEvent),
    /// A blob is held that was not held before.
    Blob(BlobEvent),
    /// A peer came or went.
    Peer(PeerEvent),
}

/// One step of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordEvent {
    /// Counts steps on this node, from 1.
    pub position: u64,
    /// Whose namespace the record is of; nothing where it is not held.
    pub owner: Option<String>,
    /// The package that it speaks of, in the form that names are compared in; nothing if it speaks of none.
    pub name: Option<String>,
    /// The version that it speaks of, if it speaks of one.
    pub version: Option<String>,
    /// What the record is: `publish`, `state`, `genesis`, `acl`, `endorse` or `other`; `gone` where it is not held.
    pub kind: String,
}

/// A blob came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobEvent {
    /// Its BLAKE3 hash.
    #[schema(value_type = String)]
    pub blake3: ContentHash,
    /// Its length in bytes.
    pub size: u64,
}

/// A peer came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerEvent {
    /// Its id.
    pub peer: String,
    /// Whether it is connected now.
    pub up: bool,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// This happened.
    Event(Event),
    /// The watcher was too slow: it was not told of so many events.
    Lost(u64),
}

/// What happens from now on, for one watcher.
#[derive(Debug)]
pub struct Events {
    events: broadcast::Receiver<Event>,
    stop: CancellationToken,
}

impl Events {
    /// The next event; nothing once the node stops. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        let event = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            event = self.events.recv() => event,
        };
        match event {
            Ok(event) => Some(Told::Event(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Told::Lost(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where what happens is told, whether anybody watches or not.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    events: broadcast::Sender<Event>,
    stop: CancellationToken,
}

impl Teller {
    /// One that nobody watches yet, for as long as the node runs.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let events = broadcast::Sender::new(BEHIND_MAX);
        Self { events, stop }
    }

    pub(super) fn watch(&self) -> Events {
        Events {
            events: self.events.subscribe(),
            stop: self.stop.clone(),
        }
    }

    pub(super) fn blob(&self, blake3: ContentHash, size: u64) {
        self.tell(Event::Blob(BlobEvent { blake3, size }));
    }

    pub(super) fn peer(&self, peer: &PeerId, up: bool) {
        let peer = peer.to_string();
        self.tell(Event::Peer(PeerEvent { peer, up }));
    }

    fn tell(&self, event: Event) {
        // It says how many watch; nobody is fine.
        let _nobody = self.events.send(event);
    }
}

/// Tells of every change of the catalogue until the node stops. Nothing is read while nobody watches.
pub(super) async fn run(shared: Arc<Shared>) {
    let teller = &shared.teller;
    let mut latest = shared.catalogue.position();
    let mut since = *latest.borrow_and_update();
    loop {
        tokio::select! {
            biased;
            () = teller.stop.cancelled() => return,
            changed = latest.changed() => if changed.is_err() {
                return;
            },
        }
        let reached = *latest.borrow_and_update();
        while since < reached && teller.events.receiver_count() > 0 {
            let told = tokio::select! {
                biased;
                () = teller.stop.cancelled() => return,
                told = records(&*shared.catalogue, since, CHANGES_MAX) => told,
            };
            match told {
                Ok(told) if told.is_empty() => break,
                Ok(told) => {
                    for event in told {
                        since = event.position;
                        teller.tell(Event::Record(event));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "those who watch are not told of some records");
                    break;
                }
            }
        }
        since = since.max(reached);
    }
}

/// The first `limit` steps of the catalogue after a position, at most 64.
pub(super) async fn records(
    catalogue: &dyn Catalogue,
    since: u64,
    limit: usize,
) -> Result<Vec<RecordEvent>> {
    let changes = catalogue.changes(since, limit.min(CHANGES_MAX)).await?;
    let ids = changes.iter().map(|change| change.record).collect();
    let envelopes = catalogue.envelopes(ids).await?;
    let network = catalogue.network();
    let events = changes.into_iter().zip(envelopes).map(|(change, held)| {
        let signed = held.map(|envelope| {
            Signed::from_envelope(envelope).and_then(|signed| signed.trust_stored(network))
        });
        event(change, signed.and_then(Result::ok).as_ref())
    });
    Ok(events.collect())
}

fn event(change: Admitted, record: Option<&Verified<Record>>) -> RecordEvent {
    let (kind, version) = match record.map(|record| &record.content().body) {
        None => ("gone", None),
        Some(Body::Genesis(_)) => ("genesis", None),
        Some(Body::Acl(_)) => ("acl", None),
        Some(Body::Publish(publish)) => ("publish", Some(publish.version.clone())),
        Some(Body::State(state)) => ("state", state.version.clone()),
        Some(Body::Endorse(_)) => ("endorse", None),
        Some(_) => ("other", None),
    };
    let (owner, name) = match change.package {
        Some((owner, name)) => (Some(owner), Some(name.to_string())),
        None => (record.and_then(|record| record.namespace().ok()), None),
    };
    RecordEvent {
        position: change.position,
        owner: owner.map(|owner| owner.to_string()),
        name,
        version,
        kind: kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_events_and_is_told_how_many() {
        let stop = CancellationToken::new();
        let teller = Teller::new(stop.clone());
        teller.blob(ContentHash::blake3("before"), 0);
        let mut slow = teller.watch();
        for size in 1..=BEHIND_MAX as u64 + 5 {
            teller.blob(ContentHash::blake3("after"), size);
        }
        assert_eq!(slow.next().await, Some(Told::Lost(5)));
        let Some(Told::Event(Event::Blob(next))) = slow.next().await else {
            panic!("what is left is told in order");
        };
        assert_eq!(next.size, 6);
        stop.cancel();
        assert_eq!(slow.next().await, None, "the node stopped");
    }
}
