//! Cuts what describes a package to what a record can carry, the same way on every node.

use ggen_protocols::limits;
use ggen_protocols::record::misleads;
use unicode_normalization::UnicodeNormalization as _;
use url::Url;

/// The start of a text that fits, composed (NFC), without characters that mislead and without space around it.
pub(super) fn text(raw: &str, bytes_max: usize) -> String {
    let plain = raw.chars().filter(|c| !misleads(*c));
    // Composing can bring no such character back, and the start of a composed text is composed.
    let composed: String = plain.nfc().collect();
    let composed = composed.trim();
    let end = composed.floor_char_boundary(bytes_max);
    composed[..end].trim_end().to_owned()
}

/// The people that fit; those without a name are nobody.
pub(super) fn authors(raw: Vec<String>) -> Vec<String> {
    let cleaned = raw
        .iter()
        .map(|author| text(author, limits::AUTHOR_BYTES_MAX));
    cleaned
        .filter(|author| !author.is_empty())
        .take(limits::AUTHORS_MAX)
        .collect()
}

/// A licence expression as a whole, or nothing: a part of one would say something else.
pub(super) fn license(raw: &str) -> String {
    let license = text(raw, usize::MAX);
    if license.len() > limits::LICENSE_BYTES_MAX {
        return String::new();
    }
    license
}

/// An address that a browser may be sent to, or nothing.
pub(super) fn url(raw: &str) -> Option<Url> {
    let url: Url = raw.parse().ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    (web && url.as_str().len() <= limits::URL_BYTES_MAX).then_some(url)
}

/// The first words that are words.
pub(super) fn words(raw: Vec<String>, count_max: usize, bytes_max: usize) -> Vec<String> {
    let is_word = |word: &String| {
        (1..=bytes_max).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic())
    };
    raw.into_iter().filter(is_word).take(count_max).collect()
}
