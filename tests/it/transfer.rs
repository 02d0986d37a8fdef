//! Blobs between real endpoints on loopback, honest and hostile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ggen_marketplace::node::Progress;
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::PeerId;
use ggen_marketplace::store::BlobStore;
use ggen_marketplace::store::file::FilePackageStore;
use ggen_marketplace::store::memory::MemoryPackageStore;
use ggen_marketplace::testing::store::{SIZES, content};
use ggen_marketplace::testing::transfer::{Hostile, Manner, Peer, answered};
use tempfile::TempDir;
use tokio::sync::mpsc;

const MIB: u64 = 1 << 20;
/// More than one piece for each of two peers.
const LARGE: u64 = 40 * MIB;
/// A fetch that needs longer hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Two seconds, and what the fetch itself takes.
const SILENCE_COSTS_MAX: Duration = Duration::from_secs(5);
/// How often something is to be tried that is quick on a machine that does nothing else.
const ATTEMPTS: usize = 4;

async fn peer() -> Peer {
    Peer::start(Arc::new(MemoryPackageStore::new()))
        .await
        .unwrap()
}

async fn peer_on_disk() -> (Peer, TempDir) {
    let dir = TempDir::new().unwrap();
    let store = FilePackageStore::new(dir.path()).await.unwrap();
    (Peer::start(Arc::new(store)).await.unwrap(), dir)
}

fn meet(from: &Peer, to: &Peer) {
    from.knows(to.id, &to.addresses());
}

/// A peer that has the blob of this seed and size, and its hash.
async fn provider(seed: u64, size: u64) -> (Peer, ContentHash) {
    let provider = peer().await;
    let hash = provider
        .store
        .store(content(seed, size as usize))
        .await
        .unwrap();
    (provider, hash)
}

async fn hostile(seed: u64, size: u64, manner: Manner, to: &Peer) -> Hostile {
    let store: Arc<dyn BlobStore> = Arc::new(MemoryPackageStore::new());
    store.store(content(seed, size as usize)).await.unwrap();
    let hostile = Hostile::start(store, manner).await.unwrap();
    to.knows(hostile.peer, &hostile.addresses);
    hostile
}

/// Fetches, checks the bytes, and says who gave how many.
async fn fetch(to: &Peer, hash: ContentHash, size: u64, from: &[PeerId]) -> Vec<(PeerId, u64)> {
    let fetched = tokio::time::timeout(HANGS, to.fetch(hash, size, from, None)).await;
    let (staged, given) = fetched.expect("it hangs").unwrap();
    assert!(!to.store.is_held(&hash), "it was not checked yet");
    to.store
        .hold(staged, ContentHash::sha256("checked"))
        .await
        .unwrap();
    let bytes = to.store.get(&hash).await.unwrap();
    assert_eq!(ContentHash::blake3(&bytes), hash);
    assert_eq!(bytes.len() as u64, size);
    given.into_iter().collect()
}

