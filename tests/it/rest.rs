//! The API over HTTP: what it tells, its bounds, its description, its events.

mod described;
mod events;
mod writes;

use ggen_marketplace::protocols::metadata::{
    Dependency, DependencyKind, DependencySource, OwnerIdText, PackageMetadata,
};
use ggen_marketplace::testing::cluster::{Home, Member, author, eventually};
use ggen_marketplace::testing::registry::{Author, metadata};
use serde_json::json;

use crate::served::{DEADLINE, Served, alone};

/// A node with some packages of one owner, and two owners who claim one name.
struct World {
    served: Served,
    member: Member,
    owner: String,
    _home: Home,
}

fn need(name: &str, requirement: &str, kind: DependencyKind) -> (String, Vec<Dependency>) {
    let dependency = Dependency {
        kind,
        ..Dependency::new(name, requirement.parse().unwrap())
    };
    (name.to_owned(), vec![dependency])
}

async fn publish(member: &Member, author: &mut Author, metadata: PackageMetadata) {
    let content = metadata.id.to_string();
    let record = author.publish_metadata(metadata, &content);
    member.hand_over(&record, &content).await.unwrap();
}

async fn world() -> World {
    let (member, home, served) = alone().await;
    let (mut one, mut two) = (author(1), author(2));
    let normal = DependencyKind::Normal;
    let with = |release: &str, needs: Vec<(String, Vec<Dependency>)>| PackageMetadata {
        dependencies: needs.into_iter().collect(),
        keywords: vec!["web".to_owned()],
        categories: vec!["network".to_owned()],
        license: "MIT".to_owned(),
        ..metadata(release)
    };
    let bound = |name: &str, source: DependencySource| {
        let (alias, mut needs) = need(name, "^1", normal);
        needs[0].source = source;
        (alias, needs)
    };
    let mine = DependencySource::Owner(OwnerIdText(one.owner()));
    let elsewhere = DependencySource::Url("sparse+https://packages.example/".to_owned());
    let needs = vec![
        need("app", "^1", normal),
        need("gone", "^1", normal),
        need("http", "^1", normal),
        bound("extra", mine),
        bound("foreign", elsewhere),
        need("other-app", "^1", DependencyKind::Dev),
    ];
    let app = vec![
        need("lib", "^1", normal),
        need("testing", "^1", DependencyKind::Dev),
    ];
    for release in [
        with("app@1.0.0", app),
        with("lib@1.0.0", vec![]),
        with("lib@1.2.0", needs),
        with("lib@1.3.0", vec![]),
        with("lib@2.0.0", vec![]),
        with("extra@1.5.0", vec![]),
        with("http@1.0.0", vec![]),
    ] {
        publish(&member, &mut one, release).await;
    }
    let yank = one.yank("lib@1.3.0", 1, true);
    let yank = yank.envelope().clone();
    member.node.submit(yank).await.unwrap();
    publish(&member, &mut two, with("http@1.0.0", vec![])).await;
    eventually("the index has all", DEADLINE, async || {
        member.node.status().await.unwrap().search_behind == 0 && member.finds("extra").await
    })
    .await;
    World {
        served,
        member,
        owner: one.owner().to_string(),
        _home: home,
    }
}

impl World {
    async fn stop(self) {
        self.served.stop().await;
        self.member.stop().await.unwrap();
    }
}

#[tokio::test]
async fn packages_are_listed_page_by_page() {
    let world = world().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/packages?limit=2".to_owned();
    loop {
        let page = world.served.json(&path).await;
        let packages = page["packages"].as_array().unwrap();
        assert!((1..=2).contains(&packages.len()));
        seen.extend(packages.iter().cloned());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/packages?limit=2&cursor={next}");
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let mine = seen
        .iter()
        .filter(|package| package["owner"] == world.owner);
    let names: Vec<_> = mine
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["app", "extra", "http", "lib"]);
    world.stop().await;
}

