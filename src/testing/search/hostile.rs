//! Texts and packages that are made to break things.

use std::time::{Duration, Instant};

use ggen_protocols::id::PackageId;

use super::{fill, package, text};
use crate::search::SearchIndex;
use crate::search::SearchQuery;

/// Texts that query languages, terminals and careless code stumble over.
fn hostile() -> Vec<String> {
    let long = [
        "(",
        "a",
        "ab ",
        "é",
        "\u{10ffff}",
        "abcdefghijklmnop",
        "a*?",
        "x\u{301}",
        "\"",
        "+-",
    ];
    let mut texts: Vec<_> = long
        .iter()
        .map(|part| part.repeat(10_000 / part.len()))
        .collect();
    let words = (0..40)
        .map(|i| format!("transmogrificatoin{i:02} "))
        .collect();
    texts.extend([
        format!("{}x{}", "(".repeat(40), ")".repeat(40)),
        "\\".repeat(99),
        words,
    ]);
    let short = [
        "*:*",
        "[* TO *]",
        "{a TO z}",
        "name:*",
        "/.*/",
        "/(a+)+$/",
        "a~2^1000000000",
        "NOT",
        "AND OR NOT",
        "-",
        "+",
        "\"unclosed",
        "(((",
        ")))",
        "\0",
        "\u{1b}[2J",
        "a\r\nlevel=ERROR",
        "\u{202e}gnp.exe",
        "\u{feff}",
        "\u{fffd}",
        "%s%n%x",
        "${jndi:ldap://x}",
        "'; DROP TABLE packages;--",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "😀😀",
        "𝓼𝓮𝓻𝓭𝓮",
        "ﷺ",
        "İıſß",
        "田中さん",
        "ปัญหา",
        "1e999",
        "-0",
        "NaN",
        "null",
        "true",
        "\t\n",
        "\u{a0}",
        "𐐀𐐨",
    ];
    texts.extend(short.map(str::to_owned));
    texts
}

pub(super) async fn no_text_makes_a_search_fail(index: &impl SearchIndex) {
    fill(
        index,
        &[
            package("alpha", &["beta"], "gamma"),
            package("name", &[], "To and or not"),
        ],
    )
    .await;
    index.flush().await.unwrap();
    fill(index, &[package("overlay", &["beta"], "gamma")]).await;
    for text in hostile() {
        let shown: String = text.chars().take(40).collect();
        let tags = vec![text.clone(), text.clone()];
        let plain = SearchQuery {
            text: text.clone(),
            ..SearchQuery::default()
        };
        let filtered = SearchQuery {
            tags: tags.clone(),
            categories: tags,
            ..plain.clone()
        };
        // The machine may be busy with other things: one of some attempts is enough.
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let page = index.search_page(&plain).await;
            fastest = fastest.min(start.elapsed());
            let page = page.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            let blank = text.trim().is_empty();
            assert!(
                blank || page.total < 3,
                "{shown:?} is words and not a pattern"
            );
        }
        assert!(
            fastest < Duration::from_millis(50),
            "{shown:?} takes {fastest:?}"
        );
        let suggested = index.suggest(&text, 10).await;
        suggested.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let facets = index.facets(&plain).await;
        facets.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let page = index.search_page(&filtered).await;
        assert_eq!(
            page.unwrap_or_else(|error| panic!("{shown:?}: {error}"))
                .total,
            0,
            "{shown:?}"
        );
    }
}

pub(super) async fn no_package_makes_indexing_fail(index: &impl SearchIndex) {
    let texts = hostile();
    for (at, text) in texts.iter().enumerate() {
        let mut strange = package(text, &[text, "plain"], text);
        strange.id.namespace = Some(format!("{at}"));
        strange.categories = vec![text.clone()];
        index.index(&strange).await.unwrap();
    }
    index.flush().await.unwrap();
    for text in &texts {
        let name = PackageId {
            name: text.clone(),
            ..PackageId::new("any", "1.0.0")
        };
        let nobody = index.similar(&name, 10).await.unwrap();
        assert!(nobody.is_empty(), "they are all somebody's");
        index.suggest(text, 10).await.unwrap();
    }
    let page = index.search_page(&text("plain")).await.unwrap();
    assert_eq!(page.total, texts.len() as u64);
}
