//! Everything that a running node serves: peers, commands, HTTP; started and stopped in order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use ggen_marketplace::archive::index::Canonical;
use ggen_marketplace::assemble::{self, Home, Presence};
use ggen_marketplace::control::{Keyring, Server, Web};
use ggen_marketplace::gateway::{self, Bound, Options, Parts};
use ggen_marketplace::node::{Config, Node, Running};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long HTTP answers that run when the node is stopped may take to end.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// A node that can be used.
#[derive(Debug)]
pub(crate) struct Service {
    running: Running,
    control: Server,
    stop_gateway: oneshot::Sender<()>,
    gateway: JoinHandle<io::Result<()>>,
    ready: Ready,
    // Unlocked last.
    home: Home,
}

/// How HTTP is answered.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) bound: Bound,
    pub(crate) canonical: Canonical,
    pub(crate) options: Options,
}

impl Http {
    /// On a free port or this one, for programs on this machine.
    pub(crate) async fn local(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            bound: gateway::bind(address).await?,
            canonical: Canonical::default(),
            options: Options::default(),
        })
    }
}

/// Where a node can be reached.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ready {
    pub(crate) http: String,
    pub(crate) peer: String,
    pub(crate) addr: String,
}

impl Service {
    /// Starts a node on a home and returns once everything answers.
    pub(crate) async fn start(home: Home, config: Config, http: Http) -> anyhow::Result<Self> {
        let (node, running) = assemble::assemble(&home, config, Presence::Online).await?;
        match serve(&home, &node, http).await {
            Ok((ready, control, stop_gateway, gateway)) => Ok(Self {
                running,
                control,
                stop_gateway,
                gateway,
                ready,
                home,
            }),
            Err(error) => {
                running.stop().await?;
                Err(error)
            }
        }
    }

    /// Where it can be reached.
    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Waits until HTTP fails, which it does not by itself.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.gateway).await {
            Ok(Err(error)) => anyhow::Error::new(error).context("HTTP failed"),
            Ok(Ok(())) => anyhow::anyhow!("HTTP ended"),
            Err(error) => anyhow::Error::new(error).context("HTTP failed"),
        }
    }

    /// Takes nothing more, ends what was begun, closes everything, and gives the home free.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // Nobody listens if HTTP failed before.
        self.stop_gateway.send(()).unwrap_or_default();
        self.control.stop().await;
        // Its task is over already if it failed.
        if !self.gateway.is_finished() && timeout(HTTP_GRACE, &mut self.gateway).await.is_err() {
            self.gateway.abort();
        }
        let stopped = self.running.stop().await;
        drop(self.home);
        stopped.context("the node did not stop in order")
    }
}

type Served = (
    Ready,
    Server,
    oneshot::Sender<()>,
    JoinHandle<io::Result<()>>,
);

async fn serve(home: &Home, node: &Node, answered: Http) -> anyhow::Result<Served> {
    let Http {
        bound,
        canonical,
        options,
    } = answered;
    let http = format!("http://{}", bound.local_addr()?);
    let status = node.status().await?;
    let peer = status.peer.context("the node has no network")?;
    let addr = address(&status.addresses, &peer).context("the node listens nowhere")?;
    let keys = Keyring::default();
    let dir = home.layout().dir();
    let web = Web {
        http: http.clone(),
        canonical: canonical.clone(),
    };
    let control = Server::start(dir, node.clone(), keys.clone(), Some(web)).await?;
    let (stop, stopped) = oneshot::channel();
    let parts = Parts {
        node: node.clone(),
        keys,
        canonical,
        options,
    };
    let gateway = tokio::spawn(gateway::serve(bound, parts, async {
        // Dropping the sender stops it too.
        stopped.await.unwrap_or_default();
    }));
    Ok((Ready { http, peer, addr }, control, stop, gateway))
}

/// The address to give to others on this machine first, else any, with the peer that it leads to.
fn address(addresses: &[String], peer: &str) -> Option<String> {
    let loopback =
        |address: &&String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
    let found = addresses.iter().find(loopback).or(addresses.first())?;
    Some(if found.contains("/p2p/") {
        found.clone()
    } else {
        format!("{found}/p2p/{peer}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_to_give_away_is_on_loopback_if_there_is_one_and_names_the_peer() {
        let all = [
            "/ip4/10.0.0.1/tcp/1".to_owned(),
            "/ip4/127.0.0.1/tcp/1".to_owned(),
        ];
        let told = |all: &[String]| address(all, "P");
        assert_eq!(told(&all).as_deref(), Some("/ip4/127.0.0.1/tcp/1/p2p/P"));
        assert_eq!(
            told(&all[..1]).as_deref(),
            Some("/ip4/10.0.0.1/tcp/1/p2p/P")
        );
        assert_eq!(told(&[]), None);
    }
}
