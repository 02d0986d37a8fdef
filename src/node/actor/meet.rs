//! The loop's dealings with peers: their questions, their gossip, and reconciling with them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ggen_protocols::id::{PeerId, RecordId};
use ggen_protocols::message::{Hello, Request, Response};
use ggen_protocols::reconcile::{self, Effect, Input, Outcome, Ticket};
use tokio::time::sleep_until;

use super::{
    ANSWERS_PER_PEER_MAX, Actor, BATCH_MESSAGES_MAX, BUSY_MS, Done, HEARD_BYTES_MAX, HEARD_MAX,
    Net, Peer, Purpose, RATE_PAUSE_MS,
};
use crate::Result;
use crate::node::admit::Gossiped;
use crate::node::network::Question;
use crate::node::swarm::{Event, Heard, Judgement, Reply};
use crate::node::sync;

/// What happened outside.
pub(super) enum Happened {
    Network(Event),
    Question(Question),
    CatalogueGrew,
    TimeCame,
    BansDue,
}

/// The next thing that happens in the network; never, without one. Dropping the future loses nothing.
pub(super) async fn next(net: &mut Option<Net>) -> Happened {
    let Some(net) = net else {
        return std::future::pending().await;
    };
    let wake_at = net.wake_at;
    let wake = async {
        match wake_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        Some(question) = net.questions.recv() => Happened::Question(question),
        () = wake => Happened::TimeCame,
        Ok(()) = net.position.changed(), if !net.reading_root => Happened::CatalogueGrew,
        event = net.swarm.next() => Happened::Network(event),
        _ = net.bans.tick() => Happened::BansDue,
    }
}

impl Actor {
    pub(super) fn react(&mut self, happened: Happened) {
        let Some(net) = &mut self.net else {
            return;
        };
        match happened {
            Happened::Network(event) => self.network_event(event),
            Happened::Question(question) => {
                let ask = net.swarm.ask(question.peer, question.request);
                net.pending.insert(ask, Purpose::Job(question.reply));
            }
            Happened::CatalogueGrew => self.read_root(),
            Happened::TimeCame => {
                net.wake_at = None;
                self.reconcile(Input::Tick);
            }
            Happened::BansDue => net.swarm.forgive_old_bans(),
        }
    }

    fn network_event(&mut self, event: Event) {
        let Some(net) = &mut self.net else {
            return;
        };
        match event {
            Event::Connected(peer) => {
                let near = net
                    .swarm
                    .peers()
                    .get(&peer)
                    .is_some_and(|one| one.is_near());
                net.peers
                    .insert(peer, Peer::new(ANSWERS_PER_PEER_MAX, near));
                net.tell_connected();
                self.shared.teller.peer(&peer, true);
                tracing::debug!(%peer, "connected");
                self.reconcile(Input::Connected(peer));
            }
            Event::Disconnected(peer) => {
                net.peers.remove(&peer);
                self.meetings.gone(&peer);
                net.network.transfer.set_addresses(peer, Vec::new());
                net.tell_connected();
                self.shared.teller.peer(&peer, false);
                tracing::debug!(%peer, "disconnected");
                self.reconcile(Input::Disconnected(peer));
            }
            Event::Asked {
                peer,
                request,
                reply,
            } => self.asked(peer, request, reply),
            Event::Answered { ask, response } => match net.pending.remove(&ask) {
                Some(Purpose::Job(reply)) => {
                    // The job may have found elsewhere what it looked for.
                    let _gone = reply.send(response);
                }
                Some(Purpose::Sync(peer, ticket)) => {
                    if let Response::Hello(hello) = &response {
                        if !net.greeted(peer, hello) {
                            return;
                        }
                        self.met(peer);
                    }
                    self.reconcile(Input::Answered { ticket, response });
                }
                None => {}
            },
            Event::Failed { ask, why } => match net.pending.remove(&ask) {
                Some(Purpose::Sync(peer, ticket)) => {
                    tracing::debug!(%peer, why, "a question was not answered");
                    self.reconcile(Input::Failed(ticket));
                }
                Some(Purpose::Job(_)) | None => {}
            },
            Event::Heard(heard) => self.heard(heard),
        }
    }

    /// A peer of the same network was met: the first one ever is noted.
    fn met(&mut self, peer: PeerId) {
        let is_here = self
            .net
            .as_ref()
            .is_some_and(|net| net.peers.contains_key(&peer));
        if !is_here || !self.meetings.greeted(peer) {
            return;
        }
        let Some(note) = self.met_note.clone() else {
            return;
        };
        self.jobs.spawn(async move {
            if let Err(error) = write_note(&note).await {
                tracing::warn!(%error, note = %note.display(), "cannot note that another node was met");
            }
            (Done::Noted, None)
        });
    }

