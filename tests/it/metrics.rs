//! Metrics from outside: the trait's promises, and the page of running nodes.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ggen_marketplace::gateway::{self, Parts};
use ggen_marketplace::metrics::{MetricsCollector, PrometheusMetricsCollector};
use ggen_marketplace::node::{Config, Node};
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::store::file::FilePackageStore;
use ggen_marketplace::testing::cluster::{Member, Options, author, eventually};
use ggen_marketplace::testing::metrics::{HOSTILE, ModelCollector, Sample, read, suite};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_collector_keeps_every_promise() {
    suite(async || PrometheusMetricsCollector::new()).await;
}

#[tokio::test]
async fn the_model_keeps_every_promise() {
    suite(async || ModelCollector::default()).await;
}

/// One call of a collector.
#[derive(Debug, Clone)]
enum Call {
    Counter(u64),
    Gauge(f64),
    Histogram(f64),
    Error,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(HOSTILE).prop_map(str::to_owned),
        select(&["a", "b", "a_sum", "b_total"][..]).prop_map(str::to_owned),
        any::<String>(),
    ]
}

type Step = (Call, String, Vec<(String, String)>);

fn step() -> impl Strategy<Value = Step> {
    let call = prop_oneof![
        any::<u64>().prop_map(Call::Counter),
        any::<f64>().prop_map(Call::Gauge),
        any::<f64>().prop_map(Call::Histogram),
        proptest::strategy::Just(Call::Error),
    ];
    (call, text(), prop::collection::vec((text(), text()), 0..4))
}

async fn take(metrics: &dyn MetricsCollector, (call, name, labels): &Step) {
    let labels: Vec<_> = labels
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    match call {
        Call::Counter(value) => metrics.counter(name, *value, &labels).await,
        Call::Gauge(value) => metrics.gauge(name, *value, &labels).await,
        Call::Histogram(value) => metrics.histogram(name, *value, &labels).await,
        Call::Error => metrics.error(name, name, &labels).await,
    }
}

proptest! {
    #[test]
    fn any_text_leaves_a_page_that_parses_and_says_what_the_model_says(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let (metrics, model) = (PrometheusMetricsCollector::new(), ModelCollector::default());
        let (page, of_model, names, names_of_model) = futures::executor::block_on(async {
            for step in &steps {
                take(&metrics, step).await;
                take(&model, step).await;
            }
            let names = metrics.snapshot().await.unwrap();
            let names_of_model = model.snapshot().await.unwrap();
            let page = metrics.export_prometheus().await.unwrap();
            (page, model.export_prometheus().await.unwrap(), names, names_of_model)
        });
        let mut keys: Vec<_> = names.keys().collect();
        let mut keys_of_model: Vec<_> = names_of_model.keys().collect();
        keys.sort();
        keys_of_model.sort();
        prop_assert_eq!(keys, keys_of_model);
        // Buckets are each collector's own; everything else is the same.
        let values = |page: &str| {
            let samples = read(page)?;
            let kept = samples.into_iter().filter(|one| !one.name.ends_with("_bucket"));
            let mut kept: Vec<_> = kept
                .map(|one| format!("{}{} {}", one.name, one.labels_text(), one.value))
                .collect();
            kept.sort();
            Ok::<_, String>(kept)
        };
        prop_assert_eq!(values(&page), values(&of_model));
        // What others make of it.
        let lines = page.lines().map(|line| Ok(line.to_owned()));
        prop_assert!(prometheus_parse::Scrape::parse(lines).is_ok());
    }
}

/// HTTP of a node, for as long as the test runs.
struct Http(SocketAddr);

