//! What every request passes before and after its handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::Problem;
use super::host::Hosts;
use super::web;

/// Requests worked on at a time; more wait.
const REQUESTS_MAX: usize = 64;
/// Downloads that wait for peers at a time, which takes them nearly as long as a request may.
const FETCHES_MAX: usize = 64;
/// Uploads at a time, of those who may.
const UPLOADS_MAX: usize = 8;
/// Bytes that uploads at a time may bring in all, for they are held in memory until they are checked: the larger one
/// may be, the fewer there are at a time.
const UPLOADS_BYTES_MAX: u64 = 128 << 20;
/// Answers of unknown or great length on their way at a time: downloads and streams of events. Half of all
/// connections, so that they leave some for others.
const STREAMS_MAX: usize = 256;
/// From how many bytes on an answer is a great one.
const STREAM_BYTES_MIN: u64 = 1 << 20;
/// How long an upload may take that does not rest; see the listener for how long one may rest.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Largest body of a request that uploads nothing, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// Seconds after which to try again what the node is too busy for.
const BUSY_SECONDS: u64 = 5;

static HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Headers of answers whose handler says nothing else.
static DEFAULTS: [(HeaderName, HeaderValue); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What bounds requests.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Hosts,
    request_time_max: Duration,
    upload_bytes_max: u64,
    requests: Semaphore,
    fetches: Semaphore,
    uploads: Semaphore,
    streams: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(hosts: Hosts, request_time_max: Duration, upload_bytes_max: u64) -> Self {
        Self {
            hosts,
            request_time_max,
            upload_bytes_max,
            requests: Semaphore::new(REQUESTS_MAX),
            fetches: Semaphore::new(FETCHES_MAX),
            uploads: Semaphore::new(uploads_max(upload_bytes_max)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

/// How many uploads of at most so many bytes there may be at a time.
fn uploads_max(bytes_max: u64) -> usize {
    let fit = UPLOADS_BYTES_MAX / bytes_max.max(1);
    usize::try_from(fit)
        .unwrap_or(UPLOADS_MAX)
        .clamp(1, UPLOADS_MAX)
}

/// Takes a request through everything that comes before who is asking is known.
///
/// These are functions around each other and not layers of the router: each layer would copy all those within it,
/// box by box, for every request.
pub(super) async fn around<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let checked = |request| {
        host(guard, request, |request| {
            body(guard, request, |request| origin(guard, request, next))
        })
    };
    let whole = |request| async {
        let answering = AssertUnwindSafe(time(guard, request, checked)).catch_unwind();
        answering.await.unwrap_or_else(|_| panicked())
    };
    let mut response = web::for_people(request, whole).await;
    add_headers(response.headers_mut());
    response
}

/// Whether a method changes nothing.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a request brings an archive: only those may be large and take long.
fn is_upload(request: &Request) -> bool {
    let path = request.uri().path();
    let is_for_cargo = path.starts_with("/cargo/") && path.ends_with("/api/v1/crates/new");
    *request.method() == Method::PUT && (is_for_cargo || path.starts_with("/api/v1/packages/"))
}

/// Whether a request may wait for peers to bring an archive.
fn is_fetch(request: &Request) -> bool {
    let path = request.uri().path();
    let is_for_cargo = path.starts_with("/cargo/") && path.contains("/dl/");
    is_read(request.method()) && (is_for_cargo || path.ends_with("/download"))
}

/// Adds the headers that keep other web pages from using the answer.
fn add_headers(headers: &mut HeaderMap) {
    headers.reserve(HEADERS.len() + DEFAULTS.len());
    for (name, value) in &HEADERS {
        headers.insert(name, value.clone());
    }
    for (name, value) in &DEFAULTS {
        headers.entry(name).or_insert_with(|| value.clone());
    }
}

/// Answers for a handler that panicked. What it said stands in the log of the process already; it is for nobody else.
fn panicked() -> Response {
    tracing::error!("a request failed: its handler panicked");
    let why = "the node failed; its log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
}

/// Ends what takes too long to be answered. The body of an answer is not part of that: the listener cuts off whoever
/// does not take it.
async fn time<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let time_max = match is_upload(&request) {
        true => UPLOAD_TIME_MAX,
        false => guard.request_time_max,
    };
    let answered = timeout(time_max, next(request)).await;
    answered.unwrap_or_else(|_| busy("the request took too long; try again").into_response())
}

fn busy(why: &str) -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    problem.with(header::RETRY_AFTER, HeaderValue::from(BUSY_SECONDS))
}

/// Refuses what is meant for another host, and paths below `/cargo` in another than their one spelling: clients have
/// taken the one for the other and sent it the other's token.
async fn host<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if let Err(problem) = guard.hosts.check(request.headers(), request.uri()) {
        return problem.into_response();
    }
    let path = request.uri().path();
    if path.starts_with("/cargo/") && (path.contains(['%', '\\']) || path.contains("//")) {
        return super::error::no_such_page().await.into_response();
    }
    next(request).await
}

