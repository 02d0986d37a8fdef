//! The promises about finding packages without knowing their names: suggestions, facets, similar packages.

use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::{Format, PackageMetadata};

use super::{entry, fill, names, package, text};
use crate::search::Facets;
use crate::search::SearchEngine;
use crate::search::SearchIndex;
use crate::search::SearchQuery;
use crate::search::Sort;

async fn suggested(index: &impl SearchEngine, prefix: &str) -> Vec<String> {
    index.suggest(prefix, 10).await.expect("suggestions")
}

pub(super) async fn names_are_suggested_by_their_beginnings(index: &impl SearchIndex) {
    assert!(suggested(index, "any").await.is_empty());
    let old = ["web-server", "WebFrame", "website", "cobweb", "web"];
    fill(index, &old.map(|name| package(name, &["web"], "web"))).await;
    index.flush().await.unwrap();
    fill(
        index,
        &[package("web-client", &[], ""), package("Web", &[], "")],
    )
    .await;
    index.remove(&package("website", &[], "").id).await.unwrap();
    for prefix in ["web", "WEB", " web-", "w"] {
        let names = suggested(index, prefix).await;
        assert_eq!(
            names,
            ["Web", "WebFrame", "web-client", "web-server"],
            "{prefix}"
        );
    }
    assert_eq!(
        suggested(index, "webs").await,
        ["web-server", "Web", "WebFrame", "web-client"],
        "the last letter may be a typo"
    );
    assert_eq!(suggested(index, "webserv").await, ["web-server"]);
    for prefix in ["", " - ", "eb", "\0"] {
        assert!(suggested(index, prefix).await.is_empty(), "{prefix:?}");
    }
    assert_eq!(index.suggest("web", 2).await.unwrap(), ["Web", "WebFrame"]);
    assert!(index.suggest("web", 0).await.unwrap().is_empty());
}

pub(super) async fn suggestions_forgive_one_typo_after_all_others(index: &impl SearchIndex) {
    let committed = ["serde", "serde-json", "sarde", "postcard"];
    fill(index, &committed.map(|name| package(name, &[], ""))).await;
    index.flush().await.unwrap();
    fill(index, &[package("seder", &[], ""), package("ser", &[], "")]).await;
    assert_eq!(
        suggested(index, "serde").await,
        ["serde", "serde-json", "sarde", "seder"],
        "what begins as typed comes first"
    );
    for typo in ["srede-j", "serdx-j", "serdee-j", "sede-js", "xserdej"] {
        assert_eq!(suggested(index, typo).await, ["serde-json"], "{typo}");
    }
    assert!(
        suggested(index, "srd").await.is_empty(),
        "short ones are taken as typed"
    );
    assert!(
        suggested(index, "sxdxe").await.is_empty(),
        "two typos are too many"
    );
    assert_eq!(
        index.suggest("serde", 3).await.unwrap(),
        ["serde", "serde-json", "sarde"]
    );
}

pub(super) async fn a_name_of_many_owners_is_suggested_once(index: &impl SearchIndex) {
    let of = |name: &'static str| (0..100).map(move |owner| entry(owner, name, ""));
    index.apply(of("http").collect(), 1).await.unwrap();
    index.flush().await.unwrap();
    let more = of("http").take(50).chain(of("httpd").take(3));
    index.apply(more.collect(), 2).await.unwrap();
    assert_eq!(index.suggest("http", 2).await.unwrap(), ["http", "httpd"]);
    let many = (0..60).map(|at| entry(1, &format!("many-{at:02}"), ""));
    index.apply(many.collect(), 3).await.unwrap();
    let most = index.suggest("many", usize::MAX).await.unwrap();
    assert_eq!(most.len(), SearchQuery::SUGGESTIONS_MAX);
    assert_eq!(most[49], "many-49");
}

/// A package with labels, a licence and a format.
fn labelled(name: &str, tags: &[&str], categories: &[&str], license: &str) -> PackageMetadata {
    PackageMetadata {
        categories: categories.iter().map(|&label| label.to_owned()).collect(),
        license: license.to_owned(),
        ..package(name, tags, "thing")
    }
}