    /// Answers a peer in a job, or tells it to come again.
    fn asked(&mut self, peer: PeerId, request: Request, reply: Reply) {
        let Some(net) = &mut self.net else {
            return;
        };
        let told = match &request {
            Request::Hello(hello) if !net.greeted(peer, hello) => return,
            Request::Hello(hello) => Some(hello.root),
            _ => None,
        };
        let may = net.peers.get_mut(&peer).is_none_or(Peer::may_ask);
        let pause_ms = if may { BUSY_MS } else { RATE_PAUSE_MS };
        let room = net
            .peers
            .get(&peer)
            .filter(|_| may)
            .and_then(|peer| peer.answers.clone().try_acquire_owned().ok())
            .zip(net.answers.clone().try_acquire_owned().ok());
        if let Some((of_peer, of_all)) = room {
            let shared = self.shared.clone();
            let addresses = net.blob_addresses.clone();
            self.jobs.spawn(async move {
                let response = sync::answer(&shared, request, &addresses).await;
                drop(of_peer);
                (Done::Answered(peer, reply, response), Some(of_all))
            });
        } else {
            net.swarm.answer(reply, Response::Busy(pause_ms));
        }
        if let Some(root) = told {
            self.met(peer);
            self.reconcile(Input::Told { peer, root });
        }
    }

    /// Queues a gossiped message for admission.
    fn heard(&mut self, heard: Heard) {
        let Some(net) = &mut self.net else {
            return;
        };
        let may = net.peers.get_mut(&heard.from).is_some_and(Peer::may_gossip);
        let bytes = net.heard_bytes + heard.data.len();
        if may && net.heard.len() < HEARD_MAX && bytes <= HEARD_BYTES_MAX {
            net.heard_bytes = bytes;
            net.heard.push_back(heard);
            self.admit_gossip();
        } else {
            net.swarm.judge(&heard, Judgement::Ignore);
        }
    }

    /// Starts a batch if there is one and room for it.
    fn admit_gossip(&mut self) {
        let Some(net) = &mut self.net else {
            return;
        };
        if net.heard.is_empty() {
            return;
        }
        let Ok(permit) = net.batches.clone().try_acquire_owned() else {
            return;
        };
        let count = net.heard.len().min(BATCH_MESSAGES_MAX);
        let mut batch: Vec<Heard> = net.heard.drain(..count).collect();
        net.heard_bytes -= batch.iter().map(|heard| heard.data.len()).sum::<usize>();
        let door = self.shared.door.clone();
        self.jobs.spawn(async move {
            let messages: Vec<_> = batch
                .iter_mut()
                .map(|heard| std::mem::take(&mut heard.data))
                .collect();
            let answers = match door.gossiped(&messages).await {
                Ok(answers) => answers,
                Err(error) => {
                    tracing::warn!(%error, "gossiped records could not be stored");
                    let ignore = || Gossiped::Judged(Judgement::Ignore);
                    messages.iter().map(|_| ignore()).collect()
                }
            };
            (
                Done::Gossip(batch.into_iter().zip(answers).collect()),
                Some(permit),
            )
        });
    }

    pub(super) fn gossip_judged(&mut self, judged: Vec<(Heard, Gossiped)>) {
        for (heard, gossiped) in judged {
            match gossiped {
                Gossiped::Judged(judgement) => self.judge(&heard, judgement),
                Gossiped::Large(id) => self.pull(heard, id),
            }
        }
        self.admit_gossip();
    }

