//! What strangers write into records and archives is text in an index and bytes in a download, and nothing more.

use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::metadata::{
    Dependency, DependencySource, Format, PackageMetadata,
};
use ggen_marketplace::protocols::record::Publish;
use ggen_marketplace::registry::Admission;
use ggen_marketplace::testing::cluster::author;
use ggen_marketplace::testing::registry::metadata;
use serde_json::Value;

use super::raw::{get, publish};
use crate::archive::Tarball;
use crate::gateway::served;

/// A field of a release with this text in it, and where the index says it.
type Field = (fn(&mut PackageMetadata, &str), fn(&Value, &str) -> Value);

const FIELDS: &[Field] = &[
    (
        |release, text| release.description = text.to_owned(),
        |_, text| text.into(),
    ),
    (
        |release, text| release.links = Some(text.to_owned()),
        |line, _| line["links"].clone(),
    ),
    (
        |release, text| release.rust_version = Some(text.to_owned()),
        |line, _| line["rust_version"].clone(),
    ),
    (
        |release, text| {
            let feature = (text.to_owned(), vec![text.to_owned()]);
            release.features = [feature].into();
        },
        |line, text| line["features"][text][0].clone(),
    ),
    (
        |release, text| {
            let needed = Dependency {
                features: vec![text.to_owned()],
                ..Dependency::new("leaf", "1".parse().unwrap())
            };
            release.dependencies = [("leaf".to_owned(), vec![needed])].into();
        },
        |line, _| line["deps"][0]["features"][0].clone(),
    ),
    (
        |release, text| {
            let needed = Dependency {
                target: Some(text.to_owned()),
                ..Dependency::new("leaf", "1".parse().unwrap())
            };
            release.dependencies = [("leaf".to_owned(), vec![needed])].into();
        },
        |line, _| line["deps"][0]["target"].clone(),
    ),
    (
        |release, text| {
            let needed = Dependency::new(text, "1".parse().unwrap());
            release.dependencies = [(text.to_owned(), vec![needed])].into();
        },
        |line, _| line["deps"][0]["name"].clone(),
    ),
    (
        |release, text| {
            let needed = Dependency {
                source: DependencySource::Url(text.to_owned()),
                ..Dependency::new("leaf", "1".parse().unwrap())
            };
            release.dependencies = [("leaf".to_owned(), vec![needed])].into();
        },
        |line, _| line["deps"][0]["registry"].clone(),
    ),
];

#[tokio::test]
async fn an_index_has_one_line_for_each_release_whatever_they_say() {
    let served = served().await;
    let mut author = author(1);
    let naughty = include_bytes!("../../vectors/blns/blns.json");
    let mut texts: Vec<String> = serde_json::from_slice(naughty).unwrap();
    assert!(texts.len() > 400);
    texts.extend(
        [
            "a\"},\n{\"name\":\"b\"",
            "x\r\n{}",
            "\u{2028}\u{0}\u{1b}[2J",
        ]
        .map(str::to_owned),
    );
    let (mut records, mut wanted, mut refused) = (Vec::new(), Vec::new(), 0);
    for (number, text) in texts.iter().enumerate() {
        for (at, (write, read)) in FIELDS.iter().enumerate() {
            let version = format!("1.{number}.{at}");
            let mut release = metadata(&format!("demo@{version}"));
            release.format = Format::Cargo;
            release.checksums.sha256 = Some(ContentHash::sha256(&version));
            write(&mut release, text);
            if Publish::from_metadata(&release).is_err() {
                refused += 1;
                continue;
            }
            records.push(author.publish_metadata(release, &version));
            wanted.push((version, text, read));
        }
    }
    let admitted = served.node.catalogue().admit(records).await.unwrap();
    let mut offered = Vec::new();
    for (release, admission) in wanted.into_iter().zip(admitted) {
        match admission {
            Admission::New => offered.push(release),
            _ => refused += 1,
        }
    }
    assert_eq!(offered.len() + refused, texts.len() * FIELDS.len());
    assert!(offered.len() > texts.len(), "{}", offered.len());
    let reply = get(&served, "/cargo/_/de/mo/demo").await;
    let lines = reply.lines();
    // They come in the order of their versions.
    assert_eq!(lines.len(), offered.len());
    assert_eq!(reply.text().matches('\n').count(), offered.len());
    for (line, (version, text, read)) in lines.iter().zip(&offered) {
        assert_eq!(
            (&line["name"], &line["vers"]),
            (&"demo".into(), &version.as_str().into())
        );
        assert_eq!(read(line, text), text.as_str(), "{line}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_download_is_never_shown_as_a_page() {
    let served = served().await;
    let mut author = author(1);
    publish(&served, &mut author, "demo", "1.0.0").await;
    let manifest = b"[package]\nname = \"page\"\nversion = \"1.0.0\"\n";
    let page = b"<!doctype html><script>alert(1)</script>".as_slice();
    let archive = Tarball::new()
        .file("page-1.0.0/Cargo.toml", manifest)
        .file("page-1.0.0/index.html", page);
    super::raw::publish_archive(&served, &mut author, archive.gzip()).await;
    for name in ["demo", "page"] {
        for path in [
            format!("/cargo/_/api/v1/crates/{name}/1.0.0/download"),
            format!(
                "/cargo/{}/api/v1/crates/{name}/1.0.0/download",
                author.owner()
            ),
        ] {
            let reply = get(&served, &path).await;
            assert_eq!(reply.status, 200, "{path}");
            for (header, value) in [
                ("content-type", "application/gzip"),
                ("content-disposition", "attachment"),
                ("x-content-type-options", "nosniff"),
                ("cross-origin-resource-policy", "same-origin"),
                ("x-frame-options", "DENY"),
            ] {
                assert_eq!(reply.header(header), Some(value), "{path} {header}");
            }
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
        }
    }
    served.stop().await;
}
