//! Two or three networks on loopback, without the rest of a node; and a node with a peer that misbehaves.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ggen_protocols::id::RecordId;
use ggen_protocols::message::Hello;
use ggen_protocols::reconcile::fingerprint::Root;
use serde_bytes::ByteBuf;
use tokio::time::timeout;

use super::*;
use crate::node::{Listen, Node, Running};
use crate::registry::local::OpenOptions;
use crate::store::memory::MemoryPackageStore;
use crate::testing::cluster::author;
use crate::testing::memory::MemoryRegistry;

const SOON: Duration = Duration::from_secs(10);

fn config(bootstrap: &[String]) -> Config {
    Config {
        listen: Listen {
            swarm: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            blobs: SocketAddr::from(([127, 0, 0, 1], 0)),
        },
        bootstrap: bootstrap.to_vec(),
        mdns: false,
        ..Config::default()
    }
}

async fn swarm(seed: u8, bootstrap: &[String]) -> Swarm {
    let key = PrivateKey::from_seed([seed; 32]);
    Swarm::start(&key, &config(bootstrap), NetworkId::main(), "test/1")
        .await
        .unwrap()
}

fn peer(seed: u8) -> PeerId {
    PrivateKey::from_seed([seed; 32]).peer()
}

/// Two that are connected: the second found the first.
async fn pair() -> (Swarm, Swarm) {
    let mut a = swarm(1, &[]).await;
    let mut b = swarm(2, &a.addresses()).await;
    let connected = async {
        let (event, other) = tokio::join!(a.next(), b.next());
        assert!(
            matches!(event, Event::Connected(of) if of == peer(2)),
            "{event:?}"
        );
        assert!(
            matches!(other, Event::Connected(of) if of == peer(1)),
            "{other:?}"
        );
    };
    timeout(SOON, connected).await.unwrap();
    (a, b)
}

/// Lets both go on until the first sees something that `wanted` takes.
async fn until<T>(a: &mut Swarm, b: &mut Swarm, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            tokio::select! {
                event = a.next() => if let Some(found) = wanted(event) {
                    return found;
                },
                _ = b.next() => {}
            }
        }
    };
    timeout(SOON, found).await.unwrap()
}

/// Gossips what only a misbehaving peer would, again and again until the mesh carries it.
impl Swarm {
    fn gossip(&mut self, data: Vec<u8>) -> bool {
        let topic = self.topic.clone();
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.publish(topic, data).is_ok()
    }

    fn score(&self, of: PeerId) -> f64 {
        self.swarm
            .behaviour()
            .gossip
            .peer_score(&outer(of))
            .unwrap()
    }
}

#[test]
fn peer_ids_are_the_same_in_both_terms() {
    let id = peer(7);
    assert_eq!(inner(&outer(id)), Some(id));
    assert_eq!(outer(id).to_string(), id.to_string());
    let seed = PrivateKey::from_seed([7; 32]).seed();
    let keypair = Keypair::ed25519_from_bytes(seed).unwrap();
    assert_eq!(keypair.public().to_peer_id(), outer(id));
}

#[tokio::test]
async fn a_question_is_answered_by_whom_it_was_put_to() {
    let (mut a, mut b) = pair().await;
    let request = Request::Hello(Hello {
        network: NetworkId::main(),
        root: Root::default(),
        time_ms: 5,
        blob_addresses: vec!["0.0.0.0:9".to_owned()],
        agent: "test/1".to_owned(),
    });
    let ask = b.ask(peer(1), request.clone());
    let reply = until(&mut a, &mut b, |event| match event {
        Event::Asked {
            peer: of,
            request: asked,
            reply,
        } => {
            assert_eq!((of, &asked), (peer(2), &request));
            Some(reply)
        }
        _ => None,
    })
    .await;
    a.answer(reply, Response::Busy(77));
    let response = until(&mut b, &mut a, |event| match event {
        Event::Answered { ask: of, response } => {
            assert_eq!(of, ask);
            Some(response)
        }
        _ => None,
    })
    .await;
    assert_eq!(response, Response::Busy(77));
}

#[tokio::test]
async fn a_question_to_a_peer_that_goes_away_fails() {
    let (mut a, mut b) = pair().await;
    let ask = a.ask(peer(2), Request::Holds(Vec::new()));
    until(&mut b, &mut a, |event| {
        matches!(event, Event::Asked { .. }).then_some(())
    })
    .await;
    drop(b);
    let mut nobody = swarm(3, &[]).await;
    let failed = until(&mut a, &mut nobody, |event| match event {
        Event::Failed { ask, .. } => Some(ask),
        _ => None,
    })
    .await;
    assert_eq!(failed, ask);
}

