//! The guard around routes of its own, over real connections: ones that panic, hang, read and send for ever.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::middleware::{self, Next};
use axum::routing::{get, put};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::gateway::UPLOAD_BYTES_MAX;

const DEADLINE: Duration = Duration::from_secs(60);
/// A machine that does a lot besides pauses a test for less.
const SOON: Duration = Duration::from_secs(1);
const UPLOAD_MAX: u64 = 1 << 20;

async fn panics() -> &'static str {
    panic!("as the test wants it")
}

async fn hangs() -> &'static str {
    futures::future::pending().await
}

async fn counts(body: Result<Bytes, BytesRejection>) -> Result<String, BytesRejection> {
    Ok(body?.len().to_string())
}

/// Begins at once and never ends.
async fn streams() -> Body {
    let first = futures::stream::iter([Ok::<_, BoxError>("begun\n")]);
    Body::from_stream(first.chain(futures::stream::pending()))
}

async fn keeps() -> impl IntoResponse {
    let kept = [
        (header::CACHE_CONTROL, "max-age=60"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
        (header::X_FRAME_OPTIONS, "ALLOW"),
    ];
    (kept, "kept")
}

async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let run = |request| next.run(request);
    around(&guard, request, |request| slot(&guard, request, run)).await
}

struct Guarded {
    address: SocketAddr,
    guard: Arc<Guard>,
}

async fn guarded(request_time_max: Duration) -> Guarded {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hosts = Hosts::new(address, Vec::new());
    let guard = Arc::new(Guard::new(hosts, request_time_max, UPLOAD_MAX));
    let routes = Router::new()
        .route("/fine", get(async || "fine"))
        .route("/cargo/_/dl/x/1.0.0/0", get(hangs))
        .route("/panics", get(panics))
        .route("/hangs", get(hangs))
        .route("/streams", get(streams))
        .route("/keeps", get(keeps))
        .route("/counts", put(counts))
        .route("/large", get(async || vec![0; 3 << 20]))
        .route("/cargo/_/api/v1/crates/new", put(counts))
        .layer(middleware::from_fn_with_state(Arc::clone(&guard), pass));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Guarded { address, guard }
}

