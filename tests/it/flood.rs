//! A flood of strangers: the pool holds, those whom the user chose stay complete, and peers come to rest.
#![allow(clippy::print_stdout)] // What a long run came to.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ggen_marketplace::protocols::id::{CanonicalName, OwnerId, RecordId, ReleaseKey};
use ggen_marketplace::protocols::record::{Record, Verified};
use ggen_marketplace::protocols::trust::{Anchor, Level};
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::registry::policy::{Choices, Decision};
use ggen_marketplace::registry::{Admission, Catalogue};
use ggen_marketplace::testing::cluster::{Member, Options, eventually};
use ggen_marketplace::testing::registry::Author;

/// Makes the flood larger: strangers, of [`RECORDS`] records each.
const STRANGERS: &str = "MARKET_TEST_STRANGERS";
const RECORDS: usize = 100;
/// Records offered together.
const BATCH: usize = 1000;
/// A pool of so many bytes for a thousand strangers holds less than a tenth of them.
const POOL_BYTES_PER_THOUSAND: u64 = 20 << 20;
/// What a process may grow by if the pool is smaller than that, in bytes.
const MEMORY_BYTES_MIN: u64 = 20 << 20;
/// Set in the process that the flood runs in.
const ALONE: &str = "MARKET_TEST_ALONE";
const SOON: Duration = Duration::from_secs(60);

type Feeds = BTreeMap<OwnerId, Vec<Verified<Record>>>;

fn pool_for(strangers: usize) -> u64 {
    strangers as u64 * POOL_BYTES_PER_THOUSAND / 1000
}

fn strangers() -> usize {
    std::env::var(STRANGERS).map_or(300, |count| count.parse().unwrap())
}

/// The feeds of these authors; they are signed on two threads.
fn feeds(numbers: std::ops::Range<usize>) -> Feeds {
    let half = numbers.start + numbers.len() / 2;
    let sign = |numbers: std::ops::Range<usize>| -> Feeds {
        let feeds = numbers.map(|number| {
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            let mut author = Author::from_seed(seed);
            let releases = 0..RECORDS;
            let releases = releases.map(|n| format!("package-{number}-{}@1.{}.0", n / 10, n % 10));
            let records = releases
                .map(|release| author.publish(&release, &release))
                .collect();
            (author.owner(), records)
        });
        feeds.collect()
    };
    let (first, second) = (numbers.start..half, half..numbers.end);
    std::thread::scope(|scope| {
        let first = scope.spawn(move || sign(first));
        let mut feeds = sign(second);
        feeds.extend(first.join().unwrap());
        feeds
    })
}

/// All records, owners taking turns as they do on a network; or one owner after the other.
fn order(feeds: &Feeds, in_turns: bool) -> Vec<Verified<Record>> {
    match in_turns {
        true => (0..RECORDS)
            .flat_map(|n| feeds.values().map(move |feed| feed[n].clone()))
            .collect(),
        false => feeds.values().rev().flatten().cloned().collect(),
    }
}

async fn offer(catalogue: &dyn Catalogue, records: &[Verified<Record>], batch: usize) {
    for admission in offered(catalogue, records, batch).await {
        assert!(
            matches!(admission, Admission::New | Admission::Evicted),
            "{admission:?}"
        );
    }
}

async fn offered(
    catalogue: &dyn Catalogue,
    records: &[Verified<Record>],
    batch: usize,
) -> Vec<Admission> {
    let mut admissions = Vec::with_capacity(records.len());
    for batch in records.chunks(batch) {
        admissions.extend(catalogue.admit(batch.to_vec()).await.unwrap());
    }
    admissions
}

async fn held(catalogue: &dyn Catalogue, feed: &[Verified<Record>]) -> usize {
    let ids: Vec<RecordId> = feed.iter().map(|record| record.id()).collect();
    let envelopes = catalogue.envelopes(ids).await.unwrap();
    envelopes.iter().flatten().count()
}

/// The memory of this process, in bytes, without that of the program itself.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib << 10
}

async fn open(path: &Path, own: &[OwnerId], pool_bytes_max: u64) -> LocalRegistry {
    let options = OpenOptions {
        own: own.to_vec(),
        pool_bytes_max,
        ..OpenOptions::default()
    };
    LocalRegistry::open(path, options).await.unwrap()
}

/// Owners whom this node's user has to do with, each in another way, and all that they wrote.
struct Chosen {
    own: OwnerId,
    feeds: Feeds,
    decisions: Vec<Decision>,
    /// A release that is used.
    used: (ReleaseKey, RecordId),
}

