//! `DELETE …/yank` and `PUT …/unyank`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::path::AtRelease;
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::error::Problem;
use crate::gateway::permit;

pub(super) async fn yank(
    State(gateway): State<Gateway>,
    at: AtRelease,
    credential: Credential,
) -> Result<Json<Value>, Problem> {
    set(&gateway, at, credential, true).await
}

pub(super) async fn unyank(
    State(gateway): State<Gateway>,
    at: AtRelease,
    credential: Credential,
) -> Result<Json<Value>, Problem> {
    set(&gateway, at, credential, false).await
}

async fn set(
    gateway: &Gateway,
    at: AtRelease,
    credential: Credential,
    yanked: bool,
) -> Result<Json<Value>, Problem> {
    let package = (&at.segment, &at.name);
    permit::set_yanked(gateway, package, &at.version, credential, yanked).await?;
    Ok(Json(json!({ "ok": true })))
}
