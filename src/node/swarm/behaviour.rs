//! The protocols of the control plane and their settings.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::NetworkId;
use ggen_protocols::{GOSSIP_PROTOCOL, IDENTIFY_PROTOCOL, SYNC_PROTOCOL, limits};
use libp2p::StreamProtocol;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::mdns;
use libp2p::metrics::Registry;
use libp2p::ping;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, identify};

use super::codec::Codec;
use super::wire;
use crate::metrics::Traffic;

/// Connections that others opened.
const INBOUND_MAX: u32 = 128;
/// Connections that this node opened.
const OUTBOUND_MAX: u32 = 16;
/// Connections being opened, each way.
const PENDING_MAX: u32 = 32;
/// Connections with one peer: both may dial at the same time.
const PER_PEER_MAX: u32 = 2;
/// Requests and answers on one connection at once.
const STREAMS_MAX: usize = 32;
/// How long one request may take: an answer of 2 MiB over a slow line.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is tested. A dead one is noticed within twice that.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Messages per second for which the scores are set.
const RATE: f64 = 1.0;
const MESH: usize = 8;
/// Below this score nothing that a peer gossips is looked at.
pub(super) const GRAYLIST: f64 = -2500.0;
const HOUR: Duration = Duration::from_secs(3600);

type Subscriptions = MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>;
pub(super) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Subscriptions>;

/// Everything that runs on one connection.
#[derive(NetworkBehaviour)]
pub(super) struct Protocols {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) gossip: Gossip,
    pub(super) sync: request_response::Behaviour<Codec>,
}

impl Protocols {
    /// Sets all protocols up; fails if multicast cannot be used or gossip settings contradict each other. What
    /// gossip counts goes to `registry`, what questions and answers weigh to `sync`.
    pub(super) fn new(
        keypair: &Keypair,
        network: NetworkId,
        agent: &str,
        use_mdns: bool,
        registry: &mut Registry,
        sync: Arc<Traffic>,
    ) -> io::Result<Self> {
        let peer = keypair.public().to_peer_id();
        let limits = ConnectionLimits::default()
            .with_max_established_incoming(Some(INBOUND_MAX))
            .with_max_established_outgoing(Some(OUTBOUND_MAX))
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_pending_outgoing(Some(PENDING_MAX))
            .with_max_established_per_peer(Some(PER_PEER_MAX));
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
            .with_agent_version(agent.to_owned())
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(PING_INTERVAL)
            .with_timeout(PING_INTERVAL);
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            blocked: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            mdns: mdns(peer, use_mdns)?.into(),
            gossip: gossip(network, registry).map_err(io::Error::other)?,
            sync: request_response::Behaviour::with_codec(
                Codec::counting(sync),
                [(StreamProtocol::new(SYNC_PROTOCOL), ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(REQUEST_TIMEOUT)
                    .with_max_concurrent_streams(STREAMS_MAX),
            ),
        })
    }
}

fn mdns(peer: PeerId, on: bool) -> io::Result<Option<mdns::tokio::Behaviour>> {
    on.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer))
        .transpose()
}

/// The one topic of a network: its records.
pub(super) fn topic(network: NetworkId) -> IdentTopic {
    IdentTopic::new(format!("ggen-market/records/1/{network}"))
}

fn gossip(network: NetworkId, registry: &mut Registry) -> Result<Gossip, String> {
    let topic = topic(network);
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(GOSSIP_PROTOCOL)
        // Records carry their own signature; a second one by the relaying peer would only tell who reads what.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| {
            let hash = ContentHash::blake3(&message.data);
            MessageId::new(&hash.as_bytes()[..20])
        })
        .max_transmit_size(limits::GOSSIP_MESSAGE_BYTES_MAX)
        .mesh_n(MESH)
        .mesh_n_low(6)
        .mesh_n_high(12)
        .mesh_outbound_min(3)
        .gossip_lazy(6)
        .gossip_factor(0.25)
        .heartbeat_interval(Duration::from_secs(1))
        // A quiet topic: three seconds of memory would be none.
        .history_length(120)
        .history_gossip(60)
        .duplicate_cache_time(Duration::from_secs(600))
        .flood_publish(true)
        .build()
        .map_err(|error| error.to_string())?;
    let subscriptions = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
        max_subscribed_topics: 4,
        max_subscriptions_per_request: 100,
    };
    let gossip = Gossip::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        config,
        subscriptions,
    )?;
    let mut gossip = wire::count_gossip(gossip, registry);
    gossip.with_peer_score(scores(&topic), thresholds())?;
    gossip
        .subscribe(&topic)
        .map_err(|error| error.to_string())?;
    Ok(gossip)
}

/// The crate's defaults graylist honest peers on a quiet topic; these do not.
fn scores(topic: &IdentTopic) -> PeerScoreParams {
    let second = Duration::from_secs(1);
    let decay = |duration| gossipsub::score_parameter_decay_with_base(duration, second, 0.01);
    let first_cap = 2.0 * RATE / MESH as f64 / (1.0 - decay(HOUR));
    let topic_score = TopicScoreParams {
        topic_weight: 0.1,
        time_in_mesh_weight: 0.000_27,
        time_in_mesh_quantum: second,
        time_in_mesh_cap: 1.0,
        first_message_deliveries_weight: 40.0 / first_cap,
        first_message_deliveries_decay: decay(HOUR),
        first_message_deliveries_cap: first_cap,
        // A topic that is quiet for minutes says nothing about who fails to deliver.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // One invalid message costs 100 points, three 900, five the graylist.
        invalid_message_deliveries_weight: -1000.0,
        invalid_message_deliveries_decay: decay(HOUR),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: HashMap::from([(topic.hash(), topic_score)]),
        ip_colocation_factor_weight: -10.0,
        ip_colocation_factor_threshold: 8.0,
        ip_colocation_factor_whitelist: HashSet::from([
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ]),
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: decay(Duration::from_secs(600)),
        decay_interval: second,
        retain_score: 6 * HOUR,
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -500.0,
        publish_threshold: -1000.0,
        graylist_threshold: GRAYLIST,
        accept_px_threshold: 1000.0,
        opportunistic_graft_threshold: 3.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_settings_of_gossip_do_not_contradict_each_other() {
        gossip(NetworkId::main(), &mut Registry::default()).unwrap();
    }

    #[test]
    fn networks_do_not_hear_each_other() {
        let other = NetworkId::named("other");
        assert_ne!(topic(NetworkId::main()).hash(), topic(other).hash());
    }
}
