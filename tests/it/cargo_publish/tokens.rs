//! Publishing with a token: what it allows, and what else it takes.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::Publisher;
use crate::cargo_client::{CargoHome, told};
use crate::place::{Place, Up, ended};

pub(super) const ALL: &[&str] = &["publish-new", "publish-update", "yank", "change-owners"];

/// One whose cargo sends tokens.
pub(super) fn with_tokens() -> Publisher {
    let place = Place::new();
    let up = Up::start(&place, &[]);
    let publisher = Publisher {
        place,
        up,
        cargo: CargoHome::new(),
    };
    publisher.configure(&["--name", "own"]);
    publisher
}

impl Publisher {
    pub(super) fn token(&self, scopes: &[&str]) -> String {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let args: Vec<_> = ["token", "new"].into_iter().chain(scopes).collect();
        self.place.json(&args)["token"].as_str().unwrap().to_owned()
    }

    /// Logs in with a token, as a user pastes it.
    pub(super) fn log_in(&self, token: &str) {
        let dir = self.cargo.path("");
        let mut login = self
            .cargo
            .cargo(&dir, &["login", "--registry", "own-local"]);
        login.stdin(Stdio::piped());
        login.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = login.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{token}").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    pub(super) fn unlock(&self) {
        assert!(self.place.run(&["key", "unlock"]).status.success());
    }

    /// Sends a request; returns the status and the JSON that came.
    pub(super) fn send(&self, method: &str, path: &str, token: &str, body: &[u8]) -> (u16, Value) {
        self.up.send(method, path, token, body)
    }
}

#[test]
fn a_token_publishes_while_the_key_is_unlocked() {
    let publisher = with_tokens();
    let dir = publisher.library("parser", "1.0.0", "", "");
    let none = publisher.refused(&dir);
    assert!(none.contains("no token found"), "{none}");

    publisher.log_in("market_0123456789abcdefghijABCDEFGHIJ01");
    let unknown = publisher.refused(&dir);
    assert!(unknown.contains("does not know the token"), "{unknown}");

    publisher.log_in(&publisher.token(ALL));
    let locked = publisher.refused(&dir);
    assert!(
        locked.contains("is locked: run `market key unlock`"),
        "{locked}"
    );
    assert_eq!(publisher.place.json(&["status"])["records"], 0);

    publisher.unlock();
    publisher.publish(&dir, &["--no-verify"]);
    assert_eq!(publisher.info("parser")["versions"][0]["version"], "1.0.0");
    let yank = ["yank", "parser@1.0.0", "--registry", "own-local"];
    for yanked in [true, false] {
        let undo: &[&str] = if yanked { &[] } else { &["--undo"] };
        publisher.cargo.run(&dir, &[&yank, undo].concat());
        assert_eq!(publisher.info("parser")["versions"][0]["yanked"], yanked);
    }

    publisher
        .cargo
        .run(&dir, &["logout", "--registry", "own-local"]);
    let gone = publisher.refused(&publisher.library("parser", "1.1.0", "", ""));
    assert!(gone.contains("no token found"), "{gone}");
}

#[test]
fn a_token_does_what_it_was_made_for_and_nothing_else() {
    let publisher = with_tokens();
    publisher.unlock();
    let first = publisher.library("parser", "1.0.0", "", "");
    publisher.log_in(&publisher.token(&["publish-update", "yank"]));
    let said = publisher.refused(&first);
    assert!(said.contains("does not allow `publish-new`"), "{said}");
    publisher.log_in(&publisher.token(&["publish-new"]));
    publisher.publish(&first, &["--no-verify"]);
    let second = publisher.library("parser", "1.1.0", "", "");
    let said = publisher.refused(&second);
    assert!(said.contains("does not allow `publish-update`"), "{said}");
    let yank = ["yank", "parser@1.0.0", "--registry", "own-local"];
    let said = publisher.cargo.refused(&first, &yank);
    assert!(said.contains("does not allow `yank`"), "{said}");

    // Elsewhere it is nobody's.
    let other = Place::new();
    let keys = other.json(&["status"]);
    let stranger = keys["owner"].as_str().unwrap();
    publisher.configure(&["--name", "theirs", stranger]);
    publisher.log_in(&publisher.token(ALL));
    let third = publisher.library("other", "1.0.0", "", "");
    let mut command = publisher.cargo.cargo(
        &third,
        &["publish", "--no-verify", "--registry", "theirs-local"],
    );
    command.env("CARGO_REGISTRIES_THEIRS_LOCAL_TOKEN", publisher.token(ALL));
    let said = told(&ended(command));
    assert!(
        said.contains(&format!("this index is of {stranger}")),
        "{said}"
    );
    assert!(said.contains("the key writes as"), "{said}");
}

