//! How the node is doing, and whom it knows.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::gateway::Gateway;
use crate::gateway::error::{Body, Problem};
use crate::node::{Mirror, PeerStatus, Status};

/// Whether the node works.
#[utoipa::path(get, path = "/healthz", tag = "node", responses(
    (status = 200, description = "`ok`", body = String, content_type = "text/plain"),
    (status = 503, description = "The node has stopped or is too busy", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn health(State(gateway): State<Gateway>) -> Result<&'static str, Problem> {
    // Asks the node's own loop: one that hangs is not healthy.
    gateway.node.peers().await?;
    Ok("ok\n")
}

/// How the node is doing.
#[utoipa::path(get, path = "/api/v1/status", tag = "node", responses(
    (status = 200, description = "The state of the node", body = Status),
))]
pub(super) async fn status(State(gateway): State<Gateway>) -> Result<Json<Status>, Problem> {
    let mut status = gateway.node.status().await?;
    status.http = Some(format!("http://{}", gateway.address));
    Ok(Json(status))
}

/// How much there is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// What is known.
    catalogue: CatalogueStats,
    /// What is held.
    store: StoreStats,
    /// What can be searched.
    search: SearchStats,
}

/// What is known.
#[derive(Debug, Serialize, ToSchema)]
struct CatalogueStats {
    /// Records.
    records: u64,
    /// Packages: owners and names.
    packages: u64,
    /// Releases.
    versions: u64,
    /// The position of the last step; events count on from it.
    position: u64,
}

/// What is held.
#[derive(Debug, Serialize, ToSchema)]
struct StoreStats {
    /// Blobs.
    blobs: u64,
    /// Bytes of them.
    bytes: u64,
}

/// What can be searched.
#[derive(Debug, Serialize, ToSchema)]
struct SearchStats {
    /// Packages in the index.
    documents: u64,
    /// Size of the index in bytes.
    bytes: u64,
    /// Steps of the catalogue that the index has not taken in yet.
    behind: u64,
}

/// How much there is.
#[utoipa::path(get, path = "/api/v1/stats", tag = "node", responses(
    (status = 200, description = "Counts of catalogue, store and search index", body = Stats),
))]
pub(super) async fn stats(State(gateway): State<Gateway>) -> Result<Json<Stats>, Problem> {
    let node = &gateway.node;
    let status = node.status().await?;
    let index = node.index()?.stats().await?;
    let position = *node.catalogue().position().borrow();
    Ok(Json(Stats {
        catalogue: CatalogueStats {
            records: status.records,
            packages: status.packages,
            versions: status.versions,
            position,
        },
        store: StoreStats {
            blobs: status.blobs,
            bytes: status.blob_bytes,
        },
        search: SearchStats {
            documents: index.documents,
            bytes: index.bytes,
            behind: status.search_behind,
        },
    }))
}

/// The peers that the node is connected to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Peers {
    /// Each of them.
    peers: Vec<PeerStatus>,
}

/// The peers that the node is connected to.
#[utoipa::path(get, path = "/api/v1/peers", tag = "node", responses(
    (status = 200, description = "Connected peers", body = Peers),
))]
pub(super) async fn peers(State(gateway): State<Gateway>) -> Result<Json<Peers>, Problem> {
    let peers = gateway.node.peers().await?;
    Ok(Json(Peers { peers }))
}

/// What the node keeps besides what is published and fetched on it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mirrors {
    /// `none`, or `all` that it knows of.
    mirror: &'static str,
    /// Most bytes that it holds for that.
    quota_bytes: u64,
    /// Largest package that it takes, in bytes.
    package_bytes_max: u64,
    /// Blobs that it holds, for whatever reason.
    held_blobs: u64,
    /// Bytes of them.
    held_bytes: u64,
}

/// What the node mirrors.
#[utoipa::path(get, path = "/api/v1/mirrors", tag = "node", responses(
    (status = 200, description = "What is mirrored, and how much is held", body = Mirrors),
))]
pub(super) async fn mirrors(State(gateway): State<Gateway>) -> Result<Json<Mirrors>, Problem> {
    let config = gateway.node.config();
    let held = gateway.node.store().stats().await?;
    Ok(Json(Mirrors {
        mirror: match config.mirror {
            Mirror::None => "none",
            Mirror::All => "all",
        },
        quota_bytes: config.mirror_bytes_max,
        package_bytes_max: config.package_bytes_max,
        held_blobs: held.blobs,
        held_bytes: held.bytes,
    }))
}
