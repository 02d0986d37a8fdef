//! Cuts text into the words that are indexed and looked for. The same rules for packages and for queries.

/// Characters of a query that count.
pub(crate) const QUERY_CHARS_MAX: usize = 256;
/// Words of a query that count.
pub(crate) const QUERY_WORDS_MAX: usize = 16;
/// Characters of a word that count: longer ones are hashes and data, not words.
const WORD_CHARS_MAX: usize = 48;
/// Letters of the beginnings of words that are looked for, from and to.
pub(crate) const BEGINNING_CHARS_MIN: usize = 2;
pub(crate) const BEGINNING_CHARS_MAX: usize = 8;
/// Words of one field of one package that count; a description of the longest allowed kind has fewer.
const FIELD_WORDS_MAX: usize = 256;
/// Characters of a name that count when it is compared as a whole.
const WHOLE_CHARS_MAX: usize = 128;

/// Words that tell nothing in a description.
const STOP_WORDS: &[&str] = &[
    "a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "that",
    "the", "this", "to", "with",
];

/// A set of words: sorted, none twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(Vec<Box<str>>);

impl Words {
    fn of(words: impl Iterator<Item = String>) -> Self {
        let words = words.filter(|word| !word.is_empty()).take(FIELD_WORDS_MAX);
        let mut words: Vec<_> = words.map(String::into_boxed_str).collect();
        words.sort_unstable();
        words.dedup();
        Self(words)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    pub(crate) fn contains(&self, word: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(word)).is_ok()
    }

    /// What words of the set begin with, up to `BEGINNING_CHARS_MAX` letters; each once.
    pub(crate) fn beginnings(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for word in self.iter() {
            let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
            let ends = ends.take(BEGINNING_CHARS_MAX).skip(BEGINNING_CHARS_MIN - 1);
            all.extend(ends.map(|end| &word[..end]));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(crate) fn contains_prefix(&self, prefix: &str) -> bool {
        let at = self.0.partition_point(|own| &**own < prefix);
        self.0.get(at).is_some_and(|own| own.starts_with(prefix))
    }
}

/// The words of a name: its parts at marks and at capitals, the runs between marks, and all of it joined.
pub(crate) fn of_name(name: &str) -> Words {
    let parts = runs(name).flat_map(|run| {
        let whole = lower(run);
        capitals(run).map(lower).chain([whole]).collect::<Vec<_>>()
    });
    Words::of(parts.chain([lower(&runs(name).collect::<String>())]))
}

/// How many parts a name has.
pub(crate) fn parts_of_name(name: &str) -> usize {
    runs(name).map(|run| capitals(run).count()).sum()
}

/// The words of keywords, each cut like a name.
pub(crate) fn of_keywords(keywords: &[String]) -> Words {
    let all = keywords.iter().flat_map(|keyword| of_name(keyword).0);
    Words::of(all.map(String::from))
}

/// The words of a description that tell something.
pub(crate) fn of_description(text: &str) -> Words {
    let all = runs(text).flat_map(|run| {
        let parts = capitals(run)
            .map(lower)
            .filter(|part| part.chars().nth(1).is_some());
        parts.chain([lower(run)]).collect::<Vec<_>>()
    });
    Words::of(all.filter(|word| !is_stop_word(word)))
}

/// Labels that are compared as a whole and without case.
pub(crate) fn of_labels(labels: &[String]) -> Words {
    Words::of(labels.iter().map(|label| label_of(label)))
}

/// The words of authors' names and addresses.
pub(crate) fn of_authors(authors: &[String]) -> Words {
    Words::of(authors.iter().flat_map(|author| runs(author).map(lower)))
}

/// A licence expression and each licence in it.
pub(crate) fn of_license(expression: &str) -> Words {
    let parts = expression.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '/'));
    let parts = parts.map(label_of);
    let parts = parts.filter(|part| !matches!(part.as_str(), "and" | "or" | "with"));
    Words::of(parts.chain([label_of(expression)]))
}

/// The part of a name that is suggested: all of it where registries take it.
pub(crate) fn spelled(name: &str) -> &str {
    cut(name, WHOLE_CHARS_MAX)
}

