//! Keys on disk: who can read them, how they are made, locked and moved, with the real command.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use ggen_marketplace::crypto::pem;
use ggen_marketplace::crypto::{Key, PrivateKey};
use serde_json::Value;

use crate::place::{Place, Up, ended, eventually, one_error, said};

pub(super) const PASSPHRASE: &str = "correct horse 8F3A canary";

/// A file with the passphrase, guarded as it must be.
fn passphrase(place: &Place) -> String {
    let path = place.path("passphrase");
    fs::write(&path, format!("{PASSPHRASE}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

pub(super) fn with_passphrase(place: &Place, args: &[&str]) -> Output {
    let mut command = place.market(args);
    command.env("MARKET_PASSPHRASE_FILE", passphrase(place));
    ended(command)
}

pub(super) fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(super) fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A home whose identity is locked and has a recovery key.
pub(super) fn locked() -> (Place, Value) {
    let place = Place::empty();
    let made = json(&with_passphrase(
        &place,
        &["init", "--label", "acme", "--json"],
    ));
    (place, made)
}

/// A home with a plain identity and a recovery key.
pub(super) fn plain() -> (Place, Value) {
    let place = Place::empty();
    let made = place.json(&["init", "--plain"]);
    (place, made)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn init_says_what_it_made_and_does_it_once() {
    let place = Place::empty();
    let first = place.json(&["init", "--network", "test", "--label", "acme", "--plain"]);
    assert_eq!(first["made"].as_array().unwrap().len(), 2);
    assert_eq!(first["network"], "test");
    let key = pem::import(text(&first["recovery"]), None).unwrap();
    assert!(matches!(key, Key::Private(_)));
    let before = files(&place);
    let second = place.json(&["init", "--label", "other"]);
    assert_eq!(second["made"], serde_json::json!([]));
    assert_eq!(second["owner"], first["owner"]);
    assert!(second["recovery"].is_null());
    assert_eq!(files(&place), before);
    let error = place.refused(1, &["init", "--network", "other"]);
    assert!(
        error.contains("`test`") && error.contains("`other`"),
        "{error}"
    );
    assert_eq!(mode(place.path("home")), 0o700);
    assert_eq!(mode(place.path("home/keys")), 0o700);
    for name in [
        "node.key",
        "keys/identity.pem",
        "keys/identity.toml",
        "keys/identity.genesis",
    ] {
        assert_eq!(mode(place.path("home").join(name)), 0o600, "{name}");
    }
    let listed = place.json(&["owner", "list"]);
    assert_eq!(listed["label"], "acme");
    assert_eq!(listed["status"], "active");
    assert_eq!(listed["recoverable"], true);
    assert_eq!(listed["ours"][0]["role"], "root, publishes *");
}

/// Names and contents of the key directory.
pub(super) fn files(place: &Place) -> Vec<(String, Vec<u8>)> {
    let dir = place.path("home/keys");
    let mut all: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_bare_key_needs_no_record_and_has_no_recovery() {
    let place = Place::empty();
    let made = place.json(&["init", "--no-recovery", "--plain"]);
    assert!(made["recovery"].is_null());
    assert_eq!(place.json(&["status"])["records"], 0);
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let listed = place.json(&["owner", "list"]);
    assert_eq!(listed["recoverable"], false);
    assert_eq!(listed["owner"], made["owner"]);
}

#[test]
fn a_node_runs_without_an_identity_and_publishing_says_how_to_become_a_publisher() {
    let place = Place::empty();
    let mut up = Up::start(&place, &[]);
    up.says(&["no identity", "market init"]);
    assert!(!place.path("home/keys").exists());
    assert!(place.json(&["status"])["owner"].is_null());
    let package = place.package("parser", "1.0.0", "// 1");
    let error = place.refused(1, &["publish", &package]);
    assert!(error.contains("run `market init`"), "{error}");
    // The founding record reaches the running node.
    let made = place.json(&["init", "--plain"]);
    assert_eq!(place.json(&["status"])["records"], 1);
    let published = place.json(&["publish", &package]);
    assert_eq!(published["packages"][0]["owner"], made["owner"]);
}

#[test]
fn without_a_terminal_and_a_passphrase_the_key_is_plain_and_that_is_said() {
    let place = Place::empty();
    let output = place.run(&["init"]);
    assert_eq!(output.status.code(), Some(0));
    let said = said(&output);
    assert!(
        said.contains("warning") && said.contains("MARKET_PASSPHRASE_FILE"),
        "{said}"
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("-----BEGIN PRIVATE KEY-----"), "{stdout}");
    assert!(stdout.contains("keep it off this machine"), "{stdout}");
    assert!(stdout.contains("can take the namespace over"), "{stdout}");
    let path = place.path("home/keys/identity.pem");
    assert!(!PrivateKey::is_locked(&path).unwrap());
}

#[test]
fn a_locked_key_signs_with_its_passphrase_only() {
    let (place, made) = locked();
    let path = place.path("home/keys/identity.pem");
    let pem = fs::read_to_string(&path).unwrap();
    assert!(
        pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        "{pem}"
    );
    let package = place.package("parser", "1.0.0", "// 1");
    let output = place.run(&["publish", &package]);
    assert_eq!(output.status.code(), Some(1));
    let error = one_error(&output);
    for way in [
        "market key unlock",
        "MARKET_PASSPHRASE_FILE",
        "on a terminal",
    ] {
        assert!(error.contains(way), "{error}");
    }
    // Who we are takes no passphrase.
    let listed = place.json(&["key", "list"]);
    assert_eq!(listed[0]["owner"], made["owner"]);
    assert_eq!(listed[0]["locked"], true);
    let published = json(&with_passphrase(&place, &["publish", &package, "--json"]));
    assert_eq!(published["packages"][0]["owner"], made["owner"]);

    let wrong = place.path("wrong");
    fs::write(&wrong, "something else").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = place.market(&["yank", "parser@1.0.0"]);
    command.env("MARKET_PASSPHRASE_FILE", &wrong);
    let error = one_error(&ended(command));
    assert!(error.contains("does not open the key"), "{error}");
}

#[test]
fn a_passphrase_file_is_guarded_like_a_key() {
    let (place, _) = locked();
    let package = place.package("parser", "1.0.0", "// 1");
    let path = passphrase(&place);
    let refused = |file: &Path| {
        let mut command = place.market(&["publish", &package]);
        command.env("MARKET_PASSPHRASE_FILE", file);
        let output = ended(command);
        assert_eq!(output.status.code(), Some(1));
        one_error(&output)
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refused(Path::new(&path));
    assert!(
        error.contains("chmod 600") && error.contains("MARKET_PASSPHRASE_FILE"),
        "{error}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = place.path("link");
    symlink(&path, &link).unwrap();
    let error = refused(&link);
    assert!(error.contains("symbolic link"), "{error}");
    let error = refused(&place.path("missing"));
    assert!(error.contains("missing"), "{error}");
}

#[test]
fn keys_that_others_may_read_and_links_to_keys_are_refused() {
    let (place, _) = plain();
    let package = place.package("parser", "1.0.0", "// 1");
    let up = ["up", "--no-mdns", "--http", "127.0.0.1:0"];
    for (name, args) in [
        ("identity.pem", &["publish", &package][..]),
        ("../node.key", &up),
        ("../node.key", &["init"]),
    ] {
        let path = place.path("home/keys").join(name);
        for mode in [0o644, 0o660, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = place.refused(1, args);
            assert!(error.contains("chmod 600"), "{name}: {error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = place.path("elsewhere.pem");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let error = place.refused(1, args);
        assert!(error.contains("symbolic link"), "{name}: {error}");
        fs::rename(&elsewhere, &path).unwrap();
    }
}

#[test]
fn a_folder_of_keys_that_others_may_write_in_is_refused() {
    let (place, _) = plain();
    let folder = place.path("home/keys");
    let package = place.package("parser", "1.0.0", "// 1");
    let refused = || {
        let error = place.refused(1, &["publish", &package]);
        let remedy = format!("chmod 700 {}", folder.display());
        assert!(error.contains(&remedy), "{error}");
    };
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
    refused();
    // A link is as good as the folder that it leads to.
    let elsewhere = place.path("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    refused();
    // What makes a key closes the folder first.
    place.json(&["key", "new", "--label", "ci", "--plain"]);
    assert_eq!(mode(&elsewhere), 0o700);
    place.json(&["publish", &package]);
}

#[test]
fn a_running_node_signs_with_an_unlocked_key_until_its_time_is_over() {
    let (place, made) = locked();
    let error = one_error(&with_passphrase(&place, &["key", "unlock"]));
    assert!(error.contains("market up"), "{error}");
    let up = Up::start(&place, &[]);
    let package = |version: &str| place.package("parser", version, "// 1");
    let error = one_error(&place.run(&["publish", &package("1.0.0")]));
    assert!(error.contains("market key unlock"), "{error}");

    let unlocked = with_passphrase(&place, &["key", "unlock", "--for", "10m", "--json"]);
    assert_eq!(json(&unlocked)["seconds"], 600);
    let listed = place.json(&["key", "list"]);
    assert!(
        listed[0]["unlocked_seconds"].as_u64() > Some(500),
        "{listed}"
    );
    let published = place.json(&["publish", &package("1.0.0")]);
    assert_eq!(published["packages"][0]["owner"], made["owner"]);

    let locked = place.json(&["key", "lock"]);
    assert_eq!(locked["locked"], serde_json::json!([made["public"]]));
    assert_eq!(
        place.json(&["key", "lock"])["locked"],
        serde_json::json!([])
    );
    let error = one_error(&place.run(&["publish", &package("1.0.1")]));
    assert!(error.contains("market key unlock"), "{error}");

    json(&with_passphrase(
        &place,
        &["key", "unlock", "--for", "1s", "--json"],
    ));
    eventually(
        || place.json(&["key", "list"]),
        |listed| listed[0]["unlocked_seconds"].is_null(),
    );
    let error = one_error(&place.run(&["publish", &package("1.0.1")]));
    assert!(error.contains("market key unlock"), "{error}");
    let error = place.refused(2, &["key", "unlock", "--for", "16m"]);
    assert!(error.contains("1s to 15m"), "{error}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn an_init_that_is_cut_off_anywhere_is_finished_by_the_next() {
    for point in ["init.genesis", "init.key", "init.told"] {
        let place = Place::empty();
        let mut command = place.market(&["init", "--plain"]);
        command.env("MARKET_CRASH_AT", format!("{point}:1"));
        assert!(!ended(command).status.success(), "{point}");
        let package = place.package("parser", "1.0.0", "// 1");
        let error = place.refused(1, &["publish", &package]);
        assert!(error.contains("run `market init`"), "{point}: {error}");
        let made = place.json(&["init", "--plain"]);
        assert!(made["recovery"].is_string(), "{point}");
        let published = place.json(&["publish", &package]);
        assert_eq!(published["packages"][0]["owner"], made["owner"], "{point}");
        assert_eq!(place.json(&["owner", "list"])["recoverable"], true);
    }
}

#[test]
fn keys_go_out_and_come_back_in_both_forms() {
    let (place, made) = locked();
    let other = Place::empty();
    for (at, form) in [&[][..], &["--openssh"]].into_iter().enumerate() {
        let file = place.path(&format!("key-{at}"));
        let out = ["key", "export", "--output", file.to_str().unwrap()];
        let done = json(&with_passphrase(
            &place,
            &[&out, form, &["--json"]].concat(),
        ));
        assert!(done["text"].is_null());
        assert_eq!(mode(&file), 0o600);
        assert!(PrivateKey::is_locked(&file).unwrap());
        // An existing file is not overwritten.
        let output = with_passphrase(&place, &[&out, form].concat());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));

        let label = format!("key-{at}");
        let args = [
            "key",
            "import",
            file.to_str().unwrap(),
            "--label",
            &label,
            "--json",
        ];
        let error = one_error(&other.run(&args));
        assert!(error.contains("MARKET_PASSPHRASE_FILE"), "{error}");
        let imported = json(&with_passphrase(&other, &args));
        assert_eq!(imported["public"], made["public"]);
        let path = other.path(&format!("home/keys/{label}.pem"));
        assert!(PrivateKey::is_locked(&path).unwrap());
        assert_eq!(mode(path), 0o600);
        let error = one_error(&with_passphrase(&other, &args));
        assert!(error.contains("already"), "{error}");
    }
    let public = place.json(&["key", "export", "--public"]);
    let key = pem::import(text(&public["text"]), None).unwrap();
    assert!(matches!(key, Key::Public(key) if key.to_string() == text(&made["public"])));
    let file = place.path("public");
    fs::write(&file, text(&public["text"])).unwrap();
    let error = other.refused(
        1,
        &["key", "import", file.to_str().unwrap(), "--label", "p"],
    );
    assert!(error.contains("public key"), "{error}");
}

#[test]
fn a_private_key_leaves_without_a_passphrase_only_when_that_is_said() {
    let (place, made) = plain();
    let output = place.run(&["key", "export"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_error(&output).contains("--plain"), "{}", said(&output));
    assert!(output.stdout.is_empty());
    let exported = place.json(&["key", "export", "--plain"]);
    let Key::Private(key) = pem::import(text(&exported["text"]), None).unwrap() else {
        panic!("a public key");
    };
    assert_eq!(key.public().to_string(), text(&made["public"]));
}
