//! What fits a query, and how well: a function of the query and the package alone.
//!
//! No word is rarer or commoner than another, so a package's score does not change when others come and
//! go, and is the same here, in the index on disk (`query.rs` asks it for the same sums) and on every node.
//! All weights are small multiples of a half, so that sums of them are exact in any order.

use std::cmp::Ordering;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::metadata::PackageMetadata;

use super::words::{self, Words};
use super::{SearchQuery, Sort};

/// For a name that is the whole query: more than all words together can give, even to a deprecated one.
pub(crate) const EXACT_NAME: f32 = 10_000.0;
/// For a word of the query that is a word of the name.
pub(crate) const NAME: f32 = 8.0;
/// For the last word, which may not be typed to its end, if a word of the name begins with it.
pub(crate) const NAME_PREFIX: f32 = 3.0;
/// For a word of the name that is one typo away, where typos are forgiven.
pub(crate) const NAME_TYPO: f32 = 1.0;
/// For a word of the name that is at most two typos away; one that is one away has this too.
pub(crate) const NAME_TYPOS: f32 = 0.5;
/// For a keyword.
pub(crate) const KEYWORD: f32 = 4.0;
/// For a word of the description.
pub(crate) const DESCRIPTION: f32 = 2.0;

const WORD_MAX: f32 = NAME + NAME_TYPO + NAME_TYPOS + KEYWORD + DESCRIPTION;
const _: () =
    assert!(EXACT_NAME * DEPRECATED * BRIEF_MIN > WORD_MAX * words::QUERY_WORDS_MAX as f32);

/// What is left of a deprecated package's score.
const DEPRECATED: f32 = 0.2;
/// What is left of the score of a package with the longest name.
const BRIEF_MIN: f32 = 0.5;

/// Letters from which one typo is forgiven, and two; above the last number none, since the automaton that
/// finds them grows with the word.
const TYPO_CHARS_MIN: usize = 4;
const TYPOS_CHARS_MIN: usize = 8;
const TYPO_CHARS_MAX: usize = 24;
/// Words of one query in which typos are looked for, for the same reason.
const TYPO_WORDS_MAX: usize = 4;

/// How much is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Every word, as it was typed.
    Strict,
    /// Every word, as it was typed or one typo away.
    OneTypo,
    /// Every word, as it was typed or at most two typos away.
    TwoTypos,
    /// Any word, as it was typed or one typo away.
    AnyWord,
}

impl Stage {
    /// Most typos that it forgives in one word.
    pub(crate) fn typos(self) -> u8 {
        match self {
            Self::Strict => 0,
            Self::OneTypo | Self::AnyWord => 1,
            Self::TwoTypos => 2,
        }
    }
}

/// What a package is found by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    pub(crate) whole: String,
    pub(crate) name: Words,
    pub(crate) keywords: Words,
    pub(crate) description: Words,
    pub(crate) tags: Words,
    pub(crate) categories: Words,
    /// What its score is multiplied with, in 255ths.
    pub(crate) weight: u8,
    /// Where it stands among others of the same score.
    pub(crate) order: Order,
}

/// Orders packages by the beginning of their names, then by a hash of owner and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) name: [u64; 2],
    pub(crate) key: u64,
}

/// Where a hit stands; the best place is the smallest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) score: f32,
    pub(crate) order: Order,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

/// One owner's package of one name, as text. Spellings of one name give one key.
pub(crate) fn key(owner: &str, name: &str) -> String {
    let name = name.chars().map(|c| if c == '_' { '-' } else { c });
    format!(
        "{owner}/{}",
        name.flat_map(char::to_lowercase).collect::<String>()
    )
}

/// The short form of [`key`].
pub(crate) fn key_hash(key: &str) -> u64 {
    let hash = ContentHash::blake3(key);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

impl Card {
    pub(crate) fn new(key: &str, package: &PackageMetadata) -> Self {
        let name = &package.id.name;
        Self {
            whole: words::whole(name),
            name: words::of_name(name),
            keywords: words::of_keywords(&package.keywords),
            description: words::of_description(&package.description),
            tags: words::of_labels(&package.keywords),
            categories: words::of_labels(&package.categories),
            weight: weight(words::parts_of_name(name), package.deprecated.is_some()),
            order: Order {
                name: name_order(key.rsplit_once('/').map_or(key, |(_, name)| name)),
                key: key_hash(key),
            },
        }
    }

    /// Where this package stands, whose text fits so well.
    pub(crate) fn place(&self, text: f32) -> Place {
        Place {
            score: text * factor(self.weight),
            order: self.order,
        }
    }
}

/// Of two names with the word, the one with fewer others is meant more likely.
fn weight(parts: usize, deprecated: bool) -> u8 {
    let parts = parts.clamp(1, 11) as f32;
    let brief = (1.0 - 0.05 * (parts - 1.0)).max(BRIEF_MIN);
    let lively = if deprecated { DEPRECATED } else { 1.0 };
    (brief * lively * 255.0).round() as u8
}

/// The part of 1 that a weight means.
pub(crate) fn factor(weight: u8) -> f32 {
    f32::from(weight) / 255.0
}

fn name_order(name: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let both = u128::from_be_bytes(bytes);
    [(both >> 64) as u64, both as u64]
}

/// One word of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    pub(crate) text: String,
    /// Whether it may be the beginning of a word.
    pub(crate) prefix: bool,
    /// How many typos are forgiven in it.
    pub(crate) typos: u8,
}

