//! Real nodes on loopback, each in a home of its own that survives it, and `eventually`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use ggen_protocols::id::NetworkId;
use ggen_protocols::limits;
use ggen_protocols::record::{Record, Verified};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};

use super::registry::Author;
use crate::Result;
use crate::crypto::PrivateKey;
use crate::node::{Config, Fetched, Listen, Mirror, Node, NodeError, Published, Running, Wanted};
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::search::index::TantivySearchEngine;
use crate::search::{SearchPage, SearchQuery};
use crate::store::file::FilePackageStore;

/// How often [`eventually`] looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// With `what` if it does not hold within `deadline`.
pub async fn eventually(what: &str, deadline: Duration, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + deadline;
    let mut look = interval(LOOK_INTERVAL);
    while !condition().await {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        look.tick().await;
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// An author whose records are of today, so that they are gossiped.
pub fn author(number: u8) -> Author {
    let mut author = Author::new(number);
    author.time_ms = now_ms();
    author
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whom it connects to.
    pub bootstrap: Vec<String>,
    /// Which blobs it keeps.
    pub mirror: Mirror,
    /// Its network.
    pub network: NetworkId,
    /// Its clock, if not the system's: milliseconds since 1970.
    pub clock: Option<fn() -> u64>,
    /// Whether it joins the network at all.
    pub online: bool,
    /// Room for the records of strangers, in bytes.
    pub pool_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            mirror: Mirror::None,
            network: NetworkId::main(),
            clock: None,
            online: true,
            pool_bytes_max: limits::POOL_BYTES_MAX,
        }
    }
}

impl Options {
    /// Connects to these members.
    pub fn to(members: &[&Member]) -> Self {
        Self {
            bootstrap: members
                .iter()
                .map(|member| member.address.clone())
                .collect(),
            ..Self::default()
        }
    }
}

/// Where a node keeps its data and its key; it can be started there again and again, at the same address.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    key: PrivateKey,
    listen: Listen,
}

impl Home {
    /// An empty one.
    ///
    /// # Errors
    /// If no directory can be made.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            dir: TempDir::new()?,
            key: PrivateKey::generate(),
            listen: Listen {
                swarm: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
                blobs: SocketAddr::from(([127, 0, 0, 1], 0)),
            },
        })
    }

    /// Tries to start a node here at the address of another one.
    ///
    /// # Errors
    /// As for [`Home::start`].
    pub async fn start_at(&mut self, other: &Member) -> Result<Member> {
        let address = other.address.split("/p2p/").next().unwrap_or_default();
        self.listen.swarm = vec![address.to_owned()];
        self.start(Options::default()).await
    }

    /// Starts a node here.
    ///
    /// # Errors
    /// Those of opening the parts, and of [`Builder::spawn`](crate::node::Builder::spawn).
    pub async fn start(&mut self, options: Options) -> Result<Member> {
        let open = OpenOptions {
            network: options.network,
            pool_bytes_max: options.pool_bytes_max,
            ..OpenOptions::default()
        };
        let path = self.dir.path();
        let registry = LocalRegistry::open(path.join("catalogue.redb"), open).await?;
        let registry = Arc::new(registry);
        let store = FilePackageStore::new(path.join("blobs")).await?;
        let index = TantivySearchEngine::new(path.join("index")).await?;
        let config = Config {
            listen: self.listen.clone(),
            bootstrap: options.bootstrap,
            mdns: false,
            mirror: options.mirror,
            ..Config::default()
        };
        let mut builder = Node::builder(registry.clone(), Arc::new(store), config)
            .choices(registry)
            .search(Arc::new(index));
        if options.online {
            builder = builder.transport(self.key.clone());
        }
        if let Some(clock) = options.clock {
            builder = builder.clock(clock);
        }
        let (node, running) = builder.spawn().await?;
        let addresses = node.status().await?.addresses;
        let address = addresses.into_iter().next().unwrap_or_default();
        if let Some((listen, _)) = address.split_once("/p2p/") {
            self.listen.swarm = vec![listen.to_owned()];
        }
        Ok(Member {
            node,
            address,
            running,
        })
    }
}

