//! Packages and their versions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use ggen_protocols::id::{CanonicalName, OwnerId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, At, PackagePath, ReleasePath, Window, bad, kept, limited, missing};
use crate::control::{PackageInfo, VersionInfo};
use crate::gateway::Gateway;
use crate::gateway::error::{Body, Problem};
use crate::node::Availability;
use crate::registry::Release;

/// Where a list goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Entries of the answer [default: 20].
    #[param(maximum = 100)]
    limit: Option<usize>,
    /// What `next` of the answer before said.
    cursor: Option<String>,
}

/// Packages that are known here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Packages {
    /// By owner, then by name.
    packages: Vec<Package>,
    /// The `cursor` of what follows; nothing if these are the last ones.
    next: Option<String>,
}

/// One package.
#[derive(Debug, Serialize, ToSchema)]
struct Package {
    /// Whose it is; also what to write before the name to mean exactly this package.
    owner: String,
    /// Its name, in the form that names are compared in.
    name: String,
}

/// All packages, whoever owns them, a page at a time.
#[utoipa::path(get, path = "/api/v1/packages", tag = "packages", params(Page), responses(
    (status = 200, description = "Packages", body = Packages),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    Asked(page): Asked<Page>,
) -> Result<Json<Packages>, Problem> {
    let limit = limited(page.limit)?;
    let after = page.cursor.as_deref().map(place).transpose()?;
    // One more tells whether there are more.
    let found = gateway.node.catalogue().packages(after, limit + 1).await?;
    let more = found.len() > limit;
    let shown = found.into_iter().take(limit);
    let packages: Vec<_> = shown
        .map(|(owner, name)| Package {
            owner: owner.to_string(),
            name: name.to_string(),
        })
        .collect();
    let last = packages.last().filter(|_| more);
    let next = last.map(|Package { owner, name }| format!("{owner}/{name}"));
    Ok(Json(Packages { packages, next }))
}

fn place(cursor: &str) -> Result<(OwnerId, CanonicalName), Problem> {
    let wrong = || bad("`cursor` is what `next` of the answer before said".to_owned());
    let (owner, name) = cursor.split_once('/').ok_or_else(wrong)?;
    let owner = owner.parse().map_err(|_| wrong())?;
    Ok((owner, name.parse().map_err(|_| wrong())?))
}

