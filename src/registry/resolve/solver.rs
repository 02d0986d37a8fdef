//! The search: what each thing that PubGrub decides on needs, and what is tried first.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ggen_protocols::metadata::{Dependency, DependencyKind, Format};
use pubgrub::{
    Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError, VersionSet,
};
use semver::{Version, VersionReq};

use super::feature::{self, Effect};
use super::requirement::{Bucket, allows, bucket};
use super::set::{Set, work};
use super::tables::{Known, Node, Pool, Sets, Tables, Unmet, number, places};
use super::{Candidate, Meaning, Package, Request, Resolved, Root, Source, Unresolved, explain};

/// Why a search ended before its end; the error itself is kept aside.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("the source failed")]
    Source,
    #[error("the search took too many steps")]
    Budget,
}

/// What meets a need.
pub(super) enum Met {
    /// One pool, or one of several.
    Sets(u32, Sets),
    /// Nothing.
    Unmet(u32),
    /// What is in this registry.
    Elsewhere(String),
}

pub(super) struct Solver<'a, S: Source> {
    pub(super) source: &'a S,
    pub(super) request: &'a Request,
    pub(super) tables: RefCell<Tables>,
    failed: RefCell<Option<S::Error>>,
    /// The work of this thread before the search.
    begun: u64,
}

pub(super) fn resolve<S: Source>(
    source: &S,
    request: &Request,
) -> Result<Resolved, Unresolved<S::Error>> {
    let solver = Solver {
        source,
        request,
        tables: RefCell::default(),
        failed: RefCell::new(None),
        begun: work(),
    };
    match pubgrub::resolve(&solver, Node::Root, 0_u32) {
        Ok(chosen) => {
            let chosen = chosen.into_iter().collect();
            let resolved = solver.resolved(&chosen, solver.steps());
            resolved.map_err(|_| solver.unread())
        }
        Err(PubGrubError::NoSolution(tree)) => match solver.missing_feature() {
            Ok(Some(why)) => Err(Unresolved::NoFeature(why)),
            Ok(None) => Err(explain::explain(&solver, tree)),
            Err(_) => Err(solver.unread()),
        },
        Err(
            PubGrubError::ErrorInShouldCancel(_)
            | PubGrubError::ErrorChoosingVersion { .. }
            | PubGrubError::ErrorRetrievingDependencies { .. },
        ) => Err(solver.unread()),
    }
}

