//! What a request asks for, read with our own errors; and answers that a client may keep.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{OwnerId, PackageName, ReleaseKey, parse_version, split_namespace};
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::Error;
use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::gateway::known::is_known;
use crate::registry::{RegistryError, Release};

/// Entries of one answer.
pub(super) const LIMIT_MAX: usize = 100;
/// Entries of one answer to those who do not say how many they want.
const LIMIT: usize = 20;
/// Entries that can be passed over.
pub(super) const OFFSET_MAX: usize = 10_000;

/// What stands for the node's own view where a namespace is named.
const VIEW: &str = "_";

/// The parameters behind the question mark.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::from_request_parts(parts, state).await;
        let Query(asked) = asked.map_err(|error| bad(error.body_text()))?;
        Ok(Self(asked))
    }
}

/// The parameters in the path.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let at = Path::from_request_parts(parts, state).await;
        let Path(at) = at.map_err(|error| bad(error.body_text()))?;
        Ok(Self(at))
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Entries of the answer [default: 20].
    #[param(maximum = 100)]
    pub(super) limit: Option<usize>,
    /// Entries to pass over.
    #[serde(default)]
    #[param(maximum = 10_000)]
    pub(super) offset: usize,
}

impl Window {
    /// How many entries are wanted after how many.
    pub(super) fn checked(&self) -> Result<(usize, usize), Problem> {
        let limit = limited(self.limit)?;
        if self.offset > OFFSET_MAX {
            return Err(bad(format!("`offset` is at most {OFFSET_MAX}")));
        }
        Ok((limit, self.offset))
    }
}

/// How many entries are wanted.
pub(super) fn limited(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(LIMIT);
    if limit > LIMIT_MAX {
        return Err(bad(format!("`limit` is at most {LIMIT_MAX}")));
    }
    Ok(limit)
}

/// A package in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PackagePath {
    /// Owner id, label, or `_` for whom the bare name means on this node.
    pub(super) namespace: String,
    /// Name, in any spelling.
    pub(super) name: String,
}

/// A package, as a path names it where something is changed: there `_` means whom the client writes as.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) segment: Segment,
    pub(super) name: PackageName,
}

impl PackagePath {
    pub(super) fn target(&self) -> Result<Target, Problem> {
        Ok(Target {
            segment: self.namespace.parse().map_err(Error::Id)?,
            name: self.name.parse().map_err(Error::Id)?,
        })
    }

    pub(super) fn parse(&self) -> Result<(Option<String>, PackageName), Problem> {
        let Self { namespace, name } = self;
        if namespace == VIEW {
            return Ok((None, name.parse().map_err(Error::Id)?));
        }
        let parsed = split_namespace(&format!("{namespace}/{name}"));
        Ok(parsed.map_err(Error::Id)?)
    }

    /// Whose package it is, and its releases; there is at least one.
    pub(super) async fn releases(
        &self,
        gateway: &Gateway,
    ) -> Result<(OwnerId, PackageName, Vec<Release>), Problem> {
        let (namespace, name) = self.parse()?;
        let (owner, releases) = gateway.node.info(namespace.as_deref(), &name).await?;
        if releases.is_empty() {
            return Err(missing(&name));
        }
        Ok((owner, name, releases))
    }
}

/// A release in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ReleasePath {
    /// Owner id, label, or `_` for whom the bare name means on this node.
    namespace: String,
    /// Name, in any spelling.
    name: String,
    /// Version, without build metadata or with it.
    version: String,
}

impl ReleasePath {
    fn split(self) -> Result<(PackagePath, Version), Problem> {
        let version = parse_version(&self.version).map_err(Error::Id)?;
        let package = PackagePath {
            namespace: self.namespace,
            name: self.name,
        };
        Ok((package, version))
    }

    pub(super) fn target(self) -> Result<(Target, Version), Problem> {
        let (package, version) = self.split()?;
        Ok((package.target()?, version))
    }

    pub(super) async fn release(self, gateway: &Gateway) -> Result<Release, Problem> {
        let (package, version) = self.split()?;
        let (owner, name, releases) = package.releases(gateway).await?;
        let wanted = ReleaseKey::new(owner, name.canonical(), &version);
        let found = releases.into_iter().find(|release| release.key == wanted);
        found.ok_or_else(|| missing(format!("{name}@{version}")))
    }
}

/// An owner in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OwnerPath {
    /// Owner id.
    owner: String,
}

impl OwnerPath {
    pub(super) fn parse(&self) -> Result<OwnerId, Problem> {
        Ok(self.owner.parse().map_err(Error::Id)?)
    }
}

/// JSON with an `ETag`; not sent again to a client that has it.
pub(super) fn kept(headers: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let json = serde_json::to_vec(value).map_err(Error::Json)?;
    let tag = format!("\"{}\"", ContentHash::blake3(&json).to_hex());
    let is_known = is_known(tag.as_bytes(), headers);
    let tag = HeaderValue::try_from(tag).expect("digits and quotes are a header's value");
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let json_type = HeaderValue::from_static("application/json");
    let head = [(header::CONTENT_TYPE, json_type), (header::ETAG, tag)];
    Ok((head, json).into_response())
}

pub(super) fn bad(why: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}

pub(super) fn missing(what: impl ToString) -> Problem {
    Error::from(RegistryError::NotFound(what.to_string())).into()
}