async fn refused(to: &Peer, hash: ContentHash, size: u64, from: &[PeerId]) -> String {
    let fetched = tokio::time::timeout(HANGS, to.fetch(hash, size, from, None)).await;
    fetched.expect("it hangs").unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_all_sizes_come_whole() {
    let (ours, _dir) = peer_on_disk().await;
    let (theirs, _other) = peer_on_disk().await;
    meet(&ours, &theirs);
    for (seed, size) in SIZES.into_iter().enumerate() {
        let bytes = content(seed as u64, size);
        let hash = theirs.store.store(bytes).await.unwrap();
        let given = fetch(&ours, hash, size as u64, &[theirs.id]).await;
        let all = if size == 0 {
            vec![]
        } else {
            vec![(theirs.id, size as u64)]
        };
        assert_eq!(given, all);
    }
    assert!(theirs.served()[&ours.id] >= SIZES.iter().sum::<usize>() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_comes_from_two_peers_at_once() {
    let (ours, _dir) = peer_on_disk().await;
    let (alice, hash) = provider(1, LARGE).await;
    let (bob, _) = provider(1, LARGE).await;
    meet(&ours, &alice);
    meet(&ours, &bob);
    let given = fetch(&ours, hash, LARGE, &[alice.id, bob.id]).await;
    assert_eq!(given.len(), 2, "{given:?}");
    assert_eq!(given.iter().map(|g| g.1).sum::<u64>(), LARGE);
    assert!(alice.served()[&ours.id] > 0 && bob.served()[&ours.id] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_when_its_provider_stops() {
    let ours = peer().await;
    let (alice, hash) = provider(2, LARGE).await;
    let (bob, _) = provider(2, LARGE).await;
    meet(&ours, &alice);
    meet(&ours, &bob);
    let (progress, mut seen) = mpsc::channel::<Progress>(1);
    let stopping = async {
        let first = seen.recv().await.unwrap();
        assert!(first.bytes < LARGE);
        alice.stop().await;
    };
    let peers = [alice.id, bob.id];
    let fetching = ours.fetch(hash, LARGE, &peers, Some(progress));
    let (fetched, ()) = tokio::join!(fetching, stopping);
    let (staged, given) = fetched.unwrap();
    assert!(given[&bob.id] > 0, "{given:?}");
    ours.store.hold(staged, hash).await.unwrap();
    assert_eq!(
        ours.store.get(&hash).await.unwrap(),
        content(2, LARGE as usize)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_costs_two_seconds_at_most_and_nothing_that_it_gave() {
    let size = 4 * MIB;
    let ours = peer().await;
    let (bob, hash) = provider(3, size).await;
    meet(&ours, &bob);
    for after in [0, 3 * MIB] {
        let mut fastest = Duration::MAX;
        for _ in 0..ATTEMPTS {
            let (ours, _dir) = peer_on_disk().await;
            meet(&ours, &bob);
            let silent = hostile(3, size, Manner::Silent(after), &ours).await;
            let began = Instant::now();
            let given = fetch(&ours, hash, size, &[silent.peer, bob.id]).await;
            fastest = fastest.min(began.elapsed());
            let from_bob = given.iter().find(|g| g.0 == bob.id).unwrap().1;
            assert!(from_bob <= size - after + MIB, "{from_bob} after {after}");
            if fastest < SILENCE_COSTS_MAX {
                break;
            }
        }
        assert!(fastest < SILENCE_COSTS_MAX, "{fastest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_vanishes_or_is_not_there_is_replaced() {
    let size = 4 * MIB;
    let (bob, hash) = provider(4, size).await;
    let ours = peer().await;
    meet(&ours, &bob);
    let gone = hostile(4, size, Manner::Closing(u64::MAX), &ours).await;
    let nobody = PeerId::from_bytes([9; 32]);
    let peers = [gone.peer, nobody, bob.id];
    gone.vanish();
    let began = Instant::now();
    assert_eq!(fetch(&ours, hash, size, &peers).await, [(bob.id, size)]);
    assert!(began.elapsed() < HANGS / 2);

    let ours = peer().await;
    meet(&ours, &bob);
    let closing = hostile(4, size, Manner::Closing(MIB), &ours).await;
    let given = fetch(&ours, hash, size, &[closing.peer, bob.id]).await;
    assert_eq!(given.iter().map(|g| g.1).sum::<u64>(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_provider_is_dropped_and_does_no_harm() {
    let everywhere = [
        Manner::Lying(0),
        Manner::Lying(2 * MIB),
        Manner::Size(1),
        Manner::Size(u64::MAX),
        Manner::Size(0),
    ];
    let sizes = [(5, 4096), (6, 4 * MIB)].into_iter();
    let mut cases: Vec<_> = sizes
        .flat_map(|case| everywhere.map(|m| (case, m)))
        .collect();
    cases.push(((7, LARGE), Manner::Lying(2 * MIB)));
    for ((seed, size), manner) in cases {
        let (bob, hash) = provider(seed, size).await;
        let (ours, _dir) = peer_on_disk().await;
        meet(&ours, &bob);
        let liar = hostile(seed, size, manner, &ours).await;
        let given = fetch(&ours, hash, size, &[liar.peer, bob.id]).await;
        let sum: u64 = given.iter().map(|g| g.1).sum();
        assert_eq!(sum, size, "{manner:?}: {given:?}");
    }
    let ours = peer().await;
    let liar = hostile(5, 4096, Manner::Lying(0), &ours).await;
    let hash = ContentHash::blake3(content(5, 4096));
    let why = refused(&ours, hash, 4096, &[liar.peer]).await;
    assert!(why.contains("not the blob's"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_fetch_is_resumed_where_it_stopped() {
    let (ours, _dir) = peer_on_disk().await;
    let (bob, hash) = provider(8, LARGE).await;
    // Gives 6 MiB of each piece, then nothing.
    let silent = hostile(8, LARGE, Manner::Silent(6 * MIB), &ours).await;
    let (progress, mut seen) = mpsc::channel::<Progress>(64);
    let (peers, enough) = ([silent.peer], 14 * MIB);
    tokio::select! {
        ended = ours.fetch(hash, LARGE, &peers, Some(progress)) => panic!("{ended:?}"),
        () = async { while seen.recv().await.unwrap().bytes < enough {} } => {}
    }
    meet(&ours, &bob);
    let given = fetch(&ours, hash, LARGE, &[bob.id]).await;
    // What was on its way to the disk may come twice: up to 1 MiB for each of four requests.
    assert!(given[0].1 <= LARGE - enough + 4 * MIB, "{given:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_held_blobs_are_served() {
    let size = 3 * MIB;
    let bytes = content(9, size as usize);
    let ours = peer().await;
    let (theirs, _dir) = peer_on_disk().await;
    meet(&ours, &theirs);

    let staged = theirs.store.stage(&mut &bytes[..], size).await.unwrap();
    let hash = staged.hash();
    let why = refused(&ours, hash, size, &[theirs.id]).await;
    assert!(why.contains("does not hold"), "{why}");

    // A part of a blob is not served either, by whom it was fetched.
    let other = content(10, size as usize);
    let part = ContentHash::blake3(&other);
    let silent = hostile(10, size, Manner::Silent(MIB), &theirs).await;
    let (progress, mut seen) = mpsc::channel::<Progress>(64);
    let peers = [silent.peer];
    let fetching = theirs.fetch(part, size, &peers, Some(progress));
    let asking = async {
        while seen.recv().await.unwrap().bytes < MIB / 2 {}
        refused(&ours, part, size, &[theirs.id]).await
    };
    tokio::select! {
        ended = fetching => panic!("{ended:?}"),
        why = asking => assert!(why.contains("does not hold"), "{why}"),
    }

    theirs
        .store
        .hold(staged, ContentHash::sha256(&bytes))
        .await
        .unwrap();
    fetch(&ours, hash, size, &[theirs.id]).await;
    theirs.store.delete(&hash).await.unwrap();
    let again = peer().await;
    meet(&again, &theirs);
    refused(&again, hash, size, &[theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_at_a_time_is_all_that_can_be_asked_for() {
    let (theirs, hash) = provider(11, 100_000).await;
    let got = answered(theirs.id, theirs.addresses(), &hash)
        .await
        .unwrap();
    assert_eq!(got, ["get"]);
    let before = theirs.store.stats().await.unwrap();
    assert_eq!(before.blobs, 1, "nothing was pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_admitted_gets_nothing() {
    let store = Arc::new(MemoryPackageStore::new());
    let member = peer().await;
    let stranger = peer().await;
    let allowed = member.id;
    let theirs = Peer::start_for(store, move |peer| peer == allowed)
        .await
        .unwrap();
    let hash = theirs.store.store(content(12, 5000)).await.unwrap();
    meet(&member, &theirs);
    meet(&stranger, &theirs);
    refused(&stranger, hash, 5000, &[theirs.id]).await;
    fetch(&member, hash, 5000, &[theirs.id]).await;
    assert_eq!(theirs.served().keys().collect::<Vec<_>>(), [&member.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_wrong_size_ends_the_fetch() {
    let size = 3 * MIB;
    let (theirs, hash) = provider(13, size).await;
    for declared in [
        1,
        16 * 1024,
        20_000,
        size - 1,
        size + 1,
        size + 20_000,
        20 * MIB,
    ] {
        let (ours, _dir) = peer_on_disk().await;
        meet(&ours, &theirs);
        let why = refused(&ours, hash, declared, &[theirs.id]).await;
        let told = format!("says {declared} bytes, but it has {size}");
        assert!(why.contains(&told), "{why}");
    }
    // Nobody is sent more than was asked for because of it.
    assert!(theirs.served().values().all(|bytes| *bytes < size + MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_ask_a_fetch_fails_soon() {
    let ours = peer().await;
    let hash = ContentHash::blake3("x");
    let why = refused(&ours, hash, 10, &[]).await;
    assert!(why.contains("nobody who might hold it is known"), "{why}");
    let began = Instant::now();
    let why = refused(&ours, hash, 10, &[PeerId::from_bytes([8; 32])]).await;
    assert!(why.contains("every peer failed"), "{why}");
    assert!(began.elapsed() < HANGS / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_small_blobs_come_over_few_connections() {
    let (ours, _dir) = peer_on_disk().await;
    let theirs = peer().await;
    meet(&ours, &theirs);
    let mut blobs = Vec::new();
    for seed in 0..2000 {
        let bytes = content(seed, 100 + seed as usize % 5000);
        blobs.push((
            theirs.store.store(bytes.clone()).await.unwrap(),
            bytes.len() as u64,
        ));
    }
    let fetched = ours.fetch_many(blobs.clone(), &[theirs.id]).await.unwrap();
    assert_eq!(fetched.len(), blobs.len());
    let holds = fetched.into_iter().map(|staged| {
        let sha256 = ContentHash::sha256(staged.hash().as_bytes());
        ours.store.hold(staged, sha256)
    });
    futures::future::try_join_all(holds).await.unwrap();
    for (hash, size) in blobs {
        assert_eq!(ours.store.get(&hash).await.unwrap().len() as u64, size);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_fetches_and_frees_the_port() {
    let ours = peer().await;
    let hash = ContentHash::blake3(content(14, 4 * MIB as usize));
    let silent = hostile(14, 4 * MIB, Manner::Silent(0), &ours).await;
    let peers = [silent.peer];
    let fetching = ours.fetch(hash, 4 * MIB, &peers, None);
    let (fetched, ()) = tokio::join!(fetching, ours.stop());
    assert_eq!(fetched.unwrap_err(), "the node stops");
    let address = ours.addresses()[0];
    drop(ours);
    let deadline = Instant::now() + HANGS;
    while let Err(taken) = std::net::UdpSocket::bind(address) {
        assert!(Instant::now() < deadline, "{taken}");
        tokio::task::yield_now().await;
    }
}
