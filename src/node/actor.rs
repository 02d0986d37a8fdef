//! The one loop: owns the network and the reconciler, starts jobs, takes their results.
//!
//! It never awaits a peer, a disk or a reply. What takes time is a job, and every kind of job has a bound; with
//! all jobs of a kind taken commands of that kind wait, with all answers to peers taken peers are told to come again.
//! The network is polled always, for jobs may wait for it.

mod meet;
mod peer;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ggen_protocols::Moment;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, PeerId, RecordId};
use ggen_protocols::message::{Announcement, Response};
use ggen_protocols::reconcile::{Input, Reconciler, Ticket};
use ggen_protocols::record::{Record, Verified};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admit::Gossiped;
use super::caught_up::{CaughtUp, Meetings};
use super::fetch::{self, Blob, State};
use super::network::{Network, Question};
use super::publish::{self, Staging};
use super::swarm::{AskId, Heard, Judgement, Reply, Swarm};
use super::sync;
use super::{NodeError, PeerStatus, Progress, Published, Shared};
use crate::Result;
use peer::Peer;

/// How long accepted work is given to finish when the node stops.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Commands of one kind that wait for the loop.
const COMMANDS_MAX: usize = 64;
/// Questions of jobs that wait for the loop.
pub(super) const QUESTIONS_MAX: usize = 256;
/// Publications and other records of users in work.
const WRITES_MAX: usize = 16;
/// Blobs being brought here.
const FETCHES_MAX: usize = 64;
/// Answers to peers in work, and how many of one peer.
const ANSWERS_MAX: usize = 64;
const ANSWERS_PER_PEER_MAX: usize = 8;
/// Batches of gossip in work, and messages in one: many share a commit.
const BATCHES_MAX: usize = 2;
const BATCH_MESSAGES_MAX: usize = 256;
/// Gossiped messages that wait, and their bytes; beyond, they are left to reconciliation.
const HEARD_MAX: usize = 4096;
const HEARD_BYTES_MAX: usize = 16 << 20;
/// Large records being asked for.
const PULLS_MAX: usize = 8;
/// What a peer is told to wait when there are too many questions, in milliseconds.
const BUSY_MS: u64 = 200;
/// What a peer is told to wait that asks more than it may, in milliseconds.
const RATE_PAUSE_MS: u64 = 5_000;
/// How often bans are looked through.
const BAN_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A record of a user on its way to the loop.
#[derive(Debug)]
pub(super) enum Write {
    Publish {
        staging: Box<Staging>,
        reply: oneshot::Sender<Result<Published>>,
    },
    Submit {
        record: Box<Verified<Record>>,
        reply: oneshot::Sender<Result<RecordId>>,
    },
}

/// The wish for a blob, on its way to the loop.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) blob: Box<Blob>,
    pub(super) reply: oneshot::Sender<fetch::Running>,
}

/// What the loop knows of the network.
#[derive(Debug)]
pub(super) struct Seen {
    /// The connected peers.
    pub(super) peers: Vec<PeerStatus>,
    /// Where this node listens.
    pub(super) addresses: Vec<String>,
    pub(super) caught_up: CaughtUp,
    pub(super) queues: Vec<Queue>,
    /// Bytes of blobs sent to peers, proofs included.
    pub(super) blob_bytes_sent: u64,
}

/// Work of one kind that waits or is being done.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: &'static str,
    pub(super) length: usize,
    pub(super) capacity: usize,
}

/// How others reach the loop. Each kind of command has a way of its own, so that none waits for room of another.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) writes: mpsc::Sender<Write>,
    pub(super) fetches: mpsc::Sender<Fetch>,
    pub(super) looks: mpsc::Sender<oneshot::Sender<Seen>>,
}

/// Where the loop takes commands from.
#[derive(Debug)]
pub(super) struct Waiting {
    writes: mpsc::Receiver<Write>,
    fetches: mpsc::Receiver<Fetch>,
    looks: mpsc::Receiver<oneshot::Sender<Seen>>,
}

