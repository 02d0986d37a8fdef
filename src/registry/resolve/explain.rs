//! Says why there is no solution, in words that a person can act on.
//!
//! PubGrub proves it by deriving a contradiction from facts. What is said are those facts, nearest to the root first,
//! with what the search needs for itself left out: a feature is its package, a choice is what was chosen from. Then
//! what can be done about it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use pubgrub::{DerivationTree, External};

use super::set::Set;
use super::solver::{Met, Solver, Stop};
use super::tables::{Node, Tables, Unmet};
use super::{Root, Source, Unresolved};

/// Lines of an explanation.
const LINES_MAX: usize = 20;
/// Bytes of a line: names and requirements are short, lists of versions need not be.
const LINE_BYTES_MAX: usize = 300;
/// Versions that are named of a package.
const VERSIONS_SHOWN: usize = 6;

type Tree = DerivationTree<Node, Set, String>;

/// One fact, as it is told. Facts of one kind about the same packages are told as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    /// A package needs another.
    Needs {
        from: u32,
        name: String,
        requirement: String,
    },
    /// The root needs something.
    Asks { name: String },
    /// A requirement that nothing meets.
    Nothing { unmet: u32 },
    /// A feature that some versions do not have.
    NoFeature { pool: u32, feature: String },
    /// Two packages link the same library.
    Links { pool: u32, library: u32 },
    /// A version needs itself in another version.
    Itself { pool: u32 },
}

/// Explains a contradiction.
pub(super) fn explain<S: Source>(solver: &Solver<'_, S>, tree: Tree) -> Unresolved<S::Error> {
    let externals = externals(tree);
    match Explanation::read(solver, externals) {
        Ok(text) => Unresolved::Conflict(text),
        Err(_) => solver.unread(),
    }
}

/// The facts that a contradiction was derived from. Takes the tree apart without recursion: it is as deep as the
/// search was long.
fn externals(tree: Tree) -> Vec<External<Node, Set, String>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::from([Arc::new(tree)]);
    // Kept until the end: else a place in memory might be used, and so be seen, twice.
    let mut kept = Vec::new();
    while let Some(next) = waiting.pop_front() {
        if !seen.insert(Arc::as_ptr(&next)) {
            continue;
        }
        match next.as_ref() {
            DerivationTree::External(external) => found.push(external.clone()),
            DerivationTree::Derived(derived) => {
                waiting.push_back(derived.cause1.clone());
                waiting.push_back(derived.cause2.clone());
            }
        }
        kept.push(next);
    }
    // Breadth first, so that who holds another comes before it: dropped in this order, no drop goes deep.
    kept.into_iter().for_each(drop);
    found
}

struct Explanation<'a, 'b, S: Source> {
    solver: &'a Solver<'b, S>,
    /// Versions that each fact is about, of the package that it is about first.
    facts: BTreeMap<Fact, BTreeSet<u32>>,
}

impl<'a, 'b, S: Source> Explanation<'a, 'b, S> {
    fn read(
        solver: &'a Solver<'b, S>,
        externals: Vec<External<Node, Set, String>>,
    ) -> Result<String, Stop> {
        let mut explanation = Self {
            solver,
            facts: BTreeMap::new(),
        };
        for external in externals {
            match external {
                External::NotRoot(..) | External::NoVersions(..) => {}
                External::FromDependencyOf(from, places, to, set) => {
                    explanation.dependency(from, &places, to, &set)?;
                }
                External::Custom(node, places, why) => {
                    if let Node::Feature(pool, _) = node {
                        let fact = Fact::NoFeature { pool, feature: why };
                        explanation.add(fact, pool, &places);
                    } else if let Node::Release(pool) = node {
                        explanation.add(Fact::Itself { pool }, pool, &places);
                    }
                }
            }
        }
        explanation.text()
    }

    fn add(&mut self, fact: Fact, pool: u32, places: &Set) {
        let end = {
            let tables = self.solver.tables.borrow();
            tables.pools[pool as usize].end
        };
        self.facts
            .entry(fact)
            .or_default()
            .extend(places.places(end));
    }

