//! Bytes that are not what was published: cargo itself refuses them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{CargoHome, Pair, library};

/// Passes requests on to a node, one for each connection, and changes one byte of every archive on the way back.
fn flipping(node: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // One that breaks off is the client's own trouble.
            pass(stream.unwrap(), node, here).unwrap_or_default();
        }
    });
    here
}

fn pass(mut client: TcpStream, node: SocketAddr, here: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut upstream = TcpStream::connect(node)?;
    write!(
        upstream,
        "GET {path} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if path.contains("/dl/") {
        *answer.last_mut().unwrap() ^= 1;
    }
    if path.ends_with("config.json") {
        // So that archives come this way too.
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let body = body.replace(&node.to_string(), &here.to_string());
        let length = body.len();
        answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into();
    }
    client.write_all(&answer)
}

#[test]
fn cargo_refuses_an_archive_with_one_other_byte() {
    let pair = Pair::new();
    let path = library(&pair.publisher, "demo", "1.0.0", "", "");
    pair.publish(&[&path]);
    let node = pair.on_reader.told("http").strip_prefix("http://").unwrap();
    let flipping = format!("http://{}", flipping(node.parse().unwrap()));
    let needs = "demo = { version = \"1\", registry = \"acme\" }\n";
    let cargo = CargoHome::knowing("acme", &pair.owner, &flipping);
    let project = cargo.project("app", needs, "fn main() {}");
    let said = cargo.refused(&project, &["fetch"]);
    assert!(
        said.contains("failed to verify the checksum of `demo"),
        "{said}"
    );
    // From the node itself it is right.
    let cargo = pair.cargo();
    let project = cargo.project("app", needs, "fn main() {}");
    cargo.run(&project, &["fetch"]);
}

#[test]
fn cargo_refuses_an_index_that_says_otherwise_than_a_lock_file() {
    let pair = Pair::new();
    let path = library(&pair.publisher, "demo", "1.0.0", "", "");
    pair.publish(&[&path]);
    let cargo = pair.cargo();
    let needs = "demo = { version = \"1\", registry = \"acme\" }\n";
    let project = cargo.project("app", needs, "fn main() {}");
    cargo.run(&project, &["generate-lockfile"]);
    let lock = project.join("Cargo.lock");
    let text = fs::read_to_string(&lock).unwrap();
    let (before, after) = text.split_once("checksum = \"").unwrap();
    let digit = if after.starts_with('0') { '1' } else { '0' };
    let other = format!("{before}checksum = \"{digit}{}", &after[1..]);
    fs::write(&lock, other).unwrap();
    let said = cargo.refused(&project, &["fetch", "--locked"]);
    let changed = "checksum for `demo v1.0.0 (registry `acme`)` changed between lock files";
    assert!(said.contains(changed), "{said}");
}
