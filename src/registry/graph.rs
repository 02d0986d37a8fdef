//! What a package needs, with one version of everything: nodes, edges, and forms to show them in.

use std::collections::BTreeSet;
use std::fmt::Write;

use ggen_protocols::id::ReleaseKey;
use ggen_protocols::metadata::{Checksums, DependencyKind, OwnerIdText};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

/// Releases, and which needs which. The first is the one that everything else is there for; the others stand by
/// name, version and owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyGraph {
    /// The releases.
    pub nodes: Vec<Node>,
    /// Who needs what, by the place of who needs it and then by the name that its code uses.
    pub edges: Vec<Edge>,
    /// What is needed of other registries, which this node knows nothing of.
    pub elsewhere: Vec<Elsewhere>,
    /// Releases that need each other in a circle, by their places; no release stands in two circles.
    /// What only the root's tests need makes none.
    pub cycles: Vec<Vec<usize>>,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Whose it is; nobody's if it is a root that is in no catalogue.
    pub owner: Option<OwnerIdText>,
    /// Its name as its publisher spells it.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its features that are on, ascending, `default` included.
    pub features: BTreeSet<String>,
    /// Hashes and size of its archive.
    pub checksums: Checksums,
    /// Whether its owner yanked it: then it is here because it was locked, or is the root.
    pub yanked: bool,
}

impl Node {
    /// Where it stands in the catalogue, if it does.
    pub fn key(&self) -> Option<ReleaseKey> {
        let name = self.name.parse().ok()?;
        Some(ReleaseKey::new(self.owner?.0, name, &self.version))
    }
}

/// That one release needs another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The place of what needs something.
    pub from: usize,
    /// The place of what is needed.
    pub to: usize,
    /// What the code of the one that needs it calls it.
    pub called: String,
    /// Which versions would do.
    pub requirement: VersionReq,
    /// Which builds need it.
    pub kind: DependencyKind,
    /// For which platforms, if not for all.
    pub target: Option<String>,
    /// Whether a feature turned it on.
    pub optional: bool,
}

/// That a release needs something of another registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The place of what needs it.
    pub from: usize,
    /// The package needed.
    pub name: String,
    /// Which versions will do.
    pub requirement: String,
    /// The registry.
    pub registry: String,
}

