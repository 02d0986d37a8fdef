//! Two to five real nodes on loopback.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ggen_marketplace::Error;
use ggen_marketplace::node::{Mirror, NodeError, Wanted};
use ggen_marketplace::protocols::id::NetworkId;
use ggen_marketplace::protocols::reconcile::INTERVAL;
use ggen_marketplace::registry::RegistryError;
use ggen_marketplace::testing::cluster::{Home, Line, Member, Options, author, eventually, now_ms};
use ggen_marketplace::testing::registry::Author;

use crate::place::DEADLINE;

/// Well before peers that agree greet each other again: what comes so early came for another reason. It takes
/// milliseconds on a machine that does nothing else.
const SECONDS: Duration = Duration::from_secs(20);
const _: () = assert!(SECONDS.as_secs() * 2 < INTERVAL.as_secs());

async fn alone() -> (Member, Home) {
    Member::start(Options::default()).await.unwrap()
}

async fn joined(to: &[&Member]) -> (Member, Home) {
    let (member, home) = Member::start(Options::to(to)).await.unwrap();
    eventually("connected", DEADLINE, async || {
        member.peers().await == to.len()
    })
    .await;
    (member, home)
}

async fn equal(a: &Member, b: &Member, deadline: Duration) {
    let equal = async || a.root().await == b.root().await;
    eventually("both know the same", deadline, equal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_publishes_is_found_and_fetched_on_another() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let mut alice = author(1);
    let published = a
        .publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    assert!(published.new);
    eventually("found", DEADLINE, async || b.finds("demo").await).await;

    let fetched = b.fetch("demo").await.unwrap();
    assert!(!fetched.local);
    assert_eq!(fetched.package, "demo@1.0.0");
    assert_eq!(fetched.blake3, published.blake3);
    assert_eq!(fetched.providers.values().sum::<u64>(), 7);
    assert_eq!(b.bytes(&fetched).await.unwrap(), b"content");
    assert!(b.fetch("demo").await.unwrap().local);
    for member in [a, b] {
        let report = member.node.verify().await.unwrap();
        assert_eq!((report.records, report.blobs), (1, 1));
        assert_eq!(report.findings, Vec::<String>::new());
        member.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_gets_everything_through_the_second_when_the_first_is_gone() {
    let (a, _a) = alone().await;
    let all = Options {
        mirror: Mirror::All,
        ..Options::to(&[&a])
    };
    let (b, _b) = Member::start(all).await.unwrap();
    let mut alice = author(1);
    for n in 0..20 {
        let (release, content) = (format!("package-{n}@1.0.0"), format!("content {n}"));
        a.publish(&mut alice, &release, &content).await.unwrap();
    }
    let mirrored = async || b.node.status().await.unwrap().blobs == 20;
    eventually("mirrored", DEADLINE, mirrored).await;
    let root = a.root().await;
    a.stop().await.unwrap();

    let (c, _c) = joined(&[&b]).await;
    let same = async || c.root().await == root;
    eventually("the same root", DEADLINE, same).await;
    for n in 0..20 {
        let name = format!("package-{n}");
        eventually("found", DEADLINE, async || c.finds(&name).await).await;
        let fetched = c.fetch(&name).await.unwrap();
        let content = format!("content {n}");
        assert_eq!(c.bytes(&fetched).await.unwrap(), content.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_offline_is_known_to_all_after_the_next_start() {
    let mut home = Home::new().unwrap();
    let offline = Options {
        online: false,
        ..Options::default()
    };
    let a = home.start(offline).await.unwrap();
    let mut alice = author(1);
    a.publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    let error = a.fetch("other").await.unwrap_err();
    assert!(matches!(error, Error::Registry(RegistryError::NotFound(_))));
    a.stop().await.unwrap();

    let (b, _b) = alone().await;
    let a = home.start(Options::to(&[&b])).await.unwrap();
    eventually("found", DEADLINE, async || b.finds("demo").await).await;
    equal(&a, &b, DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_again_is_nothing_new_and_other_content_a_conflict() {
    let (a, _a) = alone().await;
    let mut alice = author(1);
    let first = a
        .publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    let head = alice.head;
    let root = a.root().await;

    let again = a
        .publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    assert!(!again.new);
    assert_eq!(again.record, first.record);
    let other = a
        .publish(&mut alice, "demo@1.0.0", "other")
        .await
        .unwrap_err();
    assert!(
        matches!(&other, Error::Registry(RegistryError::Conflict { id }) if id.name == "demo"),
        "{other:?}"
    );
    // Two records were signed meanwhile that nobody took: the next one skips a place in the feed.
    let stale = a
        .publish(&mut alice, "demo@2.0.0", "content")
        .await
        .unwrap_err();
    assert!(matches!(stale, Error::Node(NodeError::Stale)), "{stale:?}");
    assert_eq!(a.root().await, root);
    alice.head = head;
    assert!(
        a.publish(&mut alice, "demo@2.0.0", "content")
            .await
            .unwrap()
            .new
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_what_its_record_says_leaves_nothing_behind() {
    let (a, _a) = alone().await;
    let mut alice = author(1);
    let record = alice.publish("demo@1.0.0", "content");
    let error = a.hand_over(&record, "another").await.unwrap_err();
    assert!(matches!(error, Error::Archive(_)), "{error:?}");
    let status = a.node.status().await.unwrap();
    assert_eq!((status.records, status.blobs), (0, 0));
    assert!(a.hand_over(&record, "content").await.unwrap().new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yank_hides_a_version_everywhere_and_its_exact_id_still_fetches() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let mut alice = author(1);
    a.publish(&mut alice, "demo@1.0.0", "one").await.unwrap();
    a.publish(&mut alice, "demo@1.1.0", "two").await.unwrap();
    let yank = alice.yank("demo@1.1.0", 1, true);
    a.node.submit(yank.envelope().clone()).await.unwrap();
    equal(&a, &b, DEADLINE).await;
    assert_eq!(b.fetch("demo@1").await.unwrap().package, "demo@1.0.0");
    let exact = b.fetch("demo@1.1.0").await.unwrap();
    assert!(exact.warning.unwrap().contains("yanked"));

    let unyank = alice.yank("demo@1.1.0", 2, false);
    a.node.submit(unyank.envelope().clone()).await.unwrap();
    equal(&a, &b, DEADLINE).await;
    let fetched = b.fetch("demo@1").await.unwrap();
    assert_eq!(
        (fetched.package.as_str(), fetched.warning),
        ("demo@1.1.0", None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_nobody_holds_is_an_error_that_says_so() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let (c, _c) = joined(&[&b]).await;
    let mut alice = author(1);
    a.publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    equal(&a, &c, DEADLINE).await;
    // It is connected to the second only, which does not hold it.
    let error = c.fetch("demo").await.unwrap_err();
    let Error::Node(NodeError::NoProvider { asked, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(asked, 1);
    b.fetch("demo").await.unwrap();
    c.fetch("demo").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_the_same_blob_share_one_fetch() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let content = "0123456789abcdef".repeat(1 << 18);
    let mut alice = author(1);
    a.publish(&mut alice, "large@1.0.0", &content)
        .await
        .unwrap();
    equal(&a, &b, DEADLINE).await;
    let wanted: Wanted = "large".parse().unwrap();
    let fetches = (0..20).map(|_| b.node.fetch(&wanted, None));
    let fetched = futures::future::join_all(fetches).await;
    for fetched in fetched {
        let fetched = fetched.unwrap();
        assert_eq!(fetched.size, content.len() as u64);
    }
    assert_eq!(b.node.status().await.unwrap().blobs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_dies_in_the_middle_is_replaced_by_another() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let content = "0123456789abcdef".repeat(4 << 20);
    let mut alice = author(1);
    a.publish(&mut alice, "large@1.0.0", &content)
        .await
        .unwrap();
    equal(&a, &b, DEADLINE).await;
    b.fetch("large").await.unwrap();
    let (c, _c) = joined(&[&a, &b]).await;
    equal(&a, &c, DEADLINE).await;

    let node = c.node.clone();
    let (steps, mut progress) = tokio::sync::mpsc::channel(64);
    let wanted: Wanted = "large".parse().unwrap();
    let fetch = tokio::spawn(async move { node.fetch(&wanted, Some(steps)).await });
    while progress.recv().await.is_some_and(|step| step.bytes == 0) {}
    a.stop().await.unwrap();
    let fetched = tokio::time::timeout(DEADLINE, fetch).await.unwrap();
    let fetched = fetched.unwrap().unwrap();
    assert_eq!(fetched.size, content.len() as u64);
    assert_eq!(c.bytes(&fetched).await.unwrap(), content.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_halves_know_the_same_within_seconds_of_being_joined_again() {
    let (a, _a) = alone().await;
    let mut line = Line::to(&a).await.unwrap();
    let through = Options {
        bootstrap: vec![line.address()],
        ..Options::default()
    };
    let (b, _b) = Member::start(through).await.unwrap();
    eventually("connected", DEADLINE, async || b.peers().await == 1).await;
    let (mut alice, mut bob) = (author(1), author(2));
    a.publish(&mut alice, "before@1.0.0", "x").await.unwrap();
    equal(&a, &b, DEADLINE).await;

    line.cut().await;
    eventually("apart", DEADLINE, async || {
        b.peers().await + a.peers().await == 0
    })
    .await;
    for n in 0..30 {
        let content = format!("content {n}");
        a.publish(&mut alice, &format!("of-a-{n}@1.0.0"), &content)
            .await
            .unwrap();
        b.publish(&mut bob, &format!("of-b-{n}@1.0.0"), &content)
            .await
            .unwrap();
    }
    assert_ne!(a.root().await, b.root().await);

    line.mend().await.unwrap();
    equal(&a, &b, SECONDS).await;
    assert_eq!(a.node.status().await.unwrap().records, 61);
    eventually("found", DEADLINE, async || a.finds("of-b-29").await).await;
    let told = async || {
        b.node
            .peers()
            .await
            .unwrap()
            .iter()
            .all(|peer| peer.in_sync)
    };
    eventually("told as being in sync", DEADLINE, told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_is_up_to_date_within_seconds_of_coming_back() {
    let (a, _a) = alone().await;
    let mut home = Home::new().unwrap();
    let b = home.start(Options::to(&[&a])).await.unwrap();
    let mut alice = author(1);
    a.publish(&mut alice, "one@1.0.0", "x").await.unwrap();
    equal(&a, &b, DEADLINE).await;
    b.stop().await.unwrap();
    a.publish(&mut alice, "two@1.0.0", "y").await.unwrap();
    let b = home.start(Options::to(&[&a])).await.unwrap();
    equal(&a, &b, SECONDS).await;
    eventually("found", DEADLINE, async || b.finds("two").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_peer_that_comes_up_later_is_found() {
    let mut home = Home::new().unwrap();
    let a = home.start(Options::default()).await.unwrap();
    let to_a = Options::to(&[&a]);
    a.stop().await.unwrap();
    let (b, _b) = Member::start(to_a).await.unwrap();
    assert_eq!(b.peers().await, 0);
    let _a = home.start(Options::default()).await.unwrap();
    eventually("connected", DEADLINE, async || b.peers().await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_networks_do_not_talk() {
    let (a, _a) = alone().await;
    let other = Options {
        network: NetworkId::named("other"),
        ..Options::to(&[&a])
    };
    let (b, _b) = Member::start(other).await.unwrap();
    let mut alice = author(1);
    a.publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    eventually("apart", DEADLINE, async || {
        a.peers().await + b.peers().await == 0
    })
    .await;
    assert_eq!(b.node.catalogue().totals().await.unwrap().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_the_future_is_taken_once_its_time_has_come() {
    /// How far this node's clock goes behind, in milliseconds.
    static BEHIND_MS: AtomicU64 = AtomicU64::new(3600 * 1000);
    let late: fn() -> u64 = || now_ms() - BEHIND_MS.load(Ordering::Relaxed);

    let (a, _a) = alone().await;
    let slow = Options {
        clock: Some(late),
        ..Options::to(&[&a])
    };
    let mut home = Home::new().unwrap();
    let b = home.start(slow.clone()).await.unwrap();
    eventually("connected", DEADLINE, async || b.peers().await == 1).await;
    let mut alice = author(1);
    a.publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    let met = async || {
        let peers = b.node.peers().await.unwrap();
        let root = a.root().await;
        peers.iter().all(|peer| peer.root.as_ref() == Some(&root))
    };
    eventually("it knows that there is something", DEADLINE, met).await;
    assert_eq!(b.node.status().await.unwrap().records, 0);
    let refused = b
        .hand_over(&alice.publish("mine@1.0.0", "x"), "x")
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Node(NodeError::Refused(_))),
        "{refused:?}"
    );

    BEHIND_MS.store(0, Ordering::Relaxed);
    b.stop().await.unwrap();
    let b = home.start(slow).await.unwrap();
    equal(&a, &b, DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_record_reaches_everybody_without_gossip() {
    let (a, _a) = alone().await;
    let (b, _b) = joined(&[&a]).await;
    let (c, _c) = joined(&[&b]).await;
    let mut alice = Author::new(1);
    a.publish(&mut alice, "old@1.0.0", "content").await.unwrap();
    equal(&a, &c, DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_says_so_and_lets_its_data_go() {
    let mut home = Home::new().unwrap();
    let a = home.start(Options::default()).await.unwrap();
    let node = a.node.clone();
    let mut alice = author(1);
    let record = alice.publish("demo@1.0.0", "content");
    let mut archive = "content".as_bytes();
    // Accepted before the stop, so it is finished.
    let publishing = node.publish(record.envelope().clone(), &mut archive);
    let (published, stopped) = tokio::join!(publishing, async {
        let written = async || node.catalogue().totals().await.unwrap().records == 1;
        eventually("accepted", DEADLINE, written).await;
        a.stop().await
    });
    stopped.unwrap();
    published.unwrap();
    let error = node.peers().await.unwrap_err();
    assert!(matches!(error, Error::Node(NodeError::Stopped)));
    drop(node);
    let a = home.start(Options::default()).await.unwrap();
    assert_eq!(a.node.status().await.unwrap().versions, 1);
    assert_eq!(
        a.node.verify().await.unwrap().findings,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let (a, _a) = alone().await;
    let mut home = Home::new().unwrap();
    let error = home.start_at(&a).await.unwrap_err();
    let Error::Node(NodeError::Listen { address, .. }) = &error else {
        panic!("{error:?}");
    };
    assert!(a.address.starts_with(address.as_str()), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_a_record_is_gone_after_the_next_start() {
    let (a, _a) = alone().await;
    let mut home = Home::new().unwrap();
    let b = home.start(Options::to(&[&a])).await.unwrap();
    let mut alice = author(1);
    b.publish(&mut alice, "demo@1.0.0", "content")
        .await
        .unwrap();
    // What is left if the node dies between holding an archive and writing its record.
    let orphan = b.node.store().store("orphan".into()).await.unwrap();
    let report = b.node.verify().await.unwrap();
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.contains(&orphan.to_string()))
    );
    b.stop().await.unwrap();
    let b = home.start(Options::default()).await.unwrap();
    let gone = async || !b.node.store().is_held(&orphan);
    eventually("gone", DEADLINE, gone).await;
    assert_eq!(
        b.node.verify().await.unwrap().findings,
        Vec::<String>::new()
    );
    assert!(b.fetch("demo").await.unwrap().local);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_reaches_those_who_are_there_and_those_who_come_late() {
    let (a, _home_a) = alone().await;
    let (b, _home_b) = joined(&[&a]).await;
    let mut alice = author(1);
    // A head is gossiped once. Who is connected listens a moment later: where records pass one by one, it does.
    for release in ["demo@1.0.0", "demo@1.1.0"] {
        a.publish(&mut alice, release, "content").await.unwrap();
        equal(&a, &b, DEADLINE).await;
    }
    let head = alice.witness();
    a.node.submit(head.envelope().clone()).await.unwrap();
    let complete = async |member: &Member| {
        let sights = member.node.catalogue().sights(alice.owner()).await.unwrap();
        let [sight] = &sights[..] else { return false };
        sight.witness == alice.key() && sight.missing == 0
    };
    eventually("the head by gossip", DEADLINE, async || complete(&b).await).await;
    a.stop().await.unwrap();
    let (c, _home_c) = joined(&[&b]).await;
    // It is asked for as soon as both know the same.
    equal(&b, &c, DEADLINE).await;
    eventually("the head on request", DEADLINE, async || complete(&c).await).await;
}
