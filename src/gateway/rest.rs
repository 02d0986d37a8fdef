//! `/api/v1`: packages, search, trust and the state of the node as JSON. `openapi.rs` describes all of it.

mod ask;
mod find;
mod graph;
mod packages;
mod state;
mod trust;
pub(super) mod write;

use axum::Router;
use axum::routing::{MethodRouter, get};
use utoipa::OpenApi;

use super::Gateway;
use super::{events, openapi};

/// One page: its path, and who answers.
pub(super) type Page = (&'static str, fn() -> MethodRouter<Gateway>);

/// Every page of the API for reading. Its description is held against this table.
pub(super) const PAGES: &[Page] = &[
    ("/healthz", || get(state::health)),
    ("/api/v1/status", || get(state::status)),
    ("/api/v1/stats", || get(state::stats)),
    ("/api/v1/peers", || get(state::peers)),
    ("/api/v1/mirrors", || get(state::mirrors)),
    ("/api/v1/packages", || get(packages::list)),
    ("/api/v1/packages/{name}", || get(packages::package)),
    ("/api/v1/packages/{namespace}/{name}", || {
        get(packages::package_of)
    }),
    ("/api/v1/packages/{namespace}/{name}/versions", || {
        get(packages::versions)
    }),
    ("/api/v1/packages/{namespace}/{name}/{version}", || {
        get(packages::version)
    }),
    (
        "/api/v1/packages/{namespace}/{name}/{version}/dependencies",
        || get(graph::dependencies),
    ),
    (
        "/api/v1/packages/{namespace}/{name}/{version}/availability",
        || get(packages::availability),
    ),
    ("/api/v1/search", || get(find::search)),
    ("/api/v1/facets", || get(find::facets)),
    ("/api/v1/suggest", || get(find::suggest)),
    ("/api/v1/similar/{namespace}/{name}", || get(find::similar)),
    ("/api/v1/trust", || get(trust::policy)),
    ("/api/v1/trust/{owner}", || get(trust::trust)),
    ("/api/v1/owners/{owner}", || get(trust::owner)),
    ("/api/v1/events", || get(events::events)),
    ("/api/v1/openapi.json", || get(openapi::description)),
];

/// What the pages here say of themselves.
#[derive(Debug, OpenApi)]
#[openapi(paths(
    state::health,
    state::status,
    state::stats,
    state::peers,
    state::mirrors,
    packages::list,
    packages::package,
    packages::package_of,
    packages::versions,
    packages::version,
    packages::availability,
    graph::dependencies,
    find::search,
    find::facets,
    find::suggest,
    find::similar,
    trust::policy,
    trust::trust,
    trust::owner,
))]
pub(super) struct Described;

/// The routes of the API.
pub(super) fn routes() -> Router<Gateway> {
    let add = |router: Router<Gateway>, (path, page): &Page| router.route(path, page());
    PAGES.iter().fold(Router::new(), add)
}