impl DependencyGraph {
    /// The places of what a release needs, ascending, without those that only tests need.
    fn needs(&self) -> Vec<Vec<usize>> {
        let mut needs = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            let is_build = edge.kind != DependencyKind::Dev;
            if let Some(list) = needs.get_mut(edge.from).filter(|_| is_build) {
                list.push(edge.to);
            }
        }
        needs
    }

    /// Places in an order in which everything comes after what it needs, unless it needs itself. What only tests
    /// need does not count, for it may need what is tested; it comes in all the same.
    pub fn topological_order(&self) -> Vec<usize> {
        self.components().into_iter().flatten().collect()
    }

    /// Circles, by the strongly connected parts: fills `cycles`.
    pub(crate) fn find_cycles(&mut self) {
        let needs = self.needs();
        let mut cycles = self.components();
        cycles.retain(|part| match part.as_slice() {
            [one] => needs.get(*one).is_some_and(|needs| needs.contains(one)),
            _ => true,
        });
        cycles.sort();
        self.cycles = cycles;
    }

    /// Strongly connected parts, each after those that it needs, the places of one ascending (Tarjan 1972, without
    /// recursion: a chain of needs may be as long as there are packages).
    fn components(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let needs = self.needs();
        let count = self.nodes.len();
        let (mut index, mut low) = (vec![UNSEEN; count], vec![UNSEEN; count]);
        let (mut is_open, mut open, mut parts) = (vec![false; count], Vec::new(), Vec::new());
        let mut next = 0;
        for start in 0..count {
            let mut path = Vec::new();
            if index[start] == UNSEEN {
                path.push((start, 0));
            }
            while let Some((at, seen)) = path.pop() {
                if seen == 0 {
                    (index[at], low[at]) = (next, next);
                    next += 1;
                    open.push(at);
                    is_open[at] = true;
                }
                match needs[at].get(seen) {
                    Some(&need) => {
                        path.push((at, seen + 1));
                        if index[need] == UNSEEN {
                            path.push((need, 0));
                        } else if is_open[need] {
                            low[at] = low[at].min(index[need]);
                        }
                    }
                    None => {
                        if low[at] == index[at] {
                            let first = open.iter().rposition(|place| *place == at);
                            let mut part = open.split_off(first.unwrap_or_default());
                            part.iter().for_each(|place| is_open[*place] = false);
                            part.sort_unstable();
                            parts.push(part);
                        }
                        if let Some((above, _)) = path.last() {
                            low[*above] = low[*above].min(low[at]);
                        }
                    }
                }
            }
        }
        parts
    }

    /// The graph without what lies further from the root than one step.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.edges.retain(|edge| edge.from == 0);
        self.elsewhere.retain(|need| need.from == 0);
        let mut kept: BTreeSet<usize> = self.edges.iter().map(|edge| edge.to).collect();
        kept.insert(0);
        let places: Vec<usize> = kept
            .into_iter()
            .filter(|at| *at < self.nodes.len())
            .collect();
        let place = |at: usize| places.binary_search(&at).unwrap_or_default();
        for edge in &mut self.edges {
            edge.to = place(edge.to);
        }
        let mut at = 0;
        self.nodes.retain(|_| {
            at += 1;
            places.binary_search(&(at - 1)).is_ok()
        });
        self.find_cycles();
        self
    }

    /// A tree to read, a line for each need. What was shown above is not opened again and ends in `(*)`; the whole
    /// has as many lines as there are edges, and one.
    pub fn tree(&self) -> String {
        let mut text = String::new();
        if self.nodes.is_empty() {
            return text;
        }
        let mut below: Vec<Vec<&Edge>> = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            if let Some(list) = below.get_mut(edge.from) {
                list.push(edge);
            }
        }
        let mut outside: Vec<Vec<&Elsewhere>> = vec![Vec::new(); self.nodes.len()];
        for need in &self.elsewhere {
            if let Some(list) = outside.get_mut(need.from) {
                list.push(need);
            }
        }
        let mut shown = vec![false; self.nodes.len()];
        let mut waiting = vec![(0, String::new(), String::new(), String::new())];
        while let Some((at, lead, indent, note)) = waiting.pop() {
            let again = std::mem::replace(&mut shown[at], true);
            let has_more = !below[at].is_empty() || !outside[at].is_empty();
            let mark = if again && has_more { " (*)" } else { "" };
            writeln!(text, "{lead}{}{note}{mark}", self.title(at)).unwrap_or_default();
            if again {
                continue;
            }
            let total = below[at].len() + outside[at].len();
            let branch = |place: usize| match place + 1 == total {
                true => (format!("{indent}└── "), format!("{indent}    ")),
                false => (format!("{indent}├── "), format!("{indent}│   ")),
            };
            for (place, need) in outside[at].iter().enumerate() {
                let (lead, _) = branch(place);
                let Elsewhere {
                    name,
                    requirement,
                    registry,
                    ..
                } = need;
                writeln!(
                    text,
                    "{lead}{name} {requirement} (not of this market: {registry})"
                )
                .unwrap_or_default();
            }
            for (place, edge) in below[at].iter().enumerate().rev() {
                let (lead, indent) = branch(outside[at].len() + place);
                waiting.push((edge.to, lead, indent, note_of(edge)));
            }
        }
        text
    }

    /// Name and version of a release, and its owner where the name alone does not tell which one is meant.
    fn title(&self, at: usize) -> String {
        let Some(node) = self.nodes.get(at) else {
            return String::new();
        };
        let same = self.nodes.iter().filter(|other| other.name == node.name);
        let is_shared = same.into_iter().any(|other| other.owner != node.owner);
        let owner = node.owner.filter(|_| is_shared || at == 0);
        let owner = owner.map(|owner| format!("{}/", owner.0.short()));
        let yanked = if node.yanked { " (yanked)" } else { "" };
        let owner = owner.unwrap_or_default();
        format!("{owner}{} {}{yanked}", node.name, node.version)
    }

    /// The graph in the language of Graphviz.
    pub fn dot(&self) -> String {
        let mut text = "digraph dependencies {\n".to_owned();
        for at in 0..self.nodes.len() {
            writeln!(text, "    n{at} [label={:?}];", self.title(at)).unwrap_or_default();
        }
        for edge in &self.edges {
            let style = match edge.kind {
                DependencyKind::Dev => ", style=dotted",
                DependencyKind::Build => ", style=dashed",
                _ => "",
            };
            let (from, to) = (edge.from, edge.to);
            let label = edge.requirement.to_string();
            writeln!(text, "    n{from} -> n{to} [label={label:?}{style}];").unwrap_or_default();
        }
        text.push_str("}\n");
        text
    }

    /// The graph as JSON: the fields of this type.
    ///
    /// # Errors
    /// None that this type can cause.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// What is not as usual in a need.
