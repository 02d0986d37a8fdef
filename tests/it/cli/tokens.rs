//! Tokens by the command: made once, told of without themselves, ended at once; and where none of them is found.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::keys::mode;
use crate::place::{DEADLINE, Place, Up, ended, one_error, said};

const ALL: [&str; 8] = [
    "--scope",
    "publish-new",
    "--scope",
    "publish-update",
    "--scope",
    "yank",
    "--scope",
    "change-owners",
];

/// Asks for a change that no page takes; who may change something is told so (405).
fn change(http: &str, headers: &str) -> u16 {
    let address = http.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("PUT /api/v1/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    stream
        .write_all(format!("{head}{headers}\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_token_is_made_listed_used_and_ended() {
    let place = Place::new();
    assert_eq!(place.json(&["token", "list"]), serde_json::json!([]));
    // One that was made before the node ran is as good.
    let args = [
        "token", "new", "--name", "My_App*", "--name", "other", "--label", "ci", "--days", "7",
    ];
    let made = place.json(&[&args, &ALL[..]].concat());
    let up = Up::start(&place, &[]);
    let second = place.json(&["token", "new", "--scope", "yank"]);
    let token = made["token"].as_str().unwrap();
    let header = format!("Authorization: {token}\r\n");
    assert_eq!(change(up.told("http"), &header), 405);
    assert_eq!(change(up.told("http"), ""), 401);

    let listed = place.json(&["token", "list"]);
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [&made["id"], &second["id"]]);
    let first = &listed[0];
    for (name, value) in [
        ("label", serde_json::json!("ci")),
        ("names", serde_json::json!(["my-app*", "other"])),
        (
            "scopes",
            serde_json::json!(["publish-new", "publish-update", "yank", "change-owners"]),
        ),
        ("state", serde_json::json!("good")),
        ("key", place.json(&["key", "list"])[0]["public"].clone()),
        ("owner", place.json(&["status"])["owner"].clone()),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert!(first["used"].is_string() && listed[1]["used"].is_null());
    assert!(first.get("token").is_none());
    let told = place.run(&["token", "list"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.lines().nth(1).unwrap().contains("my-app*,other"),
        "{told}"
    );

    let id = made["id"].as_str().unwrap();
    let revoked = place.json(&["token", "revoke", id]);
    assert!(revoked["revoked"].is_string());
    assert_eq!(change(up.told("http"), &header), 403);
    assert_eq!(place.json(&["token", "revoke", token]), revoked);
    assert_eq!(place.json(&["token", "list"])[0]["state"], "revoked");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_token_in_a_file_is_there_alone_and_for_its_user_alone() {
    let place = Place::new();
    let path = place.path("ci.token");
    let file = path.to_str().unwrap();
    let args = ["token", "new", "--scope", "yank", "--output", file];
    let made = place.json(&args);
    assert!(made.get("token").is_none());
    let token = fs::read_to_string(&path).unwrap();
    assert!(token.starts_with("market_") && token.len() == 40, "{token}");
    assert_eq!(mode(&path), 0o600);
    // A file that is there may be open to others: it is not written to.
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        let path = place.path(name);
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let file = path.to_str().unwrap();
        let output = place.run(&["token", "new", "--scope", "yank", "--output", file]);
        assert_eq!(output.status.code(), Some(1));
        let error = one_error(&output);
        assert!(error.contains("does not exist"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"before");
    }
    // A dangling link is no place either.
    let link = place.path("link");
    std::os::unix::fs::symlink(place.path("elsewhere"), &link).unwrap();
    let args = [
        "token",
        "new",
        "--scope",
        "yank",
        "--output",
        link.to_str().unwrap(),
    ];
    assert_eq!(place.run(&args).status.code(), Some(1));
    assert!(!place.path("elsewhere").exists());
    // What the node refuses leaves no file behind.
    let none = place.path("none");
    let args = [
        "token",
        "new",
        "--scope",
        "yank",
        "--days",
        "367",
        "--output",
        none.to_str().unwrap(),
    ];
    assert!(place.refused(1, &args).contains("1 to 366 days"));
    assert!(!none.exists());
    assert_eq!(place.json(&["token", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn wrong_use_is_told_and_no_secret_with_it() {
    let place = Place::new();
    for (args, why) in [
        (
            &["token", "new", "--scope", "everything"][..],
            "publish-new, publish-update, yank, change-owners",
        ),
        (
            &["token", "new", "--scope", "yank", "--name", "a b"],
            "only letters",
        ),
        (&["token", "new", "--scope", "yank", "--days", "x"], "'x'"),
    ] {
        let error = place.refused(2, args);
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(place.run(&["token", "new"]).status.code(), Some(2));
    let error = place.refused(
        2,
        &["token", "revoke", "market_secretsecretsecretsecretsecret"],
    );
    assert!(
        error.contains("market token list") && !error.contains("secretsecret"),
        "{error}"
    );
    let error = place.refused(1, &["token", "revoke", "Ab3dE6gH"]);
    assert!(error.contains("there is no token Ab3dE6gH"), "{error}");
    let error = place.refused(1, &["token", "new", "--scope", "yank", "--key", "other"]);
    assert!(error.contains("market key list"), "{error}");
}

#[test]
fn options_of_http_are_checked_before_anything_starts() {
    let place = Place::new();
    for (args, why) in [
        (&["up", "--upload-limit", "101MiB"][..], "100MiB"),
        (&["up", "--upload-limit", "0"], "100MiB"),
        (&["up", "--http-name", "http://x"], "packages.example"),
        (
            &["up", "--no-mdns", "--http", "0.0.0.0:0"],
            "--insecure-lan",
        ),
    ] {
        let error = place.refused(2, args);
        assert!(error.contains(why), "{error}");
    }
    let output = place.run(&["up", "--public-read"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--insecure-lan"));
}

/// All bytes of the files below a folder.
fn contents(dir: &Path, all: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            contents(&path, all);
        } else if path.is_file() {
            all.extend(fs::read(&path).unwrap());
        }
    }
}

#[test]
fn no_token_is_found_in_logs_answers_or_files() {
    let place = Place::new();
    let log = place.path("log");
    let mut command = place.market(&[
        "up",
        "--http",
        "127.0.0.1:0",
        "--blobs",
        "127.0.0.1:0",
        "--no-mdns",
    ]);
    command
        .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
        .env(
            "MARKET_LOG",
            "trace,iroh=info,iroh_quinn=info,noq=info,netwatch=info",
        )
        .stderr(File::create(&log).unwrap())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    stdout.read_line(&mut ready).unwrap();
    let http = ready
        .split(' ')
        .find_map(|word| word.strip_prefix("http="))
        .unwrap();

    let mut new = place.market(&[&["--json", "token", "new"], &ALL[..]].concat());
    new.env("MARKET_LOG", "trace");
    let made = ended(new);
    let made_log = said(&made);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let good = made["token"].as_str().unwrap().to_owned();
    let wrong = format!("market_{}", "wRoNg0pQ".repeat(4));
    let offer = format!("offer.{}", "oFfEr1pQ".repeat(4));
    for value in [
        &good,
        &format!("Bearer {good}"),
        &wrong,
        &offer,
        &format!("{good}x"),
    ] {
        change(http, &format!("Authorization: {value}\r\n"));
    }
    let revoked = place.run(&["token", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(change(http, &format!("Authorization: {good}\r\n")), 403);
    let listed = place.run(&["--json", "token", "list"]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());

    let mut all = fs::read(&log).unwrap();
    assert!(String::from_utf8_lossy(&all).contains("a credential was refused"));
    all.extend(made_log.bytes());
    for output in [revoked, listed] {
        all.extend(output.stdout);
        all.extend(output.stderr);
    }
    contents(&place.path("home"), &mut all);
    // The id of a token is no secret; what follows it is.
    let secrets = [&good[15..], &wrong[7..], &offer[6..]];
    for secret in secrets {
        let (start, end) = secret.as_bytes().split_at(secret.len() / 2);
        for part in [start, end] {
            let found = all.windows(part.len()).any(|window| window == part);
            assert!(!found, "a part of a token was found");
        }
    }
}
