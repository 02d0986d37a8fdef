//! Connections to peers, kept for the next request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ggen_protocols::id::PeerId;
use iroh::Endpoint;
use iroh::endpoint::Connection;
use tokio_util::sync::CancellationToken;

use super::endpoint_id;

/// Connections that this side opens.
const CONNECTIONS_MAX: usize = 256;
/// How long one is kept without use.
const UNUSED_MAX: Duration = Duration::from_secs(15);
/// How often unused ones are looked for.
const CLOSE_INTERVAL: Duration = Duration::from_secs(5);

/// Connections by peer and number: several to one peer make a large fetch faster.
pub(super) struct Pool {
    endpoint: Endpoint,
    slots: Mutex<HashMap<(PeerId, usize), Arc<Slot>>>,
}

/// Who asks while a connection is being made waits for that one.
#[derive(Default)]
struct Slot {
    connection: tokio::sync::Mutex<Option<Connection>>,
    used_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connections", &self.slots().len())
            .finish_non_exhaustive()
    }
}

/// A connection in use: it is not closed for being idle.
pub(super) struct Lent {
    pub(super) connection: Connection,
    slot: Arc<Slot>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.slot.touch();
    }
}

impl Slot {
    fn touch(&self) {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            slots: Mutex::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(PeerId, usize), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `peer`, made now if there is none. Takes as long as that takes.
    pub(super) async fn lend(&self, peer: PeerId, number: usize) -> Result<Lent, String> {
        let id = endpoint_id(peer).ok_or("its id is no key")?;
        let slot = {
            let mut slots = self.slots();
            if slots.len() >= CONNECTIONS_MAX && !slots.contains_key(&(peer, number)) {
                return Err(format!("{CONNECTIONS_MAX} connections are open already"));
            }
            slots.entry((peer, number)).or_default().clone()
        };
        slot.touch();
        let mut made = slot.connection.lock().await;
        let connection = match &*made {
            Some(connection) if connection.close_reason().is_none() => connection.clone(),
            _ => {
                let connected = self.endpoint.connect(id, iroh_blobs::ALPN).await;
                let connection = connected.map_err(|error| format!("{error:#}"))?;
                made.insert(connection).clone()
            }
        };
        drop(made);
        Ok(Lent { connection, slot })
    }

    /// Closes a connection that is of no more use; the next request gets a new one.
    pub(super) fn discard(&self, peer: PeerId, number: usize) {
        let slot = self.slots().remove(&(peer, number));
        if let Some(slot) = slot
            && let Ok(mut connection) = slot.connection.try_lock()
            && let Some(connection) = connection.take()
        {
            connection.close(0u32.into(), b"silent");
        }
    }

    /// Closes unused connections until `stop`.
    pub(super) async fn close_idle(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CLOSE_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let mut unused = Vec::new();
            self.slots().retain(|_, slot| {
                let used_at = *slot.used_at.lock().unwrap_or_else(PoisonError::into_inner);
                let old = used_at.is_none_or(|at| at.elapsed() > UNUSED_MAX);
                // Whoever borrows it holds a second handle.
                let keep = !old || Arc::strong_count(slot) > 1;
                if !keep {
                    unused.push(slot.clone());
                }
                keep
            });
            for slot in unused {
                if let Some(connection) = slot.connection.lock().await.take() {
                    connection.close(0u32.into(), b"unused");
                }
            }
        }
    }
}
