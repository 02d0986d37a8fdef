//! Archives: the bytes that were published, from here or from whoever holds them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PackageId;
use semver::{BuildMetadata, Version};
use tokio::time::timeout;

use super::cache::Listed;
use super::index;
use super::path::{AtRelease, absent};
use crate::Error;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::node::{NodeError, Wanted, WantedVersion};

/// How long a request waits for peers: cargo gives up on a download from which it hears nothing for 30 seconds.
const WAIT_MAX: Duration = Duration::from_secs(25);
/// Bytes of an archive that is answered in one piece, which takes fewer turns; small, for all requests at a time may
/// hold as much in memory.
const WHOLE_BYTES_MAX: u64 = 256 << 10;
/// After how many seconds a client is to ask again: cargo waits at most ten.
const RETRY_SECONDS: &str = "5";

/// `api/v1/crates/NAME/VERSION/download`.
pub(super) async fn release(
    State(gateway): State<Gateway>,
    at: AtRelease,
) -> Result<Response, Problem> {
    download(&gateway, at, None).await
}

/// `dl/NAME/VERSION/SHA256`: this content or none.
pub(super) async fn checked(
    State(gateway): State<Gateway>,
    at: AtRelease,
    params: RawPathParams,
) -> Result<Response, Problem> {
    let checksum = params.iter().find(|(name, _)| *name == "checksum");
    let checksum = checksum.map_or("", |(_, value)| value);
    download(&gateway, at, Some(checksum)).await
}

async fn download(
    gateway: &Gateway,
    at: AtRelease,
    checksum: Option<&str>,
) -> Result<Response, Problem> {
    let file = index::known(gateway, &at.segment, &at.name).await?;
    let version = Version {
        build: BuildMetadata::EMPTY,
        ..at.version.clone()
    };
    let listed = file.releases.iter().find(|one| one.key.version == version);
    let Some(listed) = listed else {
        return Err(unlisted(gateway, &at).await);
    };
    if checksum.is_some_and(|checksum| checksum != listed.sha256.to_hex()) {
        return Err(absent(format!(
            "the archive of {}@{version} has the SHA-256 hash {}",
            at.name,
            listed.sha256.to_hex()
        )));
    }
    let is_noted = listed.is_used.load(Ordering::Relaxed);
    if is_noted && gateway.node.store().is_held(&listed.blake3) {
        gateway.node.catalogue().downloaded(&listed.key);
    } else {
        match fetch(gateway, &at, &listed.blake3).await? {
            Got::Here => listed.is_used.store(true, Ordering::Relaxed),
            Got::Later(why) => return Ok(later(why)),
        }
    }
    stream(gateway, listed).await
}

/// What came of asking for an archive.
enum Got {
    /// It is held.
    Here,
    /// It may be had later; now not, for this reason.
    Later(String),
}

/// Brings the archive here and notes that it is used.
async fn fetch(gateway: &Gateway, at: &AtRelease, blake3: &ContentHash) -> Result<Got, Problem> {
    let wanted = Wanted {
        namespace: at.segment.namespace(),
        name: at.name.clone(),
        version: WantedVersion::Exact(at.version.clone()),
    };
    let fetched = timeout(WAIT_MAX, gateway.node.fetch(&wanted, None)).await;
    match fetched {
        Ok(Ok(fetched)) if fetched.blake3 == *blake3 => Ok(Got::Here),
        Ok(Ok(_)) => Ok(Got::Later(format!(
            "{wanted} has become another release; ask again"
        ))),
        Ok(Err(Error::Node(
            error @ (NodeError::NoProvider { .. } | NodeError::FetchFailed { .. }),
        ))) => Ok(Got::Later(error.to_string())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(Got::Later(format!(
            "{wanted} is still on its way from other peers"
        ))),
    }
}

fn later(why: String) -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS))];
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    (retry, problem).into_response()
}

/// Why the index does not list a release.
async fn unlisted(gateway: &Gateway, at: &AtRelease) -> Problem {
    let id = PackageId {
        name: at.name.to_string(),
        version: at.version.clone(),
        namespace: at.segment.namespace(),
    };
    match gateway.node.catalogue().get(&id).await {
        Ok(_) => absent(format!("{id} is not offered to cargo here")),
        Err(error) => error.into(),
    }
}

async fn stream(gateway: &Gateway, listed: &Listed) -> Result<Response, Problem> {
    let body = match listed.size <= WHOLE_BYTES_MAX {
        true => Body::from(gateway.node.store().get(&listed.blake3).await?),
        false => Body::from_stream(gateway.node.read(&listed.blake3).await?),
    };
    let kept = "public, max-age=31536000, immutable";
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/gzip"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(listed.size)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment"),
        ),
    ];
    Ok((headers, body).into_response())
}
