//! A collector in memory whose metrics Prometheus can read.
//!
//! The values are kept here, and not in a client library: resetting and reading them back is part of the trait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Distribution, Family, Kind, Labels, METRICS_MAX, MetricValue, MetricsCollector, Name, OVERFLOW,
    Page, REFUSED, SERIES_MAX, Series,
};
use crate::Result;
use std::collections::HashMap;

/// Upper bounds of the buckets for durations, in seconds.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Upper bounds of the buckets for values of an unknown unit.
const ANYTHING: &[f64] = &[
    0.001, 0.01, 0.1, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 1e4, 1e5, 1e6, 1e9,
];

/// Keeps metrics in memory: at most [`METRICS_MAX`] with [`SERIES_MAX`] series each.
#[derive(Debug)]
pub struct PrometheusMetricsCollector {
    recorded: Mutex<Recorded>,
}

impl PrometheusMetricsCollector {
    /// One without metrics.
    pub fn new() -> Self {
        Self {
            recorded: Mutex::new(Recorded::new()),
        }
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        // Whoever panicked with it left it whole: it is changed in single steps.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for PrometheusMetricsCollector {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl MetricsCollector for PrometheusMetricsCollector {
    async fn counter(&self, name: &str, value: u64, labels: &[(&str, &str)]) {
        let name = Name::of(Kind::Counter, name);
        let mut recorded = self.recorded();
        recorded.record(name, Kind::Counter, labels, |held| held.add(value));
    }

    async fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        let name = Name::of(Kind::Gauge, name);
        let mut recorded = self.recorded();
        recorded.record(name, Kind::Gauge, labels, |held| {
            *held = MetricValue::Gauge(value);
        });
    }

    async fn histogram(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        let name = Name::of(Kind::Histogram, name);
        self.recorded().observe(name, value, labels);
    }

    async fn timing(&self, operation: &str, duration: Duration, labels: &[(&str, &str)]) {
        let name = Name::of_timing(operation);
        self.recorded()
            .observe(name, duration.as_secs_f64(), labels);
    }

    async fn error(&self, error_type: &str, message: &str, labels: &[(&str, &str)]) {
        tracing::debug!(?error_type, ?message, "an error was counted");
        let labels: Vec<_> = [("type", error_type)]
            .iter()
            .chain(labels)
            .copied()
            .collect();
        self.counter("errors", 1, &labels).await;
    }

    async fn snapshot(&self) -> Result<HashMap<String, MetricValue>> {
        let mut values = HashMap::new();
        for family in self.recorded().families() {
            for Series { labels, value } in family.series {
                values.insert(format!("{}{labels}", family.name), value);
            }
        }
        Ok(values)
    }

    async fn reset(&self) -> Result<()> {
        *self.recorded() = Recorded::new();
        Ok(())
    }

    async fn export_prometheus(&self) -> Result<String> {
        Ok(self.page().text())
    }

    async fn export_json(&self) -> Result<serde_json::Value> {
        Ok(self.page().json())
    }
}

impl PrometheusMetricsCollector {
    fn page(&self) -> Page {
        Page {
            families: self.recorded().families(),
            more: String::new(),
        }
    }
}

/// What was recorded. Both own counters are metrics like any other, and always there.
#[derive(Debug)]
struct Recorded {
    metrics: BTreeMap<Name, Metric>,
    /// All names that stand before a value on the page: those of a histogram are several.
    sample_names: BTreeSet<String>,
}

#[derive(Debug)]
struct Metric {
    kind: Kind,
    series: BTreeMap<Labels, MetricValue>,
}

impl Recorded {
    fn new() -> Self {
        let mut new = Self {
            metrics: BTreeMap::new(),
            sample_names: BTreeSet::new(),
        };
        for own in [OVERFLOW, REFUSED] {
            new.note(own, 0);
        }
        new
    }

    /// Adds to one of the own counters.
    fn note(&mut self, own: &str, count: u64) {
        let name = Name::of(Kind::Counter, own);
        self.record(name, Kind::Counter, &[], |held| held.add(count));
    }

    fn observe(&mut self, name: Name, value: f64, labels: &[(&str, &str)]) {
        if !value.is_finite() {
            return self.note(REFUSED, 1);
        }
        self.record(name, Kind::Histogram, labels, |held| held.observe(value));
    }

    fn record(
        &mut self,
        name: Name,
        kind: Kind,
        labels: &[(&str, &str)],
        change: impl FnOnce(&mut MetricValue),
    ) {
        if !self.metrics.contains_key(&name) && !self.begin(&name, kind) {
            return self.note(REFUSED, 1);
        }
        let empty = empty(kind, name.as_str());
        let Some(metric) = self.metrics.get_mut(&name).filter(|one| one.kind == kind) else {
            return self.note(REFUSED, 1);
        };
        let mut labels = Labels::of(labels);
        let is_full = metric.series.len() >= SERIES_MAX - 1;
        let overflows = is_full && !metric.series.contains_key(&labels);
        if overflows {
            labels = Labels::other();
        }
        change(metric.series.entry(labels).or_insert(empty));
        if overflows {
            self.note(OVERFLOW, 1);
        }
    }

    /// Makes a metric, if there is room for it and no other one has a name that it needs.
    fn begin(&mut self, name: &Name, kind: Kind) -> bool {
        let ends: &[&str] = match kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        };
        let names: Vec<_> = ends
            .iter()
            .map(|end| format!("{}{end}", name.as_str()))
            .collect();
        if self.metrics.len() >= METRICS_MAX || names.iter().any(|n| self.sample_names.contains(n))
        {
            return false;
        }
        self.sample_names.extend(names);
        let series = BTreeMap::new();
        self.metrics.insert(name.clone(), Metric { kind, series });
        true
    }

    fn families(&self) -> Vec<Family> {
        let metrics = self.metrics.iter();
        let families = metrics.map(|(name, metric)| Family {
            name: name.as_str().to_owned().into(),
            help: match name.as_str() {
                OVERFLOW => "Uses of series beyond the bound of their metric.",
                REFUSED => "Uses of metrics that could not be recorded.",
                _ => "",
            },
            kind: metric.kind,
            series: metric
                .series
                .iter()
                .map(|(labels, value)| Series {
                    labels: labels.clone(),
                    value: value.clone(),
                })
                .collect(),
        });
        families.collect()
    }
}

fn empty(kind: Kind, name: &str) -> MetricValue {
    match kind {
        Kind::Counter => MetricValue::Counter(0),
        Kind::Gauge => MetricValue::Gauge(0.0),
        Kind::Histogram => {
            let is_time = name.ends_with("_seconds");
            let bounds = if is_time { SECONDS } else { ANYTHING };
            MetricValue::Histogram(Distribution {
                buckets: bounds.iter().map(|bound| (*bound, 0)).collect(),
                ..Distribution::default()
            })
        }
    }
}

impl MetricValue {
    fn add(&mut self, value: u64) {
        if let Self::Counter(count) = self {
            *count = count.saturating_add(value);
        }
    }

    fn observe(&mut self, value: f64) {
        if let Self::Histogram(spread) = self {
            spread.count += 1;
            spread.sum += value;
            let above = spread.buckets.partition_point(|(bound, _)| *bound < value);
            for (_, count) in &mut spread.buckets[above..] {
                *count += 1;
            }
        }
    }
}
