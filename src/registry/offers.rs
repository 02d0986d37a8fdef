//! The catalogue as something to resolve from: one snapshot, of which only what is asked for is read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ggen_protocols::id::{CanonicalName, PackageId, PackageName, ReleaseKey};
use ggen_protocols::metadata::{Dependency, DependencySource, Format};
use semver::Version;

use super::graph::DependencyGraph;
use super::names::owner_of;
use super::resolve::{
    self, Candidate, Listing, Meaning, Package, Request, Resolved, Root, Source, Unresolved,
};
use super::shelf::Shelf;
use super::trust::Viewer;
use super::view::{self, Failure, Snapshot};
use super::{RegistryError, Release};
use crate::Error;

/// Names that are looked at for one that was misspelled: those with the same first letter.
const NAMES_MAX: usize = 50_000;
/// Names that are told, and how many letters may differ in them.
const NEAR_MAX: usize = 3;
const DISTANCE_MAX: usize = 2;

/// A snapshot as a [`Source`].
struct Offers<'a, S> {
    snapshot: &'a S,
    viewer: &'a Viewer,
    shelves: RefCell<HashMap<Package, Rc<Shelf>>>,
}

/// Resolves from a snapshot.
pub(crate) fn resolve(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    request: &Request,
) -> Result<Resolved, Failure> {
    let offers = Offers {
        snapshot,
        viewer,
        shelves: RefCell::default(),
    };
    let why = match resolve::resolve(&offers, request) {
        Ok(resolved) => return Ok(resolved),
        Err(Unresolved::Source(failure)) => return Err(failure),
        Err(Unresolved::Conflict(why) | Unresolved::NoFeature(why)) => why,
        Err(Unresolved::Budget(steps)) => format!(
            "no set of versions that fit together was found in {steps} steps, and it is not known whether there is \
             one; narrow the requirements to versions that are known to fit"
        ),
    };
    Err(RegistryError::DependencyConflict(why).into())
}

/// What a release needs, or what that needs too.
pub(crate) fn resolve_dependencies(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    id: &PackageId,
    transitive: bool,
) -> Result<DependencyGraph, Failure> {
    // Says what is wrong with the release itself, if anything is.
    view::get(snapshot, viewer, id)?;
    let name = id.name.parse::<PackageName>()?.canonical();
    let owner = owner_of(snapshot, viewer, id.namespace.as_deref(), &name)?;
    let version = ReleaseKey::new(owner, name.clone(), &id.version).version;
    let request = Request::new(Root::Release((owner, name), version));
    let graph = resolve(snapshot, viewer, &request)?.graph;
    Ok(match transitive {
        true => graph,
        false => graph.direct(),
    })
}

impl<S: Snapshot> Offers<'_, S> {
    fn shelf(&self, package: &Package) -> Result<Rc<Shelf>, Failure> {
        if let Some(shelf) = self.shelves.borrow().get(package) {
            return Ok(shelf.clone());
        }
        let shelf = Rc::new(Shelf::read(self.snapshot, package.0, &package.1)?);
        let mut shelves = self.shelves.borrow_mut();
        shelves.insert(package.clone(), shelf.clone());
        Ok(shelf)
    }

    fn release(&self, package: &Package, version: &Version) -> Result<Release, Failure> {
        let release = self.shelf(package)?.release(self.snapshot, version)?;
        release.ok_or_else(|| {
            let (owner, name) = package;
            RegistryError::NotFound(format!("{owner}/{name}@{version}")).into()
        })
    }
}

