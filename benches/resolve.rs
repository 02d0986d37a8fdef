//! How long resolving takes. `cargo bench --bench resolve -- [FILE]`
//!
//! Without a file: trees of 50 and of 500 made packages, and the case that a search without learning never ends: 12
//! packages of 400 versions without a solution. With one, lines in the form of cargo's index: the newest version of
//! every package in it.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ggen_marketplace::protocols::metadata::{Dependency, Format};
use ggen_marketplace::registry::resolve::{Candidate, Request, Root, Unresolved, resolve};
use ggen_marketplace::testing::resolve::Releases;
use semver::{Version, VersionReq};

/// Times each is repeated; the middle one counts.
const REPEATS: usize = 21;

fn main() {
    let path = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if let Some(path) = path {
        whole(&path);
        return;
    }
    for (packages, bound) in [(50, 5), (500, 50)] {
        let releases = tree(packages);
        let request = wanted("p0");
        let mut times: Vec<_> = (0..REPEATS)
            .map(|_| {
                let start = Instant::now();
                let resolved = black_box(resolve(&releases, &request)).unwrap();
                assert_eq!(resolved.graph.nodes.len(), packages);
                start.elapsed()
            })
            .collect();
        times.sort();
        let middle = times[REPEATS / 2];
        println!("{packages} packages: {middle:?} (at most {bound} ms)");
        assert!(middle <= Duration::from_millis(bound));
    }
    let releases = adversary(12, 400);
    let start = Instant::now();
    let found = resolve(&releases, &wanted("p0"));
    let time = start.elapsed();
    let outcome = match found {
        Ok(_) => "solved",
        Err(Unresolved::Budget(_)) => "given up in order",
        Err(_) => "shown to have no solution",
    };
    println!("12 packages of 400 versions: {outcome} after {time:?} (at most 1 s)");
    assert!(time <= Duration::from_secs(1));
}

fn wanted(name: &str) -> Request {
    Request::new(Root::Wanted(Releases::package(name), VersionReq::STAR))
}

fn add(releases: &mut Releases, at: usize, version: u64, needs: &[(usize, String)]) {
    let needs = needs.iter().map(|(other, requirement)| {
        let name = format!("p{other}");
        let need = Dependency::new(&name, requirement.parse().unwrap());
        (name, need)
    });
    let candidate = Candidate {
        name: format!("p{at}"),
        needs: needs.collect(),
        ..Candidate::default()
    };
    releases.add(candidate, Version::new(1, version, 0), false);
}

/// Packages of 20 versions, each of which needs the next one and four that come later.
fn tree(packages: usize) -> Releases {
    let mut releases = Releases::new(Format::Cargo);
    for at in 0..packages {
        for version in 0..20 {
            let others = [1, 2, 3, 7, 19].map(|step| at + step);
            let needs = others.into_iter().filter(|other| *other < packages);
            let needs: Vec<_> = needs
                .map(|other| (other, format!("^1.{}", version / 2)))
                .collect();
            add(&mut releases, at, version, &needs);
        }
    }
    releases
}

/// Every version of each package needs one of two versions of the next, and the last ones need what is not there.
fn adversary(packages: usize, versions: u64) -> Releases {
    let mut releases = Releases::new(Format::Cargo);
    for at in 0..packages {
        for version in 0..versions {
            let next = (version * 7 + 3) % versions;
            let needs = [
                (at + 1, format!(">=1.0.0, <=1.{next}.0")),
                (
                    (at + 2) % packages.max(3),
                    format!(">=1.{}.0, <2", version / 2),
                ),
            ];
            add(&mut releases, at, version, &needs);
        }
    }
    releases
}

fn whole(path: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut releases = Releases::new(Format::Cargo);
    let read = text
        .lines()
        .filter(|line| releases.add_line(line).is_some())
        .count();
    let mut names: Vec<_> = releases.iter().map(|(name, ..)| name.to_string()).collect();
    names.dedup();
    let start = Instant::now();
    let mut outcomes = [0; 3];
    let mut slowest = (Duration::ZERO, String::new());
    for name in &names {
        let start = Instant::now();
        let outcome = match resolve(&releases, &wanted(name)) {
            Ok(_) => 0,
            Err(Unresolved::Budget(_)) => 2,
            Err(_) => 1,
        };
        outcomes[outcome] += 1;
        slowest = slowest.max((start.elapsed(), name.clone()));
    }
    let [solved, refused, stopped] = outcomes;
    println!(
        "{} packages of {read} releases in {:?}: {solved} solved, {refused} without a solution, {stopped} given up; the slowest is {} with {:?}",
        names.len(),
        start.elapsed(),
        slowest.1,
        slowest.0
    );
}
