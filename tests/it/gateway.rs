//! HTTP from outside, byte for byte: what is answered, what is refused, and with which headers.

mod flood;
mod guard;

use std::net::SocketAddr;

use ggen_marketplace::assemble::{self, Founding, Home, Layout, Presence};
use ggen_marketplace::gateway::{self, Bound, Options, Parts};
use ggen_marketplace::node::{Config, Node, Running};
use ggen_marketplace::testing::cluster::author;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::place::DEADLINE;

/// A node without network that answers HTTP.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    running: Running,
    stop: oneshot::Sender<()>,
    _home: Home,
    _dir: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) async fn served() -> Served {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = gateway::bind(any).await.unwrap();
    served_on(bound, Options::default()).await
}

async fn served_on(listener: Bound, options: Options) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::at(dir.path()).unwrap();
    layout.init(None).unwrap();
    let founded = layout.found(&Founding::Bare, None).unwrap();
    founded.finish().unwrap();
    let home = Home::open(&layout).unwrap();
    let config = Config::default();
    let assembled = assemble::assemble(&home, config, Presence::Offline).await;
    let (node, running) = assembled.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (stop, stopped) = oneshot::channel();
    let until = async { stopped.await.unwrap_or_default() };
    let parts = Parts {
        options,
        ..Parts::new(node.clone())
    };
    tokio::spawn(gateway::serve(listener, parts, until));
    Served {
        address,
        node,
        running,
        stop,
        _home: home,
        _dir: dir,
    }
}

impl Served {
    /// Sends these bytes, `HOST` standing for the right one, and reads to the end of the answer.
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let request = request.replace("HOST", &self.address.to_string());
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let text = timeout(DEADLINE, exchange).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let served = served().await;
    let health = served.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let status = served.get("/api/v1/status").await;
    assert_eq!(status.status, 200);
    let http = format!("http://{}", served.address);
    assert_eq!(status.json()["http"], http);
    assert_eq!(status.json()["records"], 0);
    served.stop().await;
}

#[tokio::test]
async fn a_search_finds_nothing_in_an_empty_catalogue_whatever_is_asked() {
    let served = served().await;
    for query in ["", "?q=x", "?q=%28%28%22*%3A*&limit=100&offset=10000"] {
        let answer = served.get(&format!("/api/v1/search{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let empty = serde_json::json!({ "total": 0, "hits": [] });
        assert_eq!(answer.json(), empty);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_its_reason() {
    let served = served().await;
    for (path, status, why) in [
        ("/nowhere", 404, "/api/v1"),
        ("/api/v1/packages/nobody", 404, "nobody"),
        ("/api/v1/packages/no%20name", 400, "only letters"),
        ("/api/v1/packages/%ff", 400, "UTF-8"),
        ("/api/v1/packages/Acme/x", 400, "lower-case"),
        ("/api/v1/packages/a/b/1.0.0/c", 404, "/api/v1"),
        ("/api/v1/search?limit=101", 400, "100"),
        ("/api/v1/search?offset=10001", 400, "10000"),
        ("/api/v1/search?limit=x", 400, "limit"),
    ] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(
            answer.headers.contains("application/problem+json"),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{path}: {detail}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_contested_name_is_a_conflict_that_names_the_choices() {
    let served = served().await;
    let mut owners = Vec::new();
    for number in [1, 2] {
        let mut author = author(number);
        let record = author.publish("http@1.0.0", "content");
        let envelope = record.envelope().clone();
        let mut archive = "content".as_bytes();
        served.node.publish(envelope, &mut archive).await.unwrap();
        owners.push(author.owner().to_string());
    }
    let answer = served.get("/api/v1/packages/http").await;
    assert_eq!(answer.status, 409);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("claimed by 2 owners"), "{detail}");
    for owner in owners {
        let choice = format!("market use http {owner}");
        assert!(detail.contains(&choice), "{detail}");
        let whole = served.get(&format!("/api/v1/packages/{owner}/http")).await;
        assert_eq!(whole.status, 200, "{}", whole.body);
    }
    served.stop().await;
}

#[tokio::test]
async fn every_answer_keeps_other_pages_out() {
    let served = served().await;
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n";
    let answers = [
        served.get("/api/v1/status").await,
        served.get("/nowhere").await,
        served.raw(foreign).await,
    ];
    for answer in answers {
        for header in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            "x-frame-options: deny",
            "content-security-policy: default-src 'none'; script-src 'self';",
            "cache-control: no-store",
        ] {
            assert!(
                answer.headers.contains(header),
                "{header}: {}",
                answer.headers
            );
        }
        assert!(!answer.headers.contains("access-control-allow"));
    }
    served.stop().await;
}

#[tokio::test]
async fn a_large_body_is_refused_unread() {
    let served = served().await;
    let head = "GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: ";
    for length in ["65537", "99999999999999"] {
        let answer = served.raw(&format!("{head}{length}\r\n\r\n")).await;
        assert_eq!(answer.status, 413, "{length}");
    }
    served.stop().await;
}

#[tokio::test]
async fn only_loopback_can_be_bound() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = gateway::bind(address.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(error, gateway::GatewayError::NotLoopback(_)),
            "{address}"
        );
    }
}
