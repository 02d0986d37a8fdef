//! The page of metrics: the text form that Prometheus reads, and JSON.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>, text form, version 0.0.4.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde_json::{Map, Value, json};

use super::series::escape;
use super::{Distribution, Labels, MetricValue};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value that comes and goes.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric with all its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name, in the grammar.
    pub name: Cow<'static, str>,
    /// What it tells, in one line; empty for nothing.
    pub help: &'static str,
    /// Its kind, which its values are of.
    pub kind: Kind,
    /// Its series.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What tells it from the others of its metric.
    pub labels: Labels,
    /// Its value.
    pub value: MetricValue,
}

impl Series {
    /// A series.
    pub fn new(labels: &[(&str, &str)], value: MetricValue) -> Self {
        Self {
            labels: Labels::of(labels),
            value,
        }
    }
}

impl Family {
    /// A metric with one series without labels.
    pub(crate) fn single(name: &'static str, help: &'static str, value: MetricValue) -> Self {
        Self {
            name: name.into(),
            help,
            kind: match value {
                MetricValue::Counter(_) => Kind::Counter,
                MetricValue::Gauge(_) => Kind::Gauge,
                MetricValue::Histogram(_) => Kind::Histogram,
            },
            series: vec![Series::new(&[], value)],
        }
    }

    fn write(&self, text: &mut impl Write) -> fmt::Result {
        let name = &self.name;
        if !self.help.is_empty() {
            write!(text, "# HELP {name} ")?;
            escape(text, self.help, false)?;
            text.write_char('\n')?;
        }
        writeln!(text, "# TYPE {name} {}", self.kind.text())?;
        for Series { labels, value } in &self.series {
            match value {
                MetricValue::Counter(count) => writeln!(text, "{name}{labels} {count}")?,
                MetricValue::Gauge(value) => {
                    writeln!(text, "{name}{labels} {}", number(*value))?;
                }
                MetricValue::Histogram(spread) => self.write_histogram(text, labels, spread)?,
            }
        }
        Ok(())
    }

    fn write_histogram(
        &self,
        text: &mut impl Write,
        labels: &Labels,
        spread: &Distribution,
    ) -> fmt::Result {
        let name = &self.name;
        let bounded = spread.buckets.iter().copied();
        for (bound, count) in bounded.chain([(f64::INFINITY, spread.count)]) {
            write!(text, "{name}_bucket")?;
            labels.write(text, Some(("le", &number(bound))))?;
            writeln!(text, " {count}")?;
        }
        writeln!(text, "{name}_sum{labels} {}", number(spread.sum))?;
        writeln!(text, "{name}_count{labels} {}", spread.count)
    }

    fn json(&self) -> Value {
        let series = self.series.iter().map(|Series { labels, value }| {
            let labels: Map<_, _> = labels
                .iter()
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect();
            match value {
                MetricValue::Counter(count) => json!({"labels": labels, "value": count}),
                MetricValue::Gauge(value) => json!({"labels": labels, "value": value}),
                MetricValue::Histogram(spread) => json!({"labels": labels, "count": spread.count,
                    "sum": spread.sum, "buckets": spread.buckets}),
            }
        });
        json!({
            "type": self.kind.text(),
            "help": self.help,
            "series": series.collect::<Vec<_>>(),
        })
    }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// Metrics as they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Metrics, each name once.
    pub families: Vec<Family>,
    /// Further ones, in the text form already and under other names.
    pub more: String,
}

impl Page {
    /// In the text form, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            let written = family.write(&mut text);
            written.expect("writing to a string does not fail");
        }
        text.push_str(&self.more);
        text
    }

    /// As a JSON object: a member for each metric, with `type`, `help` and `series`; each of those with `labels` and
    /// `value`, or `count`, `sum` and `buckets`. A number that is not finite is null. Without [`Page::more`].
    pub fn json(&self) -> Value {
        let members = self.families.iter();
        members
            .map(|family| (family.name.to_string(), family.json()))
            .collect::<Map<_, _>>()
            .into()
    }
}
