//! What else cargo does with a registry: search, info, add, vendor, install, and packages of many bytes.

use std::fs;
use std::process::Command;

use super::{CargoHome, Pair, index, library};
use crate::place::{ended, eventually};

#[test]
fn every_reading_command_of_cargo_works_on_another_node() {
    let pair = Pair::new();
    let place = &pair.publisher;
    let leaf = library(place, "leaf", "1.2.0", "", "pub fn leaf() -> u32 { 42 }");
    let needs = format!(
        "[dependencies]\nleaf = {{ version = \"1\", registry-index = \"{}\" }}\n",
        index(&pair.owner)
    );
    let tool = library(place, "tell-leaf", "0.1.0", &needs, "");
    let main = "fn main() { println!(\"{}\", leaf::leaf()); }";
    fs::write(format!("{tool}/src/main.rs"), main).unwrap();
    pair.publish(&[&leaf, &tool]);
    let cargo = pair.cargo();
    let project = cargo.project("app", "", "fn main() { println!(\"{}\", leaf::leaf()); }");

    // Searching goes to the node itself: it is asked by its own name.
    let search = ["search", "--registry", "acme-local", "leaf"];
    let found = eventually(
        || cargo.run(&project, &search),
        |found| found.lines().count() == 2,
    );
    assert!(found.contains("leaf = \"1.2.0\""), "{found}");
    assert!(found.contains("# A library of the tests"), "{found}");
    let info = cargo.run(&project, &["info", "--registry", "acme", "leaf"]);
    assert!(
        info.contains("version: 1.2.0") && info.contains("license: MIT"),
        "{info}"
    );

    cargo.run(&project, &["add", "--registry", "acme", "leaf@1"]);
    cargo.run(&project, &["fetch"]);
    cargo.run(&project, &["build", "--locked", "--offline", "--quiet"]);

    let root = cargo.path("installed");
    let install = [
        "install",
        "--quiet",
        "--registry",
        "acme",
        "--root",
        root.to_str().unwrap(),
        "tell-leaf",
    ];
    cargo.run(&project, &install);
    let told = ended(Command::new(root.join("bin/tell-leaf")));
    assert_eq!(told.stdout, b"42\n");

    // Vendored, it builds where no registry can be reached.
    let vendor = ["vendor", "--locked", "--respect-source-config"];
    let configuration = cargo.run(&project, &vendor);
    let elsewhere = CargoHome::knowing("acme", &pair.owner, "http://127.0.0.1:9");
    fs::create_dir(project.join(".cargo")).unwrap();
    fs::write(project.join(".cargo/config.toml"), configuration).unwrap();
    let told = elsewhere.run(&project, &["run", "--locked", "--quiet"]);
    assert_eq!(told, "42\n");
}

#[test]
fn a_package_of_five_megabytes_arrives_whole() {
    let pair = Pair::new();
    let path = library(
        &pair.publisher,
        "large",
        "1.0.0",
        "",
        "pub static DATA: &[u8] = include_bytes!(\"data\");",
    );
    // Cannot be compressed.
    let data = ggen_marketplace::testing::store::content(7, 5 << 20);
    fs::write(format!("{path}/src/data"), &data).unwrap();
    pair.publish(&[&path]);
    let cargo = pair.cargo();
    let needs = "large = { version = \"1\", registry = \"acme\" }\n";
    let project = cargo.project("app", needs, "fn main() {}");
    cargo.run(&project, &["vendor", "--quiet", "--respect-source-config"]);
    assert_eq!(
        fs::read(project.join("vendor/large/src/data")).unwrap(),
        data
    );
}
