//! Who may publish: keys that are replaced, added, removed, stolen and recovered, with the real command.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{Key, Passphrase, PrivateKey};
use serde_json::Value;

use super::keys::{PASSPHRASE, files, json, locked, mode, plain, text, with_passphrase};
use crate::place::{Place, Up, ended, eventually, one_error, said};

/// Runs a command that reads this text.
fn fed(mut command: Command, text: &str) -> Output {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_rotated_publish_key_leaves_what_it_published_and_the_old_one_stays_root() {
    let (place, made) = plain();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let rotated = place.json(&["key", "rotate"]);
    assert_eq!(rotated["old"], made["public"]);
    assert_eq!(rotated["old_is_root"], true);
    let listed = place.json(&["key", "list"]);
    assert_eq!(listed[0]["public"], rotated["new"]);
    assert_eq!(listed[0]["role"], "publishes *");
    assert_eq!(listed[1]["label"], "identity-root");
    assert_eq!(listed[1]["role"], "root, retired");
    let document = place.json(&["owner", "list"]);
    assert_eq!(document["retired"][0]["key"], made["public"]);
    assert_eq!(document["retired"][0]["last"], rotated["last"]);
    let again = place.json(&["publish", &place.package("parser", "1.1.0", "// 2")]);
    assert_eq!(again["packages"][0]["owner"], made["owner"]);
    assert_eq!(place.json(&["info", "parser"])["versions_total"], 2);
    // The root is found under its new label.
    let next = place.json(&["key", "rotate"]);
    assert_eq!(next["old"], rotated["new"]);
    assert!(
        text(&next["kept"]).ends_with("identity.retired-1.pem"),
        "{next}"
    );
    assert_eq!(place.json(&["info", "parser"])["versions_total"], 2);
}

#[test]
fn a_rotated_root_signs_from_then_on() {
    let (place, made) = locked();
    let rotated = json(&with_passphrase(
        &place,
        &["key", "rotate", "--root", "--json"],
    ));
    assert_eq!(rotated["old_is_root"], false);
    let path = place.path("home/keys/identity.retired-1.pem");
    assert_eq!(text(&rotated["kept"]), path.to_str().unwrap());
    assert_eq!(mode(&path), 0o600);
    let given: Passphrase = PASSPHRASE.parse().unwrap();
    let kept = PrivateKey::open(&path, Some(&given)).unwrap();
    assert_eq!(kept.public().to_string(), text(&made["public"]));
    assert!(PrivateKey::is_locked(&place.path("home/keys/identity.pem")).unwrap());
    let document = place.json(&["owner", "list"]);
    assert_eq!(document["root"], rotated["new"]);
    assert_eq!(document["owner"], made["owner"]);
}

#[test]
fn a_rotation_that_is_cut_off_anywhere_is_finished_by_the_next() {
    for point in ["keys.successor", "keys.told", "keys.kept", "keys.replaced"] {
        let (place, made) = plain();
        place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
        let mut command = place.market(&["key", "rotate", "--root"]);
        command.env("MARKET_CRASH_AT", format!("{point}:1"));
        assert!(!ended(command).status.success(), "{point}");
        let rotated = place.json(&["key", "rotate", "--root"]);
        assert_eq!(rotated["old"], made["public"], "{point}");
        let document = place.json(&["owner", "list"]);
        assert_eq!(document["status"], "active", "{point}");
        assert_eq!(document["root"], rotated["new"], "{point}");
        assert_eq!(
            document["publishers"].as_array().unwrap().len(),
            1,
            "{point}"
        );
        let names: Vec<_> = files(&place).into_iter().map(|(name, _)| name).collect();
        assert!(
            names.contains(&"identity.retired-1.pem".to_owned()),
            "{point}: {names:?}"
        );
        assert!(
            !names
                .iter()
                .any(|name| name.contains("next") || name.contains("retired-2")),
            "{point}: {names:?}"
        );
        place.json(&["publish", &place.package("parser", "1.1.0", "// 2")]);
        assert_eq!(
            place.json(&["info", "parser"])["versions_total"],
            2,
            "{point}"
        );
    }
}

#[test]
fn a_delegate_publishes_what_it_may_until_it_is_removed() {
    let (owner, made) = plain();
    let delegate = Place::empty();
    let id = text(&made["owner"]);
    let key = delegate.json(&["key", "new", "--owner", id, "--plain"]);
    assert_eq!(key["owner"], made["owner"]);
    let up = Up::start(&owner, &[]);
    let there = Up::start(&delegate, &["--bootstrap", up.told("addr")]);
    let added = owner.json(&["owner", "add", text(&key["public"]), "--scope", "parser"]);
    assert_eq!(added["role"], "publishes parser");
    eventually(
        || delegate.json(&["key", "list"]),
        |listed| listed[0]["role"] == "publishes parser",
    );
    delegate.json(&["publish", &delegate.package("parser", "1.0.0", "// 1")]);
    eventually(
        || owner.run(&["info", "parser", "--json"]),
        |output| output.status.success(),
    );
    let removed = owner.json(&["owner", "remove", text(&key["public"])]);
    assert_eq!(removed["role"], "retired");
    assert!(owner.json(&["owner", "remove", text(&key["public"])])["record"].is_null());
    eventually(
        || delegate.json(&["key", "list"]),
        |listed| listed[0]["role"] == "retired",
    );
    assert_eq!(delegate.json(&["info", "parser"])["versions_total"], 1);
    // Only the root can say who publishes.
    let error = delegate.refused(1, &["owner", "add", text(&made["public"]), "--all"]);
    assert!(error.contains("root key"), "{error}");
    drop(there);
}

#[test]
fn a_stolen_key_is_retired_at_its_last_good_record_or_altogether() {
    let (place, _) = plain();
    let key = place.json(&["key", "new", "--label", "ci", "--plain"]);
    let public = text(&key["public"]);
    place.json(&["owner", "add", public, "--all"]);
    let publish = |version: &str| {
        let package = place.package("parser", version, "// 1");
        let done = place.json(&["publish", &package, "--key", "ci"]);
        text(&done["packages"][0]["record"]).to_owned()
    };
    let good = publish("1.0.0");
    let bad = publish("1.0.1");
    let error = place.refused(2, &["key", "retire", public, "--after", "nothing"]);
    assert!(error.contains("nothing"), "{error}");
    let retired = place.json(&[
        "key", "retire", public, "--after", &good, "--reason", "stolen",
    ]);
    assert_eq!(retired["last"].as_str(), Some(good.as_str()));
    let versions = place.json(&["info", "parser"]);
    assert_eq!(versions["versions_total"], 1, "{bad} must have no effect");
    let nothing = place.json(&["key", "retire", public, "--nothing"]);
    assert!(nothing["last"].is_null() && nothing["record"].is_string());
    place.refused(1, &["info", "parser"]);
}

#[test]
fn a_namespace_is_recovered_elsewhere_with_the_key_that_was_told() {
    let (owner, made) = plain();
    let package = owner.package("parser", "1.0.0", "// 1");
    let published = owner.json(&["publish", &package]);
    let good = text(&published["packages"][0]["record"]).to_owned();
    let up = Up::start(&owner, &[]);
    let elsewhere = Place::empty();
    let _there = Up::start(&elsewhere, &["--bootstrap", up.told("addr")]);
    eventually(
        || elsewhere.json(&["status"]),
        |status| status["records"] == 2,
    );
    let id = text(&made["owner"]).to_owned();
    let recovery = text(&made["recovery"]).to_owned();
    let recover = |args: &[&str], pem: &str| {
        let fixed = ["recover", "--owner", &id, "--plain", "--json"];
        fed(elsewhere.market(&[&fixed, args].concat()), pem)
    };
    // It does not guess what a thief may have written.
    let output = recover(&[], &recovery);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let shown = said(&output);
    assert!(
        shown.contains("parser@1.0.0") && shown.contains(&good) && shown.contains("--keep-all"),
        "{shown}"
    );
    // Another key is refused.
    let other = pem::export(&Key::Private(PrivateKey::generate()), Form::Pkcs8, None).unwrap();
    let output = recover(&["--keep-all"], &other);
    assert!(
        one_error(&output).contains("not the recovery key"),
        "{}",
        said(&output)
    );

    let keep = format!("{}={good}", text(&made["public"]));
    let recovered = json(&recover(&["--keep", &keep], &recovery));
    assert_eq!(recovered["owner"].as_str(), Some(id.as_str()));
    assert!(recovered["recovery"].is_string());
    assert_ne!(recovered["recovery"].as_str(), Some(recovery.as_str()));
    let document = eventually(
        || owner.json(&["owner", "list"]),
        |document| document["root"] == recovered["public"],
    );
    assert_eq!(document["retired"][0]["last"].as_str(), Some(good.as_str()));
    // The old key publishes no more; the new one does.
    let late = owner.package("parser", "1.0.1", "// thief");
    assert_eq!(owner.run(&["publish", &late]).status.code(), Some(1));
    let next = elsewhere.package("parser", "1.1.0", "// 2");
    let done = elsewhere.json(&["publish", &next]);
    assert_eq!(done["packages"][0]["owner"].as_str(), Some(id.as_str()));
    eventually(
        || owner.json(&["info", "parser"]),
        |info| info["versions_total"] == 2,
    );
    // Used up.
    let output = recover(&["--keep-all"], &recovery);
    assert!(
        one_error(&output).contains("used already"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_recovery_that_is_cut_off_is_finished_with_the_same_record() {
    // In the place of the old key, and where there was none.
    for label in ["identity", "fresh"] {
        for point in ["keys.successor", "keys.told", "keys.kept", "keys.replaced"] {
            let (place, made) = plain();
            let (recovery, owner) = (text(&made["recovery"]), text(&made["owner"]));
            let args = [
                "recover", "--plain", "--json", "--label", label, "--owner", owner,
            ];
            let mut command = place.market(&args);
            command.env("MARKET_CRASH_AT", format!("{point}:1"));
            let output = fed(command, recovery);
            assert!(!output.status.success(), "{point}");
            let told = serde_json::from_slice::<Value>(&output.stdout);
            let again = json(&fed(place.market(&args), recovery));
            assert_eq!(told.is_ok(), point != "keys.successor");
            if let Ok(told) = told {
                assert_eq!(again["public"], told["public"], "{point}");
                assert!(
                    told["recovery"].is_string() && again["recovery"].is_null(),
                    "{point}"
                );
            }
            let document = place.json(&["owner", "list"]);
            assert_eq!(document["status"], "active", "{point}");
            assert_eq!(document["root"], again["public"], "{point}");
            let package = place.package("parser", "1.0.0", "// 1");
            place.json(&["publish", &package, "--key", label]);
        }
    }
}
