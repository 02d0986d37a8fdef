//! Named points between the steps of the write path, where a test can end the process as `kill -9` would.

/// Ends the process without any clean-up if `MARKET_CRASH_AT` is `name:count` and this is the `count`-th time
/// that the point `name` is passed. Only builds with the feature `testing` look.
#[cfg(feature = "testing")]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[allow(clippy::disallowed_methods)] // Only tests set it, and they start a process for it.
    let at = AT.get_or_init(|| {
        let at = std::env::var("MARKET_CRASH_AT").ok()?;
        let (name, count) = at.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = at
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}

/// Does nothing in builds without the feature `testing`.
#[cfg(not(feature = "testing"))]
pub(crate) fn point(_name: &str) {}
