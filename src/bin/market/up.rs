//! `market up`: runs a node until it is interrupted.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context;
use ggen_marketplace::Error;
use ggen_marketplace::archive::index::Canonical;
use ggen_marketplace::assemble::home::NetworkName;
use ggen_marketplace::assemble::{HomeError, Layout};
use ggen_marketplace::gateway::{self, GatewayError, HostName, Options, UPLOAD_BYTES_MAX};
use ggen_marketplace::node::{Config, Mirror, NodeError};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::{Taken, take};
use crate::init;
use crate::output::Output;
use crate::service::{Http, Service};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to answer HTTP on this machine; port 0 takes a free one, and 127.0.0.1 brings its IPv6 twin ::1
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7878")]
    http: SocketAddr,
    /// Further name by which clients reach HTTP here, such as that of a proxy; may be given several times
    #[arg(long, value_name = "NAME[:PORT]")]
    http_name: Vec<HostName>,
    /// Answers HTTP to other machines too, who then need a token for everything; all of it, tokens included, can be read and changed on its way
    #[arg(long)]
    insecure_lan: bool,
    /// Lets other machines read without a token
    #[arg(long, requires = "insecure_lan")]
    public_read: bool,
    /// Largest package that is taken over HTTP, at most 100MiB
    #[arg(long, value_name = "BYTES", default_value = "10MiB", value_parser = upload_limit)]
    upload_limit: ByteCount,
    /// Base of the addresses of cargo indexes; all who share lock files need the same one
    #[arg(long, value_name = "URL", default_value = Canonical::DEFAULT)]
    canonical: Canonical,
    /// Where to listen for peers; may be given several times [default: any free TCP port]
    #[arg(long, value_name = "MULTIADDR", value_parser = multiaddr)]
    listen: Vec<String>,
    /// Where to serve packages to peers (UDP) [default: any free port]
    #[arg(long, value_name = "ADDR")]
    blobs: Option<SocketAddr>,
    /// Peer to connect to; may be given several times
    #[arg(long, value_name = "MULTIADDR", value_parser = multiaddr)]
    bootstrap: Vec<String>,
    /// Does not look for peers in the local network
    #[arg(long)]
    no_mdns: bool,
    /// Which packages to keep besides those published and fetched here
    #[arg(long, value_enum, default_value_t = Keep::None)]
    mirror: Keep,
    /// Most bytes that mirroring may bring in, such as 500MiB
    #[arg(long, value_name = "BYTES", default_value = "10GiB")]
    mirror_limit: ByteCount,
    /// Room for the records of owners whom you have nothing to do with, such as 500MiB; beyond it, whole owners go
    #[arg(long, value_name = "BYTES", default_value = "1GiB")]
    stranger_limit: ByteCount,
    /// Swarm to join; a home stays in the one it began with [default: main]
    #[arg(long, value_name = "NAME")]
    network: Option<NetworkName>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Keep {
    None,
    All,
}

/// A number of bytes, with a unit of powers of 1024 or without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteCount(u64);

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no number of bytes: expected one such as 500MiB");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match &text[digits.len()..] {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refuse()),
        };
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        count.checked_mul(unit).map(Self).ok_or_else(refuse)
    }
}

fn upload_limit(text: &str) -> Result<ByteCount, String> {
    let limit: ByteCount = text.parse()?;
    match limit.0 {
        1..=UPLOAD_BYTES_MAX => Ok(limit),
        _ => Err(format!("`{text}` is not between 1 byte and 100MiB")),
    }
}

/// Catches what is no multiaddress at first sight; the node reads the rest.
fn multiaddr(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "`{text}` is no multiaddress: expected one such as /ip4/127.0.0.1/tcp/4001"
        ));
    }
    Ok(text.to_owned())
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    // Taken before the start, so that an interruption from now on ends in order.
    let mut interrupts = Interrupts::new()?;
    init::tell(&layout.init(args.network.as_ref())?, output);
    if layout.identities()?.is_empty() {
        output.note("this home has no identity: it finds, fetches and mirrors; to publish, run `market init`");
    }
    let home = match take(layout).await? {
        Taken::Free(home) => home,
        Taken::Running(client) => return Err(in_use(layout, client).await),
    };
    // The cheapest thing that can fail comes first.
    let http = http(&args).await?;
    let config = config(args);
    let mut service = tokio::select! {
        started = Service::start(home, config, http) => started?,
        () = interrupts.next() => return Ok(()),
    };
    let ready = service.ready();
    output.result(ready, |ready| {
        format!(
            "ready http={} peer={} addr={}\n",
            ready.http, ready.peer, ready.addr
        )
    })?;
    let ended = tokio::select! {
        () = interrupts.next() => Ok(()),
        error = service.failed() => Err(error),
    };
    tracing::info!("stopping; interrupt again to stop at once");
    tokio::select! {
        stopped = service.stop() => stopped.and(ended),
        () = interrupts.next() => Err(anyhow::anyhow!("stopped at once, as asked; nothing acknowledged is lost")),
    }
}

async fn in_use(layout: &Layout, client: ggen_marketplace::control::Client) -> anyhow::Error {
    // The lock names the process; the node may have gone since it answered.
    drop(client);
    match ggen_marketplace::assemble::Home::open(layout) {
        Err(error) => error.into(),
        Ok(_) => HomeError::InUse {
            dir: layout.dir().to_path_buf(),
            pid: None,
        }
        .into(),
    }
}

async fn http(args: &Args) -> anyhow::Result<Http> {
    let bound = match args.insecure_lan {
        true => gateway::bind_insecure(args.http).await?,
        false => gateway::bind(args.http).await?,
    };
    Ok(Http {
        bound,
        canonical: args.canonical.clone(),
        options: Options {
            names: args.http_name.clone(),
            public_read: args.public_read,
            upload_bytes_max: args.upload_limit.0,
            ..Options::default()
        },
    })
}

fn config(args: Args) -> Config {
    let mut config = Config {
        bootstrap: args.bootstrap,
        mdns: !args.no_mdns,
        mirror: match args.mirror {
            Keep::None => Mirror::None,
            Keep::All => Mirror::All,
        },
        mirror_bytes_max: args.mirror_limit.0,
        pool_bytes_max: args.stranger_limit.0,
        ..Config::default()
    };
    if !args.listen.is_empty() {
        config.listen.swarm = args.listen;
    }
    if let Some(blobs) = args.blobs {
        config.listen.blobs = blobs;
    }
    config
}

/// Whether an error is a wrong use of the command.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let gateway = cause.downcast_ref::<GatewayError>();
        let library = cause.downcast_ref::<Error>();
        matches!(gateway, Some(GatewayError::NotLoopback(_)))
            || matches!(library, Some(Error::Node(NodeError::Config(_))))
    })
}

/// The signals that ask a process to end.
pub(crate) struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let take = |kind| -> io::Result<_> { signal(kind) };
        let cannot = "cannot listen for signals";
        Ok(Self {
            interrupt: take(SignalKind::interrupt()).context(cannot)?,
            terminate: take(SignalKind::terminate()).context(cannot)?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_of_bytes_are_read_with_their_unit() {
        for (text, count) in [("0", 0), ("7B", 7), ("2KiB", 2048), ("10GiB", 10 << 30)] {
            assert_eq!(text.parse::<ByteCount>().unwrap(), ByteCount(count));
        }
        for wrong in [
            "",
            "GiB",
            "1GB",
            "1.5GiB",
            "-1",
            "99999999999TiB",
            "1 GiB",
            "1é",
        ] {
            assert!(wrong.parse::<ByteCount>().is_err(), "{wrong}");
        }
    }
}
