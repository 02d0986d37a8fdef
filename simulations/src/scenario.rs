//! The TOML form of a run.

use serde::Deserialize;

/// What happens in a run. Times are virtual, in milliseconds from its start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called, as its file.
    pub name: String,
    /// Honest peers.
    pub peers: usize,
    /// Peers that lie; their numbers follow the honest ones.
    #[serde(default)]
    pub liars: usize,
    /// How many others each peer dials.
    pub links: usize,
    /// Records that some peer has at the start; the others have none.
    #[serde(default)]
    pub history: usize,
    /// Records published while it runs, at random times up to `calm_at_ms`, by random honest peers that are up.
    #[serde(default)]
    pub published: usize,
    /// Latency of one message, least and most.
    pub latency_ms: (u64, u64),
    /// Messages lost, in a thousand.
    #[serde(default)]
    pub loss_per_mille: u32,
    /// How often a peer crashes and comes back, over all peers.
    #[serde(default)]
    pub crashes: usize,
    /// How often the swarm splits in two for a while.
    #[serde(default)]
    pub partitions: usize,
    /// How long a crashed peer or a partition stays so, least and most.
    #[serde(default)]
    pub outage_ms: (u64, u64),
    /// When the peers but the first start, least and most.
    #[serde(default)]
    pub start_ms: (u64, u64),
    /// Faults and publishing end here.
    pub calm_at_ms: u64,
    /// Honest peers must know the same records so long after that.
    pub converged_within_ms: u64,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The scenarios that come with this crate.
    ///
    /// # Panics
    /// If one of them is no scenario, which a test excludes.
    #[allow(clippy::expect_used)]
    pub fn all() -> Vec<Self> {
        [
            include_str!("../scenarios/join.toml"),
            include_str!("../scenarios/churn.toml"),
            include_str!("../scenarios/partition-heal.toml"),
            include_str!("../scenarios/liar.toml"),
        ]
        .into_iter()
        .map(|text| Self::from_toml(text).expect("a test reads every scenario"))
        .collect()
    }
}
