//! Real packages through real processes: published on one node, mirrored by a second, found and fetched on a
//! third that never met the first.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::files::cached_crates;
use crate::place::{DEADLINE, Place, Up, eventually, said};

/// How many of cargo's cached crates the gate publishes; `MARKET_TEST_CRATES=all` takes every one.
const CRATES: usize = 200;
/// How many of them are fetched and compared byte by byte.
const FETCHED: usize = 50;
/// What two nodes that have the same have in common.
const SAME: [&str; 4] = ["root", "records", "packages", "versions"];
/// What a mirror has in common with what it mirrors besides.
const MIRRORED: [&str; 6] = [
    "root",
    "records",
    "packages",
    "versions",
    "blobs",
    "blob_bytes",
];

fn crates() -> Vec<PathBuf> {
    let wanted = std::env::var("MARKET_TEST_CRATES");
    let all = cached_crates();
    if wanted.is_ok_and(|wanted| wanted == "all") {
        return all;
    }
    let step = all.len() / CRATES;
    all.into_iter().step_by(step.max(1)).take(CRATES).collect()
}

fn fields(status: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| status[name].clone()).collect()
}

#[test]
fn hundreds_of_real_crates_reach_a_node_that_never_met_their_publisher() {
    let (alice, bob, carol) = (Place::new(), Place::new(), Place::new());
    let a = Up::start(&alice, &[]);
    let b = Up::start(&bob, &["--bootstrap", a.told("addr"), "--mirror", "all"]);
    let crates = crates();

    let mut publish = alice.market(&["publish", "--json"]);
    let output = publish.args(&crates).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let published = report["packages"].as_array().unwrap();
    assert_eq!(report["published"], crates.len());

    let wanted = alice.json(&["status"]);
    assert_eq!(wanted["records"], crates.len());
    let status = |place: &Place, names| fields(&place.json(&["status"]), names);
    eventually(
        || status(&bob, &MIRRORED),
        |now| *now == fields(&wanted, &MIRRORED),
    );
    assert_eq!(a.stop(), Some(0));

    let c = Up::start(&carol, &["--bootstrap", b.told("addr")]);
    eventually(
        || status(&carol, &SAME),
        |now| *now == fields(&wanted, &SAME),
    );
    every_name_is_found(&c, published);
    let step = (crates.len() / FETCHED).max(1);
    let chosen: Vec<_> = published
        .iter()
        .zip(&crates)
        .step_by(step)
        .take(FETCHED)
        .collect();
    assert_eq!(chosen.len(), FETCHED);
    for (package, path) in chosen {
        let package = package["package"].as_str().unwrap();
        let file = carol.path("fetched");
        carol.json(&[
            "fetch",
            package,
            "--force",
            "--output",
            file.to_str().unwrap(),
        ]);
        assert!(
            fs::read(&file).unwrap() == fs::read(path).unwrap(),
            "{package} differs"
        );
    }
    for place in [&bob, &carol] {
        assert_eq!(place.json(&["verify"])["findings"], serde_json::json!([]));
    }
}

fn every_name_is_found(node: &Up, published: &[Value]) {
    for package in published {
        let package = package["package"].as_str().unwrap();
        let name = package.split('@').next().unwrap();
        let path = format!("/api/v1/search?q={name}&limit=5");
        // The index follows the catalogue a moment later, and finds what is like it meanwhile.
        let is_found = |page: &Value| {
            let hits = page["hits"].as_array().unwrap();
            hits.iter().any(|hit| hit["name"] == name)
        };
        eventually(|| get(node.told("http"), &path), is_found);
    }
}

/// The JSON that a node answers a GET with.
fn get(base: &str, path: &str) -> Value {
    let host = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
