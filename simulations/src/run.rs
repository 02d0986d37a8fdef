//! Carries out a scenario: delivers what peers say, lets faults happen, and asks the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ggen_protocols::Moment;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, PeerId, RecordId};
use ggen_protocols::message::{Hello, Response};
use ggen_protocols::reconcile::fingerprint::{Branch, Root};
use ggen_protocols::reconcile::{Effect, Input, Outcome, Question, Ticket};
use ggen_protocols::record::{Record, Signed};

use crate::fault::{self, Fault};
use crate::oracle::{Oracle, Violation};
use crate::peer::{KeyedHash, Peer, lie};
use crate::publisher;
use crate::scenario::Scenario;
use crate::world::World;

/// How long a question is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a crash or split the other side notices, and how long after its end both dial again.
const NOTICE_MS: (u64, u64) = (0, 3000);
/// Messages in one run: more than that is a storm.
const MESSAGES_MAX: u64 = 2_000_000;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Questions asked.
    pub questions: u64,
    /// Bytes of questions and answers.
    pub bytes: u64,
    /// Records handed from peer to peer by reconciliation.
    pub pulled: u64,
    /// Meetings by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// When all honest peers were equal for good, in milliseconds after it became calm.
    pub converged_ms: u64,
    /// Hash over everything that happened, in order.
    pub trace: String,
}

#[derive(Debug, Clone)]
enum Event {
    Start(usize),
    Publish,
    Fault(Fault),
    Connect(usize, usize),
    Wake(usize, u64, Moment),
    Ask {
        from: usize,
        life: u64,
        to: usize,
        ticket: Ticket,
        question: Question,
    },
    Answer {
        to: usize,
        life: u64,
        from: usize,
        ticket: Ticket,
        response: Response,
    },
    Timeout {
        peer: usize,
        life: u64,
        ticket: Ticket,
    },
    Gossip {
        to: usize,
        from: usize,
        envelope: Bytes,
    },
    Gone {
        peer: usize,
        life: u64,
        other: usize,
    },
}

impl From<Fault> for Event {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World<Event>,
    peers: Vec<Peer>,
    links: BTreeSet<(usize, usize)>,
    connected: BTreeSet<(usize, usize)>,
    pending: BTreeSet<(usize, u64, Ticket)>,
    split: BTreeSet<usize>,
    oracle: Oracle,
    report: Report,
    published: u64,
    network: NetworkId,
}

