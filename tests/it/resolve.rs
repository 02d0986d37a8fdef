//! Resolving against what cargo itself chooses on the same index.
//!
//! `tests/data/index.jsonl.gz` holds lines of a real index: the packages of a real project of 716, each with its
//! versions that were locked and its two newest. Its first line is that project. `tests/data/index.lock.txt` is what
//! `cargo generate-lockfile` (1.95) wrote for it when a server gave it these very lines.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use ggen_marketplace::protocols::metadata::Format;
use ggen_marketplace::registry::resolve::{Request, Root, resolve};
use ggen_marketplace::testing::resolve::Releases;
use semver::VersionReq;

const INDEX: &[u8] = include_bytes!("../data/index.jsonl.gz");
const CHOSEN: &str = include_str!("../data/index.lock.txt");

#[test]
fn the_versions_of_a_real_project_are_those_that_cargo_chooses() {
    let mut lines = String::new();
    GzDecoder::new(INDEX).read_to_string(&mut lines).unwrap();
    let mut releases = Releases::new(Format::Cargo);
    for line in lines.lines() {
        assert!(releases.add_line(line).is_some(), "{line}");
    }
    let root = Releases::package("real-project");
    let request = Request::new(Root::Wanted(root.clone(), VersionReq::STAR));
    let resolved = resolve(&releases, &request).unwrap();
    let ours = resolved.selected.iter();
    let ours = ours.filter(|(package, _)| *package != root);
    let ours: BTreeSet<_> = ours.map(|((_, name), v)| format!("{name} {v}")).collect();
    // Names are compared as the catalogue keeps them.
    let canonical = |line: &str| line.to_ascii_lowercase().replace('_', "-");
    let cargos: BTreeSet<_> = CHOSEN.lines().map(canonical).collect();
    assert_eq!(cargos.len(), 716);
    let differing: Vec<_> = ours.symmetric_difference(&cargos).collect();
    assert!(differing.is_empty(), "{differing:?}");
    for edge in &resolved.graph.edges {
        let needed = &resolved.graph.nodes[edge.to];
        assert!(edge.requirement.matches(&needed.version), "{edge:?}");
    }
    assert!(resolved.graph.cycles.is_empty());
}
