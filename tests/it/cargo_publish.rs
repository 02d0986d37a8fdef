//! The user's own cargo publishes to a node of its own, yanks there, and changes owners.

mod batch;
mod elsewhere;
mod provider;
mod tokens;

use std::path::PathBuf;

use serde_json::Value;

use crate::cargo_client::{CargoHome, told};
use crate::place::{Place, Up, ended};

/// A node with a key, and a cargo that is set up for it as the command says.
struct Publisher {
    place: Place,
    up: Up,
    cargo: CargoHome,
}

impl Publisher {
    /// One whose cargo signs with the key of the home.
    fn signing() -> Self {
        let place = Place::new();
        let up = Up::start(&place, &[]);
        let publisher = Self {
            place,
            up,
            cargo: CargoHome::new(),
        };
        publisher.configure(&["--credential-provider", "--name", "own"]);
        publisher
    }

    fn configure(&self, args: &[&str]) {
        let file = self.cargo.path("cargo-home/config.toml");
        let write = format!("--write={}", file.display());
        let done = self.place.json(&[&["cargo-config", &write], args].concat());
        assert_eq!(done["changed"], true, "{done}");
    }

    fn owner(&self) -> String {
        let status = self.place.json(&["status"]);
        status["owner"].as_str().unwrap().to_owned()
    }

    /// A library, its manifest's end and its code.
    fn library(&self, name: &str, version: &str, more: &str, code: &str) -> PathBuf {
        let path = crate::cargo_client::library(&self.place, name, version, more, code);
        PathBuf::from(path)
    }

    /// Publishes what lies in a directory.
    fn publish(&self, dir: &std::path::Path, args: &[&str]) {
        let fixed = ["publish", "--registry", "own-local"];
        self.cargo.run(dir, &[&fixed, args].concat());
    }

    /// What cargo says when it cannot.
    fn refused(&self, dir: &std::path::Path) -> String {
        let args = ["publish", "--registry", "own-local", "--no-verify"];
        self.cargo.refused(dir, &args)
    }

    fn info(&self, name: &str) -> Value {
        self.place.json(&["info", name])
    }
}

#[test]
fn a_crate_is_published_and_can_be_used_at_once() {
    let publisher = Publisher::signing();
    let dir = publisher.library("parser", "1.2.3", "", "pub fn answer() -> u32 { 42 }");
    publisher.publish(&dir, &["--dry-run"]);
    assert_eq!(publisher.place.json(&["status"])["records"], 0);

    publisher.publish(&dir, &[]);
    let info = publisher.info("parser");
    assert_eq!(info["owner"], publisher.owner());
    assert_eq!(info["versions"][0]["version"], "1.2.3");
    assert_eq!(info["description"], "A library of the tests");

    let needs = "parser = { version = \"1\", registry = \"own\" }\n";
    let main = "fn main() { assert_eq!(parser::answer(), 42); }";
    let project = publisher.cargo.project("app", needs, main);
    publisher.cargo.run(&project, &["run"]);
    let lock = std::fs::read_to_string(project.join("Cargo.lock")).unwrap();
    let canonical = crate::cargo_client::index(&publisher.owner());
    assert!(
        lock.contains(&format!("source = \"{canonical}\"")),
        "{lock}"
    );

    let again = publisher.refused(&dir);
    assert!(again.contains("parser@1.2.3 already exists"), "{again}");
    assert_eq!(publisher.up.stop(), Some(0));
}

#[test]
fn a_workspace_is_published_in_order_and_its_dependencies_are_bound_to_their_owner() {
    let publisher = Publisher::signing();
    let root = publisher.place.path("workspace");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nresolver = \"2\"\nmembers = [\"upper\", \"lower\"]\n",
    )
    .unwrap();
    let member = |name: &str, more: &str, code: &str| {
        let dir = root.join(name);
        std::fs::create_dir_all(dir.join("src")).unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\n\
             description = \"A member\"\n{more}"
        );
        std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(dir.join("src/lib.rs"), code).unwrap();
    };
    member(
        "lower",
        "[features]\nfast = []\n",
        "pub fn one() -> u32 { 1 }",
    );
    member(
        "upper",
        "[features]\ndefault = [\"speed\"]\nspeed = [\"dep:base\", \"base?/fast\"]\n\
         [target.'cfg(unix)'.dependencies.base]\npackage = \"lower\"\npath = \"../lower\"\n\
         version = \"0.1\"\nregistry = \"own\"\noptional = true\n\
         [dev-dependencies.lower]\npath = \"../lower\"\n",
        "#[cfg(feature = \"speed\")] pub fn one() -> u32 { base::one() }",
    );
    publisher.publish(&root, &["--workspace"]);
    let info = publisher.info("upper");
    let needed = &info["versions"][0]["dependencies"]["base"][0];
    assert_eq!(needed["source"]["owner"], publisher.owner(), "{info}");
    assert_eq!(needed["name"], "lower");

    let needs = "upper = { version = \"0.1\", registry = \"own\" }\n";
    let main = "fn main() { assert_eq!(upper::one(), 1); }";
    let project = publisher.cargo.project("app", needs, main);
    publisher.cargo.run(&project, &["run"]);
}

