//! Chooses one version of everything that a package needs. Pure: what packages there are comes from a [`Source`].
//!
//! The search is PubGrub (Weizenbaum 2018; the crate `pubgrub`), which learns from every conflict. What it decides on
//! are releases, with one version for each range of compatible ones of a cargo package (`1.x`, `0.3.x`, `0.0.7`) and
//! one version of any other package; features, as packages of their own that want exactly that version; for a
//! requirement that allows several ranges, which one; and for a native library, who links it. Features follow the
//! rules by which cargo writes its lock file: a feature of an optional dependency (`x/f`, and `x?/f` too) needs the
//! dependency. What nothing turns on after all is left out of the graph afterwards.

mod activate;
mod explain;
mod feature;
pub mod platform;
mod requirement;
mod root;
mod set;
mod solver;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ggen_protocols::id::{CanonicalName, OwnerId};
use ggen_protocols::metadata::{Checksums, Dependency, Format};
use semver::{Version, VersionReq};

use super::graph::DependencyGraph;
use platform::Platform;

/// Steps that a search may take unless it is told otherwise. One step is one comparison of two sets of versions, the
/// same on every machine; a real tree of 700 packages takes 43,000, and this many take about half a second.
pub const STEPS: u64 = 5_000_000;

/// A package: its owner and its name.
pub type Package = (OwnerId, CanonicalName);

/// Where releases are read. Must answer the same question in the same way during one resolution.
pub trait Source {
    /// Why something could not be read.
    type Error;

    /// What there is of a package that may be chosen; no versions if it is not known.
    fn listing(&self, package: &Package) -> Result<Arc<Listing>, Self::Error>;

    /// One version of a listing.
    fn candidate(
        &self,
        package: &Package,
        version: &Version,
    ) -> Result<Arc<Candidate>, Self::Error>;

    /// Which package somebody of this format needs who names it so.
    fn meaning(&self, dependency: &Dependency, format: Format) -> Result<Meaning, Self::Error>;

    /// Names that somebody may have meant who wrote this one, likeliest first, a few at most.
    fn near(&self, name: &str) -> Result<Vec<String>, Self::Error>;
}

/// The versions of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What the package is: cargo packages may be chosen in several versions that are not compatible.
    pub format: Format,
    /// Its versions in ascending order without repetition, and whether each is yanked.
    pub versions: Vec<(Version, bool)>,
}

/// What one version says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidate {
    /// Its name as its publisher spells it.
    pub name: String,
    /// Its version with build metadata.
    pub version: Option<Version>,
    /// The native library that it links.
    pub links: Option<String>,
    /// Features and what each turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// What it needs, and what its own code calls that; sorted by [`Candidate::sort`].
    pub needs: Vec<(String, Dependency)>,
    /// Hashes and size of its archive.
    pub checksums: Checksums,
}

impl Candidate {
    /// Brings the needs into the one order that the search takes them in, so that nothing depends on how they came.
    pub fn sort(&mut self) {
        self.needs.sort_by_cached_key(|(called, need)| {
            let mut features = need.features.clone();
            features.sort();
            (
                called.clone(),
                need.name.clone(),
                need.kind,
                need.target.clone(),
                need.requirement.to_string(),
                (need.optional, need.default_features, features),
                need.source.clone(),
            )
        });
    }
}

/// Whose package a dependency means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// This one.
    Package(Package),
    /// Nobody's, for this reason.
    Nobody(String),
    /// One of this registry, which is no business of this node: it is told of and not followed.
    Elsewhere(String),
}

/// What everything else is chosen for.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    /// A release of the catalogue, yanked or not.
    Release(Package, Version),
    /// The highest release that this allows and for which there is a solution.
    Wanted(Package, VersionReq),
    /// A package that is in no catalogue, with its format. What only its tests need is chosen too.
    Manifest(Box<Candidate>, Format),
}

/// What is to be resolved, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What everything else is chosen for.
    pub root: Root,
    /// Features of the root that are on.
    pub features: BTreeSet<String>,
    /// Whether the root's feature `default` is on.
    pub default_features: bool,
    /// Whether all features of the root are on.
    pub all_features: bool,
    /// Versions that are kept if they still fit, yanked or not.
    pub locked: BTreeMap<Package, BTreeSet<Version>>,
    /// The platform to resolve for; dependencies for any one are followed if there is none.
    pub platform: Option<Platform>,
    /// Whether pre-releases may be chosen for requirements that name none.
    pub prerelease: bool,
    /// Steps that the search may take; see [`STEPS`].
    pub steps_max: u64,
}

impl Request {
    /// Resolves for a root with its default features, for all platforms.
    pub fn new(root: Root) -> Self {
        Self {
            root,
            features: BTreeSet::new(),
            default_features: true,
            all_features: false,
            locked: BTreeMap::new(),
            platform: None,
            prerelease: false,
            steps_max: STEPS,
        }
    }
}

/// A solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What is built, and what needs what.
    pub graph: DependencyGraph,
    /// Everything that was chosen, by owner, name and version: the graph's releases, and those that only a weak
    /// feature (`x?/f`) mentions. What cargo writes into its lock file.
    pub selected: Vec<(Package, Version)>,
    /// Steps that it took.
    pub steps: u64,
}

/// Why there is no solution.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unresolved<E> {
    /// There is none. The text says why and what can be done, in at most 20 lines.
    Conflict(String),
    /// None was found in so many steps, and it is not known whether there is one.
    Budget(u64),
    /// A feature of the root was asked for that it does not have.
    NoFeature(String),
    /// The source could not be read.
    Source(E),
}

/// Chooses a version of everything that the root needs. The same request on the same releases gives the same
/// answer, in whatever order they came and whatever else there is.
///
/// # Errors
/// [`Unresolved`].
pub fn resolve<S: Source>(source: &S, request: &Request) -> Result<Resolved, Unresolved<S::Error>> {
    solver::resolve(source, request)
}

#[cfg(test)]
mod tests;
