//! The control plane: libp2p, spoken of in our own types only.

mod address;
mod behaviour;
mod codec;
mod contacts;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ggen_protocols::id::{NetworkId, PeerId};
use ggen_protocols::message::{Announcement, Request, Response};
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId};
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::request_response::{self, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, SwarmBuilder, identify, mdns, noise, ping, tcp, yamux};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Config, NodeError};
use crate::crypto::PrivateKey;
use crate::metrics::Traffic;
use address::{inner, ip, is_near, neighbourhood, outer, probe, reason};
use behaviour::{Protocols, ProtocolsEvent};
use contacts::Contacts;
use wire::Observer;

pub(super) use wire::Wire;

/// How long opening the listeners may take.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that misbehaved is not talked to.
pub(super) const BAN: Duration = Duration::from_secs(600);
/// Peers whose ban is kept in mind; beyond, the oldest is forgiven.
const BANS_MAX: usize = 1024;
/// Connections from one public /24 (IPv4) or /48 (IPv6).
const PER_NEIGHBOURHOOD_MAX: usize = 8;

/// A question that was asked, for finding its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AskId(OutboundRequestId);

/// Where the answer to a peer's question goes.
#[derive(Debug)]
pub(super) struct Reply(ResponseChannel<Response>);

/// A gossiped message that waits for this node's judgement before it is passed on.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) from: PeerId,
    pub(super) data: Vec<u8>,
    id: MessageId,
    source: libp2p::PeerId,
}

/// What becomes of a gossiped message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is good and new: pass it on.
    Accept,
    /// Every correct node refuses it: count it against who sent it.
    Reject,
    /// Neither.
    Ignore,
}

/// What happened in the network.
#[derive(Debug)]
pub(super) enum Event {
    /// The first connection with a peer stands.
    Connected(PeerId),
    /// The last one is gone.
    Disconnected(PeerId),
    /// A peer asks.
    Asked {
        peer: PeerId,
        request: Request,
        reply: Reply,
    },
    /// A peer answered.
    Answered { ask: AskId, response: Response },
    /// A question came to nothing.
    Failed { ask: AskId, why: String },
    /// A message was gossiped.
    Heard(Heard),
}

/// What is known of a connected peer.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    connections: BTreeMap<ConnectionId, Multiaddr>,
    pub(super) agent: Option<String>,
    pub(super) rtt: Option<Duration>,
}

impl Connected {
    /// The addresses that it is connected by.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.connections.values().map(ToString::to_string).collect()
    }

    /// The IP address that it is reached by.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.connections.values().find_map(ip)
    }

    /// Whether it is on this machine or in a network of this site, where limits against strangers do not apply.
    pub(super) fn is_near(&self) -> bool {
        self.ip().is_some_and(is_near)
    }
}

