//! The contract of `SearchEngine` and `SearchIndex`, and an index in memory that keeps it.
// A suite reports by panicking, like every test.
#![allow(clippy::unwrap_used)]

mod discovery;
mod hostile;
mod memory;
mod standing;

use ggen_protocols::id::{OwnerId, PackageId};
use ggen_protocols::metadata::PackageMetadata;

use crate::search::Entry;
use crate::search::Esteem;
use crate::search::SearchEngine;
use crate::search::SearchEngineExt;
use crate::search::SearchIndex;
use crate::search::SearchPage;
use crate::search::SearchQuery;

pub use memory::MemorySearchEngine;

/// Checks every promise of the traits on empty indexes that `make` gives.
///
/// # Panics
/// With the promise that is broken.
pub async fn suite<I: SearchIndex>(make: impl AsyncFn() -> I) {
    an_empty_index_finds_nothing(&make().await).await;
    what_is_indexed_is_found_at_once(&make().await).await;
    a_package_has_one_entry(&make().await).await;
    owners_have_entries_of_their_own(&make().await).await;
    the_exact_name_comes_first(&make().await).await;
    names_count_more_than_descriptions(&make().await).await;
    the_last_word_may_be_unfinished(&make().await).await;
    typos_in_names_are_forgiven(&make().await).await;
    every_word_counts_unless_nothing_has_them_all(&make().await).await;
    filters_leave_out(&make().await).await;
    pages_continue_each_other(&make().await).await;
    hostile::no_text_makes_a_search_fail(&make().await).await;
    hostile::no_package_makes_indexing_fail(&make().await).await;
    applied_entries_stand_at_their_position(&make().await).await;
    the_order_is_the_same_before_and_after_a_flush(&make().await).await;
    a_rebuild_replaces_everything(&make().await).await;
    discovery::names_are_suggested_by_their_beginnings(&make().await).await;
    discovery::suggestions_forgive_one_typo_after_all_others(&make().await).await;
    discovery::a_name_of_many_owners_is_suggested_once(&make().await).await;
    discovery::facets_count_what_is_found(&make().await).await;
    discovery::facets_have_bounds(&make().await).await;
    discovery::similar_packages_share_words(&make().await).await;
    discovery::hits_may_be_sorted_by_name(&make().await).await;
    standing::what_many_use_and_the_user_trusts_comes_first(&make().await).await;
    standing::an_abandoned_name_stands_behind_what_many_use(&make().await).await;
    standing::hits_may_be_sorted_by_downloads_and_age(&make().await).await;
    standing::filters_bind_people_and_numbers(&make().await).await;
    standing::copies_are_one_hit(&make().await).await;
    standing::what_was_found_is_highlighted(&make().await).await;
    standing::where_nothing_is_found_names_are_told(&make().await).await;
}

/// A package of nobody in particular.
fn package(name: &str, keywords: &[&str], description: &str) -> PackageMetadata {
    PackageMetadata {
        keywords: keywords.iter().map(|&word| word.to_owned()).collect(),
        description: description.to_owned(),
        ..PackageMetadata::new(PackageId::new(name, "1.0.0"))
    }
}

fn entry(owner: u8, name: &str, description: &str) -> Entry {
    let owner = OwnerId::from_bytes([owner; 32]);
    let mut shown = package(name, &[], description);
    shown.id.namespace = Some(owner.to_string());
    let name = name.parse().expect("a valid name");
    Entry {
        owner,
        name,
        shown: Some(shown),
        esteem: Esteem::default(),
    }
}

fn text(text: &str) -> SearchQuery {
    SearchQuery {
        text: text.to_owned(),
        ..SearchQuery::default()
    }
}

async fn names(index: &impl SearchEngine, query: &SearchQuery) -> Vec<String> {
    let hits = index.search(query).await.expect("a search");
    hits.into_iter().map(|hit| hit.package.id.name).collect()
}

async fn found(index: &impl SearchEngine, query: &str) -> Vec<String> {
    names(index, &text(query)).await
}

async fn fill(index: &impl SearchEngine, packages: &[PackageMetadata]) {
    for package in packages {
        index.index(package).await.expect("indexing");
    }
}

async fn an_empty_index_finds_nothing(index: &impl SearchIndex) {
    assert_eq!(
        index.position().await.unwrap(),
        0,
        "an empty index stands at 0"
    );
    for query in ["", "anything", "two words"] {
        let page = index.search_page(&text(query)).await.unwrap();
        assert_eq!(page, SearchPage::default(), "{query}");
    }
    assert_eq!(index.stats().await.unwrap().documents, 0);
    index
        .remove(&PackageId::new("nothing", "1.0.0"))
        .await
        .unwrap();
}

