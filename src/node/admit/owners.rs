//! How much gossip of one owner is taken: an owner whom this node's user does not know may not keep it busy.

use std::collections::HashMap;
use std::time::Duration;

use ggen_protocols::id::OwnerId;
use ggen_protocols::limits;
use tokio::time::Instant;

use crate::node::rate::Bucket;

/// How often rates that nobody uses are looked for, at the most.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// The rates of the owners who wrote most recently.
#[derive(Debug, Default)]
pub(super) struct OwnerRates {
    buckets: HashMap<OwnerId, Bucket>,
    /// When those were forgotten last that nothing was taken from for long.
    tidied_at: Option<Instant>,
}

impl OwnerRates {
    /// Whether one more record of this owner may be taken from gossip now.
    pub(super) fn may_write(&mut self, owner: OwnerId) -> bool {
        if self.buckets.len() >= limits::OWNER_RATES_MAX && !self.buckets.contains_key(&owner) {
            self.tidy();
            // If so many are busy, no single owner is what floods.
            if self.buckets.len() >= limits::OWNER_RATES_MAX {
                return true;
            }
        }
        let bucket = self.buckets.entry(owner).or_insert_with(|| {
            Bucket::new(
                limits::OWNER_RECORDS_BURST,
                limits::OWNER_RECORDS_PER_SECOND,
            )
        });
        bucket.take(1)
    }

    /// Forgets whose bucket is full again, and so as good as unknown. It looks at all, and therefore seldom.
    fn tidy(&mut self) {
        let now = Instant::now();
        let seldom = |last: Instant| now.duration_since(last) >= TIDY_INTERVAL;
        if self.tidied_at.is_none_or(seldom) {
            self.tidied_at = Some(now);
            self.buckets.retain(|_, bucket| !bucket.is_full());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: u32) -> OwnerId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        OwnerId::from_bytes(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_may_import_much_and_then_sixty_an_hour() {
        let mut rates = OwnerRates::default();
        let taken = (0..10_000).filter(|_| rates.may_write(owner(1))).count() as u64;
        assert_eq!(taken, limits::OWNER_RECORDS_BURST);
        assert!(rates.may_write(owner(2)), "others are not bound by it");
        tokio::time::advance(Duration::from_secs(3600)).await;
        let taken = (0..10_000).filter(|_| rates.may_write(owner(1))).count();
        assert!((59..=61).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_owners_take_bounded_memory() {
        let mut rates = OwnerRates::default();
        let many = limits::OWNER_RATES_MAX as u32;
        assert!((0..2 * many).all(|number| rates.may_write(owner(number))));
        assert_eq!(rates.buckets.len(), limits::OWNER_RATES_MAX);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(rates.may_write(owner(2 * many)));
        assert_eq!(rates.buckets.len(), 1, "full ones are forgotten");
    }
}
