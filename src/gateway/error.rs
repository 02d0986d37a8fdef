//! Our errors as HTTP answers (RFC 9457), in one table.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::Error;
use crate::control::explain;
use crate::node::NodeError;
use crate::registry::RegistryError;

/// An answer that says what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Id(_) | Error::Version(_) | Error::Url(_) | Error::Json(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::Registry(RegistryError::NotFound(_)) => StatusCode::NOT_FOUND,
            Error::Registry(RegistryError::Contested { .. }) => StatusCode::CONFLICT,
            Error::Registry(RegistryError::Withheld { .. }) => StatusCode::GONE,
            Error::Node(NodeError::Stopped) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            // What broke inside is for the operator, not for whoever asked.
            tracing::error!(error = explain(&error), "a request failed");
            return Self::new(status, "the node failed; its log says why");
        }
        match error {
            // With the lines that say how to choose.
            Error::Registry(contested @ RegistryError::Contested { .. }) => {
                Self::new(status, contested.to_string())
            }
            error => Self::new(status, explain(&error)),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let json = serde_json::to_vec(&body).expect("strings and numbers always serialise");
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, kind)], json).into_response()
    }
}

pub(super) async fn no_such_page() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such page; the API begins at /api/v1",
    )
}

pub(super) async fn reading_only() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "HTTP here is for reading; everything else goes through the command `market`",
    )
}