impl Http {
    async fn of(node: &Node) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = gateway::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let parts = Parts::new(node.clone());
        tokio::spawn(gateway::serve(listener, parts, std::future::pending()));
        Self(address)
    }

    /// Head and body of the answer to a GET.
    async fn get(&self, path: &str) -> (String, String) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.0
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.0).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let text = timeout(DEADLINE, exchange).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn page(&self) -> Shown {
        let (head, body) = self.get("/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        let lines = body.lines().map(|line| Ok(line.to_owned()));
        prometheus_parse::Scrape::parse(lines).unwrap();
        Shown(read(&body).unwrap_or_else(|why| panic!("{why} in:\n{body}")))
    }
}

/// A page of metrics, read.
struct Shown(Vec<Sample>);

impl Shown {
    fn value(&self, series: &str) -> f64 {
        let is_it = |one: &&Sample| format!("{}{}", one.name, one.labels_text()) == series;
        let found = self.0.iter().find(is_it);
        found
            .unwrap_or_else(|| panic!("{series} is not there"))
            .value
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|one| one.name.as_str()).collect()
    }

    /// All series but those of how long one thing took, whose buckets are many.
    fn series(&self) -> BTreeSet<String> {
        let series = self.0.iter();
        series
            .map(|one| format!("{}{}", one.name, one.labels_text()))
            .collect()
    }
}

/// Two nodes, the second of which got a package of the first by gossip and fetched it.
struct Pair {
    a: Member,
    b: Member,
    size: u64,
    _homes: [ggen_marketplace::testing::cluster::Home; 2],
}

