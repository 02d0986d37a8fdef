//! The running node's side of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::keyring::Keyring;
use super::offer::OFFERS_MAX;
use super::socket::{self, Bound};
use crate::archive::index::Canonical;
use crate::node::Node;

/// Requests answered at a time; more wait in the socket's own queue.
const CONNECTIONS_MAX: usize = 32;
const _: () = assert!(4 * OFFERS_MAX <= CONNECTIONS_MAX);
/// How long requests that run when the server is stopped may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed, which happens when the process has no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers commands over the control socket of a home until it is stopped.
#[derive(Debug)]
pub struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// How a node answers HTTP, which it does not know itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where, such as `http://127.0.0.1:7878`.
    pub http: String,
    /// The base of the addresses of indexes.
    pub canonical: Canonical,
}

/// Why commands cannot reach the node.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the control socket of {}", home.display())]
pub struct ServerError {
    home: PathBuf,
    #[source]
    source: io::Error,
}

impl Server {
    /// Starts to answer commands for `node`, whose locked home this is. `keys` are unlocked and locked by
    /// commands, and forgotten when the server stops; `web` is how the node answers HTTP.
    ///
    /// # Errors
    /// [`ServerError`] if the socket cannot be made.
    pub async fn start(
        home: &Path,
        node: Node,
        keys: Keyring,
        web: Option<Web>,
    ) -> Result<Self, ServerError> {
        let bound = socket::bind(home).await.map_err(|source| ServerError {
            home: home.to_path_buf(),
            source,
        })?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(bound, node, keys, web.map(Arc::new), stop.clone()));
        Ok(Self { stop, task })
    }

    /// Accepts nothing more, lets what was accepted end within a grace of 5 seconds, and removes the socket.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the control server failed");
        }
    }
}

async fn run(
    bound: Bound,
    node: Node,
    keyring: Keyring,
    web: Option<Arc<Web>>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = bound.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let stream = match accepted {
                    Ok((stream, _)) if socket::is_ours(&stream) => stream,
                    Ok(_) => {
                        tracing::warn!("another user reached the control socket and was turned away");
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a command");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let (node, web, keyring) = (node.clone(), web.clone(), keyring.clone());
                connections.spawn(async move {
                    let answered = answer(&node, web.as_deref(), Some(&keyring), stream).await;
                    if let Err(error) = answered {
                        tracing::debug!(%error, "a command went away");
                    }
                });
            }
        }
    }
    drop(bound);
    keyring.offers().close();
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
    keyring.lock(None);
}
