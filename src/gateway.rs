//! Answers HTTP: JSON under `/api/v1`, and what tools of the ecosystems ask for.
//!
//! Every request passes, in this order: the bound on connections, the time limit, the check of `Host` (a web
//! page that rebinds its own name to this machine gets 421), the bound on bodies, for changes the check of where the
//! page stands that asks for them (403), the credential (401, 403), the bound on requests at a time, the routes. Every
//! answer, errors included, carries the headers that keep web pages out.

mod auth;
mod bound;
mod cargo;
mod desk;
mod error;
mod events;
mod guard;
mod host;
mod known;
mod listener;
mod metrics;
mod openapi;
mod permit;
mod rest;
mod web;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

use crate::archive::index::Canonical;
use crate::control::Keyring;
use crate::metrics::Traffic;
use crate::node::Node;
pub use bound::{Bound, bind, bind_insecure};
use guard::Guard;
use host::Hosts;
pub use host::{HostName, NoHostName};
use listener::Bounded;
use metrics::Meters;

/// Largest upload that can be allowed, in bytes.
pub const UPLOAD_BYTES_MAX: u64 = 100 << 20;

/// What HTTP is answered from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The node.
    pub node: Node,
    /// Its unlocked keys: what is published over HTTP is signed with them.
    pub keys: Keyring,
    /// The base of the addresses of indexes that all nodes of the swarm use.
    pub canonical: Canonical,
    /// To whom, and how much.
    pub options: Options,
}

impl Parts {
    /// A node without unlocked keys, with the usual base and options.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            keys: Keyring::default(),
            canonical: Canonical::default(),
            options: Options::default(),
        }
    }
}

/// To whom HTTP is answered, and how much of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names by which clients reach the node besides its address, such as that of a proxy before it.
    pub names: Vec<HostName>,
    /// Whether other machines that reach the node read without a token. On loopback everybody does.
    pub public_read: bool,
    /// Largest upload, in bytes, at most [`UPLOAD_BYTES_MAX`].
    pub upload_bytes_max: u64,
    /// Times and numbers.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            public_read: false,
            upload_bytes_max: 10 << 20,
            limits: Limits::default(),
        }
    }
}

/// How long and how many.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a request may take until its answer begins. Uploads that go on have 15 minutes.
    pub request_time_max: Duration,
    /// How long a connection may rest: longer than any answer takes to begin.
    pub rest_max: Duration,
    /// Connections at a time. Half of the file handles that a process usually has.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_time_max: Duration::from_secs(30),
            rest_max: Duration::from_secs(60),
            connections_max: 512,
        }
    }
}

/// What the handlers work with: a copy for each, which is cheap.
#[derive(Debug, Clone)]
struct Gateway(Arc<Shared>);

impl Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all handlers share.
#[derive(Debug)]
struct Shared {
    guard: Guard,
    node: Node,
    keys: Keyring,
    canonical: Arc<Canonical>,
    address: SocketAddr,
    reads_need_token: bool,
    failures: auth::Failures,
    indexes: cargo::Indexes,
    watchers: Arc<events::Watchers>,
    meters: Meters,
}

impl Gateway {
    /// Whether nothing is told without a token.
    fn reads_need_token(&self) -> bool {
        self.reads_need_token
    }

    /// Where the client of a request, which passed the check of its host, reaches this node; without a slash at its end.
    fn base(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST);
        match host.and_then(|host| host.to_str().ok()) {
            Some(host) => format!("http://{host}"),
            None => format!("http://{}", self.address),
        }
    }
}

/// Why HTTP cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Other machines could reach that address.
    #[error(
        "HTTP on {0} could be reached by other machines, which could read all that passes: \
         use --http 127.0.0.1:{port}, and a reverse proxy or an SSH tunnel for others; \
         --insecure-lan does it all the same", port = .0.port()
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

/// Answers requests until `stop` is ready; then accepts no more and ends when those that run have ended.
///
/// # Errors
/// What the listener failed with.
pub async fn serve(
    bound: Bound,
    parts: Parts,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = bound.local_addr()?;
    let options = parts.options;
    let upload_bytes_max = options.upload_bytes_max.min(UPLOAD_BYTES_MAX);
    let hosts = Hosts::new(address, options.names);
    let request_time_max = options.limits.request_time_max;
    let guard = Guard::new(hosts, request_time_max, upload_bytes_max);
    let watchers = Arc::new(events::Watchers::default());
    let traffic = Arc::new(Traffic::default());
    let gateway = Shared {
        guard,
        node: parts.node,
        keys: parts.keys,
        canonical: Arc::new(parts.canonical),
        address,
        indexes: cargo::Indexes::default(),
        reads_need_token: !address.ip().is_loopback() && !options.public_read,
        failures: auth::Failures::default(),
        watchers: Arc::clone(&watchers),
        meters: Meters::new(Arc::clone(&traffic)),
    };
    let routes = routes(Gateway(Arc::new(gateway)));
    axum::serve(Bounded::new(bound, &options.limits, traffic), routes)
        .with_graceful_shutdown(async move {
            stop.await;
            watchers.end();
        })
        .await
}

fn routes(gateway: Gateway) -> Router {
    let routes = Router::new()
        .merge(cargo::routes())
        .merge(rest::routes())
        .merge(web::routes())
        .route("/me", get(auth::me))
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::no_such_method);
    let pass = middleware::from_fn_with_state(gateway.clone(), pass);
    routes.layer(pass).with_state(gateway)
}

/// Takes a request through all that stands before the routes.
async fn pass(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (gateway, guard) = (&gateway, &gateway.guard);
    let run = |request| next.run(request);
    let admit = |request| guard::slot(guard, request, run);
    let check = |request| auth::check(gateway, request, admit);
    let answer = |request| guard::around(guard, request, check);
    metrics::count(&gateway.meters, request, answer).await
}
