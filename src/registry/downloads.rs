//! How often releases were downloaded from this node: by day, and older days added up.
//!
//! Counts are this node's own: no record carries them, and the root does not cover them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use ggen_protocols::id::ReleaseKey;
use semver::Version;
use serde::{Deserialize, Serialize};

/// Days of which each keeps its own count; what is older is added up.
pub(crate) const DAYS_KEPT: u32 = 400;
/// Days, today among them, that [`PackageStats::by_day`] tells of.
const DAYS_TOLD: u32 = 90;
const WEEK_DAYS: u32 = 7;
const _: () = assert!(2 * WEEK_DAYS <= DAYS_TOLD && DAYS_TOLD < DAYS_KEPT);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The last day of the year 9999: as far as a wrong clock may go.
const DAY_MAX: u32 = 2_932_896;

/// Under which day stands what is older than is kept, and what a wrong clock put too far into the future.
pub(crate) const SUM: u32 = 0;

/// How often a package was downloaded from this node. Days are days of UTC by this node's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageStats {
    /// Downloads of all versions, for as long as this node has counted.
    pub total_downloads: u64,
    /// The same by version; without versions that were never downloaded.
    pub by_version: BTreeMap<Version, u64>,
    /// Downloads of all versions on each of the last 90 days that had any.
    pub by_day: BTreeMap<NaiveDate, u64>,
    /// This week beside the one before.
    pub trend: Trend,
    /// The day of the last download; nothing if it was more than 400 days ago, or never.
    pub last: Option<NaiveDate>,
}

/// Downloads of two weeks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trend {
    /// Today and the six days before.
    pub this_week: u64,
    /// The seven days before those.
    pub week_before: u64,
}

impl PackageStats {
    /// The statistics of a package from the counts of its versions, as of this day.
    pub(crate) fn of(
        counts: impl IntoIterator<Item = (Version, u32, u64)>,
        today: u32,
    ) -> PackageStats {
        let mut stats = Self::default();
        let mut last = None;
        for (version, day, count) in counts {
            stats.total_downloads = stats.total_downloads.saturating_add(count);
            add(&mut stats.by_version, version, count);
            // A clock that was set back left days that have not come yet.
            let Some(age) = today.checked_sub(day).filter(|_| day != SUM) else {
                continue;
            };
            last = last.max(Some(day));
            if age < DAYS_TOLD {
                add(&mut stats.by_day, date(day), count);
            }
            let trend = &mut stats.trend;
            match age / WEEK_DAYS {
                0 => trend.this_week = trend.this_week.saturating_add(count),
                1 => trend.week_before = trend.week_before.saturating_add(count),
                _ => {}
            }
        }
        stats.last = last.map(date);
        stats
    }
}

/// Whether the count of a day goes into the sum when another day begins. A day ahead is kept: two clocks of one
/// machine may differ by that much.
pub(crate) fn is_summed(day: u32, today: u32) -> bool {
    day != SUM && (day + DAYS_KEPT <= today || day > today + 1)
}

/// The day of UTC of a time in milliseconds, counted from 1970; the first one counts as [`SUM`].
pub(crate) fn day_of(now_ms: u64) -> u32 {
    u32::try_from(now_ms / DAY_MS).map_or(DAY_MAX, |day| day.min(DAY_MAX))
}

fn date(day: u32) -> NaiveDate {
    let midnight = DateTime::from_timestamp(i64::from(day) * 24 * 60 * 60, 0);
    midnight.unwrap_or_default().date_naive()
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, count: u64) {
    let sum = counts.entry(key).or_default();
    *sum = sum.saturating_add(count);
}

/// Downloads that are counted and not written yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    counts: BTreeMap<(ReleaseKey, u32), u64>,
    /// Downloads counted of which it is not known that they are durable.
    unsettled: u64,
}

