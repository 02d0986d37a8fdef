//! Fetches blobs from one store on disk into another: ours against bare iroh-blobs, in alternating runs.
//!
//! Each provider is a process of its own, the fetching side is this one; all on loopback. What is compared
//! ends alike, with the blob database on disk. `checked` goes on as a node does: every byte read back and
//! hashed again, files synced, the blob marked as held.
//!
//! `cargo bench --bench fetch -- [--mib N] [--blobs N] [--pairs N] [--dir DIR]`
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program for developers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use ggen_marketplace::protocols::hash::{ContentHash, ContentHasher};
use ggen_marketplace::protocols::id::PeerId;
use ggen_marketplace::store::BlobStore;
use ggen_marketplace::store::file::FilePackageStore;
use ggen_marketplace::testing::store::content;
use ggen_marketplace::testing::transfer::Peer;
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode, TransportAddr};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash, HashAndFormat};

const SMALL_BYTES: usize = 4096;
/// Requests at a time for small blobs, on both sides.
const AT_ONCE: usize = 64;
const LARGE_SEED: u64 = u64::MAX;

#[derive(Clone)]
struct Setting {
    mib: usize,
    blobs: u64,
    pairs: usize,
    dir: PathBuf,
    provide: Option<String>,
}

impl Setting {
    fn parse() -> Self {
        let mut setting = Self {
            mib: 1024,
            blobs: 10_000,
            pairs: 5,
            dir: std::env::temp_dir(),
            provide: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            // Cargo adds this one.
            if flag == "--bench" {
                continue;
            }
            let value = args
                .next()
                .unwrap_or_else(|| panic!("{flag} needs a value"));
            match flag.as_str() {
                "--mib" => setting.mib = value.parse().unwrap(),
                "--blobs" => setting.blobs = value.parse().unwrap(),
                "--pairs" => setting.pairs = value.parse().unwrap(),
                "--dir" => setting.dir = value.into(),
                "--provide" => setting.provide = Some(value),
                _ => panic!("unknown flag {flag}"),
            }
        }
        setting
    }

    fn large(&self) -> u64 {
        (self.mib as u64) << 20
    }
}

#[tokio::main]
async fn main() {
    let setting = Setting::parse();
    match setting.provide.as_deref() {
        Some(kind) => provide(kind, &setting).await,
        None => compare(&setting).await,
    }
}

/// Offers everything until its standard input ends.
async fn provide(kind: &str, setting: &Setting) {
    let large = content(LARGE_SEED, setting.mib << 20);
    let small = (0..setting.blobs).map(|seed| content(seed, SMALL_BYTES));
    let told = |id: String, addresses: Vec<SocketAddr>, large: &[u8]| {
        println!("{id} {} {}", addresses[0], ContentHash::blake3(large));
    };
    let wait = || tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    if kind == "ours" {
        let store = Arc::new(FilePackageStore::new(&setting.dir).await.unwrap());
        let dynamic: Arc<dyn BlobStore> = store.clone();
        let peer = Peer::start(dynamic).await.unwrap();
        peer.store.store(large.clone()).await.unwrap();
        let stored = stream::iter(small).map(|bytes| peer.store.store(bytes));
        let stored = stored.buffer_unordered(AT_ONCE);
        stored.try_for_each(|_| async { Ok(()) }).await.unwrap();
        told(peer.id.to_string(), peer.addresses(), &large);
        wait().await.unwrap();
    } else {
        let store = FsStore::load(&setting.dir).await.unwrap();
        store.add_bytes(large.clone()).await.unwrap();
        let adding = stream::iter(small).map(|bytes| async { store.add_bytes(bytes).await });
        let adding = adding.buffer_unordered(AT_ONCE);
        adding.try_for_each(|_| async { Ok(()) }).await.unwrap();
        let endpoint = bare_endpoint().await;
        let protocol = BlobsProtocol::new(&store, None);
        let router = Router::builder(endpoint.clone()).accept(iroh_blobs::ALPN, protocol);
        let router = router.spawn();
        told(endpoint.id().to_string(), endpoint.bound_sockets(), &large);
        wait().await.unwrap();
        router.shutdown().await.unwrap();
    }
}

async fn bare_endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap()
}

/// A provider's process, and what it said of itself.
struct Provider {
    process: Child,
    id: String,
    address: SocketAddr,
    large: ContentHash,
}