/// Both ends of the ways to the loop.
pub(super) fn commands() -> (Commands, Waiting) {
    let (writes, waiting_writes) = mpsc::channel(COMMANDS_MAX);
    let (fetches, waiting_fetches) = mpsc::channel(COMMANDS_MAX);
    let (looks, waiting_looks) = mpsc::channel(COMMANDS_MAX);
    let commands = Commands {
        writes,
        fetches,
        looks,
    };
    let waiting = Waiting {
        writes: waiting_writes,
        fetches: waiting_fetches,
        looks: waiting_looks,
    };
    (commands, waiting)
}

/// What a job ended with.
#[derive(Debug)]
enum Done {
    Published {
        result: Box<Result<(Published, Option<Verified<Record>>)>>,
        reply: oneshot::Sender<Result<Published>>,
    },
    Submitted {
        record: Box<Verified<Record>>,
        result: Result<bool>,
        reply: oneshot::Sender<Result<RecordId>>,
    },
    Fetched(ContentHash),
    Answered(PeerId, Reply, Response),
    Gossip(Vec<(Heard, Gossiped)>),
    Pulled(Heard, Judgement),
    /// What the reconciler waits for.
    Sync(Input),
    /// The heads of a peer were asked for; whether it told all of them.
    Heads(PeerId, bool),
    /// It was noted that a peer was met.
    Noted,
    /// The own root, read after a change.
    Root(Option<Input>),
}

/// Where an answer of a peer goes.
#[derive(Debug)]
enum Purpose {
    Sync(PeerId, Ticket),
    Job(oneshot::Sender<Response>),
}

/// The loop's own data.
#[derive(Debug)]
pub(super) struct Actor {
    shared: Arc<Shared>,
    waiting: Waiting,
    jobs: JoinSet<(Done, Option<OwnedSemaphorePermit>)>,
    /// Which of the jobs the reconciler waits for, in case one panics.
    tickets: HashMap<task::Id, Ticket>,
    writes: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    fetching: HashMap<ContentHash, fetch::Running>,
    meetings: Meetings,
    /// Where it is noted that a peer was met.
    met_note: Option<PathBuf>,
    net: Option<Net>,
    stop: CancellationToken,
}

/// The loop's data about the network.
#[derive(Debug)]
struct Net {
    swarm: Swarm,
    reconciler: Reconciler,
    network: Network,
    own_network: NetworkId,
    blob_addresses: Vec<String>,
    /// Told of everybody who is connected.
    connected: watch::Sender<Arc<Vec<PeerId>>>,
    questions: mpsc::Receiver<Question>,
    pending: HashMap<AskId, Purpose>,
    peers: HashMap<PeerId, Peer>,
    answers: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
    heard: VecDeque<Heard>,
    heard_bytes: usize,
    position: watch::Receiver<u64>,
    reading_root: bool,
    start: Instant,
    wake_at: Option<Instant>,
    bans: tokio::time::Interval,
}

/// Whether this node has met a peer before, and where that is noted.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) before: bool,
    pub(super) note: Option<PathBuf>,
}

/// What the network needs to be started with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) swarm: Swarm,
    pub(super) network: Network,
    pub(super) connected: watch::Sender<Arc<Vec<PeerId>>>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) reconciler: Reconciler,
}

