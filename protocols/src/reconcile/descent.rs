//! Comparing two Merkle trees from the root down, and fetching the records whose ids are found missing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    ASKS_PER_PEER_MAX, Effect, Expected, Found, Lie, Lookup, Outcome, PULLS_MAX, Question,
    RETRY_DELAY_MIN, Reconciler, Task, Ticket, check,
};
use crate::Moment;
use crate::id::{PeerId, RecordId};
use crate::limits;
use crate::message::Response;
use crate::reconcile::fingerprint::{Branch, FAN, Prefix, Root, branch_of};

/// Places that one comparison keeps in mind; what it finds beyond waits for the next one.
const PLACES_MAX: usize = 8192;
/// Missing ids from which on records are fetched before more places are compared.
const MISSING_MAX: usize = 4096;
/// Answers in a row of records of which none was taken, before the rest is left.
const FRUITLESS_MAX: u32 = 64;
/// Depth down to which it is remembered where a comparison brought nothing: at most 273 places of one peer.
const BARREN_DEPTH_MAX: usize = 2;
/// For how long that is remembered. A peer may come to hold what it had declined, and its root does not show that.
const BARREN_LIFE: Duration = Duration::from_secs(3600);
/// Branches of one comparison that changed since their hash was told, before it is given up for a while.
const MOVED_MAX: u32 = 4096;

/// A place in the tree where the peer was found to differ, and what it told of that place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    prefix: Prefix,
    told: Root,
}

/// The comparison with one peer.
#[derive(Debug, Default)]
pub(super) struct Descent {
    /// Where to look next; the deepest last, so that few are kept.
    places: Vec<Place>,
    missing: Vec<RecordId>,
    running: usize,
    /// Whether any record was new.
    fruitful: bool,
    /// Whether places were left out for want of room, or because the tree changed too fast.
    partial: bool,
    /// Whether ids were left out because another comparison fetches them.
    shared: bool,
    fruitless: u32,
    /// Ids that the peer knows and does not hold.
    declined: u64,
    moved: u32,
    /// Places that differed, high up in the tree: what the peer told of them, and what is here.
    differed: Vec<(Prefix, Root, Root)>,
    paused_until: Option<Moment>,
}

/// How far one question of a comparison is.
#[derive(Debug)]
pub(super) enum Step {
    /// Waits for the peer's branches and for ours.
    Comparing {
        places: Vec<Place>,
        theirs: Option<Vec<Branch>>,
        ours: Option<Vec<Branch>>,
    },
    /// Waits to hear which of these ids we know.
    Sifting(Vec<RecordId>),
    /// Waits for the records with these ids.
    Fetching(Vec<RecordId>),
    /// Waits for these records to be admitted.
    Admitting(Vec<RecordId>),
}

impl Reconciler {
    /// Begins to compare trees with a peer of this root; false if enough are being compared.
    pub(super) fn begin_descent(&mut self, peer: PeerId, root: Root) -> bool {
        if self.descents.len() >= PULLS_MAX {
            return false;
        }
        let places = vec![Place {
            prefix: Prefix::ROOT,
            told: root,
        }];
        let descent = Descent {
            places,
            ..Descent::default()
        };
        self.descents.insert(peer, descent);
        true
    }

    /// Forgets a comparison and frees what it had reserved.
    pub(super) fn end_descent(&mut self, peer: &PeerId) {
        let Some(descent) = self.descents.remove(peer) else {
            return;
        };
        for id in &descent.missing {
            self.wanted.remove(id);
        }
        for task in self.tasks.values() {
            if let Task::Descent(of, Step::Fetching(ids) | Step::Admitting(ids)) = task
                && of == peer
            {
                for id in ids {
                    self.wanted.remove(id);
                }
            }
        }
        self.tasks
            .retain(|_, task| !matches!(task, Task::Descent(of, _) if of == peer));
    }

