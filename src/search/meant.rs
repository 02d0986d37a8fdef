//! Names that may have been meant where nothing is found: more typos are forgiven in them than in a search.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::rank::{Card, Plan};
use super::typos::Typed;
use super::words;

/// Most names.
const NAMES_MAX: usize = 3;
/// Letters from which one typo is forgiven, and two.
const TYPO_CHARS_MIN: usize = 3;
const TYPOS_CHARS_MIN: usize = 5;

/// The nearest names: of those as near the best known, then the shortest.
#[derive(Debug)]
pub(crate) struct Meant {
    whole: String,
    typos: u8,
    names: BTreeSet<(u8, Reverse<u64>, usize, String)>,
}

impl Meant {
    pub(crate) fn new(plan: &Plan) -> Self {
        let typos = match plan.whole.chars().count() {
            0..TYPO_CHARS_MIN => 0,
            TYPO_CHARS_MIN..TYPOS_CHARS_MIN => 1,
            _ => 2,
        };
        Self {
            whole: plan.whole.clone(),
            typos,
            names: BTreeSet::new(),
        }
    }

    /// How many typos are forgiven.
    pub(crate) fn typos(&self) -> u8 {
        self.typos
    }

    pub(crate) fn offer(&mut self, typos: u8, downloads: u64, spelled: &str) {
        // A name that is exactly this was left out by a filter.
        if typos == 0 {
            return;
        }
        let length = words::whole(spelled).len();
        let name = (typos, Reverse(downloads), length, spelled.to_owned());
        self.names.insert(name);
        if self.names.len() > NAMES_MAX {
            self.names.pop_last();
        }
    }

    pub(crate) fn offer_card(&mut self, card: &Card) {
        let near = Typed::new(&self.whole, self.typos, false).to(&card.whole);
        if let Some(typos) = near {
            self.offer(typos, card.facts.downloads, &card.spelled);
        }
    }

    pub(crate) fn finish(self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (.., name) in self.names {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
