//! The guides under `docs/guides`, run as they are written.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cargo_client::{CargoHome, FOREIGN};

/// How long a guide may take: it waits for what it expects, and goes on as soon as that came.
const GUIDE_MAX: Duration = Duration::from_secs(120);

/// What the blocks of a guide may use beside `market`: each node is started by a line, and ended with the shell.
const PRELUDE: &str = r#"
set -eu
start() {
    name=$1; shift
    market --home "$name" up --http 127.0.0.1:0 --blobs 127.0.0.1:0 --no-mdns \
        --listen /ip4/127.0.0.1/tcp/0 "$@" > "$name.ready" 2> "$name.log" &
    NODES="$NODES $!"
    until grep -q '^ready' "$name.ready"; do
        kill -0 $! || { cat "$name.log" >&2; exit 1; }
    done
}
address() { sed -n 's/^ready .*addr=\([^ ]*\).*/\1/p' "$1.ready"; }
field() { tr ',{[' '\n\n\n' | sed -n "s/^\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1; }
record() { tr '{' '\n' | sed -n "s/.*\"version\":\"$1\".*\"record\":\"\([0-9a-f]*\)\".*/\1/p" | head -n 1; }
NODES=
trap 'kill $NODES 2> /dev/null; wait' EXIT
"#;

/// The shell blocks of a guide, in order.
fn script(guide: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in guide.lines() {
        match (inside, line) {
            (false, "```sh") => inside = true,
            (true, "```") => inside = false,
            // `set -e` passes over a command with `!`: it has to fail.
            (true, line) if line.starts_with("! ") => {
                script.push_str(&format!("if {}; then exit 1; fi\n", &line[2..]));
            }
            (true, line) => script.push_str(&format!("{line}\n")),
            (false, _) => {}
        }
    }
    script
}

fn pack(dir: &Path, version: &str) {
    let dir = dir.join(format!("parser-{version}"));
    fs::create_dir(&dir).unwrap();
    let manifest = format!(
        "[pack]\nname = \"parser\"\nversion = \"{version}\"\ndescription = \"Reads things\"\n"
    );
    fs::write(dir.join("pack.toml"), manifest).unwrap();
    fs::write(dir.join("notes.txt"), version).unwrap();
}

/// Runs a guide in a directory, where what it needs lies already.
fn run(guide: &str, dir: &Path, settings: &[(&str, &str)]) {
    let binary = Path::new(env!("CARGO_BIN_EXE_market"));
    let cargo = Path::new(env!("CARGO"));
    let path = format!(
        "{}:{}:{}",
        binary.parent().unwrap().display(),
        cargo.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let log = dir.join("said");
    let mut shell = Command::new("sh");
    for name in FOREIGN {
        shell.env_remove(name);
    }
    shell
        .arg("-c")
        .arg(format!("{PRELUDE}{}", script(guide)))
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("MARKET_HOME")
        .env_remove("MARKET_PASSPHRASE_FILE")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        // The nodes that it starts belong to its group, and end with it whatever happens.
        .process_group(0);
    let mut shell = shell.spawn().unwrap();
    let group = Pid::from_child(&shell);
    let (sender, ended) = mpsc::sync_channel(1);
    let waiting = std::thread::spawn(move || sender.send(shell.wait().unwrap()));
    let status = ended.recv_timeout(GUIDE_MAX).ok();
    // Over already if it went well.
    kill_process_group(group, Signal::KILL).unwrap_or_default();
    waiting.join().unwrap().unwrap();
    let said = fs::read_to_string(log).unwrap();
    let said: Vec<_> = said.lines().rev().take(20).collect();
    assert!(status.is_some_and(|status| status.success()), "{said:#?}");
}

#[test]
fn the_guide_to_stolen_keys_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["1.0.0", "1.1.0", "2.0.0", "6.6.6", "7.0.0"] {
        pack(dir.path(), version);
    }
    let guide = include_str!("../../docs/guides/stolen-keys.md");
    run(guide, dir.path(), &[]);
}

#[test]
fn the_guide_to_http_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let guide = include_str!("../../docs/guides/http.md");
    run(guide, dir.path(), &[("MARKET_HOME", &home(dir.path()))]);
}

#[test]
fn the_guide_to_cargo_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let cargo = CargoHome::new();
    let cargo_home = cargo.path("cargo-home");
    let settings = [
        ("MARKET_HOME", home(dir.path())),
        ("CARGO_HOME", cargo_home.to_str().unwrap().to_owned()),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, home)| (*key, home.as_str()))
        .collect();
    run(
        include_str!("../../docs/guides/cargo.md"),
        dir.path(),
        &settings,
    );
}

/// The home that a guide means where it names none: that of the node that it starts.
fn home(dir: &Path) -> String {
    dir.join("node").to_str().unwrap().to_owned()
}