impl Pending {
    /// Counts one download, if there is room for its release.
    pub(crate) fn add(&mut self, release: ReleaseKey, day: u32, releases_max: usize) -> bool {
        let key = (release, day);
        let has_room = self.counts.len() < releases_max || self.counts.contains_key(&key);
        if has_room {
            add(&mut self.counts, key, 1);
            self.unsettled += 1;
        }
        has_room
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// What is to be written now.
    pub(crate) fn take(&mut self) -> BTreeMap<(ReleaseKey, u32), u64> {
        std::mem::take(&mut self.counts)
    }

    /// So many downloads are durable.
    pub(crate) fn settled(&mut self, downloads: u64) {
        self.unsettled = self.unsettled.saturating_sub(downloads);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TODAY: u32 = 20_000;

    fn stats(counts: &[(&str, u32, u64)]) -> PackageStats {
        let counts = counts
            .iter()
            .map(|(version, day, count)| (version.parse().unwrap(), *day, *count));
        PackageStats::of(counts, TODAY)
    }

    #[test]
    fn days_fall_into_weeks_and_out_of_the_list_by_age() {
        let stats = stats(&[
            ("1.0.0", TODAY, 1),
            ("1.0.0", TODAY - 6, 10),
            ("2.0.0", TODAY - 7, 100),
            ("2.0.0", TODAY - 13, 1_000),
            ("2.0.0", TODAY - 14, 10_000),
            ("2.0.0", TODAY - 89, 100_000),
            ("2.0.0", TODAY - 90, 1_000_000),
            ("2.0.0", SUM, 10_000_000),
        ]);
        assert_eq!(stats.total_downloads, 11_111_111);
        let by_version: Vec<_> = stats.by_version.into_values().collect();
        assert_eq!(by_version, [11, 11_111_100]);
        assert_eq!(stats.trend.this_week, 11);
        assert_eq!(stats.trend.week_before, 1_100);
        let days: Vec<_> = stats.by_day.into_values().collect();
        assert_eq!(days, [100_000, 10_000, 1_000, 100, 10, 1]);
        assert_eq!(stats.last, NaiveDate::from_ymd_opt(2024, 10, 4));
    }

    #[test]
    fn a_wrong_clock_loses_no_download() {
        let stats = stats(&[("1.0.0", TODAY + 1, 2), ("1.0.0", DAY_MAX, 3)]);
        assert_eq!(stats.total_downloads, 5);
        assert_eq!((stats.last, stats.by_day.len()), (None, 0));
        assert_eq!(day_of(u64::MAX), DAY_MAX);
        assert_eq!(
            date(DAY_MAX),
            NaiveDate::from_ymd_opt(9999, 12, 31).unwrap()
        );
        assert_eq!(day_of(0), SUM);
    }

    #[test]
    fn a_day_is_summed_when_it_is_old_or_impossible() {
        let summed = |day| is_summed(day, TODAY);
        assert!(!summed(TODAY - DAYS_KEPT + 1) && summed(TODAY - DAYS_KEPT));
        assert!(!summed(TODAY + 1) && summed(TODAY + 2));
        assert!(!summed(SUM));
    }

    #[test]
    fn what_waits_is_bounded_and_settles() {
        let owner = ggen_protocols::id::OwnerId::from_bytes([1; 32]);
        let release =
            |version: &str| ReleaseKey::new(owner, "a".parse().unwrap(), &version.parse().unwrap());
        let mut pending = Pending::default();
        assert!(pending.add(release("1.0.0"), TODAY, 1));
        assert!(pending.add(release("1.0.0"), TODAY, 1));
        assert!(!pending.add(release("1.1.0"), TODAY, 1));
        assert_eq!((pending.len(), pending.unsettled()), (1, 2));
        assert_eq!(pending.take().into_values().sum::<u64>(), 2);
        assert_eq!((pending.len(), pending.unsettled()), (0, 2));
        pending.settled(2);
        assert_eq!(pending.unsettled(), 0);
    }
}
