//! From the versions that were chosen to what is built of them: which features and optional dependencies are on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ggen_protocols::id::OwnerId;
use ggen_protocols::metadata::{Dependency, OwnerIdText};
use semver::{Version, VersionReq};

use super::feature::{self, Effect};
use super::solver::{Met, Solver, Stop};
use super::tables::Node;
use super::{Candidate, Resolved, Root, Source};
use crate::registry::graph::{self, DependencyGraph, Edge, Elsewhere};

/// A release that is built.
struct Active {
    candidate: Arc<Candidate>,
    place: u32,
    features: BTreeSet<String>,
    /// Needs that are on, and the pools that meet them; nothing if they are met elsewhere.
    needs: BTreeMap<usize, Option<u32>>,
    /// Features of needs that count once those are on.
    waiting: BTreeMap<usize, BTreeSet<String>>,
    elsewhere: Vec<(String, String, String)>,
}

/// What is still to be turned on.
enum Task {
    Release(u32),
    Feature(u32, String),
    Need(u32, usize),
    /// A feature of a need that is on, or that counts as soon as it is.
    NeedFeature(u32, usize, String),
}

struct Activation<'a, 'b, S: Source> {
    solver: &'a Solver<'b, S>,
    chosen: &'a HashMap<Node, u32>,
    active: BTreeMap<u32, Active>,
    tasks: Vec<Task>,
}

impl<S: Source> Solver<'_, S> {
    /// What was resolved, from what was chosen.
    pub(super) fn resolved(
        &self,
        chosen: &HashMap<Node, u32>,
        steps: u64,
    ) -> Result<Resolved, Stop> {
        let mut activation = Activation {
            solver: self,
            chosen,
            active: BTreeMap::new(),
            tasks: Vec::new(),
        };
        let root = activation.root()?;
        activation.run()?;
        let graph = activation.graph(root);
        let mut selected = Vec::new();
        for (node, place) in chosen {
            if let Node::Release(pool) = node {
                let tables = self.tables.borrow();
                let known = &tables.known[tables.pools[*pool as usize].known as usize];
                let version = known.listing.versions[*place as usize].0.clone();
                let is_manifest = *pool == 0 && matches!(self.request.root, Root::Manifest(..));
                selected.extend((!is_manifest).then(|| (known.package.clone(), version)));
            }
        }
        selected.sort();
        Ok(Resolved {
            graph,
            selected,
            steps,
        })
    }
}

impl<S: Source> Activation<'_, '_, S> {
    /// Turns on the root and what was asked of it.
    fn root(&mut self) -> Result<Option<u32>, Stop> {
        let Met::Sets(known, sets) = self.solver.root()? else {
            return Ok(None);
        };
        let Some(pool) = self.pool(None, known, &VersionReq::STAR, &sets) else {
            return Ok(None);
        };
        let place = self.place(pool);
        let candidate = self.solver.release(pool, place)?;
        let features = self.solver.root_features(&candidate);
        let features = features.into_iter();
        self.tasks
            .extend(features.map(|feature| Task::Feature(pool, feature)));
        self.tasks.push(Task::Release(pool));
        Ok(Some(pool))
    }

    /// Which of the pools that may meet a need was chosen for it.
    fn pool(
        &self,
        from: Option<u32>,
        known: u32,
        requirement: &VersionReq,
        sets: &super::tables::Sets,
    ) -> Option<u32> {
        if let [(pool, _)] = sets.as_slice() {
            return Some(*pool);
        }
        let mut tables = self.solver.tables.borrow_mut();
        let choice = tables.choice(from, known, requirement, sets);
        let place = self.chosen.get(&Node::Choice(choice))?;
        sets.get(*place as usize).map(|(pool, _)| *pool)
    }

    fn place(&self, pool: u32) -> u32 {
        let chosen = self.chosen.get(&Node::Release(pool)).copied();
        // Whatever is turned on here was needed in the search.
        chosen.unwrap_or_default()
    }