impl Chosen {
    fn new() -> Self {
        let mut authors: Vec<Author> = (1..=6).map(Author::new).collect();
        let mut feeds = Feeds::new();
        for author in &mut authors {
            let releases = (0..RECORDS).map(|n| format!("chosen-{}@1.{}.0", n / 10, n % 10));
            let records = releases.map(|release| author.publish(&release, &release));
            let records = records.collect();
            feeds.insert(author.owner(), records);
        }
        let [own, named, labelled, anchored, endorsed, used] =
            [0, 1, 2, 3, 4, 5].map(|at: usize| authors[at].owner());
        let endorsement = authors[3].endorse_with(endorsed, 1, Level::Full);
        feeds.entry(anchored).or_default().push(endorsement);
        let full = Anchor {
            weight: 3,
            depth: 1,
        };
        let name: CanonicalName = "chosen-1".parse().unwrap();
        let release = ReleaseKey::new(used, name.clone(), &"1.0.0".parse().unwrap());
        Self {
            own,
            decisions: vec![
                Decision::PinName(name, named),
                Decision::PinLabel("label".parse().unwrap(), labelled),
                Decision::Anchor(anchored, full),
            ],
            used: (release, feeds[&used][10].id()),
            feeds,
        }
    }

    /// What they take on disk in a catalogue without strangers.
    async fn take(&self, path: &Path) -> Disk {
        let registry = open(path, &[self.own], POOL_BYTES_PER_THOUSAND).await;
        self.decide(&registry).await;
        offer(&registry, &self.records(), BATCH).await;
        disk(path)
    }

    fn records(&self) -> Vec<Verified<Record>> {
        self.feeds.values().flatten().cloned().collect()
    }

    async fn decide(&self, registry: &LocalRegistry) {
        for decision in &self.decisions {
            registry.decide(decision.clone()).await.unwrap();
        }
    }

    async fn use_one(&self, registry: &LocalRegistry) {
        let (release, record) = &self.used;
        let namespace = release.owner.to_string();
        registry
            .used(Some(&namespace), release, *record)
            .await
            .unwrap();
    }
}

