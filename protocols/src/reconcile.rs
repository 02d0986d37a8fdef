//! Anti-entropy between two catalogues: decides what to ask of which peer, and when to stop believing it.
//!
//! Each side pulls for itself. A meeting begins with the roots. If they are equal, nothing follows. If the peer
//! knows much more, whole id ranges are paged from up to three peers at once. Otherwise the two Merkle
//! trees are compared from the root down, wherever they differ, and the ids found missing are asked for.
//!
//! The caller carries out [`Effect`]s and brings back what came of them as [`Input`]s. Every [`Effect`] with a
//! [`Ticket`] is followed by one input with that ticket, be it [`Input::Failed`]; a peer's tickets are
//! void once it is [`Input::Disconnected`].

mod check;
mod descent;
pub mod fingerprint;
mod haul;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Moment;
use crate::id::{PeerId, RecordId};
use crate::message::Response;
use crate::reconcile::fingerprint::{Prefix, Root};

pub use check::{Expected, Lie};
pub use terms::{Effect, Found, Input, Lookup, Outcome, Question, Taken, Ticket};

/// How long two peers that agree leave each other alone, before jitter of a quarter.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// How long after a change of the own catalogue peers are greeted: gossip should have come to rest by then.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How long a peer that lied is left alone.
pub const PENALTY: Duration = Duration::from_secs(600);
/// First pause after a failure; it doubles up to [`INTERVAL`].
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
/// Peers that the machine deals with: more than the connections that a node allows.
pub const PEERS_MAX: usize = 256;
/// Peers whose trees are compared, and peers that are paged from, at once.
pub const PULLS_MAX: usize = 3;
/// Questions that one peer is asked at once.
pub const ASKS_PER_PEER_MAX: usize = 4;
/// How many more records a peer must know, in number and in per cent of its own, to be paged from.
const FAR_BEHIND: (u64, u64) = (256, 5);
/// How often a peer that is far behind is left to pull before its tree is looked at all the same.
const DEFERRALS_MAX: u32 = 30;
/// "Busy" in a row before a peer is left for a while.
const BUSY_MAX: u32 = 10;
/// Questions in a row that may come to nothing before a peer is left for a while.
const LOST_MAX: u32 = 3;
/// Shortest and longest pause that a busy peer is given, whatever it asks for.
const BUSY_PAUSE: (u64, u64) = (50, 5_000);

/// What is known of a peer.
#[derive(Debug)]
struct Peer {
    told: Option<Root>,
    greet_at: Moment,
    /// The own root that it was told last.
    shown: Option<Root>,
    /// A greeting is under way.
    greeting: bool,
    failures: u32,
    busy: u32,
    /// Questions in a row that came to nothing.
    lost: u32,
    deferrals: u32,
    /// It was paged from to the end since both were last equal; now trees are compared.
    hauled: bool,
    /// It differs, and waits for its turn.
    waiting: bool,
    /// Where its tree (first) and ours (second) differ and a comparison brought nothing, until that is forgotten.
    barren: BTreeMap<Prefix, (Root, Root)>,
    barren_until: Moment,
}

/// What a ticket stands for.
#[derive(Debug)]
enum Task {
    Greet(PeerId),
    Descent(PeerId, descent::Step),
    Haul(PeerId, haul::Step),
}

impl Task {
    fn peer(&self) -> PeerId {
        match self {
            Self::Greet(peer) | Self::Descent(peer, _) | Self::Haul(peer, _) => *peer,
        }
    }
}

/// Reconciles one catalogue with every connected peer.
///
/// Memory is bounded: [`PEERS_MAX`] peers, [`PULLS_MAX`] trees in comparison, each with a bounded number of
/// places and ids, and [`ASKS_PER_PEER_MAX`] answers of each peer pulled from.
#[derive(Debug)]
pub struct Reconciler {
    own: Root,
    peers: BTreeMap<PeerId, Peer>,
    tasks: BTreeMap<Ticket, Task>,
    descents: BTreeMap<PeerId, descent::Descent>,
    /// Ids that some descent is about to fetch, so that no other does.
    wanted: BTreeSet<RecordId>,
    haul: Option<haul::Haul>,
    tickets: u64,
    wake_at: Option<Moment>,
    random: ChaCha8Rng,
}

