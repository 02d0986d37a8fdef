//! What every `MetricsCollector` promises, as checks that panic where a promise is broken; a strict reader of
//! Prometheus' text form; and the simplest collector that keeps the promises.

mod model;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::metrics::{
    Labels, METRICS_MAX, MetricValue, MetricsCollector, OVERFLOW, REFUSED, SERIES_MAX,
};

pub use model::ModelCollector;
pub use reader::{Sample, read};

/// Text that broke one program or another: quotes, ends of line, control characters, writing from right to left,
/// other alphabets, and the words of formats and languages.
pub const HOSTILE: &[&str] = &[
    "",
    " ",
    "\"",
    "'",
    "\\",
    "\\\\",
    "\\\"",
    "\\n",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\0",
    "\u{7f}",
    "\u{1b}[2J\u{1b}[31m",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{202e}gpj.exe",
    "\u{200b}",
    "}",
    "{",
    "{}",
    "a}b",
    "a=b",
    "a=\"b\"",
    "a,b",
    "\"} 1\nforged{x=\"y\"} 2\n",
    "# EOF",
    "\n# TYPE forged counter\nforged 1\n",
    "# HELP a b",
    "le",
    "quantile",
    "__name__",
    "__",
    "_",
    "NaN",
    "+Inf",
    "-Inf",
    "undefined",
    "null",
    "true",
    "1e309",
    "-0",
    "0x0",
    "9",
    "1_000",
    "größe",
    "漢字",
    "Ω≈ç√∫",
    "👩‍👩‍👧‍👦",
    "ﷺ",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G",
    "<script>alert(1)</script>",
    "'; DROP TABLE users;--",
    "${jndi:ldap://x}",
    "%s%n%d",
    "../../etc/passwd",
    "{{7*7}}",
    "$(id)",
    "a_total",
    "a_bucket",
    "a_sum",
    "a_count",
    "a_seconds",
    "_total",
    "_seconds",
    "errors",
    "metrics_refused_total",
    "series",
    "other",
    "type",
];

/// Checks every promise of `MetricsCollector` on collectors that `make` gives, each empty.
///
/// # Panics
/// Where a promise is broken.
pub async fn suite<M: MetricsCollector + 'static>(make: impl AsyncFn() -> M) {
    counters_add_and_end_in_total(&make().await).await;
    gauges_keep_the_last_value(&make().await).await;
    histograms_count_and_sum(&make().await).await;
    timings_are_in_seconds(&make().await).await;
    errors_are_counted_and_their_messages_make_no_series(&make().await).await;
    labels_are_a_set(&make().await).await;
    a_name_keeps_its_kind(&make().await).await;
    names_on_the_page_belong_to_one_metric(&make().await).await;
    series_and_metrics_are_bounded(&make().await).await;
    hostile_text_leaves_the_page_well_formed(&make().await).await;
    nothing_is_lost_between_threads(make().await).await;
    reset_forgets_everything(&make().await).await;
    exports_agree_with_the_snapshot(&make().await).await;
}

async fn value(metrics: &impl MetricsCollector, series: &str) -> Option<MetricValue> {
    metrics.snapshot().await.expect("a snapshot").remove(series)
}

async fn count(metrics: &impl MetricsCollector, series: &str) -> u64 {
    match value(metrics, series).await {
        Some(MetricValue::Counter(count)) => count,
        other => panic!("{series} is {other:?}"),
    }
}

/// The page, well-formed.
async fn page(metrics: &impl MetricsCollector) -> Vec<Sample> {
    let text = metrics.export_prometheus().await.expect("a page");
    read(&text).unwrap_or_else(|why| panic!("{why} in:\n{text}"))
}

async fn counters_add_and_end_in_total(metrics: &impl MetricsCollector) {
    let alice: &[_] = &[("author", "alice")];
    metrics.counter("published", 2, alice).await;
    metrics.counter("published_total", 3, alice).await;
    metrics.counter("published", 1, &[]).await;
    assert_eq!(count(metrics, "published_total{author=\"alice\"}").await, 5);
    assert_eq!(count(metrics, "published_total").await, 1);
    metrics.counter("published", u64::MAX, alice).await;
    let most = count(metrics, "published_total{author=\"alice\"}").await;
    assert_eq!(most, u64::MAX, "a counter does not go round");
}

