//! What changes something answers as it is described, whether it is done or refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::described::check;
use crate::place::{Place, Up, eventually};

const PACKAGE: &str = "/api/v1/packages/{namespace}/{name}";
const RELEASE: &str = "/api/v1/packages/{namespace}/{name}/{version}";

/// A node with an unlocked key, and what it says of itself.
struct Desk {
    up: Up,
    api: Value,
    token: String,
    _place: Place,
}

impl Desk {
    fn new() -> Self {
        let place = Place::new();
        let up = Up::start(&place, &[]);
        assert!(place.run(&["key", "unlock"]).status.success());
        let scopes = ["publish-new", "publish-update", "yank"];
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let args: Vec<_> = ["token", "new"].into_iter().chain(scopes).collect();
        let token = place.json(&args)["token"].as_str().unwrap().to_owned();
        let (status, api) = up.send("GET", "/api/v1/openapi.json", "", b"");
        assert_eq!(status, 200);
        Self {
            up,
            api,
            token,
            _place: place,
        }
    }

    /// Sends a change to a page of the description, which must answer so, and as the description says.
    fn send(&self, method: &str, page: &str, at: &str, token: &str, body: &[u8]) -> (u16, Value) {
        let (name, version) = at.split_once('@').unwrap_or((at, ""));
        let (page, query) = page.split_once('?').unwrap_or((page, ""));
        let path = page
            .replace("{namespace}", "_")
            .replace("{name}", name)
            .replace("{version}", version);
        let path = format!("{path}?{query}");
        let (status, answer) = self.up.send(method, &path, token, body);
        let operation = &self.api["paths"][page][method.to_lowercase()];
        let described = &operation["responses"][status.to_string()];
        assert!(
            described.is_object(),
            "{method} {path} answers {status}: {answer}"
        );
        let mut content = described["content"].as_object().unwrap().values();
        let schema = &content.next().unwrap()["schema"];
        let checked = check(&self.api, schema, &answer);
        checked.unwrap_or_else(|why| panic!("{method} {path}: {why}: {answer}"));
        (status, answer)
    }

    /// What is told of a version.
    fn told(&self, version: &str) -> Value {
        let path = format!("/api/v1/packages/_/tool/{version}");
        let (status, told) = self.up.send("GET", &path, "", b"");
        assert_eq!(status, 200, "{told}");
        told
    }
}

#[test]
fn every_change_answers_as_it_is_described() {
    let desk = Desk::new();
    let generic = format!("{RELEASE}?format=generic");
    let cargo = format!("{RELEASE}?format=cargo");
    let unknown = "market_0123456789abcdefghijABCDEFGHIJ01";
    let (yank, unyank) = (format!("{RELEASE}/yank"), format!("{RELEASE}/unyank"));
    let token = desk.token.as_str();
    let mut done = BTreeSet::new();
    for (method, page, at, token, body, status) in [
        ("PUT", generic.as_str(), "tool@1.0.0", token, "content", 201),
        ("PUT", &generic, "tool@1.0.0", token, "other", 409),
        ("PUT", &generic, "tool@1.1.0", "", "content", 401),
        ("PUT", &generic, "tool@1.1.0", unknown, "content", 403),
        ("PUT", &generic, "tool@one", token, "content", 400),
        ("PUT", &cargo, "tool@2.0.0", token, "no crate", 400),
        (
            "PUT",
            &format!("{RELEASE}?format=none"),
            "tool@2.0.0",
            token,
            "",
            400,
        ),
        ("POST", &yank, "tool@1.0.0", token, "", 200),
        ("POST", &yank, "tool@9.0.0", token, "", 404),
        ("POST", &unyank, "tool@1.0.0", token, "", 200),
        ("POST", &unyank, "tool@1.0.0", "", "", 401),
        (
            "PATCH",
            RELEASE,
            "tool@1.0.0",
            token,
            "{\"deprecated\":\"old\"}",
            200,
        ),
        (
            "PATCH",
            RELEASE,
            "tool@1.0.0",
            token,
            "{\"yanked\":true}",
            400,
        ),
        ("PATCH", RELEASE, "tool@9.0.0", token, "{}", 404),
        ("PATCH", PACKAGE, "tool", token, "{}", 200),
        ("PATCH", PACKAGE, "tool", token, "{\"keywords\":1}", 400),
        ("PATCH", PACKAGE, "tool", unknown, "{}", 403),
        ("PATCH", PACKAGE, "nothing", token, "{}", 404),
        ("PATCH", PACKAGE, "tool", token, &" ".repeat(70_000), 413),
    ] {
        let (told, answer) = desk.send(method, page, at, token, body.as_bytes());
        assert_eq!(told, status, "{method} {page} {at}: {answer}");
        if status < 300 {
            done.insert((
                method.to_lowercase(),
                page.split('?').next().unwrap().to_owned(),
            ));
        }
    }
    let mut described = BTreeSet::new();
    for (path, page) in desk.api["paths"].as_object().unwrap() {
        let changes = page
            .as_object()
            .unwrap()
            .keys()
            .filter(|method| *method != "get");
        described.extend(changes.map(|method| (method.clone(), path.clone())));
    }
    assert_eq!(done, described);
}

#[test]
fn what_is_said_of_a_package_holds_for_all_versions_that_say_nothing_else() {
    let desk = Desk::new();
    let token = desk.token.as_str();
    let generic = format!("{RELEASE}?format=generic");
    for at in ["tool@1.0.0", "tool@2.0.0"] {
        assert_eq!(desk.send("PUT", &generic, at, token, at.as_bytes()).0, 201);
    }
    let change = |page: &str, at: &str, changes: Value| {
        let changes = changes.to_string();
        let (status, answer) = desk.send("PATCH", page, at, token, changes.as_bytes());
        assert_eq!(status, 200, "{answer}");
        answer["record"].is_string()
    };
    let said = json!({ "deprecated": "use another", "keywords": ["handy"] });
    assert!(change(PACKAGE, "tool", said.clone()));
    assert!(!change(PACKAGE, "tool", said), "it says so already");
    assert!(change(
        RELEASE,
        "tool@2.0.0",
        json!({ "keywords": ["new"], "description": "A tool" })
    ));
    let all = |version: &str| {
        let told = desk.told(version);
        json!([told["deprecated"], told["keywords"], told["description"]])
    };
    assert_eq!(all("1.0.0"), json!(["use another", ["handy"], ""]));
    assert_eq!(all("2.0.0"), json!(["use another", ["new"], "A tool"]));
    // The index follows what is said of the package, too.
    assert!(change(PACKAGE, "tool", json!({ "categories": ["tools"] })));
    eventually(
        || {
            desk.up
                .send("GET", "/api/v1/search?category=tools", "", b"")
                .1
        },
        |found| found["total"] == 1,
    );
    assert!(change(PACKAGE, "tool", json!({ "deprecated": null })));
    assert_eq!(all("1.0.0"), json!([null, ["handy"], ""]));
}
