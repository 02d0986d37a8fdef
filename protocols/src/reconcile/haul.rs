//! Paging whole id ranges from peers that know much more: a catalogue that is nearly empty compares no trees.

use std::collections::{BTreeMap, VecDeque};

use super::{
    ASKS_PER_PEER_MAX, Effect, Expected, Lie, PULLS_MAX, Question, Reconciler, Task, Ticket,
};
use crate::Moment;
use crate::id::PeerId;
use crate::message::{Page, PageRequest, Response};
use crate::reconcile::fingerprint::{FAN, Prefix};

/// Pages in a row without anything new before trees are compared instead.
const BARREN_PAGES_MAX: u32 = 2 * FAN as u32;

/// One range after another, from up to three peers.
#[derive(Debug)]
pub(super) struct Haul {
    /// What remains to be asked: one request for each of the sixteen ranges, or less.
    ranges: VecDeque<PageRequest>,
    /// Who is asked, how many requests each has now, and until when each is left alone.
    peers: BTreeMap<PeerId, Load>,
    barren: u32,
}

#[derive(Debug, Default)]
struct Load {
    running: usize,
    paused_until: Option<Moment>,
}

/// How far one range is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// This was asked.
    Asked(PageRequest),
    /// The page that answered it is being admitted.
    Admitting {
        asked: PageRequest,
        /// How the range goes on, if it does.
        rest: Option<PageRequest>,
    },
}

impl Step {
    fn asked(&self) -> &PageRequest {
        match self {
            Self::Asked(asked) | Self::Admitting { asked, .. } => asked,
        }
    }
}

impl Haul {
    pub(super) fn serves(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }
}

impl Reconciler {
    /// Adds a peer to those paged from; false if there are enough.
    pub(super) fn join_haul(&mut self, peer: PeerId) -> bool {
        let haul = self.haul.get_or_insert_with(|| Haul {
            ranges: (0..FAN)
                .filter_map(|nibble| Prefix::ROOT.child(nibble))
                .map(|prefix| PageRequest {
                    prefix,
                    after: None,
                })
                .collect(),
            peers: BTreeMap::new(),
            barren: 0,
        });
        let room = haul.peers.len() < PULLS_MAX;
        if room {
            haul.peers.entry(peer).or_default();
        }
        room
    }

    pub(super) fn advance_haul(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut asks = Vec::new();
        if let Some(haul) = &mut self.haul {
            for _ in 0..ASKS_PER_PEER_MAX {
                for (peer, load) in &mut haul.peers {
                    let paused = load.paused_until.is_some_and(|until| until > now);
                    if !paused
                        && load.running < ASKS_PER_PEER_MAX
                        && let Some(request) = haul.ranges.pop_front()
                    {
                        load.paused_until = None;
                        load.running += 1;
                        asks.push((*peer, request));
                    }
                }
            }
        }
        for (peer, request) in asks {
            let task = Task::Haul(peer, Step::Asked(request.clone()));
            self.ask(peer, task, Question::Page(request), effects);
        }
    }

    pub(super) fn haul_answered(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        step: Step,
        response: Response,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Lie> {
        let asked = step.asked().clone();
        let Response::Page(Page { envelopes, next }) = response else {
            self.haul_put_back(peer, step);
            return Err(Lie::Unfitting);
        };
        let (prefix, after) = (asked.prefix, asked.after);
        let forward = |next| prefix.contains(&next) && after.is_none_or(|after| after < next);
        if !next.is_none_or(forward) {
            self.haul_put_back(peer, step);
            return Err(Lie::NotAsked);
        }
        let expected = Expected::Ascending {
            prefix,
            after,
            until: next,
        };
        let rest = next.map(|next| PageRequest {
            prefix,
            after: Some(next),
        });
        self.tasks
            .insert(ticket, Task::Haul(peer, Step::Admitting { asked, rest }));
        effects.push(Effect::Admit {
            peer,
            ticket,
            envelopes: envelopes.into_iter().map(|e| e.into_vec().into()).collect(),
            expected,
        });
        Ok(())
    }

    pub(super) fn haul_admitted(&mut self, now: Moment, peer: PeerId, step: Step, new: usize) {
        if let Some(load) = self.haul_load(&peer) {
            load.running = load.running.saturating_sub(1);
        }
        let Some(haul) = &mut self.haul else {
            return;
        };
        if let Step::Admitting {
            rest: Some(rest), ..
        } = step
        {
            haul.ranges.push_front(rest);
        }
        haul.barren = if new == 0 { haul.barren + 1 } else { 0 };
        let done = haul.ranges.is_empty() && haul.peers.values().all(|load| load.running == 0);
        if done || haul.barren > BARREN_PAGES_MAX {
            self.end_haul(now);
        }
    }

    /// Takes a range back, and leaves the peer alone for a while.
    pub(super) fn haul_postponed(&mut self, peer: PeerId, step: Step, until: Moment) {
        self.haul_put_back(peer, step);
        if let Some(load) = self.haul_load(&peer) {
            load.paused_until = Some(until);
        }
    }

    /// Until when the first paused peer is left alone, if any is.
    pub(super) fn haul_paused_until(&self, now: Moment) -> Option<Moment> {
        let haul = self.haul.as_ref().filter(|haul| !haul.ranges.is_empty())?;
        let paused = haul.peers.values().filter_map(|load| load.paused_until);
        paused.filter(|until| *until > now).min()
    }

    /// Asks a peer no more; what it was asked goes to the others.
    pub(super) fn leave_haul(&mut self, now: Moment, peer: PeerId) {
        if !self.haul.as_ref().is_some_and(|haul| haul.serves(&peer)) {
            return;
        }
        let tickets: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task, Task::Haul(of, _) if *of == peer))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            if let Some(Task::Haul(_, step)) = self.tasks.remove(&ticket) {
                self.haul_put_back(peer, step);
            }
        }
        if let Some(haul) = &mut self.haul {
            haul.peers.remove(&peer);
            if haul.peers.is_empty() {
                self.end_haul(now);
            }
        }
    }

    fn haul_load(&mut self, peer: &PeerId) -> Option<&mut Load> {
        self.haul.as_mut()?.peers.get_mut(peer)
    }

    /// Takes back what a peer was asked, to be asked again, of anyone.
    pub(super) fn haul_put_back(&mut self, peer: PeerId, step: Step) {
        if let Some(load) = self.haul_load(&peer) {
            load.running = load.running.saturating_sub(1);
        }
        if let Some(haul) = &mut self.haul {
            haul.ranges.push_front(step.asked().clone());
        }
    }

    /// Forgets the ranges and looks again at those who served them. With who served to the end, trees are
    /// compared next: what is still missing then was not to be had by pages.
    fn end_haul(&mut self, now: Moment) {
        let Some(haul) = self.haul.take() else {
            return;
        };
        self.tasks
            .retain(|_, task| !matches!(task, Task::Haul(_, _)));
        for peer in haul.peers.keys() {
            self.greet_again(peer, now);
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.hauled = true;
            }
        }
    }
}
