//! `market doctor` finds what was broken on purpose, and `market completions` prints scripts.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::place::{Place, Up, ended, eventually, said};

/// What may be set where the tests run, and would be found.
const PROXIES: &[&str] = &[
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
    "no_proxy",
    "NO_PROXY",
];

fn doctor(place: &Place, args: &[&str], set: &[(&str, &str)]) -> Command {
    let mut command = place.market(&[&["doctor"], args].concat());
    for name in PROXIES {
        command.env_remove(name);
    }
    command.envs(set.iter().copied());
    command
}

/// The report of a doctor that ends with this code.
fn report(place: &Place, code: i32, args: &[&str], set: &[(&str, &str)]) -> Value {
    let output = ended(doctor(place, &[args, &["--json"]].concat(), set));
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    assert!(output.stderr.is_empty(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The checks of this name that are not ok.
fn wrong<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let checks = report["checks"].as_array().unwrap();
    let named = checks.iter().filter(|one| one["name"] == name);
    let named: Vec<_> = named.collect();
    assert!(!named.is_empty(), "{name} is not in {report}");
    named
        .into_iter()
        .filter(|one| one["verdict"] != "ok")
        .collect()
}

const ANY_PORT: &[&str] = &["--http", "127.0.0.1:0"];

#[test]
fn a_sound_home_has_no_problem() {
    let place = Place::new();
    let report = report(&place, 0, ANY_PORT, &[]);
    assert_eq!(report["problems"], 0);
    for name in ["home", "key files", "open files", "clock", "proxy", "http"] {
        assert_eq!(wrong(&report, name), Vec::<&Value>::new());
    }
    // It does not run, and its only key has no passphrase and no recovery key.
    for name in ["node", "keys", "recovery"] {
        assert_eq!(wrong(&report, name)[0]["verdict"], "warning", "{name}");
    }
    let output = ended(doctor(&place, ANY_PORT, &[]));
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("-> market up\n"), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with("0 problems, "),
        "{text}"
    );
}

#[test]
fn a_user_without_a_home_is_told_how_to_begin() {
    let place = Place::empty();
    let report = report(&place, 0, ANY_PORT, &[]);
    assert_eq!(wrong(&report, "home")[0]["fix"], "market init");
    assert!(!place.path("home").exists(), "looking changes nothing");
}

#[test]
fn files_that_others_can_read_are_found_and_the_fix_mends_them() {
    let place = Place::new();
    for (path, name) in [
        ("home", "home"),
        ("home/node.key", "key files"),
        ("home/keys", "key files"),
    ] {
        let path = place.path(path);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let found = report(&place, 1, ANY_PORT, &[]);
        let wrong = wrong(&found, name);
        assert_eq!(wrong[0]["verdict"], "problem");
        let fix = wrong[0]["fix"].as_str().unwrap();
        let mut words = fix.split(' ');
        assert_eq!(words.next(), Some("chmod"), "{fix}");
        assert!(
            Command::new("chmod")
                .args(words)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions(), before, "{fix}");
    }
    assert_eq!(report(&place, 0, ANY_PORT, &[])["problems"], 0);
}

#[test]
fn a_port_that_another_program_has_is_a_problem() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let report = report(&place, 1, &["--http", &address], &[]);
    assert_eq!(wrong(&report, "http")[0]["verdict"], "problem");
    assert_eq!(report["problems"], 1);
}

#[test]
fn a_proxy_that_cargo_would_ask_for_this_machine_is_a_problem() {
    let place = Place::new();
    let proxy = ("http_proxy", "http://127.0.0.1:9");
    let found = report(&place, 1, ANY_PORT, &[proxy]);
    assert_eq!(
        wrong(&found, "proxy")[0]["fix"],
        "export no_proxy=127.0.0.1,localhost"
    );
    let spared = report(
        &place,
        0,
        ANY_PORT,
        &[proxy, ("no_proxy", "127.0.0.1,localhost")],
    );
    assert_eq!(wrong(&spared, "proxy"), Vec::<&Value>::new());
}

#[test]
fn a_home_that_does_not_open_is_a_problem() {
    let place = Place::new();
    fs::write(place.path("home/catalogue.redb"), "this is no database").unwrap();
    let report = report(&place, 1, ANY_PORT, &[]);
    assert_eq!(wrong(&report, "node")[0]["verdict"], "problem");
}

#[test]
fn a_running_node_is_asked_how_it_is() {
    let (place, other) = (Place::new(), Place::new());
    let up = Up::start(&place, &[]);
    let alone = report(&place, 0, &[], &[]);
    assert_eq!(wrong(&alone, "node"), Vec::<&Value>::new());
    assert_eq!(wrong(&alone, "http"), Vec::<&Value>::new());
    assert_eq!(wrong(&alone, "peers")[0]["verdict"], "warning");
    // It took a free port, and others' lock files name the usual one.
    assert_eq!(wrong(&alone, "canonical")[0]["verdict"], "warning");
    let told = wrong(&alone, "canonical")[0]["found"].as_str().unwrap();
    assert!(told.contains("http://127.0.0.1:7878,") && told.contains(up.told("http")));

    let addr = up.told("addr").to_owned();
    let own = ["--canonical", "http://127.0.0.1:9"];
    let up_other = Up::start(
        &other,
        &[&["--bootstrap", addr.as_str()], &own[..]].concat(),
    );
    eventually(
        || other.json(&["status"]),
        |status| status["peers"] == 1 && status["caught_up"]["complete"] == true,
    );
    let found = report(&other, 0, &[], &[]);
    // What it was started with counts, not what is usual.
    let told = wrong(&found, "canonical")[0]["found"].as_str().unwrap();
    assert!(
        told.starts_with("lock files name http://127.0.0.1:9"),
        "{told}"
    );
    for name in ["peers", "caught up"] {
        assert_eq!(wrong(&found, name), Vec::<&Value>::new());
    }
    assert_eq!(up.stop(), Some(0));
    // Whom it knows is gone: that is a problem, and not one of its own making.
    eventually(|| other.json(&["status"]), |status| status["peers"] == 0);
    let lonely = report(&other, 1, &[], &[]);
    assert_eq!(wrong(&lonely, "peers")[0]["verdict"], "problem");
    assert_eq!(up_other.stop(), Some(0));
}

#[test]
fn there_are_completions_for_every_shell() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = place.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["market", "doctor", "publish"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            bash.stdin
                .take()
                .unwrap()
                .write_all(script.as_bytes())
                .unwrap();
            assert!(bash.wait().unwrap().success(), "bash cannot read it");
        }
    }
    let unknown = place.run(&["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
}