/// Refuses large bodies: unread if they say how large they are, else where they become too large.
async fn body<F: Future<Output = Response>>(
    guard: &Guard,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let bytes_max = match is_upload(&request) {
        true => guard.upload_bytes_max,
        false => BODY_BYTES_MAX,
    };
    let too_large = || {
        let why = match bytes_max {
            BODY_BYTES_MAX => format!("a body has at most {bytes_max} bytes here"),
            _ => format!(
                "an upload has at most {bytes_max} bytes here; `market up --upload-limit` changes that"
            ),
        };
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why).into_response()
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length.is_none_or(|bytes| bytes > bytes_max)) {
        return too_large();
    }
    if request.body().is_end_stream() {
        return next(request).await;
    }
    let exceeded = Arc::new(AtomicBool::new(false));
    // The bound below is the one that counts, for whatever way a handler reads it.
    DefaultBodyLimit::disable().apply(&mut request);
    let request = request.map(|body| limited(body, bytes_max, Arc::clone(&exceeded)));
    let response = next(request).await;
    match exceeded.load(Ordering::Relaxed) {
        true => too_large(),
        false => response,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
struct TooLarge;

fn limited(body: Body, bytes_max: u64, exceeded: Arc<AtomicBool>) -> Body {
    let mut left = bytes_max;
    Body::from_stream(body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(BoxError::from)?;
        match left.checked_sub(piece.len() as u64) {
            Some(rest) => left = rest,
            None => {
                exceeded.store(true, Ordering::Relaxed);
                return Err(TooLarge.into());
            }
        }
        Ok::<_, BoxError>(piece)
    }))
}

/// Refuses changes that a page of another origin asks for, and bodies of a kind that a page may send unasked.
async fn origin<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if is_read(request.method()) {
        return next(request).await;
    }
    let headers = request.headers();
    let is_ours = all(headers, header::ORIGIN, |origin| {
        guard.hosts.is_own_origin(origin)
    }) && all(headers, HeaderName::from_static("sec-fetch-site"), |site| {
        matches!(site, "same-origin" | "none")
    });
    if !is_ours {
        let why = "pages of other origins change nothing here";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    let expected = match is_upload(&request) {
        true => "application/octet-stream",
        false => "application/json",
    };
    let is_empty = match headers.get(header::CONTENT_LENGTH) {
        Some(length) => length == "0",
        None => !headers.contains_key(header::TRANSFER_ENCODING),
    };
    let is_absent = !headers.contains_key(header::CONTENT_TYPE);
    let is_expected = all(headers, header::CONTENT_TYPE, |kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(expected)
    });
    // Cargo says nothing of what it uploads.
    let may_be_absent = is_empty || is_upload(&request);
    if !is_empty && !is_expected || is_absent && !may_be_absent {
        let why = format!("the body is to be `{expected}`, and the request is to say so");
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    }
    next(request).await
}

/// Whether all headers of this name are good; there may be none.
fn all(headers: &HeaderMap, name: HeaderName, is_good: impl Fn(&str) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.to_str().is_ok_and(&is_good))
}

/// Lets as many requests through at a time as the node can use, and as many long answers as leave room for others.
pub(super) async fn slot<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let slots = match is_upload(&request) {
        true => &guard.uploads,
        false if is_fetch(&request) => &guard.fetches,
        false => &guard.requests,
    };
    let slot = match slots.try_acquire() {
        Ok(slot) => Ok(Ok(slot)),
        Err(_) => timeout(guard.request_time_max, slots.acquire()).await,
    };
    let Ok(slot) = slot else {
        return busy("the node has too much to do; try again").into_response();
    };
    let response = next(request).await;
    drop(slot);
    let is_long = |bytes: Option<u64>| bytes.is_none_or(|bytes| bytes >= STREAM_BYTES_MIN);
    if !is_long(response.body().size_hint().exact()) {
        return response;
    }
    match Arc::clone(&guard.streams).try_acquire_owned() {
        Ok(stream) => held(response, stream),
        Err(_) => busy("too many downloads and streams run; try again").into_response(),
    }
}

/// The same answer, which holds its place until it is over.
fn held(response: Response, stream: OwnedSemaphorePermit) -> Response {
    let bytes = response.body().size_hint().exact();
    let mut response = response.map(|body| {
        let state = (body.into_data_stream(), stream);
        Body::from_stream(futures::stream::unfold(
            state,
            async |(mut body, stream)| Some((body.next().await?, (body, stream))),
        ))
    });
    if let Some(bytes) = bytes {
        // The stream does not tell any more.
        let length = response.headers_mut().entry(header::CONTENT_LENGTH);
        length.or_insert(HeaderValue::from(bytes));
    }
    response
}

#[cfg(test)]
mod tests;
