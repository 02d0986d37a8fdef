//! The page of metrics, and the counters of HTTP on it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::Gateway;
use super::error::Problem;
use crate::metrics::{
    CounterTable, Family, Kind, Label, MetricValue, Page, Series, Timings, Traffic,
};

/// The text form that Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds in seconds, up to the time limit of a request.
const REQUESTS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// What kind of thing was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Api,
    Cargo,
    Metrics,
    Health,
    Page,
}

impl Route {
    fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("api") => Self::Api,
            Some("cargo" | "mirror") => Self::Cargo,
            Some("metrics") => Self::Metrics,
            Some("healthz") => Self::Health,
            _ => Self::Page,
        }
    }
}

impl Label for Route {
    const NAME: &'static str = "route";
    const ALL: &'static [Self] = &[
        Self::Api,
        Self::Cargo,
        Self::Metrics,
        Self::Health,
        Self::Page,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cargo => "cargo",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Page => "page",
        }
    }
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Success,
    Redirect,
    ClientError,
    ServerError,
}

impl From<StatusCode> for Class {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            ..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

impl Label for Class {
    const NAME: &'static str = "status";
    const ALL: &'static [Self] = &[
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// What is counted of HTTP.
#[derive(Debug)]
pub(super) struct Meters {
    requests: CounterTable<Route, Class>,
    times: Timings<Route>,
    traffic: Arc<Traffic>,
}

impl Meters {
    /// Counters whose bytes are those of `traffic`.
    pub(super) fn new(traffic: Arc<Traffic>) -> Self {
        Self {
            requests: CounterTable::default(),
            times: Timings::new(REQUESTS),
            traffic,
        }
    }

    fn families(&self) -> Vec<Family> {
        let traffic = ["in", "out"].into_iter().zip(self.traffic.read());
        let traffic = traffic.map(|(direction, bytes)| {
            Series::new(&[("direction", direction)], MetricValue::Counter(bytes))
        });
        vec![
            self.requests.family(
                "market_http_requests_total",
                "HTTP requests, by what was asked for and how it was answered.",
            ),
            self.times.family(
                "market_http_request_seconds",
                "From the head of a request to the head of its answer.",
            ),
            Family {
                name: Cow::Borrowed("market_http_traffic_bytes_total"),
                help: "Bytes of HTTP.",
                kind: Kind::Counter,
                series: traffic.collect(),
            },
        ]
    }
}

/// Counts a request and how long it took.
pub(super) async fn count<F: Future<Output = Response>>(
    meters: &Meters,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let start = Instant::now();
    let route = Route::of(request.uri().path());
    let response = next(request).await;
    meters.requests.add(route, response.status().into(), 1);
    meters.times.add(route, start.elapsed());
    response
}

/// Everything that is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics_text", tag = "node", responses(
    (status = 200, description = "The text form of Prometheus, version 0.0.4", body = String, content_type = "text/plain"),
))]
pub(super) async fn text(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let text = page(&gateway).await?.text();
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// Everything that is counted.
#[utoipa::path(get, path = "/api/v1/metrics", operation_id = "metrics", tag = "node", responses(
    (status = 200, description = "What `/metrics` tells, as JSON", body = Object),
))]
pub(super) async fn json(
    State(gateway): State<Gateway>,
) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(page(&gateway).await?.json()))
}

async fn page(gateway: &Gateway) -> Result<Page, Problem> {
    let mut page = gateway.node.metrics().await?;
    page.families.extend(gateway.meters.families());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_path_is_asked_for_is_of_one_of_five_kinds() {
        for (path, route) in [
            ("/api/v1/search", Route::Api),
            ("/cargo/_/config.json", Route::Cargo),
            ("/metrics", Route::Metrics),
            ("/healthz", Route::Health),
            ("/", Route::Page),
            ("", Route::Page),
            ("*", Route::Page),
            ("/metrics\"} 1", Route::Page),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
