//! The command, run as users run it: what it says and how it ends.

mod caught_up;
mod describing;
mod doctor;
mod keys;
mod names;
mod owners;
pub(crate) mod terminal;
mod tokens;
mod trust;
mod wrong_use;

use std::fs;
use std::io::{Read, Write};

use serde_json::Value;

use crate::place::{Place, Up, ended, eventually, names, one_error, said};

#[test]
fn what_is_published_offline_is_found_described_fetched_and_verified() {
    let place = Place::new();
    let package = place.package("parser", "1.2.3", "pub fn parse() {}");
    let report = place.json(&["publish", &package]);
    assert_eq!(report["published"], 1);
    assert_eq!(report["packages"][0]["package"], "parser@1.2.3");
    let owner = report["packages"][0]["owner"].as_str().unwrap();

    let found = place.json(&["search", "parser"]);
    assert_eq!(found["total"], 1);
    let hit = &found["hits"][0];
    assert_eq!(hit["name"], "parser");
    assert_eq!(hit["version"], "1.2.3");
    assert_eq!(hit["owner"], owner);
    assert_eq!(hit["namespace"], owner);
    assert_eq!(hit["description"], "A package of the tests");
    assert!(hit["score"].is_number());

    let info = place.json(&["info", "parser"]);
    assert_eq!(info["versions"][0]["yanked"], false);
    assert_eq!(info["owner"], owner);

    let file = place.path("out.crate");
    let file = file.to_str().unwrap();
    let fetched = place.json(&["fetch", "parser@^1", "--output", file]);
    let blake3 = ggen_marketplace::protocols::hash::ContentHash::blake3(fs::read(file).unwrap());
    assert_eq!(fetched["blake3"], blake3.to_string());
    assert_eq!(report["packages"][0]["blake3"], blake3.to_string());

    let verified = place.json(&["verify"]);
    assert_eq!(verified["findings"], serde_json::json!([]));
    assert_eq!(verified["blobs"], 1);

    let status = place.json(&["status"]);
    for (name, value) in [
        ("records", 1),
        ("packages", 1),
        ("versions", 1),
        ("blobs", 1),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    assert_eq!(status["owner"], owner);
    assert!(status["http"].is_null());
    assert!(status["root"].is_string() && status["blob_bytes"].as_u64() > Some(0));
}

#[test]
fn a_running_node_answers_the_same_commands() {
    let place = Place::new();
    let up = Up::start(&place, &[]);
    let package = place.package("parser", "1.2.3", "pub fn parse() {}");
    assert_eq!(place.json(&["publish", &package])["published"], 1);
    eventually(
        || place.json(&["search", "parser"]),
        |found| found["total"] == 1,
    );
    let status = place.json(&["status"]);
    assert_eq!(status["http"], up.told("http"));
    assert_eq!(status["peer"], up.told("peer"));
    assert!(
        up.told("addr")
            .ends_with(&format!("/p2p/{}", up.told("peer")))
    );
    assert_eq!(place.json(&["peers"]), serde_json::json!([]));
    assert_eq!(place.json(&["verify"])["findings"], serde_json::json!([]));
    assert_eq!(up.stop(), Some(0));
    assert_eq!(place.json(&["search", "parser"])["total"], 1);
}

#[test]
fn a_package_goes_from_one_node_to_another() {
    let (a, b) = (Place::new(), Place::new());
    let on_a = Up::start(&a, &[]);
    let _on_b = Up::start(&b, &["--bootstrap", on_a.told("addr")]);
    a.json(&[
        "publish",
        &a.package("parser", "1.2.3", "pub fn parse() {}"),
    ]);
    eventually(
        || b.json(&["search", "parser"]),
        |found| found["total"] == 1,
    );
    let file = b.path("out.crate");
    let fetched = b.json(&["fetch", "parser", "--output", file.to_str().unwrap()]);
    assert_eq!(fetched["local"], false);
    let peer = on_a.told("peer");
    assert_eq!(fetched["providers"][peer], fetched["size"]);
    assert_eq!(fetched["size"], fs::metadata(&file).unwrap().len());
}

#[test]
fn a_yanked_version_is_fetched_only_by_its_exact_id_until_it_is_unyanked() {
    let place = Place::new();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let yanked = place.json(&["yank", "parser@1.0.0", "--reason", "broken"]);
    assert!(yanked["record"].is_string());
    assert!(place.json(&["yank", "parser@1.0.0", "--reason", "broken"])["record"].is_null());
    assert_eq!(place.json(&["search", "parser"])["total"], 0);
    let info = place.json(&["info", "parser"]);
    assert_eq!(info["versions"][0]["yanked"], true);
    assert_eq!(info["versions"][0]["note"], "broken");

    let file = place.path("out");
    let file = file.to_str().unwrap();
    place.refused(1, &["fetch", "parser@^1", "--output", file]);
    let exact = place.run(&["fetch", "parser@1.0.0", "--output", file]);
    assert_eq!(exact.status.code(), Some(0));
    assert!(said(&exact).contains("yanked"), "{}", said(&exact));

    place.json(&["unyank", "parser@1.0.0"]);
    assert_eq!(place.json(&["search", "parser"])["total"], 1);
    place.json(&["fetch", "parser@^1", "--output", file, "--force"]);
}

#[test]
fn publishing_goes_on_after_a_package_that_fails_and_counts_them() {
    let place = Place::new();
    let good = place.package("good", "1.0.0", "// 1");
    let bad = place.path("bad.crate");
    fs::write(&bad, "no archive").unwrap();
    let later = place.package("later", "1.0.0", "// 2");
    let args = ["--json", "publish", &good, bad.to_str().unwrap(), &later];
    let output = place.run(&args);
    assert!(one_error(&output).contains("bad.crate"));
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["published"], &report["failed"]),
        (&2.into(), &1.into())
    );
    assert!(report["packages"][1]["error"].is_string());
}