async fn what_is_indexed_is_found_at_once(index: &impl SearchIndex) {
    let mut full = package(
        "Web_Framework",
        &["Http", "async-io"],
        "Builds servers quickly, ünïcode too",
    );
    full.authors = vec!["alice@example.com".to_owned()];
    full.license = "MIT".to_owned();
    full.repository = "https://example.com/x".parse().ok();
    full.categories = vec!["network".to_owned()];
    full.deprecated = Some("old".to_owned());
    full.id.namespace = Some("acme".to_owned());
    index.index(&full).await.unwrap();
    for query in [
        "web",
        "framework",
        "http",
        "ASYNC",
        "async-io",
        "Servers",
        "ÜNÏCODE",
        "web quickly",
    ] {
        let hits = index.search(&text(query)).await.unwrap();
        assert_eq!(hits.len(), 1, "{query}");
        assert_eq!(
            hits[0].package, full,
            "{query} shows everything that is shown"
        );
        assert!(hits[0].score > 0.0, "{query}");
    }
    for query in ["alice", "mit", "acme", "nowhere"] {
        assert!(found(index, query).await.is_empty(), "{query}");
    }
}

async fn a_package_has_one_entry(index: &impl SearchIndex) {
    index
        .index(&package("foo_bar", &[], "first"))
        .await
        .unwrap();
    index
        .index(&package("Foo-Bar", &[], "second"))
        .await
        .unwrap();
    assert_eq!(
        found(index, "foo").await,
        ["Foo-Bar"],
        "spellings of one name are one package"
    );
    assert!(
        found(index, "first").await.is_empty(),
        "what was replaced is not found"
    );
    index
        .update(&package("foo-bar", &[], "third"))
        .await
        .unwrap();
    index.flush().await.unwrap();
    index
        .update(&package("foo-bar", &[], "fourth"))
        .await
        .unwrap();
    assert!(
        found(index, "third").await.is_empty(),
        "a durable entry is replaced at once"
    );
    let page = index.search_page(&text("fourth")).await.unwrap();
    assert_eq!((page.total, page.hits.len()), (1, 1));
    assert_eq!(index.stats().await.unwrap().documents, 1);
    index
        .remove(&PackageId::new("FOO_bar", "9.9.9"))
        .await
        .unwrap();
    assert!(
        found(index, "").await.is_empty(),
        "a durable entry is removed at once"
    );
    index.flush().await.unwrap();
    assert!(found(index, "").await.is_empty());
    assert_eq!(index.stats().await.unwrap().documents, 0);
}

async fn owners_have_entries_of_their_own(index: &impl SearchIndex) {
    let of = |namespace: &str| {
        let mut package = package("http", &[], "");
        package.id.namespace = Some(namespace.to_owned());
        package
    };
    fill(index, &[of("acme"), of("other"), package("http", &[], "")]).await;
    assert_eq!(found(index, "http").await.len(), 3);
    index.remove(&of("acme").id).await.unwrap();
    let left = index.search(&text("http")).await.unwrap();
    let mut left: Vec<_> = left
        .into_iter()
        .map(|hit| hit.package.id.namespace)
        .collect();
    left.sort();
    assert_eq!(left, [None, Some("other".to_owned())]);
}

async fn the_exact_name_comes_first(index: &impl SearchIndex) {
    let mut old = package("web-framework", &[], "");
    old.deprecated = Some("use another".to_owned());
    fill(
        index,
        &[
            package(
                "web-framework-web",
                &["web", "framework"],
                "web framework web framework",
            ),
            package("framework", &["web", "framework"], "The web framework"),
            old,
            package("g", &["g++"], "g g++"),
            package("g++", &[], ""),
        ],
    )
    .await;
    for query in [
        "web-framework",
        "web framework",
        "Web_Framework",
        "webframework",
        " web/framework ",
    ] {
        assert_eq!(found(index, query).await[0], "web-framework", "{query}");
    }
    assert_eq!(found(index, "g++").await[0], "g++");
    assert_eq!(found(index, "g").await[0], "g");
}

async fn names_count_more_than_descriptions(index: &impl SearchIndex) {
    let mut old = package("json-old", &[], "");
    old.deprecated = Some("use json-new".to_owned());
    fill(
        index,
        &[
            package("aaa", &[], "json json json json"),
            package("bbb", &["json"], ""),
            package("openJSONFile", &[], ""),
            package("fast-json", &[], ""),
            old,
        ],
    )
    .await;
    assert_eq!(
        found(index, "json").await,
        ["fast-json", "openJSONFile", "bbb", "aaa", "json-old"]
    );
}