pub(super) async fn facets_count_what_is_found(index: &impl SearchIndex) {
    let nothing = index.facets(&text("thing")).await.unwrap();
    assert_eq!(nothing, Facets::default());
    let mut pack = labelled("three", &["red", "Big"], &[], "");
    pack.format = Format::Pack;
    let old = [
        labelled("one", &["Red"], &["tools"], "MIT"),
        labelled("gone", &["red"], &["tools"], "MIT"),
    ];
    fill(index, &old).await;
    index.flush().await.unwrap();
    let other = package("other", &["red"], "else");
    let two = labelled("two", &["RED", "red"], &["Tools", "games"], "MIT");
    fill(index, &[two, pack, other]).await;
    index.remove(&old[1].id).await.unwrap();
    let counts = |counts: &[(&str, u64)]| {
        let counts = counts.iter();
        counts
            .map(|&(label, count)| (label.to_owned(), count))
            .collect::<Vec<_>>()
    };
    let facets = Facets {
        total: 3,
        counted: 3,
        categories: counts(&[("tools", 2), ("games", 1)]),
        tags: counts(&[("red", 3), ("big", 1)]),
        licenses: counts(&[("MIT", 2)]),
        formats: counts(&[("generic", 2), ("pack", 1)]),
    };
    assert_eq!(index.facets(&text("thing")).await.unwrap(), facets);
    let part = SearchQuery {
        limit: 1,
        offset: 7,
        ..text("thing")
    };
    assert_eq!(
        index.facets(&part).await.unwrap(),
        facets,
        "all of it, whatever is shown"
    );
    let games = SearchQuery {
        categories: vec!["games".to_owned()],
        ..text("thing")
    };
    assert_eq!(
        index.facets(&games).await.unwrap().tags,
        counts(&[("red", 1)])
    );
}

pub(super) async fn facets_have_bounds(index: &impl SearchIndex) {
    let many = (0..1100).map(|at| {
        let mut entry = entry(1, &format!("many-{at:04}"), "crowd");
        if let Some(shown) = &mut entry.shown {
            shown.keywords = vec![format!("label-{:03}", at % 100)];
        }
        entry
    });
    index.apply(many.collect(), 1).await.unwrap();
    let facets = index.facets(&text("crowd")).await.unwrap();
    assert_eq!(
        (facets.total, facets.counted),
        (1100, Facets::COUNTED_MAX as u64)
    );
    assert_eq!(facets.tags.len(), Facets::LABELS_MAX);
    assert_eq!(facets.tags[0], ("label-000".to_owned(), 10));
    assert_eq!(facets.tags[49], ("label-049".to_owned(), 10));
}

pub(super) async fn similar_packages_share_words(index: &impl SearchIndex) {
    let reference = package("http-client", &["web", "http"], "Sends requests quickly");
    let like = async |id: &PackageId, limit: usize| {
        let hits = index.similar(id, limit).await.expect("similar packages");
        assert!(hits.iter().all(|hit| hit.score > 0.0));
        let names = hits.into_iter().map(|hit| hit.package.id.name);
        names.collect::<Vec<_>>()
    };
    assert!(
        like(&reference.id, 10).await.is_empty(),
        "it is not indexed"
    );
    let old = [
        reference.clone(),
        package("described", &[], "Handles requests"),
        package("nothing", &["other"], "shared"),
        package("gone", &["web", "http"], ""),
    ];
    fill(index, &old).await;
    index.flush().await.unwrap();
    let new = [
        package("keyed", &["HTTP", "web"], ""),
        package("tcp-client", &["web"], ""),
    ];
    fill(index, &new).await;
    index.remove(&old[3].id).await.unwrap();
    let expected = ["keyed", "tcp-client", "described"];
    let other_version = PackageId::new("HTTP_client", "7.0.0");
    for id in [&reference.id, &other_version] {
        assert_eq!(like(id, 10).await, expected);
    }
    assert_eq!(like(&reference.id, 2).await, expected[..2]);
    assert!(like(&reference.id, 0).await.is_empty());
    assert_eq!(
        like(&new[1].id, 10).await,
        ["http-client", "keyed"],
        "from a change that waits"
    );
    assert!(like(&old[3].id, 10).await.is_empty(), "it was removed");
    index.flush().await.unwrap();
    assert_eq!(
        like(&reference.id, 10).await,
        expected,
        "and when all is durable"
    );
}

pub(super) async fn hits_may_be_sorted_by_name(index: &impl SearchIndex) {
    fill(
        index,
        &[package("zeta", &[], "json"), package("json", &[], "")],
    )
    .await;
    index.flush().await.unwrap();
    fill(
        index,
        &[package("alpha", &["json"], ""), package("beta", &[], "")],
    )
    .await;
    let sorted = SearchQuery {
        sort: Sort::Name,
        ..text("json")
    };
    assert_eq!(names(index, &sorted).await, ["alpha", "json", "zeta"]);
    assert_eq!(names(index, &text("json")).await[0], "json");
    let page = index.search_page(&sorted).await.unwrap();
    assert!(page.total == 3 && page.hits.iter().all(|hit| hit.score == 0.0));
}