async fn gauges_keep_the_last_value(metrics: &impl MetricsCollector) {
    for now in [1.0, -2.5, 42.0] {
        metrics.gauge("connections", now, &[]).await;
    }
    assert_eq!(
        value(metrics, "connections").await,
        Some(MetricValue::Gauge(42.0))
    );
    metrics.gauge("connections", f64::NEG_INFINITY, &[]).await;
    metrics.gauge("unknown", f64::NAN, &[]).await;
    let page = page(metrics).await;
    let shown = |name| {
        page.iter()
            .find(|one| one.name == name)
            .expect("it is there")
            .value
    };
    assert_eq!(shown("connections"), f64::NEG_INFINITY);
    assert!(shown("unknown").is_nan());
    metrics
        .export_json()
        .await
        .expect("JSON without such numbers");
}

async fn histograms_count_and_sum(metrics: &impl MetricsCollector) {
    for seen in [0.0, 3.0, 1e12] {
        metrics.histogram("size", seen, &[]).await;
    }
    for wrong in [f64::NAN, f64::INFINITY] {
        metrics.histogram("size", wrong, &[]).await;
    }
    let Some(MetricValue::Histogram(spread)) = value(metrics, "size").await else {
        panic!("no distribution");
    };
    assert_eq!((spread.count, spread.sum), (3, 1e12 + 3.0));
    assert!(
        spread.buckets.is_sorted(),
        "counts are of everything below a bound"
    );
    assert!(spread.buckets.iter().all(|(bound, count)| {
        *count
            == [0.0, 3.0, 1e12]
                .iter()
                .filter(|seen| *seen <= bound)
                .count() as u64
    }));
    assert_eq!(
        count(metrics, REFUSED).await,
        2,
        "no number cannot be summed"
    );
    page(metrics).await;
}

async fn timings_are_in_seconds(metrics: &impl MetricsCollector) {
    metrics
        .timing("search", Duration::from_millis(1500), &[])
        .await;
    metrics
        .timing("search_seconds", Duration::from_millis(500), &[])
        .await;
    let Some(MetricValue::Histogram(spread)) = value(metrics, "search_seconds").await else {
        panic!("no distribution");
    };
    assert_eq!((spread.count, spread.sum), (2, 2.0));
}

async fn errors_are_counted_and_their_messages_make_no_series(metrics: &impl MetricsCollector) {
    for at in 0..50 {
        let message = format!("disk {at} said secret-{at}");
        metrics
            .error("storage", &message, &[("type", "mine"), ("where", "store")])
            .await;
    }
    let series = "errors_total{type=\"storage\",where=\"store\"}";
    assert_eq!(count(metrics, series).await, 50);
    let text = metrics.export_prometheus().await.expect("a page");
    let json = metrics.export_json().await.expect("JSON").to_string();
    assert!(!text.contains("secret") && !json.contains("secret"));
}

async fn labels_are_a_set(metrics: &impl MetricsCollector) {
    metrics.counter("a", 1, &[("x", "1"), ("y", "2")]).await;
    metrics
        .counter("a", 1, &[("y", "2"), ("x", "1"), ("x", "9")])
        .await;
    assert_eq!(count(metrics, "a_total{x=\"1\",y=\"2\"}").await, 2);
}

async fn a_name_keeps_its_kind(metrics: &impl MetricsCollector) {
    metrics.gauge("a_total", 1.0, &[]).await;
    metrics.counter("a", 1, &[]).await;
    assert_eq!(
        value(metrics, "a_total").await,
        Some(MetricValue::Gauge(1.0))
    );
    assert_eq!(count(metrics, REFUSED).await, 1);
    page(metrics).await;
}

async fn names_on_the_page_belong_to_one_metric(metrics: &impl MetricsCollector) {
    metrics.histogram("a", 1.0, &[]).await;
    metrics.gauge("a_sum", 7.0, &[]).await;
    metrics.gauge("b_bucket", 7.0, &[]).await;
    metrics.histogram("b", 1.0, &[]).await;
    assert_eq!(count(metrics, REFUSED).await, 2);
    page(metrics).await;
}

async fn series_and_metrics_are_bounded(metrics: &impl MetricsCollector) {
    for at in 0..10_000 {
        metrics
            .counter("asked", 1, &[("who", &format!("{at}\n\"}} 1"))])
            .await;
    }
    let before = page(metrics).await;
    let series = before.iter().filter(|one| one.name == "asked_total");
    assert_eq!(series.clone().count(), SERIES_MAX);
    assert_eq!(
        series.map(|one| one.value).sum::<f64>(),
        10_000.0,
        "none is lost"
    );
    let beyond = 10_000 - (SERIES_MAX as u64 - 1);
    let other = format!("asked_total{}", Labels::other());
    assert_eq!(count(metrics, &other).await, beyond);
    assert_eq!(count(metrics, OVERFLOW).await, beyond);
    for at in 0..10_000 {
        metrics
            .counter("asked", 1, &[("who", &format!("again {at}"))])
            .await;
    }
    assert_eq!(page(metrics).await.len(), before.len(), "no series came");
    // Who was there before the bound was reached is still told from others.
    metrics.counter("asked", 5, &[("who", "0\n\"} 1")]).await;
    assert_eq!(count(metrics, "asked_total{who=\"0\\n\\\"} 1\"}").await, 6);

    for at in 0..1_000 {
        metrics.gauge(&format!("metric {at}"), 1.0, &[]).await;
    }
    let page = page(metrics).await;
    let names: std::collections::BTreeSet<_> = page.iter().map(|one| &one.name).collect();
    assert!(names.len() <= METRICS_MAX, "{} names", names.len());
    assert!(count(metrics, REFUSED).await > 0);
}

