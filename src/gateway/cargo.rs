//! cargo's registry protocol, sparse form: an index at `/cargo/SEGMENT/` for each owner and label, and one at
//! `/cargo/_/` for what bare names mean here.
//!
//! A path is taken as it stands: with an escape, an empty part, a dot or a capital letter where none belongs it is
//! another path, at which there is nothing. Nothing is ever redirected.

mod cache;
mod config;
mod download;
mod index;
mod line;
mod owners;
mod path;
mod publish;
mod search;
mod upload;
mod yank;

use axum::Router;
use axum::routing::{delete, get, put};

use super::Gateway;
pub(super) use cache::Indexes;

/// What cargo itself writes for its default registry, in indexes and in what it publishes. A name, never dialled.
const DEFAULT_REGISTRY: &str = "https://github.com/rust-lang/crates.io-index";

/// What cargo asks for.
pub(super) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/cargo/{segment}/config.json", get(config::config))
        .route("/cargo/{segment}/me", get(config::me))
        .route("/cargo/{segment}/api/v1/crates", get(search::search))
        .route(
            "/cargo/{segment}/api/v1/crates/{name}/{version}/download",
            get(download::release),
        )
        .route(
            "/cargo/{segment}/dl/{name}/{version}/{checksum}",
            get(download::checked),
        )
        .route("/cargo/{segment}/{*file}", get(index::file))
        .merge(writing())
}

/// What cargo sends to have something changed.
fn writing() -> Router<Gateway> {
    Router::new()
        .route("/cargo/{segment}/api/v1/crates/new", put(publish::new))
        .route(
            "/cargo/{segment}/api/v1/crates/{name}/owners",
            get(owners::list).put(owners::add).delete(owners::remove),
        )
        .route(
            "/cargo/{segment}/api/v1/crates/{name}/{version}/yank",
            delete(yank::yank),
        )
        .route(
            "/cargo/{segment}/api/v1/crates/{name}/{version}/unyank",
            put(yank::unyank),
        )
}
