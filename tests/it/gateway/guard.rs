//! Who gets past the guard: hosts, origins, tokens, in tables.

use ggen_marketplace::gateway::{self, Options};
use ggen_marketplace::registry::tokens::{Scope, Terms, Token};
use ggen_marketplace::testing::registry::tokens::terms;

use super::{Answer, Served, served, served_on};

/// Pages and interfaces of a node, and paths at which there is nothing.
const PATHS: &[&str] = &[
    "/",
    "/me",
    "/healthz",
    "/metrics",
    "/api/v1/status",
    "/api/v1/search?q=x",
    "/api/v1/packages/http",
    "/api/v1/packages/acme/http",
    "/api/v1/events",
    "/cargo/_/config.json",
    "/cargo/_/ht/tp/http",
    "/cargo/_/api/v1/crates",
    "/cargo/_/api/v1/crates/new",
    "/cargo/_/api/v1/crates/http/owners",
    "/cargo/_/api/v1/crates/http/1.0.0/download",
    "/cargo/_/api/v1/crates/http/1.0.0/yank",
    "/packages/http",
    "/static/style.css",
    "/nowhere",
    "//",
    "/%2e%2e/",
];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

impl Served {
    async fn token(&self, terms: &Terms) -> Token {
        let (token, choices) = (Token::random(), self.node.choices().unwrap());
        choices
            .add_token(&token.fingerprint(), terms)
            .await
            .unwrap();
        token
    }

    async fn ask(&self, first: &str, headers: &str) -> Answer {
        let head = format!("{first} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n");
        self.raw(&format!("{head}{headers}\r\n")).await
    }
}