/// One running node.
#[derive(Debug)]
pub struct Member {
    /// Its handle.
    pub node: Node,
    /// Where it listens, with its id; empty if it is not online.
    pub address: String,
    running: Running,
}

impl Member {
    /// Starts a node in a new home, which goes with it.
    ///
    /// # Errors
    /// As for [`Home::start`].
    pub async fn start(options: Options) -> Result<(Self, Home)> {
        let mut home = Home::new()?;
        Ok((home.start(options).await?, home))
    }

    /// Publishes a generic package with this content.
    ///
    /// # Errors
    /// Those of [`Node::publish`].
    pub async fn publish(
        &self,
        author: &mut Author,
        release: &str,
        content: &str,
    ) -> Result<Published> {
        let record = author.publish(release, content);
        self.hand_over(&record, content).await
    }

    /// Publishes a record that is signed already.
    ///
    /// # Errors
    /// Those of [`Node::publish`].
    pub async fn hand_over(&self, record: &Verified<Record>, content: &str) -> Result<Published> {
        let mut archive = content.as_bytes();
        let envelope = record.envelope().clone();
        self.node.publish(envelope, &mut archive).await
    }

    /// Fetches what `text` means.
    ///
    /// # Errors
    /// Those of [`Node::fetch`], and of text that means nothing.
    pub async fn fetch(&self, text: &str) -> Result<Fetched> {
        let wanted: Wanted = text.parse()?;
        self.node.fetch(&wanted, None).await
    }

    /// The bytes of what was fetched.
    ///
    /// # Errors
    /// Those of [`Node::read`].
    pub async fn bytes(&self, fetched: &Fetched) -> Result<Vec<u8>> {
        let chunks: Vec<Bytes> = self.node.read(&fetched.blake3).await?.try_collect().await?;
        Ok(chunks.concat())
    }

    /// What searching for these words finds.
    ///
    /// # Errors
    /// Those of [`Node::search`].
    pub async fn search(&self, text: &str) -> Result<SearchPage> {
        let query = SearchQuery {
            text: text.to_owned(),
            ..SearchQuery::default()
        };
        self.node.search(&query).await
    }

    /// Whether searching for `name` finds a package of this name.
    pub async fn finds(&self, name: &str) -> bool {
        let page = self.search(name).await;
        page.is_ok_and(|page| page.hits.iter().any(|hit| hit.package.id.name == name))
    }

    /// The root of its catalogue.
    pub async fn root(&self) -> String {
        let root = self.node.catalogue().root().await;
        root.map(|root| root.to_hex()).unwrap_or_default()
    }

    /// How many peers it is connected to.
    pub async fn peers(&self) -> usize {
        self.node.peers().await.map_or(0, |peers| peers.len())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// Those of [`Running::stop`].
    pub async fn stop(self) -> Result<()> {
        self.running.stop().await
    }
}

/// A TCP way to another address that can be cut and mended.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    target: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Line {
    /// Opens a way to the member's address.
    ///
    /// # Errors
    /// If the address is none on TCP, or no port can be had.
    pub async fn to(member: &Member) -> Result<Self> {
        let refuse = || NodeError::Config(format!("`{}` is not on TCP", member.address));
        let mut parts = member.address.split('/').skip(2).step_by(2);
        let ip = parts
            .next()
            .and_then(|ip| ip.parse().ok())
            .ok_or_else(refuse)?;
        let port = parts
            .next()
            .and_then(|port| port.parse().ok())
            .ok_or_else(refuse)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut line = Self {
            address: listener.local_addr()?,
            target: SocketAddr::new(ip, port),
            task: None,
        };
        line.carry(listener);
        Ok(line)
    }

    /// Where it begins, as a multiaddress.
    pub fn address(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.address.ip(), self.address.port())
    }

    /// Ends all connections and takes no more.
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Aborted tasks end with an error, which says nothing.
            let _ended = task.await;
        }
    }

    /// Takes connections again, at the same address.
    ///
    /// # Errors
    /// If somebody else took the port.
    pub async fn mend(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.carry(listener);
        Ok(())
    }

    fn carry(&mut self, listener: TcpListener) {
        let target = self.target;
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        // How a connection ends is no matter of the line.
                        let _ended = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }
}