    pub(super) fn advance_descent(&mut self, now: Moment, peer: PeerId, effects: &mut Vec<Effect>) {
        while let Some(descent) = self.descents.get_mut(&peer) {
            if descent.paused_until.is_some_and(|until| until > now) {
                return;
            }
            descent.paused_until = None;
            if descent.running >= ASKS_PER_PEER_MAX {
                return;
            }
            let full = descent.missing.len() >= limits::REQUEST_IDS_MAX;
            if full || (descent.places.is_empty() && descent.running == 0) {
                let from = descent
                    .missing
                    .len()
                    .saturating_sub(limits::REQUEST_IDS_MAX);
                let ids = descent.missing.split_off(from);
                if ids.is_empty() {
                    return self.finish_descent(now, peer, effects);
                }
                descent.running += 1;
                let question = Question::Records(ids.clone());
                let task = Task::Descent(peer, Step::Fetching(ids));
                self.ask(peer, task, question, effects);
            } else if !descent.places.is_empty() && descent.missing.len() < MISSING_MAX {
                let count = limits::REQUEST_BRANCHES_MAX;
                let from = descent.places.len().saturating_sub(count);
                let places = descent.places.split_off(from);
                descent.running += 1;
                self.compare(peer, places, effects);
            } else {
                return;
            }
        }
    }

    /// Asks the peer and ourselves for the same branches.
    fn compare(&mut self, peer: PeerId, places: Vec<Place>, effects: &mut Vec<Effect>) {
        let prefixes: Vec<_> = places.iter().map(|place| place.prefix).collect();
        let step = Step::Comparing {
            places,
            theirs: None,
            ours: None,
        };
        let ticket = self.ticket(Task::Descent(peer, step));
        effects.push(Effect::Ask {
            peer,
            ticket,
            question: Question::Branches(prefixes.clone()),
        });
        effects.push(Effect::LookUp {
            ticket,
            lookup: Lookup::Branches(prefixes),
        });
    }

