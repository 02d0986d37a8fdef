//! Index files as they were made last, for as long as nothing changes that they follow from.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;
use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, ReleaseKey};

use crate::Result;
use crate::archive::index::Segment;
use crate::node::Node;
use crate::registry::{Admitted, Decisions};

/// Bytes of files that are kept at the most; more than all of an index of 10,000 packages takes.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Changes of the catalogue that are looked at one by one; after more of them everything is made anew.
const CHANGES_MAX: usize = 1024;
/// Names whose last change is remembered.
const NAMES_MAX: usize = 16 << 10;

/// An index and the name of one of its files.
type Key = (Segment, String);

/// One file of an index.
#[derive(Debug)]
pub(super) struct File {
    pub(super) bytes: Bytes,
    /// Says which bytes these are.
    pub(super) etag: HeaderValue,
    /// The releases that it lists, in its order.
    pub(super) releases: Vec<Listed>,
    /// The state that it was made from, or an earlier one.
    pub(super) stamp: Stamp,
    /// The names whose packages it follows from.
    pub(super) names: Vec<CanonicalName>,
}

/// A release that an index lists.
#[derive(Debug)]
pub(super) struct Listed {
    /// Where it stands in the catalogue; its version has no build metadata.
    pub(super) key: ReleaseKey,
    pub(super) blake3: ContentHash,
    pub(super) sha256: ContentHash,
    /// Length of its archive in bytes.
    pub(super) size: u64,
    /// Whether it was given out since the file was made: its use is noted then.
    pub(super) is_used: AtomicBool,
}

impl File {
    /// What it takes to keep, in bytes, roughly.
    fn weight(&self) -> usize {
        let releases = self.releases.len() * mem::size_of::<Listed>();
        mem::size_of::<Self>() + self.bytes.len() + releases + 64 * self.names.len()
    }
}

/// How far the catalogue and the user's decisions had come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) position: u64,
    pub(super) decisions: u64,
}

/// The files that are kept.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Indexes(Mutex<Kept>);

impl Stamp {
    /// Each of the two as far as it came in either.
    fn advance(&mut self, other: Self) {
        self.position = self.position.max(other.position);
        self.decisions = self.decisions.max(other.decisions);
    }

    /// Whether nothing of what it is made from came after the other one.
    fn is_within(self, other: Self) -> bool {
        self.position <= other.position && self.decisions <= other.decisions
    }
}

impl Indexes {
    /// The state now; what changed until then is known here afterwards.
    pub(super) async fn now(&self, node: &Node) -> Result<Stamp> {
        let catalogue = node.catalogue();
        let decisions = node.choices().ok().map(|choices| choices.decisions());
        let now = Stamp {
            decisions: decisions.map_or(0, Decisions::count),
            position: *catalogue.position().borrow(),
        };
        let known = self.kept().known;
        if now.is_within(known) {
            return Ok(now);
        }
        if let Some(decisions) = decisions {
            // Of decisions that were made since then, some may be told: to learn one twice does no harm.
            let names = decisions.since(known.decisions);
            self.kept().learn_decided(names, now.decisions);
        }
        if known.position < now.position {
            let changes = catalogue.changes(known.position, CHANGES_MAX).await?;
            self.kept().learn(&changes, now.position);
        }
        Ok(now)
    }

    /// A file, if it is kept and still what it would be if it were made now.
    pub(super) fn get(&self, segment: &Segment, name: &str) -> Option<Arc<File>> {
        self.kept().get(&(segment.clone(), name.to_owned()))
    }

