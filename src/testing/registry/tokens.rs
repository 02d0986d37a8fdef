//! The contract of `Tokens`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ggen_protocols::hash::ContentHash;
use ggen_protocols::metadata::{KeyText, OwnerIdText};

use super::{Author, name};
use crate::Error;
use crate::registry::RegistryError;
use crate::registry::local::OpenOptions;
use crate::registry::tokens::{
    DAYS_MAX, Fingerprint, LABEL_CHARS_MAX, PATTERNS_MAX, Scope, TOKENS_MAX, Terms, Token,
    TokenError, TokenRefusal, Tokens,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// In the middle of a day.
const BEGIN_MS: u64 = 20_000 * DAY_MS + DAY_MS / 2;

/// The time of the registries of this suite, which no other test uses.
static NOW_MS: AtomicU64 = AtomicU64::new(BEGIN_MS);

fn now_ms() -> u64 {
    NOW_MS.load(Ordering::SeqCst)
}

fn at(ms: u64) {
    NOW_MS.store(ms, Ordering::SeqCst);
}

/// Checks every promise on registries that `make` opens, empty and with these options. Two of these must not run at
/// the same time in one process: they share a clock.
///
/// # Panics
/// If a promise is broken.
pub async fn suite(make: impl AsyncFn(OpenOptions) -> Arc<dyn Tokens>) {
    let options = || OpenOptions {
        clock: now_ms,
        ..OpenOptions::default()
    };
    a_token_is_found_until_it_expires(&*make(options()).await).await;
    a_revoked_token_is_not_found(&*make(options()).await).await;
    the_last_day_of_use_is_noted(&*make(options()).await).await;
    another_token_with_the_same_id_is_not_found(&*make(options()).await).await;
    what_makes_no_sense_is_refused(&*make(options()).await).await;
    the_one_that_ended_first_makes_room(&*make(options()).await).await;
}

/// What lets a token do everything in the namespace of [`Author::new`]`(1)`, for 90 days.
pub fn terms() -> Terms {
    let author = Author::new(1);
    Terms {
        label: "laptop".to_owned(),
        key: KeyText(author.key()),
        owner: OwnerIdText(author.owner()),
        scopes: Scope::ALL.into_iter().collect(),
        names: Vec::new(),
        days: 90,
    }
}

fn token_error(error: Error) -> TokenError {
    match error {
        Error::Registry(RegistryError::Token(error)) => error,
        other => panic!("another error: {other}"),
    }
}

async fn a_token_is_found_until_it_expires(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let token = Token::random().fingerprint();
    let unknown = tokens.find_token(&token).await.unwrap();
    assert_eq!(unknown, Err(TokenRefusal::Unknown));
    let terms = Terms {
        scopes: [Scope::Yank, Scope::PublishUpdate].into(),
        names: vec!["my-*".parse().unwrap(), "Other_App".parse().unwrap()],
        ..terms()
    };
    let made = tokens.add_token(&token, &terms).await.unwrap();
    assert_eq!((made.key, made.owner), (terms.key, terms.owner));
    assert_eq!((made.expires - made.created).num_days(), 90);
    assert_eq!(tokens.tokens().await.unwrap(), std::slice::from_ref(&made));
    let again = tokens.add_token(&token, &terms).await.unwrap_err();
    assert_eq!(token_error(again), TokenError::Exists(token.id.clone()));

    at(BEGIN_MS + 90 * DAY_MS - 1);
    let found = tokens.find_token(&token).await.unwrap().unwrap();
    assert_eq!((&found.id, &found.label), (&token.id, &made.label));
    for (scope, named, allowed) in [
        (Scope::Yank, "my-app", true),
        (Scope::PublishUpdate, "other-app", true),
        (Scope::PublishUpdate, "other-app2", false),
        (Scope::PublishNew, "my-app", false),
        (Scope::ChangeOwners, "my-app", false),
    ] {
        let allows = found.allows(scope, &name(named));
        assert_eq!(allows.is_ok(), allowed, "{scope} {named}: {allows:?}");
    }
    at(BEGIN_MS + 90 * DAY_MS);
    let (id, at) = (token.id.clone(), made.expires);
    let expired = tokens.find_token(&token).await.unwrap();
    assert_eq!(expired, Err(TokenRefusal::Expired { id, at }));
    assert_eq!(tokens.tokens().await.unwrap().len(), 1);
}

async fn a_revoked_token_is_not_found(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let (one, other) = (Token::random().fingerprint(), Token::random().fingerprint());
    tokens.add_token(&one, &terms()).await.unwrap();
    let none = tokens.revoke_token(&other.id).await.unwrap_err();
    assert_eq!(token_error(none), TokenError::NoSuch(other.id.clone()));
    at(BEGIN_MS + 1000);
    tokens.add_token(&other, &terms()).await.unwrap();
    let revoked = tokens.revoke_token(&one.id).await.unwrap();
    at(BEGIN_MS + 2000);
    assert_eq!(tokens.revoke_token(&one.id).await.unwrap(), revoked);
    let refused = tokens.find_token(&one).await.unwrap().unwrap_err();
    let (id, at) = (one.id.clone(), revoked.revoked.unwrap());
    assert_eq!((at - revoked.created).num_seconds(), 1);
    assert_eq!(refused, TokenRefusal::Revoked { id, at });
    tokens.find_token(&other).await.unwrap().unwrap();
    let listed = tokens.tokens().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|grant| &grant.id).collect();
    assert_eq!(ids, [&one.id, &other.id]);
    assert_eq!(listed[0].revoked, Some(at));
}

