//! Finds the node that a command talks to: the one that runs on the home, or one made for this command alone.

use std::io;
use std::time::Duration;

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{self, Home, HomeError, Layout, Presence};
use ggen_marketplace::control::Client;
use ggen_marketplace::node::{Config, Running};
use tokio::time::{Instant, sleep};

/// How long another command, or a node that is just starting, may keep a home before we give up.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often we look again while we wait.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// A node to talk to.
#[derive(Debug)]
pub(crate) enum Access {
    /// One that runs in another process.
    Running(Client),
    /// One without network in this process, on a home that is locked for it.
    Offline(Client, Running, Home),
}

impl Access {
    /// Finds or makes the node of a home that somebody has begun to use.
    pub(crate) async fn open(layout: &Layout) -> anyhow::Result<Self> {
        if !layout.is_home() {
            bail!(
                "there is no home in {}: run `market init` or `market up`, or name another with --home",
                layout.dir().display()
            );
        }
        match take(layout).await? {
            Taken::Running(client) => Ok(Self::Running(client)),
            Taken::Free(home) => {
                let config = Config::default();
                let (node, running) = assemble::assemble(&home, config, Presence::Offline).await?;
                Ok(Self::Offline(Client::of_node(node), running, home))
            }
        }
    }

    pub(crate) fn client(&self) -> &Client {
        match self {
            Self::Running(client) | Self::Offline(client, ..) => client,
        }
    }

    /// Waits until the index of a node that was made for this command shows all that its catalogue holds; a
    /// running one is at most a moment behind.
    pub(crate) async fn catch_up(&self) -> anyhow::Result<()> {
        if matches!(self, Self::Running(_)) {
            return Ok(());
        }
        while self.client().status().await?.search_behind > 0 {
            sleep(WAIT_STEP).await;
        }
        Ok(())
    }

    /// Ends the node if it was made for this command.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Self::Offline(_, running, home) = self {
            let stopped = running.stop().await;
            drop(home);
            stopped.context("cannot close the home")?;
        }
        Ok(())
    }
}

/// What became of an attempt to have a home.
pub(crate) enum Taken {
    /// A node answers on it.
    Running(Client),
    /// It is ours.
    Free(Home),
}

/// Locks a home, or finds the node that has it. Waits for a command that is using it, and for a node that has
/// locked it and does not answer yet.
pub(crate) async fn take(layout: &Layout) -> anyhow::Result<Taken> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match Client::of_running(layout.dir()).await {
            Ok(client) => return Ok(Taken::Running(client)),
            Err(error) if nobody_answers(&error) => {}
            Err(error) => {
                let home = layout.dir().display();
                return Err(error).context(format!("cannot reach the node that runs on {home}"));
            }
        }
        match Home::open(layout) {
            Ok(home) => return Ok(Taken::Free(home)),
            Err(HomeError::InUse { .. }) if Instant::now() < deadline => sleep(WAIT_STEP).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn nobody_answers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