#[tokio::test]
async fn only_requests_of_our_own_pages_and_of_programs_with_a_token_change_anything() {
    let served = served().await;
    let good = served.token(&terms()).await;
    let good = format!("Authorization: {}\r\n", good.reveal());
    let wrong = format!("Authorization: {}\r\n", Token::random().reveal());
    let port = served.address.port();
    let own = format!("Origin: http://localhost:{port}\r\n");
    let other_port = format!("Origin: http://127.0.0.1:{}\r\n", port ^ 1);
    let origins = [
        ("", true),
        (&own, true),
        (&other_port, false),
        ("Origin: http://evil.example\r\n", false),
        ("Origin: null\r\n", false),
    ];
    let sites = [
        ("", true),
        ("Sec-Fetch-Site: same-origin\r\n", true),
        ("Sec-Fetch-Site: none\r\n", true),
        ("Sec-Fetch-Site: same-site\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
    ];
    let tokens = [("", 401), (&wrong, 403), (&good, 405)];
    let mut rows = 0;
    let mut reached = 0;
    for method in METHODS {
        for (origin, is_own) in origins {
            for (site, is_near) in sites {
                for (token, with_token) in tokens {
                    let headers = format!("{origin}{site}{token}");
                    let answer = served
                        .ask(&format!("{method} /api/v1/status"), &headers)
                        .await;
                    let is_read = matches!(*method, "GET" | "HEAD");
                    let expected = match (is_read, is_own && is_near) {
                        (true, _) => 200,
                        (false, false) => 403,
                        (false, true) => with_token,
                    };
                    // Wrong ones are answered with the reason ten times.
                    let status = match answer.status {
                        429 if token == wrong => 403,
                        status => status,
                    };
                    assert_eq!(status, expected, "{method} {headers}");
                    let is_foreign = answer.body.contains("pages of other origins");
                    assert_eq!(is_foreign, !(is_read || is_own && is_near), "{headers}");
                    assert!(!answer.headers.contains("access-control-"), "{headers}");
                    assert!(!answer.headers.contains("set-cookie"), "{headers}");
                    reached += usize::from(answer.status == 405);
                    rows += 1;
                }
            }
        }
    }
    assert_eq!((rows, reached), (7 * 5 * 5 * 3, 5 * 2 * 3));
    served.stop().await;
}

#[tokio::test]
async fn a_request_for_another_host_reaches_nothing() {
    let served = served().await;
    let port = served.address.port();
    let foreign = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("192.0.2.1:{port}"),
    ];
    for (number, path) in PATHS.iter().enumerate() {
        for method in METHODS {
            let host = &foreign[number % foreign.len()];
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = served.raw(&request).await;
            assert_eq!(answer.status, 421, "{method} {path} {host}");
            let old = format!("{method} {path} HTTP/1.0\r\n\r\n");
            assert_eq!(served.raw(&old).await.status, 400, "{method} {path}");
        }
        let twice =
            format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert_eq!(served.raw(&twice).await.status, 400, "{path}");
        // The head alone: a stream of events has no end.
        let old = format!("HEAD {path} HTTP/1.0\r\nHost: HOST\r\n\r\n");
        assert!(
            !matches!(served.raw(&old).await.status, 400 | 421),
            "{path}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn a_path_in_another_spelling_is_nowhere_and_leads_nowhere() {
    let served = served().await;
    let owner = "ns1".to_owned() + &"a".repeat(52);
    for path in [
        "/cargo/x.git/",
        "/cargo/_.git/config.json",
        "/cargo/./_/config.json",
        "/cargo/../cargo/_/config.json",
        "/cargo/%2e%2e/_/config.json",
        "/cargo/%5f/config.json",
        "/cargo/_%2fconfig.json",
        "/cargo/_/%63onfig.json",
        "/cargo//_/config.json",
        "/cargo/_//config.json",
        "/cargo/_/config.json/",
        "//cargo/_/config.json",
        "/CARGO/_/config.json",
        "/cargo/ACME/config.json",
        &format!("/cargo/{}/config.json", owner.to_uppercase()),
        &format!("/cargo/{owner}.git/config.json"),
        "/cargo/_/config.json%00",
        "/cargo/",
        "/cargo",
    ] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(!answer.headers.contains("\nlocation:"), "{path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_token_stands_alone_or_after_its_scheme_and_is_told_why_it_is_refused() {
    let served = served().await;
    let choices = served.node.choices().unwrap();
    let good = served.token(&terms()).await;
    let revoked = served.token(&terms()).await;
    let id = revoked.fingerprint().id;
    choices.revoke_token(&id).await.unwrap();
    let (text, gone) = (good.reveal(), revoked.reveal());
    let record = "record.".to_owned() + &"A".repeat(40);
    let offer = "offer.".to_owned() + &"A".repeat(32);
    for (value, status, why) in [
        (text, 405, "Allow"),
        (&format!("Bearer {text}"), 405, "Allow"),
        (&format!("bearer  {text}"), 405, "Allow"),
        (&record, 405, "Allow"),
        (&offer, 405, "Allow"),
        (gone, 403, "was revoked on"),
        (&text[..38], 403, "is no token"),
        (&format!("Basic {text}"), 403, "is no token"),
        ("record.!", 403, "no signed record"),
        (
            &format!("record.{}", "A".repeat(17 << 10)),
            403,
            "no signed record",
        ),
        ("offer.x", 403, "no offer"),
        ("", 403, "is no token"),
        ("market_\u{e9}", 403, "is no token"),
    ] {
        let headers = format!("Authorization: {value}\r\n");
        let answer = served.ask("PUT /api/v1/status", &headers).await;
        let shown = value.get(..40).unwrap_or(value);
        assert_eq!(answer.status, status, "{shown}: {}", answer.body);
        assert!(answer.body.contains(why), "{shown}: {}", answer.body);
    }
    let twice = format!("Authorization: {text}\r\nAuthorization: {text}\r\n");
    assert_eq!(served.ask("PUT /api/v1/status", &twice).await.status, 400);
    let found = choices.tokens().await.unwrap();
    let used: Vec<_> = found.iter().map(|grant| grant.used.is_some()).collect();
    assert_eq!(used.iter().filter(|used| **used).count(), 1);
    served.stop().await;
}

#[tokio::test]
async fn without_a_token_the_answer_says_where_to_get_one() {
    let served = served().await;
    let answer = served
        .ask("DELETE /cargo/_/api/v1/crates/x/1.0.0/yank", "")
        .await;
    assert_eq!(answer.status, 401);
    let login = format!(
        "www-authenticate: cargo login_url=\"http://{}/me\"",
        served.address
    );
    assert!(answer.headers.contains(&login), "{}", answer.headers);
    let detail = answer.json()["errors"][0]["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(detail.contains("market token new"), "{detail}");
    let me = served.get("/me").await;
    assert_eq!(me.status, 200);
    assert!(me.body.contains("market token new --scope"), "{}", me.body);
    served.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_told_to_wait_and_lock_nobody_out() {
    let served = served().await;
    let good = served.token(&terms()).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let token = Token::random();
        let headers = format!("Authorization: {}\r\n", token.reveal());
        let answer = served.ask("PUT /api/v1/status", &headers).await;
        if answer.status == 429 {
            let wait = answer.headers.split("\nretry-after: ").nth(1).unwrap();
            let wait: u64 = wait.lines().next().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        assert!(!answer.body.contains(token.reveal()), "{}", answer.body);
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [vec![403; 10], vec![429; 2]].concat());
    let headers = format!("Authorization: {}\r\n", good.reveal());
    assert_eq!(served.ask("PUT /api/v1/status", &headers).await.status, 405);
    assert_eq!(served.get("/api/v1/status").await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn other_machines_need_a_token_to_read_unless_everybody_may() {
    for public_read in [false, true] {
        let any = "0.0.0.0:0".parse().unwrap();
        let bound = gateway::bind_insecure(any).await.unwrap();
        let options = Options {
            public_read,
            names: vec!["packages.example".parse().unwrap()],
            ..Options::default()
        };
        let served = served_on(bound, options).await;
        let scopes = [Scope::Yank].into();
        let token = served.token(&Terms { scopes, ..terms() }).await;
        let token = format!("Authorization: {}\r\n", token.reveal());
        let open = if public_read { 200 } else { 401 };
        let closed = if public_read { 200 } else { 403 };
        let offer = format!("Authorization: offer.{}\r\n", "A".repeat(32));
        for (path, headers, expected) in [
            ("/api/v1/status", "", open),
            ("/api/v1/search?q=x", "", open),
            ("/api/v1/status", &token, 200),
            ("/api/v1/status", "Authorization: x\r\n", closed),
            ("/api/v1/status", &offer, closed),
            ("/cargo/_/config.json", "", open),
            ("/cargo/_/config.json", &token, 200),
            ("/cargo/_/2/me", "", if public_read { 404 } else { 401 }),
            ("/cargo/_/me", "", 200),
            ("/healthz", "", 200),
            ("/me", "", 200),
        ] {
            let answer = served.ask(&format!("GET {path}"), headers).await;
            assert_eq!(answer.status, expected, "{public_read} {path} {headers}");
        }
        let answer = served.ask("PUT /api/v1/status", "").await;
        assert_eq!(answer.status, 401);
        let config = served.ask("GET /cargo/_/config.json", &token).await.json();
        assert_eq!(config["auth-required"] == true, !public_read, "{config}");
        let port = served.address.port();
        for (host, expected) in [
            (format!("192.0.2.7:{port}"), 200),
            ("packages.example".to_owned(), 200),
            (format!("evil.example:{port}"), 421),
        ] {
            let head =
                format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            assert_eq!(served.raw(&head).await.status, expected, "{host}");
        }
        served.stop().await;
    }
}
