//! Properties of the code itself: who may name what, and how long a file may grow.
//!
//! Reads the source as text, so it needs no parser and runs in milliseconds. Each check
//! reports every offender, not just the first.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines. A file past this has two subjects: split it by subject.
const FILE_LINES_MAX: usize = 600;

/// Everything that may lie at the top of the repository, besides what git and cargo put there.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "docs",
    "examples",
    "fuzz",
    "protocols",
    "simulations",
    "src",
    "tests",
];
const TOP_LEVEL_TOOLS: &[&str] = &[".git", ".gitignore", "Cargo.lock", "target"];

/// The only places that may name a third-party crate. A prefix ending in `/` is a folder.
const OWNERS: &[(&str, &[&str])] = &[
    ("libp2p", &["src/node/swarm.rs", "src/node/swarm/"]),
    (
        "iroh",
        &["src/node/transfer.rs", "src/node/transfer/", "benches/"],
    ),
    ("prometheus_client", &["src/node/swarm/"]),
    (
        "iroh_blobs",
        &[
            "src/store.rs",
            "src/store/",
            "src/node/transfer.rs",
            "src/node/transfer/",
            "benches/",
        ],
    ),
    (
        "redb",
        &["src/db.rs", "src/registry/", "src/replication/", "benches/"],
    ),
    (
        "pubgrub",
        &["src/registry/resolve.rs", "src/registry/resolve/"],
    ),
    ("object_store", &["src/store/s3.rs"]),
    ("tantivy", &["src/search/", "benches/"]),
    ("openraft", &["src/replication/"]),
    ("axum", &["src/gateway.rs", "src/gateway/"]),
    ("blake3", &["protocols/src/hash.rs", "benches/"]),
    ("ciborium", &["protocols/src/cbor.rs"]),
    ("ed25519_dalek", &["src/crypto/"]),
    ("pkcs8", &["src/crypto/"]),
    ("ssh_key", &["src/crypto/"]),
    ("scrypt", &["src/crypto/"]),
    ("pbkdf2", &["src/crypto/"]),
    ("cbc", &["src/crypto/"]),
    ("aes", &["src/crypto/"]),
    ("clap", &["src/bin/", "simulations/"]),
    ("clap_complete", &["src/bin/"]),
    ("tar", &["src/archive/", "tests/it/", "benches/"]),
    ("flate2", &["src/archive/", "tests/it/", "benches/"]),
    ("tokio", &["src/", "tests/", "examples/", "benches/"]),
];

/// Layers of `src/`, lowest first. A file may name its own layer and anything lower.
const LAYERS: &[&[&str]] = &[
    &["archive", "crash", "db"],
    PARTS,
    &["node"],
    &["control", "gateway"],
    &["assemble", "testing"],
];

/// The six traits. `crate::store::PackageStore` is the trait, `crate::store::file` an
/// implementation: only the last layer may name one.
const PARTS: &[&str] = &[
    "registry",
    "store",
    "search",
    "crypto",
    "metrics",
    "replication",
];

const STRICT: &str = "`verify` takes what others refuse: verify_strict";

/// Words that must not occur in code below a path, and why.
const BANNED: &[(&str, &str, &str)] = &[
    ("Instant::now(", "protocols/src/", "time is an input"),
    ("SystemTime::now(", "protocols/src/", "time is an input"),
    ("Utc::now(", "protocols/src/", "time is an input"),
    ("std::fs", "protocols/src/", "no I/O"),
    ("UdpSocket", "protocols/src/", "no I/O"),
    ("TcpStream", "protocols/src/", "no I/O"),
    ("ToSocketAddrs", "protocols/src/", "no I/O"),
    (
        "crate::{",
        "src/",
        "one import a line, so that this test sees it",
    ),
    ("async fn", "protocols/src/", "no runtime"),
    ("sleep(", "tests/", "wait for a condition"),
    ("sleep(", "simulations/", "time is an input"),
    ("#[ignore", "", "a test that does not run is not a test"),
    ("assert!(true", "", "cannot fail"),
    ("todo!(", "", "unfinished"),
    ("unimplemented!(", "", "unfinished"),
    ("unbounded_channel", "", "every queue has a bound"),
    ("verify_batch", "", "it disagrees with single verification"),
    ("::Verifier", "src/crypto/", STRICT),
    (" Verifier", "src/crypto/", STRICT),
    ("{Verifier", "src/crypto/", STRICT),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    for dir in [
        "src",
        "protocols",
        "simulations",
        "tests",
        "examples",
        "benches",
    ] {
        let dir = root().join(dir);
        if dir.is_dir() {
            walk(&dir, &mut paths);
        }
    }
    paths
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .expect("below the root")
                .display()
                .to_string();
            (name, fs::read_to_string(&path).expect("UTF-8 source"))
        })
        .filter(|(name, _)| name != "tests/tidy.rs")
        .collect()
}

fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_start()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

fn report(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_the_layout_names() {
    let entries = fs::read_dir(root()).expect("readable root");
    let names = entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned());
    let known =
        |n: &String| TOP_LEVEL.contains(&n.as_str()) || TOP_LEVEL_TOOLS.contains(&n.as_str());
    report(names.filter(|n| !known(n)).collect());
}

#[test]
fn no_file_has_two_subjects() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{name}: {lines} lines"))
    };
    report(sources().into_iter().filter_map(long).collect());
}

#[test]
fn third_party_crates_are_named_only_by_their_owner() {
    let mut offences = Vec::new();
    for (name, text) in sources() {
        for (line, code) in code(&text) {
            for (krate, owners) in OWNERS {
                let named = code.contains(&format!("{krate}::"))
                    && code
                        .split(|c: char| !c.is_alphanumeric() && c != '_')
                        .any(|w| w == *krate);
                let owned = owners
                    .iter()
                    .any(|o| name == *o || (o.ends_with('/') && name.starts_with(o)));
                if named && !owned {
                    offences.push(format!("{name}:{line}: names {krate}"));
                }
            }
        }
    }
    report(offences);
}

#[test]
fn imports_point_down() {
    let level = |module: &str| LAYERS.iter().position(|l| l.contains(&module));
    let mut offences = Vec::new();
    for (name, text) in sources() {
        let Some(path) = name.strip_prefix("src/") else {
            continue;
        };
        // A unit test needs implementations to try its subject on.
        if path.ends_with("/tests.rs") {
            continue;
        }
        let own = path.split(['/', '.']).next().unwrap_or_default();
        let Some(own_level) = level(own) else {
            continue;
        };
        // A unit test may drive its private part with the models of `testing`.
        if path.ends_with("/tests.rs") {
            continue;
        }
        for (line, code) in code(&text) {
            for (at, _) in code.match_indices("crate::") {
                let mut rest =
                    code[at + "crate::".len()..].split(|c: char| !c.is_alphanumeric() && c != '_');
                let target = rest.next().unwrap_or_default();
                let Some(target_level) = level(target) else {
                    continue;
                };
                let item = code[at..]
                    .trim_start_matches("crate::")
                    .trim_start_matches(target);
                let inside = item
                    .strip_prefix("::")
                    .is_some_and(|i| i.starts_with(char::is_lowercase));
                let foreign = inside && target != own && PARTS.contains(&target);
                let up = target_level > own_level;
                if up || (foreign && own_level + 1 < LAYERS.len()) {
                    offences.push(format!("{name}:{line}: {own} may not name crate::{target}"));
                }
            }
        }
    }
    report(offences);
}

#[test]
fn banned_words_do_not_occur() {
    let mut offences = Vec::new();
    for (name, text) in sources() {
        for (line, code) in code(&text) {
            for (word, below, why) in BANNED {
                if name.starts_with(below) && code.contains(word) {
                    offences.push(format!("{name}:{line}: {word} ({why})"));
                }
            }
        }
    }
    report(offences);
}

#[test]
fn every_integration_test_file_is_run() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).expect("tests/it/main.rs");
    let files = fs::read_dir(root().join("tests/it")).expect("tests/it");
    let stems =
        files.filter_map(|f| Some(f.expect("entry").path().file_stem()?.to_str()?.to_owned()));
    report(
        stems
            .filter(|s| s != "main" && !main.contains(&format!("mod {s};")))
            .collect(),
    );
}

#[test]
fn the_readme_stays_short_and_names_its_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.lines().count() <= 120, "more than 120 lines");
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.contains(command), "`{command}` is missing");
    }
}
