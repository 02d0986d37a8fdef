//! Download counts of a `MemoryRegistry`.

use ggen_protocols::id::{CanonicalName, OwnerId, ReleaseKey};
use semver::Version;

use super::State;
use crate::registry::downloads::{SUM, is_summed};

impl State {
    pub(super) fn count(&mut self, release: &ReleaseKey, today: u32) {
        let days = self.downloads.entry(release.clone()).or_default();
        let old: Vec<_> = match days.contains_key(&today) {
            true => Vec::new(),
            false => days
                .extract_if(.., |day, _| is_summed(*day, today))
                .collect(),
        };
        for (_, count) in old {
            *days.entry(SUM).or_default() += count;
        }
        *days.entry(today).or_default() += 1;
    }

    /// The counts of every version and day of a package.
    pub(super) fn counted(&self, owner: OwnerId, name: &CanonicalName) -> Vec<(Version, u32, u64)> {
        let releases = self.downloads.iter();
        let releases =
            releases.filter(|(release, _)| release.owner == owner && release.name == *name);
        let days = releases.flat_map(|(release, days)| {
            let days = days.iter();
            days.map(|(day, count)| (release.version.clone(), *day, *count))
        });
        days.collect()
    }
}
