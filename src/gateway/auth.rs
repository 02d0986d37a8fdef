//! What a client shows to be allowed to do something: read from `Authorization` once, before anything is routed.
//!
//! The value may stand alone, as cargo sends it, or after `Bearer`:
//!
//! ```text
//! market_…            a token that `market token new` made
//! record.BASE64URL    the envelope of a signed record, which needs nobody else's word
//! offer.ID            a process of the user that waits to sign one publish record
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use ggen_protocols::id::CanonicalName;
use tokio::time::Instant;

use super::Gateway;
use super::error::Problem;
use super::guard::is_read;
use crate::registry::{Grant, NoToken, Scope, Token, is_random};

/// Wrong credentials of [`FAILURES_TIME`] that are told why; those that follow are told to wait. Who has a good one is
/// let through all the same: a token is far too long to be guessed, and nobody is to lock others out.
const FAILURES_MAX: usize = 10;
const FAILURES_TIME: Duration = Duration::from_secs(60);
/// Longest signed record that is taken in a header, in bytes of its text: many times what a yank takes.
const RECORD_CHARS_MAX: usize = 16 << 10;

/// What a client has shown.
#[derive(Clone, PartialEq)]
pub(super) enum Credential {
    /// A token that is good now, and what it allows.
    Token(Grant),
    /// A record's envelope, as it came: nothing of it is checked.
    Envelope(Bytes),
    /// The id of an offer, which may not stand any more. A secret.
    Offer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(grant) => write!(f, "Token({})", grant.id),
            Self::Envelope(bytes) => write!(f, "Envelope({} bytes)", bytes.len()),
            Self::Offer(_) => f.write_str("Offer(secret)"),
        }
    }
}

impl Credential {
    /// Whether it is for such a change of this package, as far as can be told by itself: what a record or an offer
    /// is for is known where it is used.
    ///
    /// # Errors
    /// 403, which says what else is needed.
    pub(super) fn allows(&self, scope: Scope, name: &CanonicalName) -> Result<(), Problem> {
        let why = match (self, scope) {
            (Self::Token(grant), _) => match grant.allows(scope, name) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal.to_string(),
            },
            (Self::Envelope(_), Scope::Yank)
            | (Self::Offer(_), Scope::PublishNew | Scope::PublishUpdate) => return Ok(()),
            (Self::Envelope(_), _) => {
                "a signed record yanks and unyanks; for anything else a token is needed".to_owned()
            }
            (Self::Offer(_), _) => "an offer publishes one release, and nothing else".to_owned(),
        };
        Err(Problem::new(StatusCode::FORBIDDEN, why))
    }

    /// Reads what a request shows.
    ///
    /// # Errors
    /// 401 without a credential, 403 with one that allows nothing, 429 after too many of those.
    async fn of(gateway: &Gateway, headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) => return Err(missing(gateway, headers)),
            (Some(_), Some(_)) => {
                let why = "a request has one `Authorization`";
                return Err(Problem::new(StatusCode::BAD_REQUEST, why));
            }
        };
        let why = match Self::read(gateway, value).await? {
            Ok(credential) => return Ok(credential),
            Err(why) => why,
        };
        tracing::debug!(why, "a credential was refused");
        match gateway.failures.add(Instant::now()) {
            None => Err(Problem::new(StatusCode::FORBIDDEN, why)),
            Some(wait) => {
                let why = format!("too many wrong tokens: try again in {wait} s");
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, why);
                Err(problem.with(header::RETRY_AFTER, HeaderValue::from(wait)))
            }
        }
    }

    /// What a value is; or why it is nothing. The reason holds nothing of the value.
    async fn read(gateway: &Gateway, value: &HeaderValue) -> Result<Result<Self, String>, Problem> {
        let text = value.to_str().unwrap_or_default().trim();
        let text = match text.split_once(' ') {
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => text.trim_start(),
            _ => text,
        };
        if let Some(record) = text.strip_prefix("record.") {
            let bytes = Some(record).filter(|record| record.len() <= RECORD_CHARS_MAX);
            let bytes = bytes.and_then(|record| BASE64URL_NOPAD.decode(record.as_bytes()).ok());
            let bytes = bytes.map(|bytes| Self::Envelope(bytes.into()));
            return Ok(bytes.ok_or_else(|| "it is no signed record".to_owned()));
        }
        if let Some(id) = text.strip_prefix("offer.") {
            let fits = is_random(id).then(|| Self::Offer(id.to_owned()));
            return Ok(fits.ok_or_else(|| "it is no offer to sign".to_owned()));
        }
        let token: Token = match text.parse() {
            Ok(token) => token,
            Err(NoToken) => return Ok(Err(NoToken.to_string())),
        };
        let choices = gateway.node.choices()?;
        let found = choices.find_token(&token.fingerprint()).await?;
        Ok(found
            .map(Self::Token)
            .map_err(|refusal| refusal.to_string()))
    }
}