#[test]
fn a_version_is_published_once() {
    let place = Place::new();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let root = place.json(&["status"])["root"].clone();

    let again = place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    assert_eq!(
        (&again["published"], &again["unchanged"]),
        (&0.into(), &1.into())
    );
    assert_eq!(place.json(&["status"])["root"], root);

    let output = place.run(&["publish", &place.package("parser", "1.0.0", "// other")]);
    assert_eq!(output.status.code(), Some(1));
    let error = one_error(&output);
    assert!(
        error.contains("parser@1.0.0") && error.contains("publish a new one"),
        "{error}"
    );
    assert_eq!(place.json(&["status"])["root"], root);
}

#[test]
fn any_file_is_published_under_a_name_and_version() {
    let place = Place::new();
    let file = place.path("data.bin");
    fs::write(&file, [7; 1000]).unwrap();
    let file = file.to_str().unwrap();
    let error = place.refused(2, &["publish", file]);
    assert!(error.contains("--name NAME --version VERSION"), "{error}");
    let named = ["publish", file, "--name", "data", "--version", "0.1.0"];
    assert_eq!(place.json(&named)["packages"][0]["package"], "data@0.1.0");
    let output = place.run(&["fetch", "data", "--output", "-"]);
    assert_eq!(output.stdout, [7; 1000]);
}

#[test]
fn fetching_does_not_overwrite_a_file_and_leaves_no_part() {
    let place = Place::new();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let file = out.join("file");
    fs::write(&file, "mine").unwrap();
    let args = ["fetch", "parser", "--output", file.to_str().unwrap()];
    let error = place.refused(1, &args);
    assert!(error.contains("--force"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    place.refused(
        1,
        &[
            "fetch",
            "nobody",
            "--output",
            out.join("other").to_str().unwrap(),
        ],
    );
    place.json(&[&args[..], &["--force"]].concat());
    assert!(fs::read(&file).unwrap().len() > 4);
    assert_eq!(names(&out), ["file"]);
}

#[test]
fn a_client_that_goes_away_while_it_publishes_leaves_nothing() {
    let place = Place::new();
    let up = Up::start(&place, &[]);
    let mut socket =
        std::os::unix::net::UnixStream::connect(place.path("home/control.sock")).unwrap();
    let frame = |tag: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&[tag], &length[..], payload].concat()
    };
    socket.write_all(&frame(1, b"\"publish\"")).unwrap();
    socket.write_all(&frame(2, b"no envelope")).unwrap();
    // The node may have refused the envelope by now.
    socket.write_all(&frame(2, &[7; 1000])).unwrap_or_default();
    drop(socket);
    // What is no frame at all does not harm either.
    let mut socket =
        std::os::unix::net::UnixStream::connect(place.path("home/control.sock")).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap_or_default();
    assert_eq!(place.json(&["status"])["blobs"], 0);
    assert_eq!(place.json(&["verify"])["findings"], serde_json::json!([]));
    drop(up);
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing() {
    let place = Place::empty();
    let mut command = place.market(&["--json", "demo", "--exit"]);
    command.env("TMPDIR", place.dir.path());
    let output = ended(command);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&measured["records"], &measured["packages"]),
        (&2.into(), &2.into())
    );
    assert!(measured["found_ms"].as_f64() > Some(0.0));
    assert!(names(place.dir.path()).is_empty());
}