/// The network of one node.
pub(super) struct Swarm {
    swarm: libp2p::Swarm<Protocols>,
    topic: gossipsub::TopicHash,
    contacts: Contacts,
    peers: BTreeMap<PeerId, Connected>,
    bans: HashMap<libp2p::PeerId, Instant>,
    observer: Observer,
    wire: Wire,
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm")
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl Swarm {
    /// Opens the listeners; returns once all of them are open.
    pub(super) async fn start(
        key: &PrivateKey,
        config: &Config,
        network: NetworkId,
        agent: &str,
    ) -> Result<Self, NodeError> {
        let contacts = Contacts::parse(&config.bootstrap).map_err(NodeError::Config)?;
        let mut seed = key.seed();
        let keypair = Keypair::ed25519_from_bytes(&mut seed)
            .map_err(|error| NodeError::Config(format!("the node key is unusable: {error}")))?;
        let (mut registry, sync) = (Registry::default(), Arc::new(Traffic::default()));
        let protocols = Protocols::new(
            &keypair,
            network,
            agent,
            config.mdns,
            &mut registry,
            sync.clone(),
        )
        .map_err(|error| NodeError::Config(format!("cannot set up the swarm: {error}")))?;
        let (observer, wire) = wire::observe(registry, sync);
        let swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .map_err(|error| NodeError::Config(format!("cannot set up noise: {error}")))?
            .with_behaviour(|_| protocols)
            .map_err(|error| NodeError::Config(format!("cannot set up the swarm: {error}")))?
            // Peers stay connected: who is gone is found by ping.
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(1 << 31)))
            .build();
        let mut this = Self {
            swarm,
            topic: behaviour::topic(network).hash(),
            contacts,
            peers: BTreeMap::new(),
            bans: HashMap::new(),
            observer,
            wire,
        };
        this.listen(&config.listen.swarm).await?;
        Ok(this)
    }

    async fn listen(&mut self, addresses: &[String]) -> Result<(), NodeError> {
        let refuse = |address: &str, why: String| NodeError::Listen {
            address: address.to_owned(),
            why,
        };
        let mut waiting = HashMap::new();
        for text in addresses {
            let address: Multiaddr = text
                .parse()
                .map_err(|error| refuse(text, format!("it is no multiaddress: {error}")))?;
            probe(&address).map_err(|error| refuse(text, error.to_string()))?;
            let listener = self
                .swarm
                .listen_on(address)
                .map_err(|error| refuse(text, reason(&error)))?;
            waiting.insert(listener, text);
        }
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        while let Some(text) = waiting.values().next().copied() {
            let event = timeout_at(deadline, self.swarm.select_next_some()).await;
            match event {
                Ok(SwarmEvent::NewListenAddr { listener_id, .. }) => {
                    waiting.remove(&listener_id);
                }
                Ok(SwarmEvent::ListenerClosed {
                    listener_id,
                    reason: Err(error),
                    ..
                }) if let Some(text) = waiting.get(&listener_id) => {
                    return Err(refuse(text, error.to_string()));
                }
                Ok(_) => {}
                Err(_) => return Err(refuse(text, "the system did not answer".to_owned())),
            }
        }
        Ok(())
    }

    /// Where peers can connect, as multiaddresses with this node's id.
    pub(super) fn addresses(&self) -> Vec<String> {
        let peer = *self.swarm.local_peer_id();
        let listeners = self.swarm.listeners();
        listeners
            .map(|address| format!("{address}/p2p/{peer}"))
            .collect()
    }

    /// What is counted of the control plane.
    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Who is to be found at each configured address; nothing where nobody has answered yet.
    pub(super) fn configured(&self) -> impl Iterator<Item = Option<PeerId>> {
        let nodes = self.contacts.nodes();
        nodes.map(|found| found.as_ref().and_then(inner))
    }

    /// The connected peers.
    pub(super) fn peers(&self) -> &BTreeMap<PeerId, Connected> {
        &self.peers
    }

    /// The next event. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            while let Some(dial) = self.contacts.take_due() {
                let connection = dial.connection_id();
                if let Err(error) = self.swarm.dial(dial) {
                    self.dial_failed(connection, &error);
                }
            }
            let wake_at = self.contacts.next_dial();
            let dial_due = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if let Some(event) = self.translate(event) {
                        return event;
                    }
                }
                () = dial_due => {}
            }
        }
    }

    /// Asks a connected peer. The answer, or that there is none, comes as an event within ten seconds.
    pub(super) fn ask(&mut self, peer: PeerId, request: Request) -> AskId {
        let peer = outer(peer);
        AskId(self.swarm.behaviour_mut().sync.send_request(&peer, request))
    }

    /// Answers a peer's question.
    pub(super) fn answer(&mut self, reply: Reply, response: Response) {
        let sent = self
            .swarm
            .behaviour_mut()
            .sync
            .send_response(reply.0, response);
        if sent.is_err() {
            tracing::debug!("a peer did not wait for its answer");
        }
    }

    /// Gossips a message. That nobody listens is no error: peers that come later reconcile.
    pub(super) fn announce(&mut self, announcement: &Announcement) {
        let topic = self.topic.clone();
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if let Err(error) = gossip.publish(topic, announcement.encode()) {
            tracing::debug!(%error, "a record was not gossiped; peers find it by reconciling");
        }
    }

    /// Says what becomes of a gossiped message.
    pub(super) fn judge(&mut self, heard: &Heard, judgement: Judgement) {
        let acceptance = match judgement {
            Judgement::Accept => MessageAcceptance::Accept,
            Judgement::Reject => MessageAcceptance::Reject,
            Judgement::Ignore => MessageAcceptance::Ignore,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&heard.id, &heard.source, acceptance);
    }

    /// Whether a peer sent so many invalid messages that gossip does not listen to it any more.
    pub(super) fn is_graylisted(&self, peer: PeerId) -> bool {
        let score = self.swarm.behaviour().gossip.peer_score(&outer(peer));
        score.is_some_and(|score| score < behaviour::GRAYLIST)
    }

    /// Closes all connections with a peer and takes none for [`BAN`].
    pub(super) fn ban(&mut self, peer: PeerId, why: &str) {
        let peer = outer(peer);
        tracing::debug!(%peer, why, "not talking to peer for ten minutes");
        self.contacts.useless(None, peer, why);
        if self.bans.len() >= BANS_MAX
            && let Some(oldest) = self.bans.iter().min_by_key(|(_, until)| **until)
        {
            let oldest = *oldest.0;
            self.forgive(oldest);
        }
        self.bans.insert(peer, Instant::now() + BAN);
        self.swarm.behaviour_mut().blocked.block_peer(peer);
    }

    fn forgive(&mut self, peer: libp2p::PeerId) {
        self.bans.remove(&peer);
        self.swarm.behaviour_mut().blocked.unblock_peer(peer);
    }

    /// Lifts bans that are over.
    pub(super) fn forgive_old_bans(&mut self) {
        let now = Instant::now();
        let over: Vec<_> = self
            .bans
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in over {
            self.forgive(peer);
        }
    }

    fn translate(&mut self, event: SwarmEvent<ProtocolsEvent>) -> Option<Event> {
        self.observer.record(&event);
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.established(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => self.closed(peer_id, connection_id, num_established),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.dial_failed(connection_id, &error);
                None
            }
            SwarmEvent::Behaviour(event) => self.translate_protocol(event),
            _ => None,
        }
    }

    fn translate_protocol(&mut self, event: ProtocolsEvent) -> Option<Event> {
        match event {
            ProtocolsEvent::Sync(event) => translate_sync(event),
            ProtocolsEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => Some(Event::Heard(Heard {
                from: inner(&propagation_source)?,
                data: message.data,
                id: message_id,
                source: propagation_source,
            })),
            ProtocolsEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let peer = self.peers.get_mut(&inner(&peer_id)?)?;
                let shown = |c: &char| c.is_ascii_graphic() || *c == ' ';
                peer.agent = Some(info.agent_version.chars().filter(shown).take(64).collect());
                None
            }
            ProtocolsEvent::Ping(ping::Event {
                peer,
                connection,
                result,
            }) => {
                match result {
                    Ok(rtt) => self.peers.get_mut(&inner(&peer)?)?.rtt = Some(rtt),
                    Err(ping::Failure::Unsupported) => {}
                    Err(error) => {
                        tracing::debug!(%peer, %error, "closing a connection that is dead");
                        self.swarm.close_connection(connection);
                    }
                }
                None
            }
            ProtocolsEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    let dial = DialOpts::peer_id(peer)
                        .addresses(vec![address])
                        .allocate_new_port()
                        .build();
                    if let Err(error) = self.swarm.dial(dial) {
                        tracing::trace!(%peer, %error, "not dialling a peer of the local network");
                    }
                }
                None
            }
            _ => None,
        }
    }

    fn established(
        &mut self,
        outer: libp2p::PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) -> Option<Event> {
        let Some(peer) = inner(&outer) else {
            tracing::debug!(peer = %outer, "refusing a peer whose key is not Ed25519");
            self.swarm.close_connection(connection);
            return None;
        };
        let address = endpoint.get_remote_address().clone();
        if endpoint.is_listener() && self.is_crowded(&address) {
            tracing::debug!(%address, "refusing one connection too many from one network");
            self.swarm.close_connection(connection);
            return None;
        }
        self.contacts.connected(connection, outer);
        let new = !self.peers.contains_key(&peer);
        let connected = self.peers.entry(peer).or_insert(Connected {
            connections: BTreeMap::new(),
            agent: None,
            rtt: None,
        });
        connected.connections.insert(connection, address);
        new.then_some(Event::Connected(peer))
    }

    fn closed(
        &mut self,
        outer: libp2p::PeerId,
        connection: ConnectionId,
        left: u32,
    ) -> Option<Event> {
        let peer = inner(&outer)?;
        let connected = self.peers.get_mut(&peer)?;
        connected.connections.remove(&connection);
        if left > 0 && !connected.connections.is_empty() {
            return None;
        }
        self.peers.remove(&peer);
        self.contacts.disconnected(outer);
        Some(Event::Disconnected(peer))
    }

    fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        match error {
            DialError::LocalPeerId { .. } => {
                let this = *self.swarm.local_peer_id();
                let why = "the address is this node's own";
                self.contacts.useless(Some(connection), this, why);
            }
            // It is connected, or about to be.
            DialError::DialPeerConditionFalse(_) => self.contacts.postponed(connection),
            error => self.contacts.failed(connection, &reason(error)),
        }
    }

    /// Whether there are as many connections from the neighbourhood of a public address as there may be.
    fn is_crowded(&self, address: &Multiaddr) -> bool {
        let Some(here) = ip(address).and_then(neighbourhood) else {
            return false;
        };
        let addresses = self
            .peers
            .values()
            .flat_map(|peer| peer.connections.values());
        let near = addresses.filter(|one| ip(one).and_then(neighbourhood) == Some(here));
        near.count() >= PER_NEIGHBOURHOOD_MAX
    }
}

fn translate_sync(event: request_response::Event<Request, Response>) -> Option<Event> {
    match event {
        request_response::Event::Message { peer, message, .. } => match message {
            request_response::Message::Request {
                request, channel, ..
            } => Some(Event::Asked {
                peer: inner(&peer)?,
                request,
                reply: Reply(channel),
            }),
            request_response::Message::Response {
                request_id,
                response,
            } => Some(Event::Answered {
                ask: AskId(request_id),
                response,
            }),
        },
        request_response::Event::OutboundFailure {
            request_id, error, ..
        } => Some(Event::Failed {
            ask: AskId(request_id),
            why: error.to_string(),
        }),
        request_response::Event::InboundFailure { peer, error, .. } => {
            tracing::debug!(%peer, %error, "a peer's question was not answered");
            None
        }
        request_response::Event::ResponseSent { .. } => None,
    }
}
