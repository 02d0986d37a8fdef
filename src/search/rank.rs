//! What fits a query, and how well: a function of the query and the package alone.
//!
//! No word is rarer or commoner than another, so a package's score does not change when others come and
//! go, and is the same here, in the index on disk (`query.rs` asks it for the same sums) and on every node.
//! All weights are small multiples of a half, so that sums of them are exact in any order.

use std::cmp::Ordering;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::metadata::PackageMetadata;
use tantivy::schema::Field;

use super::schema::Fields;
use super::typos::Typed;
use super::words::{self, Words};
use super::{Esteem, SearchQuery, Sort};

/// For a name that is the whole query: more than all words together can give, even to a deprecated one.
pub(crate) const EXACT_NAME: f32 = 100_000.0;
/// The same for a package that nobody uses and nobody touched for years: first among its like, but behind those that
/// many use.
const EXACT_SQUAT: f32 = 12.0;
/// For a name that is one typo away from the whole query, and two: less than for a word of a name, more than for a
/// word elsewhere.
const NEAR_NAME: [f32; 2] = [7.0, 5.0];
/// For a word of the query that is a word of the name.
pub(crate) const NAME: f32 = 8.0;
/// For the last word, which may not be typed to its end, if a word of the name begins with it.
pub(crate) const NAME_PREFIX: f32 = 1.5;
/// For a word of the name that is one typo away, where typos are forgiven.
pub(crate) const NAME_TYPO: f32 = 1.0;
/// For a word of the name that is at most two typos away; one that is one away has this too.
pub(crate) const NAME_TYPOS: f32 = 0.5;
/// For a keyword.
pub(crate) const KEYWORD: f32 = 4.0;
/// For a word of the description.
pub(crate) const DESCRIPTION: f32 = 2.0;

const WORD_MAX: f32 = NAME + NAME_TYPO + NAME_TYPOS + KEYWORD + DESCRIPTION;
const _: () = assert!(
    EXACT_NAME * DEPRECATED * BRIEF_MIN * TERSE_MIN
        > WORD_MAX * words::QUERY_WORDS_MAX as f32 * LIFT_MAX
);

/// What is left of a deprecated package's score.
const DEPRECATED: f32 = 0.2;
/// What is left of the score of a package with the longest name.
const BRIEF_MIN: f32 = 0.5;
/// What is left of the score of a package with the longest description: a word among few tells more.
const TERSE_MIN: f32 = 0.5;
/// What a package's score is at most multiplied with: what everybody uses and the user trusts.
const LIFT_MAX: f32 = 3.5;
/// What each tenfold of downloads adds to a score, of what it is without, up to a thousand million.
const TENFOLD: f32 = 0.25;
const TENFOLDS_MAX: f32 = 8.0;
/// What trust adds to a score, of what it is without.
const TRUSTED: f32 = 0.5;
/// Parts of 1 that weights are counted in.
const WEIGHT_ONE: f32 = 4_096.0;
/// Seconds after which a package that nobody uses is taken for abandoned: two years.
const SQUAT_SECONDS: u64 = 2 * 365 * 86_400;
/// Words that a description has at least, if packages that share all of them are taken for copies.
const COPIED_WORDS_MIN: usize = 4;

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
    /// Its name as it is suggested.
    pub(crate) spelled: String,
    pub(crate) name: Words,
    pub(crate) keywords: Words,
    pub(crate) description: Words,
    pub(crate) tags: Words,
    pub(crate) categories: Words,
    pub(crate) authors: Words,
    pub(crate) licenses: Words,
    pub(crate) namespace: String,
    pub(crate) facts: Facts,
    /// Where it stands among others of the same score.
    pub(crate) order: Order,
}

/// What is counted of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What its score is multiplied with.
    pub(crate) weight: u64,
    pub(crate) downloads: u64,
    /// Seconds since 1970; 0 if it is not known.
    pub(crate) published: u64,
    /// Equal for packages that are copies of each other; 0 for those that are none.
    pub(crate) copied: u64,
    /// Its owner, in short.
    pub(crate) owner: u64,
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
    /// What the hits are sorted by before they are sorted by score; the most comes first.
    pub(crate) first: u64,
    pub(crate) score: f32,
    pub(crate) order: Order,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_first = other.first.cmp(&self.first);
        let by_score = || other.score.total_cmp(&self.score);
        by_first
            .then_with(by_score)
            .then_with(|| self.order.cmp(&other.order))
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
    pub(crate) fn new(key: &str, package: &PackageMetadata, esteem: Esteem) -> Self {
        let name = &package.id.name;
        let description = words::of_description(&package.description);
        let namespace = package.id.namespace.as_deref().unwrap_or_default();
        let lively = package.deprecated.is_none();
        let published = package.published_at.timestamp();
        let facts = Facts {
            weight: weight(
                words::parts_of_name(name),
                description.len(),
                lively,
                esteem,
            ),
            downloads: esteem.downloads,
            published: u64::try_from(published).unwrap_or(0),
            copied: copied(&description, package),
            owner: key_hash(namespace),
        };
        Self {
            whole: words::whole(name),
            spelled: words::spelled(name).to_owned(),
            name: words::of_name(name),
            keywords: words::of_keywords(&package.keywords),
            description,
            tags: words::of_labels(&package.keywords),
            categories: words::of_labels(&package.categories),
            authors: words::of_authors(&package.authors),
            licenses: words::of_license(&package.license),
            namespace: words::label_of(namespace),
            facts,
            order: Order {
                name: name_order(key.rsplit_once('/').map_or(key, |(_, name)| name)),
                key: key_hash(key),
            },
        }
    }
}

