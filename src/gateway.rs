//! Answers HTTP on loopback: reading only, JSON under `/api/v1`.
//!
//! Every request passes, in this order: the bound on connections, the time limit, the check of `Host` (a web
//! page that rebinds its own name to this machine gets 421), the bound on bodies, the bound on requests at a
//! time, the routes. Every answer, errors included, carries the headers that keep web pages out.

mod error;
mod guard;
mod listener;
mod rest;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::node::Node;
use listener::Bounded;

/// Requests worked on at a time; more wait, within the time limit.
const REQUESTS_MAX: usize = 64;

/// What the handlers work with.
#[derive(Debug, Clone)]
struct Gateway {
    node: Node,
    address: SocketAddr,
    slots: Arc<Semaphore>,
}

/// Why HTTP cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Other machines could reach that address.
    #[error(
        "HTTP on {0} could be reached by other machines, and nobody is asked for a password: \
         use --http 127.0.0.1:{port}, and a reverse proxy or an SSH tunnel for others", port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// The address is taken.
    #[error(
        "HTTP address {0} is in use: stop the other program, or use --http 127.0.0.1:0 for any free port"
    )]
    InUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot answer HTTP on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Takes an address of this machine; port 0 takes a free one.
///
/// # Errors
/// [`GatewayError`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    if !address.ip().is_loopback() {
        return Err(GatewayError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => GatewayError::InUse(address),
            _ => GatewayError::Listen { address, source },
        })
}

/// Answers requests until `stop` is ready; then accepts no more and ends when those that run have ended.
///
/// # Errors
/// What the listener failed with.
pub async fn serve(
    listener: TcpListener,
    node: Node,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let gateway = Gateway {
        node,
        address: listener.local_addr()?,
        slots: Arc::new(Semaphore::new(REQUESTS_MAX)),
    };
    let routes = routes(gateway);
    axum::serve(Bounded::new(listener), routes)
        .with_graceful_shutdown(stop)
        .await
}

fn routes(gateway: Gateway) -> Router {
    // The layer added last is met first.
    Router::new()
        .route("/healthz", get(rest::health))
        .route("/api/v1/status", get(rest::status))
        .route("/api/v1/search", get(rest::search))
        .route("/api/v1/packages/{name}", get(rest::package))
        .route("/api/v1/packages/{namespace}/{name}", get(rest::package_of))
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::reading_only)
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::slot))
        .layer(middleware::from_fn(guard::body))
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::host))
        .layer(middleware::from_fn(guard::time))
        .layer(middleware::from_fn(guard::headers))
        .with_state(gateway)
}
