//! A home that is watched: what is in its keys, what is said of it, and what lies on its disk.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ggen_marketplace::crypto::{Key, PrivateKey, pem};
use serde_json::Value;

use super::secrets::Secrets;
use super::{IMPORTED, PASSPHRASE, WRONG};
use crate::place::{Place, ended, eventually, said};

/// A home, all secrets that ever were in it, and all that was said of it.
pub(super) struct Watched {
    pub(super) place: Place,
    secrets: Secrets,
    /// The key files that were opened to learn what is in them.
    opened: HashSet<Vec<u8>>,
    /// What was written where, and the secret that it is meant to carry.
    said: Vec<(String, Vec<u8>, Vec<String>)>,
}

impl Watched {
    pub(super) fn new() -> Self {
        let place = Place::empty();
        let mut secrets = Secrets::default();
        for (name, text) in [("passphrase", PASSPHRASE), ("wrong", WRONG)] {
            secrets.add(name, text.as_bytes());
            guarded(&place.path(name), text.as_bytes());
        }
        secrets.add("imported", &IMPORTED);
        Self {
            place,
            secrets,
            opened: HashSet::new(),
            said: Vec::new(),
        }
    }

    pub(super) fn command(&self, passphrase: &str, args: &[&str]) -> Command {
        let mut command = self.place.market(args);
        command.env("MARKET_PASSPHRASE_FILE", self.place.path(passphrase));
        command.env("MARKET_LOG", "trace");
        command.env("RUST_BACKTRACE", "1");
        command
    }

    /// Notes what a command said, and looks at what it left.
    pub(super) fn note(&mut self, args: &[&str], output: Output) -> Output {
        self.said.push((
            format!("{args:?}"),
            [&output.stdout[..], b"\n", &output.stderr].concat(),
            Vec::new(),
        ));
        self.look();
        output
    }

    /// Runs a command that must succeed, as people and as programs read it.
    pub(super) fn both(&mut self, args: &[&str]) {
        self.run(args);
        self.json(args);
    }

    pub(super) fn run(&mut self, args: &[&str]) -> Output {
        let output = self.note(args, ended(self.command("passphrase", args)));
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        output
    }

    pub(super) fn json(&mut self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs commands that must fail.
    pub(super) fn fails(&mut self, passphrase: &str, args: &[&str]) {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            let output = self.note(&args, ended(self.command(passphrase, &args)));
            assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
        }
    }

    /// Runs a command that reads this text.
    pub(super) fn fed(&mut self, args: &[&str], text: &str) -> Output {
        let mut command = self.command("passphrase", args);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        self.note(args, output)
    }

    /// Takes a key that the last command told: that one answer is meant to carry it.
    pub(super) fn told(&mut self, pem: &str) {
        let Key::Private(key) = pem::import(pem, None).unwrap() else {
            panic!("a public key");
        };
        let name = key.public().to_string();
        self.secrets.add(&name, &*key.seed());
        self.said.last_mut().unwrap().2.push(name);
    }

    /// Learns the keys that are in the home now, and checks all that is on disk.
    fn look(&mut self) {
        let home = self.place.path("home");
        let mut keys = files(&home.join("keys"));
        keys.push(home.join("node.key"));
        for path in keys {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            let is_key = path
                .extension()
                .is_some_and(|kind| kind == "pem" || kind == "key");
            // To open a locked one takes long.
            if is_key && self.opened.insert(fs::read(&path).unwrap()) {
                let given = PASSPHRASE.parse().unwrap();
                // A damaged one holds what is known already.
                if let Ok(key) = PrivateKey::open(&path, Some(&given)) {
                    let name = key.public().to_string();
                    self.secrets.add(&name, &*key.seed());
                }
            }
        }
        for dir in [&home, &home.join("keys")] {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
    }

    /// Checks all that was ever said, and all that lies in the home but for keys.
    pub(super) fn check(&self) {
        for (what, bytes, carries) in &self.said {
            let found = self.secrets.found_in(bytes);
            let lines = bytes.split(|byte| *byte == b'\n');
            let seen: Vec<_> = lines
                .filter(|line| found != *carries && !self.secrets.found_in(line).is_empty())
                .map(String::from_utf8_lossy)
                .collect();
            assert_eq!(found, *carries, "{what} said {seen:#?}");
        }
        let home = self.place.path("home");
        let keys = [home.join("keys"), home.join("node.key")];
        for path in files(&home) {
            if keys.iter().any(|key| path.starts_with(key)) {
                continue;
            }
            let found = self.secrets.found_in(&fs::read(&path).unwrap());
            assert!(found.is_empty(), "{} holds {found:?}", path.display());
        }
    }

    /// Asks the running node over HTTP.
    pub(super) fn get(&mut self, http: &str, path: &str) {
        let host = http.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "));
        self.said.push((format!("GET {path}"), answer, Vec::new()));
    }

    /// A node that writes all that it can into a file.
    pub(super) fn up(&self) -> Running {
        let log = self.place.path("log");
        let fixed = [
            "up",
            "--http",
            "127.0.0.1:0",
            "--blobs",
            "127.0.0.1:0",
            "--no-mdns",
        ];
        let mut command = self.command("passphrase", &fixed);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        let file = fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        let mut running = Running {
            child,
            log,
            address: String::new(),
        };
        let ready = eventually(
            || {
                let log = String::from_utf8_lossy(&fs::read(&running.log).unwrap()).into_owned();
                let mut lines = log.lines();
                lines
                    .find(|line| line.starts_with("ready "))
                    .map(str::to_owned)
            },
            Option::is_some,
        );
        let ready = ready.unwrap();
        let mut words = ready.split(' ');
        let address = words.find_map(|word| word.strip_prefix("addr="));
        running.address = address.unwrap().to_owned();
        running
    }

    pub(super) fn down(&mut self, mut running: Running) {
        let pid = rustix::process::Pid::from_child(&running.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(running.child.wait().unwrap().success());
        let bytes = fs::read(&running.log).unwrap();
        let log = String::from_utf8_lossy(&bytes);
        // The crates that are given keys write all that they can, too.
        for from in ["libp2p", "iroh"] {
            let wrote = |line: &str| line.contains(" TRACE ") && line.contains(from);
            assert!(log.lines().any(wrote), "{from} wrote no trace");
        }
        self.said.push(("the node".to_owned(), bytes, Vec::new()));
    }
}

/// A node of a watched home, until this is dropped.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    /// Where other nodes reach it.
    pub(super) address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Over already if it was stopped.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

pub(super) fn guarded(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(super) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => dirs.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}
