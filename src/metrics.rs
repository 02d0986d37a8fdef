//! What can be counted and measured of a running program, and how it is shown to whoever watches it.

mod meter;
mod page;
pub mod prometheus_text;
mod series;

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;
use std::collections::HashMap;

pub(crate) use meter::{CounterTable, Label, Timings, Traffic};
pub use page::{Family, Kind, Page, Series};
pub use prometheus_text::PrometheusMetricsCollector;
pub use series::{Labels, Name};

/// Metrics that one collector keeps; uses of further names are counted as refused.
pub const METRICS_MAX: usize = 256;
/// Series of one metric, the one for everything beyond the bound included.
pub const SERIES_MAX: usize = 100;
/// How often a use of a series beyond [`SERIES_MAX`] was added to the series `{series="other"}` of its metric.
pub const OVERFLOW: &str = "metrics_overflow_total";
/// How often something could not be recorded: its name belongs to a metric of another kind, there are
/// [`METRICS_MAX`] metrics already, or the value of a histogram is no finite number.
pub const REFUSED: &str = "metrics_refused_total";

/// Collects metrics of a running program.
///
/// Whatever names, labels and values it is given, memory stays bounded and the exports stay well-formed: names
/// are brought into the grammar ([`Name`], [`Labels`]), and what is beyond a bound is counted ([`OVERFLOW`],
/// [`REFUSED`]). Recording never fails and never waits for anybody.
///
/// # Contract (checked by `testing::metrics::suite`)
/// - In snapshots and exports a counter's name ends in `_total` and a timing's in `_seconds`; a name that ends so
///   already stays as it is. Other names stay as they are.
/// - A series is a name and a set of labels: their order does not matter, and of two labels with one name the
///   first counts.
/// - Nothing that was recorded is lost, however many record at the same time; counters stop at the largest number.
/// - A name keeps the kind of its first use until the next reset.
/// - A metric has at most [`SERIES_MAX`] series.
/// - After `reset` nothing that was recorded before is in any snapshot or export.
#[async_trait]
pub trait MetricsCollector: fmt::Debug + Send + Sync {
    /// Adds `value` to a counter.
    async fn counter(&self, name: &str, value: u64, labels: &[(&str, &str)]);

    /// Sets a gauge to its current value.
    async fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]);

    /// Adds an observed value to a distribution.
    async fn histogram(&self, name: &str, value: f64, labels: &[(&str, &str)]);

    /// Adds how long an operation took to a distribution of seconds.
    async fn timing(&self, operation: &str, duration: Duration, labels: &[(&str, &str)]);

    /// Counts an error in `errors_total`, under the label `type`. The message goes to the log only: text from
    /// elsewhere makes no series.
    async fn error(&self, error_type: &str, message: &str, labels: &[(&str, &str)]);

    /// The current values, by the name of their series as the text form writes it: `name` or `name{label="value"}`.
    ///
    /// # Errors
    /// [`MetricsError`].
    async fn snapshot(&self) -> Result<HashMap<String, MetricValue>>;

    /// Forgets everything that was recorded.
    ///
    /// # Errors
    /// [`MetricsError`].
    async fn reset(&self) -> Result<()>;

    /// Everything in Prometheus' text form, version 0.0.4.
    ///
    /// # Errors
    /// [`MetricsError`].
    async fn export_prometheus(&self) -> Result<String>;

    /// Everything as JSON: an object with one member for each metric, as [`Page::json`] makes it.
    ///
    /// # Errors
    /// [`MetricsError`].
    async fn export_json(&self) -> Result<serde_json::Value>;
}

/// The current value of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricValue {
    /// A sum that only grows.
    Counter(u64),
    /// The last value.
    Gauge(f64),
    /// How observed values are distributed.
    Histogram(Distribution),
}

/// How observed values are distributed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Upper bounds, growing, and how many values were not above each.
    pub buckets: Vec<(f64, u64)>,
}

/// Why metrics could not be read or reset. A collector that keeps them in memory has no reason to fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The place where they are kept does not answer.
    #[error("the metrics cannot be reached at {place}")]
    Unavailable {
        /// Where they are kept.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
