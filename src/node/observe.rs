//! What a node counts while it works, and the page of metrics that comes of it.
//!
//! Every label is a closed enum: no name, owner, peer or text from elsewhere can become a series.

mod process;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::actor::{Queue, Seen};
use super::admit::Outcome;
use super::fetch::{Failure, State};
use super::{Node, Shared};
use crate::Result;
use crate::metrics::{CounterTable, Family, Kind, Label, MetricValue, Page, Series, Timings};
use crate::registry::{Admission, Totals};
use crate::store::StorageStats;

/// How long the loop may take to tell how it is; a page without that is better than none.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Beginnings of names that are the node's own: a collector that shows more on the page has none of them.
const OWN_NAMES: &[&str] = &["market_", "libp2p_", "process_"];
/// Upper bounds in seconds: from records that come at once to those that somebody was away for.
const PROPAGATION: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];
/// Upper bounds in seconds: from small blobs on this machine to large ones over slow lines.
const FETCHES: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How a record came to be offered to the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A user of this node made it.
    Own,
    /// Without being asked for.
    Gossip,
    /// As an answer.
    Reconcile,
}

impl Label for Origin {
    const NAME: &'static str = "origin";
    const ALL: &'static [Self] = &[Self::Own, Self::Gossip, Self::Reconcile];

    fn place(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Gossip => "gossip",
            Self::Reconcile => "reconcile",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    New,
    Known,
    Refused,
    Declined,
    Deferred,
    Failed,
}

impl Label for Admitted {
    const NAME: &'static str = "result";
    const ALL: &'static [Self] = &[
        Self::New,
        Self::Known,
        Self::Refused,
        Self::Declined,
        Self::Deferred,
        Self::Failed,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Refused => "refused",
            Self::Declined => "declined",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
        }
    }
}

impl From<&Outcome> for Admitted {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::New(_) => Self::New,
            Outcome::Known => Self::Known,
            Outcome::Refused(_) => Self::Refused,
            Outcome::Declined => Self::Declined,
            Outcome::Deferred => Self::Deferred,
        }
    }
}

impl From<&Result<Admission>> for Admitted {
    fn from(admission: &Result<Admission>) -> Self {
        match admission {
            Ok(Admission::New) => Self::New,
            Ok(Admission::Known) => Self::Known,
            Ok(Admission::Refused(_)) => Self::Refused,
            Ok(Admission::OwnerFull | Admission::Evicted) => Self::Declined,
            Err(_) => Self::Failed,
        }
    }
}

/// How bringing a blob ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Held,
    NoProvider,
    Failed,
}

impl Label for Ended {
    const NAME: &'static str = "result";
    const ALL: &'static [Self] = &[Self::Held, Self::NoProvider, Self::Failed];

    fn place(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NoProvider => "no_provider",
            Self::Failed => "failed",
        }
    }
}

/// What a node counts while it works.
#[derive(Debug)]
pub(super) struct Meters {
    start: Instant,
    admissions: CounterTable<Origin, Admitted>,
    propagation: Timings<Origin>,
    fetches: Timings<Ended>,
    fetched_bytes: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            admissions: CounterTable::default(),
            propagation: Timings::new(PROPAGATION),
            fetches: Timings::new(FETCHES),
            fetched_bytes: AtomicU64::new(0),
        }
    }
}

impl Meters {
    pub(super) fn admitted(&self, origin: Origin, result: Admitted) {
        self.admissions.add(origin, result, 1);
    }

    /// A record came that carries its own time. One that was made before this node started tells nothing of how
    /// long records take; one from a clock that is ahead took no time.
    pub(super) fn arrived(&self, origin: Origin, age_ms: u64) {
        let age = Duration::from_millis(age_ms);
        if age <= self.start.elapsed() {
            self.propagation.add(origin, age);
        }
    }

