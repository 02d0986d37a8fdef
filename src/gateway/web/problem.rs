//! Errors as pages, for browsers.

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

use crate::gateway::error::Problem;

#[derive(Template)]
#[template(path = "problem.html", config = "src/gateway/pages/askama.toml")]
struct Page<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
    hint: &'static str,
}

/// Programs ask for these, whatever they say they take.
const FOR_PROGRAMS: &[&str] = &["/api/", "/cargo/", "/mirror/", "/metrics", "/healthz"];

/// Answers with a page where a browser meets a problem.
pub(in crate::gateway) async fn for_people<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let path = request.uri().path();
    let for_program = FOR_PROGRAMS.iter().any(|prefix| path.starts_with(prefix));
    let wanted = !for_program && wants_page(request.headers());
    let response = next(request).await;
    // Who came by a wrong name is no reader of ours: that answer stays plain.
    if !wanted || response.status() == StatusCode::MISDIRECTED_REQUEST {
        return response;
    }
    let Some(problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    let status = problem.status();
    let page = Page {
        status: status.as_u16(),
        title: title(status),
        detail: problem.detail(),
        hint: hint(status),
    };
    let Ok(mut made) = super::page(status, &page) else {
        return response;
    };
    // Such as which methods are allowed.
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            made.headers_mut().insert(name.clone(), value.clone());
        }
    }
    made
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "That address is not right",
        StatusCode::NOT_FOUND => "Not found here",
        StatusCode::CONFLICT => "More than one answer",
        StatusCode::GONE => "Withheld",
        StatusCode::SERVICE_UNAVAILABLE => "Too busy just now",
        StatusCode::METHOD_NOT_ALLOWED => "Only for reading",
        _ => "Something went wrong",
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => {
            "A node knows what its peers have told it. If it has just started, what is missing may still come."
        }
        StatusCode::SERVICE_UNAVAILABLE => "Load the page again in a moment.",
        _ => "",
    }
}