impl Provider {
    fn start(kind: &str, setting: &Setting, dir: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--provide", kind, "--dir", dir.to_str().unwrap()])
            .args(["--mib", &setting.mib.to_string()])
            .args(["--blobs", &setting.blobs.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let [id, address, large] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("the provider said {line:?}");
        };
        Self {
            id: id.to_owned(),
            address: address.parse().unwrap(),
            large: large.parse().unwrap(),
            process,
        }
    }
}

impl Provider {
    /// Processor seconds of the provider and of this process.
    fn processor(&self) -> f64 {
        processor(&self.process.id().to_string()) + processor("self")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// Processor seconds that a process has used so far, by Linux's account; zero elsewhere.
fn processor(process: &str) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split(' ').skip(11).take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// What one run took: the large blob, the small ones; and the same with all checks.
#[derive(Default)]
struct Took {
    /// Processor seconds of both ends for the large blob: they say more than time does on a busy machine.
    processor: Vec<f64>,
    large: Vec<Duration>,
    small: Vec<Duration>,
    large_checked: Vec<Duration>,
    small_checked: Vec<Duration>,
}

async fn compare(setting: &Setting) {
    let dir = tempfile::tempdir_in(&setting.dir).unwrap();
    let bare_provider = Provider::start("bare", setting, &dir.path().join("bare"));
    let our_provider = Provider::start("ours", setting, &dir.path().join("ours"));
    let small: Vec<ContentHash> = (0..setting.blobs)
        .map(|seed| ContentHash::blake3(content(seed, SMALL_BYTES)))
        .collect();
    let (mut bare, mut ours) = (Took::default(), Took::default());
    for pair in 0..setting.pairs {
        let into = |side: &str| dir.path().join(format!("{side}-{pair}"));
        // The order changes, so that neither profits from what the other warmed.
        for side in [pair % 2, 1 - pair % 2] {
            if side == 0 {
                fetch_bare(&bare_provider, &into("a"), &small, &mut bare).await;
            } else {
                fetch_ours(&our_provider, &into("b"), setting, &small, &mut ours).await;
            }
        }
    }
    println!(
        "{} MiB: processor seconds of both ends, bare {:.2?}, ours {:.2?}",
        setting.mib, bare.processor, ours.processor
    );
    let mib = setting.mib as f64;
    let blobs = setting.blobs as f64;
    report(
        &format!("{mib} MiB"),
        "MiB/s",
        mib,
        &bare.large,
        &ours.large,
    );
    report(
        &format!("{mib} MiB checked"),
        "MiB/s",
        mib,
        &bare.large,
        &ours.large_checked,
    );
    let name = format!("{blobs} x {SMALL_BYTES} B");
    report(&name, "blobs/s", blobs, &bare.small, &ours.small);
    report(
        &format!("{name} checked"),
        "blobs/s",
        blobs,
        &bare.small,
        &ours.small_checked,
    );
}

fn report(name: &str, unit: &str, amount: f64, bare: &[Duration], ours: &[Duration]) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let rates = |took: &[Duration]| took.iter().map(|t| amount / t.as_secs_f64()).collect();
    let pairs = bare.iter().zip(ours);
    let ratios: Vec<f64> = pairs
        .map(|(b, o)| b.as_secs_f64() / o.as_secs_f64())
        .collect();
    let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!(
        "{name}: bare {:.0} {unit}, ours {:.0} {unit}, ratio {:.2} ({})",
        median(rates(bare)),
        median(rates(ours)),
        median(ratios),
        each.join(" "),
    );
}

async fn fetch_bare(from: &Provider, dir: &Path, small: &[ContentHash], took: &mut Took) {
    let store = FsStore::load(dir).await.unwrap();
    let endpoint = bare_endpoint().await;
    let id = from.id.parse().unwrap();
    let address = EndpointAddr::from_parts(id, [TransportAddr::Ip(from.address)]);
    let connection = endpoint.connect(address, iroh_blobs::ALPN).await.unwrap();
    let get = |hash: &ContentHash| {
        let content = HashAndFormat::raw(Hash::from_bytes(*hash.as_bytes()));
        let (store, connection) = (store.clone(), connection.clone());
        async move { store.remote().fetch(connection, content).await }
    };
    let used = from.processor();
    let began = Instant::now();
    get(&from.large).await.unwrap();
    store.sync_db().await.unwrap();
    took.large.push(began.elapsed());
    took.processor.push(from.processor() - used);

    let began = Instant::now();
    let gets = stream::iter(small).map(get).buffer_unordered(AT_ONCE);
    gets.try_for_each(|_| async { Ok(()) }).await.unwrap();
    store.sync_db().await.unwrap();
    took.small.push(began.elapsed());
    endpoint.close().await;
    store.shutdown().await.unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

async fn fetch_ours(
    from: &Provider,
    dir: &Path,
    setting: &Setting,
    small: &[ContentHash],
    took: &mut Took,
) {
    let store: Arc<dyn BlobStore> = Arc::new(FilePackageStore::new(dir).await.unwrap());
    let peer = Peer::start(store.clone()).await.unwrap();
    let provider: PeerId = from.id.parse().unwrap();
    peer.knows(provider, &[from.address]);
    let check = |staged: ggen_marketplace::store::Staged| {
        let store = store.clone();
        async move {
            let mut hasher = ContentHasher::new();
            let mut bytes = store.inspect(&staged.hash()).await?;
            while let Some(part) = bytes.try_next().await? {
                hasher.update(&part);
            }
            store.hold(staged, hasher.finish().1).await
        }
    };
    let used = from.processor();
    let began = Instant::now();
    let providers = [provider];
    let fetched = peer.fetch(from.large, setting.large(), &providers, None);
    let (staged, _) = fetched.await.unwrap();
    store.blobs().sync_db().await.unwrap();
    took.large.push(began.elapsed());
    took.processor.push(from.processor() - used);
    check(staged).await.unwrap();
    took.large_checked.push(began.elapsed());

    let began = Instant::now();
    let wants = small.iter().map(|hash| (*hash, SMALL_BYTES as u64));
    let staged = peer.fetch_many(wants, &providers).await.unwrap();
    store.blobs().sync_db().await.unwrap();
    took.small.push(began.elapsed());
    let checks = stream::iter(staged).map(check).buffer_unordered(AT_ONCE);
    checks.try_for_each(|()| async { Ok(()) }).await.unwrap();
    took.small_checked.push(began.elapsed());
    peer.stop().await;
    store.close().await.unwrap();
    drop((peer, store));
    std::fs::remove_dir_all(dir).unwrap();
}