    pub(super) fn keep(&self, segment: &Segment, name: &str, file: Arc<File>) {
        let key = (segment.clone(), name.to_owned());
        self.kept().keep(key, file, KEPT_BYTES_MAX);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whatever half of a change a panic left, at worst a file is made anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files in two generations: the old one goes when the young one is half of all that may be kept.
#[derive(Debug, Default)]
struct Kept {
    /// What changed until then was looked at.
    known: Stamp,
    /// Files that do not know all until then are void.
    void_before: Stamp,
    /// The last changes of each name after that.
    changed: HashMap<CanonicalName, Stamp>,
    young: HashMap<Key, Arc<File>>,
    young_bytes: usize,
    old: HashMap<Key, Arc<File>>,
}

impl Kept {
    /// Takes in what came after `self.known.position`, which another reader may have moved meanwhile: to learn a
    /// change twice does no harm.
    fn learn(&mut self, changes: &[Admitted], position: u64) {
        let at = |position| Stamp {
            position,
            decisions: 0,
        };
        let last = changes.last().map_or(position, |last| last.position);
        self.known.advance(at(last));
        if changes.len() >= CHANGES_MAX {
            self.known.advance(at(position));
            self.void_all();
        }
        for change in changes {
            match &change.package {
                Some((_, name)) => self.change(name.clone(), at(change.position)),
                // A document or a word about others: it may concern any package.
                None => self.void_before.advance(at(change.position)),
            }
        }
    }

    /// Takes in what was decided until then: about packages of these names, or anything.
    fn learn_decided(&mut self, names: Option<Vec<CanonicalName>>, decisions: u64) {
        let at = Stamp {
            position: 0,
            decisions,
        };
        self.known.advance(at);
        match names {
            None => self.void_before.advance(at),
            Some(names) => names.into_iter().for_each(|name| self.change(name, at)),
        }
    }

    fn change(&mut self, name: CanonicalName, at: Stamp) {
        self.changed.entry(name).or_default().advance(at);
        if self.changed.len() > NAMES_MAX {
            self.void_all();
        }
    }

    fn void_all(&mut self) {
        self.void_before.advance(self.known);
        self.changed.clear();
    }

    fn is_valid(&self, file: &File) -> bool {
        let known = |at: &Stamp| at.is_within(file.stamp);
        let mut changes = file.names.iter().filter_map(|name| self.changed.get(name));
        known(&self.void_before) && changes.all(known)
    }

    fn get(&mut self, key: &Key) -> Option<Arc<File>> {
        let (file, is_old) = match self.young.get(key) {
            Some(file) => (file.clone(), false),
            None => (self.old.remove(key)?, true),
        };
        if !self.is_valid(&file) {
            if let Some(file) = self.young.remove(key) {
                self.young_bytes -= file.weight();
            }
            return None;
        }
        if is_old {
            self.keep(key.clone(), file.clone(), KEPT_BYTES_MAX);
        }
        Some(file)
    }

    fn keep(&mut self, key: Key, file: Arc<File>, bytes_max: usize) {
        let weight = file.weight();
        if weight > bytes_max / 2 {
            return;
        }
        if self.young_bytes + weight > bytes_max / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        if let Some(before) = self.young.insert(key, file) {
            self.young_bytes -= before.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::{OwnerId, RecordId};

    use super::*;

    fn key(name: &str) -> Key {
        (Segment::View, name.to_owned())
    }

    fn at(position: u64) -> Stamp {
        Stamp {
            position,
            decisions: 0,
        }
    }

    fn file(position: u64, names: &[&str]) -> Arc<File> {
        Arc::new(File {
            bytes: Bytes::from_static(&[0; 100]),
            etag: HeaderValue::from_static("\"x\""),
            releases: Vec::new(),
            stamp: at(position),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
        })
    }

    fn change(position: u64, name: Option<&str>) -> Admitted {
        let package = name.map(|name| (OwnerId::from_bytes([1; 32]), name.parse().unwrap()));
        Admitted {
            position,
            record: RecordId::from_bytes([0; 32]),
            package,
        }
    }

    fn holding(names: &[&str]) -> Kept {
        let mut kept = Kept::default();
        kept.learn(&[], 10);
        kept.keep(key(names[0]), file(10, names), 1 << 20);
        kept
    }

    #[test]
    fn a_file_is_kept_while_other_packages_change() {
        let mut kept = holding(&["a", "dep"]);
        kept.learn(&[change(11, Some("b"))], 11);
        assert!(kept.get(&key("a")).is_some());
    }

    #[test]
    fn a_change_of_the_package_or_of_what_it_names_voids_a_file() {
        for name in [Some("a"), Some("dep"), None] {
            let mut kept = holding(&["a", "dep"]);
            kept.learn(&[change(11, name)], 11);
            assert!(kept.get(&key("a")).is_none(), "{name:?}");
            assert_eq!(kept.young_bytes, 0);
            // Made after the change, it stays.
            kept.keep(key("a"), file(11, &["a", "dep"]), 1 << 20);
            kept.learn(&[change(11, name)], 11);
            assert!(kept.get(&key("a")).is_some(), "{name:?}");
        }
    }

    #[test]
    fn a_file_made_before_a_change_that_is_known_is_not_given_out() {
        let mut kept = holding(&["a"]);
        kept.learn(&[change(12, Some("b"))], 12);
        kept.keep(key("b"), file(11, &["b"]), 1 << 20);
        assert!(kept.get(&key("b")).is_none());
    }

    #[test]
    fn a_pin_of_a_name_voids_what_follows_from_that_name_and_another_decision_everything() {
        let decided = |number| Stamp {
            position: 10,
            decisions: number,
        };
        let named = |name: &str| Some(vec![name.parse().unwrap()]);
        let mut kept = holding(&["a", "dep"]);
        kept.learn_decided(named("b"), 1);
        assert!(kept.get(&key("a")).is_some());
        for names in [named("a"), named("dep"), None] {
            let mut kept = holding(&["a", "dep"]);
            kept.learn_decided(names.clone(), 1);
            assert_eq!(kept.known, decided(1));
            assert!(kept.get(&key("a")).is_none(), "{names:?}");
            // Made before it by a slower reader, it is void too; made after it, it stays.
            kept.keep(key("a"), file(10, &["a", "dep"]), 1 << 20);
            assert!(kept.get(&key("a")).is_none(), "{names:?}");
            let after = File {
                stamp: decided(1),
                ..Arc::into_inner(file(10, &["a", "dep"])).unwrap()
            };
            kept.keep(key("a"), Arc::new(after), 1 << 20);
            kept.learn_decided(names.clone(), 1);
            assert!(kept.get(&key("a")).is_some(), "{names:?}");
        }
    }

    #[test]
    fn more_changes_than_are_looked_at_void_every_file() {
        let mut kept = holding(&["a"]);
        let changes: Vec<_> = (0..CHANGES_MAX as u64)
            .map(|number| change(11 + number, Some("b")))
            .collect();
        kept.learn(&changes, 9999);
        assert_eq!(kept.known.position, 9999);
        assert!(kept.get(&key("a")).is_none());
        kept.keep(key("a"), file(9999, &["a"]), 1 << 20);
        assert!(kept.get(&key("a")).is_some());
    }

    #[test]
    fn what_is_asked_for_outlives_what_is_not_and_all_of_it_is_bounded() {
        let mut kept = holding(&["asked"]);
        let room = 10 * file(10, &["asked"]).weight();
        for number in 0..100 {
            let name = format!("n{number}");
            kept.keep(key(&name), file(10, &[&name]), room);
            assert!(kept.get(&key("asked")).is_some(), "{number}");
            let all = kept.young.values().chain(kept.old.values());
            assert!(all.map(|file| file.weight()).sum::<usize>() <= room + room / 10);
        }
        assert!(kept.get(&key("n0")).is_none());
    }
}
