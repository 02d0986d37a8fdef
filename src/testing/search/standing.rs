//! The promises about packages of unequal standing, and about what a hit tells.

use chrono::{DateTime, Utc};
use ggen_protocols::id::OwnerId;

use super::{entry, fill, found, names, package, text};
use crate::search::Entry;
use crate::search::Esteem;
use crate::search::SearchIndex;
use crate::search::SearchQuery;
use crate::search::Sort;

fn esteemed(name: &str, description: &str, downloads: u64, trusted: bool) -> Entry {
    Entry {
        esteem: Esteem { downloads, trusted },
        ..entry(1, name, description)
    }
}

/// Applies some now and some after a flush: the answer must not depend on it.
async fn apply(index: &impl SearchIndex, mut entries: Vec<Entry>) {
    let later = entries.split_off(entries.len() / 2);
    index.apply(entries, 1).await.unwrap();
    index.flush().await.unwrap();
    index.apply(later, 2).await.unwrap();
}

pub(super) async fn what_many_use_and_the_user_trusts_comes_first(index: &impl SearchIndex) {
    let entries = [
        ("json-a", 0, false),
        ("json-b", 10, false),
        ("json-c", 1_000_000, false),
        ("json-d", 0, true),
    ];
    let entries = entries.map(|(name, downloads, trusted)| esteemed(name, "", downloads, trusted));
    apply(index, entries.to_vec()).await;
    assert_eq!(
        found(index, "json").await,
        ["json-c", "json-d", "json-b", "json-a"]
    );
    assert_eq!(
        index.suggest("js", 3).await.unwrap(),
        ["json-c", "json-b", "json-a"],
        "the most used first"
    );
    let hits = index.search(&text("json")).await.unwrap();
    assert_eq!(hits[0].downloads, 1_000_000);
    index
        .apply(vec![esteemed("json-a", "", 2_000_000, true)], 3)
        .await
        .unwrap();
    assert_eq!(found(index, "json").await[0], "json-a", "it may change");
}

fn published(mut entry: Entry, at: DateTime<Utc>) -> Entry {
    if let Some(shown) = &mut entry.shown {
        shown.published_at = at;
    }
    entry
}

pub(super) async fn an_abandoned_name_stands_behind_what_many_use(index: &impl SearchIndex) {
    let long_ago = DateTime::from_timestamp(1_400_000_000, 0).unwrap();
    let entries = vec![
        published(esteemed("http", "", 0, false), long_ago),
        published(esteemed("zip", "", 1, false), long_ago),
        published(esteemed("json", "", 0, false), Utc::now()),
        esteemed("http-client", "Speaks http", 5_000_000, false),
        esteemed("http-old", "Speaks http", 3, false),
        esteemed("zip-client", "Reads zip", 5_000_000, false),
        esteemed("json-client", "Reads json", 5_000_000, false),
    ];
    apply(index, entries).await;
    assert_eq!(
        found(index, "http").await,
        ["http-client", "http", "http-old"]
    );
    assert_eq!(
        found(index, "zip").await,
        ["zip", "zip-client"],
        "somebody uses it"
    );
    assert_eq!(
        found(index, "json").await,
        ["json", "json-client"],
        "it is new"
    );
}

pub(super) async fn hits_may_be_sorted_by_downloads_and_age(index: &impl SearchIndex) {
    let at = |day: i64| DateTime::from_timestamp(1_700_000_000 + day * 86_400, 0).unwrap();
    let entries = vec![
        published(esteemed("json", "", 5, false), at(1)),
        published(esteemed("a-json", "", 50, false), at(3)),
        published(esteemed("b-json", "", 5, false), at(2)),
        published(esteemed("other", "json", 500, false), at(0)),
    ];
    apply(index, entries).await;
    let sorted = |sort| SearchQuery {
        sort,
        ..text("json")
    };
    let by_downloads = ["other", "a-json", "b-json", "json"];
    assert_eq!(names(index, &sorted(Sort::Downloads)).await, by_downloads);
    let by_age = ["a-json", "b-json", "json", "other"];
    assert_eq!(names(index, &sorted(Sort::Newest)).await, by_age);
    let second = SearchQuery {
        offset: 1,
        limit: 2,
        ..sorted(Sort::Newest)
    };
    assert_eq!(names(index, &second).await, by_age[1..3]);
    let everything = SearchQuery {
        sort: Sort::Downloads,
        ..SearchQuery::default()
    };
    assert_eq!(names(index, &everything).await, by_downloads);
}

