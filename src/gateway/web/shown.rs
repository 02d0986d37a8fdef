//! How facts look on a page: sizes, times, addresses, and the mark by which the eye knows an owner again.

use chrono::{DateTime, Utc};
use url::{Url, form_urlencoded};

/// Cells on each side of an owner's mark.
const MARK_CELLS: usize = 5;
/// Colours of marks, which the style sheet knows as `hue0` and so on. The script draws the same marks.
const HUES: u32 = 6;

/// A number of bytes in the unit that fits.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "B" => format!("{count} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A number with a noun.
pub(super) fn count(number: u64, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {several}", grouped(number)),
    }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => count(seconds, "second", "seconds"),
        60..3600 => count(seconds / 60, "minute", "minutes"),
        3600..172_800 => count(seconds / 3600, "hour", "hours"),
        _ => count(seconds / 86_400, "day", "days"),
    }
}

/// A moment, for readers and for programs.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) day: String,
    pub(super) exact: String,
}

impl From<DateTime<Utc>> for Moment {
    fn from(time: DateTime<Utc>) -> Self {
        Self {
            day: time.format("%Y-%m-%d").to_string(),
            exact: time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }
}

/// An address on the web that a publisher gave. Never fetched.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) what: &'static str,
    pub(super) href: String,
    /// Where it really leads.
    pub(super) host: String,
}

impl Link {
    /// Nothing for what is no plain web address.
    pub(super) fn new(what: &'static str, url: Option<&Url>) -> Option<Self> {
        let url = url?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| plain)?.to_owned();
        Some(Self {
            what,
            href: url.as_str().to_owned(),
            host,
        })
    }
}

/// Where a search for some words is.
pub(super) fn search(words: &str) -> String {
    let words: String = form_urlencoded::byte_serialize(words.as_bytes()).collect();
    format!("/search?q={words}")
}

/// The first characters of a text, and whether there are more.
pub(super) fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

/// The middle part of an id left out.
pub(super) fn short(id: &str) -> String {
    let chars: Vec<char> = id.chars().collect();
    if chars.len() <= 16 {
        return id.to_owned();
    }
    let (head, tail) = (&chars[..9], &chars[chars.len() - 4..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

/// A small symmetric drawing that differs between ids: one that looks the same is not the same for sure, but one
/// that looks different is not the one known from before.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) hue: u32,
    /// The filled cells, as the path of a drawing of five by five.
    pub(super) path: String,
}

impl Mark {
    pub(super) fn of(id: &str) -> Self {
        let values = id.chars().skip(3).map(u32::from);
        let mut values = values.cycle().take(64);
        let hue = values.by_ref().take(4).sum::<u32>() % HUES;
        let mut path = String::new();
        for column in 0..MARK_CELLS.div_ceil(2) {
            for row in 0..MARK_CELLS {
                if values.next().unwrap_or_default() % 2 == 1 {
                    continue;
                }
                path.push_str(&format!("M{column} {row}h1v1h-1z"));
                let mirrored = MARK_CELLS - 1 - column;
                if mirrored != column {
                    path.push_str(&format!("M{mirrored} {row}h1v1h-1z"));
                }
            }
        }
        Self { hue, path }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(1, "peer", "peers"), "1 peer");
        assert_eq!(duration(7200), "2 hours");
    }

    #[test]
    fn only_plain_web_addresses_become_links() {
        let link = |text: &str| Link::new("x", Some(&text.parse().unwrap()));
        assert_eq!(link("https://a.example/x").unwrap().host, "a.example");
        for other in [
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://a/",
            "file:///etc/passwd",
            "https://bank.example@evil.example/",
        ] {
            assert!(link(other).is_none(), "{other}");
        }
    }

    #[test]
    fn words_stay_words_in_an_address() {
        assert_eq!(
            search("a&page=9 é\"<"),
            "/search?q=a%26page%3D9+%C3%A9%22%3C"
        );
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("äöü", 2), "äö…");
        assert_eq!(clip("äö", 2), "äö");
        assert_eq!(short("ns1abcdefghijklmnopqrstuvwxyz"), "ns1abcdef…wxyz");
    }

    #[test]
    fn different_owners_have_different_marks() {
        let (one, other) = (
            "ns1qpzry9x8gf2tvdw0s3jn54khce6mua7l",
            "ns1abcdefgh234567zyx",
        );
        assert_ne!(Mark::of(one).path, Mark::of(other).path);
        assert_eq!(Mark::of("").hue, 0);
    }
}
