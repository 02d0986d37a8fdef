//! The files that pages need: style sheet, script, icon. Browsers keep them and ask whether they changed.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ggen_protocols::hash::ContentHash;

use crate::gateway::Gateway;
use crate::gateway::known::is_known;

struct File {
    kind: &'static str,
    text: &'static str,
    tag: LazyLock<String>,
}

macro_rules! file {
    ($name:literal, $kind:literal) => {
        File {
            kind: $kind,
            text: include_str!(concat!("../pages/", $name)),
            tag: LazyLock::new(|| tag(include_str!(concat!("../pages/", $name)))),
        }
    };
}

static STYLE: File = file!("style.css", "text/css; charset=utf-8");
static SCRIPT: File = file!("page.js", "text/javascript; charset=utf-8");
static ICON: File = file!("icon.svg", "image/svg+xml");

pub(super) fn routes() -> Router<Gateway> {
    let served = |file: &'static File| get(move |headers| async move { serve(file, &headers) });
    Router::new()
        .route("/style.css", served(&STYLE))
        .route("/page.js", served(&SCRIPT))
        .route("/icon.svg", served(&ICON))
}

fn tag(text: &str) -> String {
    let hash = ContentHash::blake3(text.as_bytes()).to_hex();
    format!("\"{}\"", hash.get(..32).unwrap_or(&hash))
}

fn serve(file: &'static File, headers: &HeaderMap) -> Response {
    let tag = file.tag.as_str();
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    if is_known(tag.as_bytes(), headers) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, file.kind)], file.text).into_response()
}
