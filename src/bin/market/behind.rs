//! Keeps a command from signing a document of a namespace where the newest one may be unknown: two that continue
//! the same document contradict each other.

use std::fmt;
use std::time::Duration;

use anyhow::bail;
use ggen_marketplace::control::Client;
use ggen_marketplace::node::Status;
use ggen_marketplace::protocols::owner::NamespaceDocument;
use tokio::time::{Instant, sleep};

use crate::output::Output;

/// How long a node that has just started or was just connected may take: it dials again within three seconds.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often we look again while we wait.
const WAIT_STEP: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Behind {
    /// Signs even if this node has not caught up with others: if another of your machines signed a change
    /// meanwhile, the namespace freezes until `market recover`
    #[arg(long)]
    even_if_behind: bool,
}

impl Behind {
    pub(crate) fn guard(self, client: &Client, output: Output) -> Guard<'_> {
        Guard {
            client,
            output,
            even_if_behind: self.even_if_behind,
        }
    }
}

/// What stands before signing a document.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    pub(crate) client: &'a Client,
    pub(crate) output: Output,
    /// The user takes the risk.
    pub(crate) even_if_behind: bool,
}

/// What happens if there is another document that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Risk {
    /// The root contradicts itself, and the recovery key can end that.
    Frozen,
    /// The root contradicts itself, and there is no recovery key.
    FrozenForGood,
    /// The recovery key contradicts itself.
    Dead,
}

impl Risk {
    /// That of continuing this document with its root.
    pub(crate) fn of(document: &NamespaceDocument) -> Self {
        match document.recovery {
            Some(_) => Self::Frozen,
            None => Self::FrozenForGood,
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => {
                "if another of your machines signed a change meanwhile, the namespace freezes until `market recover`"
            }
            Self::FrozenForGood => {
                "if another of your machines signed a change meanwhile, the namespace freezes for good"
            }
            Self::Dead => {
                "if another of your machines recovered the namespace meanwhile, it is dead for good"
            }
        })
    }
}

impl Guard<'_> {
    /// Waits a while until the node has caught up.
    ///
    /// # Errors
    /// Says what to do if it does not.
    pub(crate) async fn pass(&self, risk: Risk) -> anyhow::Result<()> {
        if self.even_if_behind {
            return Ok(());
        }
        let deadline = Instant::now() + WAIT_MAX;
        let mut shown = None;
        let status = loop {
            let status = self.client.status().await?;
            if !is_worth_waiting(&status) || Instant::now() >= deadline {
                break status;
            }
            shown.get_or_insert_with(|| {
                let most = WAIT_MAX.as_secs();
                let what = format!("waiting for what others know, at most {most} s");
                self.output.waiting(what)
            });
            sleep(WAIT_STEP).await;
        };
        if let Some(shown) = shown {
            shown.finish_and_clear();
        }
        if status.caught_up.complete {
            return Ok(());
        }
        bail!(
            "nothing was signed: {}, and try again. With --even-if-behind it is signed all the same, but {risk}",
            what_to_do(&status)
        )
    }
}

/// A node without network meets nobody, however long we wait.
fn is_worth_waiting(status: &Status) -> bool {
    !status.caught_up.complete && status.peer.is_some()
}

fn what_to_do(status: &Status) -> String {
    match status.peer {
        None => {
            "this home has met other nodes, and none runs on it that could ask them what changed: \
                 run `market up` until `market status` says that it has caught up"
                .to_owned()
        }
        Some(_) => format!(
            "this node has not caught up (connected to {}, reconciled with {} of {} known nodes): \
             see that it is connected to others, until `market status` says that it has caught up",
            status.peers, status.caught_up.reconciled, status.caught_up.known
        ),
    }
}
