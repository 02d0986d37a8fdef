//! Which release is wanted, and which one that is here.

use std::fmt;
use std::str::FromStr;

use ggen_protocols::id::{
    IdError, PackageId, PackageName, ReleaseKey, parse_version, split_namespace,
};
use semver::{BuildMetadata, Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::Result;
use crate::registry::{Catalogue, RegistryError, Release, Verdict};

/// Which release is wanted: `[namespace/]name`, with `@version` exactly that, with `@requirement` the best that
/// fits, with neither the best one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Label or owner id, or nothing for a bare name.
    pub namespace: Option<String>,
    /// The name.
    pub name: PackageName,
    /// Which version.
    pub version: WantedVersion,
}

/// Which version of a package is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantedVersion {
    /// Exactly this one, even if it is yanked.
    Exact(Version),
    /// The best that this allows.
    Matching(VersionReq),
}

impl FromStr for Wanted {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (package, version) = match text.split_once('@') {
            Some((package, version)) => (package, Some(version)),
            None => (text, None),
        };
        let (namespace, name) = split_namespace(package)?;
        let version = match version {
            None => WantedVersion::Matching(VersionReq::STAR),
            Some(version) => parse_wanted(version)?,
        };
        Ok(Self {
            namespace,
            name,
            version,
        })
    }
}

/// A full version means exactly that one; everything else is a requirement.
fn parse_wanted(text: &str) -> Result<WantedVersion, IdError> {
    match parse_version(text) {
        Ok(version) => Ok(WantedVersion::Exact(version)),
        Err(error) => match text.parse() {
            Ok(requirement) if !text.trim().is_empty() => Ok(WantedVersion::Matching(requirement)),
            _ => Err(error),
        },
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}", self.name)?;
        match &self.version {
            WantedVersion::Exact(version) => write!(f, "@{version}"),
            WantedVersion::Matching(requirement) if *requirement == VersionReq::STAR => Ok(()),
            WantedVersion::Matching(requirement) => write!(f, "@{requirement}"),
        }
    }
}

impl Wanted {
    /// Finds the release that is meant, and makes sure that it may be given out.
    ///
    /// # Errors
    /// `NotFound`, `Contested`, `Withheld`.
    pub(super) async fn resolve(&self, catalogue: &dyn Catalogue) -> Result<Release> {
        let name = self.name.canonical();
        let namespace = self.namespace.as_deref();
        let owner = catalogue.owner_of(namespace, &name).await?;
        let releases = catalogue.releases(owner, &name).await?;
        let none = releases.is_empty();
        let withheld = releases.iter().rev().find_map(Release::withheld);
        let found = match &self.version {
            WantedVersion::Exact(version) => {
                let key = ReleaseKey::new(owner, name, version);
                releases.into_iter().find(|release| release.key == key)
            }
            WantedVersion::Matching(requirement) => best(releases, requirement),
        };
        let Some(release) = found else {
            return Err(match &self.version {
                WantedVersion::Exact(version) => self.absent(catalogue, version).await,
                WantedVersion::Matching(_) => self.passed_over(withheld, none),
            });
        };
        match refused(&release) {
            Some(why) => {
                let id = release.key.to_string();
                Err(RegistryError::Withheld { id, why }.into())
            }
            None => Ok(release),
        }
    }

    /// Why there is no such version: the catalogue knows whether its owner is frozen or dead.
    async fn absent(&self, catalogue: &dyn Catalogue, version: &Version) -> Error {
        let id = PackageId {
            name: self.name.as_str().to_owned(),
            version: version.clone(),
            namespace: self.namespace.clone(),
        };
        let asked = catalogue.get(&id).await;
        let missing = || RegistryError::NotFound(self.to_string()).into();
        asked.map_or_else(|error| error, |_| missing())
    }