    /// Notes that one thing needs another, if that is a need of its package.
    fn dependency(&mut self, from: Node, places: &Set, to: Node, set: &Set) -> Result<(), Stop> {
        let target = {
            let tables = self.solver.tables.borrow();
            target(&tables, to)
        };
        let from = match from {
            Node::Root => None,
            Node::Release(pool) | Node::Feature(pool, _) => Some(pool),
            _ => return Ok(()),
        };
        if let (Some(pool), Node::Links(library)) = (from, to) {
            self.add(Fact::Links { pool, library }, pool, places);
            return Ok(());
        }
        if let Node::Unmet(unmet) = to {
            self.facts.entry(Fact::Nothing { unmet }).or_default();
        }
        let Some(target) = target.filter(|target| Some(*target) != from.map(Target::Pool)) else {
            return Ok(());
        };
        let Some(pool) = from else {
            let name = self.name_of(target);
            self.facts.entry(Fact::Asks { name }).or_default();
            return Ok(());
        };
        let end = self.solver.tables.borrow().pools[pool as usize].end;
        // One version stands for all: PubGrub joins those whose needs are the same.
        let Some(place) = places.last(end) else {
            return Ok(());
        };
        for requirement in self.requirements(pool, place, target, to, set)? {
            let name = self.name_of(target);
            let fact = Fact::Needs {
                from: pool,
                name,
                requirement,
            };
            self.add(fact, pool, places);
        }
        Ok(())
    }

    /// How a version words its need of a package, where that comes to these versions.
    fn requirements(
        &self,
        pool: u32,
        place: u32,
        target: Target,
        to: Node,
        set: &Set,
    ) -> Result<BTreeSet<String>, Stop> {
        let candidate = self.solver.release(pool, place)?;
        let mut found = BTreeSet::new();
        for (_, need) in &candidate.needs {
            if !self.solver.counts(pool, need) {
                continue;
            }
            let is_meant = match (self.solver.met(Some(pool), need)?, target) {
                (Met::Unmet(unmet), Target::Unmet(other)) => unmet == other,
                (Met::Sets(_, sets), Target::Pool(other)) => {
                    sets.iter().any(|(one, fits)| *one == other && fits == set)
                }
                (Met::Sets(known, sets), Target::Choice(choice)) => {
                    let mut tables = self.solver.tables.borrow_mut();
                    let requirement = &need.requirement;
                    let own = tables.choice(Some(pool), known, requirement, &sets);
                    own == choice && matches!(to, Node::Choice(_) | Node::ChoiceFeature(..))
                }
                _ => false,
            };
            if is_meant {
                found.insert(need.requirement.to_string());
            }
        }
        Ok(found)
    }

    fn name_of(&self, target: Target) -> String {
        let tables = self.solver.tables.borrow();
        match target {
            Target::Pool(pool) => name(&tables, pool),
            Target::Choice(choice) => {
                let first = tables.choices[choice as usize].first();
                first
                    .map(|(pool, _)| name(&tables, *pool))
                    .unwrap_or_default()
            }
            Target::Unmet(unmet) => tables.unmet[unmet as usize].name.clone(),
        }
    }

