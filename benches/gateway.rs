//! How fast cargo is served: ours against a plain server of files, in alternating runs on loopback.
//!
//! `fetch` is a real `cargo fetch` of a project that needs every package, with an empty cargo home, from a node that
//! holds them all; the plain server reads the same files from disk. `index` and `304` are requests for index files on
//! 64 connections at a time, one after the other on each: all bytes, and only whether they changed.
//!
//! `cargo bench --bench gateway -- [--packages N] [--versions N] [--kib N] [--requests N] [--pairs N]`
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program for developers.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use ggen_marketplace::archive::{self, Bounds};
use ggen_marketplace::gateway::{self, Parts};
use ggen_marketplace::node::Node;
use ggen_marketplace::protocols::metadata::Format;
use ggen_marketplace::protocols::record::{Body, Publish};
use ggen_marketplace::testing::cluster::{Home, Options};
use ggen_marketplace::testing::registry::Author;
use ggen_marketplace::testing::store::content;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CLIENTS: usize = 64;

struct Setting {
    packages: usize,
    versions: usize,
    kib: usize,
    requests: usize,
    pairs: usize,
}

impl Setting {
    fn parse() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |flag: &str, default: usize| {
            let at = args.iter().position(|arg| arg == flag);
            at.map_or(default, |at| args[at + 1].parse().unwrap())
        };
        Self {
            packages: value("--packages", 300),
            versions: value("--versions", 10),
            kib: value("--kib", 32),
            requests: value("--requests", 20_000),
            pairs: value("--pairs", 5),
        }
    }
}

fn name(number: usize) -> String {
    format!("package-{number}")
}

/// Where an index has the file of one of these names.
fn index_path(name: &str) -> String {
    format!("{}/{}/{name}", &name[..2], &name[2..4])
}