impl Reconciler {
    /// Begins with a catalogue of this root. `seed` only spreads the times of meetings.
    pub fn new(own: Root, seed: u64) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            descents: BTreeMap::new(),
            wanted: BTreeSet::new(),
            haul: None,
            tickets: 0,
            wake_at: None,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The own root, as last told.
    pub fn own(&self) -> Root {
        self.own
    }

    /// The root that a peer told last.
    pub fn told(&self, peer: &PeerId) -> Option<Root> {
        self.peers.get(peer)?.told
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connected(peer) => self.connected(now, peer),
            Input::Disconnected(peer) => self.disconnected(now, peer),
            Input::Told { peer, root } => self.told_root(now, peer, root, &mut effects),
            Input::Own(root) => self.own_root(now, root),
            Input::Answered { ticket, response } => {
                self.answered(now, ticket, response, &mut effects)
            }
            Input::LookedUp { ticket, found } => self.looked_up(now, ticket, found, &mut effects),
            Input::Admitted { ticket, taken, own } => {
                self.own_root(now, own);
                self.admitted(now, ticket, taken, &mut effects);
            }
            Input::Failed(ticket) => self.failed(now, ticket, &mut effects),
            Input::Tick => {}
        }
        self.go_on(now, &mut effects);
        effects
    }

    fn connected(&mut self, now: Moment, peer: PeerId) {
        if self.peers.len() < PEERS_MAX {
            self.peers.entry(peer).or_insert(Peer {
                told: None,
                greet_at: now,
                shown: None,
                greeting: false,
                failures: 0,
                busy: 0,
                lost: 0,
                deferrals: 0,
                hauled: false,
                waiting: false,
                barren: BTreeMap::new(),
                barren_until: now,
            });
        }
    }

    fn disconnected(&mut self, now: Moment, peer: PeerId) {
        self.end_descent(&peer);
        self.leave_haul(now, peer);
        self.tasks.retain(|_, task| task.peer() != peer);
        self.peers.remove(&peer);
    }

    fn own_root(&mut self, now: Moment, root: Root) {
        if root == self.own {
            return;
        }
        self.own = root;
        let soon = now + self.jittered(SETTLE);
        for peer in self.peers.values_mut() {
            // Neither a penalty nor a pause after failures is cut short.
            if peer.failures == 0 && peer.told != Some(root) {
                peer.greet_at = peer.greet_at.min(soon);
            }
        }
    }

    fn told_root(&mut self, now: Moment, peer: PeerId, root: Root, effects: &mut Vec<Effect>) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.told = Some(root);
        // It greeted, and the answer told it ours.
        known.shown = Some(self.own);
        if known.failures == 0 {
            self.meet(now, peer, root, effects);
        }
    }

    fn answered(
        &mut self,
        now: Moment,
        ticket: Ticket,
        response: Response,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.tasks.remove(&ticket) else {
            return;
        };
        if let Response::Busy(millis) = response {
            return self.busy(now, task, millis, effects);
        }
        let peer = task.peer();
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.busy = 0;
            peer.lost = 0;
        }
        let fits = match (task, response) {
            (Task::Greet(_), Response::Hello(hello)) => {
                self.greeted(now, peer, hello.root, effects);
                Ok(())
            }
            (Task::Descent(_, step), response) => {
                self.descent_answered(peer, ticket, step, response, effects)
            }
            (Task::Haul(_, step), response) => {
                self.haul_answered(peer, ticket, step, response, effects)
            }
            _ => Err(Lie::Unfitting),
        };
        if let Err(lie) = fits {
            self.lied(now, peer, lie, effects);
        }
    }

    fn looked_up(&mut self, now: Moment, ticket: Ticket, found: Found, effects: &mut Vec<Effect>) {
        match self.tasks.remove(&ticket) {
            Some(Task::Descent(peer, step)) => {
                if let Err(lie) = self.descent_looked_up(peer, ticket, step, found, effects) {
                    self.lied(now, peer, lie, effects);
                }
            }
            Some(task) => {
                self.tasks.insert(ticket, task);
            }
            None => {}
        }
    }

    fn admitted(
        &mut self,
        now: Moment,
        ticket: Ticket,
        taken: Result<Taken, Lie>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.tasks.remove(&ticket) else {
            return;
        };
        let peer = task.peer();
        let result = taken.and_then(|taken| match taken.refused {
            0 => Ok(taken.new),
            _ => Err(Lie::Invalid),
        });
        let result = match (task, result) {
            (Task::Haul(_, step), Err(lie)) => {
                self.haul_put_back(peer, step);
                Err(lie)
            }
            (Task::Descent(_, step), Err(lie)) => {
                self.descent_dropped(&step);
                Err(lie)
            }
            (Task::Greet(_), Err(lie)) => Err(lie),
            (Task::Descent(_, step), Ok(new)) => self.descent_admitted(peer, step, new),
            (Task::Haul(_, step), Ok(new)) => {
                self.haul_admitted(now, peer, step, new);
                Ok(())
            }
            (Task::Greet(_), Ok(_)) => Ok(()),
        };
        if let Err(lie) = result {
            self.lied(now, peer, lie, effects);
        }
    }

    fn greeted(&mut self, now: Moment, peer: PeerId, root: Root, effects: &mut Vec<Effect>) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.greeting = false;
        known.told = Some(root);
        self.meet(now, peer, root, effects);
    }

    /// Decides what to do with a peer that has this root.
    fn meet(&mut self, now: Moment, peer: PeerId, root: Root, effects: &mut Vec<Effect>) {
        let next = now + self.jittered(INTERVAL);
        let soon = now + self.jittered(SETTLE);
        let pulling = self.pulling(&peer);
        let own = self.own;
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if pulling || known.greeting {
            return;
        }
        // What changed here while the greeting was under way, it was not told.
        let is_shown = root == own || known.shown == Some(own);
        known.greet_at = if is_shown { next } else { soon };
        known.waiting = false;
        if known.barren_until <= now {
            known.barren.clear();
        }
        let is_barren = known.barren.get(&Prefix::ROOT) == Some(&(root, own));
        if root == own || root.count == 0 || is_barren {
            known.deferrals = 0;
            known.failures = 0;
            known.hauled &= root != own;
            let outcome = if root == own {
                Outcome::InSync
            } else {
                Outcome::Ahead
            };
            effects.push(Effect::Finished { peer, outcome });
        } else if far_behind(root, own) && known.deferrals < DEFERRALS_MAX {
            // It pulls from us now; its tree would be out of date before we had read it.
            known.deferrals += 1;
            known.greet_at = soon;
        } else {
            known.waiting = true;
        }
    }

    /// Whether something is being pulled from a peer.
    fn pulling(&self, peer: &PeerId) -> bool {
        let hauled = self.haul.as_ref().is_some_and(|haul| haul.serves(peer));
        hauled || self.descents.contains_key(peer)
    }

    /// Starts what can be started now, and says when to be woken.
    fn go_on(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.begin_waiting(now, effects);
        self.advance_haul(now, effects);
        let descents: Vec<_> = self.descents.keys().copied().collect();
        for peer in descents {
            self.advance_descent(now, peer, effects);
        }
        let pulling: BTreeSet<PeerId> = self
            .peers
            .keys()
            .filter(|peer| self.pulling(peer))
            .copied()
            .collect();
        let paused = [self.haul_paused_until(now), self.descents_paused_until(now)];
        let mut wake_at = paused.into_iter().flatten().min();
        let mut greet = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.greeting || peer.waiting || pulling.contains(id) {
                continue;
            }
            if peer.greet_at <= now {
                peer.greeting = true;
                peer.shown = Some(self.own);
                greet.push(*id);
            } else {
                wake_at = Some(wake_at.map_or(peer.greet_at, |at| at.min(peer.greet_at)));
            }
        }
        for peer in greet {
            self.ask(peer, Task::Greet(peer), Question::Hello, effects);
        }
        if let Some(at) = wake_at
            && (self.wake_at != Some(at))
        {
            self.wake_at = Some(at);
            effects.push(Effect::WakeAt(at));
        }
    }

    /// Gives peers that differ their turn, as far as there is room.
    fn begin_waiting(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let waiting: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.waiting)
            .filter_map(|(id, peer)| Some((*id, peer.told?, peer.hauled)))
            .collect();
        for (peer, root, hauled) in waiting {
            let begun = if root == self.own {
                self.meet(now, peer, root, effects);
                true
            } else if far_behind(self.own, root) && !hauled {
                self.join_haul(peer)
            } else {
                // While pages come in, trees differ in what is about to come.
                self.haul.is_none() && self.begin_descent(peer, root)
            };
            if begun && let Some(peer) = self.peers.get_mut(&peer) {
                peer.waiting = false;
            }
        }
    }

    fn ask(&mut self, peer: PeerId, task: Task, question: Question, effects: &mut Vec<Effect>) {
        let ticket = self.ticket(task);
        effects.push(Effect::Ask {
            peer,
            ticket,
            question,
        });
    }

    fn ticket(&mut self, task: Task) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.tasks.insert(ticket, task);
        ticket
    }

    fn busy(&mut self, now: Moment, task: Task, millis: u64, effects: &mut Vec<Effect>) {
        let pause = Duration::from_millis(millis.clamp(BUSY_PAUSE.0, BUSY_PAUSE.1));
        let peer = task.peer();
        let busy = self.peers.get(&peer).map_or(0, |peer| peer.busy + 1);
        self.postpone(now, task, pause);
        if busy > BUSY_MAX {
            self.give_up(now, peer, effects);
        } else if let Some(known) = self.peers.get_mut(&peer) {
            known.busy = busy;
        }
    }

    fn failed(&mut self, now: Moment, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Some(task) = self.tasks.remove(&ticket) else {
            return;
        };
        let peer = task.peer();
        let lost = self.peers.get(&peer).map_or(0, |peer| peer.lost + 1);
        let greeting = matches!(task, Task::Greet(_));
        let pause = self.jittered(RETRY_DELAY_MIN / 4 * (1 << lost.min(LOST_MAX)));
        self.postpone(now, task, pause);
        if greeting || lost > LOST_MAX {
            self.give_up(now, peer, effects);
        } else if let Some(known) = self.peers.get_mut(&peer) {
            known.lost = lost;
        }
    }

    /// Takes a question back, to be asked again after a pause.
    fn postpone(&mut self, now: Moment, task: Task, pause: Duration) {
        let until = now + pause;
        match task {
            Task::Greet(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.greeting = false;
                    peer.greet_at = until;
                }
            }
            Task::Descent(peer, step) => self.descent_postponed(peer, step, until),
            Task::Haul(peer, step) => self.haul_postponed(peer, step, until),
        }
    }

    /// Ends what goes on with a peer that does not answer, and tries again after a pause that grows.
    fn give_up(&mut self, now: Moment, peer: PeerId, effects: &mut Vec<Effect>) {
        let doublings = self.peers.get(&peer).map_or(0, |peer| peer.failures.min(6));
        let pause = self.jittered(INTERVAL.min(RETRY_DELAY_MIN * (1 << doublings)));
        self.leave_alone(now, peer, pause);
        let outcome = Outcome::Failed;
        effects.push(Effect::Finished { peer, outcome });
    }

    fn lied(&mut self, now: Moment, peer: PeerId, lie: Lie, effects: &mut Vec<Effect>) {
        self.leave_alone(now, peer, PENALTY);
        let outcome = Outcome::Lied(lie);
        effects.push(Effect::Finished { peer, outcome });
    }

    fn leave_alone(&mut self, now: Moment, peer: PeerId, pause: Duration) {
        self.end_descent(&peer);
        self.leave_haul(now, peer);
        self.tasks.retain(|_, task| task.peer() != peer);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.failures = peer.failures.saturating_add(1);
            peer.busy = 0;
            peer.lost = 0;
            peer.greeting = false;
            peer.waiting = false;
            peer.greet_at = now + pause;
        }
    }

    /// Lets a peer be greeted now, to see whether a pull made both equal.
    fn greet_again(&mut self, peer: &PeerId, at: Moment) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.greet_at = at;
        }
    }

    /// A duration of three to five quarters of `duration`.
    fn jittered(&mut self, duration: Duration) -> Duration {
        let per_mille = 750 + self.random.next_u32() % 500;
        duration * per_mille / 1000
    }
}

/// Whether a catalogue of root `less` lacks so much of that of root `more` that pages beat comparing.
fn far_behind(less: Root, more: Root) -> bool {
    let lacking = more.count.saturating_sub(less.count);
    lacking > FAR_BEHIND.0 && lacking > more.count / 100 * FAR_BEHIND.1
}
