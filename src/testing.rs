//! Contract suites and loopback clusters, for tests of ours and of implementers.

pub mod cluster;
pub mod crypto;
pub mod memory;
pub mod metrics;
pub mod registry;
pub mod resolve;
pub mod search;
pub mod store;
pub mod transfer;