pub(super) async fn filters_bind_people_and_numbers(index: &impl SearchIndex) {
    let made = |name: &str, author: &str, license: &str, downloads: u64| {
        let mut entry = esteemed(name, "thing", downloads, false);
        if let Some(shown) = &mut entry.shown {
            shown.authors = vec![author.to_owned()];
            shown.license = license.to_owned();
        }
        entry
    };
    let mut entries = vec![
        made(
            "one",
            "Alice Miller <alice@example.com>",
            "MIT OR Apache-2.0",
            5,
        ),
        made("two", "Bob Miller", "MIT", 50),
    ];
    let mut three = entry(7, "three", "thing");
    if let Some(shown) = &mut three.shown {
        shown.license = "(Apache-2.0 WITH LLVM-exception) AND BSD-3-Clause".to_owned();
    }
    entries.push(three);
    apply(index, entries).await;
    let some = |text: &str| Some(text.to_owned());
    let thing = || SearchQuery {
        sort: Sort::Name,
        ..text("thing")
    };
    let other = OwnerId::from_bytes([7; 32]).to_string();
    for (query, expected) in [
        (
            SearchQuery {
                author: some("miller"),
                ..thing()
            },
            vec!["one", "two"],
        ),
        (
            SearchQuery {
                author: some("Miller, ALICE"),
                ..thing()
            },
            vec!["one"],
        ),
        (
            SearchQuery {
                author: some("mill"),
                ..thing()
            },
            vec![],
        ),
        (
            SearchQuery {
                license: some("mit"),
                ..thing()
            },
            vec!["one", "two"],
        ),
        (
            SearchQuery {
                license: some("Apache-2.0"),
                ..thing()
            },
            vec!["one", "three"],
        ),
        (
            SearchQuery {
                license: some("MIT or apache-2.0"),
                ..thing()
            },
            vec!["one"],
        ),
        (
            SearchQuery {
                license: some("apache"),
                ..thing()
            },
            vec![],
        ),
        (
            SearchQuery {
                namespace: Some(other.clone()),
                ..thing()
            },
            vec!["three"],
        ),
        (
            SearchQuery {
                namespace: some("nobody"),
                ..thing()
            },
            vec![],
        ),
        (
            SearchQuery {
                min_downloads: Some(6),
                ..thing()
            },
            vec!["two"],
        ),
        (
            SearchQuery {
                min_downloads: Some(5),
                ..thing()
            },
            vec!["one", "two"],
        ),
        (
            SearchQuery {
                min_downloads: Some(0),
                ..thing()
            },
            vec!["one", "three", "two"],
        ),
        (
            SearchQuery {
                min_downloads: Some(6),
                ..text("one")
            },
            vec![],
        ),
        (
            SearchQuery {
                namespace: Some(other),
                ..SearchQuery::default()
            },
            vec!["three"],
        ),
    ] {
        assert_eq!(names(index, &query).await, expected, "{query:?}");
        let total = index.facets(&query).await.unwrap().total;
        assert_eq!(total, expected.len() as u64, "{query:?}");
    }
}

pub(super) async fn copies_are_one_hit(index: &impl SearchIndex) {
    let words = "Reads and writes json values quickly";
    let mut entries: Vec<_> = (0..5).map(|owner| entry(owner, "copied", words)).collect();
    entries[3].esteem.downloads = 9;
    entries.push(entry(6, "copied", "Something else entirely, by chance"));
    entries.push(entry(1, "copied-not", words));
    apply(index, entries).await;
    let page = index.search_page(&text("json")).await.unwrap();
    let hits = |page: &crate::search::SearchPage| {
        let hits = page.hits.iter();
        let hits = hits.map(|hit| (hit.package.id.name.clone(), hit.downloads, hit.copies));
        hits.collect::<Vec<_>>()
    };
    let expected = [("copied".to_owned(), 9, 4), ("copied-not".to_owned(), 0, 0)];
    assert_eq!((page.total, hits(&page)), (6, expected.to_vec()));
    let second = SearchQuery {
        offset: 1,
        ..text("json")
    };
    let page = index.search_page(&second).await.unwrap();
    assert_eq!(hits(&page), expected[1..]);
    assert_eq!(
        found(index, "copied").await.len(),
        3,
        "what says something else is no copy"
    );
}

pub(super) async fn what_was_found_is_highlighted(index: &impl SearchIndex) {
    fill(index, &[package("fast-json", &[], "Reads JSON — and yaml")]).await;
    let hits = index.search(&text("json yaml")).await.unwrap();
    let package = &hits[0].package;
    let marked = |text: &str, marks: &[std::ops::Range<usize>]| {
        let marks = marks.iter();
        marks
            .map(|mark| text[mark.clone()].to_owned())
            .collect::<Vec<_>>()
    };
    let highlights = &hits[0].highlights;
    assert_eq!(marked(&package.id.name, &highlights.name), ["json"]);
    assert_eq!(
        marked(&package.description, &highlights.description),
        ["JSON", "yaml"]
    );
    let hits = index.search(&text("fats-json")).await.unwrap();
    assert_eq!(
        hits[0].highlights.name,
        vec![0..9],
        "a name with a typo, as a whole"
    );
}

pub(super) async fn where_nothing_is_found_names_are_told(index: &impl SearchIndex) {
    let entries = [
        ("tokio", 1),
        ("tonic", 5),
        ("log", 1),
        ("lag", 2),
        ("serde", 1),
    ];
    let entries = entries.map(|(name, downloads)| esteemed(name, "", downloads, false));
    apply(index, entries.to_vec()).await;
    for (query, expected) in [
        ("lgo", vec!["log"]),
        ("lxg", vec!["lag", "log"]),
        ("tknoic", vec!["tonic"]),
        ("xxxde", vec![]),
        ("", vec![]),
    ] {
        let page = index.search_page(&text(query)).await.unwrap();
        assert_eq!(page.did_you_mean, expected, "{query}");
        assert!(query.is_empty() || page.total == 0, "{query}");
    }
    let page = index.search_page(&text("tokoi")).await.unwrap();
    assert!(
        page.total == 1 && page.did_you_mean.is_empty(),
        "what was found needs no question"
    );
}