/// Of two names with the word, the one with fewer others is meant more likely; so with descriptions.
fn weight(parts: usize, words: usize, lively: bool, esteem: Esteem) -> u64 {
    let brief = (1.0 - 0.05 * (parts.clamp(1, 11) - 1) as f32).max(BRIEF_MIN);
    let terse = (1.0 - 0.02 * words.min(25) as f32).max(TERSE_MIN);
    let lively = if lively { 1.0 } else { DEPRECATED };
    let tenfolds = (esteem.downloads as f32 + 1.0).log10().min(TENFOLDS_MAX);
    let trusted = if esteem.trusted { TRUSTED } else { 0.0 };
    let lift = 1.0 + TENFOLD * tenfolds + trusted;
    (brief * terse * lively * lift * WEIGHT_ONE).round() as u64
}

/// The factor that a weight means.
pub(crate) fn factor(weight: u64) -> f32 {
    weight as f32 / WEIGHT_ONE
}

/// A short form of the description's words: packages of several owners that share all of them are copies.
fn copied(description: &Words, package: &PackageMetadata) -> u64 {
    if description.len() < COPIED_WORDS_MIN {
        return 0;
    }
    let words: Vec<&str> = description.iter().collect();
    let whole = words::whole(&package.id.name);
    key_hash(&format!("{whole} {}", words.join(" "))).max(1)
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

/// Which packages a query leaves out, whatever its words are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filters {
    pub(crate) tags: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) authors: Vec<String>,
    pub(crate) licenses: Vec<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) downloads: u64,
}

/// A query, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Nothing but filters: every package fits.
    pub(crate) everything: bool,
    /// Whether all that fits fits equally well, so that names alone order it.
    pub(crate) flat: bool,
    pub(crate) sort: Sort,
    pub(crate) whole: String,
    /// How many typos are forgiven in the name as a whole.
    pub(crate) near: u8,
    pub(crate) terms: Vec<Term>,
    pub(crate) filters: Filters,
    /// Seconds since 1970.
    now: u64,
}