/// A label as it is compared.
pub(crate) fn label_of(label: &str) -> String {
    label
        .trim()
        .chars()
        .take(WHOLE_CHARS_MAX)
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a query, in order, none twice. Stop words count only if there is nothing else.
pub(crate) fn of_query(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let cut = cut(text, QUERY_CHARS_MAX);
    for word in runs(cut).map(lower) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.iter().any(|word| !is_stop_word(word)) {
        words.retain(|word| !is_stop_word(word));
    }
    words.truncate(QUERY_WORDS_MAX);
    words
}

/// A text without case, spaces and the marks that names are joined with: equal for `web-framework`,
/// `Web_Framework` and `web framework`.
pub(crate) fn whole(text: &str) -> String {
    let kept = cut(text, QUERY_CHARS_MAX).chars().filter(|c| !is_joint(*c));
    kept.flat_map(char::to_lowercase)
        .take(WHOLE_CHARS_MAX)
        .collect()
}

fn is_joint(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '-' | '_' | '.' | '/')
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

fn cut(text: &str, chars: usize) -> &str {
    text.char_indices()
        .nth(chars)
        .map_or(text, |(end, _)| &text[..end])
}

pub(crate) fn lower(word: &str) -> String {
    cut(word, WORD_CHARS_MAX)
        .chars()
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a text, whole ones before their parts, and where each begins.
pub(crate) fn places(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut places = Vec::new();
    let mut begin = 0;
    for run in text.split(|c: char| !c.is_alphanumeric()) {
        let mut part_begin = begin;
        if capitals(run).nth(1).is_some() {
            places.push((begin, run));
        }
        for part in capitals(run) {
            places.push((part_begin, part));
            part_begin += part.len();
        }
        let mark = text[begin + run.len()..].chars().next();
        begin += run.len() + mark.map_or(0, char::len_utf8);
    }
    places.into_iter()
}

/// The longest stretches of letters and digits.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|run| !run.is_empty())
}

/// Cuts `JSONParser` and `jsonParser` after `JSON` and `json`.
fn capitals(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = run;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, after) = rest.split_at(capital_after_start(rest));
        rest = after;
        Some(part)
    })
}

/// Where the second part of a run begins; its length if it has one part.
fn capital_after_start(run: &str) -> usize {
    let mut chars = run.char_indices().peekable();
    let mut before = chars.next().map(|(_, c)| c);
    while let Some((at, c)) = chars.next() {
        let after_small = before.is_some_and(|b| !b.is_uppercase());
        let before_small = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            return at;
        }
        before = Some(c);
    }
    run.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<String> {
        of_name(text).iter().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_cut_at_marks_and_capitals_and_joined() {
        assert_eq!(name("tokio-util"), ["tokio", "tokioutil", "util"]);
        assert_eq!(
            name("JSONParser_x"),
            ["json", "jsonparser", "jsonparserx", "parser", "x"]
        );
        assert_eq!(name("openSSL"), ["open", "openssl", "ssl"]);
        assert_eq!(name("SHA256sum"), ["sha256sum"]);
        assert!(name("++").is_empty());
        assert_eq!(parts_of_name("JSONParser_x"), 3);
    }

    #[test]
    fn a_query_is_words_whatever_marks_stand_in_it() {
        assert_eq!(
            of_query("(name:*foo*~2 OR \"Bar\")^8"),
            ["name", "foo", "2", "bar", "8"]
        );
        assert_eq!(of_query("the web for web"), ["web"]);
        assert_eq!(of_query("the"), ["the"]);
        assert_eq!(of_query("\u{0}\u{1b}[2J"), ["2j"]);
        assert_eq!(of_query(&"x ".repeat(5000)), ["x"]);
        let many: String = (0..100).map(|i| format!("w{i} ")).collect();
        assert_eq!(of_query(&many).len(), QUERY_WORDS_MAX);
    }

    #[test]
    fn whole_names_are_equal_however_they_are_joined() {
        for text in [
            "web-framework",
            "Web_Framework",
            "web framework",
            "webframework",
            "web.frame/work",
        ] {
            assert_eq!(whole(text), "webframework");
        }
        assert_ne!(whole("g++"), whole("g"));
    }

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }
}