async fn the_last_day_of_use_is_noted(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let token = Token::random().fingerprint();
    let made = tokens.add_token(&token, &terms()).await.unwrap();
    assert_eq!(made.used, None);
    for days in [0, 0, 3] {
        at(BEGIN_MS + days * DAY_MS);
        let found = tokens.find_token(&token).await.unwrap().unwrap();
        let used = made.created.date_naive() + chrono::Days::new(days);
        assert_eq!(found.used, Some(used));
        assert_eq!(tokens.tokens().await.unwrap(), [found]);
    }
}

async fn another_token_with_the_same_id_is_not_found(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let token = Token::random().fingerprint();
    tokens.add_token(&token, &terms()).await.unwrap();
    let mut bytes = *token.sha256.as_bytes();
    for at in [0, 31] {
        bytes[at] ^= 1;
        let guess = Fingerprint {
            id: token.id.clone(),
            sha256: ContentHash::from_sha256(bytes),
        };
        let found = tokens.find_token(&guess).await.unwrap();
        assert_eq!(found, Err(TokenRefusal::Unknown));
        bytes[at] ^= 1;
    }
    assert_eq!(tokens.tokens().await.unwrap()[0].used, None);
}

async fn what_makes_no_sense_is_refused(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let token = Token::random().fingerprint();
    let pattern = || "a*".parse().unwrap();
    for (wrong, why) in [
        (
            Terms {
                scopes: [].into(),
                ..terms()
            },
            "name a scope",
        ),
        (Terms { days: 0, ..terms() }, "1 to 366 days"),
        (
            Terms {
                days: DAYS_MAX + 1,
                ..terms()
            },
            "1 to 366 days",
        ),
        (
            Terms {
                label: "ä".repeat(LABEL_CHARS_MAX + 1),
                ..terms()
            },
            "64 characters",
        ),
        (
            Terms {
                label: "two\nlines".to_owned(),
                ..terms()
            },
            "one line",
        ),
        (
            Terms {
                names: (0..=PATTERNS_MAX).map(|_| pattern()).collect(),
                ..terms()
            },
            "64 names",
        ),
    ] {
        let error = tokens.add_token(&token, &wrong).await.unwrap_err();
        let error = token_error(error).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(tokens.tokens().await.unwrap(), []);
    let largest = Terms {
        label: "ä".repeat(LABEL_CHARS_MAX),
        names: (0..PATTERNS_MAX).map(|_| pattern()).collect(),
        days: DAYS_MAX,
        ..terms()
    };
    tokens.add_token(&token, &largest).await.unwrap();
}

async fn the_one_that_ended_first_makes_room(tokens: &dyn Tokens) {
    at(BEGIN_MS);
    let mut all = Vec::new();
    for number in 0..TOKENS_MAX {
        let token = Token::random().fingerprint();
        let days = if number == 7 { 2 } else { 90 };
        let terms = Terms { days, ..terms() };
        tokens.add_token(&token, &terms).await.unwrap();
        all.push(token);
    }
    let more = Token::random().fingerprint();
    let full = tokens.add_token(&more, &terms()).await.unwrap_err();
    assert_eq!(token_error(full), TokenError::TooMany);
    at(BEGIN_MS + DAY_MS);
    tokens.revoke_token(&all[5].id).await.unwrap();
    at(BEGIN_MS + 3 * DAY_MS);
    for going in [5, 7] {
        let token = Token::random().fingerprint();
        tokens.add_token(&token, &terms()).await.unwrap();
        let listed = tokens.tokens().await.unwrap();
        assert_eq!(listed.len(), TOKENS_MAX);
        assert!(listed.iter().all(|grant| grant.id != all[going].id));
        let gone = tokens.find_token(&all[going]).await.unwrap();
        assert_eq!(gone, Err(TokenRefusal::Unknown));
    }
    let full = tokens.add_token(&more, &terms()).await.unwrap_err();
    assert_eq!(token_error(full), TokenError::TooMany);
    tokens.find_token(&all[0]).await.unwrap().unwrap();
}
