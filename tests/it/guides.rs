//! The guides under `docs/guides`, run as they are written.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

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

#[test]
fn the_guide_to_stolen_keys_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["1.0.0", "1.1.0", "2.0.0", "6.6.6", "7.0.0"] {
        pack(dir.path(), version);
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_market"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let guide = include_str!("../../docs/guides/stolen-keys.md");
    let log = dir.path().join("said");
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{PRELUDE}{}", script(guide)))
        .current_dir(dir.path())
        .env("PATH", path)
        .env_remove("MARKET_HOME")
        .env_remove("MARKET_PASSPHRASE_FILE")
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
