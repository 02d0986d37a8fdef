//! What a node is told before it starts: defaults, units.

use std::net::SocketAddr;

use ggen_protocols::limits;

/// Everything that can be set about a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen for peers.
    pub listen: Listen,
    /// Peers to connect to and to stay connected to, as multiaddresses; with `/p2p/ID` only that peer.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers in the local network by multicast DNS.
    pub mdns: bool,
    /// Which blobs to keep besides those published and fetched here.
    pub mirror: Mirror,
    /// Most bytes that `Mirror::All` may bring in.
    pub mirror_bytes_max: u64,
    /// Largest package taken, in bytes.
    pub package_bytes_max: u64,
    /// What the records of all owners together may take whom the user has nothing to do with, in bytes.
    pub pool_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            bootstrap: Vec::new(),
            mdns: true,
            mirror: Mirror::None,
            mirror_bytes_max: 10 << 30,
            package_bytes_max: limits::PACKAGE_BYTES_MAX,
            pool_bytes_max: limits::POOL_BYTES_MAX,
        }
    }
}

/// Where to listen for peers.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Multiaddresses for the control plane; `/tcp/0` picks a free port.
    pub swarm: Vec<String>,
    /// Socket address for blobs (UDP); port 0 picks a free one.
    pub blobs: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            swarm: vec!["/ip4/0.0.0.0/tcp/0".to_owned()],
            blobs: SocketAddr::from(([0, 0, 0, 0], 0)),
        }
    }
}

/// Which blobs a node keeps besides those published and fetched on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mirror {
    /// None.
    #[default]
    None,
    /// All admitted ones, within the quota.
    All,
}