async fn the_last_word_may_be_unfinished(index: &impl SearchIndex) {
    let packages = ["tokio", "tokio-util", "serde-json"].map(|name| package(name, &[], "thing"));
    fill(index, &packages).await;
    assert_eq!(found(index, "tok").await, ["tokio", "tokio-util"]);
    assert_eq!(found(index, "serde js").await, ["serde-json"]);
    assert_eq!(found(index, "thing ser").await, ["serde-json"]);
}

async fn typos_in_names_are_forgiven(index: &impl SearchIndex) {
    let packages = ["tokio", "reqwest", "log", "serialise-it"].map(|name| package(name, &[], ""));
    fill(index, &packages).await;
    for (query, name) in [
        ("tokoi", "tokio"),
        ("okio", "tokio"),
        ("tokiio", "tokio"),
        ("xokio", "tokio"),
        ("requwest", "reqwest"),
        ("rqewest", "reqwest"),
        ("sreialize", "serialise-it"),
        ("seriaise it", "serialise-it"),
    ] {
        assert_eq!(found(index, query).await, [name], "{query}");
    }
    for query in ["lgo", "xxkio", "rqewset", "serxxxise"] {
        assert!(found(index, query).await.is_empty(), "{query}");
    }
}

async fn every_word_counts_unless_nothing_has_them_all(index: &impl SearchIndex) {
    fill(
        index,
        &[
            package("alpha", &["red"], "An oak in the wood"),
            package("beta", &["red"], "A birch"),
            package("gamma", &[], "An oak and a birch"),
        ],
    )
    .await;
    assert_eq!(found(index, "red oak").await, ["alpha"]);
    assert_eq!(
        found(index, "the oak").await,
        ["alpha", "gamma"],
        "words that tell nothing are left out"
    );
    let mut any = found(index, "oak pine birch").await;
    assert_eq!(
        any.remove(0),
        "gamma",
        "what has more of the words comes first"
    );
    any.sort();
    assert_eq!(any, ["alpha", "beta"]);
}

async fn filters_leave_out(index: &impl SearchIndex) {
    let mut one = package("one", &["Red", "big"], "thing");
    one.categories = vec!["tools".to_owned(), "games".to_owned()];
    let mut two = package("two", &["red"], "thing");
    two.categories = vec!["tools".to_owned()];
    fill(index, &[one, two, package("three", &[], "red big thing")]).await;
    let filtered = async |query: &str, categories: &[&str], tags: &[&str]| {
        let own = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        let (categories, tags) = (own(categories), own(tags));
        names(
            index,
            &SearchQuery {
                categories,
                tags,
                ..text(query)
            },
        )
        .await
    };
    assert_eq!(filtered("", &["tools"], &[]).await, ["one", "two"]);
    assert_eq!(filtered("thing", &["TOOLS", "games"], &[]).await, ["one"]);
    assert_eq!(filtered("thing", &[], &["RED"]).await, ["one", "two"]);
    assert_eq!(filtered("", &["tools"], &["red", "big"]).await, ["one"]);
    assert!(
        filtered("three", &["tools"], &[]).await.is_empty(),
        "filters bind exact names too"
    );
    assert!(
        filtered("", &["tool"], &[]).await.is_empty(),
        "filters are whole labels"
    );
}

async fn pages_continue_each_other(index: &impl SearchIndex) {
    let entries = (0..130).map(|i| entry(1, &format!("pack-{i:03}"), "same"));
    index.apply(entries.collect(), 1).await.unwrap();
    for query in ["", "pack", "same"] {
        let mut seen = Vec::new();
        for offset in (0..200).step_by(30) {
            let query = SearchQuery {
                limit: 30,
                offset,
                ..text(query)
            };
            let page = index.search_page(&query).await.unwrap();
            assert_eq!(page.total, 130, "{query:?}");
            seen.extend(page.hits.into_iter().map(|hit| hit.package.id.name));
        }
        let all: Vec<_> = (0..130).map(|i| format!("pack-{i:03}")).collect();
        assert_eq!(seen, all, "equal scores are ordered by name, {query}");
    }
    let window = |limit, offset| SearchQuery {
        limit,
        offset,
        ..SearchQuery::default()
    };
    assert_eq!(
        names(index, &window(usize::MAX, 0)).await.len(),
        SearchQuery::LIMIT_MAX
    );
    for query in [
        window(0, 0),
        window(10, SearchQuery::OFFSET_MAX + 1),
        window(usize::MAX, usize::MAX),
    ] {
        let page = index.search_page(&query).await.unwrap();
        assert_eq!((page.total, page.hits.len()), (130, 0), "{query:?}");
    }
}

