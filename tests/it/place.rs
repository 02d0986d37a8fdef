//! A home and a command line to use it with; what the command said and how it ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ggen_marketplace::assemble::{Founding, Layout};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take here before the test has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A home in a directory of its own.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    /// A home with a plain bare key, which can publish at once.
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        let layout = Layout::at(&place.path("home")).unwrap();
        layout.init(None).unwrap();
        let founded = layout.found(&Founding::Bare, None).unwrap();
        founded.finish().unwrap();
        place
    }

    /// A home that nobody began to use.
    pub(crate) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn market(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market"));
        command.arg("--home").arg(self.path("home")).args(args);
        command
            .env_remove("MARKET_HOME")
            .env_remove("MARKET_LOG")
            .env_remove("MARKET_PASSPHRASE_FILE")
            .env_remove("MARKET_CRASH_AT");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        ended(self.market(args))
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must end with this code, one line on standard error that begins with `error:`,
    /// and nothing on standard output. Returns the line.
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        one_line(code, &self.run(args))
    }

    /// Runs a command that must fail because a name is contested. Returns all that it says.
    pub(crate) fn refused_with_choices(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let choices = said
            .lines()
            .filter(|line| line.starts_with("  ") && line.contains("market use "));
        assert!(choices.count() > 0, "{said}");
        said
    }

    /// A directory with a crate in it.
    pub(crate) fn package(&self, name: &str, version: &str, code: &str) -> String {
        let dir = self.path(&format!("{name}-{version}-{}", code.len()));
        fs::create_dir_all(dir.join("src")).unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\
             description = \"A package of the tests\"\nlicense = \"MIT\"\n"
        );
        fs::write(dir.join("Cargo.toml"), manifest).unwrap();
        fs::write(dir.join("src/lib.rs"), code).unwrap();
        dir.to_str().unwrap().to_owned()
    }
}

/// Runs a command to its end, which comes before the deadline or never.
pub(crate) fn ended(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, output) = mpsc::sync_channel(10_000);
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    output.recv_timeout(DEADLINE).map_or_else(
        |_| {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            panic!("did not end: {command:?}");
        },
        Result::unwrap,
    )
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn one_line(code: i32, output: &Output) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    let others = said
        .lines()
        .filter(|line| !line.starts_with("made the key "));
    assert_eq!((errors.count(), others.count()), (1, 1), "{said}");
    said.lines().last().unwrap().to_owned()
}

/// A node that runs until this is dropped.
pub(crate) struct Up {
    pub(crate) child: Child,
    ready: String,
    stderr: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Up {
    /// Starts a node on loopback: on free ports, unless `args` say where to listen.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::start_crashing(place, args, None)
    }

    /// The same, to end at the crash point `at` if there is one (see `src/crash.rs`).
    pub(crate) fn start_crashing(place: &Place, args: &[&str], at: Option<&str>) -> Self {
        let fixed = ["up", "--blobs", "127.0.0.1:0", "--no-mdns"];
        let mut command = place.market(&[&fixed, args].concat());
        if !args.contains(&"--http") {
            command.args(["--http", "127.0.0.1:0"]);
        }
        if !args.contains(&"--listen") {
            command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        }
        command.envs(at.map(|at| ("MARKET_CRASH_AT", at)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, stderr) = mpsc::sync_channel(10_000);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut ready).unwrap();
        let mut up = Self {
            child,
            ready,
            stderr,
            said: Vec::new(),
        };
        if !up.ready.starts_with("ready ") {
            up.child.wait().unwrap();
            up.said.extend(up.stderr.iter());
            panic!("not ready: {:?}", up.said);
        }
        up
    }

    /// What `ready` says of `http`, `peer` or `addr`.
    pub(crate) fn told(&self, name: &str) -> &str {
        let mut words = self.ready.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(&format!("{name}=")))
            .unwrap()
    }

    /// Sends a request, with a token unless it is empty; returns the status and the JSON that came.
    pub(crate) fn send(&self, method: &str, path: &str, token: &str, body: &[u8]) -> (u16, Value) {
        let host = self.told("http").strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let kind = match method {
            "PUT" => "application/octet-stream",
            _ => "application/json",
        };
        let token = match token {
            "" => String::new(),
            token => format!("Authorization: {token}\r\n"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Type: {kind}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// Waits for a line on standard error that contains all of these.
    pub(crate) fn says(&mut self, parts: &[&str]) {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.stderr.recv_timeout(left);
            let Ok(line) = line else {
                panic!("never said {parts:?}: {:?}", self.said);
            };
            let fits = parts.iter().all(|part| line.contains(part));
            self.said.push(line);
            if fits {
                return;
            }
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself, at most so long; whether it has.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while self.child.try_wait().unwrap().is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // What it says last wakes this early.
            let said = self
                .stderr
                .recv_timeout(left.min(Duration::from_millis(10)));
            self.said.extend(said);
        }
        true
    }

    /// Asks it to end, and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Over already if it was stopped.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Asks again until the answer is right.
pub(crate) fn eventually<T: std::fmt::Debug>(
    mut ask: impl FnMut() -> T,
    is_right: impl Fn(&T) -> bool,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if is_right(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "still {answer:?}");
    }
}

pub(crate) fn one_error(output: &Output) -> String {
    let said = said(output);
    let errors: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0].to_owned()
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