/// One package by its bare name, as this node's user means it.
#[utoipa::path(get, path = "/api/v1/packages/{name}", tag = "packages",
    params(("name" = String, Path, description = "Name, in any spelling")), responses(
    (status = 200, description = "The package and its highest versions; has an `ETag`", body = PackageInfo),
    (status = 304, description = "It is as `If-None-Match` has it"),
    (status = 400, description = "This is no name", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such package here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn package(
    State(gateway): State<Gateway>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let namespace = "_".to_owned();
    kept(
        &headers,
        &info(&gateway, PackagePath { namespace, name }).await?,
    )
}

/// One package of one owner.
#[utoipa::path(get, path = "/api/v1/packages/{namespace}/{name}", tag = "packages", params(PackagePath), responses(
    (status = 200, description = "The package and its highest versions; has an `ETag`", body = PackageInfo),
    (status = 304, description = "It is as `If-None-Match` has it"),
    (status = 400, description = "This is no namespace or no name", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such package here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn package_of(
    State(gateway): State<Gateway>,
    At(path): At<PackagePath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    kept(&headers, &info(&gateway, path).await?)
}

async fn info(gateway: &Gateway, path: PackagePath) -> Result<PackageInfo, Problem> {
    let (owner, name, releases) = path.releases(gateway).await?;
    let choices = gateway.node.choices()?;
    let trust = choices.trust(owner, Some(&name.canonical())).await?;
    PackageInfo::of(&trust, releases).ok_or_else(|| missing(&name))
}

/// Versions of one package.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Versions {
    /// Whose it is.
    owner: String,
    /// How many versions there are.
    total: usize,
    /// The ones asked for, highest first.
    versions: Vec<VersionInfo>,
}

/// The versions of one package, highest first, a page at a time.
#[utoipa::path(get, path = "/api/v1/packages/{namespace}/{name}/versions", tag = "packages", params(PackagePath, Window), responses(
    (status = 200, description = "Versions; has an `ETag`", body = Versions),
    (status = 304, description = "It is as `If-None-Match` has it"),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such package here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn versions(
    State(gateway): State<Gateway>,
    At(path): At<PackagePath>,
    Asked(window): Asked<Window>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (limit, offset) = window.checked()?;
    let (owner, _, releases) = path.releases(&gateway).await?;
    let total = releases.len();
    let shown = releases.into_iter().rev().skip(offset).take(limit);
    let versions = Versions {
        owner: owner.to_string(),
        total,
        versions: shown.map(VersionInfo::from).collect(),
    };
    kept(&headers, &versions)
}

/// One version of one package, with all that its publisher declared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseInfo {
    /// Whose it is.
    owner: String,
    /// Its name, as the publisher spelled it.
    name: String,
    /// Whether search and resolution offer it.
    offered: bool,
    /// Whether its archive is held here.
    held: bool,
    /// When this node first saw it.
    first_seen: DateTime<Utc>,
    /// The key that signed its record.
    key: String,
    /// One or two sentences.
    description: String,
    /// Who wrote it.
    authors: Vec<String>,
    /// Licence expression, or empty.
    license: String,
    /// Where its source is kept.
    repository: Option<String>,
    /// Its site.
    homepage: Option<String>,
    /// Its documentation.
    documentation: Option<String>,
    /// Words to find it by.
    keywords: Vec<String>,
    /// Slugs of categories.
    categories: Vec<String>,
    /// Features and what each turns on.
    features: BTreeMap<String, Vec<String>>,
    /// The native library it links.
    links: Option<String>,
    /// The oldest compiler it builds with.
    rust_version: Option<String>,
    /// Why its owner asked that it be no longer chosen, if so.
    deprecated: Option<String>,
    /// What `versions` tells of it too.
    release: VersionInfo,
}

impl ReleaseInfo {
    fn of(gateway: &Gateway, release: Release) -> Self {
        let metadata = &release.metadata;
        let blake3 = metadata.checksums.blake3;
        let url = |url: &Option<url::Url>| url.as_ref().map(ToString::to_string);
        Self {
            owner: release.key.owner.to_string(),
            name: metadata.id.name.clone(),
            offered: release.is_offered(),
            held: blake3.is_some_and(|hash| gateway.node.store().is_held(&hash)),
            first_seen: release.first_seen,
            key: metadata.signature.key.0.to_string(),
            description: metadata.description.clone(),
            authors: metadata.authors.clone(),
            license: metadata.license.clone(),
            repository: url(&metadata.repository),
            homepage: url(&metadata.homepage),
            documentation: url(&metadata.documentation),
            keywords: metadata.keywords.clone(),
            categories: metadata.categories.clone(),
            features: metadata.features.clone(),
            links: metadata.links.clone(),
            rust_version: metadata.rust_version.clone(),
            deprecated: metadata.deprecated.clone(),
            release: VersionInfo::from(release),
        }
    }
}

/// One version.
#[utoipa::path(get, path = "/api/v1/packages/{namespace}/{name}/{version}", tag = "packages", params(ReleasePath), responses(
    (status = 200, description = "The version; has an `ETag`", body = ReleaseInfo),
    (status = 304, description = "It is as `If-None-Match` has it"),
    (status = 400, description = "This is no name or no version", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such version here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn version(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let release = path.release(&gateway).await?;
    kept(&headers, &ReleaseInfo::of(&gateway, release))
}

/// Where the archive of a version can be had at this moment: at most 16 connected peers are asked, and given a
/// second and a half.
#[utoipa::path(get, path = "/api/v1/packages/{namespace}/{name}/{version}/availability", tag = "packages", params(ReleasePath), responses(
    (status = 200, description = "Who holds the archive", body = Availability),
    (status = 400, description = "This is no name or no version", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such version here, or it has no archive", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn availability(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
) -> Result<Json<Availability>, Problem> {
    let release = path.release(&gateway).await?;
    let hash = release.metadata.checksums.blake3;
    let hash = hash.ok_or_else(|| missing(format!("an archive of {}", release.key)))?;
    Ok(Json(gateway.node.availability(&hash).await))
}
