//! What an index says of itself, and how one gets a token for it.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::path::AtIndex;
use crate::gateway::Gateway;
use crate::gateway::auth;

/// `config.json`: where crates are downloaded from and the rest of the protocol is answered. Both are this node,
/// whatever the address by which others know the index.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    dl: String,
    api: String,
    #[serde(rename = "auth-required", skip_serializing_if = "std::ops::Not::not")]
    needs_token: bool,
}

pub(super) async fn config(
    State(gateway): State<Gateway>,
    AtIndex(segment): AtIndex,
    headers: HeaderMap,
) -> Json<Config> {
    let api = format!("{}/cargo/{segment}", gateway.base(&headers));
    let dl = format!("{api}/dl/{{crate}}/{{version}}/{{sha256-checksum}}");
    Json(Config {
        dl,
        api,
        needs_token: gateway.reads_need_token(),
    })
}

/// Where `cargo login` sends its user.
pub(super) async fn me(AtIndex(_): AtIndex) -> &'static str {
    auth::me().await
}