    /// Bringing a blob came to this end.
    pub(super) fn fetched(&self, state: &State, took: Duration) {
        let ended = match state {
            State::Held(given) => {
                self.fetched_bytes.fetch_add(given.values().sum(), Relaxed);
                Ended::Held
            }
            State::Failed(Failure::NoProvider(_)) => Ended::NoProvider,
            State::Failed(_) | State::Running(_) => Ended::Failed,
        };
        self.fetches.add(ended, took);
    }
}

impl Node {
    /// What this node counted and how it is doing, for [`Page::text`] and [`Page::json`]: the names begin with
    /// `market_` and `process_`, and with `libp2p_` what its network layer counted; then what the collector of
    /// [`Builder::metrics`](super::Builder::metrics) has.
    ///
    /// # Errors
    /// Those of catalogue and store.
    pub async fn metrics(&self) -> Result<Page> {
        let shared = &self.shared;
        let mut families = vec![build()];
        let totals = shared.catalogue.totals().await?;
        let stats = shared.store.stats().await?;
        families.extend(kept(shared, &totals, &stats, self.search_behind()));
        let wire = self.wire.as_ref().map(|wire| wire.read());
        let seen = timeout(LOOK_MAX, self.seen()).await;
        let seen = seen.ok().and_then(std::result::Result::ok);
        let sent = seen.as_ref().map_or(0, |seen| seen.blob_bytes_sent);
        let (mut more, traffic) = match wire {
            Some(wire) => (wire.page, [wire.gossip_bytes, wire.sync_bytes]),
            None => (String::new(), [[0; 2]; 2]),
        };
        let received = shared.meters.fetched_bytes.load(Relaxed);
        let [gossip, sync] = traffic;
        families.push(traffic_family(&[
            ("gossip", gossip),
            ("sync", sync),
            ("blob", [received, sent]),
        ]));
        families.extend(of_loop(seen));
        let uptime = shared.start.elapsed();
        let blocking = tokio::task::spawn_blocking(move || process::families(uptime));
        families.extend(blocking.await.unwrap_or_default());
        if let Some(also) = &shared.also {
            more.push_str(&without_own_names(&also.export_prometheus().await?));
        }
        Ok(Page { families, more })
    }
}

/// A gauge without labels.
pub(super) fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family::single(name, help, MetricValue::Gauge(value))
}

fn build() -> Family {
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    Family {
        name: Cow::Borrowed("market_build_info"),
        help: "The version of the software; always 1.",
        kind: Kind::Gauge,
        series: vec![Series::new(&labels, MetricValue::Gauge(1.0))],
    }
}

/// What is kept, and how it came.
fn kept(shared: &Shared, totals: &Totals, stats: &StorageStats, behind: u64) -> Vec<Family> {
    let meters = &shared.meters;
    vec![
        gauge("market_records", "Records held.", totals.records as f64),
        gauge("market_packages", "Packages known.", totals.packages as f64),
        gauge("market_versions", "Releases known.", totals.versions as f64),
        gauge("market_store_blobs", "Blobs held.", stats.blobs as f64),
        gauge(
            "market_store_bytes",
            "Bytes of the held blobs.",
            stats.bytes as f64,
        ),
        gauge(
            "market_search_behind",
            "Changes of the catalogue that searches do not show yet.",
            behind as f64,
        ),
        meters.admissions.family(
            "market_admissions_total",
            "Records offered to the catalogue, by where they came from and what became of them.",
        ),
        meters.propagation.family(
            "market_propagation_seconds",
            "From a record's own time to its admission here, for records made while this node ran; those that came by \
             reconciling are the ones that gossip did not bring.",
        ),
        meters.fetches.family(
            "market_fetch_seconds",
            "How long bringing a blob here took.",
        ),
    ]
}

