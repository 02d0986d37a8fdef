//! `market demo`: the whole story with three real nodes on this machine, measured.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ggen_marketplace::assemble::{Founding, Home, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::node::{Config, Fetched, Published, Wanted};
use ggen_marketplace::protocols::hash::ContentHash;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::output::{Output, Shown, bytes, took};
use crate::prepare::prepare;
use crate::publish::publish_one;
use crate::service::{Http, Service};
use crate::sign::Signer;
use crate::up::Interrupts;

/// How long one step of the demo may take before it has failed.
const STEP_MAX: Duration = Duration::from_secs(30);
/// How often a step looks whether it is done: what the measured times are exact to.
const LOOK_STEP: Duration = Duration::from_millis(1);

/// The packages that are published: a ggen pack and a crate.
const PACKAGES: [Files; 2] = [
    &[
        (
            "pack.toml",
            "[pack]\nname = \"greeting-pack\"\nversion = \"1.0.0\"\n\
             description = \"Templates that greet: generates a friendly main function\"\n",
        ),
        (
            "templates/main.rs.tmpl",
            "fn main() {\n    println!(\"Hello, {{ name }}!\");\n}\n",
        ),
    ],
    &[
        (
            "Cargo.toml",
            "[package]\nname = \"greeting\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlicense = \"MIT OR Apache-2.0\"\n\
             description = \"Greets by name: the smallest crate that a friendly demo can publish\"\n",
        ),
        (
            "src/lib.rs",
            "//! Greets.\n\n/// A greeting for `name`.\npub fn greet(name: &str) -> String {\n    format!(\"Hello, {name}!\")\n}\n",
        ),
    ],
];
const NAMES: [&str; 2] = ["greeting-pack", "greeting"];

type Files = &'static [(&'static str, &'static str)];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ends when the story is told
    #[arg(long)]
    exit: bool,
}

/// What was measured, in milliseconds.
#[derive(Debug, Default, Serialize)]
struct Measured {
    start_ms: f64,
    connect_ms: f64,
    publish_ms: f64,
    found_ms: f64,
    fetch_ms: f64,
    join_ms: f64,
    late_fetch_ms: f64,
    records: u64,
    packages: u64,
    root: String,
}

pub(crate) async fn run(args: Args, output: Output) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::new()?;
    let place = Place::new()?;
    let mut nodes = Nodes::default();
    let told = tokio::select! {
        told = tell(&place, &mut nodes, output) => told,
        () = interrupts.next() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Ok(measured) = &told {
        output.result(measured, |_| how_to_go_on(&nodes, args.exit))?;
        if !args.exit {
            interrupts.next().await;
        }
    }
    let stopped = nodes.stop().await;
    told.and(stopped)
}

/// The nodes that run; each is stopped in order, whatever happened.
#[derive(Debug, Default)]
struct Nodes(Vec<DemoNode>);

#[derive(Debug)]
struct DemoNode {
    letter: char,
    layout: Layout,
    service: Service,
    client: Client,
}

impl Nodes {
    async fn start(
        &mut self,
        place: &Place,
        letter: char,
        bootstrap: Vec<String>,
    ) -> anyhow::Result<&DemoNode> {
        let layout = Layout::at(&place.0.join(letter.to_string()))?;
        layout.init(None)?;
        // These keys are thrown away in the end: nobody will want to recover them.
        layout.found(&Founding::Bare, None)?.finish()?;
        let mut config = Config {
            bootstrap,
            mdns: false,
            ..Config::default()
        };
        config.listen.swarm = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        config.listen.blobs = free_port;
        let service =
            Service::start(Home::open(&layout)?, config, Http::local(free_port).await?).await?;
        let client = Client::of_running(layout.dir()).await?;
        self.0.push(DemoNode {
            letter,
            layout,
            service,
            client,
        });
        self.node(letter)
    }

    fn node(&self, letter: char) -> anyhow::Result<&DemoNode> {
        let mut nodes = self.0.iter();
        let found = nodes.find(|node| node.letter == letter);
        found.with_context(|| format!("node {letter} does not run"))
    }

    async fn stop_one(&mut self, letter: char) -> anyhow::Result<()> {
        let at = self.0.iter().position(|node| node.letter == letter);
        let at = at.with_context(|| format!("node {letter} does not run"))?;
        self.0.remove(at).service.stop().await
    }

    async fn stop(self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for node in self.0 {
            result = result.and(node.service.stop().await);
        }
        result
    }
}

async fn tell(place: &Place, nodes: &mut Nodes, output: Output) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let begin = Instant::now();
    let a_address = {
        let a = nodes.start(place, 'a', Vec::new()).await?;
        a.service.ready().addr.clone()
    };
    measured.start_ms = since(begin);
    say(
        output,
        begin,
        "A runs: a node with keys, catalogue, store and index of its own",
    )?;

    let begin = Instant::now();
    let b_address = {
        let b = nodes.start(place, 'b', vec![a_address]).await?;
        b.service.ready().addr.clone()
    };
    let (a, b) = (nodes.node('a')?, nodes.node('b')?);
    until("A and B to connect", || async {
        Ok(a.client.status().await?.peers > 0 && b.client.status().await?.peers > 0)
    })
    .await?;
    measured.connect_ms = since(begin);
    say(output, begin, "B runs and is connected to A")?;

    let published = publish(place, nodes, output, &mut measured).await?;
    fetch(nodes, 'b', &published, output, &mut measured.fetch_ms).await?;
    nodes.stop_one('a').await?;
    output.line("           A is stopped for good")?;

    join_late(place, nodes, b_address, output, &mut measured).await?;
    fetch(nodes, 'c', &published, output, &mut measured.late_fetch_ms).await?;
    Ok(measured)
}