impl<S: Snapshot> Source for Offers<'_, S> {
    type Error = Failure;

    fn listing(&self, package: &Package) -> Result<Arc<Listing>, Failure> {
        let shelf = self.shelf(package)?;
        let mut versions = Vec::new();
        for (version, slot) in &shelf.slots {
            if shelf.is_given_out(self.snapshot, version, slot)? {
                versions.push((version.clone(), shelf.is_yanked(version)));
            }
        }
        // A package does not change what it is; where one does, its highest version tells.
        let format = match versions.last() {
            Some((version, _)) => self.release(package, version)?.metadata.format,
            None => Format::default(),
        };
        Ok(Arc::new(Listing { format, versions }))
    }

    fn candidate(&self, package: &Package, version: &Version) -> Result<Arc<Candidate>, Failure> {
        let metadata = self.release(package, version)?.metadata;
        let needs = metadata.dependencies.into_iter();
        let needs = needs.flat_map(|(called, needs)| {
            let needs = needs.into_iter();
            needs.map(move |need| (called.clone(), need))
        });
        let mut candidate = Candidate {
            name: metadata.id.name,
            version: Some(metadata.id.version),
            links: metadata.links,
            features: metadata.features,
            needs: needs.collect(),
            checksums: metadata.checksums,
        };
        candidate.sort();
        Ok(Arc::new(candidate))
    }

    fn meaning(&self, need: &Dependency, format: Format) -> Result<Meaning, Failure> {
        match &need.source {
            DependencySource::Url(address) => return Ok(Meaning::Elsewhere(address.clone())),
            // Cargo's own default registry is not this one; packs have no other.
            DependencySource::Default if format == Format::Cargo => {
                return Ok(Meaning::Elsewhere("default".to_owned()));
            }
            _ => {}
        }
        let Ok(name) = need.name.parse::<CanonicalName>() else {
            return Ok(Meaning::Nobody("this is no name of a package".to_owned()));
        };
        if let DependencySource::Owner(owner) = &need.source {
            return Ok(Meaning::Package((owner.0, name)));
        }
        match owner_of(self.snapshot, self.viewer, None, &name) {
            Ok(owner) => Ok(Meaning::Package((owner, name))),
            Err(Failure::Refused(Error::Registry(
                why @ (RegistryError::NotFound(_)
                | RegistryError::Withheld { .. }
                | RegistryError::Contested(_)),
            ))) => {
                // The whole of it has several lines.
                let why = why.to_string();
                let why = why.lines().next().unwrap_or_default();
                Ok(Meaning::Nobody(why.to_owned()))
            }
            Err(failure) => Err(failure),
        }
    }

    fn near(&self, name: &str) -> Result<Vec<String>, Failure> {
        let name = name.to_ascii_lowercase().replace('_', "-");
        let Some(first) = name.get(..1) else {
            return Ok(Vec::new());
        };
        let names = self.snapshot.names(first, NAMES_MAX)?.into_iter();
        let near = names.filter_map(|other| {
            let distance = distance(&name, other.as_str());
            (1..=DISTANCE_MAX)
                .contains(&distance)
                .then(|| (distance, other.to_string()))
        });
        let mut near: Vec<_> = near.collect();
        near.sort();
        near.truncate(NEAR_MAX);
        Ok(near.into_iter().map(|(_, name)| name).collect())
    }
}

/// How many letters are to be added, left out, replaced or swapped with their neighbour to make one name of another
/// (optimal string alignment). Names are at most 64 bytes of ASCII.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut row = vec![at + 1; other.len() + 1];
        for (place, with) in other.iter().enumerate() {
            let replaced = above[place] + usize::from(letter != with);
            let mut least = replaced.min(above[place + 1] + 1).min(row[place] + 1);
            if at > 0 && place > 0 && one[at - 1] == *with && *letter == other[place - 1] {
                least = least.min(before[place - 1] + 1);
            }
            row[place + 1] = least;
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_far_apart_as_typing_errors_between_them() {
        for (one, other, expected) in [
            ("serde", "serde", 0),
            ("serde", "serda", 1),
            ("sedre", "serde", 1),
            ("serd", "serde", 1),
            ("tokyo", "tokio", 1),
            ("tokoi", "tokio", 1),
            ("abc", "xyz", 3),
            ("", "ab", 2),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
