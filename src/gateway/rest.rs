//! `/api/v1`: packages, search and the state of the node as JSON.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use ggen_protocols::id::{PackageName, split_namespace};
use serde::Deserialize;

use super::Gateway;
use super::error::Problem;
use crate::control::{Hits, PackageInfo};
use crate::node::Status;
use crate::registry::RegistryError;
use crate::search::SearchQuery;

/// Hits of one page.
const LIMIT_MAX: usize = 100;
/// Hits that can be passed over.
const OFFSET_MAX: usize = 10_000;

/// The query of a search.
#[derive(Debug, Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    q: String,
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
}

pub(super) async fn health(State(gateway): State<Gateway>) -> Result<&'static str, Problem> {
    // Asks the node's own loop: one that hangs is not healthy.
    gateway.node.peers().await?;
    Ok("ok\n")
}

pub(super) async fn status(State(gateway): State<Gateway>) -> Result<Json<Status>, Problem> {
    let mut status = gateway.node.status().await?;
    status.http = Some(format!("http://{}", gateway.address));
    Ok(Json(status))
}

pub(super) async fn search(
    State(gateway): State<Gateway>,
    words: Result<Query<Words>, QueryRejection>,
) -> Result<Json<Hits>, Problem> {
    let Query(words) = words.map_err(|error| bad(error.body_text()))?;
    let limit = words.limit.unwrap_or(SearchQuery::default().limit);
    if limit > LIMIT_MAX || words.offset > OFFSET_MAX {
        return Err(bad(format!(
            "`limit` is at most {LIMIT_MAX} and `offset` at most {OFFSET_MAX}"
        )));
    }
    let query = SearchQuery {
        text: words.q,
        limit,
        offset: words.offset,
        ..SearchQuery::default()
    };
    Ok(Json(Hits::from(gateway.node.search(&query).await?)))
}

pub(super) async fn package(
    State(gateway): State<Gateway>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<PackageInfo>, Problem> {
    let Path(name) = name.map_err(|error| bad(error.body_text()))?;
    let name = name.parse().map_err(crate::Error::Id)?;
    info(&gateway, None, name).await
}

pub(super) async fn package_of(
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<PackageInfo>, Problem> {
    let Path((namespace, name)) = path.map_err(|error| bad(error.body_text()))?;
    let parsed = split_namespace(&format!("{namespace}/{name}"));
    let (namespace, name) = parsed.map_err(crate::Error::Id)?;
    info(&gateway, namespace, name).await
}

async fn info(
    gateway: &Gateway,
    namespace: Option<String>,
    name: PackageName,
) -> Result<Json<PackageInfo>, Problem> {
    let (owner, releases) = gateway.node.info(namespace.as_deref(), &name).await?;
    let none = || crate::Error::from(RegistryError::NotFound(name.to_string()));
    let choices = gateway.node.choices()?;
    let trust = choices.trust(owner, Some(&name.canonical())).await?;
    Ok(Json(PackageInfo::of(&trust, releases).ok_or_else(none)?))
}

fn bad(why: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}