async fn applied_entries_stand_at_their_position(index: &impl SearchIndex) {
    index
        .apply(vec![entry(1, "one", ""), entry(2, "two", "")], 7)
        .await
        .unwrap();
    assert_eq!(found(index, "").await, ["one", "two"]);
    assert!(
        [0, 7].contains(&index.position().await.unwrap()),
        "a position is durable whole or not at all"
    );
    index.flush().await.unwrap();
    assert_eq!(index.position().await.unwrap(), 7);
    let gone = Entry {
        shown: None,
        ..entry(1, "one", "")
    };
    index
        .apply(vec![gone.clone(), entry(2, "two", "news")], 9)
        .await
        .unwrap();
    index
        .apply(vec![gone, entry(2, "two", "news")], 9)
        .await
        .unwrap();
    assert_eq!(found(index, "").await, ["two"]);
    assert_eq!(found(index, "news").await, ["two"]);
    index.apply(vec![], 12).await.unwrap();
    index.flush().await.unwrap();
    assert_eq!(index.position().await.unwrap(), 12);
    // More than any overlay takes at once.
    let many = (0..3_000).map(|i| entry(3, &format!("many-{i}"), "crowd"));
    index.apply(many.collect(), 3_012).await.unwrap();
    let page = index.search_page(&text("crowd")).await.unwrap();
    assert_eq!(page.total, 3_000, "a large batch is found at once too");
}

async fn the_order_is_the_same_before_and_after_a_flush(index: &impl SearchIndex) {
    let packages = [
        ("json", "Reads and writes"),
        ("json-lines", "One json value a line"),
        ("fast-json", "Reads json fast"),
        ("jsonish", "Nearly"),
        ("reader", "Reads json"),
        ("jso", "A typo of json"),
        ("yaml", "Not json at all"),
    ];
    for (at, (name, description)) in packages.iter().enumerate() {
        index
            .apply(vec![entry(at as u8, name, description)], at as u64 + 1)
            .await
            .unwrap();
        if at == 2 {
            index.flush().await.unwrap();
        }
    }
    let queries = [
        "json",
        "jsno",
        "reads json",
        "json reads",
        "fast",
        "",
        "jso",
        "line json value",
        "nothing json",
    ];
    let mut before = Vec::new();
    for query in queries {
        before.push(index.search_page(&text(query)).await.unwrap());
    }
    index.flush().await.unwrap();
    for (query, before) in queries.into_iter().zip(&before) {
        assert_eq!(
            index.search_page(&text(query)).await.unwrap(),
            *before,
            "{query}"
        );
    }
    index.optimize().await.unwrap();
    for (query, before) in queries.into_iter().zip(&before) {
        assert_eq!(
            index.search_page(&text(query)).await.unwrap(),
            *before,
            "{query}"
        );
    }
}

async fn a_rebuild_replaces_everything(index: &impl SearchIndex) {
    index
        .apply(vec![entry(1, "old", ""), entry(2, "both", "before")], 5)
        .await
        .unwrap();
    index.flush().await.unwrap();
    index.apply(vec![entry(1, "older", "")], 6).await.unwrap();
    let mut later = package("new", &[], "later");
    let both = entry(2, "both", "after").shown;
    index
        .rebuild(
            [package("new", &[], "sooner"), later.clone()]
                .into_iter()
                .chain(both),
        )
        .await
        .unwrap();
    assert_eq!(found(index, "").await, ["both", "new"]);
    assert_eq!(
        found(index, "later").await,
        ["new"],
        "of two entries of a package the later counts"
    );
    assert!(found(index, "sooner").await.is_empty());
    assert!(found(index, "before").await.is_empty());
    assert_eq!(
        index.position().await.unwrap(),
        0,
        "nobody said which position the packages stand for"
    );
    later.description = "latest".to_owned();
    index.index(&later).await.unwrap();
    index.flush().await.unwrap();
    assert_eq!(
        found(index, "latest").await,
        ["new"],
        "a rebuilt index takes changes"
    );
    index.rebuild(std::iter::empty()).await.unwrap();
    assert!(found(index, "").await.is_empty());
}