    fn run(&mut self) -> Result<(), Stop> {
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Release(pool) => self.release(pool)?,
                Task::Feature(pool, feature) => self.feature(pool, feature)?,
                Task::Need(pool, need) => self.need(pool, need)?,
                Task::NeedFeature(pool, need, feature) => {
                    self.release(pool)?;
                    let Some(active) = self.active.get_mut(&pool) else {
                        continue;
                    };
                    match active.needs.get(&need) {
                        Some(Some(other)) => self.tasks.push(Task::Feature(*other, feature)),
                        Some(None) => {}
                        None => {
                            active.waiting.entry(need).or_default().insert(feature);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn release(&mut self, pool: u32) -> Result<(), Stop> {
        if self.active.contains_key(&pool) {
            return Ok(());
        }
        let place = self.place(pool);
        let candidate = self.solver.release(pool, place)?;
        for (need, (_, dependency)) in candidate.needs.iter().enumerate() {
            if !dependency.optional {
                self.tasks.push(Task::Need(pool, need));
            }
        }
        let active = Active {
            candidate,
            place,
            features: BTreeSet::new(),
            needs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            elsewhere: Vec::new(),
        };
        self.active.insert(pool, active);
        Ok(())
    }

    fn need(&mut self, pool: u32, need: usize) -> Result<(), Stop> {
        self.release(pool)?;
        let Some(active) = self.active.get(&pool) else {
            return Ok(());
        };
        let candidate = active.candidate.clone();
        let Some((_, dependency)) = candidate.needs.get(need) else {
            return Ok(());
        };
        if active.needs.contains_key(&need) || !self.solver.counts(pool, dependency) {
            return Ok(());
        }
        let (met, registry) = match self.solver.met(Some(pool), dependency)? {
            Met::Sets(known, sets) => {
                let requirement = &dependency.requirement;
                (self.pool(Some(pool), known, requirement, &sets), None)
            }
            Met::Elsewhere(registry) => (None, Some(registry)),
            Met::Unmet(_) => (None, None),
        };
        let Some(active) = self.active.get_mut(&pool) else {
            return Ok(());
        };
        active.needs.insert(need, met);
        if let Some(registry) = registry {
            let (name, requirement) = (dependency.name.clone(), dependency.requirement.to_string());
            active.elsewhere.push((name, requirement, registry));
        }
        let waited = active.waiting.remove(&need).unwrap_or_default();
        if let Some(other) = met {
            let asked = asked(dependency).map(str::to_owned);
            let features = asked.chain(waited);
            let features = features.map(|feature| Task::Feature(other, feature));
            self.tasks.extend(features);
            self.tasks.push(Task::Release(other));
        }
        Ok(())
    }

    fn feature(&mut self, pool: u32, feature: String) -> Result<(), Stop> {
        self.release(pool)?;
        let Some(active) = self.active.get_mut(&pool) else {
            return Ok(());
        };
        let Some(effects) = feature::effects(&active.candidate, &feature) else {
            return Ok(());
        };
        if feature::has(&active.candidate, &feature) && !active.features.insert(feature) {
            return Ok(());
        }
        let candidate = active.candidate.clone();
        for effect in effects {
            let (called, more, weak) = match effect {
                Effect::Feature(other) => {
                    self.tasks.push(Task::Feature(pool, other));
                    continue;
                }
                Effect::Need(called) => (called, None, true),
                Effect::NeedFeature {
                    called,
                    feature,
                    weak,
                } => (called, Some(feature), weak),
            };
            let needs = candidate.needs.iter().enumerate();
            for (place, (_, need)) in needs.filter(|(_, (other, _))| *other == called) {
                if let Some(feature) = &more {
                    self.tasks
                        .push(Task::NeedFeature(pool, place, feature.clone()));
                }
                if more.is_none() || !weak {
                    self.tasks.push(Task::Need(pool, place));
                }
                if need.optional && !weak && feature::has(&candidate, &called) {
                    self.tasks.push(Task::Feature(pool, called.clone()));
                }
            }
        }
        Ok(())
    }

    /// The graph of everything that is on; the root first, the others by name, version and owner.
    fn graph(self, root: Option<u32>) -> DependencyGraph {
        let tables = self.solver.tables.borrow();
        let is_manifest = matches!(self.solver.request.root, Root::Manifest(..));
        let describe = |pool: u32, active: &Active| {
            let known = &tables.known[tables.pools[pool as usize].known as usize];
            let (version, yanked) = known.listing.versions[active.place as usize].clone();
            let owner = (pool != 0 || !is_manifest).then_some(known.package.0);
            let candidate = &active.candidate;
            graph::Node {
                owner: owner.map(OwnerIdText),
                name: candidate.name.clone(),
                version: candidate.version.clone().unwrap_or(version),
                features: active.features.clone(),
                checksums: candidate.checksums,
                yanked,
            }
        };
        let nodes = self.active.iter();
        let mut nodes: Vec<_> = nodes.map(|(pool, a)| (*pool, describe(*pool, a))).collect();
        let order =
            |(pool, node): &(u32, graph::Node)| -> (bool, String, Version, Option<OwnerId>) {
                let owner = node.owner.map(|owner| owner.0);
                (
                    Some(*pool) != root,
                    node.name.clone(),
                    node.version.clone(),
                    owner,
                )
            };
        nodes.sort_by_cached_key(order);
        let places: HashMap<u32, usize> = nodes.iter().map(|(pool, _)| *pool).zip(0..).collect();
        let mut graph = DependencyGraph::default();
        for (from, (pool, node)) in nodes.into_iter().enumerate() {
            graph.nodes.push(node);
            let Some(active) = self.active.get(&pool) else {
                continue;
            };
            for (need, met) in &active.needs {
                let (called, dependency) = &active.candidate.needs[*need];
                let Some(to) = met.and_then(|met| places.get(&met)) else {
                    continue;
                };
                graph.edges.push(Edge {
                    from,
                    to: *to,
                    called: called.clone(),
                    requirement: dependency.requirement.clone(),
                    kind: dependency.kind,
                    target: dependency.target.clone(),
                    optional: dependency.optional,
                });
            }
            let elsewhere = active.elsewhere.iter().cloned();
            let elsewhere = elsewhere.map(|(name, requirement, registry)| Elsewhere {
                from,
                name,
                requirement,
                registry,
            });
            graph.elsewhere.extend(elsewhere);
        }
        graph.elsewhere.sort();
        graph.elsewhere.dedup();
        graph.find_cycles();
        graph
    }
}

/// The features that a dependency asks for.
fn asked(dependency: &Dependency) -> impl Iterator<Item = &str> {
    let features = dependency.features.iter().map(String::as_str);
    features.chain(dependency.default_features.then_some("default"))
}
