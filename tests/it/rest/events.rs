//! What happens on a node, as a client is told of it; and where archives can be had.

use ggen_marketplace::testing::cluster::{Member, Options, author, eventually};
use serde_json::json;

use crate::served::{DEADLINE, Served, alone};

#[tokio::test]
async fn a_publication_is_told_at_once() {
    let (member, _home, served) = alone().await;
    let mut watch = served.watch("").await;
    assert_eq!(watch.head.status, 200);
    assert_eq!(watch.head.header("content-type"), Some("text/event-stream"));
    let mut author = author(1);
    let published = member
        .publish(&mut author, "Lib@1.0.0", "content")
        .await
        .unwrap();
    let record = watch.next_of("record").await;
    assert_eq!(record.id, record.data["position"].as_u64());
    let position = record.id.unwrap();
    let owner = author.owner().to_string();
    assert_eq!(
        record.data,
        json!({ "position": position, "owner": owner, "name": "lib", "version": "1.0.0", "kind": "publish" })
    );
    let yank = author.yank("lib", 1, true);
    member.node.submit(yank.envelope().clone()).await.unwrap();
    // The verdict on the archive is a step of its own, of the same record.
    let state = loop {
        let record = watch.next_of("record").await;
        if record.data["kind"] == "state" {
            break record;
        }
    };
    assert_eq!(
        (&state.data["name"], &state.data["version"]),
        (&json!("lib"), &json!(null))
    );
    assert!(state.id.unwrap() > position);
    let mut watch = served.watch("").await;
    let other = member
        .publish(&mut author, "other@1.0.0", "other")
        .await
        .unwrap();
    let blob = watch.next_of("blob").await;
    assert_eq!(blob.data, json!({ "blake3": other.blake3, "size": 5 }));
    assert_ne!(other.blake3, published.blake3);
    served.stop().await;
    member.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_was_away_gets_what_it_missed() {
    let (member, _home, served) = alone().await;
    let mut author = author(1);
    let records: Vec<_> = (0..1_200)
        .map(|at| author.publish(&format!("pack-{at}@1.0.0"), "content"))
        .collect();
    member.node.catalogue().admit(records).await.unwrap();
    let last = *member.node.catalogue().position().borrow();
    assert_eq!(last, 1_200);
    let mut watch = served.watch("Last-Event-ID: 1150\r\n").await;
    for position in 1_151..=last {
        let record = watch.next().await.unwrap();
        assert_eq!(
            (record.event.as_str(), record.id),
            ("record", Some(position))
        );
    }
    let record = author.publish("new@1.0.0", "content");
    member.node.catalogue().admit(vec![record]).await.unwrap();
    let record = watch.next().await.unwrap();
    assert_eq!(
        (record.id, &record.data["name"]),
        (Some(1_201), &json!("new"))
    );
    let mut watch = served.watch("Last-Event-ID: 1\r\n").await;
    let lost = watch.next().await.unwrap();
    assert_eq!(
        (lost.event.as_str(), lost.data),
        ("lost", json!({ "events": 200 }))
    );
    assert_eq!(watch.next().await.unwrap().id, Some(202));
    // A position that was never reached is one of another catalogue: the client is told of what is new.
    let mut watch = served.watch("Last-Event-ID: 9999999\r\n").await;
    let record = author.publish("newer@1.0.0", "content");
    member.node.catalogue().admit(vec![record]).await.unwrap();
    assert_eq!(watch.next().await.unwrap().id, Some(1_202));
    for wrong in ["x", "-1", ""] {
        let watch = served.watch(&format!("Last-Event-ID: {wrong}\r\n")).await;
        assert_eq!(watch.head.status, 400, "{wrong}");
    }
    served.stop().await;
    member.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_new_waits_until_the_past_is_told() {
    let (member, _home, served) = alone().await;
    let mut author = author(1);
    let mut records: Vec<_> = (0..950)
        .map(|at| author.publish(&format!("pack-{at}@1.0.0"), "content"))
        .collect();
    let later = records.split_off(900);
    member.node.catalogue().admit(records).await.unwrap();
    let node = member.node.clone();
    let admitting = tokio::spawn(async move {
        for record in later {
            node.catalogue().admit(vec![record]).await.unwrap();
        }
    });
    while !admitting.is_finished() {
        let mut watch = served.watch("Last-Event-ID: 1\r\n").await;
        for position in 2..=900 {
            assert_eq!(watch.next().await.unwrap().id, Some(position));
        }
    }
    admitting.await.unwrap();
    served.stop().await;
    member.stop().await.unwrap();
}

#[tokio::test]
async fn streams_are_bounded_and_hold_nothing_else_up() {
    let (member, _home, served) = alone().await;
    let mut watches = Vec::new();
    for _ in 0..32 {
        let watch = served.watch("").await;
        assert_eq!(watch.head.status, 200);
        watches.push(watch);
    }
    assert_eq!(served.watch("").await.head.status, 503);
    assert_eq!(
        served.get("/healthz").await.status,
        200,
        "pages are answered meanwhile"
    );
    watches.truncate(10);
    eventually("there is room again", DEADLINE, async || {
        // What happens makes the node notice who is gone.
        let mut author = author(1);
        let said = member.publish(&mut author, "lib@1.0.0", "content").await;
        said.is_ok() && served.watch("").await.head.status == 200
    })
    .await;
    served.stop().await;
    member.stop().await.unwrap();
}

#[tokio::test]
async fn streams_end_with_the_node() {
    let (member, _home, served) = alone().await;
    let mut watch = served.watch("").await;
    served.stop().await;
    assert_eq!(watch.next().await, None);
    let served = Served::start(&member.node).await;
    let mut watch = served.watch("").await;
    member.stop().await.unwrap();
    while watch.next().await.is_some() {}
    served.stop().await;
}

#[tokio::test]
async fn peers_and_their_archives_are_told_of() {
    let (first, _first_home) = Member::start(Options::default()).await.unwrap();
    let served = Served::start(&first.node).await;
    let mut watch = served.watch("").await;
    let mut author = author(1);
    first
        .publish(&mut author, "lib@1.0.0", "content")
        .await
        .unwrap();
    let path = "/api/v1/packages/_/lib/1.0.0/availability";
    let alone = served.json(path).await;
    assert_eq!(
        alone,
        json!({ "held": true, "peers": 0, "asked": 0, "answered": 0, "holding": 0 })
    );

    let (second, _second_home) = Member::start(Options::to(&[&first])).await.unwrap();
    let up = watch.next_of("peer").await;
    let peer = second.node.status().await.unwrap().peer.unwrap();
    assert_eq!(up.data, json!({ "peer": peer, "up": true }));
    let other = Served::start(&second.node).await;
    eventually("the record has come", DEADLINE, async || {
        other.get("/api/v1/packages/lib").await.status == 200
    })
    .await;
    let there = other.json(path).await;
    assert_eq!(
        there,
        json!({ "held": false, "peers": 1, "asked": 1, "answered": 1, "holding": 1 })
    );
    let here = served.json(path).await;
    assert_eq!(
        here,
        json!({ "held": true, "peers": 1, "asked": 1, "answered": 1, "holding": 0 })
    );

    let mut there = other.watch("").await;
    let fetched = second.fetch("lib").await.unwrap();
    let blob = there.next_of("blob").await;
    assert_eq!(blob.data, json!({ "blake3": fetched.blake3, "size": 7 }));
    assert_eq!(served.json(path).await["holding"], 1);
    assert_eq!(served.json("/api/v1/peers").await["peers"][0]["peer"], peer);

    other.stop().await;
    second.stop().await.unwrap();
    let down = watch.next_of("peer").await;
    assert_eq!(down.data, json!({ "peer": peer, "up": false }));
    served.stop().await;
    first.stop().await.unwrap();
}