/// The flood in a process of its own, so that its memory is that of the catalogue and of nothing else.
#[test]
fn a_flood_of_strangers_takes_its_share_and_no_more() {
    let flood = Command::new(std::env::current_exe().unwrap())
        .args(["flood::the_flood", "--exact", "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(flood.success());
}

/// What the test before runs in another process.
#[tokio::test(flavor = "multi_thread")]
async fn the_flood() {
    let is_alone = std::env::var_os(ALONE).is_some();
    let count = if is_alone { strangers() } else { 40 };
    let (chosen, foreign) = (Chosen::new(), feeds(0..count));
    let pool = pool_for(count);
    let home = tempfile::tempdir().unwrap();
    let apart = chosen.take(&home.path().join("chosen.redb")).await;
    let mut roots = Vec::new();
    for (name, in_turns, batch) in [("turns.redb", true, 100), ("feeds.redb", false, BATCH)] {
        let path = home.path().join(name);
        let flood = order(&foreign, in_turns);
        let before = memory();
        let registry = open(&path, &[chosen.own], pool).await;
        let (early, late) = flood.split_at(flood.len() / 2);
        offer(&registry, early, batch).await;
        chosen.decide(&registry).await;
        offer(&registry, &chosen.records(), batch).await;
        chosen.use_one(&registry).await;
        offer(&registry, late, batch).await;
        let grown = memory().saturating_sub(before);
        for (owner, feed) in &chosen.feeds {
            assert_eq!(
                held(&registry, feed).await,
                feed.len(),
                "{owner} is complete"
            );
        }
        let (mut whole, mut bytes) = (0, 0);
        for feed in foreign.values() {
            let here = held(&registry, feed).await;
            assert!(
                [0, RECORDS].contains(&here),
                "{here} of {RECORDS} records of one owner"
            );
            if here == RECORDS {
                whole += 1;
                bytes += feed.iter().map(|r| r.envelope().len() as u64).sum::<u64>();
            }
        }
        assert!(bytes <= pool, "{bytes} bytes of envelopes alone");
        assert!(whole > 0 && whole < count, "{whole} of {count} owners");
        let root = registry.root().await.unwrap();
        let all = count * RECORDS + chosen.records().len();
        assert_eq!(root.count, all as u64, "all ids are known");
        roots.push(root);
        assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
        let running = disk(&path);
        drop(registry);
        let closed = disk(&path);
        if is_alone {
            let bound = pool.max(MEMORY_BYTES_MIN);
            assert!(grown <= bound, "{grown} bytes of memory, not {bound}");
            let bound = pool + apart.taken;
            assert!(running.taken <= bound, "{running:?}, not {bound}");
            assert!(closed.taken <= bound, "{closed:?}, not {bound}");
            // Of a larger pool it is so little that even with the others it is within it.
            let whole_bound = if count < 1000 { bound } else { pool };
            assert!(
                running.taken <= whole_bound,
                "{running:?}, not {whole_bound}"
            );
            let doubled = running.length.max(closed.length);
            assert!(doubled <= 2 * bound, "{doubled}, not {bound} doubled");
            println!(
                "{name}: a pool of {pool} bytes, {whole} of {count} owners; memory grew by {grown}; {apart:?} without strangers, then {running:?}, then {closed:?}"
            );
        }
        // Nothing is lost, and nothing comes back, by opening it again.
        let registry = open(&path, &[chosen.own], pool).await;
        assert_eq!(registry.root().await.unwrap(), root);
    }
    assert_eq!(roots[0], roots[1], "both know the same ids");
}

/// What a file is on disk, in bytes.
#[derive(Debug)]
struct Disk {
    /// Its length: redb doubles it when it needs a page more, and the file system gives what is written to.
    length: u64,
    /// What it takes.
    taken: u64,
}

fn disk(path: &Path) -> Disk {
    let file = std::fs::metadata(path).unwrap();
    Disk {
        length: file.len(),
        taken: file.blocks() * 512,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_what_a_peer_evicted_gets_the_rest_and_comes_to_rest() {
    let feeds = feeds(1000..1020);
    let crowded = Options {
        pool_bytes_max: pool_for(20),
        ..Options::default()
    };
    let (a, _a) = Member::start(crowded).await.unwrap();
    let catalogue = a.node.catalogue();
    offer(&**catalogue, &order(&feeds, false), BATCH).await;
    let records = catalogue.totals().await.unwrap().records;
    assert!((1..2000).contains(&records), "{records}");
    assert_eq!(catalogue.root().await.unwrap().count, 2000);

    let (c, _c) = Member::start(Options::to(&[&a])).await.unwrap();
    let other = c.node.catalogue();
    let complete = async || other.totals().await.unwrap().records == records;
    eventually("all that is held", SOON, complete).await;
    // What comes now is found among all that it cannot have, and nobody was called a liar.
    let mut late = Author::new(200);
    let record = late.publish("late@1.0.0", "x");
    catalogue.admit(vec![record.clone()]).await.unwrap();
    let here = async || held(&**other, std::slice::from_ref(&record)).await == 1;
    eventually("a late record", SOON, here).await;
    assert_eq!((a.peers().await, c.peers().await), (1, 1));
    assert_eq!(other.audit().await.unwrap().findings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_crowded_nodes_know_the_same_and_come_to_rest() {
    let feeds = feeds(2000..2020);
    let crowded = |peers: &[&Member]| Options {
        pool_bytes_max: pool_for(20),
        ..Options::to(peers)
    };
    let (a, _a) = Member::start(crowded(&[])).await.unwrap();
    let (b, _b) = Member::start(crowded(&[&a])).await.unwrap();
    let (one, other) = (a.node.catalogue(), b.node.catalogue());
    let (forth, back) = (order(&feeds, false), order(&feeds, true));
    let (some, rest) = tokio::join!(
        offered(&**one, &forth, BATCH),
        offered(&**other, &back, BATCH / 10)
    );
    // What the other one told meanwhile is known.
    for admission in some.into_iter().chain(rest) {
        let refused = matches!(admission, Admission::Refused(_) | Admission::OwnerFull);
        assert!(!refused, "{admission:?}");
    }
    let equal = async || {
        let roots = [one.root().await.unwrap(), other.root().await.unwrap()];
        roots[0] == roots[1] && roots[0].count == 2000
    };
    eventually("equal roots", SOON, equal).await;
    // Equal as the roots are, they hold other owners, and neither takes any from the other.
    let positions = || [*one.position().borrow(), *other.position().borrow()];
    let before = positions();
    let late = Author::new(200).publish("late@1.0.0", "x");
    one.admit(vec![late.clone()]).await.unwrap();
    let here = async || held(&**other, std::slice::from_ref(&late)).await == 1;
    eventually("a late record", SOON, here).await;
    for (before, now) in before.into_iter().zip(positions()) {
        // The late one, and at most one owner who makes room for it, of ten packages.
        assert!(now - before <= 12, "{now} after {before}");
    }
    for catalogue in [one, other] {
        let records = catalogue.totals().await.unwrap().records;
        assert!((1..2000).contains(&records), "{records}");
        assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
    }
}
