//! Downloads: counted by version and by day, whatever the clock says.

use std::cell::Cell;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use ggen_protocols::id::ReleaseKey;

use super::{Author, assert_refused, id, name, with_identity};
use crate::registry::local::OpenOptions;
use crate::registry::{Catalogue, PackageStats, RegistryError, Trend};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The day of which the tests begin to tell, counted from 1970.
const FIRST: u64 = 20_000;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(FIRST * DAY_MS) };
}

/// Lets it be so many days after the first one, and almost over.
fn on_day(day: i64) {
    let midnight = FIRST.saturating_add_signed(day).saturating_mul(DAY_MS);
    NOW_MS.set(midnight.saturating_add(DAY_MS - 1));
}

fn date(day: i64) -> NaiveDate {
    let seconds = (FIRST as i64 + day) * 24 * 60 * 60;
    DateTime::from_timestamp(seconds, 0).unwrap().date_naive()
}

fn options() -> OpenOptions {
    on_day(0);
    OpenOptions {
        clock: || NOW_MS.get(),
        ..with_identity()
    }
}

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    downloads_are_counted_by_version_and_day(&*make(options()).await).await;
    what_is_old_stays_in_the_total(&*make(options()).await).await;
    a_wrong_clock_loses_no_download(&*make(options()).await).await;
    only_what_is_here_is_downloaded(&*make(options()).await).await;
    counts_are_no_part_of_the_set(&*make(options()).await).await;
}

async fn publish(registry: &dyn Catalogue, releases: &[&str]) {
    let mut author = Author::new(1);
    let records = releases.iter();
    let records = records.map(|release| author.publish(release, release));
    registry.admit(records.collect()).await.unwrap();
}

async fn download(registry: &dyn Catalogue, release: &str, times: usize) {
    for _ in 0..times {
        registry.record_download(&id(release)).await.unwrap();
    }
}

async fn stats(registry: &dyn Catalogue, release: &str) -> PackageStats {
    registry.get_stats(&id(release)).await.unwrap()
}

async fn downloads_are_counted_by_version_and_day(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0", "a@2.0.0+x", "a-b@1.0.0", "b@1.0.0"]).await;
    assert_eq!(stats(registry, "a@1.0.0").await, PackageStats::default());
    download(registry, "a@1.0.0", 3).await;
    download(registry, "A@2.0.0", 1).await;
    download(registry, "a-b@1.0.0", 7).await;
    on_day(7);
    download(registry, "a@2.0.0", 2).await;
    let key = ReleaseKey::new(Author::new(1).owner(), name("a"), &"2.0.0".parse().unwrap());
    registry.downloaded(&key);
    let expected = PackageStats {
        total_downloads: 7,
        by_version: [("1.0.0", 3), ("2.0.0", 4)]
            .map(|(version, count)| (version.parse().unwrap(), count))
            .into(),
        by_day: [(date(0), 4), (date(7), 3)].into(),
        trend: Trend {
            this_week: 3,
            week_before: 4,
        },
        last: Some(date(7)),
    };
    assert_eq!(stats(registry, "a@1.0.0").await, expected);
    assert_eq!(stats(registry, "a@2.0.0+y").await, expected);
    assert_eq!(stats(registry, "b@1.0.0").await.total_downloads, 0);
    let owner = Author::new(1).owner();
    for (package, downloads) in [("a", 7), ("a-b", 7), ("b", 0), ("c", 0)] {
        let found = registry.downloads(owner, &name(package)).await.unwrap();
        assert_eq!(found, downloads, "{package}");
    }
}

async fn what_is_old_stays_in_the_total(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    for day in 0..3 {
        on_day(day);
        download(registry, "a@1.0.0", 1).await;
    }
    for (day, times) in [(401, 10), (402, 100)] {
        on_day(day);
        download(registry, "a@1.0.0", times).await;
    }
    let stats = stats(registry, "a@1.0.0").await;
    assert_eq!(stats.total_downloads, 113);
    assert_eq!(stats.by_version.into_values().sum::<u64>(), 113);
    assert_eq!(stats.by_day, [(date(401), 10), (date(402), 100)].into());
    assert_eq!(stats.trend.this_week, 110);
}

async fn a_wrong_clock_loses_no_download(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    download(registry, "a@1.0.0", 1).await;
    // A clock at 1970, then one at the end of time, then a day ahead, then the right one.
    for (day, times) in [
        (-(FIRST as i64), 10),
        (1 << 40, 100),
        (1, 1_000),
        (0, 10_000),
    ] {
        on_day(day);
        download(registry, "a@1.0.0", times).await;
        let told = stats(registry, "a@1.0.0").await;
        assert!(told.by_day.len() <= 2, "{told:?}");
    }
    let told = stats(registry, "a@1.0.0").await;
    assert_eq!(told.total_downloads, 11_111);
    assert_eq!(told.last, Some(date(0)), "tomorrow has not come");
    on_day(2);
    download(registry, "a@1.0.0", 1).await;
    let told = stats(registry, "a@1.0.0").await;
    assert_eq!(told.total_downloads, 11_112);
    assert_eq!(told.by_day[&date(1)], 1_000);
    assert_eq!(told.last, Some(date(2)));
}

async fn only_what_is_here_is_downloaded(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    let other = Author::new(2).publish("a@1.0.0", "other");
    registry.admit(vec![other]).await.unwrap();
    let owned = |release: &str| format!("{}/{release}", Author::new(1).owner());
    for missing in [owned("a@9.9.9"), owned("b@1.0.0"), "b@1.0.0".to_owned()] {
        let missing = id(&missing);
        let counted = registry.record_download(&missing).await;
        assert_refused!(counted, RegistryError::NotFound(_));
        let told = registry.get_stats(&missing).await;
        assert_refused!(told, RegistryError::NotFound(_));
    }
    let contested = registry.record_download(&id("a@1.0.0")).await;
    assert_refused!(contested, RegistryError::Contested(_));
    let told = stats(registry, &owned("a@1.0.0")).await;
    assert_eq!(told.total_downloads, 0);
}

async fn counts_are_no_part_of_the_set(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    let root = registry.root().await.unwrap();
    let position = *registry.position().borrow();
    download(registry, "a@1.0.0", 2).await;
    assert_eq!(stats(registry, "a@1.0.0").await.total_downloads, 2);
    assert_eq!(registry.root().await.unwrap(), root);
    assert_eq!(*registry.position().borrow(), position);
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}
