//! What every request passes before and after its handler.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::Gateway;
use super::error::Problem;

/// How long an answer may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest body of a request, in bytes: nothing here reads one.
const BODY_BYTES_MAX: u64 = 16 << 10;

const HEADERS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
];

/// Adds the headers that keep other web pages from using the answer.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Ends what takes too long.
pub(super) async fn time(request: Request, next: Next) -> Response {
    let answered = timeout(REQUEST_TIME_MAX, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let why = "the node is too busy to answer in time; try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    })
}

/// Refuses requests that were meant for another name: a page elsewhere may make its own name resolve to this
/// machine, and would otherwise read here as if it were ours.
pub(super) async fn host(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    match check_host(request.headers(), request.uri(), gateway.address) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_host(headers: &HeaderMap, uri: &Uri, address: SocketAddr) -> Result<(), Problem> {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        let why = "a request names the host it is for, once";
        return Err(Problem::new(StatusCode::BAD_REQUEST, why));
    };
    let port = address.port();
    let ours = |text: &str| {
        let (name, named_port) = match text.rsplit_once(':') {
            Some((name, digits)) if !digits.ends_with(']') => (name, digits.parse().ok()),
            _ => (text, Some(80)),
        };
        let known = ["127.0.0.1", "[::1]", "localhost"];
        named_port == Some(port) && known.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let authority = uri.authority().map(|authority| authority.as_str());
    if host.to_str().is_ok_and(ours) && authority.is_none_or(ours) {
        return Ok(());
    }
    let why = format!("this node answers as 127.0.0.1:{port}, [::1]:{port} and localhost:{port}");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, why))
}

/// Refuses large bodies unread.
pub(super) async fn body(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_none_or(|length| length.is_some_and(|bytes| bytes <= BODY_BYTES_MAX)) {
        return next.run(request).await;
    }
    let why = format!("a body has at most {BODY_BYTES_MAX} bytes here");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why).into_response()
}

/// Lets as many requests through at a time as the node can use.
pub(super) async fn slot(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    // Waiting ends with the time limit around it. Nobody closes the semaphore.
    let _slot = gateway.slots.acquire().await;
    next.run(request).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checked(hosts: &[&str], uri: &str, port: u16) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let checked = check_host(&headers, &uri.parse().unwrap(), address);
        checked.err().map(|p| p.into_response().status())
    }

    #[test]
    fn only_names_of_this_machine_with_the_right_port_are_ours() {
        for ours in [
            "127.0.0.1:7878",
            "localhost:7878",
            "LOCALHOST:7878",
            "[::1]:7878",
        ] {
            assert_eq!(checked(&[ours], "/", 7878), None, "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7878",
            "127.0.0.1",
            "127.0.0.1:7879",
            "127.0.0.1.evil.example:7878",
            "localhost.:7878",
            "[::1]",
            "127.0.0.1:",
            "127.0.0.1:+7878x",
            "",
        ] {
            let status = Some(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(checked(&[foreign], "/", 7878), status, "{foreign}");
        }
    }

    #[test]
    fn the_port_may_be_left_out_only_where_it_is_the_default() {
        assert_eq!(checked(&["localhost"], "/", 80), None);
        assert_eq!(checked(&["[::1]"], "/", 80), None);
    }

    #[test]
    fn a_request_names_one_host() {
        let bad = Some(StatusCode::BAD_REQUEST);
        assert_eq!(checked(&[], "/", 80), bad);
        assert_eq!(checked(&["localhost", "localhost"], "/", 80), bad);
    }

    #[test]
    fn the_host_in_an_absolute_address_counts_too() {
        let foreign = checked(&["localhost:80"], "http://evil.example/", 80);
        assert_eq!(foreign, Some(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(checked(&["localhost:80"], "http://localhost/", 80), None);
    }
}
