//! Finding packages: search, facets, suggestions, similar packages.

use axum::Json;
use axum::extract::State;
use ggen_protocols::id::PackageId;
use semver::Version;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, At, PackagePath, Window, bad, limited};
use crate::control::{Hits, tell_trust};
use crate::gateway::Gateway;
use crate::gateway::error::{Body, Problem};
use crate::search::{Facets, SearchPage, SearchQuery, Sort};

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Words {
    /// Words; at most 256 characters and 16 words count. Left out: everything.
    #[serde(default)]
    q: String,
    /// Only packages in all of these categories, separated by commas.
    #[serde(default)]
    category: String,
    /// Only packages with all of these keywords, separated by commas.
    #[serde(default)]
    keyword: String,
    /// Only packages whose authors' names have all of these words.
    author: Option<String>,
    /// Only packages of this owner: its id.
    owner: Option<String>,
    /// Only packages with this licence, alone or in an expression.
    license: Option<String>,
    /// Only packages that were downloaded so often.
    min_downloads: Option<u64>,
    /// `relevance`, `name`, `downloads` or `newest` [default: relevance].
    sort: Option<String>,
}

impl Words {
    fn query(self, limit: usize, offset: usize) -> Result<SearchQuery, Problem> {
        let labels = |labels: &str| {
            let labels = labels.split(',').map(str::trim);
            labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Ok(SearchQuery {
            categories: labels(&self.category),
            tags: labels(&self.keyword),
            sort: match self.sort.as_deref() {
                None | Some("relevance") => Sort::Relevance,
                Some("name") => Sort::Name,
                Some("downloads") => Sort::Downloads,
                Some("newest") => Sort::Newest,
                Some(_) => {
                    let known = "`sort` is `relevance`, `name`, `downloads` or `newest`";
                    return Err(bad(known.to_owned()));
                }
            },
            author: self.author,
            namespace: self.owner,
            license: self.license,
            min_downloads: self.min_downloads,
            text: self.q,
            limit,
            offset,
        })
    }
}

/// Searches packages by words. Text is words, never a query language.
#[utoipa::path(get, path = "/api/v1/search", tag = "search", params(Words, Window), responses(
    (status = 200, description = "What fits, best first", body = Hits),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn search(
    State(gateway): State<Gateway>,
    Asked(words): Asked<Words>,
    Asked(window): Asked<Window>,
) -> Result<Json<Hits>, Problem> {
    let (limit, offset) = window.checked()?;
    let query = words.query(limit, offset)?;
    let mut hits = Hits::from(gateway.node.search(&query).await?);
    tell_trust(&gateway.node, &mut hits).await?;
    Ok(Json(hits))
}

/// How often labels stand on what a search finds; the commonest come first, at most 50 of each kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FacetCounts {
    /// How many packages the search finds.
    total: u64,
    /// How many of them were counted: the best 1,000.
    counted: u64,
    /// Categories.
    categories: Vec<Count>,
    /// Keywords.
    keywords: Vec<Count>,
    /// Licence expressions.
    licenses: Vec<Count>,
    /// What the archives are: `cargo`, `pack` or `generic`.
    formats: Vec<Count>,
}

/// One label.
#[derive(Debug, Serialize, ToSchema)]
struct Count {
    /// The label.
    label: String,
    /// How many packages have it.
    count: u64,
}

impl From<Facets> for FacetCounts {
    fn from(facets: Facets) -> Self {
        let counts = |counts: Vec<(String, u64)>| {
            let counts = counts.into_iter();
            counts
                .map(|(label, count)| Count { label, count })
                .collect()
        };
        Self {
            total: facets.total,
            counted: facets.counted,
            categories: counts(facets.categories),
            keywords: counts(facets.tags),
            licenses: counts(facets.licenses),
            formats: counts(facets.formats),
        }
    }
}

/// Counts the labels of what a search finds.
#[utoipa::path(get, path = "/api/v1/facets", tag = "search", params(Words), responses(
    (status = 200, description = "Counts of labels", body = FacetCounts),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn facets(
    State(gateway): State<Gateway>,
    Asked(words): Asked<Words>,
) -> Result<Json<FacetCounts>, Problem> {
    let query = words.query(0, 0)?;
    let facets = gateway.node.index()?.facets(&query).await?;
    Ok(Json(facets.into()))
}

/// What was typed so far.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Typed {
    /// The beginning of a name.
    #[serde(default)]
    q: String,
    /// Names of the answer [default: 20].
    #[param(maximum = 50)]
    limit: Option<usize>,
}

/// Names that begin so.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Suggestions {
    /// Each name once: those that begin as typed, then those that begin one typo away.
    names: Vec<String>,
}

/// Suggests names of packages.
#[utoipa::path(get, path = "/api/v1/suggest", tag = "search", params(Typed), responses(
    (status = 200, description = "Names", body = Suggestions),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn suggest(
    State(gateway): State<Gateway>,
    Asked(typed): Asked<Typed>,
) -> Result<Json<Suggestions>, Problem> {
    let limit = limited(typed.limit)?;
    let max = SearchQuery::SUGGESTIONS_MAX;
    if limit > max {
        return Err(bad(format!("`limit` is at most {max} here")));
    }
    let names = gateway.node.index()?.suggest(&typed.q, limit).await?;
    Ok(Json(Suggestions { names }))
}

/// How many are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HowMany {
    /// Packages of the answer [default: 20].
    #[param(maximum = 100)]
    limit: Option<usize>,
}

/// Packages that share words with this one, the most similar first.
#[utoipa::path(get, path = "/api/v1/similar/{namespace}/{name}", tag = "search", params(PackagePath, HowMany), responses(
    (status = 200, description = "Similar packages", body = Hits),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such package here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn similar(
    State(gateway): State<Gateway>,
    At(path): At<PackagePath>,
    Asked(wanted): Asked<HowMany>,
) -> Result<Json<Hits>, Problem> {
    let limit = limited(wanted.limit)?;
    let (owner, name, _) = path.releases(&gateway).await?;
    // There is one entry for all versions.
    let id = PackageId {
        name: name.into(),
        version: Version::new(0, 0, 0),
        namespace: Some(owner.to_string()),
    };
    let hits = gateway.node.index()?.similar(&id, limit).await?;
    let total = hits.len() as u64;
    Ok(Json(Hits::from(SearchPage {
        total,
        hits,
        ..SearchPage::default()
    })))
}
