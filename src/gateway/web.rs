//! Pages for people at `/`: made here as a whole, readable without scripts, one style sheet and one small script.
//!
//! What others wrote is escaped by the templates; a README alone is markup, and passes [`readme`] first.

mod files;
mod graph;
mod needs;
mod owner;
mod package;
mod problem;
mod readme;
mod shown;
mod start;
mod swarm;
mod trust;

use askama::Template;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Gateway;
use super::error::Problem;

pub(super) use problem::for_people;

pub(super) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/", get(start::start))
        .route("/search", get(start::search))
        .route("/packages/{name}", get(package::by_name))
        .route("/packages/{namespace}/{name}", get(package::of_owner))
        .route(
            "/packages/{namespace}/{name}/{version}",
            get(package::of_version),
        )
        .route("/owners/{owner}", get(owner::owner))
        .route("/swarm", get(swarm::swarm))
        .merge(files::routes())
}

/// A page with its status.
fn page(status: StatusCode, template: &impl Template) -> Result<Response, Problem> {
    let failed = |error: askama::Error| {
        tracing::error!(%error, "a page cannot be made");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the page cannot be made; the node's log says why",
        )
    };
    let text = template.render().map_err(failed)?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((status, kind, text).into_response())
}

fn bad(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}
