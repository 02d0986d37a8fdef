#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod cbor;
pub mod fetch;
pub mod hash;
pub mod id;
pub mod limits;
pub mod message;
pub mod metadata;
pub mod owner;
pub mod reconcile;
pub mod record;
pub mod trust;
pub mod view;

use std::time::Duration;

/// Requests and responses between two peers.
pub const SYNC_PROTOCOL: &str = "/ggen-market/sync/1";
/// What gossip protocol ids begin with.
pub const GOSSIP_PROTOCOL: &str = "/ggen-market/gossip/1";
/// What a node says that it speaks when peers identify themselves.
pub const IDENTIFY_PROTOCOL: &str = "/ggen-market/1";

/// A point in time, as the duration since a start that its owner chose; the rules read no clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}
