//! The search against brute force, and what it says of what cannot be.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::metadata::{Dependency, DependencyKind, Format};
use proptest::prelude::*;
use semver::{Version, VersionReq};

use super::requirement::bucket;
use super::{Candidate, Request, Resolved, Root, Unresolved, resolve};
use crate::testing::resolve::Releases;

fn need(text: &str) -> (String, Dependency) {
    let (name, requirement) = text.split_once(' ').unwrap_or((text, "*"));
    let need = Dependency::new(name, requirement.parse().unwrap());
    (name.to_owned(), need)
}

/// A release from `name version`, what it needs, and its features.
fn release(
    of: &mut Releases,
    text: &str,
    needs: Vec<(String, Dependency)>,
    features: &[(&str, &[&str])],
) {
    let (name, version) = text.split_once(' ').unwrap();
    let (version, yanked) = match version.strip_suffix(" yanked") {
        Some(version) => (version, true),
        None => (version, false),
    };
    let features = features.iter().map(|(name, on)| {
        let on = on.iter().map(|text| (*text).to_owned()).collect();
        ((*name).to_owned(), on)
    });
    let candidate = Candidate {
        name: name.to_owned(),
        needs,
        features: features.collect(),
        ..Candidate::default()
    };
    of.add(candidate, version.parse().unwrap(), yanked);
}

fn cargo(list: &[(&str, &[&str])]) -> Releases {
    let mut releases = Releases::new(Format::Cargo);
    for (text, needs) in list {
        release(
            &mut releases,
            text,
            needs.iter().map(|text| need(text)).collect(),
            &[],
        );
    }
    releases
}

fn wanted(text: &str) -> Request {
    let (name, requirement) = text.split_once(' ').unwrap_or((text, "*"));
    Request::new(Root::Wanted(
        Releases::package(name),
        requirement.parse().unwrap(),
    ))
}

fn names(resolved: &Resolved) -> Vec<String> {
    let selected = resolved.selected.iter();
    selected
        .map(|((_, name), version)| format!("{name} {version}"))
        .collect()
}

