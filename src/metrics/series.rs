//! Names of metrics and labels, brought into the grammar of Prometheus' text form and within bounds.
//!
//! Grammar: <https://prometheus.io/docs/concepts/data_model/>. Colons are left to whoever writes recording rules.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use super::Kind;

/// Longest name of a metric, in bytes.
const NAME_BYTES_MAX: usize = 96;
/// Longest name of a label, in bytes.
const LABEL_BYTES_MAX: usize = 48;
/// Longest value of a label, in bytes.
const VALUE_BYTES_MAX: usize = 128;
/// Labels of one series; more are left out.
const LABELS_MAX: usize = 8;

/// Names that the format gives a meaning.
const RESERVED: &[&str] = &["le", "quantile"];

/// The name of a metric: a letter or `_`, then letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name that a metric of this kind gets: other characters become `_`, a counter ends in `_total`.
    pub fn of(kind: Kind, raw: &str) -> Self {
        match kind {
            Kind::Counter => Self::ending(raw, "_total"),
            Kind::Gauge | Kind::Histogram => Self::ending(raw, ""),
        }
    }

    /// The name of the distribution of seconds that an operation takes.
    pub fn of_timing(operation: &str) -> Self {
        Self::ending(operation, "_seconds")
    }

    fn ending(raw: &str, end: &str) -> Self {
        let raw = raw.strip_suffix(end).unwrap_or(raw);
        Self(word(raw, NAME_BYTES_MAX - end.len()) + end)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// ASCII letters, digits and `_` for what is something else, no digit first, and nothing that begins with `__`.
fn word(raw: &str, bytes_max: usize) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut word: String = raw.chars().map(fit).take(bytes_max - 1).collect();
    if word.starts_with("__") {
        word = format!("_{}", word.trim_start_matches('_'));
    }
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
        word.insert(0, '_');
    }
    word
}

/// The labels of one series, in order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Labels as they are given: at most eight; names as those of metrics, and those with a meaning of their own
    /// end in `_`; values cut after 128 bytes, control characters but the end of line replaced; without those that
    /// have no value, which mean the same as none.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let mut labels = BTreeMap::new();
        for (name, value) in pairs {
            if labels.len() == LABELS_MAX {
                break;
            }
            let mut name = word(name, LABEL_BYTES_MAX);
            if RESERVED.contains(&name.as_str()) {
                name.push('_');
            }
            let value = shown(&value[..value.floor_char_boundary(VALUE_BYTES_MAX)]);
            if let (btree_map::Entry::Vacant(free), false) = (labels.entry(name), value.is_empty())
            {
                free.insert(value);
            }
        }
        Self(labels)
    }

    /// The labels of the series that takes everything beyond the bound.
    pub fn other() -> Self {
        Self::of(&[("series", "other")])
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Writes them as the text form does, with one more at the end; nothing if there are none.
    pub(super) fn write(
        &self,
        text: &mut impl fmt::Write,
        last: Option<(&str, &str)>,
    ) -> fmt::Result {
        let mut before = '{';
        for (name, value) in self.iter().chain(last) {
            write!(text, "{before}{name}=\"")?;
            escape(text, value, true)?;
            text.write_char('"')?;
            before = ',';
        }
        if before == ',' {
            text.write_char('}')?;
        }
        Ok(())
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

/// A page is read in terminals too: no control characters.
fn shown(value: &str) -> String {
    let fit = |c: char| match c {
        '\n' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    value.chars().map(fit).collect()
}

/// Writes a label's value, or a help text where quotes need no escape.
pub(super) fn escape(text: &mut impl fmt::Write, value: &str, quoted: bool) -> fmt::Result {
    for c in value.chars() {
        match c {
            '\\' => text.write_str("\\\\")?,
            '\n' => text.write_str("\\n")?,
            '"' if quoted => text.write_str("\\\"")?,
            c => text.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_into_the_grammar() {
        for (raw, fit) in [
            ("packages_published", "packages_published"),
            ("http.requests-ok", "http_requests_ok"),
            ("", "_"),
            ("9lives", "_9lives"),
            ("__name__", "_name__"),
            ("größe", "gr__e"),
            ("a:b", "a_b"),
        ] {
            assert_eq!(Name::of(Kind::Gauge, raw).as_str(), fit, "{raw:?}");
        }
        assert_eq!(Name::of(Kind::Counter, "a").as_str(), "a_total");
        assert_eq!(Name::of(Kind::Counter, "a_total").as_str(), "a_total");
        assert_eq!(Name::of_timing("a").as_str(), "a_seconds");
        let long = Name::of(Kind::Counter, &"x".repeat(1000));
        assert!(long.as_str().len() <= NAME_BYTES_MAX);
        assert!(long.as_str().ends_with("x_total"));
    }

    #[test]
    fn labels_are_a_bounded_set() {
        let one = Labels::of(&[("a", "1"), ("b", "2"), ("a", "3"), ("none", "")]);
        assert_eq!(one, Labels::of(&[("b", "2"), ("a", "1")]));
        assert_eq!(one.to_string(), r#"{a="1",b="2"}"#);
        assert_eq!(Labels::of(&[("le", "1")]).to_string(), r#"{le_="1"}"#);
        let hostile = Labels::of(&[("a", "x\"} 1\n# \\ \x1b[2J")]);
        let text = hostile.to_string();
        assert_eq!(text, "{a=\"x\\\"} 1\\n# \\\\ \u{fffd}[2J\"}");
        let many: Vec<_> = (0..100).map(|at| format!("l{at}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(Labels::of(&many).iter().count(), LABELS_MAX);
        let long = Labels::of(&[("a", &"ä".repeat(1000))]);
        assert!(long.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX));
    }
}
