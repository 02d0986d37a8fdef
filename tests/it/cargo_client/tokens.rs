//! A node that tells nothing without a token: cargo with one, and without.

use super::{CargoHome, Pair, library};
use crate::place::{ended, eventually};

#[test]
fn where_reading_needs_a_token_cargo_is_told_so_and_does_everything_with_one() {
    let pair = Pair::with(&["--http", "0.0.0.0:0", "--insecure-lan"]);
    let path = library(
        &pair.publisher,
        "demo",
        "1.0.0",
        "",
        "pub const V: u32 = 7;",
    );
    pair.publish(&[&path]);
    let made = pair.reader.json(&["token", "new", "--scope", "yank"]);
    let token = made["token"].as_str().unwrap();

    // As the node's user is told to set it up.
    let cargo = CargoHome::new();
    let write = format!("--write={}", cargo.path("cargo-home/config.toml").display());
    let set_up = ["cargo-config", &write, "--name", "acme", &pair.owner];
    let warned = pair
        .reader
        .run(&[&set_up[..], &["--credential-provider", "--force"]].concat());
    assert!(
        super::told(&warned).contains("--public-read"),
        "{}",
        super::told(&warned)
    );
    pair.reader.json(&[&set_up[..], &["--force"]].concat());
    let needs = "demo = { version = \"1\", registry = \"acme\" }\n";
    let main = "fn main() { println!(\"{}\", demo::V); }";
    let project = cargo.project("app", needs, main);
    let said = cargo.refused(&project, &["fetch"]);
    assert!(said.contains("no token found for `acme-local`"), "{said}");

    let with = |token: &str, args: &[&str]| {
        let mut command = cargo.cargo(&project, args);
        command.env("CARGO_REGISTRIES_ACME_LOCAL_TOKEN", token);
        ended(command)
    };
    let wrong = format!("market_{}", "0123456789abcdef".repeat(2));
    let output = with(&wrong, &["fetch"]);
    let said = super::told(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("does not know the token"), "{said}");

    for args in [
        &["fetch"][..],
        &["info", "--registry", "acme", "demo"],
        &["add", "--registry", "acme", "demo"],
        &["vendor", "--respect-source-config"],
    ] {
        let output = with(token, args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            super::told(&output)
        );
    }
    let search = ["search", "--registry", "acme-local", "demo"];
    let found = eventually(|| with(token, &search), |found| !found.stdout.is_empty());
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("demo = \"1.0.0\""), "{found}");
    let run = with(token, &["run", "--locked", "--quiet"]);
    assert_eq!(run.stdout, b"7\n", "{}", super::told(&run));
}
