//! The simplest collector: it writes down what it is told, and works everything out when it is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;
use crate::metrics::{
    Distribution, Family, Kind, Labels, METRICS_MAX, MetricValue, MetricsCollector, Name, OVERFLOW,
    Page, REFUSED, SERIES_MAX, Series,
};

/// A collector that remembers every call: for tests, for its memory has no bound.
#[derive(Debug, Default)]
pub struct ModelCollector {
    told: Mutex<Vec<Told>>,
}

#[derive(Debug, Clone)]
struct Told {
    name: Name,
    kind: Kind,
    count: u64,
    number: f64,
    labels: Labels,
}

impl ModelCollector {
    fn tell(&self, name: Name, kind: Kind, count: u64, number: f64, labels: &[(&str, &str)]) {
        let labels = Labels::of(labels);
        self.told.lock().expect("no holder panics").push(Told {
            name,
            kind,
            count,
            number,
            labels,
        });
    }

    fn page(&self) -> Page {
        let told = self.told.lock().expect("no holder panics").clone();
        let (mut metrics, mut overflown, mut refused) = (Vec::<(Name, Kind)>::new(), 0, 0);
        let mut taken = BTreeMap::<Name, BTreeMap<Labels, Vec<Told>>>::new();
        let own = [OVERFLOW, REFUSED].map(|own| (Name::of(Kind::Counter, own), Kind::Counter));
        metrics.extend(own.clone());
        for mut one in told {
            let is_sum = one.kind != Kind::Histogram || one.number.is_finite();
            let known = metrics.iter().find(|(name, _)| *name == one.name);
            let may_be = match known {
                Some((_, kind)) => *kind == one.kind,
                None => {
                    let names: BTreeSet<_> = metrics.iter().flat_map(sample_names).collect();
                    metrics.len() < METRICS_MAX
                        && sample_names(&(one.name.clone(), one.kind))
                            .iter()
                            .all(|n| !names.contains(n))
                }
            };
            if !is_sum || !may_be {
                refused += 1;
                continue;
            }
            if known.is_none() {
                metrics.push((one.name.clone(), one.kind));
            }
            let series = taken.entry(one.name.clone()).or_default();
            if series.len() >= SERIES_MAX - 1 && !series.contains_key(&one.labels) {
                one.labels = Labels::other();
                overflown += 1;
            }
            series.entry(one.labels.clone()).or_default().push(one);
        }
        let counts = [overflown, refused];
        for ((name, kind), count) in own.into_iter().zip(counts) {
            let labels = Labels::default();
            let told = Told {
                name: name.clone(),
                kind,
                count,
                number: 0.0,
                labels: labels.clone(),
            };
            let series = taken.entry(name).or_default();
            series.entry(labels).or_default().push(told);
        }
        let families = metrics.into_iter().map(|(name, kind)| Family {
            series: taken[&name]
                .iter()
                .map(|(labels, told)| Series {
                    labels: labels.clone(),
                    value: value(kind, told),
                })
                .collect(),
            name: name.as_str().to_owned().into(),
            help: "",
            kind,
        });
        Page {
            families: families.collect(),
            more: String::new(),
        }
    }
}

fn sample_names((name, kind): &(Name, Kind)) -> Vec<String> {
    let ends: &[&str] = match kind {
        Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        Kind::Counter | Kind::Gauge => &[""],
    };
    ends.iter()
        .map(|end| format!("{}{end}", name.as_str()))
        .collect()
}

fn value(kind: Kind, told: &[Told]) -> MetricValue {
    match kind {
        Kind::Counter => MetricValue::Counter(
            told.iter()
                .fold(0, |sum: u64, one| sum.saturating_add(one.count)),
        ),
        Kind::Gauge => MetricValue::Gauge(told.last().map_or(0.0, |one| one.number)),
        Kind::Histogram => MetricValue::Histogram(Distribution {
            count: told.len() as u64,
            sum: told.iter().fold(0.0, |sum, one| sum + one.number),
            buckets: vec![(
                1.0,
                told.iter().filter(|one| one.number <= 1.0).count() as u64,
            )],
        }),
    }
}

#[async_trait]
impl MetricsCollector for ModelCollector {
    async fn counter(&self, name: &str, value: u64, labels: &[(&str, &str)]) {
        self.tell(
            Name::of(Kind::Counter, name),
            Kind::Counter,
            value,
            0.0,
            labels,
        );
    }

    async fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.tell(Name::of(Kind::Gauge, name), Kind::Gauge, 0, value, labels);
    }

    async fn histogram(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.tell(
            Name::of(Kind::Histogram, name),
            Kind::Histogram,
            0,
            value,
            labels,
        );
    }

    async fn timing(&self, operation: &str, duration: Duration, labels: &[(&str, &str)]) {
        let name = Name::of_timing(operation);
        self.tell(name, Kind::Histogram, 0, duration.as_secs_f64(), labels);
    }

    async fn error(&self, error_type: &str, _message: &str, labels: &[(&str, &str)]) {
        let labels: Vec<_> = [("type", error_type)]
            .iter()
            .chain(labels)
            .copied()
            .collect();
        self.counter("errors", 1, &labels).await;
    }

    async fn snapshot(&self) -> Result<HashMap<String, MetricValue>> {
        let families = self.page().families.into_iter();
        Ok(families
            .flat_map(|Family { name, series, .. }| {
                series
                    .into_iter()
                    .map(move |one| (format!("{name}{}", one.labels), one.value))
            })
            .collect())
    }

    async fn reset(&self) -> Result<()> {
        self.told.lock().expect("no holder panics").clear();
        Ok(())
    }

    async fn export_prometheus(&self) -> Result<String> {
        Ok(self.page().text())
    }

    async fn export_json(&self) -> Result<serde_json::Value> {
        Ok(self.page().json())
    }
}
