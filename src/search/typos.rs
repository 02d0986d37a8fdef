//! Counts typos between what was typed and what there is, and finds what is near in a sorted set of texts.
//!
//! One typo is a letter replaced, left out, added or swapped with its neighbour. Letters are bytes: names have no
//! others where registries take them.

use fst::raw::{Fst, Node};

/// Longest text that is compared, in bytes.
const TYPED_BYTES_MAX: usize = 512;
/// More typos than anybody forgives.
const MANY: u8 = 100;

/// What was typed, and how the letters read so far compare with it.
#[derive(Debug)]
pub(crate) struct Typed<'a> {
    typed: &'a [u8],
    max: u8,
    /// Whether it is enough that a text begins with something near.
    beginning: bool,
    /// For each number of letters read, the typos to each beginning of `typed`.
    rows: Vec<u8>,
    read: Vec<u8>,
}

impl<'a> Typed<'a> {
    /// Looks for texts at most `max` typos away from `typed`; with `beginning` for those that begin so.
    pub(crate) fn new(typed: &'a str, max: u8, beginning: bool) -> Self {
        let typed = typed.as_bytes();
        let typed = &typed[..typed.len().min(TYPED_BYTES_MAX)];
        Self {
            typed,
            max,
            beginning,
            rows: (0..=typed.len()).map(few).collect(),
            read: Vec::new(),
        }
    }

    /// How many typos a text is away, if not too many.
    pub(crate) fn to(&mut self, text: &str) -> Option<u8> {
        while !self.read.is_empty() {
            self.forget();
        }
        let mut near = None;
        for &letter in text.as_bytes() {
            let goes_on = self.read(letter);
            near = near.or(self.accepted().filter(|_| self.beginning));
            if near.is_some() || !goes_on {
                return near;
            }
        }
        self.accepted()
    }

    /// Takes the next letter in; false if no text can be near that begins so.
    fn read(&mut self, letter: u8) -> bool {
        let width = self.typed.len() + 1;
        let depth = self.read.len();
        let previous = self.read.last().copied();
        self.read.push(letter);
        self.rows.push(few(depth + 1));
        let last = depth * width;
        let row = last + width;
        let mut alive = self.rows[row] <= self.max;
        for (at, &own) in self.typed.iter().enumerate() {
            let replaced = self.rows[last + at] + u8::from(own != letter);
            let mut least = replaced
                .min(self.rows[last + at + 1] + 1)
                .min(self.rows[row + at] + 1);
            if at > 0 && depth > 0 && previous == Some(own) && self.typed[at - 1] == letter {
                least = least.min(self.rows[last - width + at - 1] + 1);
            }
            alive |= least <= self.max;
            self.rows.push(least.min(MANY));
        }
        // A swap reaches two rows back.
        alive || self.rows[last..row].iter().any(|typos| *typos < self.max)
    }

    fn forget(&mut self) {
        self.read.pop();
        self.rows
            .truncate((self.read.len() + 1) * (self.typed.len() + 1));
    }

    fn accepted(&self) -> Option<u8> {
        self.rows.last().copied().filter(|typos| *typos <= self.max)
    }

    /// Gives every near text of a set, with its typos; with `beginning` the shortest beginnings of texts that are
    /// near, whose continuations are all near too.
    pub(crate) fn among(&mut self, texts: &Fst<Vec<u8>>, found: &mut impl FnMut(&[u8], u8)) {
        while !self.read.is_empty() {
            self.forget();
        }
        self.walk(texts, &texts.root(), found);
    }

    fn walk(&mut self, texts: &Fst<Vec<u8>>, node: &Node<'_>, found: &mut impl FnMut(&[u8], u8)) {
        for step in node.transitions() {
            let goes_on = self.read(step.inp);
            let near = self.accepted();
            let next = texts.node(step.addr);
            match near {
                Some(typos) if self.beginning || next.is_final() => found(&self.read, typos),
                _ => {}
            }
            if goes_on && !(self.beginning && near.is_some()) {
                self.walk(texts, &next, found);
            }
            self.forget();
        }
    }
}

fn few(typos: usize) -> u8 {
    typos.min(usize::from(MANY)) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn typos(one: &str, other: &str, max: u8) -> Option<u8> {
        Typed::new(one, max, false).to(other)
    }

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
        assert_eq!([typos(&long, "a", 2), typos("a", &long, 2)], [None; 2]);
    }

    #[test]
    fn a_beginning_may_have_one_typo() {
        let begins = |text: &str, typed: &str| Typed::new(typed, 1, true).to(text).is_some();
        for typed in [
            "serd", "srede", "sede", "seerde", "sarde", "xerde", "serdx", "esrd",
        ] {
            assert!(begins("serdejson", typed), "{typed}");
        }
        for typed in ["srdee", "xxrde", "serdexx", "esrdx", "json"] {
            assert!(!begins("serdejson", typed), "{typed}");
        }
        assert!(begins("ser", "serd"), "the last letter may be too much");
        assert!(!begins("se", "serd"));
    }

    #[test]
    fn a_set_gives_what_is_near_one_by_one() {
        let mut texts: Vec<String> = Vec::new();
        for word in ["serde", "json", "serial", "http"] {
            texts.push(word.to_owned());
            for at in 0..word.len() {
                texts.push(format!("{}{}", &word[..at], &word[at + 1..]));
                texts.push(format!("{}x{}", &word[..at], &word[at..]));
                texts.push(format!("{}yz{}", &word[..at], &word[at + 1..]));
            }
        }
        texts.sort();
        texts.dedup();
        let set = Fst::from_iter_set(&texts).unwrap();
        for typed in ["serde", "srede", "jsno", "x", "htttp"] {
            for max in [1, 2] {
                let mut found = Vec::new();
                let mut near = Typed::new(typed, max, false);
                near.among(&set, &mut |text, typos| {
                    found.push((String::from_utf8(text.to_vec()).unwrap(), typos));
                });
                let each = texts
                    .iter()
                    .filter_map(|text| Some((text.clone(), near.to(text)?)));
                assert_eq!(found, each.collect::<Vec<_>>(), "{typed} {max}");
                let mut beginnings = Vec::new();
                let mut near = Typed::new(typed, max, true);
                near.among(&set, &mut |text, _| beginnings.push(text.to_vec()));
                for text in &texts {
                    let begins = beginnings.iter().any(|b| text.as_bytes().starts_with(b));
                    assert_eq!(begins, near.to(text).is_some(), "{typed} {max} {text}");
                }
            }
        }
    }
}
