//! What a package needs, and what that needs, drawn as a graph in layers.
//!
//! Drawn here and not in the browser, of what this node knows. Bounded in every direction: it is an overview, and
//! the list of dependencies beside it is complete.

use std::collections::BTreeMap;

use ggen_protocols::id::OwnerId;
use ggen_protocols::metadata::{Dependency, DependencyKind, DependencySource, PackageMetadata};
use semver::VersionReq;

use super::shown::clip;
use crate::Result;
use crate::archive::index::Segment;
use crate::gateway::Gateway;

/// Steps away from the package.
const DEPTH_MAX: usize = 3;
/// Packages in one layer; one more box stands for the rest.
const LAYER_MAX: usize = 10;
/// Packages that are looked up.
const LOOKUPS_MAX: usize = 24;
/// Characters that fit into a box.
const LINE_MAX: usize = 18;

const BOX_WIDTH: usize = 152;
const BOX_HEIGHT: usize = 42;
const GAP_X: usize = 38;
const GAP_Y: usize = 10;
const MARGIN: usize = 2;

/// A drawing.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) boxes: Vec<Box>,
    pub(super) arrows: Vec<String>,
    /// The same in a sentence.
    pub(super) words: String,
}

/// A package in it.
#[derive(Debug)]
pub(super) struct Box {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) title: String,
    /// The title as a whole.
    pub(super) full: String,
    pub(super) note: String,
    /// Its class in the style sheet.
    pub(super) class: &'static str,
}

impl Box {
    pub(super) const WIDTH: usize = BOX_WIDTH;
    pub(super) const HEIGHT: usize = BOX_HEIGHT;

    pub(super) fn text_x(&self) -> usize {
        self.x + 11
    }

    pub(super) fn title_y(&self) -> usize {
        self.y + 18
    }

    pub(super) fn note_y(&self) -> usize {
        self.y + 33
    }
}

/// What is known of a package in the graph.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// This release would be chosen.
    Here(std::boxed::Box<PackageMetadata>),
    /// It is bound to an owner, and nothing here fits.
    Missing,
    /// It comes from another registry.
    Elsewhere,
    /// It was not looked up any more.
    Unasked,
}

#[derive(Debug)]
struct Member {
    title: String,
    note: String,
    class: &'static str,
    depth: usize,
}

/// Who depends on whom, before it has places.
#[derive(Debug, Default)]
struct Members {
    all: Vec<Member>,
    /// How many of each layer were left out.
    left_out: BTreeMap<usize, usize>,
    arrows: Vec<(usize, usize)>,
}

/// Draws what a release needs; nothing if it needs nothing.
pub(super) async fn draw(gateway: &Gateway, of: &PackageMetadata) -> Result<Option<Graph>> {
    if needed(of).is_empty() {
        return Ok(None);
    }
    let mut members = Members::default();
    members.all.push(Member {
        title: of.id.name.clone(),
        note: of.id.version.to_string(),
        class: "this",
        depth: 0,
    });
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    if let Some(owner) = &of.id.namespace {
        places.insert((owner.clone(), canonical(&of.id.name)), 0);
    }
    let mut open = vec![(0, of.clone())];
    let mut lookups = 0;
    for depth in 1..=DEPTH_MAX {
        let mut next = Vec::new();
        for (from, metadata) in open {
            for dependency in needed(&metadata) {
                let key = (origin(&dependency.source), canonical(&dependency.name));
                if let Some(at) = places.get(&key) {
                    members.arrows.push((from, *at));
                    continue;
                }
                let in_layer = members.all.iter().filter(|m| m.depth == depth).count();
                if in_layer == LAYER_MAX {
                    *members.left_out.entry(depth).or_default() += 1;
                    continue;
                }
                let known = match lookups < LOOKUPS_MAX {
                    true => look(gateway, dependency).await?,
                    false => Known::Unasked,
                };
                lookups += 1;
                let at = members.all.len();
                members.all.push(member(dependency, &known, depth));
                places.insert(key, at);
                members.arrows.push((from, at));
                if let Known::Here(metadata) = known {
                    next.push((at, *metadata));
                }
            }
        }
        open = next;
    }
    Ok(Some(placed(members)))
}

/// What every build of it needs, each package once, by name.
fn needed(of: &PackageMetadata) -> Vec<&Dependency> {
    let all = of.dependencies.values().flatten();
    let builds = all.filter(|one| one.kind != DependencyKind::Dev && !one.optional);
    let mut needed: Vec<_> = builds.collect();
    needed.sort_by(|a, b| (&a.name, &a.source).cmp(&(&b.name, &b.source)));
    needed.dedup_by(|a, b| (&a.name, &a.source) == (&b.name, &b.source));
    needed
}

/// The owner that a dependency is bound to, be it by the address of the owner's index.
pub(super) fn owner_of(source: &DependencySource) -> Option<OwnerId> {
    match source {
        DependencySource::Owner(owner) => Some(owner.0),
        DependencySource::Url(url) => match Segment::of_url(url)? {
            Segment::Owner(owner) => Some(owner),
            _ => None,
        },
        _ => None,
    }
}

fn origin(source: &DependencySource) -> String {
    match (owner_of(source), source) {
        (Some(owner), _) => owner.to_string(),
        (None, DependencySource::Url(url)) => url.clone(),
        _ => String::new(),
    }
}

fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

async fn look(gateway: &Gateway, dependency: &Dependency) -> Result<Known> {
    let Some(owner) = owner_of(&dependency.source) else {
        return Ok(Known::Elsewhere);
    };
    let catalogue = gateway.node.catalogue();
    let name = format!("{owner}/{}", dependency.name);
    let Some(id) = catalogue
        .resolve_version(&name, &dependency.requirement)
        .await?
    else {
        return Ok(Known::Missing);
    };
    let mut found = catalogue.get(&id).await?;
    found.id.namespace = Some(owner.to_string());
    Ok(Known::Here(std::boxed::Box::new(found)))
}

