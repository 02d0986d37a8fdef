//! `PUT /api/v1/crates/new`: takes what `cargo publish` uploads.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use ggen_protocols::id::{PackageName, parse_version};
use ggen_protocols::metadata::{Format, PackageMetadata};
use ggen_protocols::record::Publish;
use serde_json::{Value, json};

use super::path::AtIndex;
use super::upload::{self, Description};
use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::desk::{self, bad};
use crate::gateway::error::Problem;
use crate::gateway::permit;

pub(super) async fn new(
    State(gateway): State<Gateway>,
    AtIndex(segment): AtIndex,
    credential: Credential,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let writer = permit::publisher(&gateway, &segment, &credential).await?;
    let upload = desk::read(body).await?;
    let (description, archive) = upload::parts(&upload).map_err(bad)?;
    drop(upload);
    let description: Description = serde_json::from_slice(&description)
        .map_err(|error| bad(format!("the description is refused: {error}")))?;
    let name: PackageName = description.name.parse().map_err(crate::Error::from)?;
    let version = parse_version(&description.vers).map_err(crate::Error::from)?;
    let there = desk::refuse_collision(&gateway, writer.owner(), &name, &version).await?;
    permit::may_publish(&credential, &name, there.is_empty())?;
    let inspected = desk::inspect(archive.clone(), Format::Cargo).await?;
    let declared: PackageMetadata = inspected
        .metadata
        .ok_or_else(|| bad("the archive declares no name and version"))?;
    let mut publish = Publish::from_metadata(&declared).map_err(|error| bad(error.to_string()))?;
    description
        .check(&publish, |url| is_same_index(&gateway, &segment, url))
        .map_err(bad)?;
    desk::bind_dependencies(&gateway, &mut publish).await?;
    // The index is made from the catalogue, which has the release when this returns.
    writer.publish(publish, archive).await?;
    Ok(Json(json!({
        "warnings": { "invalid_categories": [], "invalid_badges": [], "other": [] }
    })))
}

/// Whether an address is that of the index that is uploaded to.
fn is_same_index(gateway: &Gateway, segment: &Segment, url: &str) -> bool {
    let own = desk::own_base(gateway);
    let mut bases = own.iter().chain([&*gateway.canonical]);
    bases.any(|base| base.index(segment) == url)
}