fn conflict(releases: &Releases, request: &Request) -> String {
    match resolve(releases, request) {
        Err(Unresolved::Conflict(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_highest_versions_that_fit_together_are_chosen() {
    let releases = cargo(&[
        ("app 1.0.0", &["lib ^1", "old ^1"]),
        ("lib 1.0.0", &[]),
        ("lib 1.5.0", &[]),
        ("lib 1.9.0", &[]),
        ("lib 2.0.0-rc.1", &[]),
        ("old 1.0.0", &["lib >=1.0, <1.9"]),
    ]);
    let resolved = resolve(&releases, &wanted("app")).unwrap();
    assert_eq!(names(&resolved), ["app 1.0.0", "lib 1.5.0", "old 1.0.0"]);
    assert_eq!(resolved.graph.nodes[0].name, "app");
    assert_eq!(resolved.graph.edges.len(), 3);
}

#[test]
fn versions_that_are_not_compatible_stand_side_by_side_in_cargo_packages_alone() {
    let list: &[(&str, &[&str])] = &[
        ("app 1.0.0", &["a ^1", "b ^1"]),
        ("a 1.0.0", &["lib ^1"]),
        ("b 1.0.0", &["lib ^2"]),
        ("lib 1.0.0", &[]),
        ("lib 2.0.0", &[]),
    ];
    let resolved = resolve(&cargo(list), &wanted("app")).unwrap();
    assert_eq!(resolved.graph.nodes.len(), 5);
    let mut packs = Releases::new(Format::Pack);
    for (text, needs) in list {
        release(
            &mut packs,
            text,
            needs.iter().map(|text| need(text)).collect(),
            &[],
        );
    }
    let text = conflict(&packs, &wanted("app"));
    assert!(
        text.contains("loosen one of these requirements on lib: ^1; ^2"),
        "{text}"
    );
    assert!(text.contains("a 1.0.0 needs lib ^1"), "{text}");
}

#[test]
fn yanked_versions_are_chosen_only_where_they_are_locked() {
    let releases = cargo(&[
        ("app 1.0.0", &["lib ^1"]),
        ("lib 1.0.0", &[]),
        ("lib 1.1.0", &[]),
        ("lib 1.2.0 yanked", &[]),
    ]);
    let mut request = wanted("app");
    assert_eq!(
        names(&resolve(&releases, &request).unwrap()),
        ["app 1.0.0", "lib 1.1.0"]
    );
    let lock = |version: &str| {
        BTreeMap::from([(
            Releases::package("lib"),
            BTreeSet::from([version.parse().unwrap()]),
        )])
    };
    request.locked = lock("1.2.0");
    let locked = resolve(&releases, &request).unwrap();
    assert_eq!(names(&locked), ["app 1.0.0", "lib 1.2.0"]);
    assert!(locked.graph.nodes[1].yanked);
    request.locked = lock("1.0.0");
    assert_eq!(
        names(&resolve(&releases, &request).unwrap()),
        ["app 1.0.0", "lib 1.0.0"]
    );
    let text = conflict(&releases, &wanted("lib =1.2.0"));
    assert!(text.contains("lib 1.2.0 is yanked"), "{text}");
    let exact = Request::new(Root::Release(
        Releases::package("lib"),
        "1.2.0".parse().unwrap(),
    ));
    assert!(resolve(&releases, &exact).unwrap().graph.nodes[0].yanked);
}

#[test]
fn pre_releases_come_only_when_they_are_asked_for() {
    let releases = cargo(&[("app 1.0.0", &["lib ^1"]), ("lib 1.1.0-rc.1", &[])]);
    let text = conflict(&releases, &wanted("app"));
    assert!(
        text.contains("allow the pre-release lib 1.1.0-rc.1"),
        "{text}"
    );
    let mut asked = wanted("app");
    asked.prerelease = true;
    assert_eq!(
        names(&resolve(&releases, &asked).unwrap()),
        ["app 1.0.0", "lib 1.1.0-rc.1"]
    );
}

#[test]
fn features_turn_on_what_they_name_and_weak_ones_wait() {
    let mut releases = Releases::new(Format::Cargo);
    let optional = |text: &str| {
        let (called, mut need) = need(text);
        need.optional = true;
        (called, need)
    };
    let features: &[(&str, &[&str])] = &[
        ("default", &["std"]),
        ("std", &["x?/std"]),
        ("full", &["dep:x", "y/extra"]),
    ];
    release(
        &mut releases,
        "lib 1.0.0",
        vec![optional("x ^1"), optional("y ^1")],
        features,
    );
    release(&mut releases, "x 1.0.0", vec![], &[("std", &[])]);
    release(&mut releases, "y 1.0.0", vec![], &[("extra", &[])]);
    let shown = |features: &[&str]| {
        let mut request = wanted("lib");
        request.features = features.iter().map(|text| (*text).to_owned()).collect();
        let resolved = resolve(&releases, &request).unwrap();
        let nodes = resolved.graph.nodes.into_iter();
        let on = |node: &crate::registry::graph::Node| {
            node.features.iter().cloned().collect::<Vec<_>>().join("+")
        };
        nodes
            .map(|node| format!("{} {}", node.name, on(&node)))
            .collect::<Vec<_>>()
    };
    // The lock has x, as cargo's would; nothing turns it on.
    assert_eq!(shown(&[]), ["lib default+std"]);
    assert_eq!(
        names(&resolve(&releases, &wanted("lib")).unwrap()),
        ["lib 1.0.0", "x 1.0.0"]
    );
    assert_eq!(
        shown(&["full"]),
        ["lib default+full+std+y", "x std", "y extra"]
    );
    assert_eq!(shown(&["y"]), ["lib default+std+y", "y "]);
    let mut request = wanted("lib");
    request.features = ["nope".to_owned()].into();
    match resolve(&releases, &request) {
        Err(Unresolved::NoFeature(text)) => assert!(
            text.contains("no feature `nope`; it has default, full, std, y"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn platforms_and_tests_decide_what_is_followed() {
    let mut releases = cargo(&[("win 1.0.0", &[]), ("dev 1.0.0", &[])]);
    let (mut win, mut dev) = (need("win ^1"), need("dev ^1"));
    win.1.target = Some("cfg(windows)".to_owned());
    dev.1.kind = DependencyKind::Dev;
    release(
        &mut releases,
        "app 1.0.0",
        vec![win.clone(), dev.clone()],
        &[],
    );
    assert_eq!(
        names(&resolve(&releases, &wanted("app")).unwrap()),
        ["app 1.0.0", "win 1.0.0"]
    );
    let mut request = wanted("app");
    request.platform = Some("x86_64-unknown-linux-gnu".parse().unwrap());
    assert_eq!(names(&resolve(&releases, &request).unwrap()), ["app 1.0.0"]);
    let manifest = Candidate {
        name: "mine".to_owned(),
        version: Some(Version::new(0, 1, 0)),
        needs: vec![win, dev],
        ..Candidate::default()
    };
    request.root = Root::Manifest(Box::new(manifest), Format::Cargo);
    let resolved = resolve(&releases, &request).unwrap();
    assert_eq!(names(&resolved), ["dev 1.0.0"]);
    assert_eq!(resolved.graph.nodes[0].owner, None);
}

#[test]
fn a_library_is_linked_once() {
    let mut releases = cargo(&[("app 1.0.0", &["a ^1", "b ^1"])]);
    for name in ["a", "b"] {
        let candidate = Candidate {
            name: name.to_owned(),
            links: Some("z".to_owned()),
            ..Candidate::default()
        };
        releases.add(candidate, Version::new(1, 0, 0), false);
    }
    let text = conflict(&releases, &wanted("app"));
    assert!(
        text.contains("b 1.0.0 links the native library `z`"),
        "{text}"
    );
}

#[test]
fn what_is_missing_is_named_with_what_is_near() {
    let releases = cargo(&[("app 1.0.0", &["serda ^1"]), ("serde 1.0.0", &[])]);
    let text = conflict(&releases, &wanted("app"));
    assert!(text.contains("serda ^1 is not here"), "{text}");
    assert!(
        text.contains("`serda` may be misspelled; there is serde"),
        "{text}"
    );
}

#[test]
fn circles_are_resolved_and_reported() {
    let releases = cargo(&[
        ("a 1.0.0", &["b ^1"]),
        ("b 1.0.0", &["a ^1"]),
        ("b 1.1.0", &["b ^1.1"]),
    ]);
    let resolved = resolve(&releases, &wanted("a")).unwrap();
    assert_eq!(names(&resolved), ["a 1.0.0", "b 1.1.0"]);
    assert_eq!(resolved.graph.cycles, [vec![1]]);
    let two = resolve(
        &cargo(&[("a 1.0.0", &["b ^1"]), ("b 1.0.0", &["a ^1"])]),
        &wanted("a"),
    );
    assert_eq!(two.unwrap().graph.cycles, [vec![0, 1]]);
}

#[test]
fn a_hopeless_search_ends_with_its_budget_and_says_so_or_explains_in_twenty_lines() {
    let releases = chain(12, 40);
    let mut request = wanted("p0");
    match resolve(&releases, &request) {
        Err(Unresolved::Conflict(text)) => assert!(text.lines().count() <= 20, "{text}"),
        Err(Unresolved::Budget(_)) => {}
        other => panic!("{other:?}"),
    }
    request.steps_max = 5;
    assert_eq!(resolve(&releases, &request), Err(Unresolved::Budget(5)));
}

/// Packages of many versions, each of which needs a version of the next that needs one of the first that is not it.
pub(crate) fn chain(packages: usize, versions: u64) -> Releases {
    let mut releases = Releases::new(Format::Cargo);
    for at in 0..packages {
        for version in 0..versions {
            let next = format!("p{} <1.{}.0, >=1.0.0", at + 1, version + 1);
            let needs = match at + 1 == packages {
                true => vec![need("missing ^1")],
                false => vec![need(&next)],
            };
            release(&mut releases, &format!("p{at} 1.{version}.0"), needs, &[]);
        }
    }
    releases
}

/// What a small random registry is made of: for each package its versions, each with needs and features.
type Sketch = Vec<Vec<Vec<(usize, usize, bool, bool)>>>;

const REQUIREMENTS: &[&str] = &[
    "*", "^1", "^1.1", "=1.0.0", "<1.2", ">=1.1", "^2", "^0.1", "=9.0.0",
];
const VERSIONS: &[&str] = &["0.1.0", "1.0.0", "1.1.0", "2.0.0"];

fn sketch() -> impl Strategy<Value = Sketch> {
    let need = (
        0..6_usize,
        0..REQUIREMENTS.len(),
        any::<bool>(),
        any::<bool>(),
    );
    let versions = prop::collection::vec(prop::collection::vec(need, 0..3), 1..4);
    prop::collection::vec(versions, 2..7)
}

/// Builds it. Of a need, the first flag says that feature `f` turns it on, the second that it wants feature `f`. Every
/// second version has a feature `f`.
fn build(sketch: &Sketch, order: bool, more: bool) -> Releases {
    let mut releases = Releases::new(Format::Cargo);
    let mut all = Vec::new();
    for (at, versions) in sketch.iter().enumerate() {
        for (place, needs) in versions.iter().enumerate() {
            all.push((at, place, needs));
        }
    }
    if order {
        all.reverse();
    }
    for (at, place, needs) in all {
        let needs =
            needs
                .iter()
                .enumerate()
                .map(|(number, (other, requirement, optional, wants))| {
                    let mut dependency = Dependency::new(
                        format!("p{other}"),
                        REQUIREMENTS[*requirement].parse().unwrap(),
                    );
                    dependency.optional = *optional;
                    dependency.features = wants.then(|| "f".to_owned()).into_iter().collect();
                    (format!("n{number}"), dependency)
                });
        let mut needs: Vec<_> = needs.collect();
        let optional = needs.iter().filter(|(_, need)| need.optional);
        let on = optional
            .map(|(called, _)| format!("dep:{called}"))
            .collect();
        if order {
            needs.reverse();
        }
        let candidate = Candidate {
            name: format!("p{at}"),
            features: match (at + place) % 2 {
                0 => BTreeMap::from([("f".to_owned(), on)]),
                _ => BTreeMap::new(),
            },
            needs,
            ..Candidate::default()
        };
        releases.add(candidate, VERSIONS[place].parse().unwrap(), false);
    }
    if more {
        release(
            &mut releases,
            "other 1.0.0",
            vec![need("p0 ^1")],
            &[("f", &[])],
        );
    }
    releases
}

/// Releases with their features that are on.
type Choice = BTreeMap<(String, Version), BTreeSet<String>>;

/// Whether there is a choice with at most one version of each bucket that meets everything; tries all.
fn is_solvable(releases: &Releases, choice: &Choice, open: &mut Vec<Dependency>) -> bool {
    // One need at a time, with every version that could meet it.
    let Some(need) = open.pop() else {
        return true;
    };
    let requirement: &VersionReq = &need.requirement;
    let fitting = releases
        .iter()
        .filter(|(name, version, ..)| name.as_str() == need.name && requirement.matches(version));
    for (name, version, candidate, _) in fitting {
        let same = |other: &Version| bucket(Format::Cargo, other) == bucket(Format::Cargo, version);
        let mut others = choice
            .keys()
            .filter(|(other, v)| other == name.as_str() && same(v));
        if others.any(|(_, other)| other != version) {
            continue;
        }
        let (mut choice, mut open) = (choice.clone(), open.clone());
        let key = (name.to_string(), version.clone());
        let is_new = !choice.contains_key(&key);
        let on = choice.entry(key).or_default();
        let mut more: Vec<&Dependency> = Vec::new();
        if is_new {
            more.extend(
                candidate
                    .needs
                    .iter()
                    .map(|(_, need)| need)
                    .filter(|need| !need.optional),
            );
        }
        if need.features.contains(&"f".to_owned()) {
            if !candidate.features.contains_key("f") {
                continue;
            }
            if on.insert("f".to_owned()) {
                more.extend(
                    candidate
                        .needs
                        .iter()
                        .map(|(_, need)| need)
                        .filter(|need| need.optional),
                );
            }
        }
        open.extend(more.into_iter().cloned());
        if is_solvable(releases, &choice, &mut open) {
            return true;
        }
    }
    false
}

/// Every need of every release in a graph is met by a release in it that it allows, with what it asks for.
fn check(releases: &Releases, resolved: &Resolved) {
    let graph = &resolved.graph;
    let mut buckets = BTreeSet::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        assert!(
            buckets.insert((&node.name, bucket(Format::Cargo, &node.version))),
            "{resolved:?}"
        );
        let mut all = releases.iter();
        let (_, _, candidate, _) = all
            .find(|(name, version, ..)| name.as_str() == node.name && **version == node.version)
            .unwrap();
        for (called, need) in &candidate.needs {
            if need.optional && !node.features.contains("f") {
                continue;
            }
            let mut edges = graph
                .edges
                .iter()
                .filter(|edge| edge.from == at && edge.called == *called);
            let edge = edges
                .next()
                .unwrap_or_else(|| panic!("{called} of {node:?}"));
            let other = &graph.nodes[edge.to];
            assert!(other.name == need.name && need.requirement.matches(&other.version));
            assert!(
                need.features
                    .iter()
                    .all(|feature| other.features.contains(feature))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_solution_is_found_exactly_where_brute_force_finds_one(sketch in sketch()) {
        let releases = build(&sketch, false, false);
        let found = resolve(&releases, &wanted("p0"));
        let mut open = vec![need("p0 *").1];
        let expected = is_solvable(&releases, &Choice::new(), &mut open);
        match &found {
            Ok(resolved) => check(&releases, resolved),
            Err(Unresolved::Conflict(text)) => prop_assert!(text.lines().count() <= 20, "{}", text),
            Err(other) => panic!("{other:?}"),
        }
        prop_assert_eq!(found.is_ok(), expected, "{:?}", found);
        // Nothing depends on the order in which things came, or on what nothing needs.
        prop_assert_eq!(&resolve(&build(&sketch, true, false), &wanted("p0")), &found);
        prop_assert_eq!(&resolve(&build(&sketch, false, true), &wanted("p0")), &found);
    }
}