fn member(dependency: &Dependency, known: &Known, depth: usize) -> Member {
    let asked = |words: &str| {
        let wanted = requirement(&dependency.requirement);
        format!("{wanted} · {words}")
    };
    let (note, class) = match known {
        Known::Here(metadata) => (metadata.id.version.to_string(), "here"),
        Known::Missing => (asked("not here"), "missing"),
        Known::Elsewhere => (asked("elsewhere"), "elsewhere"),
        Known::Unasked => (requirement(&dependency.requirement), "elsewhere"),
    };
    Member {
        title: dependency.name.clone(),
        note,
        class,
        depth,
    }
}

/// A requirement as people write it.
pub(super) fn requirement(requirement: &VersionReq) -> String {
    let text = requirement.to_string();
    match text.strip_prefix('^') {
        Some(plain) if !plain.contains(',') => plain.to_owned(),
        _ => text,
    }
}

/// Gives everything its place: a column for each layer, each column in the middle.
fn placed(members: Members) -> Graph {
    let Members {
        mut all,
        left_out,
        mut arrows,
    } = members;
    arrows.sort_unstable();
    arrows.dedup();
    let count = all.len() - 1;
    for (depth, number) in &left_out {
        all.push(Member {
            title: format!("and {number} more"),
            note: String::new(),
            class: "more",
            depth: *depth,
        });
    }
    let layers = all.iter().map(|m| m.depth).max().unwrap_or_default() + 1;
    let size = |depth: usize| all.iter().filter(|m| m.depth == depth).count();
    let tallest = (0..layers).map(size).max().unwrap_or_default();
    let column = |boxes: usize| boxes * (BOX_HEIGHT + GAP_Y) - GAP_Y.min(boxes * GAP_Y);
    let height = column(tallest) + 2 * MARGIN;
    let mut used = vec![0; layers];
    let mut boxes = Vec::with_capacity(all.len());
    for member in &all {
        let above = (height - 2 * MARGIN - column(size(member.depth))) / 2;
        let at = used[member.depth];
        used[member.depth] += 1;
        boxes.push(Box {
            x: MARGIN + member.depth * (BOX_WIDTH + GAP_X),
            y: MARGIN + above + at * (BOX_HEIGHT + GAP_Y),
            title: clip(&member.title, LINE_MAX - 1),
            full: member.title.clone(),
            note: clip(&member.note, LINE_MAX),
            class: member.class,
        });
    }
    let direct =
        arrows.iter().filter(|(from, _)| *from == 0).count() + left_out.get(&1).unwrap_or(&0);
    let words = format!(
        "{} needs {direct} packages directly; {count} are drawn, in {layers} layers. The list below names all of the direct ones.",
        all[0].title
    );
    Graph {
        width: layers * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN,
        height,
        arrows: arrows
            .iter()
            .map(|(from, to)| arrow(&boxes[*from], &boxes[*to]))
            .collect(),
        boxes,
        words,
    }
}

/// A line from one box to another: to the next column straight on, otherwise around.
fn arrow(from: &Box, to: &Box) -> String {
    let (x1, y1) = (from.x + BOX_WIDTH, from.y + BOX_HEIGHT / 2);
    let y2 = to.y + BOX_HEIGHT / 2;
    match to.x > from.x {
        true => {
            let bend = GAP_X / 2;
            let (x2, near, far) = (to.x, x1 + bend, to.x.saturating_sub(bend));
            format!("M{x1} {y1}C{near} {y1} {far} {y2} {x2} {y2}")
        }
        // The same layer, or back: on the right side of both.
        false => {
            let (x2, out) = (to.x + BOX_WIDTH, x1 + GAP_X / 2);
            format!("M{x1} {y1}C{out} {y1} {out} {y2} {x2} {y2}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn member_at(depth: usize) -> Member {
        Member {
            title: "a-name-that-is-longer-than-a-box".to_owned(),
            note: "1.0.0".to_owned(),
            class: "here",
            depth,
        }
    }

    #[test]
    fn boxes_neither_overlap_nor_leave_the_drawing() {
        let all = [0, 1, 1, 1, 2, 2, 3].map(member_at);
        let graph = placed(Members {
            all: all.into(),
            left_out: BTreeMap::from([(1, 7)]),
            arrows: vec![
                (0, 1),
                (0, 2),
                (0, 3),
                (1, 4),
                (2, 5),
                (4, 6),
                (6, 4),
                (4, 5),
                (0, 1),
            ],
        });
        assert_eq!(graph.boxes.len(), 8);
        assert_eq!(graph.arrows.len(), 8, "each once");
        for (at, one) in graph.boxes.iter().enumerate() {
            assert!(one.x + BOX_WIDTH <= graph.width && one.y + BOX_HEIGHT <= graph.height);
            assert!(one.title.chars().count() <= LINE_MAX);
            for other in &graph.boxes[..at] {
                let apart = one.x != other.x || one.y.abs_diff(other.y) >= BOX_HEIGHT;
                assert!(apart, "{one:?} {other:?}");
            }
        }
        assert!(
            graph.words.contains("needs 10 packages directly"),
            "{}",
            graph.words
        );
    }

    #[test]
    fn requirements_read_as_people_write_them() {
        let read = |text: &str| requirement(&text.parse().unwrap());
        assert_eq!(read("^1.2"), "1.2");
        assert_eq!(read("=1.2.3"), "=1.2.3");
        assert_eq!(read(">=1, <3"), ">=1, <3");
    }
}