impl Actor {
    pub(super) fn new(
        shared: Arc<Shared>,
        waiting: Waiting,
        start: Option<Start>,
        met: Met,
        stop: CancellationToken,
    ) -> Self {
        let position = shared.catalogue.position();
        let own_network = shared.catalogue.network();
        let net = start.map(|start| Net {
            own_network,
            blob_addresses: start
                .network
                .transfer
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            swarm: start.swarm,
            reconciler: start.reconciler,
            network: start.network,
            connected: start.connected,
            questions: start.questions,
            pending: HashMap::new(),
            peers: HashMap::new(),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
            batches: Arc::new(Semaphore::new(BATCHES_MAX)),
            pulls: Arc::new(Semaphore::new(PULLS_MAX)),
            heard: VecDeque::new(),
            heard_bytes: 0,
            position,
            reading_root: false,
            start: Instant::now(),
            wake_at: None,
            bans: tokio::time::interval(BAN_CHECK_INTERVAL),
        });
        Self {
            shared,
            waiting,
            jobs: JoinSet::new(),
            tickets: HashMap::new(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            fetching: HashMap::new(),
            meetings: Meetings::new(met.before),
            met_note: met.note,
            net,
            stop,
        }
    }

    /// Runs until the node stops; false if accepted work was not finished in time.
    pub(super) async fn run(mut self) -> bool {
        while self.step().await {}
        let finished = self.finish_writes().await;
        if let Some(net) = self.net.take() {
            net.network.transfer.stop().await;
        }
        self.jobs.shutdown().await;
        finished
    }

    /// One turn; false once the node is to stop.
    async fn step(&mut self) -> bool {
        let may_write = self.writes.available_permits() > 0;
        let may_fetch = self.fetches.available_permits() > 0;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            Some(done) = self.jobs.join_next_with_id() => self.job_ended(done),
            Some(look) = self.waiting.looks.recv() => {
                // Who asked and went away wants no answer.
                let _gone = look.send(self.seen());
            }
            Some(write) = self.waiting.writes.recv(), if may_write => self.write(write),
            Some(fetch) = self.waiting.fetches.recv(), if may_fetch => self.fetch(fetch),
            happened = meet::next(&mut self.net) => self.react(happened),
        }
        true
    }