#[tokio::test]
async fn an_invalid_message_is_not_passed_on_and_costs_its_sender() {
    let (mut a, mut b) = pair().await;
    let mut sent = 0u64;
    while a.score(peer(2)) > -500.0 {
        let heard = async {
            loop {
                tokio::select! {
                    event = a.next() => if let Event::Heard(heard) = event {
                        return heard;
                    },
                    _ = b.next() => {}
                    // The topic's subscription takes a moment to arrive.
                    () = tokio::time::sleep(Duration::from_millis(10)) => {
                        sent += 1;
                        b.gossip(sent.to_be_bytes().to_vec());
                    }
                }
            }
        };
        let heard = timeout(SOON, heard).await.unwrap();
        assert_eq!(heard.from, peer(2));
        a.judge(&heard, Judgement::Reject);
    }
    assert!(!a.is_graylisted(peer(2)));
}

#[tokio::test]
async fn a_banned_peer_is_let_in_no_more() {
    let (mut a, mut b) = pair().await;
    a.ban(peer(2), "for the test");
    until(&mut a, &mut b, |event| {
        matches!(event, Event::Disconnected(_)).then_some(())
    })
    .await;
    let mut dials = 0;
    until(&mut b, &mut a, |event| {
        dials += usize::from(matches!(event, Event::Connected(_)));
        matches!(event, Event::Disconnected(_)).then_some(())
    })
    .await;
    // It dials again by itself; every connection is closed before anything is said on it.
    assert!(a.peers().is_empty());
    assert!(dials <= 1, "{dials}");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_and_not_shared() {
    let a = swarm(1, &[]).await;
    let addresses = a.addresses();
    let (address, _) = addresses[0].split_once("/p2p/").unwrap();
    let mut taken = config(&[]);
    taken.listen.swarm = vec![address.to_owned()];
    let key = PrivateKey::from_seed([2; 32]);
    let started = Swarm::start(&key, &taken, NetworkId::main(), "test/1").await;
    let Err(NodeError::Listen { address: named, .. }) = started else {
        panic!("{started:?}");
    };
    assert_eq!(named, address);
}

async fn node(bootstrap: &[String]) -> (Node, Running) {
    let registry = Arc::new(MemoryRegistry::new(OpenOptions::default()));
    let store = Arc::new(MemoryPackageStore::new());
    let builder = Node::builder(registry, store, config(bootstrap));
    builder
        .transport(PrivateKey::from_seed([9; 32]))
        .spawn()
        .await
        .unwrap()
}

/// Lets a swarm gossip messages until it sees an event that `wanted` takes.
async fn gossip_until(
    swarm: &mut Swarm,
    mut message: impl FnMut(u64) -> Vec<u8>,
    mut wanted: impl FnMut(Event) -> bool,
) {
    let mut sent = 0;
    let seen = async {
        loop {
            tokio::select! {
                event = swarm.next() => if wanted(event) {
                    return;
                },
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    sent += 1;
                    swarm.gossip(message(sent));
                }
            }
        }
    };
    timeout(SOON, seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_disconnects_who_gossips_forged_records() {
    let (node, running) = node(&[]).await;
    let addresses = node.status().await.unwrap().addresses;
    let mut liar = swarm(2, &addresses).await;
    let honest = author(1).publish("demo@1.0.0", "content");
    let forged = |n: u64| {
        let mut envelope = honest.envelope().to_vec();
        let end = envelope.len() - 1 - n as usize % 60;
        envelope[end] ^= 1 << (n % 7);
        Announcement::Record(ByteBuf::from(envelope)).encode()
    };
    gossip_until(&mut liar, forged, |event| {
        matches!(event, Event::Disconnected(_))
    })
    .await;
    assert_eq!(node.status().await.unwrap().records, 0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_record_is_asked_of_who_announced_it() {
    let (node, running) = node(&[]).await;
    let addresses = node.status().await.unwrap().addresses;
    let mut announcer = swarm(2, &addresses).await;
    let record = large_record();
    let id = record.0;
    let announcement = Announcement::of(id, &record.1);
    assert_eq!(
        announcement,
        Announcement::Large((id, record.1.len() as u64))
    );
    let mut reply = None;
    let message = announcement.encode();
    gossip_until(
        &mut announcer,
        |_| message.clone(),
        |event| match event {
            Event::Asked {
                request: Request::Records(ids),
                reply: to,
                ..
            } if ids == [id] => {
                reply = Some(to);
                true
            }
            _ => false,
        },
    )
    .await;
    let envelope = Some(ByteBuf::from(record.1.to_vec()));
    announcer.answer(reply.unwrap(), Response::Records(vec![envelope]));
    let admitted = async {
        while node.status().await.unwrap().records == 0 {
            tokio::select! {
                _ = announcer.next() => {}
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    };
    timeout(SOON, admitted).await.unwrap();
    running.stop().await.unwrap();
}

/// A record that is too large to be gossiped.
fn large_record() -> (RecordId, Bytes) {
    let mut metadata = crate::testing::registry::metadata("large@1.0.0");
    metadata.format = ggen_protocols::metadata::Format::Cargo;
    for n in 0..600 {
        let feature = format!("feature-{n}");
        let values = (0..3).map(|value| format!("feature-{n}-with-value-{value}"));
        metadata.features.insert(feature, values.collect());
    }
    let record = author(1).publish_metadata(metadata, "content");
    (record.id(), record.envelope().clone())
}
