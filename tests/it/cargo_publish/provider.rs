//! The credential provider: what it tells cargo's user, and what becomes of the key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ggen_marketplace::assemble::{Founding, Layout};
use ggen_marketplace::crypto::Passphrase;

use super::Publisher;
use crate::cargo_client::{CargoHome, told};
use crate::cli::terminal::Terminal;
use crate::place::{Place, Up, ended, eventually};

/// One whose key is locked.
fn locked() -> Publisher {
    let place = Place::empty();
    let layout = Layout::at(&place.path("home")).unwrap();
    layout.init(None).unwrap();
    let passphrase = Passphrase::new("open sesame".to_owned().into()).unwrap();
    let founded = layout.found(&Founding::Bare, Some(&passphrase)).unwrap();
    founded.finish().unwrap();
    let up = Up::start(&place, &[]);
    let publisher = Publisher {
        place,
        up,
        cargo: CargoHome::new(),
    };
    publisher.configure(&["--credential-provider", "--name", "own"]);
    publisher
}

fn passphrase_file(publisher: &Publisher, text: &str) -> std::path::PathBuf {
    let path = publisher.place.path("passphrase");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Cargo on a terminal of its own, which it shares with what it starts. Its shell says how it ended and stays until
/// a line is typed.
fn on_terminal(publisher: &Publisher, dir: &Path) -> Terminal {
    let cargo = publisher.cargo.cargo(dir, PUBLISH);
    let mut command = std::process::Command::new("setsid");
    let script = "trap : INT; \"$@\"; echo \"ended with $?\" >&2; read -r line";
    command.args(["--ctty", "sh", "-c", script, "sh"]);
    command.arg(cargo.get_program()).args(cargo.get_args());
    command.current_dir(dir);
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env_remove("MARKET_PASSPHRASE_FILE");
    Terminal::of(command)
}

#[test]
fn cargos_user_is_asked_for_the_passphrase_on_the_terminal() {
    let publisher = locked();
    let dir = publisher.library("parser", "1.0.0", "", "");
    let mut terminal = on_terminal(&publisher, &dir);
    terminal.shows("passphrase of the key `identity`: ");
    assert!(!terminal.echoes());
    terminal.types("open sesame");
    terminal.shows("ended with 0");
    assert!(terminal.echoes());
    terminal.types("");
    assert!(terminal.child.wait().unwrap().success());
    let shown = &terminal.shown;
    assert!(!shown.contains("sesame"), "{shown}");
    assert_eq!(shown.matches("passphrase of").count(), 1, "{shown}");
    assert_eq!(publisher.info("parser")["versions_total"], 1);
}

#[test]
fn cargos_user_who_interrupts_the_question_has_the_terminal_back() {
    let publisher = locked();
    let dir = publisher.library("parser", "1.0.0", "", "");
    let mut terminal = on_terminal(&publisher, &dir);
    terminal.shows("passphrase of the key `identity`: ");
    assert!(!terminal.echoes());
    // Control-C goes to cargo and to whom it waits for.
    terminal.presses(&[3]);
    terminal.shows("ended with");
    eventually(|| terminal.echoes(), |echoes| *echoes);
    terminal.types("");
    assert!(terminal.child.wait().unwrap().success());
    assert_eq!(publisher.place.json(&["status"])["records"], 0);
    assert!(!is_held(&publisher.place));
}

const PUBLISH: &[&str] = &["publish", "--registry", "own-local", "--no-verify"];

/// Runs cargo without a terminal to ask on.
fn cargo(publisher: &Publisher, dir: &Path, args: &[&str]) -> std::process::Command {
    let mut command = publisher.cargo.cargo(dir, args);
    let mut alone = std::process::Command::new("setsid");
    alone.arg("--wait").arg(command.get_program());
    alone.args(command.get_args()).current_dir(dir);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    alone.env_remove("MARKET_PASSPHRASE_FILE");
    command = alone;
    command.stdin(std::process::Stdio::null());
    command
}

#[test]
fn a_locked_key_publishes_with_its_passphrase_and_the_node_never_has_it() {
    let publisher = locked();
    let dir = publisher.library("parser", "1.0.0", "", "");
    let output = ended(cargo(&publisher, &dir, PUBLISH));
    assert!(!output.status.success());
    let said = told(&output);
    assert!(said.contains("the key `identity` is locked"), "{said}");
    assert!(said.contains("market key unlock"), "{said}");

    let wrong = passphrase_file(&publisher, "wrong");
    let mut command = cargo(&publisher, &dir, PUBLISH);
    command.env("MARKET_PASSPHRASE_FILE", &wrong);
    let output = ended(command);
    assert!(!output.status.success(), "{}", told(&output));

    let right = passphrase_file(&publisher, "open sesame");
    let mut command = cargo(&publisher, &dir, PUBLISH);
    command.env("MARKET_PASSPHRASE_FILE", &right);
    let output = ended(command);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(publisher.info("parser")["versions_total"], 1);

    // Unlocked in the node, it needs no passphrase.
    let mut unlock = publisher.place.market(&["key", "unlock"]);
    unlock.env("MARKET_PASSPHRASE_FILE", &right);
    assert!(ended(unlock).status.success());
    let next = publisher.library("parser", "1.1.0", "", "");
    let output = ended(cargo(&publisher, &next, PUBLISH));
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn without_a_node_the_provider_says_so() {
    let publisher = Publisher::signing();
    let home = publisher.place.path("home");
    let http = publisher.up.told("http").to_owned();
    let Publisher { place, up, cargo } = publisher;
    up.stop();
    let dir = crate::cargo_client::library(&place, "parser", "1.0.0", "", "");
    let index = format!("sparse+{http}/cargo/_/");
    let request = format!(
        "{{\"v\":1,\"registry\":{{\"index-url\":\"{index}\"}},\"kind\":\"get\",\"operation\":\"read\"}}\n"
    );
    let said = asked(&place, &request);
    assert!(said.contains("\"kind\":\"other\""), "{said}");
    assert!(said.contains("market up"), "{said}");
    assert!(said.contains(home.to_str().unwrap()), "{said}");
    drop((dir, cargo));
}

/// Asks the provider directly, as cargo would; returns the answer after the greeting.
fn asked(place: &Place, request: &str) -> String {
    use std::io::Write;
    let mut command = place.market(&["cargo-credential"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(request.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (hello, answer) = text.split_once('\n').unwrap();
    assert_eq!(hello, "{\"v\":[1]}");
    answer.to_owned()
}

#[test]
fn other_registries_are_left_to_other_providers() {
    let place = Place::new();
    let up = Up::start(&place, &[]);
    let port = up.told("http").rsplit_once(':').unwrap().1.to_owned();
    for (index, kind) in [
        ("sparse+https://example.org/index/", "url-not-supported"),
        ("sparse+https://example.org/cargo/_/", "url-not-supported"),
        ("sparse+http://127.0.0.1:1/cargo/_/", "url-not-supported"),
        (&format!("sparse+http://127.0.0.1:{port}/cargo/_/"), "get"),
        ("sparse+http://127.0.0.1:7878/cargo/_/", "get"),
    ] {
        let answer = asked(
            &place,
            &format!(
                "{{\"v\":1,\"registry\":{{\"index-url\":\"{index}\"}},\"kind\":\"get\",\"operation\":\"owners\",\
                 \"name\":\"x\"}}\n"
            ),
        );
        let expected = format!("\"kind\":\"{kind}\"");
        assert!(answer.contains(&expected), "{index}: {answer}");
    }
}

#[test]
fn there_is_nothing_to_log_in_to() {
    let publisher = Publisher::signing();
    let dir = publisher.library("parser", "1.0.0", "", "");
    let mut login = publisher
        .cargo
        .cargo(&dir, &["login", "--registry", "own-local", "token"]);
    login.stdin(std::process::Stdio::null());
    let said = told(&ended(login));
    assert!(said.contains("there is no token to keep"), "{said}");
    let args = ["logout", "--registry", "own-local"];
    let output = ended(publisher.cargo.cargo(&dir, &args));
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("not currently logged in"));
}

/// Whether a process waits to sign something for this home.
fn is_held(place: &Place) -> bool {
    let listed = std::process::Command::new("ps")
        .args(["-A", "-ww", "-o", "args="])
        .output()
        .unwrap();
    let home = place.path("home");
    let home = home.to_str().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut lines = listed.lines();
    lines.any(|line| line.contains(home) && line.contains("--hold"))
}

fn offered(place: &Place, version: &str) -> String {
    let cksum = "0".repeat(64);
    let answer = asked(
        place,
        &format!(
            "{{\"v\":1,\"registry\":{{\"index-url\":\"sparse+http://127.0.0.1:7878/cargo/_/\"}},\"kind\":\"get\",\
             \"operation\":\"publish\",\"name\":\"parser\",\"vers\":\"{version}\",\"cksum\":\"{cksum}\"}}\n"
        ),
    );
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["Ok"]["cache"], "never", "{answer}");
    assert_eq!(answer["Ok"]["operation_independent"], false, "{answer}");
    answer["Ok"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn what_holds_the_key_ends_when_it_has_signed_or_the_node_goes() {
    let publisher = Publisher::signing();
    let dir = publisher.library("parser", "1.0.0", "", "");
    publisher.publish(&dir, &["--no-verify"]);
    eventually(|| is_held(&publisher.place), |held| !held);

    let token = offered(&publisher.place, "1.1.0");
    assert!(is_held(&publisher.place));
    // Something else than what it was asked for: it refuses, and is gone after that.
    let path = "/api/v1/packages/_/parser/1.1.0?format=generic";
    let (status, problem) = publisher.send("PUT", path, &token, b"content");
    assert_eq!(status, 403, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("no record of another archive"), "{detail}");
    let (status, problem) = publisher.send("PUT", path, &token, b"content");
    assert_eq!(status, 403, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("is gone"),
        "{problem}"
    );
    eventually(|| is_held(&publisher.place), |held| !held);
    assert_eq!(publisher.info("parser")["versions_total"], 1);

    offered(&publisher.place, "1.2.0");
    assert!(is_held(&publisher.place));
    let Publisher { place, up, .. } = publisher;
    assert_eq!(up.stop(), Some(0));
    eventually(|| is_held(&place), |held| !held);
}