#[tokio::test]
async fn a_package_is_told_of_with_its_versions() {
    let world = world().await;
    let owner = &world.owner;
    for path in ["lib".to_owned(), "_/lib".to_owned(), format!("{owner}/LIB")] {
        let package = world.served.json(&format!("/api/v1/packages/{path}")).await;
        assert_eq!(package["owner"], *owner);
        assert_eq!(package["badge"], "unverified");
        assert_eq!(package["versions_total"], 4);
    }
    let part = "/api/v1/packages/_/lib/versions?limit=2&offset=1";
    let versions = world.served.json(part).await;
    assert_eq!(versions["total"], 4);
    let told: Vec<_> = versions["versions"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["version"], &told[0]["yanked"]),
        (&json!("1.3.0"), &json!(true))
    );
    assert_eq!(
        (&told[1]["version"], &told[1]["yanked"]),
        (&json!("1.2.0"), &json!(false))
    );
    let version = world.served.json("/api/v1/packages/_/lib/1.2.0").await;
    assert_eq!(version["release"], *told[1]);
    assert_eq!(
        (&version["held"], &version["offered"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(version["license"], "MIT");
    let yanked = world.served.json("/api/v1/packages/_/lib/1.3.0").await;
    assert_eq!(yanked["offered"], false);
    world.stop().await;
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let world = world().await;
    for path in [
        "/api/v1/packages/lib",
        "/api/v1/packages/_/lib",
        "/api/v1/packages/_/lib/versions",
        "/api/v1/packages/_/lib/1.2.0",
    ] {
        let first = world.served.get(path).await;
        let tag = first.header("etag").unwrap();
        for known in [
            tag.to_owned(),
            format!("\"other\", W/{tag}"),
            "*".to_owned(),
        ] {
            let header = format!("If-None-Match: {known}\r\n");
            let again = world.served.ask("GET", path, &header).await;
            assert_eq!(
                (again.status, again.body.as_str()),
                (304, ""),
                "{path}: {known}"
            );
            assert_eq!(again.header("etag"), Some(tag));
        }
        let other = world
            .served
            .ask("GET", path, "If-None-Match: \"other\"\r\n")
            .await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
    let path = "/api/v1/packages/_/lib";
    let before = world.served.get(path).await;
    let mut author = author(1);
    author.head = world
        .member
        .node
        .feed_head(author.owner(), author.key())
        .await
        .unwrap();
    publish(&world.member, &mut author, metadata("lib@2.1.0")).await;
    let header = format!("If-None-Match: {}\r\n", before.header("etag").unwrap());
    assert_eq!(world.served.ask("GET", path, &header).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn needs_are_met_by_the_highest_offered_version() {
    let world = world().await;
    let base = "/api/v1/packages/_/app/1.0.0/dependencies";
    let graph = world.served.json(base).await;
    let nodes: Vec<_> = graph["nodes"].as_array().unwrap().iter().collect();
    let named = |at: usize| {
        let node = nodes[at];
        assert_eq!(node["owner"], world.owner);
        format!(
            "{}@{} {}",
            node["name"].as_str().unwrap(),
            node["version"].as_str().unwrap(),
            node["depth"]
        )
    };
    let all: Vec<_> = (0..nodes.len()).map(named).collect();
    assert_eq!(
        all,
        ["app@1.0.0 0", "lib@1.2.0 1", "extra@1.5.0 2"],
        "1.3.0 is yanked"
    );
    let edges = graph["edges"].as_array().unwrap().iter();
    let edges: Vec<_> = edges
        .map(|edge| {
            (
                edge["from"].clone(),
                edge["name"].clone(),
                edge["to"].clone(),
                edge["outcome"].clone(),
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            (json!(0), json!("lib"), json!(1), json!("met")),
            (json!(1), json!("app"), json!(0), json!("met")),
            (json!(1), json!("extra"), json!(2), json!("met")),
            (json!(1), json!("foreign"), json!(null), json!("elsewhere")),
            (json!(1), json!("gone"), json!(null), json!("missing")),
            (json!(1), json!("http"), json!(null), json!("contested")),
        ]
    );
    assert_eq!(graph["truncated"], false);
    let dev = world.served.json(&format!("{base}?dev=true")).await;
    let kinds = dev["edges"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.filter(|edge| edge["kind"] == "dev").collect();
    assert_eq!(kinds.len(), 1, "what others need for their tests is theirs");
    assert_eq!(kinds[0]["name"], "testing");
    for part in ["?depth=1", "?nodes=2"] {
        let graph = world.served.json(&format!("{base}{part}")).await;
        assert_eq!(graph["nodes"].as_array().unwrap().len(), 2, "{part}");
        assert_eq!(graph["truncated"], true, "{part}");
        let mut edges = graph["edges"].as_array().unwrap().iter();
        let beyond = edges.find(|edge| edge["name"] == "extra").unwrap();
        assert_eq!(beyond["outcome"], "beyond");
    }
    world.stop().await;
}

#[tokio::test]
async fn packages_are_found_counted_and_suggested() {
    let world = world().await;
    let found = world.served.json("/api/v1/search?q=lib").await;
    assert_eq!(found["hits"][0]["name"], "lib");
    assert_eq!(found["hits"][0]["version"], "2.0.0");
    let narrow = "/api/v1/search?keyword=web&category=network,none";
    assert_eq!(world.served.json(narrow).await["total"], 0);
    let sorted = world
        .served
        .json("/api/v1/search?keyword=web&sort=name&limit=2")
        .await;
    assert_eq!(sorted["total"], 5);
    assert_eq!(sorted["hits"][0]["name"], "app");
    let facets = world.served.json("/api/v1/facets").await;
    assert_eq!(
        (&facets["total"], &facets["counted"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(facets["keywords"], json!([{ "label": "web", "count": 5 }]));
    assert_eq!(facets["licenses"], json!([{ "label": "MIT", "count": 5 }]));
    assert_eq!(
        facets["formats"],
        json!([{ "label": "generic", "count": 5 }])
    );
    let names = world.served.json("/api/v1/suggest?q=e").await;
    assert_eq!(names, json!({ "names": ["extra"] }));
    let near = world.served.json("/api/v1/suggest?q=exrta").await;
    assert_eq!(near, json!({ "names": ["extra"] }));
    let similar = world.served.json("/api/v1/similar/_/lib?limit=3").await;
    let similar = similar["hits"].as_array().unwrap();
    assert_eq!(similar.len(), 3);
    assert!(similar.iter().all(|hit| hit["name"] != "lib"));
    world.stop().await;
}

#[tokio::test]
async fn the_node_tells_what_it_has_and_whom_it_relies_on() {
    let world = world().await;
    let stats = world.served.json("/api/v1/stats").await;
    assert_eq!(stats["catalogue"]["packages"], 5);
    assert_eq!(stats["catalogue"]["versions"], 8);
    assert_eq!(
        stats["store"]["blobs"], 7,
        "two owners published the same bytes"
    );
    assert_eq!(
        (&stats["search"]["documents"], &stats["search"]["behind"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(
        world.served.json("/api/v1/peers").await,
        json!({ "peers": [] })
    );
    let mirrors = world.served.json("/api/v1/mirrors").await;
    assert_eq!(
        (&mirrors["mirror"], &mirrors["held_blobs"]),
        (&json!("none"), &json!(7))
    );
    let owner = &world.owner;
    let told = world.served.json(&format!("/api/v1/owners/{owner}")).await;
    assert_eq!(
        (&told["status"], &told["documents"]),
        (&json!("active"), &json!(0))
    );
    assert_eq!(told["packages"], json!(["app", "extra", "http", "lib"]));
    let name = format!("/api/v1/trust/{owner}?name=lib");
    assert_eq!(world.served.json(&name).await["badge"], "unverified");
    world.member.fetch("lib@1.2.0").await.unwrap();
    let trust = world.served.json(&name).await;
    assert_eq!(
        (&trust["pinned"], &trust["score"]),
        (&json!(true), &json!(0))
    );
    let policy = world.served.json("/api/v1/trust").await;
    assert_eq!(policy["names"], json!({ "lib": owner }));
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_with_documents_tells_of_its_keys() {
    let (member, _home, served) = alone().await;
    let (root, recovery) = (author(3), author(4));
    let genesis = root.found("acme", Some(&recovery));
    member
        .node
        .submit(genesis.envelope().clone())
        .await
        .unwrap();
    let owner = genesis.namespace().unwrap().to_string();
    let told = served.json(&format!("/api/v1/owners/{owner}")).await;
    assert_eq!(told["label"], "acme");
    assert_eq!(told["root"], root.key().to_string());
    assert_eq!(told["document"], genesis.id().to_string());
    assert_eq!(
        (&told["recoverable"], &told["documents"]),
        (&json!(true), &json!(1))
    );
    served.stop().await;
    member.stop().await.unwrap();
}

#[tokio::test]
async fn a_question_out_of_bounds_is_refused_with_the_reason() {
    let world = world().await;
    let nobody = author(9).owner();
    for (path, status, why) in [
        ("packages?limit=101", 400, "100"),
        ("packages?cursor=x", 400, "next"),
        ("packages/_/lib/versions?offset=10001", 400, "10000"),
        ("packages/_/lib/9.9.9", 404, "lib@9.9.9"),
        ("packages/_/lib/one", 400, "version"),
        ("packages/_/nothing", 404, "nothing"),
        ("packages/_/nothing/1.0.0/availability", 404, "nothing"),
        ("packages/_/http/versions", 409, "claimed by 2 owners"),
        ("packages/_/lib/1.2.0/dependencies?depth=33", 400, "32"),
        ("packages/_/lib/1.2.0/dependencies?nodes=1001", 400, "1000"),
        ("packages/_/lib/1.2.0/dependencies?nodes=0", 400, "1000"),
        ("search?sort=best", 400, "relevance"),
        ("facets?sort=best", 400, "relevance"),
        ("suggest?limit=51", 400, "50"),
        ("similar/_/lib?limit=101", 400, "100"),
        ("similar/_/nothing", 404, "nothing"),
        ("trust/nobody", 400, "owner"),
        (&format!("owners/{nobody}"), 404, "ns1"),
    ] {
        let answer = world.served.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{path}: {detail}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_contested_name_tells_the_choices_apart() {
    let world = world().await;
    for path in ["packages/http", "packages/_/http/1.0.0", "similar/_/http"] {
        let answer = world.served.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, 409, "{path}");
        let problem = answer.json();
        let choices = problem["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 2, "{path}");
        let mine = choices.iter().find(|choice| choice["owner"] == world.owner);
        let expected = json!({ "owner": world.owner, "label": null, "name": "http", "versions": 1, "score": 0 });
        assert_eq!(*mine.unwrap(), expected);
    }
    let other = world.served.get("/api/v1/packages/nothing").await.json();
    assert!(
        other.get("choices").is_none(),
        "only where there is a choice"
    );
    world.stop().await;
}
