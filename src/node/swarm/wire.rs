//! What libp2p counts of its own, and how many bytes go where in the control plane.

use std::sync::Arc;

use libp2p::gossipsub;
use libp2p::metrics::{Metrics, Recorder, Registry};
use libp2p::swarm::SwarmEvent;
use prometheus_client::encoding::text::encode;

use super::behaviour::{Gossip, ProtocolsEvent};
use crate::metrics::Traffic;

/// Not shown: libp2p makes labels of what peers tell of themselves there, and so it is not told of that.
const SILENT: &str = "libp2p_identify_";
/// Sums over the topic: without what was sent twice, and with everything that was received.
const GOSSIP_SENT: &str = "libp2p_gossip_topic_msg_sent_bytes_total{";
const GOSSIP_RECEIVED: &str = "libp2p_gossip_topic_msg_recv_bytes_unfiltered_total{";

/// Tells libp2p's counters what happened.
pub(super) struct Observer(Metrics);

/// Reads what was counted, wherever the swarm is.
#[derive(Debug, Clone)]
pub(in crate::node) struct Wire {
    registry: Arc<Registry>,
    sync: Arc<Traffic>,
}

/// What was counted.
pub(in crate::node) struct Counted {
    /// libp2p's metrics in Prometheus' text form.
    pub(in crate::node) page: String,
    /// Bytes received and sent.
    pub(in crate::node) gossip_bytes: [u64; 2],
    /// Bytes received and sent.
    pub(in crate::node) sync_bytes: [u64; 2],
}

/// Has gossip count from now on: its one topic, and none that peers think out.
pub(super) fn count_gossip(gossip: Gossip, registry: &mut Registry) -> Gossip {
    let config = gossipsub::MetricsConfig {
        max_topics: 1,
        max_never_subscribed_topics: 0,
        ..gossipsub::MetricsConfig::default()
    };
    gossip.with_metrics(registry.sub_registry_with_prefix("libp2p_gossip"), config)
}

/// Both ends of one swarm's counters.
pub(super) fn observe(mut registry: Registry, sync: Arc<Traffic>) -> (Observer, Wire) {
    let observer = Observer(Metrics::new(&mut registry));
    let registry = Arc::new(registry);
    (observer, Wire { registry, sync })
}

impl Observer {
    /// Counts an event, unless it would make a series of an address that a peer thought out.
    pub(super) fn record(&self, event: &SwarmEvent<ProtocolsEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. }
            | SwarmEvent::ConnectionClosed { .. }
            | SwarmEvent::IncomingConnection { .. }
            | SwarmEvent::IncomingConnectionError { .. }
            | SwarmEvent::OutgoingConnectionError { .. }
            | SwarmEvent::Dialing { .. } => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Ping(event)) => self.0.record(event),
            _ => {}
        }
    }
}

impl Wire {
    pub(in crate::node) fn read(&self) -> Counted {
        let mut open = String::new();
        // Writing to a string does not fail; if it did, what is there is shown.
        encode(&mut open, &self.registry).unwrap_or_default();
        let page = page(&open);
        Counted {
            gossip_bytes: [sum(&page, GOSSIP_RECEIVED), sum(&page, GOSSIP_SENT)],
            sync_bytes: self.sync.read(),
            page,
        }
    }
}

fn sum(page: &str, name: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}

/// The text form that Prometheus has always read, from OpenMetrics 1.0: there counters have their ending on the
/// values only, units have lines of their own, and a mark ends the page. Metrics without a value are left out.
fn page(open: &str) -> String {
    let mut page = String::with_capacity(open.len());
    let (mut help, mut head) = ("", String::new());
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                continue;
            };
            let (end, kind) = match kind {
                "counter" => ("_total", kind),
                "gauge" | "histogram" => ("", kind),
                _ => ("", "untyped"),
            };
            head = format!("# HELP {name}{end} {help}\n# TYPE {name}{end} {kind}\n");
        } else if !line.starts_with('#') && !line.starts_with(SILENT) {
            page.push_str(&std::mem::take(&mut head));
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_ending_and_what_has_no_value_is_left_out() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{hash=\"x\"} 5\na_b_total{hash=\"y\"} 6\n\
                    # HELP empty None.\n# TYPE empty gauge\n# HELP h_seconds Time.\n# TYPE h_seconds histogram\n\
                    # UNIT h_seconds seconds\nh_seconds_sum 0.0\n# EOF\n";
        let shown = page(open);
        assert_eq!(
            shown,
            "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{hash=\"x\"} 5\na_b_total{hash=\"y\"} 6\n\
             # HELP h_seconds Time.\n# TYPE h_seconds histogram\nh_seconds_sum 0.0\n"
        );
        assert_eq!(sum(&shown, "a_b_total{"), 11);
    }
}
