//! The description of the API (OpenAPI 3.1), made from the handlers themselves.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};

use super::{error, events, rest};
use crate::node::{BlobEvent, PeerEvent, RecordEvent};

/// What is said of the API as a whole.
const ABOUT: &str = "What a node tells over HTTP, and what can be changed there. Lists have bounds: `limit` is at most \
100 and `offset` at most 10,000 unless a page says otherwise. Whatever goes wrong is answered by \
`application/problem+json` (RFC 9457), with the same text in `errors` for package managers. Names are compared in lower \
case with `_` as `-`. Where a namespace is named, `_` means the node's own view of bare names; where something is \
changed, whom the client writes as. Reading needs a token only on a node that other machines reach.";

/// What the description calls the one way to say who asks.
const TOKEN: &str = "token";
const TOKEN_IS: &str = "A token of `market token new`, alone or after `Bearer`. To yank, a signed record may stand there \
in its place, and to publish, an offer to sign: `market cargo-credential` makes them.";

/// What every page may answer, whatever is asked.
const EVERYWHERE: &[(u16, &str)] = &[
    (
        400,
        "A part of the request cannot be read, or is out of bounds",
    ),
    (401, "A token is needed here"),
    (
        403,
        "The token is none of this node's, or does not allow this",
    ),
    (421, "The request is meant for another host"),
    (
        429,
        "There were too many wrong tokens; `Retry-After` tells how long to wait",
    ),
    (500, "The node failed; its log says why"),
    (
        503,
        "The node is too busy or stops; `Retry-After` tells when to try again",
    ),
];

/// What pages that change something may answer besides.
const OF_CHANGES: &[(u16, &str)] = &[
    (404, "There is no such package or version here"),
    (
        409,
        "It contradicts what is published, or the name means nobody until the user decides",
    ),
    (413, "The body is too large"),
    (415, "The body is of another type"),
];

#[derive(OpenApi)]
#[openapi(
    info(title = "market", description = ABOUT),
    security((), ("token" = [])),
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
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some(TOKEN_IS.to_owned());
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
    for page in api.paths.paths.values_mut() {
        complete(page);
    }
    api
}

/// Adds what the handlers need not say, because it is decided before they are asked.
fn complete(page: &mut PathItem) {
    if let Some(read) = &mut page.get {
        add_problems(read, EVERYWHERE);
    }
    let changes = [&mut page.put, &mut page.post, &mut page.patch];
    for change in changes.into_iter().flatten() {
        let needed = SecurityRequirement::new(TOKEN, Vec::<String>::new());
        change.security = Some(vec![needed]);
        add_problems(change, EVERYWHERE);
        add_problems(change, OF_CHANGES);
    }
}

fn add_problems(operation: &mut Operation, problems: &[(u16, &str)]) {
    for (status, description) in problems {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let mut response = Response::new(*description);
        let kind = "application/problem+json".to_owned();
        response.content.insert(kind, problem.into());
        let answers = &mut operation.responses.responses;
        answers
            .entry(status.to_string())
            .or_insert(RefOr::T(response));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    /// Each operation of the description, with its method and path.
    fn operations() -> Vec<((String, String), Value)> {
        let api = serde_json::to_value(api()).unwrap();
        let mut operations = Vec::new();
        for (path, page) in api["paths"].as_object().unwrap() {
            for (method, operation) in page.as_object().unwrap() {
                operations.push(((method.clone(), path.clone()), operation.clone()));
            }
        }
        operations
    }

    #[test]
    fn every_page_is_described_and_nothing_else_is() {
        let described: BTreeSet<_> = operations().into_iter().map(|(at, _)| at).collect();
        let pages = rest::PAGES.iter();
        let pages: BTreeSet<_> = pages
            .map(|page| (page.method.to_owned(), page.path.to_owned()))
            .collect();
        assert_eq!(described, pages);
        assert_eq!(pages.len(), rest::PAGES.len());
    }

    /// The paths that a file adds routes for, as far as they are of the API.
    fn routed(code: &str) -> Vec<&str> {
        let routes = code.split(".route(").skip(1);
        let paths = routes.filter_map(|rest| rest.trim_start().strip_prefix('"'));
        paths.filter(|path| path.starts_with("/api/")).collect()
    }

    #[test]
    fn the_table_has_every_route_of_the_api() {
        assert_eq!(
            routed("a.route(\"/me\", b).route(\n    \"/api/v1/x\"").len(),
            1
        );
        let gateway = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gateway");
        let mut folders = vec![PathBuf::from(gateway)];
        let mut files = vec![PathBuf::from(format!("{gateway}.rs"))];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if !path.ends_with("openapi.rs") => files.push(path),
                    false => {}
                }
            }
        }
        assert!(files.len() > 40, "{}", files.len());
        for path in files {
            let code = fs::read_to_string(&path).unwrap();
            assert!(routed(&code).is_empty(), "{} adds one", path.display());
        }
    }

    #[test]
    fn every_page_says_what_it_is_for_and_what_it_answers() {
        let mut ids = BTreeSet::new();
        for ((method, path), operation) in operations() {
            let at = format!("{method} {path}");
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{at}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{at} is called as another one");
            let mut responses = operation["responses"].as_object().unwrap().iter();
            assert!(responses.any(|(status, _)| status.starts_with('2')), "{at}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_problem = status.starts_with(['4', '5']);
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(
                    *schema == "#/components/schemas/Problem",
                    is_problem,
                    "{at}: {status}"
                );
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let said = parameter["description"].as_str().unwrap_or_default();
                assert!(!said.is_empty(), "{at}: {parameter}");
            }
        }
    }

    #[test]
    fn what_changes_something_needs_a_token_and_says_what_it_takes() {
        let mut bodies = 0;
        for ((method, path), operation) in operations() {
            let is_read = method == "get";
            assert_eq!(
                operation["security"] == json!([{ "token": [] }]),
                !is_read,
                "{path}"
            );
            assert!(operation["responses"]["401"].is_object(), "{path}");
            bodies += usize::from(operation["requestBody"].is_object());
        }
        assert_eq!(
            bodies, 3,
            "an archive, and the changes of a package or a version"
        );
        let api = serde_json::to_value(api()).unwrap();
        assert_eq!(api["security"], json!([{}, { "token": [] }]));
        assert_eq!(
            api["components"]["securitySchemes"]["token"]["scheme"],
            "bearer"
        );
    }
}