/// Runs a scenario with a seed.
///
/// # Errors
/// The first [`Violation`] that the oracle finds.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Violation> {
    let mut run = Run::new(scenario, seed);
    let calm = Moment::default() + Duration::from_millis(scenario.calm_at_ms);
    let end = calm + Duration::from_millis(scenario.converged_within_ms);
    while let Some(event) = run.world.next(calm) {
        run.step(event)?;
    }
    run.split.clear();
    run.dial_missing();
    while !run.equal() || run.world.now() == calm {
        let Some(event) = run.world.next(end) else {
            break;
        };
        run.step(event)?;
    }
    run.report.converged_ms = run.world.now().since(calm).as_millis() as u64;
    run.finish()
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let mut world = World::new(seed);
        let all = scenario.peers + scenario.liars;
        let network = NetworkId::named("simulation");
        let mut run = Self {
            scenario,
            peers: (0..all).map(|_| Peer::new(BTreeMap::new())).collect(),
            links: BTreeSet::new(),
            connected: BTreeSet::new(),
            pending: BTreeSet::new(),
            split: BTreeSet::new(),
            oracle: Oracle::new(),
            report: Report::default(),
            published: 0,
            network,
            world: World::new(seed),
        };
        for _ in 0..scenario.history {
            let (id, envelope) = run.new_record();
            run.peers[0].store(id, envelope);
        }
        for peer in 0..all {
            let at = if peer == 0 {
                Duration::ZERO
            } else {
                world.between(scenario.start_ms.0, scenario.start_ms.1)
            };
            world.plan(Moment::default() + at, Event::Start(peer));
            // Everybody dials its neighbour, so that the swarm hangs together, and some others.
            run.links.insert(link(peer, (peer + 1) % all));
            for _ in 1..scenario.links {
                run.links
                    .insert(link(peer, world.below(all as u64) as usize));
            }
        }
        run.links.retain(|(a, b)| a != b);
        for _ in 0..scenario.published {
            let at = world.between(0, scenario.calm_at_ms);
            world.plan(Moment::default() + at, Event::Publish);
        }
        fault::plan(scenario, &mut world);
        run.world = world;
        run
    }

    /// A new record, which the oracle knows of from now on.
    fn new_record(&mut self) -> (RecordId, Bytes) {
        self.published += 1;
        let (id, envelope) = publisher::record(self.network, self.published);
        self.oracle.published(id, envelope.clone());
        (id, envelope)
    }

    fn step(&mut self, event: Event) -> Result<(), Violation> {
        self.note(&event);
        match event {
            Event::Start(peer) => self.start(peer),
            Event::Publish => self.publish()?,
            Event::Fault(fault) => self.fault(fault),
            Event::Connect(a, b) => self.connect(a, b)?,
            Event::Wake(peer, life, at) => {
                if self.lives(peer, life) && self.peers[peer].wake_at == Some(at) {
                    self.peers[peer].wake_at = None;
                    self.input(peer, Input::Tick)?;
                }
            }
            Event::Ask {
                from,
                life,
                to,
                ticket,
                question,
            } => self.asked(from, life, to, ticket, &question),
            Event::Answer {
                to,
                life,
                from,
                ticket,
                response,
            } => {
                let reaches = self.connected.contains(&link(to, from)) && self.lives(to, life);
                if reaches && self.pending.remove(&(to, life, ticket)) {
                    self.input(to, Input::Answered { ticket, response })?;
                }
            }
            Event::Timeout { peer, life, ticket } => {
                if self.lives(peer, life) && self.pending.remove(&(peer, life, ticket)) {
                    self.input(peer, Input::Failed(ticket))?;
                }
            }
            Event::Gossip { to, from, envelope } => self.gossiped(to, from, envelope)?,
            Event::Gone { peer, life, other } => {
                if self.lives(peer, life) && !self.connected.contains(&link(peer, other)) {
                    self.input(peer, Input::Disconnected(peer_id(other)))?;
                }
            }
        }
        self.oracle.messages(self.report.questions, MESSAGES_MAX)
    }

    /// Chains what happens now onto the trace: enough of it that two different runs differ.
    fn note(&mut self, event: &Event) {
        let what = match event {
            Event::Answer {
                to,
                from,
                ticket,
                response,
                ..
            } => {
                format!("answer {from} {to} {ticket:?} {}", encoded_len(response))
            }
            Event::Gossip { to, from, envelope } => {
                format!("gossip {from} {to} {}", envelope.len())
            }
            other => format!("{other:?}"),
        };
        let step = format!("{} {:?} {what}", self.report.trace, self.world.now());
        self.report.trace = ContentHash::blake3(step).to_hex();
    }

    fn lives(&self, peer: usize, life: u64) -> bool {
        self.peers[peer].is_up() && self.peers[peer].life == life
    }

    fn is_liar(&self, peer: usize) -> bool {
        peer >= self.scenario.peers
    }

    fn start(&mut self, peer: usize) {
        if self.peers[peer].is_up() {
            return;
        }
        let seed = self.world.below(u64::MAX);
        self.peers[peer].start(seed);
        self.dial(peer);
    }

    /// Dials everybody whom a peer is linked to, soon.
    fn dial(&mut self, peer: usize) {
        let links: Vec<_> = self
            .links
            .iter()
            .filter(|(a, b)| *a == peer || *b == peer)
            .copied()
            .collect();
        for (a, b) in links {
            let delay = self.world.between(NOTICE_MS.0, NOTICE_MS.1);
            self.world.after(delay, Event::Connect(a, b));
        }
    }

    fn dial_missing(&mut self) {
        for peer in 0..self.peers.len() {
            self.start(peer);
            self.dial(peer);
        }
    }

    fn connect(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        let together = self.split.contains(&a) == self.split.contains(&b);
        let up = self.peers[a].is_up() && self.peers[b].is_up();
        if together && up && self.connected.insert(link(a, b)) {
            self.input(a, Input::Connected(peer_id(b)))?;
            self.input(b, Input::Connected(peer_id(a)))?;
        }
        Ok(())
    }

    fn cut(&mut self, a: usize, b: usize) {
        if self.connected.remove(&link(a, b)) {
            for (peer, other) in [(a, b), (b, a)] {
                let life = self.peers[peer].life;
                self.world
                    .after(Duration::ZERO, Event::Gone { peer, life, other });
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(peer) => {
                self.peers[peer].crash();
                for other in 0..self.peers.len() {
                    self.cut(peer, other);
                }
            }
            Fault::Restart(peer) => self.start(peer),
            Fault::Split(side) => {
                self.split = side;
                let across: Vec<_> = self.connected.iter().copied().collect();
                for (a, b) in across {
                    if self.split.contains(&a) != self.split.contains(&b) {
                        self.cut(a, b);
                    }
                }
            }
            Fault::Heal => {
                self.split.clear();
                for peer in 0..self.peers.len() {
                    self.dial(peer);
                }
            }
        }
    }

    fn publish(&mut self) -> Result<(), Violation> {
        let up: Vec<usize> = (0..self.scenario.peers)
            .filter(|peer| self.peers[*peer].is_up())
            .collect();
        if up.is_empty() {
            return Ok(());
        }
        let peer = up[self.world.below(up.len() as u64) as usize];
        let (id, envelope) = self.new_record();
        self.peers[peer].store(id, envelope.clone());
        self.gossip(peer, peer, &envelope);
        let own = self.peers[peer].root();
        self.input(peer, Input::Own(own))
    }

    /// Passes an announcement on to all neighbours but the one that it came from; liars pass nothing on.
    fn gossip(&mut self, by: usize, from: usize, envelope: &Bytes) {
        if self.is_liar(by) {
            return;
        }
        let neighbours: Vec<_> = self
            .connected
            .iter()
            .filter_map(|(a, b)| other(by, *a, *b))
            .collect();
        for to in neighbours.into_iter().filter(|to| *to != from) {
            if !self.world.chance(self.scenario.loss_per_mille) {
                let delay = self.latency();
                let envelope = envelope.clone();
                self.world.after(
                    delay,
                    Event::Gossip {
                        to,
                        from: by,
                        envelope,
                    },
                );
            }
        }
    }

    fn gossiped(&mut self, to: usize, from: usize, envelope: Bytes) -> Result<(), Violation> {
        if !self.connected.contains(&link(to, from)) {
            return Ok(());
        }
        let Ok(signed) = Signed::<Record>::from_envelope(envelope.clone()) else {
            return Ok(());
        };
        let Ok(record) = signed.verify(&KeyedHash, self.network) else {
            return Ok(());
        };
        if self.peers[to].store(record.id(), envelope.clone()) {
            self.oracle.stored(to, record.id(), Some(&envelope))?;
            self.gossip(to, from, &envelope);
            let own = self.peers[to].root();
            self.input(to, Input::Own(own))?;
        }
        Ok(())
    }

    fn latency(&mut self) -> Duration {
        let (least, most) = self.scenario.latency_ms;
        self.world.between(least, most)
    }

    fn asked(&mut self, from: usize, life: u64, to: usize, ticket: Ticket, question: &Question) {
        if !self.connected.contains(&link(from, to)) || !self.peers[to].is_up() {
            return;
        }
        let root = self.peers[to].root();
        let hello = |root| Response::Hello(self.hello(root));
        let mut response = self.peers[to]
            .answer(question)
            .unwrap_or_else(|| hello(root));
        if self.is_liar(to) && self.world.chance(600) {
            let way = self.world.below(u64::MAX);
            response = lie(response, way);
        }
        self.report.bytes += encoded_len(&response);
        if !self.world.chance(self.scenario.loss_per_mille) {
            let delay = self.latency();
            self.world.after(
                delay,
                Event::Answer {
                    to: from,
                    life,
                    from: to,
                    ticket,
                    response,
                },
            );
        }
    }

    fn hello(&self, root: Root) -> Hello {
        Hello {
            network: self.network,
            root,
            time_ms: 0,
            blob_addresses: Vec::new(),
            agent: "simulation".to_owned(),
        }
    }

    fn input(&mut self, peer: usize, input: Input) -> Result<(), Violation> {
        let now = self.world.now();
        let Some(reconciler) = &mut self.peers[peer].reconciler else {
            return Ok(());
        };
        let effects = reconciler.handle(now, input);
        for effect in effects {
            self.effect(peer, effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, peer: usize, effect: Effect) -> Result<(), Violation> {
        let life = self.peers[peer].life;
        match effect {
            Effect::Ask {
                peer: to,
                ticket,
                question,
            } => {
                self.report.questions += 1;
                self.pending.insert((peer, life, ticket));
                self.world
                    .after(ANSWER_TIMEOUT, Event::Timeout { peer, life, ticket });
                if !self.world.chance(self.scenario.loss_per_mille) {
                    let delay = self.latency();
                    let to = index(&to);
                    self.world.after(
                        delay,
                        Event::Ask {
                            from: peer,
                            life,
                            to,
                            ticket,
                            question,
                        },
                    );
                }
            }
            Effect::LookUp { ticket, lookup } => {
                let found = self.peers[peer].look_up(&lookup);
                self.input(peer, Input::LookedUp { ticket, found })?;
            }
            Effect::Admit {
                peer: _,
                ticket,
                envelopes,
                expected,
            } => {
                let admitted = self.peers[peer].admit(self.network, &expected, envelopes);
                let taken = match admitted {
                    Ok((new, taken)) => {
                        self.report.pulled += new.len() as u64;
                        for id in new {
                            self.oracle
                                .stored(peer, id, self.peers[peer].records.get(&id))?;
                        }
                        Ok(taken)
                    }
                    Err(lie) => Err(lie),
                };
                let own = self.peers[peer].root();
                self.input(peer, Input::Admitted { ticket, taken, own })?;
            }
            Effect::Finished {
                peer: whom,
                outcome,
            } => {
                self.oracle
                    .blames_only_liars(peer, index(&whom), self.scenario.peers, &outcome)?;
                *self
                    .report
                    .outcomes
                    .entry(outcome_name(&outcome))
                    .or_default() += 1;
            }
            Effect::WakeAt(at) => {
                self.peers[peer].wake_at = Some(at);
                self.world.plan(at, Event::Wake(peer, life, at));
            }
        }
        Ok(())
    }

    /// Whether all honest peers know everything that was published.
    fn equal(&mut self) -> bool {
        let wanted = self.oracle.everything();
        (0..self.scenario.peers).all(|peer| self.peers[peer].records.len() == wanted)
    }

    fn finish(mut self) -> Result<Report, Violation> {
        for peer in 0..self.scenario.peers {
            let root = self.peers[peer].root();
            self.oracle
                .knows_everything(peer, &self.peers[peer].records, root)?;
        }
        Ok(self.report)
    }
}

/// About how many bytes an answer has on the wire; encoding each would take most of a run's time.
fn encoded_len(response: &Response) -> u64 {
    let bytes = match response {
        Response::Page(page) => page
            .envelopes
            .iter()
            .map(|envelope| envelope.len() + 3)
            .sum(),
        Response::Records(records) => records
            .iter()
            .flatten()
            .map(|envelope| envelope.len() + 3)
            .sum(),
        Response::Branches(branches) => branches.iter().map(branch_len).sum(),
        _ => 64,
    };
    bytes as u64
}

fn branch_len(branch: &Branch) -> usize {
    match branch {
        Branch::Bucket(ids) => ids.len() * 34,
        Branch::Inner(children) => children.len() * 37,
    }
}

fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Lied(lie) => format!("lied: {lie}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn link(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn other(peer: usize, a: usize, b: usize) -> Option<usize> {
    match peer {
        _ if peer == a => Some(b),
        _ if peer == b => Some(a),
        _ => None,
    }
}

fn peer_id(peer: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(peer as u64).to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn index(peer: &PeerId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&peer.as_bytes()[..8]);
    u64::from_be_bytes(bytes) as usize
}