/// A publishes, B finds.
async fn publish(
    place: &Place,
    nodes: &Nodes,
    output: Output,
    measured: &mut Measured,
) -> anyhow::Result<Vec<Published>> {
    let (a, b) = (nodes.node('a')?, nodes.node('b')?);
    let signer = Signer::of(&a.layout, None, &a.client, output).await?;
    let mut published = Vec::new();
    for (name, files) in NAMES.into_iter().zip(PACKAGES) {
        let dir = place.0.join("packages").join(name);
        write(&dir, files)?;
        let begin = Instant::now();
        let prepared = spawn_blocking(move || prepare(&dir, None)).await?;
        let package = publish_one(prepared, &signer, &a.client).await?;
        measured.publish_ms = measured.publish_ms.max(since(begin));
        let size = bytes(package.size);
        let text = format!(
            "A published {} ({size}), signed and durable",
            package.package
        );
        say(output, begin, &text)?;

        let begin = Instant::now();
        until("B to find it by search", || async {
            let found = b.client.search(name, 10, 0).await?;
            Ok(found
                .hits
                .iter()
                .any(|hit| hit.name == name && hit.owner == package.owner))
        })
        .await?;
        measured.found_ms = measured.found_ms.max(since(begin));
        say(output, begin, "B found it by searching its own index")?;
        published.push(package);
    }
    Ok(published)
}

/// A node fetches every package to a file, whose bytes must be those that were signed.
async fn fetch(
    nodes: &Nodes,
    letter: char,
    published: &[Published],
    output: Output,
    slowest_ms: &mut f64,
) -> anyhow::Result<()> {
    let node = nodes.node(letter)?;
    for package in published {
        let begin = Instant::now();
        let wanted: Wanted = package.package.parse()?;
        let mut content = Vec::new();
        let progress = |_| {};
        let fetching = node.client.fetch_to(&wanted, progress, &mut content);
        let fetched: Fetched = fetching.await?;
        ensure!(
            ContentHash::blake3(&content) == package.blake3,
            "{} on {letter} is not what A signed",
            package.package
        );
        *slowest_ms = slowest_ms.max(since(begin));
        let from = fetched.providers.len();
        let letter = letter.to_ascii_uppercase();
        let text = format!(
            "{letter} fetched {} from {from} peer, byte for byte what A signed",
            package.package
        );
        say(output, begin, &text)?;
    }
    Ok(())
}

/// C knows nobody but B, and gets everything that A ever said.
async fn join_late(
    place: &Place,
    nodes: &mut Nodes,
    b_address: String,
    output: Output,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    nodes.start(place, 'c', vec![b_address]).await?;
    let (b, c) = (nodes.node('b')?, nodes.node('c')?);
    let wanted = b.client.status().await?;
    until("C to have the whole catalogue", || async {
        Ok(c.client.status().await?.root == wanted.root)
    })
    .await?;
    for name in NAMES {
        until("C to find everything by search", || async {
            let found = c.client.search(name, 10, 0).await?;
            Ok(found.hits.iter().any(|hit| hit.name == name))
        })
        .await?;
    }
    measured.join_ms = since(begin);
    measured.records = wanted.records;
    measured.packages = wanted.packages;
    measured.root = wanted.root.clone();
    let text = format!(
        "C joined late, through B alone: {} records, equal roots, searchable",
        wanted.records
    );
    say(output, begin, &text)
}

fn how_to_go_on(nodes: &Nodes, exit: bool) -> String {
    let mut text =
        "\nNo server was involved, and the publisher is gone: the packages stay.\n".to_owned();
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    // As it was called, so that the lines below can be copied.
    let market = std::env::args()
        .next()
        .unwrap_or_else(|| "market".to_owned());
    let market = Shown::new(&market);
    if let (false, Ok(c)) = (exit, nodes.node('c')) {
        let home = c.layout.dir().display();
        add("B and C still run. Talk to C from another terminal:");
        add(&format!("  {market} --home {home} search greeting"));
        add(&format!("  {market} --home {home} peers"));
        add(&format!(
            "  curl '{}/api/v1/search?q=greeting'",
            c.service.ready().http
        ));
        add("Ctrl-C ends them and removes what they kept.\n");
    }
    add("A node of your own:");
    let commands = [
        ("init", "once, to become a publisher"),
        ("up", "in one terminal; `market status` lists its addresses"),
        (
            "publish PATH",
            "a directory with Cargo.toml or pack.toml, or a .crate file",
        ),
        (
            "up --bootstrap ADDR",
            "on another machine, with one of those",
        ),
        ("fetch NAME --output FILE", "there"),
    ];
    for (command, remark) in commands {
        add(&format!("  {market} {command:26}# {remark}"));
    }
    text
}

fn say(output: Output, begin: Instant, text: &str) -> anyhow::Result<()> {
    output.line(format_args!("{:>9}  {text}", took(begin.elapsed())))
}

fn since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

async fn until<F>(what: &str, mut is_so: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let deadline = Instant::now() + STEP_MAX;
    while !is_so().await? {
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", STEP_MAX.as_secs());
        }
        sleep(LOOK_STEP).await;
    }
    Ok(())
}

fn write(dir: &Path, files: Files) -> anyhow::Result<()> {
    for (name, content) in files {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A directory of our own for the demo, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> anyhow::Result<Self> {
        let name = format!(
            "market-demo-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let dir = std::env::temp_dir().join(name);
        // Fails if somebody else made it before us.
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, dir = %self.0.display(), "cannot remove the demo's directory");
        }
    }
}
