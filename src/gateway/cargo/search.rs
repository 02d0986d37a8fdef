//! `cargo search`: the packages that an index has, by words.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use ggen_protocols::id::PackageName;
use ggen_protocols::metadata::{Format, PackageMetadata};
use serde::{Deserialize, Serialize};

use super::path::AtIndex;
use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::search::SearchQuery;

/// What cargo asks for unless told otherwise.
const PER_PAGE: usize = 10;
/// Hits among which those of the index are looked for: those of other owners may come first.
const HITS_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    q: String,
    per_page: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct Found {
    crates: Vec<Crate>,
    meta: Meta,
}

#[derive(Debug, Serialize)]
struct Crate {
    name: String,
    max_version: String,
    description: String,
}

#[derive(Debug, Serialize)]
struct Meta {
    /// How many there are; at the most [`HITS_MAX`].
    total: u32,
}

pub(super) async fn search(
    State(gateway): State<Gateway>,
    AtIndex(segment): AtIndex,
    words: Result<Query<Words>, QueryRejection>,
) -> Result<Json<Found>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let Query(words) = words.map_err(|error| bad(error.body_text()))?;
    let per_page = words.per_page.unwrap_or(PER_PAGE);
    if per_page > SearchQuery::LIMIT_MAX {
        let most = SearchQuery::LIMIT_MAX;
        return Err(bad(format!("`per_page` is at most {most}")));
    }
    let owner = match &segment {
        Segment::Owner(owner) => Some(owner.to_string()),
        Segment::View | Segment::Label(_) => None,
    };
    let (mut crates, mut total) = (Vec::new(), 0);
    for offset in (0..HITS_MAX).step_by(SearchQuery::LIMIT_MAX) {
        let query = SearchQuery {
            text: words.q.clone(),
            namespace: owner.clone(),
            limit: SearchQuery::LIMIT_MAX,
            offset,
            ..SearchQuery::default()
        };
        let page = gateway.node.search(&query).await?;
        let is_last = page.hits.len() < SearchQuery::LIMIT_MAX;
        for hit in page.hits {
            if !is_listed(&gateway, &segment, &hit.package).await {
                continue;
            }
            total += 1;
            if crates.len() < per_page {
                crates.push(Crate {
                    name: hit.package.id.name,
                    max_version: hit.package.id.version.to_string(),
                    description: hit.package.description,
                });
            }
        }
        if is_last {
            break;
        }
    }
    let meta = Meta { total };
    Ok(Json(Found { crates, meta }))
}

/// Whether the index has this very package under its name.
async fn is_listed(gateway: &Gateway, segment: &Segment, package: &PackageMetadata) -> bool {
    let (Some(owner), Ok(name)) = (
        &package.id.namespace,
        package.id.name.parse::<PackageName>(),
    ) else {
        return false;
    };
    let meant = match segment {
        Segment::Owner(owner) => Some(owner.to_string()),
        Segment::View | Segment::Label(_) => {
            let namespace = segment.namespace();
            let catalogue = gateway.node.catalogue();
            let name = name.canonical();
            let meant = catalogue.owner_of(namespace.as_deref(), &name).await;
            meant.ok().map(|owner| owner.to_string())
        }
    };
    package.format == Format::Cargo && meant.as_ref() == Some(owner)
}