impl<S: Source> Solver<'_, S> {
    /// Steps of this search until now.
    fn steps(&self) -> u64 {
        work().wrapping_sub(self.begun)
    }

    /// Keeps an error of the source aside.
    pub(super) fn read<T>(&self, read: Result<T, S::Error>) -> Result<T, Stop> {
        read.map_err(|error| {
            *self.failed.borrow_mut() = Some(error);
            Stop::Source
        })
    }

    /// The error that was kept aside.
    pub(super) fn unread(&self) -> Unresolved<S::Error> {
        match self.failed.borrow_mut().take() {
            Some(error) => Unresolved::Source(error),
            None => Unresolved::Budget(self.request.steps_max),
        }
    }

    /// The number of a package.
    pub(super) fn known(&self, package: &Package) -> Result<u32, Stop> {
        if let Some(known) = self.tables.borrow().known_ids.get(package) {
            return Ok(*known);
        }
        let listing = self.read(self.source.listing(package))?;
        let kept = self.request.locked.get(package);
        let root = match &self.request.root {
            Root::Release(root, version) if root == package => Some(version),
            _ => None,
        };
        let is_locked = |version: &Version| {
            kept.is_some_and(|kept| kept.contains(version)) || root == Some(version)
        };
        let mut tables = self.tables.borrow_mut();
        let locked = places(&listing, is_locked);
        let known = number(tables.known.len());
        tables.known_ids.insert(package.clone(), known);
        tables.known.push(Known {
            package: package.clone(),
            listing,
            locked,
        });
        Ok(known)
    }

    /// One version of a package.
    pub(super) fn candidate(&self, known: u32, place: u32) -> Result<Arc<Candidate>, Stop> {
        let mut tables = self.tables.borrow_mut();
        if let Some(candidate) = tables.candidates.get(&(known, place)) {
            return Ok(candidate.clone());
        }
        let entry = &tables.known[known as usize];
        let version = &entry.listing.versions[place as usize].0;
        let candidate = self.read(self.source.candidate(&entry.package, version))?;
        tables.candidates.insert((known, place), candidate.clone());
        Ok(candidate)
    }

    /// The version of a pool at a place.
    pub(super) fn release(&self, pool: u32, place: u32) -> Result<Arc<Candidate>, Stop> {
        let known = self.tables.borrow().pools[pool as usize].known;
        self.candidate(known, place)
    }

    /// The pools that meet a requirement, and which of their versions do.
    pub(super) fn sets(&self, known: u32, requirement: &VersionReq) -> Sets {
        let mut tables = self.tables.borrow_mut();
        let question = (known, requirement.clone());
        if let Some(sets) = tables.sets.get(&question) {
            return sets.clone();
        }
        let entry = &tables.known[known as usize];
        let listing = entry.listing.clone();
        let end = number(listing.versions.len());
        let mut buckets: Vec<(Bucket, Vec<u32>)> = Vec::new();
        for (place, (version, yanked)) in (0..end).zip(&listing.versions) {
            let is_kept = !yanked || entry.locked.binary_search(&place).is_ok();
            if !is_kept || !allows(requirement, version, self.request.prerelease) {
                continue;
            }
            let bucket = bucket(listing.format, version);
            match buckets.last_mut() {
                Some((last, places)) if *last == bucket => places.push(place),
                _ => buckets.push((bucket, vec![place])),
            }
        }
        let sets = buckets.into_iter().map(|(bucket, places)| {
            let set = Set::of(places.into_iter());
            (tables.pool(known, bucket, end), set)
        });
        let sets: Sets = Rc::new(sets.collect());
        tables.sets.insert(question, sets.clone());
        sets
    }

    /// What meets a need of somebody.
    pub(super) fn met(&self, from: Option<u32>, need: &Dependency) -> Result<Met, Stop> {
        let format = self.format(from);
        let question = (need.name.clone(), need.source.clone(), format);
        let meaning = self.tables.borrow().meanings.get(&question).cloned();
        let meaning = match meaning {
            Some(meaning) => meaning,
            None => {
                let meaning = self.read(self.source.meaning(need, format))?;
                let mut tables = self.tables.borrow_mut();
                tables.meanings.insert(question, meaning.clone());
                meaning
            }
        };
        let unmet = |known, why| {
            let unmet = Unmet {
                name: need.name.clone(),
                requirement: need.requirement.clone(),
                known,
                why,
            };
            Met::Unmet(self.tables.borrow_mut().unmet(unmet))
        };
        let package = match meaning {
            Meaning::Package(package) => package,
            Meaning::Nobody(why) => return Ok(unmet(None, why)),
            Meaning::Elsewhere(registry) => return Ok(Met::Elsewhere(registry)),
        };
        let known = self.known(&package)?;
        let sets = self.sets(known, &need.requirement);
        Ok(match sets.is_empty() {
            true => unmet(Some(known), String::new()),
            false => Met::Sets(known, sets),
        })
    }

    /// What the needs of a pool's versions are read as.
    fn format(&self, from: Option<u32>) -> Format {
        let tables = self.tables.borrow();
        from.map_or(Format::Cargo, |pool| {
            let known = tables.pools[pool as usize].known;
            tables.known[known as usize].listing.format
        })
    }

    /// Adds what a need takes, with these features besides its own.
    fn constrain(
        &self,
        from: Option<u32>,
        need: &Dependency,
        more: &[&str],
        into: &mut Vec<(Node, Set)>,
    ) -> Result<(), Stop> {
        let (known, sets) = match self.met(from, need)? {
            Met::Elsewhere(_) => return Ok(()),
            Met::Unmet(unmet) => {
                into.push((Node::Unmet(unmet), Set::full()));
                return Ok(());
            }
            Met::Sets(known, sets) => (known, sets),
        };
        let features = need.features.iter().map(String::as_str);
        let features = features.chain(more.iter().copied());
        let features = features.chain(need.default_features.then_some("default"));
        let mut tables = self.tables.borrow_mut();
        match sets.as_slice() {
            [(pool, set)] => {
                into.push((Node::Release(*pool), set.clone()));
                for feature in features {
                    let feature = tables.feature(feature);
                    into.push((Node::Feature(*pool, feature), set.clone()));
                }
            }
            several => {
                let all = Set::of(0..number(several.len()));
                let choice = tables.choice(from, known, &need.requirement, &sets);
                into.push((Node::Choice(choice), all.clone()));
                for feature in features {
                    let feature = tables.feature(feature);
                    into.push((Node::ChoiceFeature(choice, feature), all.clone()));
                }
            }
        }
        Ok(())
    }

    /// Whether a need counts: of whose it is, for this platform.
    pub(super) fn counts(&self, pool: u32, need: &Dependency) -> bool {
        let is_manifest = pool == 0 && matches!(self.request.root, Root::Manifest(..));
        let platform = self.request.platform.as_ref();
        let condition = need.target.as_deref();
        (need.kind != DependencyKind::Dev || is_manifest)
            && platform
                .zip(condition)
                .is_none_or(|(platform, condition)| platform.fits(condition))
    }

    fn needs_of_release(&self, pool: u32, place: u32) -> Result<Vec<(Node, Set)>, Stop> {
        let candidate = self.release(pool, place)?;
        let mut needs = Vec::new();
        if let Some(links) = &candidate.links {
            let links = self.tables.borrow_mut().links(links);
            needs.push((Node::Links(links), Set::singleton(pool)));
        }
        for (_, need) in &candidate.needs {
            if !need.optional && self.counts(pool, need) {
                self.constrain(Some(pool), need, &[], &mut needs)?;
            }
        }
        Ok(needs)
    }

    /// Nothing if the version has no such feature.
    fn needs_of_feature(
        &self,
        pool: u32,
        place: u32,
        named: &str,
    ) -> Result<Option<Vec<(Node, Set)>>, Stop> {
        let candidate = self.release(pool, place)?;
        let Some(effects) = feature::effects(&candidate, named) else {
            return Ok(None);
        };
        let mut needs = vec![(Node::Release(pool), Set::singleton(place))];
        let also = |feature: &str, needs: &mut Vec<_>| {
            let feature = self.tables.borrow_mut().feature(feature);
            needs.push((Node::Feature(pool, feature), Set::singleton(place)));
        };
        for effect in effects {
            let (called, more, weak) = match &effect {
                Effect::Feature(other) => {
                    also(other, &mut needs);
                    continue;
                }
                Effect::Need(called) => (called, None, true),
                Effect::NeedFeature {
                    called,
                    feature,
                    weak,
                } => (called, Some(feature.as_str()), *weak),
            };
            let mut is_optional = false;
            for (_, need) in candidate.needs.iter().filter(|(other, _)| other == called) {
                if self.counts(pool, need) {
                    let more: Vec<_> = more.into_iter().collect();
                    self.constrain(Some(pool), need, &more, &mut needs)?;
                }
                is_optional |= need.optional;
            }
            if is_optional && !weak && feature::has(&candidate, called) {
                also(called, &mut needs);
            }
        }
        Ok(Some(needs))
    }

    /// Which version of a pool to try first: one that is kept, or else the highest.
    fn first(&self, pool: u32, set: &Set) -> Option<u32> {
        let tables = self.tables.borrow();
        let Pool { known, end } = tables.pools[pool as usize];
        let locked = &tables.known[known as usize].locked;
        let kept = locked.iter().rev().find(|place| set.contains(place));
        kept.copied().or_else(|| set.last(end))
    }
}

