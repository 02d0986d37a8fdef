//! Marks what a query found in the name and the description of a hit.

use std::ops::Range;

use ggen_protocols::metadata::PackageMetadata;

use super::Highlights;
use super::rank::{Plan, Stage};
use super::typos::Typed;
use super::words;

/// What of a package the words of a query stand in.
pub(crate) fn of(plan: &Plan, stage: Stage, package: &PackageMetadata) -> Highlights {
    let name = &package.id.name;
    let name = if plan.typos_to(stage, &words::whole(name)).is_some() {
        std::iter::once(0..name.len()).collect()
    } else {
        marked(name, |word| mark(plan, stage, word, true))
    };
    let description = marked(&package.description, |word| mark(plan, stage, word, false));
    Highlights { name, description }
}

/// Where the words of a text stand that are marked so far.
fn marked(text: &str, mark: impl Fn(&str) -> usize) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for (begin, word) in words::places(text) {
        let end = begin + mark(word);
        match all.last_mut() {
            _ if end == begin => {}
            // A part of a word that is marked already, or a word whose first part is.
            Some(last) if begin < last.end => last.end = last.end.max(end),
            _ => all.push(begin..end),
        }
    }
    all
}

/// How many bytes from its beginning on of a word are marked.
fn mark(plan: &Plan, stage: Stage, word: &str, name: bool) -> usize {
    let lower = words::lower(word);
    let mut most = 0;
    for term in &plan.terms {
        let typos = term.typos.min(stage.typos());
        if term.text == lower {
            return word.len();
        }
        if name && term.prefix && lower.starts_with(&term.text) {
            // Other letters may have other lengths as small ones.
            most = most.max(if word.is_ascii() {
                term.text.len()
            } else {
                word.len()
            });
        }
        if name && typos > 0 && Typed::new(&term.text, typos, false).to(&lower).is_some() {
            return word.len();
        }
    }
    most
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::SearchQuery;
    use super::*;
    use ggen_protocols::id::PackageId;

    fn shown(text: &str, stage: Stage, name: &str, description: &str) -> [String; 2] {
        let text = text.to_owned();
        let query = SearchQuery {
            text,
            ..SearchQuery::default()
        };
        let package = PackageMetadata {
            description: description.to_owned(),
            ..PackageMetadata::new(PackageId::new(name, "1.0.0"))
        };
        let marks = of(&Plan::new(&query), stage, &package);
        let show = |text: &str, marks: &[Range<usize>]| {
            let mut shown = text.to_owned();
            for mark in marks.iter().rev() {
                shown.insert(mark.end, ']');
                shown.insert(mark.start, '[');
            }
            shown
        };
        [
            show(name, &marks.name),
            show(description, &marks.description),
        ]
    }

    #[test]
    fn what_was_found_is_marked() {
        let strict = |text: &str, name: &str, description: &str| {
            shown(text, Stage::Strict, name, description)
        };
        assert_eq!(
            strict("json fast", "fast-json", "Reads JSON, not jsonish"),
            ["[fast]-[json]", "Reads [JSON], not jsonish"]
        );
        assert_eq!(
            strict("json par", "openJSONParser", "par"),
            ["open[JSON][Par]ser", "[par]"]
        );
        assert_eq!(
            strict("fastjson", "Fast-Json", "ünï fastjson"),
            ["[Fast-Json]", "ünï [fastjson]"]
        );
        assert_eq!(strict("x", "y", "z"), ["y", "z"]);
        assert_eq!(strict("", "y", "z"), ["y", "z"]);
        let typo = shown("jsno reads", Stage::OneTypo, "my-json", "It reads jsno");
        assert_eq!(typo, ["my-[json]", "It [reads] [jsno]"]);
    }
}
