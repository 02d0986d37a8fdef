//! Files of an index: one for each package, with a line for each of its releases.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageName};
use ggen_protocols::metadata::DependencySource;
use tokio::task::spawn_blocking;

use super::cache::{File, Listed, Stamp};
use super::line::{self, Lists, Registries};
use super::path::{AtFile, absent};
use crate::Error;
use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::gateway::known::is_known;
use crate::node::NodeError;
use crate::registry::{RegistryError, Release};

pub(super) async fn file(
    State(gateway): State<Gateway>,
    at: AtFile,
    headers: HeaderMap,
) -> Response {
    match known(&gateway, &at.segment, &at.name).await {
        Ok(file) => answer(&file, &headers),
        // Cargo shows its user an answer that is neither a file nor "there is none", but does not read it.
        Err(problem) => problem.plain(),
    }
}

fn answer(file: &File, headers: &HeaderMap) -> Response {
    // No time of the last change: it has seconds only, and a client would miss the second change in one.
    let kept = [
        (header::ETAG, file.etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if is_known(file.etag.as_bytes(), headers) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let kind = [(header::CONTENT_TYPE, kind)];
    (kept, kind, file.bytes.clone()).into_response()
}

/// The file of a package as it is now.
///
/// # Errors
/// 404 if the index has none, 409 if the name means nobody.
pub(super) async fn known(
    gateway: &Gateway,
    segment: &Segment,
    name: &PackageName,
) -> Result<Arc<File>, Problem> {
    let now = gateway.indexes.now(&gateway.node).await?;
    let name = name.as_str().to_ascii_lowercase();
    if let Some(file) = gateway.indexes.get(segment, &name) {
        return Ok(file);
    }
    let file = Arc::new(make(gateway, segment, &name, now).await?);
    gateway.indexes.keep(segment, &name, file.clone());
    Ok(file)
}

async fn make(
    gateway: &Gateway,
    segment: &Segment,
    name: &str,
    stamp: Stamp,
) -> Result<File, Problem> {
    let catalogue = gateway.node.catalogue();
    let canonical = name.parse::<PackageName>();
    let canonical = canonical.map_err(Error::from)?.canonical();
    let namespace = segment.namespace();
    let owner = match catalogue.owner_of(namespace.as_deref(), &canonical).await {
        Err(Error::Registry(error @ RegistryError::Withheld { .. })) => {
            return Err(absent(error.to_string()));
        }
        found => found?,
    };
    let mut releases = catalogue.releases(owner, &canonical).await?;
    // `a-b` and `a_b` are one package, but only its own spelling is its file.
    releases.retain(|release| release.metadata.id.name.eq_ignore_ascii_case(name));
    let mut names = vec![canonical];
    let lists = match segment {
        Segment::Owner(owner) => Lists::All(*owner),
        Segment::View | Segment::Label(_) => {
            let meant = meanings(gateway, segment, &releases).await?;
            names.extend(meant.keys().cloned());
            Lists::Meant(meant)
        }
    };
    let registries = Registries {
        lists,
        canonical: (*gateway.canonical).clone(),
        own: format!("http://{}", gateway.address),
    };
    let written = match spawn_blocking(move || write(&releases, &registries)).await {
        Ok(written) => written,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => return Err(Error::from(NodeError::Stopped).into()),
    };
    let (bytes, releases) = written;
    if releases.is_empty() {
        return Err(absent(format!("no release of `{name}` is offered here")));
    }
    let etag = format!("\"{}\"", ContentHash::blake3(&bytes).to_hex());
    Ok(File {
        bytes: bytes.into(),
        etag: HeaderValue::try_from(etag).expect("digits and quotes are a header's value"),
        releases,
        stamp,
        names,
    })
}

/// Whom the names of dependencies that are no default registry's mean in an index, if anybody.
async fn meanings(
    gateway: &Gateway,
    segment: &Segment,
    releases: &[Release],
) -> Result<HashMap<CanonicalName, Option<OwnerId>>, Problem> {
    let aliases = releases
        .iter()
        .flat_map(|release| release.metadata.dependencies.values());
    let dependencies = aliases.flatten();
    let named = dependencies.filter(|one| one.source != DependencySource::Default);
    let names: BTreeSet<_> = named
        .filter_map(|one| one.name.parse::<PackageName>().ok())
        .map(|name| name.canonical())
        .collect();
    let namespace = segment.namespace();
    let catalogue = gateway.node.catalogue();
    let mut meant = HashMap::new();
    for name in names {
        let owner = match catalogue.owner_of(namespace.as_deref(), &name).await {
            Err(Error::Registry(
                RegistryError::NotFound(_)
                | RegistryError::Contested(_)
                | RegistryError::Withheld { .. },
            )) => None,
            found => Some(found?),
        };
        meant.insert(name, owner);
    }
    Ok(meant)
}

/// The lines of what is offered, and what they list.
fn write(releases: &[Release], registries: &Registries) -> (Vec<u8>, Vec<Listed>) {
    let (mut bytes, mut listed) = (Vec::new(), Vec::new());
    for release in releases {
        let checksums = &release.metadata.checksums;
        // Without all of these, cargo or this node could not check what it gets.
        let (Some(yanked), Some(blake3), Some(sha256), Some(size)) = (
            line::yanked(release),
            checksums.blake3,
            checksums.sha256,
            checksums.size,
        ) else {
            continue;
        };
        line::write(&release.metadata, &sha256, yanked, registries, &mut bytes);
        listed.push(Listed {
            key: release.key.clone(),
            blake3,
            sha256,
            size,
            is_used: AtomicBool::new(false),
        });
    }
    (bytes, listed)
}