    /// Why no version fits.
    fn passed_over(&self, withheld: Option<String>, none: bool) -> Error {
        let error = match withheld {
            Some(why) => RegistryError::Withheld {
                id: self.to_string(),
                why,
            },
            None if none => RegistryError::NotFound(self.to_string()),
            None => RegistryError::NotFound(format!(
                "a version that `{self}` allows and that is not yanked"
            )),
        };
        error.into()
    }
}

/// The highest offered release that the requirement allows; where everything is allowed, a pre-release if there
/// is nothing else.
fn best(releases: Vec<Release>, requirement: &VersionReq) -> Option<Release> {
    let any = *requirement == VersionReq::STAR;
    let bare = |version: &Version| Version {
        build: BuildMetadata::EMPTY,
        ..version.clone()
    };
    releases
        .into_iter()
        .filter(Release::is_offered)
        .filter(|release| any || requirement.matches(&bare(&release.key.version)))
        .max_by_key(|release| {
            let version = bare(&release.key.version);
            (!any || version.pre.is_empty(), version)
        })
}

/// Why a release is not given out, if it is not. What was used here before stays, unless the archive is wrong.
fn refused(release: &Release) -> Option<String> {
    if let Verdict::Unsound(why) = &release.verdict {
        return Some(format!("its archive is not what its record says: {why}"));
    }
    if release.pinned {
        return None;
    }
    let withdrawn = || format!("its owner took it back: {}", said(release));
    let withheld = release.withheld();
    withheld.or_else(|| release.withdrawn.then(withdrawn))
}

/// What a user who gets this release should know.
pub(super) fn warning(release: &Release) -> Option<String> {
    let package = package(release);
    if let Some(why) = release.withheld() {
        return Some(format!(
            "{package} is given to nobody new: {why}; this is the content that was used here before"
        ));
    }
    if release.withdrawn {
        return Some(format!(
            "{package} was taken back by its owner: {}; this is the content that was used here before",
            said(release)
        ));
    }
    if release.yanked {
        return Some(format!("{package} is yanked: {}", said(release)));
    }
    let why = release.metadata.deprecated.as_ref()?;
    Some(format!("{package} is deprecated: {why}"))
}

fn said(release: &Release) -> &str {
    match release.note.as_str() {
        "" => "no reason was given",
        note => note,
    }
}

/// `name@version` in the publisher's spelling.
pub(super) fn package(release: &Release) -> String {
    let id = &release.metadata.id;
    format!("{}@{}", id.name, id.version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exact(text: &str) -> Version {
        match text.parse::<Wanted>().unwrap().version {
            WantedVersion::Exact(version) => version,
            other => panic!("{text} is {other:?}"),
        }
    }

    fn matching(text: &str) -> VersionReq {
        match text.parse::<Wanted>().unwrap().version {
            WantedVersion::Matching(requirement) => requirement,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn a_full_version_is_exact_and_everything_else_a_requirement() {
        assert_eq!(exact("demo@1.2.3"), Version::new(1, 2, 3));
        assert_eq!(exact("acme/demo@1.2.3-rc.1+x").pre.as_str(), "rc.1");
        assert_eq!(matching("demo"), VersionReq::STAR);
        assert_eq!(matching("demo@1.2"), "^1.2".parse().unwrap());
        assert_eq!(matching("demo@=1.2.3"), "=1.2.3".parse().unwrap());
        assert_eq!(matching("demo@>=1, <2"), ">=1, <2".parse().unwrap());
    }

    #[test]
    fn text_and_wanted_are_each_other() {
        for text in ["demo", "acme/Demo_x", "demo@1.0.0", "demo@^1.2"] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_out_of_grammar_is_named() {
        for (wrong, what) in [
            ("", "package name"),
            ("a b", "package name"),
            ("demo@", "version"),
            ("demo@one", "version"),
            ("demo@1.0.0@2", "version"),
            ("ACME/demo", "namespace label"),
            ("ns1x/demo", "owner id"),
        ] {
            let error = wrong.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.contains(what), "`{wrong}`: {error}");
        }
    }
}