#[test]
fn owners_are_added_and_removed_with_the_root_key() {
    let publisher = with_tokens();
    publisher.log_in(&publisher.token(ALL));
    publisher.unlock();
    let dir = publisher.library("parser", "1.0.0", "", "");
    publisher.publish(&dir, &["--no-verify"]);
    let stranger = Place::new();
    let key = |place: &Place| {
        let keys = place.json(&["key", "list"]);
        keys[0]["public"].as_str().unwrap().to_owned()
    };
    let (root, other) = (key(&publisher.place), key(&stranger));
    let owner = |args: &[&str]| {
        let fixed = ["owner", "--registry", "own-local"];
        let args = [&fixed[..], args, &["parser"]].concat();
        ended(publisher.cargo.cargo(&dir, &args))
    };
    let listed = || String::from_utf8(owner(&["--list"]).stdout).unwrap();
    assert_eq!(listed(), format!("{root} (root)\n"));
    for _ in 0..2 {
        let added = owner(&["--add", &other]);
        assert!(added.status.success(), "{}", told(&added));
        assert!(
            told(&added).contains("may publish parser"),
            "{}",
            told(&added)
        );
    }
    assert_eq!(
        listed(),
        format!("{root} (root)\n{other} (publishes parser)\n")
    );
    let removed = owner(&["--remove", &other]);
    assert!(removed.status.success(), "{}", told(&removed));
    assert_eq!(listed(), format!("{root} (root)\n"));
    for (login, why) in [
        (&root, "root key of the namespace"),
        (&other, "is no owner of parser"),
        (&"somebody".to_owned(), "`somebody` is no key"),
    ] {
        let refused = owner(&["--remove", login]);
        assert!(!refused.status.success());
        assert!(told(&refused).contains(why), "{}", told(&refused));
    }
    assert!(publisher.place.run(&["key", "lock"]).status.success());
    let locked = owner(&["--add", &other]);
    assert!(told(&locked).contains("is locked"), "{}", told(&locked));
}

#[test]
fn anything_is_published_and_described_over_plain_http() {
    let publisher = with_tokens();
    publisher.unlock();
    let token = publisher.token(ALL);
    let path = "/api/v1/packages/_/tool/1.0.0";
    let put = |body: &[u8]| {
        let path = format!("{path}?format=generic");
        publisher.send("PUT", &path, &token, body)
    };
    let (status, published) = put(b"content");
    assert_eq!(status, 201, "{published}");
    assert_eq!(published["package"], "tool@1.0.0");
    assert_eq!(published["owner"], publisher.owner());
    assert_eq!(put(b"other").0, 409);
    // A format that says its name and version itself.
    let crate_path = "/api/v1/packages/_/tool/2.0.0?format=cargo";
    assert_eq!(publisher.send("PUT", crate_path, &token, b"content").0, 400);

    let told = || publisher.info("tool")["versions"][0].clone();
    for (what, yanked) in [("yank", true), ("yank", true), ("unyank", false)] {
        let (status, done) = publisher.send("POST", &format!("{path}/{what}"), &token, b"");
        assert_eq!((status, &done["yanked"]), (200, &json!(yanked)), "{done}");
        assert_eq!(told()["yanked"], yanked);
    }
    let changes = json!({ "description": "A tool", "keywords": ["handy"] }).to_string();
    let (status, done) = publisher.send("PATCH", path, &token, changes.as_bytes());
    assert_eq!(status, 200, "{done}");
    let info = publisher.info("tool");
    assert_eq!(
        (&info["description"], &info["keywords"]),
        (&json!("A tool"), &json!(["handy"]))
    );
    let (status, _) = publisher.send("PATCH", path, &token, b"{\"yanked\":true}");
    assert_eq!(status, 400);
    let (status, _) = publisher.send("PATCH", "/api/v1/packages/_/tool/9.0.0", &token, b"{}");
    assert_eq!(status, 404);
}

#[test]
fn an_upload_that_is_not_what_it_says_changes_nothing() {
    let publisher = with_tokens();
    publisher.unlock();
    let token = publisher.token(ALL);
    let dir = publisher.library("parser", "1.0.0", "[features]\nfast = []\n", "");
    publisher.cargo.run(&dir, &["package", "--no-verify"]);
    let archive = std::fs::read(dir.join("target/package/parser-1.0.0.crate")).unwrap();
    let upload = |description: &Value| {
        let text = description.to_string().into_bytes();
        let mut body = Vec::new();
        for part in [&text, &archive] {
            body.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            body.extend(part);
        }
        body
    };
    let send = |body: &[u8]| publisher.send("PUT", "/cargo/_/api/v1/crates/new", &token, body);
    let good = json!({ "name": "parser", "vers": "1.0.0", "features": { "fast": [] }, "deps": [] });
    let changed = |key: &str, value: Value| {
        let mut description = good.clone();
        description[key] = value;
        upload(&description)
    };
    let whole = upload(&good);
    let cut = &whole[..whole.len() - 1];
    for (body, why) in [
        (changed("name", "other".into()), "another package"),
        (changed("name", "a b".into()), "only letters"),
        (changed("vers", "1.0.1".into()), "another package"),
        (changed("vers", "1.0".into()), "version"),
        (changed("features", json!({})), "another package"),
        (changed("name", Value::Null), "the description is refused"),
        (cut.to_vec(), "is to have"),
        (Vec::new(), "ends before"),
    ] {
        let (status, problem) = send(&body);
        assert_eq!(status, 400, "{problem}");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();

        assert!(detail.contains(why), "{why}: {detail}");
    }
    assert_eq!(publisher.place.json(&["status"])["records"], 0);
    let (status, done) = send(&whole);
    assert_eq!(status, 200, "{done}");
    assert!(done.get("errors").is_none(), "{done}");
    assert_eq!(send(&whole).0, 409);
}
