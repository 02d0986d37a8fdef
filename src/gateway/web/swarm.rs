//! This node among the others: peers, how complete its catalogue is, and what came last.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggen_protocols::id::OwnerId;

use super::page;
use super::shown::{bytes, clip, duration, grouped, short};
use crate::Result;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::metrics::MetricValue;
use crate::metrics::Page as Metrics;
use crate::node::{CaughtUp, PeerStatus, RecordEvent};

/// Changes that are listed: each may have a record of 256 KiB.
const CHANGES_MAX: u64 = 20;
/// Peers that are listed.
const PEERS_MAX: usize = 100;
/// Characters of what a peer says of itself.
const AGENT_MAX: usize = 40;

#[derive(Template)]
#[template(path = "swarm.html", config = "src/gateway/pages/askama.toml")]
struct Page {
    peer: Option<String>,
    /// Each with the part that names the peer apart.
    addresses: Vec<(String, String)>,
    version: String,
    uptime: String,
    complete: bool,
    caught_up: String,
    root: String,
    records: String,
    packages: String,
    versions: String,
    blobs: String,
    blob_bytes: String,
    received: String,
    sent: String,
    search_behind: u64,
    peers: Vec<Peer>,
    peers_total: usize,
    changes: Vec<Change>,
    /// The last change that is listed; what comes live goes on after it.
    position: u64,
}

struct Peer {
    id: String,
    short: String,
    agent: String,
    rtt: String,
    in_sync: bool,
    sent: String,
}

/// One change of the catalogue.
struct Change {
    position: u64,
    words: &'static str,
    name: Option<String>,
    version: Option<String>,
    /// The page of the package, or else of the owner.
    href: Option<String>,
    /// Its id, and what it is called.
    owner: Option<(String, String)>,
}

pub(super) async fn swarm(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let made = made(&gateway).await?;
    page(StatusCode::OK, &made)
}

async fn made(gateway: &Gateway) -> Result<Page> {
    let status = gateway.node.status().await?;
    let peers = gateway.node.peers().await?;
    let position = *gateway.node.catalogue().position().borrow();
    let changes = changes(gateway, position).await?;
    let [received, sent] = traffic(&gateway.node.metrics().await?);
    Ok(Page {
        complete: status.caught_up.complete,
        caught_up: caught_up(&status.caught_up),
        peer: status.peer,
        addresses: status.addresses.iter().map(|one| split(one)).collect(),
        version: status.version,
        uptime: duration(status.uptime_seconds),
        root: status.root,
        records: grouped(status.records),
        packages: grouped(status.packages),
        versions: grouped(status.versions),
        blobs: grouped(status.blobs),
        blob_bytes: bytes(status.blob_bytes),
        received: bytes(received),
        sent: bytes(sent),
        search_behind: status.search_behind,
        peers_total: peers.len(),
        peers: peers.into_iter().take(PEERS_MAX).map(Peer::from).collect(),
        position: changes.first().map_or(position, |change| change.position),
        changes,
    })
}

/// Bytes that came from peers and went to them, of every kind.
fn traffic(counted: &Metrics) -> [u64; 2] {
    let families = counted.families.iter();
    let traffic = families.filter(|family| family.name == "market_traffic_bytes_total");
    let mut sums = [0_u64; 2];
    for series in traffic.flat_map(|family| &family.series) {
        let direction = series.labels.iter().find(|(name, _)| *name == "direction");
        let MetricValue::Counter(bytes) = &series.value else {
            continue;
        };
        match direction {
            Some((_, "in")) => sums[0] = sums[0].saturating_add(*bytes),
            Some((_, "out")) => sums[1] = sums[1].saturating_add(*bytes),
            _ => {}
        }
    }
    sums
}

/// An address in the two parts between which a line may break.
fn split(address: &str) -> (String, String) {
    let at = address.find("/p2p/").unwrap_or(address.len());
    let (place, id) = address.split_at(at);
    (place.to_owned(), id.to_owned())
}

fn caught_up(caught_up: &CaughtUp) -> String {
    let CaughtUp {
        complete,
        known,
        reconciled,
    } = caught_up;
    match (complete, known) {
        (_, 0) => "No other node is known, so there is nobody to catch up with.".to_owned(),
        (true, _) => format!("Reconciled with {reconciled} of {known} known nodes."),
        (false, _) => format!(
            "Reconciled with {reconciled} of {known} known nodes so far: something may be missing here."
        ),
    }
}

impl From<PeerStatus> for Peer {
    fn from(peer: PeerStatus) -> Self {
        Self {
            short: short(&peer.peer),
            id: peer.peer,
            agent: clip(&peer.agent.unwrap_or_default(), AGENT_MAX),
            rtt: peer
                .rtt_ms
                .map(|ms| match ms {
                    0 => "< 1 ms".to_owned(),
                    _ => format!("{ms} ms"),
                })
                .unwrap_or_default(),
            in_sync: peer.in_sync,
            sent: bytes(peer.sent_bytes),
        }
    }
}

/// The last changes, newest first.
async fn changes(gateway: &Gateway, position: u64) -> Result<Vec<Change>> {
    let since = position.saturating_sub(CHANGES_MAX);
    let records = gateway.node.records_since(since, CHANGES_MAX as usize);
    let mut labels = BTreeMap::new();
    let mut changes = Vec::new();
    for record in records.await?.into_iter().rev() {
        if let Some(owner) = &record.owner
            && let Entry::Vacant(unknown) = labels.entry(owner.clone())
        {
            let owner: OwnerId = owner.parse()?;
            let trust = gateway.node.choices()?.trust(owner, None).await?;
            unknown.insert(trust.label.unwrap_or_else(|| owner.short()));
        }
        changes.push(changed(record, &labels));
    }
    Ok(changes)
}

fn changed(record: RecordEvent, labels: &BTreeMap<String, String>) -> Change {
    let called = |owner: String| {
        let called = labels.get(&owner).cloned().unwrap_or_default();
        (owner, called)
    };
    Change {
        position: record.position,
        // The script says the same of what comes later.
        words: match record.kind.as_str() {
            "publish" => "published",
            "state" => "changed the state of",
            "genesis" => "founded a namespace",
            "acl" => "changed who may publish",
            "endorse" => "said whom it trusts",
            "gone" => "made room",
            _ => "wrote something newer than this node",
        },
        href: match (&record.owner, &record.name) {
            (Some(owner), Some(name)) => Some(format!("/packages/{owner}/{name}")),
            (Some(owner), None) => Some(format!("/owners/{owner}")),
            _ => None,
        },
        name: record.name,
        version: record.version,
        owner: record.owner.map(called),
    }
}