/// Cargo shows its user the address in the header: the page there says how to make a token.
fn missing(gateway: &Gateway, headers: &HeaderMap) -> Problem {
    let base = gateway.base(headers);
    let why = format!("a token is needed: `market token new` makes one ({base}/me)");
    let problem = Problem::new(StatusCode::UNAUTHORIZED, why);
    let login = HeaderValue::try_from(format!("Cargo login_url=\"{base}/me\""));
    match login {
        Ok(login) => problem.with(header::WWW_AUTHENTICATE, login),
        Err(_) => problem,
    }
}

impl FromRequestParts<Gateway> for Credential {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        // Whatever needs one passed the check below; what did not has none.
        let checked = parts.extensions.get::<Self>().cloned();
        checked.ok_or_else(|| missing(gateway, &parts.headers))
    }
}

impl axum::extract::OptionalFromRequestParts<Gateway> for Credential {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Gateway,
    ) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Lets nobody change anything without a credential, nor read where a token is needed for that too. What was shown
/// goes no further: handlers and their logs see what it allows.
pub(super) async fn check<F: Future<Output = Response>>(
    gateway: &Gateway,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let is_read = is_read(request.method());
    let is_open = !gateway.reads_need_token() || is_for_all(request.uri().path());
    if !(is_read && is_open) {
        let shown = Credential::of(gateway, request.headers()).await;
        match shown {
            Ok(Credential::Envelope(_) | Credential::Offer(_)) if is_read => {
                let why = "a token is needed to read here: `market token new` makes one";
                return Problem::new(StatusCode::FORBIDDEN, why).into_response();
            }
            Ok(credential) => drop(request.extensions_mut().insert(credential)),
            Err(problem) => return problem.into_response(),
        }
    }
    request.headers_mut().remove(header::AUTHORIZATION);
    next(request).await
}

/// What is told to those who have no token yet: how to get one, and that the node runs.
fn is_for_all(path: &str) -> bool {
    let index = path
        .strip_prefix("/cargo/")
        .and_then(|path| path.split_once('/'));
    matches!(path, "/me" | "/healthz") || index.is_some_and(|(_, page)| page == "me")
}

/// When credentials were refused last.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<Instant>>);

impl Failures {
    /// Notes one more; the seconds to wait if there were too many.
    fn add(&self, now: Instant) -> Option<u64> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while times
            .front()
            .is_some_and(|first| now.duration_since(*first) >= FAILURES_TIME)
        {
            times.pop_front();
        }
        if times.len() < FAILURES_MAX {
            times.push_back(now);
            return None;
        }
        let first = times.front().map(|first| now.duration_since(*first));
        let wait = FAILURES_TIME.saturating_sub(first.unwrap_or_default());
        Some(wait.as_secs().max(1))
    }
}

/// `/me`: where clients send their user for a token. A page cannot make one.
pub(super) async fn me() -> &'static str {
    "Tokens are made on the machine of the node, by its user:\n\n    \
     market token new --scope publish-new --scope publish-update\n\n\
     The token is shown once. `market token list` tells which there are, and `market token revoke ID` ends one.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_failures_in_a_minute_there_is_a_wait() {
        let (failures, begin) = (Failures::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        for second in 0..10 {
            assert_eq!(failures.add(after(second)), None);
        }
        assert_eq!(failures.add(after(10)), Some(50));
        assert_eq!(failures.add(after(59)), Some(1));
        assert_eq!(failures.add(after(60)), None);
        assert_eq!(failures.add(after(60)), Some(1));
        assert_eq!(failures.add(after(200)), None);
    }

    #[test]
    fn a_credential_shows_no_secret() {
        let offer = Credential::Offer("0123456789".repeat(3));
        assert_eq!(format!("{offer:?}"), "Offer(secret)");
    }
}
