//! Starting a node, and ending it in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ggen_protocols::reconcile::Reconciler;
use tokio::sync::{RwLock, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::actor::{Actor, Met, QUESTIONS_MAX, SHUTDOWN_GRACE, Start, commands};
use super::admit::{Door, system_clock};
use super::events::{self, Teller};
use super::network::Network;
use super::observe::Meters;
use super::swarm::Swarm;
use super::transfer::Transfer;
use super::{Config, Mirror, Node, NodeError, Shared, agent, audit, follow, mirror};
use crate::Result;
use crate::crypto::PrivateKey;
use crate::metrics::MetricsCollector;
use crate::registry::{Catalogue, Choices};
use crate::search::SearchIndex;
use crate::store::BlobStore;

/// What the parts besides the loop are given to end, once they were told to.
const PARTS_GRACE: Duration = Duration::from_secs(5);

/// What a node is made of.
#[derive(Debug)]
pub struct Builder {
    catalogue: Arc<dyn Catalogue>,
    store: Arc<dyn BlobStore>,
    config: Config,
    index: Option<Arc<dyn SearchIndex>>,
    choices: Option<Arc<dyn Choices>>,
    key: Option<PrivateKey>,
    met_note: Option<PathBuf>,
    also: Option<Arc<dyn MetricsCollector>>,
    clock: fn() -> u64,
}

/// The part of a node that ends it. Dropping it tells the node to stop, and waits for nothing.
#[derive(Debug)]
pub struct Running {
    stop: DropGuard,
    actor: JoinHandle<bool>,
    parts: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Builder {
    pub(super) fn new(
        catalogue: Arc<dyn Catalogue>,
        store: Arc<dyn BlobStore>,
        config: Config,
    ) -> Self {
        Self {
            catalogue,
            store,
            config,
            index: None,
            choices: None,
            key: None,
            met_note: None,
            also: None,
            clock: system_clock,
        }
    }

    /// Answers searches from this index, and keeps it up to date with the catalogue.
    #[must_use]
    pub fn search(mut self, index: Arc<dyn SearchIndex>) -> Self {
        self.index = Some(index);
        self
    }

    /// Keeps the decisions of its user here, and makes the pins that come of using it. They must be those of the
    /// catalogue.
    #[must_use]
    pub fn choices(mut self, choices: Arc<dyn Choices>) -> Self {
        self.choices = Some(choices);
        self
    }

    /// Joins the network under this key. Without it the node works on its own data only.
    #[must_use]
    pub fn transport(mut self, key: PrivateKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Remembers in this file that a peer was met: it is made when the first one is, and never removed. With it
    /// [`Status::caught_up`](super::Status::caught_up) holds beyond a restart.
    #[must_use]
    pub fn met_note(mut self, path: PathBuf) -> Self {
        self.met_note = Some(path);
        self
    }

    /// Shows on the page of [`Node::metrics`] what this collector has, too: the metrics of the program around the
    /// node. Those whose names begin as the node's own are left out.
    #[must_use]
    pub fn metrics(mut self, collector: Arc<dyn MetricsCollector>) -> Self {
        self.also = Some(collector);
        self
    }

    /// Reads the time (milliseconds since 1970) from here instead of from the system. Records dated more than
    /// ten minutes after it are not taken.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> u64) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the node; returns once it listens.
    ///
    /// # Errors
    /// [`NodeError::Listen`] if an address cannot be had, [`NodeError::Config`]; I/O if the note of
    /// [`Builder::met_note`] cannot be looked for.
    pub async fn spawn(self) -> Result<(Node, Running)> {
        let stop = CancellationToken::new();
        let meters = Arc::new(Meters::default());
        let shared = Arc::new(Shared {
            teller: Teller::new(stop.clone()),
            door: Door::new(self.catalogue.clone(), self.clock).counting(meters.clone()),
            meters,
            also: self.also,
            catalogue: self.catalogue,
            store: self.store,
            index: self.index,
            choices: self.choices,
            config: self.config,
            writing: RwLock::new(()),
            start: Instant::now(),
        });
        let met = Met {
            before: match &self.met_note {
                Some(note) => tokio::fs::try_exists(note).await?,
                None => false,
            },
            note: self.met_note,
        };
        // Listed before anything is taken: what is held now and has no record never gets one.
        let held = shared.store.list(None, usize::MAX).await?;
        let (start, peers) = match &self.key {
            Some(key) => join(&shared, key)
                .await
                .map(|(start, peers)| (Some(start), peers))?,
            None => (None, watch::channel(Arc::default()).1),
        };
        let network = start.as_ref().map(|start| start.network.clone());
        let wire = start.as_ref().map(|start| start.swarm.wire());
        let (commands, waiting) = commands();
        let actor = Actor::new(shared.clone(), waiting, start, met, stop.clone());
        let mut parts = Vec::new();
        let (applied, searchable) = watch::channel(0);
        if let Some(index) = &shared.index {
            let (catalogue, index) = (shared.catalogue.clone(), index.clone());
            parts.push(tokio::spawn(follow::follow(
                catalogue,
                index,
                applied,
                stop.clone(),
            )));
        }
        parts.push(tokio::spawn(events::run(shared.clone())));
        parts.push(tokio::spawn(clean_up(shared.clone(), held, stop.clone())));
        if shared.config.mirror == Mirror::All && self.key.is_some() {
            let mirror = mirror::run(shared.clone(), commands.clone(), peers, stop.clone());
            parts.push(tokio::spawn(mirror));
        }
        let running = Running {
            stop: stop.drop_guard(),
            actor: tokio::spawn(actor.run()),
            parts,
            shared: shared.clone(),
        };
        let node = Node {
            shared,
            commands,
            searchable,
            peer: self.key.map(|key| key.peer()),
            network,
            wire,
        };
        Ok((node, running))
    }
}

type Peers = watch::Receiver<Arc<Vec<ggen_protocols::id::PeerId>>>;

/// Opens the sockets of a node.
async fn join(shared: &Arc<Shared>, key: &PrivateKey) -> Result<(Start, Peers)> {
    let config = &shared.config;
    let network = shared.catalogue.network();
    let swarm = Swarm::start(key, config, network, &agent()).await?;
    let transfer = Transfer::start(key, config.listen.blobs, shared.store.clone()).await?;
    let (asks, questions) = mpsc::channel(QUESTIONS_MAX);
    let (connected, peers) = watch::channel(Arc::default());
    let start = Start {
        swarm,
        network: Network {
            questions: asks,
            peers: peers.clone(),
            transfer,
        },
        connected,
        questions,
        reconciler: Reconciler::new(shared.catalogue.root().await?, rand::random()),
    };
    Ok((start, peers))
}

async fn clean_up(
    shared: Arc<Shared>,
    held: Vec<ggen_protocols::hash::ContentHash>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = audit::clean_up(shared, held) => {}
    }
}

impl Running {
    /// Stops taking work, finishes what was accepted within a grace of 10 seconds, closes index and store.
    ///
    /// # Errors
    /// What closing them failed with.
    pub async fn stop(self) -> Result<()> {
        drop(self.stop);
        let finished = self.actor.await.unwrap_or(false);
        for part in self.parts {
            let abort = part.abort_handle();
            if timeout(PARTS_GRACE, part).await.is_err() {
                tracing::warn!("a part of the node did not end in time");
                abort.abort();
            }
        }
        if let Some(index) = &self.shared.index {
            index.flush().await?;
        }
        self.shared.store.close().await?;
        if finished {
            Ok(())
        } else {
            Err(NodeError::Grace(SHUTDOWN_GRACE).into())
        }
    }
}