impl Plan {
    pub(crate) fn new(query: &SearchQuery) -> Self {
        let texts = words::of_query(&query.text);
        let last = texts.len().saturating_sub(1);
        let term = |(at, text): (usize, String)| {
            let chars = text.chars().count();
            let typos = match at {
                _ if chars > TYPO_CHARS_MAX => 0,
                0..TYPO_WORDS_MAX => typos(chars),
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
        let whole = words::whole(&query.text);
        let only = |text: &Option<String>| {
            let text = text.as_deref().map(words::label_of);
            text.filter(|text| !text.is_empty())
        };
        let filters = Filters {
            tags: labels(&query.tags),
            categories: labels(&query.categories),
            authors: words::of_query(query.author.as_deref().unwrap_or_default()),
            licenses: only(&query.license).into_iter().collect(),
            namespace: only(&query.namespace),
            downloads: query.min_downloads.unwrap_or(0),
        };
        let everything = query.text.trim().is_empty();
        let now = chrono::Utc::now().timestamp();
        Self {
            everything,
            flat: everything || query.sort != Sort::Relevance,
            sort: query.sort,
            near: typos(whole.chars().count()),
            whole,
            terms: texts.into_iter().enumerate().map(term).collect(),
            filters,
            now: u64::try_from(now).unwrap_or(0),
        }
    }

    /// How many typos are forgiven in the name as a whole at this stage.
    pub(crate) fn near_at(&self, stage: Stage) -> u8 {
        if stage == Stage::Strict {
            self.near.min(1)
        } else {
            self.near
        }
    }

    /// How many typos the whole query is away from a whole name, if not more than this stage forgives.
    pub(crate) fn typos_to(&self, stage: Stage, whole: &str) -> Option<u8> {
        match self.near_at(stage) {
            _ if self.whole.is_empty() => None,
            0 => (self.whole == whole).then_some(0),
            near => Typed::new(&self.whole, near, false).to(whole),
        }
    }

    /// What a name gets for being the whole query, but for so many typos.
    pub(crate) fn name_bonus(&self, typos: u8, facts: &Facts) -> f32 {
        let squat = facts.downloads == 0
            && facts.published > 0
            && facts.published + SQUAT_SECONDS < self.now;
        match usize::from(typos) {
            0 if squat => EXACT_SQUAT,
            0 => EXACT_NAME,
            typos => NEAR_NAME[typos.min(NEAR_NAME.len()) - 1],
        }
    }

    /// Where a package stands whose text fits so well.
    pub(crate) fn place(&self, text: f32, facts: &Facts, order: Order) -> Place {
        let first = match self.sort {
            Sort::Relevance | Sort::Name => 0,
            Sort::Downloads => facts.downloads,
            Sort::Newest => facts.published,
        };
        let score = if self.flat {
            0.0
        } else {
            text * factor(facts.weight)
        };
        Place {
            first,
            score,
            order,
        }
    }

    /// Which stage follows one that found nothing.
    pub(crate) fn after(&self, stage: Stage) -> Option<Stage> {
        let typos = self.terms.iter().map(|term| term.typos).max().unwrap_or(0);
        match stage {
            Stage::Strict if typos >= 1 => Some(Stage::OneTypo),
            Stage::OneTypo if typos == 2 => Some(Stage::TwoTypos),
            Stage::AnyWord => None,
            Stage::Strict if self.near == 2 => Some(Stage::OneTypo),
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

    /// How well a package fits, before its weight counts; nothing if it does not.
    pub(crate) fn score(&self, stage: Stage, card: &Card) -> Option<f32> {
        if !self.filters.admit(card) {
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
        let text = if fits { sum } else { 0.0 };
        match self.typos_to(stage, &card.whole) {
            Some(typos) => Some(text + self.name_bonus(typos, &card.facts)),
            None => fits.then_some(text),
        }
    }

    /// The same as a place.
    pub(crate) fn find(&self, stage: Stage, card: &Card) -> Option<Place> {
        let text = self.score(stage, card)?;
        Some(self.place(text, &card.facts, card.order))
    }
}

impl Filters {
    /// The labels that a package must have, and the fields that they stand in.
    pub(crate) fn labels(&self, fields: &Fields) -> [(Field, &[String]); 5] {
        [
            (fields.tags, &self.tags),
            (fields.categories, &self.categories),
            (fields.authors, &self.authors),
            (fields.licenses, &self.licenses),
            (fields.namespace, self.namespace.as_slice()),
        ]
    }

    fn admit(&self, card: &Card) -> bool {
        let all = |own: &Words, wanted: &[String]| wanted.iter().all(|w| own.contains(w));
        all(&card.tags, &self.tags)
            && all(&card.categories, &self.categories)
            && all(&card.authors, &self.authors)
            && all(&card.licenses, &self.licenses)
            && self
                .namespace
                .as_ref()
                .is_none_or(|own| *own == card.namespace)
            && card.facts.downloads >= self.downloads
    }
}

/// How many typos are forgiven in so many letters.
fn typos(chars: usize) -> u8 {
    match chars {
        0..TYPO_CHARS_MIN => 0,
        TYPO_CHARS_MIN..TYPOS_CHARS_MIN => 1,
        _ => 2,
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
            let mut near = Typed::new(word, forgiven, false);
            let typos = card.name.iter().filter_map(|own| near.to(own)).min();
            if typos.is_some_and(|typos| typos <= 1) {
                score += NAME_TYPO;
            }
            if forgiven == 2 && typos.is_some() {
                score += NAME_TYPOS;
            }
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_deprecated_package_and_a_long_name_weigh_less_and_what_many_use_more() {
        let used = |downloads, trusted| Esteem { downloads, trusted };
        let plain = used(0, false);
        assert!(weight(1, 5, true, plain) > weight(2, 5, true, plain));
        assert!(weight(1, 5, true, plain) > weight(1, 6, true, plain));
        assert!(weight(1000, 1000, true, plain) > weight(1, 0, false, plain));
        assert!(weight(1000, 1000, false, plain) > 0);
        assert!(weight(1, 5, true, used(1, false)) > weight(1, 5, true, plain));
        assert!(weight(1, 5, true, used(0, true)) > weight(1, 5, true, used(9, false)));
        let most = weight(1, 0, true, used(u64::MAX, true));
        assert!(factor(most) <= LIFT_MAX);
    }

    #[test]
    fn names_are_ordered_by_their_letters() {
        assert!(name_order("a") < name_order("ab"));
        assert!(name_order("abcdefghi") < name_order("abcdefghj"));
    }
}