    fn finish_descent(&mut self, now: Moment, peer: PeerId, effects: &mut Vec<Effect>) {
        let Some(descent) = self.descents.get(&peer) else {
            return;
        };
        let (fruitful, partial, shared) = (descent.fruitful, descent.partial, descent.shared);
        let is_barren = !fruitful && !partial && !shared && descent.moved == 0;
        let differed = descent.differed.clone();
        self.end_descent(&peer);
        if partial && !fruitful {
            return self.give_up(now, peer, effects);
        }
        let in_sync = self.told(&peer) == Some(self.own);
        let soon = now + self.jittered(RETRY_DELAY_MIN);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.failures = 0;
            if is_barren {
                known.barren_until = now + BARREN_LIFE;
                let places = differed.into_iter();
                let places = places.map(|(prefix, theirs, ours)| (prefix, (theirs, ours)));
                known.barren.extend(places);
            }
            if fruitful {
                // See at once whether both are equal now; this also tells the peer our root.
                known.greet_at = now;
                return;
            }
            if shared {
                known.greet_at = soon;
            }
        }
        let outcome = if in_sync {
            Outcome::InSync
        } else {
            Outcome::Ahead
        };
        effects.push(Effect::Finished { peer, outcome });
    }

    pub(super) fn descent_answered(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        step: Step,
        response: Response,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Lie> {
        match (step, response) {
            (Step::Comparing { places, ours, .. }, Response::Branches(theirs)) => {
                if theirs.len() != places.len() {
                    return Err(Lie::Unfitting);
                }
                self.compared(peer, ticket, places, Some(theirs), ours, effects)
            }
            (Step::Fetching(ids), Response::Records(items)) => {
                self.fetched(peer, ticket, ids, items, effects)
            }
            (step, _) => {
                self.descent_dropped(&step);
                Err(Lie::Unfitting)
            }
        }
    }

    pub(super) fn descent_looked_up(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        step: Step,
        found: Found,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Lie> {
        match (step, found) {
            (Step::Comparing { places, theirs, .. }, Found::Branches(ours)) => {
                self.compared(peer, ticket, places, theirs, Some(ours), effects)
            }
            (Step::Sifting(ids), Found::Known(known)) => {
                let unknown = ids.into_iter().zip(known).filter(|(_, known)| !known);
                self.want(peer, unknown.map(|(id, _)| id).collect());
                self.step_done(&peer);
                Ok(())
            }
            (step, _) => {
                // A lookup of another kind than asked for: the caller's mistake, and no news.
                self.tasks.insert(ticket, Task::Descent(peer, step));
                Ok(())
            }
        }
    }

    /// Goes on once both sides' branches are here.
    fn compared(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        places: Vec<Place>,
        theirs: Option<Vec<Branch>>,
        ours: Option<Vec<Branch>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Lie> {
        let (theirs, ours) = match (theirs, ours) {
            (Some(theirs), Some(ours)) => (theirs, ours),
            (theirs, ours) => {
                let step = Step::Comparing {
                    places,
                    theirs,
                    ours,
                };
                self.tasks.insert(ticket, Task::Descent(peer, step));
                return Ok(());
            }
        };
        let Some(descent) = self.descents.get_mut(&peer) else {
            return Ok(());
        };
        let nothing = BTreeMap::new();
        let barren = self.peers.get(&peer).map_or(&nothing, |peer| &peer.barren);
        let (mut missing, mut unsure) = (Vec::new(), Vec::new());
        for ((place, theirs), ours) in places.into_iter().zip(theirs).zip(ours) {
            let found = (&mut missing, &mut unsure);
            descent.compare_place(place, theirs, ours, barren, found)?;
        }
        if descent.moved > MOVED_MAX {
            descent.places.clear();
            descent.partial = true;
        }
        self.want(peer, missing);
        if unsure.is_empty() {
            self.step_done(&peer);
        } else {
            let lookup = Lookup::Known(unsure.clone());
            self.tasks
                .insert(ticket, Task::Descent(peer, Step::Sifting(unsure)));
            effects.push(Effect::LookUp { ticket, lookup });
        }
        Ok(())
    }

    /// Takes in an answer to "what are the records with these ids?".
    fn fetched(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        mut ids: Vec<RecordId>,
        items: Vec<Option<serde_bytes::ByteBuf>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Lie> {
        let cut_short = items.is_empty() && !ids.is_empty();
        if cut_short || items.len() > ids.len() {
            self.release(&ids);
            return Err(Lie::Unfitting);
        }
        let Some(descent) = self.descents.get_mut(&peer) else {
            return Ok(());
        };
        // The answer may end early; the rest is asked for again.
        descent.missing.extend(ids.split_off(items.len()));
        let (mut held, mut envelopes) = (Vec::new(), Vec::new());
        for (id, item) in ids.into_iter().zip(items) {
            match item {
                Some(envelope) => {
                    held.push(id);
                    envelopes.push(envelope.into_vec().into());
                }
                None => {
                    descent.declined += 1;
                    self.wanted.remove(&id);
                }
            }
        }
        if descent.declined > limits::DECLINED_MAX {
            self.release(&held);
            return Err(Lie::Endless);
        }
        if held.is_empty() {
            self.step_done(&peer);
            return Ok(());
        }
        self.tasks
            .insert(ticket, Task::Descent(peer, Step::Admitting(held.clone())));
        effects.push(Effect::Admit {
            peer,
            ticket,
            envelopes,
            expected: Expected::Exactly(held),
        });
        Ok(())
    }

    pub(super) fn descent_admitted(
        &mut self,
        peer: PeerId,
        step: Step,
        new: usize,
    ) -> Result<(), Lie> {
        if let Step::Admitting(ids) = step {
            self.release(&ids);
        }
        self.step_done(&peer);
        if let Some(descent) = self.descents.get_mut(&peer) {
            descent.fruitful |= new > 0;
            descent.fruitless = if new > 0 { 0 } else { descent.fruitless + 1 };
            if descent.fruitless > FRUITLESS_MAX {
                // What is declined here is beyond what is remembered of it.
                descent.places.clear();
                let left = std::mem::take(&mut descent.missing);
                self.release(&left);
            }
        }
        Ok(())
    }

    /// Takes a question back, to be asked again later.
    pub(super) fn descent_postponed(&mut self, peer: PeerId, step: Step, until: Moment) {
        self.step_done(&peer);
        let Some(descent) = self.descents.get_mut(&peer) else {
            return;
        };
        descent.paused_until = Some(until);
        match step {
            Step::Comparing { places, .. } => descent.places.extend(places),
            Step::Fetching(ids) | Step::Admitting(ids) => descent.missing.extend(ids),
            Step::Sifting(_) => descent.partial = true,
        }
    }

    /// Frees the ids of a question that ends badly.
    pub(super) fn descent_dropped(&mut self, step: &Step) {
        if let Step::Fetching(ids) | Step::Admitting(ids) = step {
            let ids = ids.clone();
            self.release(&ids);
        }
    }

    /// Until when the first busy peer is left alone, if any is.
    pub(super) fn descents_paused_until(&self, now: Moment) -> Option<Moment> {
        let paused = self.descents.values().filter_map(|one| one.paused_until);
        paused.filter(|until| *until > now).min()
    }

    /// Reserves missing ids for a peer, those left out that another peer is asked for.
    fn want(&mut self, peer: PeerId, ids: Vec<RecordId>) {
        let Some(descent) = self.descents.get_mut(&peer) else {
            return;
        };
        for id in ids {
            if self.wanted.insert(id) {
                descent.missing.push(id);
            } else {
                descent.shared = true;
            }
        }
    }

    fn release(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.wanted.remove(id);
        }
    }

    fn step_done(&mut self, peer: &PeerId) {
        if let Some(descent) = self.descents.get_mut(peer) {
            descent.running = descent.running.saturating_sub(1);
        }
    }
}

impl Descent {
    /// Compares one place: notes deeper places where both differ, and ids that we lack or may lack.
    fn compare_place(
        &mut self,
        place: Place,
        theirs: Branch,
        ours: Branch,
        barren: &BTreeMap<Prefix, (Root, Root)>,
        (missing, unsure): (&mut Vec<RecordId>, &mut Vec<RecordId>),
    ) -> Result<(), Lie> {
        check::branch(&place.prefix, &theirs)?;
        let root = theirs.root();
        if root != place.told {
            // Records came since, or ids were forgotten of an owner who is admitted again.
            self.moved += 1;
        }
        if root == ours.root() {
            return Ok(());
        }
        if place.prefix.depth() <= BARREN_DEPTH_MAX {
            self.differed.push((place.prefix, root, ours.root()));
        }
        match (theirs, ours) {
            (Branch::Bucket(ids), Branch::Inner(_)) => unsure.extend(ids),
            (Branch::Bucket(ids), Branch::Bucket(own)) => {
                let lacking = ids.into_iter().filter(|id| own.binary_search(id).is_err());
                missing.extend(lacking);
            }
            (Branch::Inner(children), ours) => {
                self.deeper(place.prefix, &children, &ours, barren);
            }
        }
        Ok(())
    }

    fn deeper(
        &mut self,
        prefix: Prefix,
        children: &[Root; FAN],
        ours: &Branch,
        barren: &BTreeMap<Prefix, (Root, Root)>,
    ) {
        for (nibble, told) in children.iter().enumerate() {
            let Some(child) = prefix.child(nibble) else {
                continue;
            };
            let own = match ours {
                Branch::Inner(own) => own[nibble],
                Branch::Bucket(ids) => {
                    let below: Vec<_> = ids
                        .iter()
                        .filter(|id| child.contains(id))
                        .copied()
                        .collect();
                    branch_of(child, &below).root()
                }
            };
            if *told == own || told.count == 0 || barren.get(&child) == Some(&(*told, own)) {
                continue;
            }
            if self.places.len() < PLACES_MAX {
                self.places.push(Place {
                    prefix: child,
                    told: *told,
                });
            } else {
                self.partial = true;
            }
        }
    }
}
