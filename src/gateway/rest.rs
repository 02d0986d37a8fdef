//! `/api/v1`: packages, search, trust and the state of the node as JSON. `openapi.rs` describes all of it.

mod ask;
mod find;
mod graph;
mod packages;
mod state;
mod trust;
mod update;
mod write;

use axum::Router;
use axum::routing::MethodRouter;
use utoipa::OpenApi;

use super::Gateway;
use super::{events, metrics, openapi};

/// One thing that can be asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// In lower case.
    #[cfg(test)]
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    answer: fn() -> MethodRouter<Gateway>,
}

/// Makes the routes and their description of one table, so that neither has what the other lacks.
macro_rules! pages {
    ($($method:ident $path:literal $part:ident::$handler:ident;)*) => {
        /// Every page of the API. The method and the path that a handler says of itself are held against this table.
        pub(super) const PAGES: &[Page] = &[$(Page {
            #[cfg(test)]
            method: stringify!($method),
            path: $path,
            answer: || axum::routing::$method($part::$handler),
        }),*];

        /// What the pages here say of themselves.
        #[derive(Debug, OpenApi)]
        #[openapi(paths($($part::$handler),*))]
        pub(super) struct Described;
    };
}

pages! {
    get "/healthz" state::health;
    get "/metrics" metrics::text;
    get "/api/v1/metrics" metrics::json;
    get "/api/v1/status" state::status;
    get "/api/v1/stats" state::stats;
    get "/api/v1/peers" state::peers;
    get "/api/v1/mirrors" state::mirrors;
    get "/api/v1/packages" packages::list;
    get "/api/v1/packages/{name}" packages::package;
    get "/api/v1/packages/{namespace}/{name}" packages::package_of;
    patch "/api/v1/packages/{namespace}/{name}" update::package;
    get "/api/v1/packages/{namespace}/{name}/versions" packages::versions;
    get "/api/v1/packages/{namespace}/{name}/{version}" packages::version;
    put "/api/v1/packages/{namespace}/{name}/{version}" write::publish;
    patch "/api/v1/packages/{namespace}/{name}/{version}" update::version;
    post "/api/v1/packages/{namespace}/{name}/{version}/yank" write::yank;
    post "/api/v1/packages/{namespace}/{name}/{version}/unyank" write::unyank;
    get "/api/v1/packages/{namespace}/{name}/{version}/dependencies" graph::dependencies;
    get "/api/v1/packages/{namespace}/{name}/{version}/availability" packages::availability;
    get "/api/v1/search" find::search;
    get "/api/v1/facets" find::facets;
    get "/api/v1/suggest" find::suggest;
    get "/api/v1/similar/{namespace}/{name}" find::similar;
    get "/api/v1/trust" trust::policy;
    get "/api/v1/trust/{owner}" trust::trust;
    get "/api/v1/owners/{owner}" trust::owner;
    get "/api/v1/events" events::events;
    get "/api/v1/openapi.json" openapi::description;
}

/// The routes of the API.
pub(super) fn routes() -> Router<Gateway> {
    let add = |router: Router<Gateway>, page: &Page| router.route(page.path, (page.answer)());
    PAGES.iter().fold(Router::new(), add)
}