/// A query, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Nothing but filters: every package fits.
    pub(crate) everything: bool,
    /// Whether all that fits fits equally well, so that names alone order it.
    pub(crate) flat: bool,
    pub(crate) whole: String,
    pub(crate) terms: Vec<Term>,
    pub(crate) tags: Vec<String>,
    pub(crate) categories: Vec<String>,
}

impl Plan {
    pub(crate) fn new(query: &SearchQuery) -> Self {
        let texts = words::of_query(&query.text);
        let last = texts.len().saturating_sub(1);
        let term = |(at, text): (usize, String)| {
            let chars = text.chars().count();
            let typos = match chars {
                _ if at >= TYPO_WORDS_MAX => 0,
                TYPO_CHARS_MIN..TYPOS_CHARS_MIN => 1,
                TYPOS_CHARS_MIN..=TYPO_CHARS_MAX => 2,
                _ => 0,
            };
            let prefix = at == last && chars >= words::BEGINNING_CHARS_MIN;
            Term {
                text,
                prefix,
                typos,
            }
        };
        let labels = |labels: &[String]| {
            let labels = labels.iter().take(words::QUERY_WORDS_MAX);
            labels.map(|label| words::label_of(label)).collect()
        };
        Self {
            everything: query.text.trim().is_empty(),
            flat: query.text.trim().is_empty() || query.sort == Sort::Name,
            whole: words::whole(&query.text),
            terms: texts.into_iter().enumerate().map(term).collect(),
            tags: labels(&query.tags),
            categories: labels(&query.categories),
        }
    }

    /// Which stage follows one that found nothing.
    pub(crate) fn after(&self, stage: Stage) -> Option<Stage> {
        let typos = self.terms.iter().map(|term| term.typos).max().unwrap_or(0);
        match stage {
            Stage::Strict if typos >= 1 => Some(Stage::OneTypo),
            Stage::OneTypo if typos == 2 => Some(Stage::TwoTypos),
            Stage::AnyWord => None,
            _ => (self.terms.len() > 1).then_some(Stage::AnyWord),
        }
    }

    /// Forgives no typos in words that stand somewhere as they were typed.
    pub(crate) fn trust<E>(
        &mut self,
        mut known: impl FnMut(&Term) -> Result<bool, E>,
    ) -> Result<(), E> {
        for term in &mut self.terms {
            if term.typos > 0 && known(term)? {
                term.typos = 0;
            }
        }
        Ok(())
    }

    /// How well a package's text fits, before its weight counts; nothing if it does not.
    pub(crate) fn score(&self, stage: Stage, card: &Card) -> Option<f32> {
        let all = |own: &Words, wanted: &[String]| wanted.iter().all(|w| own.contains(w));
        if !all(&card.tags, &self.tags) || !all(&card.categories, &self.categories) {
            return None;
        }
        if self.everything {
            return Some(0.0);
        }
        let mut sum = 0.0;
        let mut missing = false;
        for term in &self.terms {
            let score = term.score(stage, card);
            missing |= score == 0.0;
            sum += score;
        }
        let fits = sum > 0.0 && (!missing || stage == Stage::AnyWord);
        let exact = !self.whole.is_empty() && self.whole == card.whole;
        let text = if fits { sum } else { 0.0 };
        let score = if exact { text + EXACT_NAME } else { text };
        let score = if self.flat { 0.0 } else { score };
        (fits || exact).then_some(score)
    }
}

impl Term {
    /// What a word of the name counts; the last word gets the rest for being a prefix of it.
    pub(crate) fn name_weight(&self) -> f32 {
        if self.prefix {
            NAME - NAME_PREFIX
        } else {
            NAME
        }
    }