#[test]
fn a_version_is_yanked_and_that_is_taken_back() {
    let publisher = Publisher::signing();
    let dir = publisher.library("parser", "1.0.0", "", "");
    publisher.publish(&dir, &["--no-verify"]);
    let yanked = || publisher.info("parser")["versions"][0]["yanked"].clone();
    let yank = |args: &[&str]| {
        let fixed = ["yank", "parser@1.0.0", "--registry", "own-local"];
        publisher.cargo.run(&dir, &[&fixed, args].concat());
    };
    // Twice, for whoever tries again must not fail.
    for _ in 0..2 {
        yank(&[]);
        assert_eq!(yanked(), true);
    }
    let needs = "parser = { version = \"1\", registry = \"own\" }\n";
    let project = publisher.cargo.project("app", needs, "fn main() {}");
    publisher.cargo.refused(&project, &["generate-lockfile"]);
    for _ in 0..2 {
        yank(&["--undo"]);
        assert_eq!(yanked(), false);
    }
    publisher.cargo.run(&project, &["generate-lockfile"]);

    let args = ["yank", "parser@9.0.0", "--registry", "own-local"];
    let said = publisher.cargo.refused(&dir, &args);
    assert!(
        said.contains("parser@9.0.0 is not in this node's catalogue"),
        "{said}"
    );
}

#[test]
fn what_may_not_be_published_is_refused_with_its_reason() {
    let publisher = Publisher::signing();
    let first = publisher.library("my-parser", "1.0.0", "", "");
    publisher.publish(&first, &["--no-verify"]);
    // One package in two spellings.
    let other = publisher.library("my_parser", "1.1.0", "", "");
    let said = publisher.refused(&other);
    assert!(
        said.contains("`my_parser` is published as `my-parser`"),
        "{said}"
    );
    // The same version but for its build metadata.
    let other = publisher.library("my-parser", "1.0.0+again", "", "");
    let said = publisher.refused(&other);
    assert!(said.contains("my-parser@1.0.0"), "{said}");
    // An address that only this machine knows would be baked into the archive.
    let needs = "[dependencies]\nmy-parser = { version = \"1\", registry = \"own-local\" }\n";
    let local = publisher.library("upper", "1.0.0", needs, "");
    let said = publisher.refused(&local);
    assert!(said.contains("only this machine can reach"), "{said}");
    assert!(
        said.contains(&crate::cargo_client::index(&publisher.owner())),
        "{said}"
    );
    assert_eq!(publisher.place.json(&["status"])["versions"], 1);
}

#[test]
fn owners_are_listed_and_a_provider_changes_none() {
    let publisher = Publisher::signing();
    let dir = publisher.library("parser", "1.0.0", "", "");
    publisher.publish(&dir, &["--no-verify"]);
    let owner = |args: &[&str]| {
        let fixed = ["owner", "--registry", "own-local"];
        let args = [&fixed[..], args, &["parser"]].concat();
        ended(publisher.cargo.cargo(&dir, &args))
    };
    let keys = publisher.place.json(&["key", "list"]);
    let key = keys[0]["public"].as_str().unwrap().to_owned();
    let listed = owner(&["--list"]);
    let text = String::from_utf8(listed.stdout.clone()).unwrap();
    assert_eq!(text, format!("{key} (root)\n"), "{}", told(&listed));
    let added = owner(&["--add", &key]);
    assert!(!added.status.success());
    let said = told(&added);
    assert!(said.contains("market owner add KEY --scope NAME"), "{said}");
}