    /// Lets publications that were accepted come to their end.
    async fn finish_writes(&mut self) -> bool {
        self.waiting.writes.close();
        self.waiting.fetches.close();
        self.waiting.looks.close();
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        while self.writes.available_permits() < WRITES_MAX {
            match timeout_at(deadline, self.jobs.join_next_with_id()).await {
                Ok(Some(done)) => self.job_ended(done),
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        true
    }

    fn write(&mut self, write: Write) {
        let shared = self.shared.clone();
        match write {
            Write::Publish { staging, reply } => {
                let permit = self.writes.clone().try_acquire_owned().ok();
                self.jobs.spawn(async move {
                    let result = Box::new(publish::finish(shared, *staging).await);
                    (Done::Published { result, reply }, permit)
                });
            }
            Write::Submit { record, reply } => {
                let permit = self.writes.clone().try_acquire_owned().ok();
                self.jobs.spawn(async move {
                    let result = publish::submit(shared, record.as_ref().clone()).await;
                    let done = Done::Submitted {
                        record,
                        result,
                        reply,
                    };
                    (done, permit)
                });
            }
        }
    }

    /// Starts to bring a blob, or tells of the job that does so already.
    fn fetch(&mut self, Fetch { blob, reply }: Fetch) {
        let running = match self.fetching.get(&blob.hash) {
            Some(running) => running.clone(),
            None => {
                let permit = self.fetches.clone().try_acquire_owned().ok();
                let begun = State::Running(Progress {
                    bytes: 0,
                    size: blob.size,
                });
                let (state, watched) = watch::channel(begun);
                let running = fetch::Running {
                    record: blob.release.record,
                    state: watched,
                };
                self.fetching.insert(blob.hash, running.clone());
                let shared = self.shared.clone();
                let network = self.net.as_ref().map(|net| net.network.clone());
                self.jobs.spawn(async move {
                    let hash = blob.hash;
                    fetch::bring(shared, network, *blob, state).await;
                    (Done::Fetched(hash), permit)
                });
                running
            }
        };
        // The job goes on for the mirror's and others' sake.
        let _gone = reply.send(running);
    }

    fn job_ended(
        &mut self,
        ended: Result<(task::Id, (Done, Option<OwnedSemaphorePermit>)), task::JoinError>,
    ) {
        match ended {
            Ok((id, (done, permit))) => {
                self.tickets.remove(&id);
                drop(permit);
                self.finish(done);
            }
            Err(error) => {
                tracing::error!(%error, "a job of the node failed; this is a bug, please report it");
                self.fetching
                    .retain(|_, running| running.state.has_changed().is_ok());
                if let Some(ticket) = self.tickets.remove(&error.id()) {
                    self.reconcile(Input::Failed(ticket));
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Published { result, reply } => {
                let answer = result.map(|(published, record)| {
                    if let Some(record) = record {
                        self.announce(&record);
                    }
                    published
                });
                // Who did not wait for the answer has published all the same.
                let _gone = reply.send(answer);
            }
            Done::Submitted {
                record,
                result,
                reply,
            } => {
                let answer = result.map(|new| {
                    if new {
                        self.announce(&record);
                    }
                    record.id()
                });
                let _gone = reply.send(answer);
            }
            Done::Fetched(hash) => {
                self.fetching.remove(&hash);
            }
            Done::Answered(peer, reply, response) => {
                if let Some(net) = &mut self.net {
                    if let Some(peer) = net.peers.get_mut(&peer) {
                        peer.was_sent(sync::size(&response));
                    }
                    net.swarm.answer(reply, response);
                }
            }
            Done::Gossip(judged) => self.gossip_judged(judged),
            Done::Pulled(heard, judgement) => self.judge(&heard, judgement),
            Done::Sync(input) => self.reconcile(input),
            Done::Heads(peer, told) => {
                let peers = self.net.as_mut().map(|net| &mut net.peers);
                if let Some(one) = peers.and_then(|peers| peers.get_mut(&peer)) {
                    // Of one that did not, they are asked for after the next round.
                    one.told_heads = told;
                }
            }
            Done::Noted => {}
            Done::Root(input) => {
                if let Some(net) = &mut self.net {
                    net.reading_root = false;
                }
                if let Some(input) = input {
                    self.reconcile(input);
                }
            }
        }
    }

    fn announce(&mut self, record: &Verified<Record>) {
        if let Some(net) = &mut self.net {
            let announcement = Announcement::of(record.id(), record.envelope());
            net.swarm.announce(&announcement);
        }
    }

    fn seen(&self) -> Seen {
        let Some(net) = &self.net else {
            return Seen {
                peers: Vec::new(),
                addresses: Vec::new(),
                caught_up: self.meetings.caught_up(std::iter::empty()),
                queues: self.queues(),
                blob_bytes_sent: 0,
            };
        };
        let served = net.network.transfer.served();
        let peers = net
            .swarm
            .peers()
            .iter()
            .map(|(peer, connected)| PeerStatus {
                peer: peer.to_string(),
                addresses: connected.addresses(),
                agent: connected.agent.clone(),
                rtt_ms: connected
                    .rtt
                    .map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
                root: net.reconciler.told(peer).map(|root| root.to_hex()),
                in_sync: net.peers.get(peer).is_some_and(|peer| peer.in_sync),
                sent_bytes: served.get(peer).copied().unwrap_or(0),
            });
        Seen {
            peers: peers.collect(),
            addresses: net.swarm.addresses(),
            caught_up: self.meetings.caught_up(net.swarm.configured()),
            queues: self.queues(),
            blob_bytes_sent: net.network.transfer.sent_bytes(),
        }
    }

    fn queues(&self) -> Vec<Queue> {
        let queue = |name, length, capacity| Queue {
            name,
            length,
            capacity,
        };
        let taken = |name, room: &Semaphore, capacity| {
            queue(name, capacity - room.available_permits(), capacity)
        };
        let mut queues = vec![
            taken("writes", &self.writes, WRITES_MAX),
            taken("fetches", &self.fetches, FETCHES_MAX),
        ];
        if let Some(net) = &self.net {
            queues.extend([
                queue("heard", net.heard.len(), HEARD_MAX),
                queue("heard_bytes", net.heard_bytes, HEARD_BYTES_MAX),
                taken("answers", &net.answers, ANSWERS_MAX),
                taken("gossip_batches", &net.batches, BATCHES_MAX),
                taken("large_records", &net.pulls, PULLS_MAX),
                queue("questions", net.questions.len(), QUESTIONS_MAX),
            ]);
        }
        queues
    }
}

impl Net {
    fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }
}

/// The error of a caller whose node is gone.
pub(super) fn stopped<E>(_: E) -> NodeError {
    NodeError::Stopped
}