    /// Whether the word stands in the package as it was typed.
    pub(crate) fn is_in(&self, card: &Card) -> bool {
        self.score(Stage::Strict, card) > 0.0
    }

    fn score(&self, stage: Stage, card: &Card) -> f32 {
        let word = self.text.as_str();
        let mut score = 0.0;
        if card.name.contains(word) {
            score += self.name_weight();
        }
        if self.prefix && card.name.contains_prefix(word) {
            score += NAME_PREFIX;
        }
        if card.keywords.contains(word) {
            score += KEYWORD;
        }
        if card.description.contains(word) {
            score += DESCRIPTION;
        }
        let forgiven = self.typos.min(stage.typos());
        if forgiven > 0 {
            let typos = card
                .name
                .iter()
                .filter_map(|own| self.typos_to(own, forgiven))
                .min();
            if typos.is_some_and(|typos| typos <= 1) {
                score += NAME_TYPO;
            }
            if forgiven == 2 && typos.is_some() {
                score += NAME_TYPOS;
            }
        }
        score
    }

    /// How many typos lie between this word and another, if so many are forgiven.
    fn typos_to(&self, other: &str, forgiven: u8) -> Option<u8> {
        typos(&self.text, other, forgiven)
    }
}

/// Letters to insert, leave out, replace or swap with their neighbour to make one word of another, if that is
/// at most `max` and neither is much longer than `TYPO_CHARS_MAX`. Runs for every waiting change: no allocation.
fn typos(one: &str, other: &str, max: u8) -> Option<u8> {
    const LETTERS_MAX: usize = TYPO_CHARS_MAX + 2;
    let mut letters = ['\0'; LETTERS_MAX];
    let mut length = 0;
    for letter in other.chars() {
        *letters.get_mut(length)? = letter;
        length += 1;
    }
    let letters = &letters[..length];
    let first: [u8; LETTERS_MAX + 1] = std::array::from_fn(|at| at as u8);
    let (mut before, mut last, mut row) = (first, first, first);
    let mut previous = None;
    for (at, letter) in one.chars().enumerate() {
        row[0] = u8::try_from(at + 1).ok()?;
        for (to, &own) in letters.iter().enumerate() {
            let replaced = last[to] + u8::from(own != letter);
            row[to + 1] = replaced.min(last[to + 1] + 1).min(row[to] + 1);
            if to > 0 && previous == Some(own) && letters[to - 1] == letter {
                row[to + 1] = row[to + 1].min(before[to - 1] + 1);
            }
        }
        // A swap reaches two rows back.
        let hopeless = |row: &[u8]| row[..=length].iter().all(|typos| *typos > max);
        if hopeless(&row) && hopeless(&last) {
            return None;
        }
        previous = Some(letter);
        (before, last, row) = (last, row, before);
    }
    Some(last[length]).filter(|typos| *typos <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_neighbours_is_one_typo() {
        assert_eq!(typos("tokio", "tokio", 2), Some(0));
        for one in ["tokoi", "otkio", "toki", "tokiio", "tokix", "xtokio"] {
            assert_eq!(typos(one, "tokio", 2), Some(1), "{one}");
            assert_eq!(typos("tokio", one, 1), Some(1), "{one}");
        }
        assert_eq!(typos("xokip", "tokio", 2), Some(2));
        assert_eq!(typos("xokip", "tokio", 1), None);
        assert_eq!(typos("xxkip", "tokio", 2), None);
        assert_eq!(typos("", "ab", 2), Some(2));
        let long = "a".repeat(1000);
        assert_eq!(
            [
                typos(&long, "a", 2),
                typos("a", &long, 2),
                typos(&long, &long, 2)
            ],
            [None; 3]
        );
    }

    #[test]
    fn short_words_are_taken_as_typed() {
        let query = |text: &str| {
            Plan::new(&SearchQuery {
                text: text.into(),
                ..SearchQuery::default()
            })
        };
        let typos = |text: &str| query(text).terms[0].typos;
        assert_eq!(
            [
                typos("abc"),
                typos("abcd"),
                typos("abcdefg"),
                typos("abcdefgh")
            ],
            [0, 1, 1, 2]
        );
        assert_eq!(typos(&"a".repeat(25)), 0);
    }

    #[test]
    fn a_deprecated_package_and_a_long_name_weigh_less() {
        assert!(weight(1, false) > weight(2, false));
        assert!(weight(1000, false) > weight(1, true));
        assert!(weight(1000, true) > 0);
    }

    #[test]
    fn names_are_ordered_by_their_letters() {
        assert!(name_order("a") < name_order("ab"));
        assert!(name_order("abcdefghi") < name_order("abcdefghj"));
    }
}
