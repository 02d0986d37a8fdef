//! Everything that a search met, by number.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ggen_protocols::metadata::{DependencySource, Format};
use semver::{Version, VersionReq};

use super::requirement::Bucket;
use super::set::Set;
use super::{Candidate, Listing, Meaning, Package};

/// What a decision is made on. All numbers are places in [`Tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    /// What was asked for; its one version is 0.
    Root,
    /// One version of those of a pool.
    Release(u32),
    /// The version of a pool, with a feature.
    Feature(u32, u32),
    /// Which of several pools a requirement is met by.
    Choice(u32),
    /// The same, with a feature.
    ChoiceFeature(u32, u32),
    /// Who links a native library; the versions are pools.
    Links(u32),
    /// A requirement that nothing meets; it has no version.
    Unmet(u32),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A package that was met.
pub(super) struct Known {
    pub(super) package: Package,
    pub(super) listing: Arc<Listing>,
    /// Places of versions to keep, ascending.
    pub(super) locked: Vec<u32>,
}

/// Versions of a package of which one is chosen.
#[derive(Clone, Copy)]
pub(super) struct Pool {
    pub(super) known: u32,
    pub(super) end: u32,
}

/// A requirement that nothing meets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unmet {
    pub(super) name: String,
    pub(super) requirement: VersionReq,
    /// The package, if there is one.
    pub(super) known: Option<u32>,
    /// Why there is none.
    pub(super) why: String,
}

pub(super) type Sets = Rc<Vec<(u32, Set)>>;

/// Everything that was met, by number. Numbers are given in the order of meeting, which the request alone decides.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) known: Vec<Known>,
    pub(super) known_ids: HashMap<Package, u32>,
    pub(super) pools: Vec<Pool>,
    pub(super) pool_ids: HashMap<(u32, Bucket), u32>,
    pub(super) features: Vec<Rc<str>>,
    pub(super) feature_ids: HashMap<Rc<str>, u32>,
    pub(super) choices: Vec<Sets>,
    pub(super) choice_ids: HashMap<(Option<u32>, u32, VersionReq), u32>,
    pub(super) links: Vec<String>,
    pub(super) links_ids: HashMap<String, u32>,
    pub(super) unmet: Vec<Unmet>,
    pub(super) unmet_ids: HashMap<Unmet, u32>,
    pub(super) candidates: HashMap<(u32, u32), Arc<Candidate>>,
    pub(super) sets: HashMap<(u32, VersionReq), Sets>,
    pub(super) meanings: HashMap<(String, DependencySource, Format), Meaning>,
    /// What is known of the version of each pool: only a guess at what to try first.
    pub(super) hints: HashMap<u32, Set>,
}

impl Tables {
    pub(super) fn pool(&mut self, known: u32, bucket: Bucket, end: u32) -> u32 {
        let next = number(self.pools.len());
        let pool = *self.pool_ids.entry((known, bucket)).or_insert(next);
        if pool == next {
            self.pools.push(Pool { known, end });
        }
        pool
    }

    pub(super) fn feature(&mut self, feature: &str) -> u32 {
        if let Some(known) = self.feature_ids.get(feature) {
            return *known;
        }
        let (feature, next): (Rc<str>, _) = (feature.into(), number(self.features.len()));
        self.features.push(feature.clone());
        self.feature_ids.insert(feature, next);
        next
    }

    pub(super) fn choice(
        &mut self,
        from: Option<u32>,
        known: u32,
        requirement: &VersionReq,
        sets: &Sets,
    ) -> u32 {
        let next = number(self.choices.len());
        let question = (from, known, requirement.clone());
        let choice = *self.choice_ids.entry(question).or_insert(next);
        if choice == next {
            self.choices.push(sets.clone());
        }
        choice
    }

    pub(super) fn links(&mut self, links: &str) -> u32 {
        let next = number(self.links.len());
        let place = *self.links_ids.entry(links.to_owned()).or_insert(next);
        if place == next {
            self.links.push(links.to_owned());
        }
        place
    }

    pub(super) fn unmet(&mut self, unmet: Unmet) -> u32 {
        let next = number(self.unmet.len());
        let place = *self.unmet_ids.entry(unmet.clone()).or_insert(next);
        if place == next {
            self.unmet.push(unmet);
        }
        place
    }
}

/// The places of versions.
pub(super) fn places(listing: &Listing, is_meant: impl Fn(&Version) -> bool) -> Vec<u32> {
    let versions = (0..).zip(&listing.versions);
    let meant = versions.filter(|(_, (version, _))| is_meant(version));
    meant.map(|(place, _)| place).collect()
}

/// A place as a number: there are less than four milliards of anything in memory.
pub(super) fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