fn archive_of(name: &str, version: &str, seed: u64, kib: usize) -> Vec<u8> {
    let manifest =
        format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n");
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let files: [(&str, &[u8]); 3] = [
        ("Cargo.toml", manifest.as_bytes()),
        ("src/lib.rs", b""),
        ("data", &content(seed, kib << 10)),
    ];
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        let path = format!("{name}-{version}/{path}");
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

async fn publish(node: &Node, author: &mut Author, setting: &Setting) {
    for number in 0..setting.packages {
        for version in 0..setting.versions {
            let (name, version) = (name(number), format!("1.{version}.0"));
            let seed = (number * 1000 + version.len()) as u64;
            let archive = archive_of(&name, &version, seed, setting.kib);
            let inspected = archive::inspect(&*archive, Format::Cargo, Bounds::default()).unwrap();
            let publish = Publish::from_metadata(&inspected.metadata.unwrap()).unwrap();
            let record = author.write(Body::Publish(Box::new(publish)));
            let envelope = record.envelope().clone();
            node.publish(envelope, &mut &*archive).await.unwrap();
        }
    }
}

#[tokio::main]
async fn main() {
    let setting = Setting::parse();
    let mut home = Home::new().unwrap();
    let member = home
        .start(Options {
            online: false,
            ..Options::default()
        })
        .await
        .unwrap();
    let mut author = Author::new(1);
    let segment = author.owner().to_string();
    publish(&member.node, &mut author, &setting).await;

    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = gateway::bind(any).await.unwrap();
    let ours = listener.local_addr().unwrap();
    let parts = Parts::new(member.node.clone());
    tokio::spawn(gateway::serve(listener, parts, std::future::pending()));

    let root = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(any).await.unwrap();
    let plain = listener.local_addr().unwrap();
    copy(ours, plain, &segment, root.path(), &setting).await;
    tokio::spawn(files(listener, root.path().to_owned()));

    println!(
        "{} packages with {} versions of {} KiB",
        setting.packages, setting.versions, setting.kib
    );
    for pair in 0..setting.pairs {
        for (who, address) in [("ours ", ours), ("plain", plain)] {
            let fetch = cargo_fetch(address, &segment, &setting).await;
            let index = indexes(address, &segment, &setting, false).await;
            let same = indexes(address, &segment, &setting, true).await;
            println!("{pair} {who}  fetch {fetch:7.2?}  index {index}  304 {same}");
        }
    }
    member.stop().await.unwrap();
}

/// Writes down all that our node answers, for the other server to give out.
async fn copy(ours: SocketAddr, plain: SocketAddr, segment: &str, root: &Path, setting: &Setting) {
    let base = format!("cargo/{segment}");
    let mut connection = Connection::open(ours).await;
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let config = format!("{base}/config.json");
    let text = String::from_utf8(connection.get(&config, None).await.body).unwrap();
    let text = text.replace(&ours.to_string(), &plain.to_string());
    put(&config, text.as_bytes());
    for number in 0..setting.packages {
        let name = name(number);
        let path = format!("{base}/{}", index_path(&name));
        let file = connection.get(&path, None).await.body;
        put(&path, &file);
        let last = String::from_utf8(file).unwrap();
        let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
        let (version, sha256) = (
            last["vers"].as_str().unwrap(),
            last["cksum"].as_str().unwrap(),
        );
        let path = format!("{base}/dl/{name}/{version}/{sha256}");
        put(&path, &connection.get(&path, None).await.body);
    }
}

/// A plain server of files, with an entity tag of its own for each.
async fn files(listener: TcpListener, root: PathBuf) {
    let root = Arc::new(root);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let root = root.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Some(head) = read_head(&mut stream).await {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let etag = format!("\"{path}\"");
                let known = head.contains(&format!("if-none-match: {etag}"));
                let path = root.join(&path[1..]);
                let (status, body) = match tokio::fs::read(path).await {
                    Ok(_) if known => ("304 Not Modified", Vec::new()),
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {length}\r\n\r\n"
                );
                let answer = [head.as_bytes(), &body].concat();
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

struct Answer {
    status: u16,
    etag: Option<String>,
    body: Vec<u8>,
}

impl Connection {
    async fn open(host: SocketAddr) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            host,
        }
    }

    async fn get(&mut self, path: &str, etag: Option<&str>) -> Answer {
        let known = etag.map(|etag| format!("if-none-match: {etag}\r\n"));
        let known = known.unwrap_or_default();
        let host = self.host;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n{known}\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut self.stream).await.unwrap();
        let header = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = match status {
            304 => 0,
            _ => header("content-length").unwrap().parse().unwrap(),
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        Answer {
            status,
            etag: header("etag"),
            body,
        }
    }
}

/// How long a real cargo takes to fetch everything.
async fn cargo_fetch(address: SocketAddr, segment: &str, setting: &Setting) -> Duration {
    let home = tempfile::tempdir().unwrap();
    let config =
        format!("[registries.bench]\nindex = \"sparse+http://{address}/cargo/{segment}/\"\n");
    fs::write(home.path().join("config.toml"), config).unwrap();
    let project = home.path().join("project");
    fs::create_dir_all(project.join("src")).unwrap();
    fs::write(project.join("src/lib.rs"), "").unwrap();
    let mut manifest = fs::File::create(project.join("Cargo.toml")).unwrap();
    let package = "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    writeln!(manifest, "{package}[workspace]\n[dependencies]").unwrap();
    for number in 0..setting.packages {
        let name = name(number);
        writeln!(
            manifest,
            "{name} = {{ version = \"1\", registry = \"bench\" }}"
        )
        .unwrap();
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["fetch", "--quiet"]).current_dir(&project);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.env("CARGO_HOME", home.path()).stdin(Stdio::null());
    let start = Instant::now();
    let status = tokio::task::spawn_blocking(move || command.status());
    assert!(status.await.unwrap().unwrap().success());
    start.elapsed()
}

/// The times of many requests for index files, from many clients at a time.
async fn indexes(address: SocketAddr, segment: &str, setting: &Setting, known: bool) -> String {
    let mut clients = JoinSet::new();
    let (packages, each) = (setting.packages, setting.requests / CLIENTS);
    for client in 0..CLIENTS {
        let base = format!("cargo/{segment}");
        clients.spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut etags: HashMap<usize, String> = HashMap::new();
            let mut times = Vec::with_capacity(each);
            for request in 0..each {
                let number = (client * 31 + request) % packages.min(32);
                let path = format!("{base}/{}", index_path(&name(number)));
                if known && !etags.contains_key(&number) {
                    let etag = connection.get(&path, None).await.etag.unwrap();
                    etags.insert(number, etag);
                }
                let etag = etags.get(&number).map(String::as_str);
                let start = Instant::now();
                let answer = connection.get(&path, etag).await;
                times.push(start.elapsed());
                assert_eq!(answer.status, if known { 304 } else { 200 });
            }
            times
        });
    }
    let start = Instant::now();
    let mut times: Vec<Duration> = clients.join_all().await.concat();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("{rate:6.0}/s p50 {:7.2?} p99 {:7.2?}", at(50), at(99))
}