async fn hostile_text_leaves_the_page_well_formed(metrics: &impl MetricsCollector) {
    for text in HOSTILE {
        let labels = &[(*text, "value"), ("name", *text), (*text, *text)];
        metrics.counter(text, 1, labels).await;
        metrics.gauge(text, 1.0, labels).await;
        metrics.histogram(text, 1.0, labels).await;
        metrics.timing(text, Duration::from_secs(1), labels).await;
        metrics.error(text, text, labels).await;
    }
    let page = page(metrics).await;
    assert!(page.iter().all(|one| one.name != "forged"));
    let text = metrics.export_prometheus().await.expect("a page");
    let harmful = |c: &char| c.is_control() && *c != '\n';
    assert_eq!(text.chars().find(harmful), None);
}

async fn nothing_is_lost_between_threads<M: MetricsCollector + 'static>(metrics: M) {
    let metrics = Arc::new(metrics);
    let tasks = (0..8).map(|task: u64| {
        let metrics = metrics.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                metrics.counter("steps", task, &[]).await;
            }
        })
    });
    for ended in join_all(tasks).await {
        ended.expect("a task that counts");
    }
    assert_eq!(count(&*metrics, "steps_total").await, 28 * 500);
}

async fn reset_forgets_everything(metrics: &impl MetricsCollector) {
    let fresh = metrics.snapshot().await.expect("a snapshot");
    metrics.gauge("a", 1.0, &[]).await;
    metrics.counter("a", 1, &[("b", "c")]).await;
    metrics.histogram("a", f64::NAN, &[]).await;
    assert_ne!(metrics.snapshot().await.expect("a snapshot"), fresh);
    metrics.reset().await.expect("a reset");
    assert_eq!(metrics.snapshot().await.expect("a snapshot"), fresh);
    // A name may be of another kind from then on.
    metrics.histogram("a", 1.0, &[]).await;
    assert!(matches!(
        value(metrics, "a").await,
        Some(MetricValue::Histogram(_))
    ));
}

async fn exports_agree_with_the_snapshot(metrics: &impl MetricsCollector) {
    metrics
        .counter("published", 7, &[("author", "alice")])
        .await;
    metrics.gauge("connections", 2.5, &[("kind", "peer")]).await;
    metrics
        .timing("search", Duration::from_millis(20), &[("type", "fulltext")])
        .await;
    let page = page(metrics).await;
    let json = metrics.export_json().await.expect("JSON");
    for (series, value) in metrics.snapshot().await.expect("a snapshot") {
        let name = series.split('{').next().expect("a name");
        let labels = &series[name.len()..];
        let shown = |end: &str| {
            let name = format!("{name}{end}");
            let found = page
                .iter()
                .find(|one| one.name == name && one.labels_text() == labels);
            found
                .unwrap_or_else(|| panic!("{name}{labels} is not on the page"))
                .value
        };
        let in_json = json[name]["series"].as_array().expect("series in JSON");
        let in_json = in_json.iter().find(|one| {
            let members = one["labels"].as_object().expect("labels in JSON");
            let pairs = members.iter();
            let pairs: Vec<_> = pairs
                .map(|(n, v)| (n.as_str(), v.as_str().expect("text")))
                .collect();
            Labels::of(&pairs).to_string() == labels
        });
        let in_json = in_json.unwrap_or_else(|| panic!("{series} is not in the JSON"));
        match value {
            MetricValue::Counter(count) => {
                assert_eq!(shown(""), count as f64);
                assert_eq!(in_json["value"], count);
            }
            MetricValue::Gauge(now) => {
                assert_eq!(shown(""), now);
                assert_eq!(in_json["value"], now);
            }
            MetricValue::Histogram(spread) => {
                assert_eq!(shown("_count"), spread.count as f64);
                assert_eq!(shown("_sum"), spread.sum);
                assert_eq!(in_json["count"], spread.count);
            }
        }
    }
}
