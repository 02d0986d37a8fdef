//! How much of something may happen: a burst at once, and so much a second from then on.

use tokio::time::Instant;

/// What fills up again with time, and is used up by what happens.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    burst: f64,
    per_second: f64,
    filled: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(burst: u64, per_second: f64) -> Self {
        // Exact up to 2^53, which no limit comes near.
        let burst = burst as f64;
        Self {
            burst,
            per_second,
            filled: burst,
            at: Instant::now(),
        }
    }

    /// Takes out this much, if it is there.
    pub(super) fn take(&mut self, amount: u64) -> bool {
        self.fill();
        let amount = amount as f64;
        let is_there = self.filled >= amount;
        if is_there {
            self.filled -= amount;
        }
        is_there
    }

    /// Takes out what has happened already: there may be less than nothing afterwards.
    pub(super) fn owe(&mut self, amount: u64) {
        self.fill();
        self.filled -= amount as f64;
    }

    /// Whether anything is left.
    pub(super) fn has_some(&mut self) -> bool {
        self.fill();
        self.filled > 0.0
    }

    /// Whether nothing was taken for so long that it is as good as new.
    pub(super) fn is_full(&mut self) -> bool {
        self.fill();
        self.filled >= self.burst
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let since = now.duration_since(self.at).as_secs_f64();
        self.filled = self.burst.min(self.filled + since * self.per_second);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(500, 50.0);
        assert_eq!((0..2000).filter(|_| bucket.take(1)).count(), 500);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((0..2000).filter(|_| bucket.take(1)).count(), 100);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(bucket.is_full());
        assert_eq!((0..2000).filter(|_| bucket.take(1)).count(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_is_paid_first() {
        let mut bucket = Bucket::new(100, 10.0);
        bucket.owe(120);
        assert!(!bucket.has_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!bucket.has_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(bucket.has_some() && !bucket.take(11) && bucket.take(10));
    }
}
