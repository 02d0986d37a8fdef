//! Counters that cost next to nothing where they are used: labels are closed enums, values are atomic numbers.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Distribution, Family, Kind, MetricValue, Series};

/// A label with a fixed set of values: no text from elsewhere can become one.
pub(crate) trait Label: Copy + 'static {
    /// What the label is called.
    const NAME: &'static str;
    /// All values, each at its own place.
    const ALL: &'static [Self];

    /// The place in [`Label::ALL`].
    fn place(self) -> usize;

    /// The value as text.
    fn text(self) -> &'static str;
}

/// A counter for each pair of values of two labels.
#[derive(Debug)]
pub(crate) struct CounterTable<A, B> {
    counts: Box<[AtomicU64]>,
    labels: std::marker::PhantomData<fn(A, B)>,
}

impl<A: Label, B: Label> Default for CounterTable<A, B> {
    fn default() -> Self {
        let counts = (0..A::ALL.len() * B::ALL.len()).map(|_| AtomicU64::new(0));
        Self {
            counts: counts.collect(),
            labels: std::marker::PhantomData,
        }
    }
}

impl<A: Label, B: Label> CounterTable<A, B> {
    pub(crate) fn add(&self, a: A, b: B, count: u64) {
        self.counts[a.place() * B::ALL.len() + b.place()].fetch_add(count, Relaxed);
    }

    fn get(&self, a: A, b: B) -> u64 {
        self.counts[a.place() * B::ALL.len() + b.place()].load(Relaxed)
    }

    /// As a metric, every pair a series.
    pub(crate) fn family(&self, name: &'static str, help: &'static str) -> Family {
        let pairs = A::ALL
            .iter()
            .flat_map(|a| B::ALL.iter().map(move |b| (*a, *b)));
        let series = pairs.map(|(a, b)| {
            let labels = [(A::NAME, a.text()), (B::NAME, b.text())];
            Series::new(&labels, MetricValue::Counter(self.get(a, b)))
        });
        Family {
            name: Cow::Borrowed(name),
            help,
            kind: Kind::Counter,
            series: series.collect(),
        }
    }
}

/// A distribution of durations for each value of a label.
#[derive(Debug)]
pub(crate) struct Timings<L> {
    bounds: &'static [f64],
    spreads: Box<[Spread]>,
    label: std::marker::PhantomData<fn(L)>,
}

#[derive(Debug)]
struct Spread {
    counts: Box<[AtomicU64]>,
    micros: AtomicU64,
}

impl<L: Label> Timings<L> {
    /// Empty distributions with these upper bounds, in seconds and growing.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let zeros = |_: &L| Spread {
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            micros: AtomicU64::new(0),
        };
        Self {
            bounds,
            spreads: L::ALL.iter().map(zeros).collect(),
            label: std::marker::PhantomData,
        }
    }

    pub(crate) fn add(&self, label: L, took: Duration) {
        let spread = &self.spreads[label.place()];
        let seconds = took.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        spread.counts[at].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        spread.micros.fetch_add(micros, Relaxed);
    }

    fn value(&self, spread: &Spread) -> Distribution {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (at, one) in spread.counts.iter().enumerate() {
            count += one.load(Relaxed);
            if let Some(bound) = self.bounds.get(at) {
                buckets.push((*bound, count));
            }
        }
        Distribution {
            count,
            sum: spread.micros.load(Relaxed) as f64 / 1e6,
            buckets,
        }
    }

    /// As a metric, every value of the label a series.
    pub(crate) fn family(&self, name: &'static str, help: &'static str) -> Family {
        let spreads = L::ALL.iter().zip(&self.spreads);
        let series = spreads.map(|(label, spread)| {
            let labels = [(L::NAME, label.text())];
            Series::new(&labels, MetricValue::Histogram(self.value(spread)))
        });
        Family {
            name: Cow::Borrowed(name),
            help,
            kind: Kind::Histogram,
            series: series.collect(),
        }
    }
}

/// Bytes that came and went.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes received and sent.
    pub(crate) fn read(&self) -> [u64; 2] {
        [self.received.load(Relaxed), self.sent.load(Relaxed)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Side {
        Left,
        Right,
    }

    impl Label for Side {
        const NAME: &'static str = "side";
        const ALL: &'static [Self] = &[Self::Left, Self::Right];

        fn place(self) -> usize {
            self as usize
        }

        fn text(self) -> &'static str {
            match self {
                Self::Left => "left",
                Self::Right => "right",
            }
        }
    }

    #[test]
    fn durations_fall_below_the_bounds_that_they_do_not_pass() {
        let timings = Timings::new(&[0.1, 1.0]);
        for millis in [100, 101, 1000, 5000] {
            timings.add(Side::Right, Duration::from_millis(millis));
        }
        let family = timings.family("took_seconds", "");
        let values: Vec<_> = family.series.into_iter().map(|one| one.value).collect();
        let spread = |count, sum, buckets: [u64; 2]| {
            let buckets = [0.1, 1.0].into_iter().zip(buckets).collect();
            MetricValue::Histogram(Distribution {
                count,
                sum,
                buckets,
            })
        };
        assert_eq!(values, [spread(0, 0.0, [0, 0]), spread(4, 6.201, [1, 3])]);
    }

    #[test]
    fn every_pair_has_a_counter_of_its_own() {
        let table = CounterTable::default();
        table.add(Side::Left, Side::Right, 2);
        table.add(Side::Right, Side::Right, 3);
        table.add(Side::Right, Side::Right, 4);
        let family = table.family("seen_total", "");
        let values: Vec<_> = family.series.into_iter().map(|one| one.value).collect();
        assert_eq!(values, [0, 2, 0, 7].map(MetricValue::Counter));
    }
}
