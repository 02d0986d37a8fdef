//! What everything else is chosen for.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use ggen_protocols::id::OwnerId;
use pubgrub::VersionSet;
use semver::{Version, VersionReq};

use super::requirement::bucket;
use super::set::Set;
use super::solver::{Met, Solver, Stop};
use super::tables::{Known, Node, Pool, Unmet, number, places};
use super::{Candidate, Listing, Root, Source, feature};

impl<S: Source> Solver<'_, S> {
    /// The versions that the root may have, and of which pools.
    pub(super) fn root(&self) -> Result<Met, Stop> {
        match &self.request.root {
            Root::Manifest(manifest, format) => {
                let mut tables = self.tables.borrow_mut();
                if tables.known.is_empty() {
                    // Not to be found by its name: nothing that needs that name means this.
                    let version = manifest.version.clone();
                    let version = version.unwrap_or(Version::new(0, 0, 0));
                    let name = manifest.name.parse();
                    let Ok(name) = name else {
                        return Ok(Met::Elsewhere("nowhere".to_owned()));
                    };
                    tables.known.push(Known {
                        package: (OwnerId::from_bytes([0; 32]), name),
                        listing: Arc::new(Listing {
                            format: *format,
                            versions: vec![(version, false)],
                        }),
                        locked: vec![0],
                    });
                    let mut manifest = manifest.as_ref().clone();
                    manifest.sort();
                    tables.candidates.insert((0, 0), Arc::new(manifest));
                    tables.pools.push(Pool { known: 0, end: 1 });
                }
                Ok(Met::Sets(0, Rc::new(vec![(0, Set::singleton(0))])))
            }
            Root::Release(package, version) => {
                let known = self.known(package)?;
                let mut tables = self.tables.borrow_mut();
                let listing = tables.known[known as usize].listing.clone();
                let place = places(&listing, |other| other == version);
                let end = number(listing.versions.len());
                let Some(place) = place.first() else {
                    let requirement = format!("={version}").parse().unwrap_or(VersionReq::STAR);
                    return Ok(Met::Unmet(tables.unmet(Unmet {
                        name: package.1.to_string(),
                        requirement,
                        known: Some(known),
                        why: String::new(),
                    })));
                };
                let pool = tables.pool(known, bucket(listing.format, version), end);
                Ok(Met::Sets(
                    known,
                    Rc::new(vec![(pool, Set::singleton(*place))]),
                ))
            }
            Root::Wanted(package, requirement) => {
                let known = self.known(package)?;
                let sets = self.sets(known, requirement);
                if !sets.is_empty() {
                    return Ok(Met::Sets(known, sets));
                }
                let unmet = Unmet {
                    name: package.1.to_string(),
                    requirement: requirement.clone(),
                    known: Some(known),
                    why: String::new(),
                };
                Ok(Met::Unmet(self.tables.borrow_mut().unmet(unmet)))
            }
        }
    }

    /// The features of the root that are on, if it is this version.
    pub(super) fn root_features(&self, candidate: &Candidate) -> BTreeSet<String> {
        let mut features = self.request.features.clone();
        if self.request.default_features {
            features.insert("default".to_owned());
        }
        if self.request.all_features {
            features.extend(feature::all(candidate).map(str::to_owned));
        }
        features
    }

    /// A feature that was asked for and that no version of the root has.
    pub(super) fn missing_feature(&self) -> Result<Option<String>, Stop> {
        let Met::Sets(known, sets) = self.root()? else {
            return Ok(None);
        };
        for wanted in &self.request.features {
            let mut has = false;
            let mut last = None;
            for (_, set) in sets.iter() {
                for place in set.places(u32::MAX) {
                    let candidate = self.candidate(known, place)?;
                    has |= feature::effects(&candidate, wanted).is_some();
                    last = Some(candidate);
                }
            }
            if let Some(candidate) = last.filter(|_| !has) {
                let there: Vec<_> = feature::all(&candidate).collect();
                let there = match there.is_empty() {
                    true => "it has none".to_owned(),
                    false => format!("it has {}", there.join(", ")),
                };
                return Ok(Some(format!(
                    "`{}` has no feature `{wanted}`; {there}",
                    candidate.name
                )));
            }
        }
        Ok(None)
    }

    pub(super) fn needs_of_root(&self) -> Result<Vec<(Node, Set)>, Stop> {
        let (known, sets) = match self.root()? {
            Met::Sets(known, sets) => (known, sets),
            Met::Unmet(unmet) => return Ok(vec![(Node::Unmet(unmet), Set::full())]),
            Met::Elsewhere(_) => return Ok(Vec::new()),
        };
        // All features of whichever version it becomes; those of one are asked of its highest.
        let highest = sets.last().and_then(|(_, set)| set.last(u32::MAX));
        let highest = self.candidate(known, highest.unwrap_or_default())?;
        let features = self.root_features(&highest);
        let mut tables = self.tables.borrow_mut();
        let mut needs = Vec::new();
        match sets.as_slice() {
            [(pool, set)] => {
                needs.push((Node::Release(*pool), set.clone()));
                for feature in features {
                    let feature = tables.feature(&feature);
                    needs.push((Node::Feature(*pool, feature), set.clone()));
                }
            }
            several => {
                let all = Set::of(0..number(several.len()));
                let choice = tables.choice(None, known, &VersionReq::STAR, &sets);
                needs.push((Node::Choice(choice), all.clone()));
                for feature in features {
                    let feature = tables.feature(&feature);
                    needs.push((Node::ChoiceFeature(choice, feature), all.clone()));
                }
            }
        }
        Ok(needs)
    }
}