fn traffic_family(sources: &[(&'static str, [u64; 2])]) -> Family {
    let series = sources.iter().flat_map(|(source, bytes)| {
        ["in", "out"]
            .into_iter()
            .zip(bytes)
            .map(|(direction, bytes)| {
                let labels = [("source", *source), ("direction", direction)];
                Series::new(&labels, MetricValue::Counter(*bytes))
            })
    });
    Family {
        name: Cow::Borrowed("market_traffic_bytes_total"),
        help: "Bytes exchanged with peers: gossip with what is passed on, questions and answers, and blobs (those that \
               came whole, and everything that was sent).",
        kind: Kind::Counter,
        series: series.collect(),
    }
}

/// What the loop told; without it only that it did not.
fn of_loop(seen: Option<Seen>) -> Vec<Family> {
    let answers = gauge(
        "market_loop_answering",
        "Whether the node's loop answered in time: 0 or 1.",
        f64::from(u8::from(seen.is_some())),
    );
    let Some(seen) = seen else {
        return vec![answers];
    };
    let queues = |name, help, number: fn(&Queue) -> usize| Family {
        name: Cow::Borrowed(name),
        help,
        kind: Kind::Gauge,
        series: seen
            .queues
            .iter()
            .map(|queue| {
                let value = MetricValue::Gauge(number(queue) as f64);
                Series::new(&[("queue", queue.name)], value)
            })
            .collect(),
    };
    let caught_up = seen.caught_up;
    vec![
        answers,
        gauge("market_peers", "Connected peers.", seen.peers.len() as f64),
        gauge(
            "market_peers_in_sync",
            "Connected peers whose catalogue was ours when they were last asked.",
            seen.peers.iter().filter(|peer| peer.in_sync).count() as f64,
        ),
        gauge(
            "market_peers_known",
            "Nodes that this one knows of.",
            caught_up.known as f64,
        ),
        gauge(
            "market_peers_reconciled",
            "Known nodes that a reconciliation ended with since the start.",
            caught_up.reconciled as f64,
        ),
        gauge(
            "market_caught_up",
            "Whether the node has caught up with those it knows of: 0 or 1.",
            f64::from(u8::from(caught_up.complete)),
        ),
        queues(
            "market_queue_length",
            "Work that waits or is being done.",
            |queue| queue.length,
        ),
        queues(
            "market_queue_capacity",
            "How much of it there may be.",
            |queue| queue.capacity,
        ),
    ]
}

/// A page without the metrics whose names are the node's own.
fn without_own_names(page: &str) -> String {
    let is_own = |line: &&str| {
        let head = line
            .strip_prefix("# HELP ")
            .or(line.strip_prefix("# TYPE "));
        let name = head.unwrap_or(line);
        OWN_NAMES.iter().any(|own| name.starts_with(own))
    };
    let lines = page.split_inclusive('\n');
    lines.filter(|line| !is_own(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_answer_is_told() {
        let families = of_loop(None);
        let [answers] = &families[..] else {
            panic!("{families:?}");
        };
        assert_eq!(answers.name, "market_loop_answering");
        assert_eq!(answers.series[0].value, MetricValue::Gauge(0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_records_made_while_the_node_ran_tell_how_long_records_take() {
        let meters = Meters::default();
        let count = || {
            let family = meters.propagation.family("x", "");
            match &family.series[Origin::Reconcile.place()].value {
                MetricValue::Histogram(spread) => spread.count,
                other => panic!("{other:?}"),
            }
        };
        meters.arrived(Origin::Reconcile, 10_000);
        assert_eq!(count(), 0, "it is older than the node");
        tokio::time::advance(Duration::from_secs(20)).await;
        meters.arrived(Origin::Reconcile, 10_000);
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_page_of_others_has_no_name_of_the_node() {
        let page = "# TYPE market_x gauge\nmarket_x 1\n# HELP y z\n# TYPE y gauge\ny 2\n";
        assert_eq!(without_own_names(page), "# HELP y z\n# TYPE y gauge\ny 2\n");
    }
}
