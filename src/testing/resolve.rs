//! Releases in memory to resolve from, as they are or read from the lines of a package index.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use ggen_protocols::id::{CanonicalName, OwnerId};
use ggen_protocols::metadata::{Dependency, DependencyKind, Format};
use semver::Version;
use serde::Deserialize;

use crate::registry::resolve::{Candidate, Listing, Meaning, Package, Source};

/// Releases of one owner, by name.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    format: Format,
    packages: BTreeMap<CanonicalName, BTreeMap<Version, (Arc<Candidate>, bool)>>,
    listings: BTreeMap<CanonicalName, Arc<Listing>>,
}

/// One line of an index: a version, with what of it matters here.
#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    vers: Version,
    deps: Vec<Need>,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    features2: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    yanked: bool,
    #[serde(default)]
    links: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Need {
    name: String,
    req: String,
    #[serde(default)]
    package: Option<String>,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default = "yes")]
    default_features: bool,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    kind: Option<DependencyKind>,
}

fn yes() -> bool {
    true
}

impl Releases {
    /// None yet, all of this format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// The owner of all of them.
    pub fn owner() -> OwnerId {
        OwnerId::from_bytes([7; 32])
    }

    /// Where a package of this name stands.
    ///
    /// # Panics
    /// If it is no name.
    pub fn package(name: &str) -> Package {
        (Self::owner(), canonical(name))
    }

    /// Adds a release.
    ///
    /// # Panics
    /// If its name is none.
    pub fn add(&mut self, mut candidate: Candidate, version: Version, yanked: bool) {
        candidate.sort();
        candidate.version = Some(version.clone());
        let name = canonical(&candidate.name);
        let versions = self.packages.entry(name.clone()).or_default();
        versions.insert(version, (Arc::new(candidate), yanked));
        let versions = versions.iter();
        let listing = Listing {
            format: self.format,
            versions: versions
                .map(|(v, (_, yanked))| (v.clone(), *yanked))
                .collect(),
        };
        self.listings.insert(name, Arc::new(listing));
    }

    /// Adds the release of a line in the form of cargo's index; nothing if the line cannot be read, or names what
    /// no record could name.
    pub fn add_line(&mut self, line: &str) -> Option<(String, Version)> {
        let line: Line = serde_json::from_str(line).ok()?;
        let needs = line.deps.into_iter().map(|need| {
            let name = need.package.clone().unwrap_or_else(|| need.name.clone());
            let dependency = Dependency {
                kind: need.kind.unwrap_or_default(),
                features: need.features,
                target: need.target,
                optional: need.optional,
                default_features: need.default_features,
                ..Dependency::new(name, need.req.parse().ok()?)
            };
            Some((need.name, dependency))
        });
        let needs = needs.collect::<Option<Vec<_>>>()?;
        line.name.parse::<CanonicalName>().ok()?;
        let mut features = line.features;
        features.extend(line.features2);
        let candidate = Candidate {
            name: line.name.clone(),
            links: line.links,
            features,
            needs,
            ..Candidate::default()
        };
        self.add(candidate, line.vers.clone(), line.yanked);
        Some((line.name, line.vers))
    }

    /// All releases: name, version, what it says of itself, whether it is yanked.
    pub fn iter(&self) -> impl Iterator<Item = (&CanonicalName, &Version, &Candidate, bool)> {
        self.packages.iter().flat_map(|(name, versions)| {
            let versions = versions.iter();
            versions.map(move |(version, (c, yanked))| (name, version, c.as_ref(), *yanked))
        })
    }
}

fn canonical(name: &str) -> CanonicalName {
    name.parse().expect("the caller gave a name")
}

impl Source for Releases {
    type Error = Infallible;

    fn listing(&self, package: &Package) -> Result<Arc<Listing>, Infallible> {
        let listing = self.listings.get(&package.1);
        Ok(listing.cloned().unwrap_or_default())
    }

    fn candidate(
        &self,
        package: &Package,
        version: &Version,
    ) -> Result<Arc<Candidate>, Infallible> {
        Ok(self.packages[&package.1][version].0.clone())
    }

    fn meaning(&self, dependency: &Dependency, _: Format) -> Result<Meaning, Infallible> {
        Ok(match dependency.name.parse() {
            Ok(name) => Meaning::Package((Self::owner(), name)),
            Err(_) => Meaning::Nobody("this is no name".to_owned()),
        })
    }

    fn near(&self, name: &str) -> Result<Vec<String>, Infallible> {
        let first = name.chars().next();
        let near = self.packages.keys().map(ToString::to_string);
        Ok(near
            .filter(|other| other.chars().next() == first)
            .take(3)
            .collect())
    }
}