/// What to decide first: what cannot be, what conflicted most, what has fewest versions, releases before their
/// features.
type Priority = (bool, u32, Reverse<u32>, Reverse<u8>);

impl<S: Source> DependencyProvider for Solver<'_, S> {
    type P = Node;
    type V = u32;
    type VS = Set;
    type Priority = Priority;
    type M = String;
    type Err = Stop;

    fn prioritize(&self, node: &Node, set: &Set, seen: &PackageResolutionStatistics) -> Priority {
        let mut tables = self.tables.borrow_mut();
        let (count, kind) = match *node {
            Node::Root | Node::Unmet(_) => (1, 0),
            Node::Release(pool) => {
                tables.hints.insert(pool, set.clone());
                (set.count(tables.pools[pool as usize].end), 1)
            }
            Node::Feature(pool, _) => (set.count(tables.pools[pool as usize].end), 2),
            Node::Choice(choice) => {
                let sets = tables.choices[choice as usize].clone();
                let open = sets.iter().zip(0..).filter(|(_, at)| set.contains(at));
                let counts = open.map(|((_, set), _)| set.count(u32::MAX));
                (counts.sum(), 3)
            }
            Node::ChoiceFeature(..) => (u32::MAX, 4),
            Node::Links(_) => (1, 5),
        };
        let impossible = matches!(node, Node::Unmet(_));
        (
            impossible,
            seen.conflict_count(),
            Reverse(count),
            Reverse(kind),
        )
    }

    fn choose_version(&self, node: &Node, set: &Set) -> Result<Option<u32>, Stop> {
        Ok(match *node {
            Node::Root => Some(0),
            Node::Unmet(_) => None,
            Node::Release(pool) => {
                let chosen = self.first(pool, set);
                if let Some(chosen) = chosen {
                    let mut tables = self.tables.borrow_mut();
                    tables.hints.insert(pool, Set::singleton(chosen));
                }
                chosen
            }
            Node::Feature(pool, _) => {
                let hint = self.tables.borrow().hints.get(&pool).cloned();
                let likely = hint.map(|hint| hint.intersection(set));
                let likely = likely.and_then(|set| self.first(pool, &set));
                likely.or_else(|| self.first(pool, set))
            }
            Node::Choice(choice) | Node::ChoiceFeature(choice, _) => {
                let sets = self.tables.borrow().choices[choice as usize].clone();
                let open: Vec<_> = set.places(number(sets.len())).collect();
                let is_kept = |at: &&u32| {
                    let tables = self.tables.borrow();
                    let (pool, set) = &sets[**at as usize];
                    let known = tables.pools[*pool as usize].known;
                    let mut locked = tables.known[known as usize].locked.iter();
                    locked.any(|place| set.contains(place))
                };
                let kept = open.iter().rev().find(is_kept);
                kept.or(open.last()).copied()
            }
            Node::Links(_) => set.last(number(self.tables.borrow().pools.len())),
        })
    }

    fn get_dependencies(
        &self,
        node: &Node,
        place: &u32,
    ) -> Result<Dependencies<Node, Set, String>, Stop> {
        let mut needs = match *node {
            Node::Root => self.needs_of_root()?,
            Node::Release(pool) => self.needs_of_release(pool, *place)?,
            Node::Feature(pool, feature) => {
                let named = self.tables.borrow().features[feature as usize].clone();
                match self.needs_of_feature(pool, *place, &named)? {
                    Some(needs) => needs,
                    None => return Ok(Dependencies::Unavailable(named.to_string())),
                }
            }
            Node::Choice(choice) => {
                let tables = self.tables.borrow();
                let (pool, set) = &tables.choices[choice as usize][*place as usize];
                vec![(Node::Release(*pool), set.clone())]
            }
            Node::ChoiceFeature(choice, feature) => {
                let tables = self.tables.borrow();
                let (pool, set) = &tables.choices[choice as usize][*place as usize];
                vec![
                    (Node::Choice(choice), Set::singleton(*place)),
                    (Node::Feature(*pool, feature), set.clone()),
                ]
            }
            Node::Links(_) | Node::Unmet(_) => Vec::new(),
        };
        // A package that needs itself needs the version that it is.
        if needs
            .iter()
            .any(|(other, set)| other == node && !set.contains(place))
        {
            return Ok(Dependencies::Unavailable(String::new()));
        }
        let mut seen: HashMap<Node, Vec<Set>> = HashMap::new();
        needs.retain(|(other, set)| {
            let before = seen.entry(*other).or_default();
            let is_new = !before.contains(set);
            before.push(set.clone());
            other != node && is_new
        });
        Ok(Dependencies::Available(needs.into_iter().collect()))
    }

    fn should_cancel(&self) -> Result<(), Stop> {
        match self.steps() > self.request.steps_max {
            true => Err(Stop::Budget),
            false => Ok(()),
        }
    }
}
