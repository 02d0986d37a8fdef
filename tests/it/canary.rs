//! Canaries: a home is used for everything that keys are used for, and no secret is seen outside the files and
//! the few answers that are meant to carry it.

mod printed;
mod secrets;
mod watched;

use std::fs;

use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{Key, PrivateKey};
use serde_json::Value;

use crate::place::{Place, Up, ended, eventually, said};
use watched::{Watched, guarded, mode};

/// Passphrases that occur nowhere else.
const PASSPHRASE: &str = "kQ7vZx2mW9pLr4TsYb6NdE8cHf3JgA5u";
const WRONG: &str = "Hx9eRt3wQm6zPk2yVb8nLs5dCf7gTj4a";
/// Nobody else's key.
const IMPORTED: [u8; 32] = *b"\x8f\x01\xe7imported canary seed\xfe\x9c\x03\xd1\x7b\xa4\x90\x11\xee";

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The imported key, as its plain text.
fn imported(form: Form) -> String {
    let key = Key::Private(PrivateKey::from_seed(IMPORTED));
    pem::export(&key, form, None).unwrap().to_string()
}

/// A watched home with a locked identity, and what `init` said of it.
fn founded() -> (Watched, Value) {
    let mut home = Watched::new();
    let made = home.json(&["init", "--label", "acme"]);
    home.told(&text(&made["recovery"]));
    (home, made)
}

/// What may become of a key's text: cut off, a digit changed, and something beside it.
fn damages(pem: &str) -> [String; 4] {
    let end = pem.find("-----END").unwrap();
    let last = pem[..end].trim_end().len();
    [
        pem[..last].to_owned(),
        format!("{}{}", &pem[..last - 4], &pem[last..]),
        pem.replacen("PRIVATE KEY", "SECRET", 1),
        format!("{pem}{pem}"),
    ]
}

#[test]
fn a_node_and_the_commands_that_use_it_show_no_secret() {
    let (mut home, made) = founded();
    let first = home.place.package("parser", "1.0.0", "// 1");
    home.fails("wrong", &["publish", &first]);
    home.both(&["publish", &first]);
    let up = home.up();
    home.fails("wrong", &["key", "unlock"]);
    home.both(&["key", "unlock", "--for", "5m"]);
    home.both(&["publish", &home.place.package("parser", "1.1.0", "// 2")]);
    for args in [
        &["status"][..],
        &["info", "parser"],
        &["search", "parser"],
        &["fetch", "parser"],
        &["peers"],
        &["verify"],
        &["key", "list"],
        &["owner", "list"],
        &["trust", "list"],
        &["trust", "show", &text(&made["owner"])],
        &["use", "--list"],
        &["yank", "parser@1.0.0"],
    ] {
        home.both(args);
    }
    let http = text(&home.json(&["status"])["http"]);
    for path in [
        "/healthz",
        "/api/v1/status",
        "/api/v1/search?q=parser",
        "/api/v1/packages/parser",
        "/api/v1/packages/acme/parser",
        "/metrics",
        "/",
        "/swarm",
        "/%00",
    ] {
        home.get(&http, path);
    }
    // Handshakes with both of the node's transports, and what passes through them.
    let other = Place::empty();
    let there = Up::start(&other, &["--bootstrap", &up.address]);
    eventually(
        || other.run(&["fetch", "acme/parser"]),
        |output| output.status.success(),
    );
    home.both(&["key", "lock"]);
    home.both(&["key", "rotate"]);
    home.run(&["key", "rotate", "--root"]);
    assert_eq!(there.stop(), Some(0));
    home.down(up);
    home.check();
}

#[test]
fn keys_that_come_go_and_break_show_no_secret() {
    let (mut home, _) = founded();
    let ci = text(&home.json(&["key", "new", "--label", "ci"])["public"]);
    home.both(&["owner", "add", &ci, "--all"]);
    let package = home.place.package("parser", "1.0.0", "// 1");
    home.both(&["publish", &package, "--key", "ci"]);
    home.both(&["owner", "remove", &ci]);
    home.both(&["key", "retire", &ci, "--nothing"]);
    for form in [&[][..], &["--openssh"], &["--public"]] {
        home.both(&[&["key", "export"], form].concat());
    }
    for form in [&[][..], &["--openssh"]] {
        let plain = home.json(&[&["key", "export", "--plain"], form].concat());
        home.told(&text(&plain["text"]));
    }
    let exported = home.place.path("exported.pem");
    let output = ["--output", exported.to_str().unwrap()];
    home.run(&[&["key", "export", "--plain"], &output[..]].concat());
    assert_eq!(mode(&exported), 0o600);

    let import = ["key", "import", "-", "--label", "imported"];
    let whole = imported(Form::Pkcs8);
    for damaged in damages(&whole) {
        let output = home.fed(&import, &damaged);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    }
    let output = home.fed(&import, &whole);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let path = home.place.path("home/keys/imported.pem");
    let kept = fs::read(&path).unwrap();
    for damaged in damages(&whole) {
        guarded(&path, damaged.as_bytes());
        for args in [
            &["publish", &package, "--key", "imported"][..],
            &["key", "export", "--label", "imported", "--plain"],
            &["key", "rotate", "--label", "imported"],
        ] {
            home.fails("passphrase", args);
        }
        let list = ["key", "list"];
        home.note(&list, ended(home.command("passphrase", &list)));
    }
    guarded(&path, &kept);
    home.check();
}

#[test]
fn keys_that_are_replaced_show_no_secret() {
    let (mut home, made) = founded();
    // Cut off where the home holds a key more than it has names for, and where it has one under two names.
    for point in ["keys.successor", "keys.kept"] {
        let args = ["key", "rotate", "--root"];
        let mut command = home.command("passphrase", &args);
        command.env("MARKET_CRASH_AT", format!("{point}:1"));
        let output = home.note(&args, ended(command));
        assert!(!output.status.success(), "{point}");
        home.run(&args);
    }

    // The namespace is taken back.
    let recovery = text(&made["recovery"]);
    let recover = ["recover", "--keep-all", "--json"];
    // It stops to read where the key ends, so that what comes after it is no damage.
    let [cut, shorter, unnamed, _] = damages(&recovery);
    for wrong in [cut, shorter, unnamed, imported(Form::OpenSsh)] {
        let output = home.fed(&recover, &wrong);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    }
    let output = home.fed(&recover, &recovery);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let recovered: Value = serde_json::from_slice(&output.stdout).unwrap();
    home.told(&text(&recovered["recovery"]));
    home.both(&["publish", &home.place.package("parser", "1.0.0", "// 1")]);
    home.check();
}
