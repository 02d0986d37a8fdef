//! The user's own cargo, run against nodes: it reads what others published.

mod damage;
mod hostile;
mod late;
mod names;
mod raw;
mod reading;
mod tokens;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ggen_marketplace::archive::index::{Canonical, Segment};
use serde_json::Value;
use tempfile::TempDir;

use crate::place::{Place, Up, ended, eventually};

/// Settings of whoever runs the tests that cargo, or what it starts, would follow.
pub(crate) const FOREIGN: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_NET_OFFLINE",
    "CARGO_INCREMENTAL",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "LD_LIBRARY_PATH",
];

/// A cargo of its own: its home, its configuration, and a place for projects. It can reach nothing but loopback:
/// the default registry is replaced by an address at which nobody listens.
pub(crate) struct CargoHome {
    dir: TempDir,
}

impl CargoHome {
    pub(crate) fn new() -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(home.path("cargo-home")).unwrap();
        home.configure(
            "[source.crates-io]\nreplace-with = \"nowhere\"\n\
             [source.nowhere]\nregistry = \"sparse+http://127.0.0.1:9/\"\n\
             [net]\nretry = 3\n[term]\ncolor = \"never\"\n",
        );
        home
    }

    /// A cargo that knows an index as `name`: by its address everywhere, which it reads from a node elsewhere.
    pub(crate) fn knowing(name: &str, segment: &str, http: &str) -> Self {
        let home = Self::new();
        home.know(name, segment, http);
        home
    }

    /// Adds an index that is read from the node at `http`. The replaced source is called as `cargo vendor` calls it,
    /// so that a project with vendored packages replaces it once more.
    pub(crate) fn know(&self, name: &str, segment: &str, http: &str) {
        let canonical = index(segment);
        self.configure(&format!(
            "[registries.{name}]\nindex = \"{canonical}\"\n\
             [registries.{name}-local]\nindex = \"sparse+{http}/cargo/{segment}/\"\n\
             [source.\"{canonical}\"]\nregistry = \"{canonical}\"\nreplace-with = \"{name}-local\"\n",
        ));
    }

    /// Adds to the configuration.
    pub(crate) fn configure(&self, text: &str) {
        let path = self.path("cargo-home/config.toml");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, before + text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A cargo command in a directory.
    pub(crate) fn cargo(&self, directory: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.args(args).current_dir(directory);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .env("CARGO_HOME", self.path("cargo-home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs cargo to its end, which must be a good one. Returns what it printed.
    pub(crate) fn run(&self, directory: &Path, args: &[&str]) -> String {
        let output = ended(self.cargo(directory, args));
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs cargo, which must refuse. Returns what it says.
    pub(crate) fn refused(&self, directory: &Path, args: &[&str]) -> String {
        let output = ended(self.cargo(directory, args));
        assert!(!output.status.success(), "{args:?}: {}", told(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    /// A program that needs these packages.
    pub(crate) fn project(&self, name: &str, dependencies: &str, main: &str) -> PathBuf {
        let dir = self.path(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [workspace]\n[dependencies]\n{dependencies}"
        );
        write(&dir, &manifest, "src/main.rs", main);
        dir
    }
}

/// The address of an index, as everybody writes it.
pub(crate) fn index(segment: &str) -> String {
    Canonical::default().index(&segment.parse::<Segment>().unwrap())
}

pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(dir: &Path, manifest: &str, file: &str, code: &str) {
    let file = dir.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(file, code).unwrap();
}

/// A library in a directory of `place`: its manifest, from the version on, and its code.
pub(crate) fn library(place: &Place, name: &str, version: &str, more: &str, code: &str) -> String {
    let dir = place.path(&format!("{name}-{version}"));
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n\
         description = \"A library of the tests\"\nlicense = \"MIT\"\n{more}"
    );
    write(&dir, &manifest, "src/lib.rs", code);
    dir.to_str().unwrap().to_owned()
}

/// Two nodes: one where packages are published, and one that learns of them.
pub(crate) struct Pair {
    pub(crate) publisher: Place,
    pub(crate) reader: Place,
    pub(crate) on_publisher: Up,
    pub(crate) on_reader: Up,
    /// The owner of what is published.
    pub(crate) owner: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same, the reader's node started with these arguments besides.
    pub(crate) fn with(args: &[&str]) -> Self {
        let (publisher, reader) = (Place::new(), Place::new());
        let on_publisher = Up::start(&publisher, &[]);
        let bootstrap = ["--bootstrap", on_publisher.told("addr")];
        let on_reader = Up::start(&reader, &[&bootstrap, args].concat());
        let owner = publisher.json(&["status"])["owner"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            publisher,
            reader,
            on_publisher,
            on_reader,
            owner,
        }
    }

    /// Publishes these directories, and waits until the reader knows of them.
    pub(crate) fn publish(&self, paths: &[&str]) {
        let report = self.publisher.json(&[&["publish"], paths].concat());
        assert_eq!(report["published"], paths.len(), "{report}");
        self.meet();
    }

    /// Waits until both know the same.
    pub(crate) fn meet(&self) {
        let root = |place: &Place| -> Value { place.json(&["status"])["root"].clone() };
        let roots = || [root(&self.publisher), root(&self.reader)];
        eventually(roots, |[theirs, ours]| theirs == ours);
    }

    /// A cargo that reads the publisher's packages from the reader's node, as `acme`.
    pub(crate) fn cargo(&self) -> CargoHome {
        CargoHome::knowing("acme", &self.owner, self.on_reader.told("http"))
    }
}
