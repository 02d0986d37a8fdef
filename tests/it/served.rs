//! A node that answers HTTP, asked byte for byte.

use std::net::SocketAddr;

use ggen_marketplace::gateway::{self, Parts};
use ggen_marketplace::node::Node;
use ggen_marketplace::testing::cluster::{Home, Member, Options};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use crate::place::DEADLINE;

/// HTTP of a node.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A node without network in a home of its own, and its HTTP.
pub(crate) async fn alone() -> (Member, Home, Served) {
    let options = Options {
        online: false,
        ..Options::default()
    };
    let (member, home) = Member::start(options).await.unwrap();
    let served = Served::start(&member.node).await;
    (member, home, served)
}

impl Served {
    pub(crate) async fn start(node: &Node) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = gateway::bind(any).await.unwrap();
        let address = bound.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let until = async { stopped.await.unwrap_or_default() };
        let serve = gateway::serve(bound, Parts::new(node.clone()), until);
        Self {
            address,
            stop,
            task: tokio::spawn(serve),
        }
    }

    /// Asks for a page with further header lines, each with its line end.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = self.address;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            String::from_utf8(bytes).unwrap()
        };
        Answer::of(&timeout(DEADLINE, exchange).await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// A page that is there, as JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Opens the stream of events.
    pub(crate) async fn watch(&self, headers: &str) -> Watch {
        let host = self.address;
        // In this version of the protocol the body has no frames.
        let request = format!("GET /api/v1/events HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n");
        let open = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
            }
            (Answer::of(&head), stream)
        };
        let (head, stream) = timeout(DEADLINE, open).await.unwrap();
        Watch { head, stream }
    }

    /// Stops; returns when nothing is answered any more.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// A stream of events.
pub(crate) struct Watch {
    pub(crate) head: Answer,
    stream: BufReader<TcpStream>,
}

/// One event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Happened {
    pub(crate) event: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

impl Watch {
    /// The next event; nothing at the end. Comments and hints are passed over.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        let read = async {
            let mut happened = Happened::default();
            loop {
                let mut line = String::new();
                if self.stream.read_line(&mut line).await.unwrap() == 0 {
                    return None;
                }
                match line.trim_end().split_once(": ") {
                    Some(("event", event)) => happened.event = event.to_owned(),
                    Some(("id", id)) => happened.id = Some(id.parse().unwrap()),
                    Some(("data", data)) => happened.data = serde_json::from_str(data).unwrap(),
                    None if line.trim().is_empty() && !happened.event.is_empty() => {
                        return Some(happened);
                    }
                    _ => {}
                }
            }
        };
        timeout(DEADLINE, read).await.unwrap()
    }

    /// The next event of a kind.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Happened {
        loop {
            let happened = self.next().await.unwrap();
            if happened.event == kind {
                return happened;
            }
        }
    }
}