    fn text(&self) -> Result<String, Stop> {
        let mut lines = vec![format!(
            "there is no set of versions that {} can be built with:",
            self.root()
        )];
        let (mut needs, mut ends, mut advice) = (Vec::new(), Vec::new(), Vec::new());
        let mut wanted: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (fact, places) in &self.facts {
            let of = |pool: u32| self.versions(pool, places);
            match fact {
                Fact::Needs {
                    from,
                    name,
                    requirement,
                } => {
                    wanted.entry(name).or_default().insert(requirement);
                    needs.push((*from, format!("  {} needs {name} {requirement}", of(*from))));
                }
                Fact::Asks { .. } => {}
                Fact::Nothing { unmet } => {
                    let unmet = self.solver.tables.borrow().unmet[*unmet as usize].clone();
                    let (line, what) = self.nothing(&unmet)?;
                    ends.push(line);
                    advice.extend(what);
                }
                Fact::NoFeature { pool, feature } => {
                    ends.push(format!("  {} has no feature `{feature}`", of(*pool)));
                    advice.push(format!(
                        "ask for another feature than `{feature}`, or for a version that has it"
                    ));
                }
                Fact::Links { pool, library } => {
                    let library = self.solver.tables.borrow().links[*library as usize].clone();
                    ends.push(format!(
                        "  {} links the native library `{library}`, of which a build has only one",
                        of(*pool)
                    ));
                    advice.push(format!(
                        "make all that need `{library}` use the same version of what links it"
                    ));
                }
                Fact::Itself { pool } => {
                    ends.push(format!("  {} needs itself in another version", of(*pool)));
                }
            }
        }
        // What was met first is nearest to the root.
        needs.sort();
        for (name, requirements) in &wanted {
            if requirements.len() > 1 {
                let list: Vec<_> = requirements.iter().map(|r| r.as_str()).collect();
                advice.push(format!(
                    "loosen one of these requirements on {name}: {}",
                    list.join("; ")
                ));
            }
        }
        if advice.is_empty() {
            advice.push(
                "loosen a requirement above, or ask for another version of what has it".to_owned(),
            );
        }
        advice.truncate(3);
        ends.truncate(8);
        let room = LINES_MAX - lines.len() - ends.len() - advice.len() - 1;
        let rest = needs.len().saturating_sub(room);
        let shown = if rest > 0 { room } else { needs.len() };
        lines.extend(needs.into_iter().take(shown).map(|(_, line)| line));
        if rest > 0 {
            lines.push(format!("  and {rest} more needs of those"));
        }
        lines.extend(ends);
        let advice = advice.into_iter().map(|what| format!("to do: {what}"));
        lines.extend(advice);
        let lines = lines.into_iter().map(cut);
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    fn root(&self) -> String {
        match &self.solver.request.root {
            Root::Manifest(manifest, _) => manifest.name.clone(),
            Root::Release(package, version) => format!("{} {version}", package.1),
            Root::Wanted(package, requirement) => format!("{} {requirement}", package.1),
        }
    }

    /// A requirement that nothing meets, and what can be done.
    fn nothing(&self, unmet: &Unmet) -> Result<(String, Option<String>), Stop> {
        let Unmet {
            name,
            requirement,
            known,
            why,
        } = unmet;
        let source = self.solver.source;
        let versions = known.map(|known| {
            let tables = self.solver.tables.borrow();
            tables.known[known as usize].listing.versions.clone()
        });
        let versions = versions.unwrap_or_default();
        if versions.is_empty() {
            let near = self.solver.read(source.near(name))?;
            let why = match why.as_str() {
                "" => "this node knows no such package",
                why => why,
            };
            let advice = match near.is_empty() {
                true => format!(
                    "check the name `{name}`; if it is right, connect to a peer that has it"
                ),
                false => format!("`{name}` may be misspelled; there is {}", near.join(", ")),
            };
            return Ok((
                format!("  {name} {requirement} is not here: {why}"),
                Some(advice),
            ));
        }
        let fits = |yanked: bool| {
            let fitting = versions.iter().rev().filter(move |(_, is)| *is == yanked);
            fitting.map(|(version, _)| version)
        };
        let shown: Vec<_> = fits(false)
            .take(VERSIONS_SHOWN)
            .map(ToString::to_string)
            .collect();
        let there = match shown.is_empty() {
            true => "all its versions are yanked".to_owned(),
            false => format!(
                "there is {}{}",
                shown.join(", "),
                if fits(false).count() > shown.len() {
                    " and older"
                } else {
                    ""
                }
            ),
        };
        let line = format!("  no version of {name} meets {requirement}: {there}");
        let yanked = fits(true).find(|version| requirement.matches(version));
        let pre =
            fits(false).find(|version| super::requirement::allows(requirement, version, true));
        let advice = match (yanked, pre) {
            (_, Some(pre)) if !self.solver.request.prerelease => {
                format!(
                    "allow the pre-release {name} {pre} (`--prerelease`, or name it in the requirement)"
                )
            }
            (Some(yanked), _) => {
                format!("{name} {yanked} is yanked; ask for another version than {requirement}")
            }
            _ => format!("ask for a version of {name} that there is, instead of {requirement}"),
        };
        Ok((line, Some(advice)))
    }

    /// A package and some of its versions.
    fn versions(&self, pool: u32, places: &BTreeSet<u32>) -> String {
        let tables = self.solver.tables.borrow();
        let listing = &tables.known[tables.pools[pool as usize].known as usize].listing;
        let name = name(&tables, pool);
        if pool == 0 && matches!(self.solver.request.root, Root::Manifest(..)) {
            return name;
        }
        let version = |place: &u32| {
            let version = listing.versions.get(*place as usize);
            version
                .map(|(version, _)| version.to_string())
                .unwrap_or_default()
        };
        match (places.first(), places.last()) {
            (Some(first), Some(last)) if first != last => {
                let (first, last) = (version(first), version(last));
                format!("{name} {first} to {last} ({} versions)", places.len())
            }
            (Some(one), _) => format!("{name} {}", version(one)),
            _ => name,
        }
    }
}

/// What a need comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Pool(u32),
    Choice(u32),
    Unmet(u32),
}

fn target(tables: &Tables, node: Node) -> Option<Target> {
    match node {
        Node::Release(pool) | Node::Feature(pool, _) => Some(Target::Pool(pool)),
        Node::Choice(choice) | Node::ChoiceFeature(choice, _) => {
            (tables.choices.len() > choice as usize).then_some(Target::Choice(choice))
        }
        Node::Unmet(unmet) => Some(Target::Unmet(unmet)),
        Node::Root | Node::Links(_) => None,
    }
}

fn name(tables: &Tables, pool: u32) -> String {
    let known = &tables.known[tables.pools[pool as usize].known as usize];
    known.package.1.to_string()
}

/// A line of bounded length.
fn cut(line: String) -> String {
    match line.char_indices().nth(LINE_BYTES_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