    /// Asks whoever passed a large record's announcement on for the record.
    fn pull(&mut self, heard: Heard, id: RecordId) {
        let Some(net) = &mut self.net else {
            return;
        };
        let Ok(permit) = net.pulls.clone().try_acquire_owned() else {
            return net.swarm.judge(&heard, Judgement::Ignore);
        };
        let network = net.network.clone();
        let door = self.shared.door.clone();
        self.jobs.spawn(async move {
            let answer = network.ask(heard.from, Request::Records(vec![id])).await;
            let envelope = match answer {
                Some(Response::Records(mut items)) if items.len() == 1 => items.pop().flatten(),
                _ => None,
            };
            let envelope = envelope.map(|envelope| envelope.into_vec().into());
            let judgement = door.pulled(id, envelope).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "a large record could not be stored");
                Judgement::Ignore
            });
            (Done::Pulled(heard, judgement), Some(permit))
        });
    }

    pub(super) fn judge(&mut self, heard: &Heard, judgement: Judgement) {
        let Some(net) = &mut self.net else {
            return;
        };
        net.swarm.judge(heard, judgement);
        if judgement == Judgement::Reject && net.swarm.is_graylisted(heard.from) {
            net.swarm
                .ban(heard.from, "it sent too many invalid messages");
        }
    }

    /// Reads the own root after a change; one read at a time, so that many changes share one.
    fn read_root(&mut self) {
        let Some(net) = &mut self.net else {
            return;
        };
        net.reading_root = true;
        let shared = self.shared.clone();
        self.jobs.spawn(async move {
            let root = shared.catalogue.root().await;
            let input = root.map(Input::Own).map_err(|error| {
                tracing::warn!(%error, "cannot read the catalogue's root");
            });
            (Done::Root(input.ok()), None)
        });
    }

    /// Tells the reconciler what happened and carries out what it decides.
    pub(super) fn reconcile(&mut self, input: Input) {
        let Some(net) = &mut self.net else {
            return;
        };
        let effects = net.reconciler.handle(net.now(), input);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let Some(net) = &mut self.net else {
            return;
        };
        let shared = self.shared.clone();
        match effect {
            Effect::Ask {
                peer,
                ticket,
                question,
            } => {
                let request = match question {
                    reconcile::Question::Hello => {
                        let root = net.reconciler.own();
                        Request::Hello(sync::hello(&shared, root, &net.blob_addresses))
                    }
                    reconcile::Question::Branches(prefixes) => Request::Branches(prefixes),
                    reconcile::Question::Page(page) => Request::Page(page),
                    reconcile::Question::Records(ids) => Request::Records(ids),
                };
                let ask = net.swarm.ask(peer, request);
                net.pending.insert(ask, Purpose::Sync(peer, ticket));
            }
            Effect::LookUp { ticket, lookup } => self.sync_job(ticket, async move {
                let found = sync::look_up(&shared, lookup).await?;
                Ok(Input::LookedUp { ticket, found })
            }),
            Effect::Admit {
                ticket,
                envelopes,
                expected,
                ..
            } => self.sync_job(ticket, async move {
                let taken = shared.door.reconciled(envelopes, expected).await?;
                let own = shared.catalogue.root().await?;
                Ok(Input::Admitted { ticket, taken, own })
            }),
            Effect::Finished { peer, outcome } => {
                tracing::debug!(%peer, ?outcome, "reconciled");
                let Some(one) = net.peers.get_mut(&peer) else {
                    return;
                };
                one.in_sync = outcome == Outcome::InSync;
                self.meetings.ended(peer, &outcome);
                // Its heads are about what is here only now; later ones come by gossip.
                if one.in_sync && !std::mem::replace(&mut one.told_heads, true) {
                    let network = net.network.clone();
                    self.jobs.spawn(async move {
                        let told = sync::gather_heads(&shared, &network, peer).await;
                        let told = told.unwrap_or_else(|error| {
                            tracing::warn!(%error, "heads could not be stored");
                            false
                        });
                        (Done::Heads(peer, told), None)
                    });
                }
            }
            Effect::WakeAt(moment) => {
                net.wake_at = Some(net.start + moment.0);
            }
        }
    }

    /// Starts a job that the reconciler waits for.
    fn sync_job(
        &mut self,
        ticket: Ticket,
        job: impl Future<Output = Result<Input>> + Send + 'static,
    ) {
        let started = self.jobs.spawn(async move {
            let input = job.await.unwrap_or_else(|error| {
                tracing::warn!(%error, "reconciling was interrupted by the own catalogue");
                Input::Failed(ticket)
            });
            (Done::Sync(input), None)
        });
        self.tickets.insert(started.id(), ticket);
    }
}

/// Makes the file that tells that a peer was met. That it is there is all it says, so no crash leaves half of it.
async fn write_note(path: &Path) -> io::Result<()> {
    tokio::fs::File::create(path).await?.sync_all().await?;
    match path.parent() {
        Some(folder) => tokio::fs::File::open(folder).await?.sync_all().await,
        None => Ok(()),
    }
}

impl Net {
    /// Takes in what a peer tells of itself; false if it is not one to talk to.
    fn greeted(&mut self, peer: PeerId, hello: &Hello) -> bool {
        if hello.network != self.own_network {
            self.swarm
                .ban(peer, "it keeps the records of another network");
            return false;
        }
        let reached_by = self.swarm.peers().get(&peer).and_then(|one| one.ip());
        let addresses = sync::blob_addresses(hello, reached_by);
        self.network.transfer.set_addresses(peer, addresses);
        true
    }

    fn tell_connected(&self) {
        let connected = self.swarm.peers().keys().copied().collect();
        self.connected.send_replace(Arc::new(connected));
    }
}
