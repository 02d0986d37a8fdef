//! What we depend on: under licences that fit ours, and not in versions known to be dangerous.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use semver::Version;
use serde_json::Value;

/// Licences under which a dependency may be, alone or as one side of an `OR`.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-DFS-2016",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The oldest version of a crate that is free of a known defect, and the defect.
const OLDEST: &[(&str, &str, &str)] = &[
    (
        "libp2p-gossipsub",
        "0.50.1",
        "remote crash and unbounded topics",
    ),
    (
        "tar",
        "0.4.45",
        "a link and a directory entry change modes outside",
    ),
    (
        "tracing-subscriber",
        "0.3.20",
        "terminal sequences in logged text",
    ),
];

/// Crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "a second TLS library, in C"),
    (
        "aws-lc-sys",
        "a second cryptography library beside ring, in C",
    ),
    (
        "tokio-tar",
        "unmaintained; loses its place on extended headers",
    ),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let failure = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{failure}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that the lock file may bring in on this platform, more than is ever built.
fn packages() -> Vec<Value> {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.unwrap();
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--offline",
        "--filter-platform",
        host,
    ];
    let metadata: Value = serde_json::from_str(&cargo(&arguments)).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Name and version of everything that is built, for the program or for its tests.
fn built() -> Vec<(String, Version)> {
    let arguments = [
        "tree",
        "--workspace",
        "--all-features",
        "--locked",
        "--offline",
        "--prefix=none",
    ];
    let tree = cargo(&arguments);
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.parse().ok()?))
    };
    let mut built: Vec<_> = tree.lines().filter_map(package).collect();
    built.sort();
    built.dedup();
    built
}

/// Whether one can comply with an SPDX expression (and with the old `A/B` for `A OR B`) by allowed licences only.
fn complies(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|one| ALLOWED.contains(&one.trim())))
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

#[test]
fn every_dependency_has_a_licence_that_fits() {
    let mut offences = Vec::new();
    for package in packages() {
        if !complies(text(&package, "license")) {
            offences.push(format!(
                "{}: {}",
                text(&package, "name"),
                package["license"]
            ));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn nothing_dangerous_is_built() {
    let mut offences = Vec::new();
    let built = built();
    assert!(
        built.len() > 200,
        "only {} packages were listed",
        built.len()
    );
    for (name, version) in &built {
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            offences.push(format!("{name}: {why}"));
        }
        for (_, oldest, why) in OLDEST.iter().filter(|(known, ..)| known == name) {
            if *version < oldest.parse().unwrap() {
                offences.push(format!("{name} {version} is older than {oldest}: {why}"));
            }
        }
    }
    for (known, ..) in OLDEST {
        if !built.iter().any(|(name, _)| name == known) {
            offences.push(format!(
                "{known} is not used any more: take it off the list"
            ));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for fits in [
        "MIT OR GPL-3.0",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
    ] {
        assert!(complies(fits), "{fits}");
    }
    for unfit in ["", "GPL-3.0", "MIT AND GPL-3.0"] {
        assert!(!complies(unfit), "{unfit}");
    }
}
