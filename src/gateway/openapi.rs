//! The description of the API (OpenAPI 3.1), made from the handlers themselves.

use axum::Json;
use utoipa::OpenApi;

use super::{error, events, rest};
use crate::node::{BlobEvent, PeerEvent, RecordEvent};

/// What is said of the API as a whole.
const ABOUT: &str = "What a node tells over HTTP. Lists have bounds: `limit` is at most 100 and `offset` at most \
10,000 unless a page says otherwise. Whatever goes wrong is answered by `application/problem+json` (RFC 9457), with \
the same text in `errors` for package managers. Names are compared in lower case with `_` as `-`. Where a namespace \
is named, `_` means the node's own view of bare names.";

#[derive(OpenApi)]
#[openapi(
    info(title = "market", description = ABOUT),
    paths(events::events, description),
    components(schemas(error::Body, RecordEvent, BlobEvent, PeerEvent, events::Lost))
)]
struct Api;

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "node", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
))]
pub(super) async fn description() -> Json<utoipa::openapi::OpenApi> {
    Json(api())
}

fn api() -> utoipa::openapi::OpenApi {
    let mut api = Api::openapi();
    api.merge(rest::Described::openapi());
    api
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_page_is_described_and_nothing_else_is() {
        let described = api().paths.paths;
        let described: BTreeSet<&str> = described.keys().map(String::as_str).collect();
        let pages: BTreeSet<&str> = rest::PAGES.iter().map(|(path, _)| *path).collect();
        assert_eq!(described, pages);
    }

    #[test]
    fn every_page_says_what_it_is_for_and_what_it_answers() {
        let api = serde_json::to_value(api()).unwrap();
        for (path, page) in api["paths"].as_object().unwrap() {
            for (method, operation) in page.as_object().unwrap() {
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(!summary.is_empty(), "{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("200"), "{method} {path}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let said = parameter["description"].as_str().unwrap_or_default();
                    assert!(!said.is_empty(), "{method} {path}: {parameter}");
                }
            }
        }
    }
}
