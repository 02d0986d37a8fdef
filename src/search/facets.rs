//! Counts the labels of what a query found.

use std::collections::BTreeMap;

use ggen_protocols::metadata::{Format, PackageMetadata};

use super::{Facets, words};

/// Labels of one kind, and how many packages have each.
type Counts = BTreeMap<String, u64>;

/// Counts packages one by one.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    counted: u64,
    categories: Counts,
    tags: Counts,
    licenses: Counts,
    formats: Counts,
}

impl Counter {
    pub(crate) fn add(&mut self, package: &PackageMetadata) {
        self.counted += 1;
        for (counts, labels) in [
            (&mut self.categories, &package.categories),
            (&mut self.tags, &package.keywords),
        ] {
            for label in words::of_labels(labels).iter() {
                *counts.entry(label.to_owned()).or_default() += 1;
            }
        }
        if !package.license.is_empty() {
            let license = package.license.clone();
            *self.licenses.entry(license).or_default() += 1;
        }
        let format = match package.format {
            Format::Cargo => "cargo",
            Format::Pack => "pack",
            _ => "generic",
        };
        *self.formats.entry(format.to_owned()).or_default() += 1;
    }

    /// What was counted, of so many that were found.
    pub(crate) fn finish(self, total: u64) -> Facets {
        Facets {
            total,
            counted: self.counted,
            categories: commonest(self.categories),
            tags: commonest(self.tags),
            licenses: commonest(self.licenses),
            formats: commonest(self.formats),
        }
    }
}

fn commonest(counts: Counts) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Stable: what is as common stays in the order of the map.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(Facets::LABELS_MAX);
    counts
}
