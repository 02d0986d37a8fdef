//! Makes queries from packages by a rule that was written before anything was tuned:
//!
//! - `name`: the name of any package.
//! - `typo`: the name, at least five letters long, with one edit at a place and with a letter (`a-z0-9`) taken at
//!   random: left out, replaced, added, or swapped with the next one; what is the name again is drawn anew.
//! - `words`: two or three different words, taken at random, of at least three letters of a summary, without the few
//!   that tell nothing, if they all stand in names and summaries of at most two packages.
//! - `joints`: a name with `-`, each of them dropped, or a space, or `_`.
//! - `begun`: the first two thirds of a name of at least three letters, rounded up, as it is suggested.
//!
//! Each is drawn from all packages with the same chance, the answer is the package it was made from; for `words` the
//! other one that fits is an answer too where gain is counted.

use std::collections::HashMap;

use ggen_marketplace::protocols::metadata::PackageMetadata;

use super::corpus::Numbers;

/// What kind of query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Name,
    Typo,
    Words,
    Joints,
    Begun,
}

impl Class {
    pub(crate) const ALL: [Self; 5] = [
        Self::Name,
        Self::Typo,
        Self::Words,
        Self::Joints,
        Self::Begun,
    ];
}

/// A query and the names that answer it, the one it was made from first.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) class: Class,
    pub(crate) text: String,
    pub(crate) answers: Vec<String>,
}

/// Words that tell nothing.
const EMPTY_WORDS: &[&str] = &["and", "are", "for", "from", "that", "the", "this", "with"];

/// Makes queries; knows which package has which words.
pub(crate) struct Maker<'a> {
    packages: &'a [PackageMetadata],
    having: HashMap<String, Vec<u32>>,
    numbers: Numbers,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(packages: &'a [PackageMetadata], seed: u64) -> Self {
        let mut having: HashMap<String, Vec<u32>> = HashMap::new();
        for (at, package) in packages.iter().enumerate() {
            let mut words = words(&package.id.name);
            words.extend(self::words(&package.description));
            words.sort();
            words.dedup();
            for word in words {
                having.entry(word).or_default().push(at as u32);
            }
        }
        let numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self {
            packages,
            having,
            numbers,
        }
    }

    pub(crate) fn make(&mut self, class: Class) -> Made {
        loop {
            let package = &self.packages[self.numbers.below(self.packages.len())];
            let name = &package.id.name;
            let mut answers = vec![name.clone()];
            let text = match class {
                Class::Name => Some(name.clone()),
                Class::Typo => self.mistyped(name),
                Class::Words => self.some_words(package, &mut answers),
                Class::Joints => name.contains('-').then(|| {
                    let joint = ["", " ", "_"][self.numbers.below(3)];
                    name.replace('-', joint)
                }),
                Class::Begun => {
                    let letters: Vec<char> = name.chars().collect();
                    let begun = letters.len().saturating_mul(2).div_ceil(3);
                    (letters.len() >= 3).then(|| letters[..begun].iter().collect())
                }
            };
            if let Some(text) = text {
                return Made {
                    class,
                    text,
                    answers,
                };
            }
        }
    }

    fn mistyped(&mut self, name: &str) -> Option<String> {
        let mut letters: Vec<char> = name.chars().collect();
        if letters.len() < 5 {
            return None;
        }
        let other = char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[self.numbers.below(36)]);
        let at = self.numbers.below(letters.len());
        match self.numbers.below(4) {
            0 => drop(letters.remove(at)),
            1 => letters[at] = other,
            2 => letters.insert(self.numbers.below(letters.len() + 1), other),
            _ => letters.swap(at, (at + 1).min(name.chars().count() - 1)),
        }
        let typed: String = letters.into_iter().collect();
        (typed != name).then_some(typed)
    }

    fn some_words(
        &mut self,
        package: &PackageMetadata,
        answers: &mut Vec<String>,
    ) -> Option<String> {
        let mut all = words(&package.description);
        all.retain(|word| word.chars().count() >= 3 && !EMPTY_WORDS.contains(&word.as_str()));
        all.sort();
        all.dedup();
        let count = 2 + self.numbers.below(2);
        if all.len() < count {
            return None;
        }
        let chosen: Vec<String> = (0..count)
            .map(|_| all.swap_remove(self.numbers.below(all.len())))
            .collect();
        let mut fitting: Vec<u32> = self.having[&chosen[0]].clone();
        for word in &chosen[1..] {
            let having = &self.having[word];
            fitting.retain(|at| having.binary_search(at).is_ok());
        }
        if fitting.len() > 2 {
            return None;
        }
        let names = fitting
            .iter()
            .map(|at| &self.packages[*at as usize].id.name);
        for name in names {
            if !answers.contains(name) {
                answers.push(name.clone());
            }
        }
        Some(chosen.join(" "))
    }
}

/// The words of a text: runs of letters and digits, small.
pub(crate) fn words(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    let runs = runs.filter(|run| !run.is_empty());
    runs.map(str::to_lowercase).collect()
}
