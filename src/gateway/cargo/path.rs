//! What a path under `/cargo/` names. What breaks a grammar is not there: 404.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use ggen_protocols::id::{PackageName, parse_version};
use semver::Version;

use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;

/// `{segment}`: an index.
#[derive(Debug)]
pub(super) struct AtIndex(pub(super) Segment);

/// `{segment}` and `{*file}`: a file of an index, which has a package's name in lower case.
#[derive(Debug)]
pub(super) struct AtFile {
    pub(super) segment: Segment,
    pub(super) name: PackageName,
}

/// `{segment}` and `{name}`: a package of an index.
#[derive(Debug)]
pub(super) struct AtPackage {
    pub(super) segment: Segment,
    pub(super) name: PackageName,
}

/// `{segment}`, `{name}` and `{version}`: a release of an index.
#[derive(Debug)]
pub(super) struct AtRelease {
    pub(super) segment: Segment,
    pub(super) name: PackageName,
    pub(super) version: Version,
}

impl FromRequestParts<Gateway> for AtIndex {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let params = Params::of(parts, gateway).await?;
        Ok(Self(params.parsed("segment")?))
    }
}

impl FromRequestParts<Gateway> for AtFile {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let params = Params::of(parts, gateway).await?;
        let path = params.text("file")?;
        let file = path.rsplit('/').next().unwrap_or_default();
        match file.parse() {
            Ok(name) if path == path_of(&name) => Ok(Self {
                segment: params.parsed("segment")?,
                name,
            }),
            _ => Err(absent(format!("an index has no file at `{path}`"))),
        }
    }
}

impl FromRequestParts<Gateway> for AtPackage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let params = Params::of(parts, gateway).await?;
        Ok(Self {
            segment: params.parsed("segment")?,
            name: params.parsed("name")?,
        })
    }
}

impl FromRequestParts<Gateway> for AtRelease {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let params = Params::of(parts, gateway).await?;
        let version = parse_version(params.text("version")?);
        Ok(Self {
            segment: params.parsed("segment")?,
            name: params.parsed("name")?,
            version: version.map_err(|error| absent(error.to_string()))?,
        })
    }
}

/// Where an index has the file of a package.
fn path_of(name: &PackageName) -> String {
    let name = name.as_str().to_ascii_lowercase();
    match name.len() {
        length @ 0..3 => format!("{length}/{name}"),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

/// The parts of a path that stand for something.
struct Params(RawPathParams);

impl Params {
    async fn of(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        // Clients escape nothing here, and what is escaped would be the same place under another name.
        if parts.uri.path().contains('%') {
            return Err(absent("a path here has no escapes".to_owned()));
        }
        let params = RawPathParams::from_request_parts(parts, gateway).await;
        params.map(Self).map_err(|error| absent(error.to_string()))
    }

    fn text(&self, name: &str) -> Result<&str, Problem> {
        let found = self.0.iter().find(|(key, _)| *key == name);
        let missing = || absent(format!("the path has no {name}"));
        found.map(|(_, value)| value).ok_or_else(missing)
    }

    fn parsed<T: FromStr<Err: ToString>>(&self, name: &str) -> Result<T, Problem> {
        let parsed = self.text(name)?.parse();
        parsed.map_err(|error: T::Err| absent(error.to_string()))
    }
}

/// There is nothing at that path, for this reason.
pub(super) fn absent(why: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, why)
}