impl Guarded {
    async fn begin(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    fn head(&self, first: &str, headers: &str) -> String {
        let host = self.address;
        format!("{first} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
    }

    async fn ask(&self, first: &str, headers: &str, body: &[u8]) -> String {
        let request = [self.head(first, headers).as_bytes(), body].concat();
        let exchange = async {
            let mut stream = self.begin(&request).await;
            let mut answer = Vec::new();
            // Refused bodies end in a reset, after the answer.
            drop(stream.read_to_end(&mut answer).await);
            String::from_utf8_lossy(&answer).into_owned()
        };
        timeout(DEADLINE, exchange).await.unwrap()
    }
}

fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn a_handler_that_panics_is_an_answer_and_others_are_served() {
    let guarded = guarded(DEADLINE).await;
    let answer = guarded.ask("GET /panics", "", b"").await;
    assert_eq!(status(&answer), 500);
    assert!(!answer.contains("as the test wants it"), "{answer}");
    assert!(
        answer.contains("problem+json") && answer.contains("nosniff"),
        "{answer}"
    );
    assert_eq!(status(&guarded.ask("GET /fine", "", b"").await), 200);
}

#[tokio::test]
async fn what_hangs_is_ended() {
    let guarded = guarded(SOON).await;
    let answer = guarded.ask("GET /hangs", "", b"").await;
    assert_eq!(status(&answer), 503);
    assert!(
        answer.to_ascii_lowercase().contains("\nretry-after: 5"),
        "{answer}"
    );
    // A body that does not come is no different.
    let stalled = "Content-Length: 10\r\nContent-Type: application/json\r\n";
    assert_eq!(
        status(&guarded.ask("PUT /counts", stalled, b"12345").await),
        503
    );
}

#[tokio::test]
async fn what_began_goes_on_for_longer_than_a_request_may_take() {
    let guarded = guarded(SOON).await;
    let request = guarded.head("GET /streams", "");
    let mut stream = guarded.begin(request.as_bytes()).await;
    let mut begun = Vec::new();
    let reading = async {
        while !begun.ends_with(b"begun\n\r\n") {
            begun.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    assert!(timeout(3 * SOON, stream.read_u8()).await.is_err());
    assert_eq!(guarded.guard.requests.available_permits(), REQUESTS_MAX);
    assert_eq!(guarded.guard.streams.available_permits(), STREAMS_MAX - 1);
}

#[tokio::test]
async fn long_answers_are_bounded_and_leave_room_for_short_ones() {
    let guarded = guarded(DEADLINE).await;
    let taken = Arc::clone(&guarded.guard.streams);
    let taken = taken.acquire_many_owned(STREAMS_MAX as u32).await.unwrap();
    for path in ["/streams", "/large"] {
        let answer = guarded.ask(&format!("GET {path}"), "", b"").await;
        assert_eq!(status(&answer), 503, "{path}");
    }
    assert_eq!(status(&guarded.ask("GET /fine", "", b"").await), 200);
    drop(taken);
    let answer = guarded.ask("GET /large", "", b"").await;
    assert_eq!(status(&answer), 200);
    assert!(
        answer.contains("content-length: 3145728"),
        "{}",
        &answer[..400]
    );
}

#[tokio::test]
async fn downloads_that_wait_for_peers_keep_no_other_request_waiting() {
    let guarded = guarded(DEADLINE).await;
    let request = guarded.head("GET /cargo/_/dl/x/1.0.0/0", "");
    let mut waiting = Vec::new();
    for _ in 0..FETCHES_MAX.max(REQUESTS_MAX) + 1 {
        waiting.push(guarded.begin(request.as_bytes()).await);
    }
    let all_taken = async {
        while guarded.guard.fetches.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, all_taken).await.unwrap();
    let requests = guarded.guard.requests.available_permits();
    assert_eq!(requests, REQUESTS_MAX);
    let answer = guarded.ask("GET /fine", "", b"").await;
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn requests_wait_for_a_place_and_uploads_do_not_take_the_others_places() {
    let guarded = guarded(SOON).await;
    let guard = &guarded.guard;
    let all = guard
        .uploads
        .acquire_many(UPLOADS_MAX as u32)
        .await
        .unwrap();
    let upload = "PUT /cargo/_/api/v1/crates/new";
    let length = "Content-Length: 3\r\n";
    assert_eq!(status(&guarded.ask(upload, length, b"123").await), 503);
    assert_eq!(status(&guarded.ask("GET /fine", "", b"").await), 200);
    drop(all);
    assert_eq!(status(&guarded.ask(upload, length, b"123").await), 200);
    let all = guard
        .requests
        .acquire_many(REQUESTS_MAX as u32)
        .await
        .unwrap();
    assert_eq!(status(&guarded.ask("GET /fine", "", b"").await), 503);
    drop(all);
    assert_eq!(status(&guarded.ask("GET /fine", "", b"").await), 200);
}

#[tokio::test]
async fn a_body_is_refused_where_it_becomes_too_large_whether_it_says_so_or_not() {
    let guarded = guarded(DEADLINE).await;
    let chunked = |bytes: usize| {
        let mut body = Vec::new();
        for piece in vec![b'x'; bytes].chunks(10_000) {
            body.extend(format!("{:x}\r\n", piece.len()).bytes());
            body.extend(piece);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        body
    };
    let short = (
        "PUT /counts",
        "Content-Type: application/json\r\n",
        BODY_BYTES_MAX,
    );
    let upload = ("PUT /cargo/_/api/v1/crates/new", "", UPLOAD_MAX);
    for (first, headers, max) in [short, upload] {
        let max = usize::try_from(max).unwrap();
        for (bytes, expected) in [(max, 200), (max + 1, 413)] {
            let length = format!("{headers}Content-Length: {bytes}\r\n");
            let sized = guarded.ask(first, &length, &vec![b'x'; bytes]).await;
            let chunks = format!("{headers}Transfer-Encoding: chunked\r\n");
            let chunked = guarded.ask(first, &chunks, &chunked(bytes)).await;
            for answer in [sized, chunked] {
                assert_eq!(status(&answer), expected, "{first} {bytes}");
                let count = answer.ends_with(&bytes.to_string());
                assert_eq!(count, expected == 200, "{answer}");
            }
        }
    }
    for length in ["99999999999999999999999", "-1", "x"] {
        let length = format!("Content-Length: {length}\r\n");
        let answer = guarded.ask("GET /fine", &length, b"").await;
        assert!(matches!(status(&answer), 400 | 413), "{length}: {answer}");
    }
}

#[test]
fn uploads_at_a_time_have_a_bound_in_bytes() {
    for (each, count) in [
        (0, 8),
        (1, 8),
        (10 << 20, 8),
        (16 << 20, 8),
        (17 << 20, 7),
        (UPLOAD_BYTES_MAX, 1),
    ] {
        assert_eq!(uploads_max(each), count, "{each}");
        assert!(each * count as u64 <= UPLOADS_BYTES_MAX);
    }
}

#[tokio::test]
async fn a_body_is_of_the_kind_that_no_page_sends_unasked() {
    let guarded = guarded(DEADLINE).await;
    let upload = "PUT /cargo/_/api/v1/crates/new";
    let (json, bytes) = ("application/json", "application/octet-stream");
    for (first, kind, expected) in [
        ("PUT /counts", Some(json), 200),
        ("PUT /counts", Some("Application/JSON; charset=utf-8"), 200),
        ("PUT /counts", Some(bytes), 415),
        ("PUT /counts", Some("text/plain"), 415),
        (
            "PUT /counts",
            Some("application/x-www-form-urlencoded"),
            415,
        ),
        ("PUT /counts", Some("text/plain; application/json"), 415),
        ("PUT /counts", None, 415),
        (upload, Some(bytes), 200),
        (upload, None, 200),
        (upload, Some(json), 415),
        (upload, Some("multipart/form-data; boundary=x"), 415),
    ] {
        let kind = kind.map(|kind| format!("Content-Type: {kind}\r\n"));
        let headers = format!("Content-Length: 2\r\n{}", kind.unwrap_or_default());
        let answer = guarded.ask(first, &headers, b"{}").await;
        assert_eq!(status(&answer), expected, "{first} {headers}");
    }
    // Nothing is of no kind.
    assert_eq!(
        status(
            &guarded
                .ask("PUT /counts", "Content-Length: 0\r\n", b"")
                .await
        ),
        200
    );
    assert_eq!(status(&guarded.ask("PUT /counts", "", b"").await), 200);
}

#[tokio::test]
async fn a_handler_says_what_may_be_kept_and_nothing_else_of_the_guard_changes() {
    let guarded = guarded(DEADLINE).await;
    let answer = guarded
        .ask("GET /keeps", "", b"")
        .await
        .to_ascii_lowercase();
    assert!(answer.contains("cache-control: max-age=60\r\n"), "{answer}");
    assert!(
        answer.contains("content-security-policy: sandbox\r\n"),
        "{answer}"
    );
    assert!(answer.contains("x-frame-options: deny\r\n"), "{answer}");
    assert_eq!(answer.matches("cache-control").count(), 1);
    let answer = guarded.ask("GET /fine", "", b"").await.to_ascii_lowercase();
    assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
}