fn note_of(edge: &Edge) -> String {
    let mut note = match edge.kind {
        DependencyKind::Dev => " [dev]".to_owned(),
        DependencyKind::Build => " [build]".to_owned(),
        _ => String::new(),
    };
    if let Some(target) = &edge.target {
        note.push_str(&format!(" [{target}]"));
    }
    note
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::OwnerId;

    use super::*;

    fn graph(names: &[&str], edges: &[(usize, usize, DependencyKind)]) -> DependencyGraph {
        let node = |name: &&str| Node {
            owner: Some(OwnerIdText(OwnerId::from_bytes([1; 32]))),
            name: (*name).to_owned(),
            version: Version::new(1, 0, 0),
            features: BTreeSet::new(),
            checksums: Checksums::default(),
            yanked: false,
        };
        let edge = |&(from, to, kind): &(usize, usize, DependencyKind)| Edge {
            from,
            to,
            called: names[to].to_owned(),
            requirement: "^1".parse().unwrap(),
            kind,
            target: None,
            optional: false,
        };
        let mut graph = DependencyGraph {
            nodes: names.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
            ..DependencyGraph::default()
        };
        graph.find_cycles();
        graph
    }

    use DependencyKind::{Build, Dev, Normal};

    #[test]
    fn everything_comes_after_what_it_needs() {
        let diamond = graph(
            &["a", "b", "c", "d"],
            &[
                (0, 2, Normal),
                (0, 1, Normal),
                (1, 3, Build),
                (2, 1, Normal),
            ],
        );
        assert_eq!(diamond.topological_order(), [3, 1, 2, 0]);
        assert!(diamond.cycles.is_empty());
    }

    #[test]
    fn circles_are_named_but_not_those_of_tests() {
        let circles = graph(
            &["a", "b", "c", "d"],
            &[
                (0, 1, Normal),
                (1, 2, Normal),
                (2, 1, Normal),
                (3, 3, Normal),
                (0, 3, Dev),
            ],
        );
        assert_eq!(circles.cycles, [vec![1, 2], vec![3]]);
        assert_eq!(circles.topological_order(), [1, 2, 0, 3]);
        let tested = graph(&["a", "b"], &[(0, 1, Dev), (1, 0, Normal)]);
        assert!(tested.cycles.is_empty());
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let names: Vec<String> = (0..50_000).map(|at| format!("p{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let edges: Vec<_> = (1..names.len()).map(|to| (to - 1, to, Normal)).collect();
        let chain = graph(&names, &edges);
        assert_eq!(chain.topological_order().first(), Some(&49_999));
        assert!(chain.cycles.is_empty());
    }

    #[test]
    fn the_tree_opens_a_release_once() {
        let mut shown = graph(
            &["a", "b", "c"],
            &[(0, 1, Normal), (0, 2, Dev), (1, 2, Normal), (2, 1, Normal)],
        );
        shown.elsewhere.push(Elsewhere {
            from: 1,
            name: "x".to_owned(),
            requirement: "^2".to_owned(),
            registry: "default".to_owned(),
        });
        let expected = "\
ns1ae…aeae/a 1.0.0
├── b 1.0.0
│   ├── x ^2 (not of this market: default)
│   └── c 1.0.0
│       └── b 1.0.0 (*)
└── c 1.0.0 [dev] (*)
";
        let tree = shown.tree();
        let (first, rest) = tree.split_once('\n').unwrap();
        assert!(
            first.starts_with("ns1") && first.ends_with("/a 1.0.0"),
            "{first}"
        );
        assert_eq!(rest, expected.split_once('\n').unwrap().1);
    }

    #[test]
    fn the_direct_part_keeps_its_places_right() {
        let whole = graph(
            &["a", "b", "c", "d"],
            &[(0, 1, Normal), (0, 3, Normal), (1, 2, Normal)],
        );
        let direct = whole.direct();
        let names: Vec<_> = direct.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d"]);
        let edges: Vec<_> = direct
            .edges
            .iter()
            .map(|edge| (edge.from, edge.to))
            .collect();
        assert_eq!(edges, [(0, 1), (0, 2)]);
        assert!(direct.dot().contains("n0 -> n2"));
        let read: DependencyGraph = serde_json::from_str(&direct.json().unwrap()).unwrap();
        assert_eq!(read, direct);
    }
}
