//! Our errors as HTTP answers (RFC 9457, and what cargo reads, in one body), in one table.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ggen_protocols::record::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Error;
use crate::archive::ArchiveError;
use crate::control::explain;
use crate::node::NodeError;
use crate::registry::{Claimant, RegistryError};
use crate::store::StorageError;

/// An answer that says what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<Box<(HeaderName, HeaderValue)>>,
    choices: Option<Vec<Choice>>,
}

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// What the status means.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What was wrong, and what to do next.
    detail: String,
    /// What cargo shows its user: `detail` again.
    errors: Vec<Said>,
    /// Of a contested name: the owners who claim it, or the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Vec<Choice>>,
}

/// What cargo shows its user.
#[derive(Debug, Serialize, ToSchema)]
struct Said {
    /// The text.
    detail: String,
}

/// An owner who claims a contested name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct Choice {
    /// Whom to name to mean this one.
    owner: String,
    /// What its document calls it.
    label: Option<String>,
    /// How it spells the name.
    name: String,
    /// How many versions it has.
    versions: usize,
    /// How far it is relied on here: 0 to 3.
    score: u8,
}

impl From<&Claimant> for Choice {
    fn from(claimant: &Claimant) -> Self {
        Self {
            owner: claimant.owner.to_string(),
            label: claimant.label.clone(),
            name: claimant.spelled.clone(),
            versions: claimant.versions,
            score: claimant.score,
        }
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            header: None,
            choices: None,
        }
    }

    /// The same with a header.
    pub(super) fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self {
            header: Some(Box::new((name, value))),
            ..self
        }
    }
}

impl Problem {
    /// The same as the text alone, for clients that show their user what they got as it stands.
    pub(super) fn plain(self) -> Response {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let text = format!("{}\n", self.detail);
        (self.status, [(header::CONTENT_TYPE, kind)], text).into_response()
    }
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Id(_) | Error::Version(_) | Error::Url(_) | Error::Json(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::Registry(RegistryError::NotFound(_)) => StatusCode::NOT_FOUND,
            Error::Registry(
                RegistryError::Contested { .. }
                | RegistryError::Conflict { .. }
                | RegistryError::DependencyConflict(_)
                | RegistryError::Spelling { .. },
            )
            | Error::Node(NodeError::Stale) => StatusCode::CONFLICT,
            Error::Registry(RegistryError::Unauthorized(_))
            | Error::Node(NodeError::Refused(Refusal::Unauthorised { .. })) => {
                StatusCode::FORBIDDEN
            }
            Error::Registry(RegistryError::Validation(_))
            | Error::Archive(
                ArchiveError::Refused(_)
                | ArchiveError::Bomb { .. }
                | ArchiveError::Manifest(_)
                | ArchiveError::Differs { .. },
            )
            | Error::Node(NodeError::Refused(_)) => StatusCode::BAD_REQUEST,
            Error::Storage(StorageError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Registry(RegistryError::Withheld { .. }) => StatusCode::GONE,
            Error::Node(NodeError::Stopped) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            // What broke inside is for the operator, not for whoever asked.
            tracing::error!(error = explain(&error), "a request failed");
            return Self::new(status, "the node failed; its log says why");
        }
        match &error {
            // With the lines that say how to choose.
            Error::Registry(RegistryError::Contested(contested)) => {
                let choices = contested.claimants.shown.iter().map(Choice::from);
                Self {
                    choices: Some(choices.collect()),
                    ..Self::new(status, contested.to_string())
                }
            }
            Error::Node(NodeError::Refused(Refusal::Unauthorised { key, .. })) => {
                let why = explain(&error);
                let advice =
                    format!("its root key can allow it: `market owner add {key} --scope NAME`");
                Self::new(status, format!("{why}; {advice}"))
            }
            error => Self::new(status, explain(error)),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = self.clone();
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            errors: vec![Said {
                detail: self.detail.clone(),
            }],
            detail: self.detail.clone(),
            choices: self.choices.clone(),
        };
        let json = serde_json::to_vec(&body).expect("strings and numbers always serialise");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], json).into_response();
        response
            .headers_mut()
            .extend(self.header.map(|header| *header));
        // What makes a page of it for a browser finds it here.
        response.extensions_mut().insert(problem);
        response
    }
}

pub(super) async fn no_such_page() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such page; the API begins at /api/v1",
    )
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this page does not take that method; `Allow` tells which it takes",
    )
}
