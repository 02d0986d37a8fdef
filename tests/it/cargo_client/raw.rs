//! The read side of cargo's protocol, byte for byte.

use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::metadata::Format;
use ggen_marketplace::protocols::record::{Body, Publish, Record, State, Verified};
use ggen_marketplace::registry::Decision;
use ggen_marketplace::testing::cluster::author;
use ggen_marketplace::testing::registry::Author;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::archive::{Tarball, inspect};
use crate::gateway::{Served, served};
use crate::place::DEADLINE;

pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn lines(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text());
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

async fn get_with(served: &Served, path: &str, headers: &str) -> Reply {
    let address = served.address;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let bytes = timeout(DEADLINE, exchange).await.unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

pub(super) async fn get(served: &Served, path: &str) -> Reply {
    get_with(served, path, "").await
}

/// A crate, and the record that publishes it.
fn release(
    author: &mut Author,
    name: &str,
    version: &str,
    more: &str,
) -> (Verified<Record>, Vec<u8>) {
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n{more}");
    let path = format!("{name}-{version}/Cargo.toml");
    let archive = Tarball::new().file(&path, manifest.as_bytes()).gzip();
    (record_of(author, &archive), archive)
}

fn record_of(author: &mut Author, archive: &[u8]) -> Verified<Record> {
    let mut metadata = inspect(archive).unwrap().metadata.unwrap();
    metadata.published_at = "2026-11-23T10:20:30Z".parse().unwrap();
    let publish = Publish::from_metadata(&metadata).unwrap();
    author.write(Body::Publish(Box::new(publish)))
}

/// Publishes this archive.
pub(super) async fn publish_archive(served: &Served, author: &mut Author, archive: Vec<u8>) {
    let envelope = record_of(author, &archive).envelope().clone();
    let mut bytes = archive.as_slice();
    served.node.publish(envelope, &mut bytes).await.unwrap();
}

pub(super) async fn publish(
    served: &Served,
    author: &mut Author,
    name: &str,
    version: &str,
) -> Vec<u8> {
    let (record, archive) = release(author, name, version, "");
    let envelope = record.envelope().clone();
    let mut bytes = archive.as_slice();
    served.node.publish(envelope, &mut bytes).await.unwrap();
    archive
}

fn yank(
    author: &mut Author,
    name: &str,
    version: &str,
    yanked: bool,
    revision: u64,
) -> Verified<Record> {
    author.write(Body::State(State {
        name: name.to_owned(),
        version: Some(version.to_owned()),
        revision,
        yanked,
        withdrawn: false,
        note: String::new(),
        info: None,
    }))
}

#[tokio::test]
async fn an_index_says_where_it_is_answered() {
    let served = served().await;
    let owner = author(1).owner();
    for segment in ["_", "acme", &owner.to_string()] {
        let reply = get(&served, &format!("/cargo/{segment}/config.json")).await;
        let api = format!("http://{}/cargo/{segment}", served.address);
        let dl = format!("{api}/dl/{{crate}}/{{version}}/{{sha256-checksum}}");
        let config: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(config, json!({ "dl": dl, "api": api }));
        let me = get(&served, &format!("/cargo/{segment}/me")).await;
        assert!(me.text().contains("market token new"), "{}", me.text());
    }
    served.stop().await;
}

#[tokio::test]
async fn only_the_exact_path_of_a_file_has_it_and_nothing_is_redirected() {
    let served = served().await;
    let mut author = author(1);
    let owner = author.owner();
    let names = ["a", "ab", "abc", "Gw-User"];
    for name in names {
        publish(&served, &mut author, name, "1.0.0").await;
    }
    let here = ["1/a", "2/ab", "3/a/abc", "gw/-u/gw-user"];
    for (name, path) in names.iter().zip(here) {
        for segment in ["_", &owner.to_string()] {
            let reply = get(&served, &format!("/cargo/{segment}/{path}")).await;
            assert_eq!(reply.lines()[0]["name"], *name);
        }
    }
    let upper = owner.to_string().to_uppercase();
    for path in [
        "/cargo/_/a",
        "/cargo/_/2/a",
        "/cargo/_/a/b/abc",
        "/cargo/_/gw/us/gw-user",
        "/cargo/_/gw/_u/gw_user",
        "/cargo/_/Gw/-U/Gw-User",
        "/cargo/_/gw/-u/Gw-User",
        "/cargo/_//1/a",
        "/cargo//_/1/a",
        "//cargo/_/1/a",
        "/cargo/_/1//a",
        "/cargo/_/1/a/",
        "/cargo/_/./1/a",
        "/cargo/x/../_/1/a",
        "/cargo/%5f/1/a",
        "/cargo/_/1/%61",
        "/cargo/_%2f1/a",
        "/cargo/%2e%2e/_/1/a",
        "/cargo/_.git/1/a",
        "/cargo/_/config.json/",
        "/cargo/_/Config.json",
        "/cargo/_/config%2ejson",
        "/cargo/acme.git/config.json",
        "/cargo/Acme/config.json",
        "/cargo/ns1short/config.json",
        &format!("/cargo/{upper}/config.json"),
        &format!("/cargo/{owner}.git/config.json"),
        &format!("/cargo/{owner}/../_/1/a"),
        "/cargo/_/co/n/con",
        "/cargo/_/0/",
        "/cargo/_/",
        "/cargo/_",
        "/cargo/",
        "/cargo/_/api/v1/crates/a",
        "/cargo/_/api/v1/crates/a/1.0.0",
        "/cargo/_/api/v1/crates/a/1.0/download",
        "/cargo/_/api/v1/crates/a/1.0.0/download/",
        "/cargo/_/api/v1/crates/a/1%2e0.0/download",
        "/cargo/_/api/v1/crates/a/2.0.0/download",
        "/cargo/_/api/v1/crates/nobody/1.0.0/download",
        "/cargo/_/dl/a/1.0.0/00",
    ] {
        let reply = get(&served, path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert_eq!(reply.header("location"), None, "{path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_file_has_one_line_for_each_release_and_says_which_bytes_it_is() {
    let served = served().await;
    let mut author = author(1);
    // Not in order: who fixes an old version publishes it last.
    for version in ["1.10.0", "2.0.0-rc.1", "1.9.0", "0.1.0+build.5", "2.0.0"] {
        publish(&served, &mut author, "demo", version).await;
    }
    let path = "/cargo/_/de/mo/demo";
    let reply = get(&served, path).await;
    let lines = reply.lines();
    let versions: Vec<_> = lines
        .iter()
        .map(|line| line["vers"].as_str().unwrap())
        .collect();
    let expected = ["0.1.0+build.5", "1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0"];
    assert_eq!(versions, expected);
    assert!(reply.text().ends_with("}\n"));
    let etag = format!("\"{}\"", ContentHash::blake3(&reply.body).to_hex());
    assert_eq!(reply.header("etag"), Some(etag.as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("last-modified"), None);
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.header("location"), None);

    for known in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"other\", {etag}"),
        "*".to_owned(),
    ] {
        let again = get_with(&served, path, &format!("If-None-Match: {known}\r\n")).await;
        assert_eq!(again.status, 304, "{known}");
        assert_eq!(again.header("etag"), Some(etag.as_str()));
        assert!(again.body.is_empty());
    }
    for other in ["\"other\"", &etag[1..65], "If-Modified-Since"] {
        let again = get_with(&served, path, &format!("If-None-Match: {other}\r\n")).await;
        assert_eq!(again.body, reply.body, "{other}");
    }
    let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    assert_eq!(get_with(&served, path, since).await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn what_is_published_yanked_or_decided_is_in_the_next_answer() {
    let served = served().await;
    let mut author = author(1);
    let owner = author.owner();
    let paths = [
        "/cargo/_/de/mo/demo".to_owned(),
        format!("/cargo/{owner}/de/mo/demo"),
    ];
    let etags = async || {
        let mut etags = Vec::new();
        for path in &paths {
            let reply = get(&served, path).await;
            etags.push(reply.header("etag").map(str::to_owned));
        }
        assert_eq!(etags[0], etags[1]);
        etags.remove(0)
    };
    assert_eq!(etags().await, None);
    let mut seen = Vec::new();
    for number in 1..=5 {
        publish(&served, &mut author, "demo", &format!("{number}.0.0")).await;
        assert_eq!(get(&served, &paths[0]).await.lines().len(), number);
        seen.push(etags().await);
        // Of others nothing changes.
        publish(&served, &mut author, &format!("other-{number}"), "1.0.0").await;
        assert_eq!(&etags().await, seen.last().unwrap());
    }
    for (revision, yanked) in [(1, true), (2, false)] {
        let record = yank(&mut author, "demo", "3.0.0", yanked, revision);
        served.node.submit(record.envelope().clone()).await.unwrap();
        let lines = get(&served, &paths[0]).await.lines();
        let told: Vec<_> = lines.iter().map(|line| line["yanked"] == true).collect();
        assert_eq!(told, [false, false, yanked, false, false]);
        seen.push(etags().await);
    }
    // Unyanked, it is what it was.
    assert_eq!(seen.pop(), Some(seen[4].clone()));
    let different: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(different.len(), 6);

    // What the user decides, too.
    let choices = served.node.choices().unwrap();
    let block = Decision::Block(owner, "spam".to_owned());
    choices.decide(block).await.unwrap();
    assert_eq!(get(&served, &paths[1]).await.status, 404);
    choices.decide(Decision::Unblock(owner)).await.unwrap();
    assert_eq!(etags().await, seen[4]);
    served.stop().await;
}

#[tokio::test]
async fn a_version_with_two_contents_stays_only_for_those_who_used_it_and_as_yanked() {
    let served = served().await;
    let mut writer = author(1);
    let start = writer.head;
    let (first, archive) = release(&mut writer, "demo", "1.0.0", "");
    let envelope = first.envelope().clone();
    served
        .node
        .publish(envelope, &mut archive.as_slice())
        .await
        .unwrap();
    publish(&served, &mut writer, "demo", "1.1.0").await;
    let path = "/cargo/_/de/mo/demo";
    assert_eq!(get(&served, path).await.lines().len(), 2);

    let mut forked = author(1);
    forked.head = start;
    let (second, _) = release(&mut forked, "demo", "1.0.0", "description = \"other\"\n");
    let catalogue = served.node.catalogue();
    catalogue.admit(vec![second]).await.unwrap();
    let lines = get(&served, path).await.lines();
    assert_eq!(lines.len(), 1, "withheld: {lines:?}");
    assert_eq!(lines[0]["vers"], "1.1.0");
    let refused = get(&served, "/cargo/_/api/v1/crates/demo/1.0.0/download").await;
    assert_eq!(refused.status, 410, "{}", refused.text());

    let releases = catalogue
        .releases(writer.owner(), &"demo".parse().unwrap())
        .await
        .unwrap();
    let choices = served.node.choices().unwrap();
    choices
        .used(None, &releases[0].key, first.id())
        .await
        .unwrap();
    let lines = get(&served, path).await.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&line["vers"], &line["yanked"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("1.0.0"), &json!(true)),
            (&json!("1.1.0"), &json!(false))
        ]
    );
    assert_eq!(lines[0]["cksum"], ContentHash::sha256(&archive).to_hex());
    served.stop().await;
}

#[tokio::test]
async fn a_name_that_means_nobody_is_answered_in_words_until_the_user_decides() {
    let served = served().await;
    let (mut one, mut other) = (author(1), author(2));
    publish(&served, &mut one, "http", "1.0.0").await;
    let path = "/cargo/_/ht/tp/http";
    assert_eq!(get(&served, path).await.lines().len(), 1);
    publish(&served, &mut other, "http", "2.0.0").await;
    let contested = get(&served, path).await;
    assert_eq!(contested.status, 409);
    assert_eq!(
        contested.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    for owner in [one.owner(), other.owner()] {
        let choice = format!("  market use http {owner}\n");
        assert!(contested.text().contains(&choice), "{}", contested.text());
    }
    let choices = served.node.choices().unwrap();
    for (owner, version) in [(other.owner(), "2.0.0"), (one.owner(), "1.0.0")] {
        let pin = Decision::PinName("http".parse().unwrap(), owner);
        choices.decide(pin).await.unwrap();
        assert_eq!(get(&served, path).await.lines()[0]["vers"], version);
    }
    served.stop().await;
}

#[tokio::test]
async fn what_a_bare_name_means_decides_how_its_dependents_find_it() {
    let served = served().await;
    let (mut one, mut other) = (author(1), author(2));
    publish(&served, &mut one, "leaf", "1.0.0").await;
    let index = format!("sparse+http://127.0.0.1:7878/cargo/{}/", one.owner());
    let needs = format!("[dependencies.leaf]\nversion = \"1\"\nregistry-index = \"{index}\"\n");
    let (record, archive) = release(&mut one, "top", "1.0.0", &needs);
    let envelope = record.envelope().clone();
    served
        .node
        .publish(envelope, &mut archive.as_slice())
        .await
        .unwrap();
    let registry = async |segment: &str| {
        let reply = get(&served, &format!("/cargo/{segment}/3/t/top")).await;
        reply.lines()[0]["deps"][0]["registry"].clone()
    };
    assert_eq!(registry("_").await, Value::Null);
    publish(&served, &mut other, "leaf", "1.0.0").await;
    assert_eq!(registry("_").await, index);
    assert_eq!(registry(&one.owner().to_string()).await, Value::Null);
    let choices = served.node.choices().unwrap();
    let pin = Decision::PinName("leaf".parse().unwrap(), one.owner());
    choices.decide(pin).await.unwrap();
    assert_eq!(registry("_").await, Value::Null);
    served.stop().await;
}

#[tokio::test]
async fn a_download_is_what_was_published_and_counts_as_a_use() {
    let served = served().await;
    let mut author = author(1);
    let archive = publish(&served, &mut author, "demo", "1.0.0+x.1").await;
    let sha256 = ContentHash::sha256(&archive).to_hex();
    let pinned = async || {
        let name = "demo".parse().unwrap();
        let releases = served.node.catalogue().releases(author.owner(), &name);
        releases.await.unwrap()[0].pinned
    };
    let other = ContentHash::sha256("other").to_hex();
    let path = format!("/cargo/_/dl/demo/1.0.0+x.1/{other}");
    assert_eq!(get(&served, &path).await.status, 404);
    assert!(!pinned().await);
    for path in [
        format!("/cargo/_/dl/demo/1.0.0+x.1/{sha256}"),
        "/cargo/_/api/v1/crates/demo/1.0.0+x.1/download".to_owned(),
        format!("/cargo/{}/dl/demo/1.0.0+x.1/{sha256}", author.owner()),
    ] {
        let reply = get(&served, &path).await;
        assert_eq!(reply.body, archive, "{path}");
        assert_eq!(reply.header("content-type"), Some("application/gzip"));
        assert_eq!(reply.header("content-encoding"), None);
        let length = archive.len().to_string();
        assert_eq!(reply.header("content-length"), Some(length.as_str()));
        let kept = reply.header("cache-control").unwrap();
        assert!(kept.contains("immutable"), "{kept}");
        assert!(pinned().await);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_archive_that_nobody_holds_may_be_had_later() {
    let served = served().await;
    let (record, archive) = release(&mut author(1), "demo", "1.0.0", "");
    served.node.catalogue().admit(vec![record]).await.unwrap();
    let line = get(&served, "/cargo/_/de/mo/demo").await.lines().remove(0);
    assert_eq!(line["cksum"], ContentHash::sha256(&archive).to_hex());
    let reply = get(&served, "/cargo/_/api/v1/crates/demo/1.0.0/download").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("5"));
    let problem: Value = serde_json::from_slice(&reply.body).unwrap();
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("no connected peer holds demo@1.0.0"),
        "{detail}"
    );
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_crate_is_in_no_index() {
    let served = served().await;
    let mut author = author(1);
    let record = author.publish("data@1.0.0", "content");
    let Body::Publish(body) = &record.content().body else {
        panic!("publishes nothing");
    };
    assert_eq!(body.to_metadata(None, &record).format, Format::Generic);
    let envelope = record.envelope().clone();
    served
        .node
        .publish(envelope, &mut "content".as_bytes())
        .await
        .unwrap();
    assert_eq!(get(&served, "/cargo/_/da/ta/data").await.status, 404);
    let path = "/cargo/_/api/v1/crates/data/1.0.0/download";
    assert_eq!(get(&served, path).await.status, 404);
    served.stop().await;
}

#[tokio::test]
async fn a_search_finds_what_the_index_has() {
    let served = served().await;
    let (mut one, mut other) = (author(1), author(2));
    publish(&served, &mut one, "http-parser", "1.0.0").await;
    publish(&served, &mut one, "http-client", "1.2.0").await;
    publish(&served, &mut other, "http-server", "2.0.0").await;
    publish(&served, &mut other, "http-parser", "3.0.0").await;
    let found = async |segment: &str, query: &str| {
        let path = format!("/cargo/{segment}/api/v1/crates?{query}");
        let reply = get(&served, &path).await;
        let found: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(found.get("errors").is_none(), "{found}");
        let crates = found["crates"].as_array().unwrap().iter();
        let mut crates: Vec<_> = crates
            .map(|one| {
                format!(
                    "{}@{}",
                    one["name"].as_str().unwrap(),
                    one["max_version"].as_str().unwrap()
                )
            })
            .collect();
        crates.sort();
        (crates.join(" "), found["meta"]["total"].clone())
    };
    ggen_marketplace::testing::cluster::eventually("all are found", DEADLINE, async || {
        let (_, total) = found(&other.owner().to_string(), "q=http").await;
        total == 2
    })
    .await;
    let one_has = found(&one.owner().to_string(), "q=http&per_page=10").await;
    assert_eq!(
        one_has,
        ("http-client@1.2.0 http-parser@1.0.0".to_owned(), json!(2))
    );
    // `http-parser` means nobody here.
    let named = found("_", "q=http").await;
    assert_eq!(
        named,
        ("http-client@1.2.0 http-server@2.0.0".to_owned(), json!(2))
    );
    let (first, total) = found("_", "q=http&per_page=1").await;
    assert_eq!((first.split(' ').count(), total), (1, json!(2)));
    for (query, status) in [("per_page=101", 400), ("per_page=x", 400), ("", 200)] {
        let path = format!("/cargo/_/api/v1/crates?{query}");
        assert_eq!(get(&served, &path).await.status, status, "{query}");
    }
    served.stop().await;
}
