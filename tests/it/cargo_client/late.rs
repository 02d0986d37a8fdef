//! Downloads of what only others have: cargo waits for them, and is told when to ask again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{Pair, library};
use crate::place::DEADLINE;

/// Asks for a page; returns head and body.
fn get(http: &str, path: &str) -> String {
    let host = http.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_still_with_a_peer_that_does_not_answer_is_asked_for_again_until_it_comes() {
    let pair = Pair::new();
    let path = library(
        &pair.publisher,
        "demo",
        "1.0.0",
        "",
        "pub const V: u32 = 7;",
    );
    pair.publish(&[&path]);
    let cargo = pair.cargo();
    let needs = "demo = { version = \"1\", registry = \"acme\" }\n";
    let main = "fn main() { println!(\"{}\", demo::V); }";
    let project = cargo.project("app", needs, main);
    cargo.run(&project, &["generate-lockfile"]);

    // The only one that has it is there, and says nothing.
    let publisher = Pid::from_child(&pair.on_publisher.child);
    kill_process(publisher, Signal::STOP).unwrap();
    let http = pair.on_reader.told("http");
    let release = format!("/cargo/{}/api/v1/crates/demo/1.0.0/download", pair.owner);
    let answer = get(http, &release);
    let head = answer.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 "), "{answer}");
    assert!(head.contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert!(answer.contains("\"errors\":[{\"detail\":"), "{answer}");

    let mut fetch = cargo.cargo(&project, &["fetch", "--locked"]);
    fetch.env("CARGO_NET_RETRY", "50").stderr(Stdio::piped());
    let mut fetch = fetch.spawn().unwrap();
    let (sender, lines) = mpsc::sync_channel(10_000);
    let said = BufReader::new(fetch.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + DEADLINE;
    let mut all = Vec::new();
    // Cargo has been told once, and asks again by itself.
    while !all.iter().any(|line: &String| line.contains("503")) {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => all.push(line),
            Err(_) => panic!("cargo said nothing of it: {all:?}"),
        }
    }
    kill_process(publisher, Signal::CONT).unwrap();
    assert!(
        fetch.wait().unwrap().success(),
        "{all:?} {:?}",
        lines.iter()
    );
    all.extend(lines.iter());
    let text = all.join("\n");
    assert!(
        !text.contains("imeout") && !text.contains("timed out"),
        "{text}"
    );
    let run = ["run", "--locked", "--offline", "--quiet"];
    assert_eq!(cargo.run(&project, &run), "7\n");
}