impl Pair {
    async fn start() -> Self {
        let (a, home_a) = Member::start(Options::default()).await.unwrap();
        let (b, home_b) = Member::start(Options::to(&[&a])).await.unwrap();
        eventually("both have caught up", DEADLINE, async || {
            let status = b.node.status().await.unwrap();
            status.caught_up.complete && status.peers == 1
        })
        .await;
        let published = a
            .publish(&mut author(1), "parser@1.2.3", "content")
            .await
            .unwrap();
        eventually("it is found", DEADLINE, async || b.finds("parser").await).await;
        let fetched = b.fetch("parser").await.unwrap();
        assert!(!fetched.local);
        Self {
            a,
            b,
            size: published.size,
            _homes: [home_a, home_b],
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_running_node_says_what_happened_to_it() {
    let pair = Pair::start().await;
    let (a, b) = (Http::of(&pair.a.node).await, Http::of(&pair.b.node).await);
    let (on_a, on_b) = (a.page().await, b.page().await);
    let status = pair.b.node.status().await.unwrap();

    for (series, value) in [
        ("market_records", status.records),
        ("market_packages", 1),
        ("market_versions", 1),
        ("market_store_blobs", 1),
        ("market_store_bytes", pair.size),
        ("market_search_behind", status.search_behind),
        ("market_peers", 1),
        ("market_peers_known", 1),
        ("market_peers_reconciled", 1),
        ("market_caught_up", 1),
        ("market_loop_answering", 1),
        ("market_fetch_seconds_count{result=\"held\"}", 1),
        ("market_fetch_seconds_count{result=\"failed\"}", 0),
        (
            "market_traffic_bytes_total{direction=\"in\",source=\"blob\"}",
            pair.size,
        ),
        ("market_queue_capacity{queue=\"answers\"}", 64),
        ("market_queue_length{queue=\"writes\"}", 0),
    ] {
        assert_eq!(on_b.value(series), value as f64, "{series}");
    }
    let new = |origin: &str| {
        on_b.value(&format!(
            "market_admissions_total{{origin=\"{origin}\",result=\"new\"}}"
        ))
    };
    assert_eq!(new("own"), 0.0);
    assert_eq!(new("gossip") + new("reconcile"), status.records as f64);
    let own = on_a.value("market_admissions_total{origin=\"own\",result=\"new\"}");
    assert_eq!(own, status.records as f64);
    // The release carries a time; it came by gossip, or by reconciling if gossip was slower.
    let arrived = |origin: &str| {
        on_b.value(&format!(
            "market_propagation_seconds_count{{origin=\"{origin}\"}}"
        ))
    };
    assert_eq!(arrived("gossip") + arrived("reconcile"), 1.0);
    for (page, source, direction) in [
        (&on_b, "gossip", "in"),
        (&on_a, "gossip", "out"),
        (&on_b, "sync", "in"),
        (&on_b, "sync", "out"),
        (&on_a, "blob", "out"),
    ] {
        let series =
            format!("market_traffic_bytes_total{{direction=\"{direction}\",source=\"{source}\"}}");
        assert!(page.value(&series) > 0.0, "{series}");
    }
    assert!(on_b.value("market_uptime_seconds") > 0.0);
    assert!(on_b.value("process_max_fds") > 0.0);
    assert!(
        on_b.names()
            .iter()
            .any(|name| name.starts_with("libp2p_swarm_"))
    );
    assert!(
        !on_b
            .names()
            .iter()
            .any(|name| name.starts_with("libp2p_identify_"))
    );

    let (_, json) = b.get("/api/v1/metrics").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["market_packages"]["series"][0]["value"], 1.0);
    pair.b.stop().await.unwrap();
    pair.a.stop().await.unwrap();
}

#[tokio::test]
async fn the_metrics_of_the_program_around_a_node_are_shown_unless_they_look_like_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let options = OpenOptions::default();
    let registry = LocalRegistry::open(path.join("catalogue.redb"), options)
        .await
        .unwrap();
    let store = FilePackageStore::new(path.join("blobs")).await.unwrap();
    let collector = Arc::new(PrometheusMetricsCollector::new());
    let builder = Node::builder(Arc::new(registry), Arc::new(store), Config::default());
    let (node, running) = builder.metrics(collector.clone()).spawn().await.unwrap();
    collector.counter("jobs", 3, &[("kind", "build")]).await;
    collector.gauge("market_records", 77.0, &[]).await;
    collector
        .timing("process_start_time", Duration::from_secs(77), &[])
        .await;
    let page = node.metrics().await.unwrap().text();
    let page = Shown(read(&page).unwrap());
    assert_eq!(page.value("jobs_total{kind=\"build\"}"), 3.0);
    assert_eq!(page.value("market_records"), 0.0);
    assert!(page.0.iter().all(|one| one.value != 77.0));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_and_make_no_series() {
    let (alone, _home) = Member::start(Options {
        online: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let http = Http::of(&alone.node).await;
    let before = http.page().await;
    for at in 0..50 {
        http.get(&format!("/nothing-{at}%22%7D%201")).await;
    }
    http.get("/api/v1/search?q=x").await;
    let after = http.page().await;
    assert_eq!(after.series(), before.series());
    let count = |route: &str, status: &str| {
        after.value(&format!(
            "market_http_requests_total{{route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(count("page", "4xx"), 50.0);
    assert_eq!(count("api", "2xx"), 1.0);
    assert_eq!(count("metrics", "2xx"), 1.0);
    assert_eq!(
        after.value("market_http_request_seconds_count{route=\"page\"}"),
        50.0
    );
    for direction in ["in", "out"] {
        let series = format!("market_http_traffic_bytes_total{{direction=\"{direction}\"}}");
        assert!(
            after.value(&series) > before.value(&series) + 50.0 * 40.0,
            "{series}"
        );
    }
    alone.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_name_only_metrics_that_there_are() {
    let pair = Pair::start().await;
    let page = Http::of(&pair.b.node).await.page().await;
    let names = page.names();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy");
    for (file, at_least) in [("grafana.json", 20), ("alerts.yml", 8)] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<_> = words
            .filter(|word| {
                ["market_", "process_", "libp2p_"]
                    .iter()
                    .any(|own| word.starts_with(own))
            })
            .collect();
        assert!(named.len() >= at_least, "{file} names only {named:?}");
        let unknown: Vec<_> = named.difference(&names).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    let dashboard = fs::read_to_string(folder.join("grafana.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    pair.b.stop().await.unwrap();
    pair.a.stop().await.unwrap();
}
