//! Publishing an archive, and yanking it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::{Checksums, Format, PackageMetadata};
use ggen_protocols::record::Publish;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, At, ReleasePath};
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::desk::{self, bad};
use crate::gateway::error::Problem;
use crate::gateway::permit;
use crate::node::Published;

/// What the body is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Kind {
    /// What the archive is: `cargo`, `pack` or `generic` [default: generic].
    #[param(value_type = Option<String>)]
    format: Option<Format>,
}

/// Publishes the body. What the archive says of its name and version must be what the path says; a generic one
/// says neither. The key of the token must be unlocked in the node.
#[utoipa::path(put, path = "/api/v1/packages/{namespace}/{name}/{version}", tag = "packages",
    params(ReleasePath, Kind),
    request_body(content = Vec<u8>, description = "The archive", content_type = "application/octet-stream"),
    responses((status = 201, description = "It is published", body = Published)),
)]
pub(super) async fn publish(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    Asked(kind): Asked<Kind>,
    credential: Credential,
    body: Body,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let (at, version) = path.target()?;
    let format = kind.format.unwrap_or_default();
    let writer = permit::publisher(&gateway, &at.segment, &credential).await?;
    let there = desk::refuse_collision(&gateway, writer.owner(), &at.name, &version).await?;
    permit::may_publish(&credential, &at.name, there.is_empty())?;
    let archive = desk::read(body).await?;
    let inspected = desk::inspect(archive.clone(), format).await?;
    let metadata = match inspected.metadata {
        Some(metadata) => metadata,
        None => PackageMetadata {
            format,
            checksums: Checksums {
                blake3: Some(inspected.blake3),
                sha256: Some(inspected.sha256),
                size: Some(inspected.size),
            },
            ..PackageMetadata::new(PackageId {
                name: at.name.as_str().to_owned(),
                version: version.clone(),
                namespace: None,
            })
        },
    };
    let declared = (metadata.id.name.as_str(), &metadata.id.version);
    if declared != (at.name.as_str(), &version) {
        return Err(bad(format!(
            "the archive holds {}@{}, the address says {}@{}",
            declared.0, declared.1, at.name, version
        )));
    }
    let mut publish = Publish::from_metadata(&metadata).map_err(|error| bad(error.to_string()))?;
    desk::bind_dependencies(&gateway, &mut publish).await?;
    let published = writer.publish(publish, archive).await?;
    Ok((StatusCode::CREATED, Json(published)))
}

/// Whether a version is passed over by new resolutions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Yanked {
    /// `name@version`.
    package: String,
    /// As it is now.
    yanked: bool,
}

/// Yanks a version: new resolutions pass over it, and those who use it go on.
#[utoipa::path(post, path = "/api/v1/packages/{namespace}/{name}/{version}/yank", tag = "packages",
    params(ReleasePath),
    responses((status = 200, description = "It is yanked, by this or before", body = Yanked)),
)]
pub(super) async fn yank(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    credential: Credential,
) -> Result<Json<Yanked>, Problem> {
    set_yanked(&gateway, path, credential, true).await
}

/// Takes back that a version was yanked.
#[utoipa::path(post, path = "/api/v1/packages/{namespace}/{name}/{version}/unyank", tag = "packages",
    params(ReleasePath),
    responses((status = 200, description = "It is not yanked", body = Yanked)),
)]
pub(super) async fn unyank(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    credential: Credential,
) -> Result<Json<Yanked>, Problem> {
    set_yanked(&gateway, path, credential, false).await
}

async fn set_yanked(
    gateway: &Gateway,
    path: ReleasePath,
    credential: Credential,
    yanked: bool,
) -> Result<Json<Yanked>, Problem> {
    let (at, version) = path.target()?;
    let package = (&at.segment, &at.name);
    permit::set_yanked(gateway, package, &version, credential, yanked).await?;
    Ok(Json(Yanked {
        package: format!("{}@{version}", at.name),
        yanked,
    }))
}
