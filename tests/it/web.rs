//! Pages for people from outside: what they show, and that nothing that strangers write does anything in them.

use std::fs;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ggen_marketplace::archive::{self, Bounds};
use ggen_marketplace::protocols::id::OwnerId;
use ggen_marketplace::protocols::metadata::{Format, PackageMetadata};
use ggen_marketplace::protocols::record::{Info, State};
use ggen_marketplace::testing::cluster::author;
use ggen_marketplace::testing::registry::Author;
use scraper::{ElementRef, Html, Selector};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::gateway::{Answer, Served, served};

/// Naughty strings of one package: its description, its authors, its README.
const STRINGS_OF_ONE: usize = 20;

/// The manifest and the README of a pack.
#[derive(Default)]
struct Pack<'a> {
    name: &'a str,
    version: &'a str,
    description: &'a str,
    authors: &'a [String],
    license: &'a str,
    repository: &'a str,
    keywords: &'a [String],
    /// Lines under `[dependencies]`.
    dependencies: &'a str,
    readme: &'a str,
}

impl Pack<'_> {
    fn archive(&self, dir: &Path) -> (Vec<u8>, PackageMetadata) {
        let manifest = serde_json::json!({ "pack": {
            "name": self.name,
            "version": if self.version.is_empty() { "1.0.0" } else { self.version },
            "description": self.description,
            "authors": self.authors,
            "license": self.license,
            "repository": self.repository,
            "keywords": self.keywords,
        } });
        let manifest = toml::to_string(&manifest).unwrap();
        let text = format!("{manifest}\n[dependencies]\n{}", self.dependencies);
        fs::write(dir.join("pack.toml"), text).unwrap();
        fs::write(dir.join("README.md"), self.readme).unwrap();
        let source = archive::recognise(dir).unwrap();
        let bytes = archive::pack_directory(&source).unwrap().0;
        let inspected = archive::inspect(&bytes[..], Format::Pack, Bounds::default()).unwrap();
        (bytes, inspected.metadata.unwrap())
    }

    async fn publish(&self, served: &Served, author: &mut Author) {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, metadata) = self.archive(dir.path());
        let record = author.publish_metadata(metadata, &bytes);
        let envelope = record.envelope().clone();
        served
            .node
            .publish(envelope, &mut &bytes[..])
            .await
            .unwrap();
    }
}

async fn page(served: &Served, path: &str) -> Answer {
    let answer = browse(served, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer
}

/// Asks as a browser does.
async fn browse(served: &Served, path: &str) -> Answer {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: HOST\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n"
    );
    let answer = served.raw(&request).await;
    assert!(
        answer.headers.contains("content-type: text/html"),
        "{path}: {}",
        answer.headers
    );
    answer
}

fn texts(page: &str, selector: &str) -> Vec<String> {
    let found = Html::parse_document(page);
    let selector = Selector::parse(selector).unwrap();
    let texts = found
        .select(&selector)
        .map(|one| one.text().collect::<String>());
    texts.map(|text| text.trim().to_owned()).collect()
}

fn encoded(text: &str) -> String {
    // Of a path: a space is no plus there.
    byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Panics if a page holds anything that acts, dresses up or loads, but for what is ours. Returns how many elements
/// were looked at.
fn assert_harmless(what: &str, page: &str) -> usize {
    let parsed = Html::parse_document(page);
    assert!(!page.contains("<!--"), "{what}: a comment");
    let all = Selector::parse("*").unwrap();
    let mut scripts = 0;
    let mut count = 0;
    for element in parsed.select(&all) {
        count += 1;
        let name = element.value().name();
        scripts += usize::from(name == "script");
        assert!(is_ours(element), "{what}: {}", element.html());
        for (attribute, value) in element.value().attrs() {
            let plain = !attribute.starts_with("on")
                && !matches!(
                    attribute,
                    "style" | "srcdoc" | "formaction" | "ping" | "target" | "background"
                );
            assert!(plain, "{what}: {attribute} in {}", element.html());
            if matches!(
                attribute,
                "href" | "src" | "action" | "data" | "poster" | "cite" | "xlink:href"
            ) {
                assert_address(what, element, value);
            }
        }
    }
    assert_eq!(scripts, 1, "{what}");
    count
}

fn is_ours(element: ElementRef<'_>) -> bool {
    let attribute = |name| element.attr(name);
    match element.value().name() {
        "script" => attribute("src") == Some("/page.js") && element.inner_html().is_empty(),
        "link" => matches!(attribute("href"), Some("/style.css" | "/icon.svg")),
        "meta" => attribute("http-equiv").is_none(),
        "form" => attribute("action") == Some("/search") && attribute("method").is_none(),
        "input" => attribute("name") == Some("q"),
        "button" => attribute("type") == Some("submit"),
        "svg" | "path" | "circle" | "rect" | "g" | "text" | "desc" => {
            attribute("id").is_none_or(|id| id.starts_with("graph-"))
        }
        name => !matches!(
            name,
            "style"
                | "iframe"
                | "object"
                | "embed"
                | "applet"
                | "base"
                | "frame"
                | "frameset"
                | "math"
                | "template"
                | "noscript"
                | "img"
                | "image"
                | "video"
                | "audio"
                | "source"
                | "select"
                | "textarea"
                | "animate"
                | "set"
                | "use"
                | "foreignobject"
                | "foreignObject"
                | "portal"
                | "dialog"
                | "marquee"
        ),
    }
}

fn assert_address(what: &str, element: ElementRef<'_>, value: &str) {
    let own = (value.starts_with('/') && !value.starts_with("//")) || value == "#main";
    if own {
        return;
    }
    let url = Url::parse(value).unwrap_or_else(|error| panic!("{what}: {value}: {error}"));
    assert!(
        matches!(url.scheme(), "http" | "https" | "mailto"),
        "{what}: {value}"
    );
    assert_eq!(element.value().name(), "a", "{what}: {value}");
    let rel = element.attr("rel");
    assert_eq!(rel, Some("nofollow noopener noreferrer"), "{what}: {value}");
}

fn strings(path: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn nothing_that_strangers_write_does_anything_on_a_page() {
    let served = served().await;
    let mut author = author(1);
    let owner = author.owner();
    let payloads = strings("dompurify-xss/payloads.json");
    let naughty = strings("blns/blns.json");
    assert!(payloads.len() > 200 && naughty.len() > 400);
    let mut texts: Vec<Vec<String>> = payloads.into_iter().map(|one| vec![one]).collect();
    texts.extend(naughty.chunks(STRINGS_OF_ONE).map(<[String]>::to_vec));
    for (number, strings) in texts.iter().enumerate() {
        let name = format!("hostile-{number}");
        let readme = format!("# It begins\n\n{}\n\n# It ends\n", strings.join("\n\n"));
        let pack = Pack {
            name: &name,
            description: &strings.concat(),
            authors: strings,
            license: &strings[0],
            repository: &strings[0],
            keywords: strings,
            readme: &readme,
            ..Pack::default()
        };
        pack.publish(&served, &mut author).await;
        let shown = page(&served, &format!("/packages/{owner}/{name}")).await;
        assert_harmless(&readme, &shown.body);
        assert!(shown.body.contains("<h3>It begins</h3>"), "{readme}");
    }
    for strings in &texts {
        let text: String = strings.concat().chars().take(500).collect();
        let found = page(&served, &format!("/search?q={}", encoded(&text))).await;
        assert_harmless(&text, &found.body);
        let lost = browse(&served, &format!("/packages/{}", encoded(&text))).await;
        assert!(lost.status >= 400, "{text}");
        assert_harmless(&text, &lost.body);
    }
    for path in ["/", "/search?q=", "/swarm", &format!("/owners/{owner}")] {
        assert!(
            assert_harmless(path, &page(&served, path).await.body) > 40,
            "{path}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn what_an_owner_says_later_does_nothing_either() {
    let served = served().await;
    let mut author = author(1);
    let evil = "<script>alert(1)</script><img src=x onerror=alert(1)>";
    let pack = Pack {
        name: "later",
        readme: "# It begins",
        ..Pack::default()
    };
    pack.publish(&served, &mut author).await;
    let changes: [fn(State) -> State; 3] = [
        |state| State {
            info: Some(Info {
                description: Some(EVIL.to_owned()),
                deprecated: Some(EVIL.to_owned()),
                ..Info::default()
            }),
            ..state
        },
        |state| State {
            revision: 2,
            yanked: true,
            note: EVIL.to_owned(),
            ..state
        },
        |state| State {
            revision: 3,
            withdrawn: true,
            note: EVIL.to_owned(),
            ..state
        },
    ];
    const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>";
    for (change, note) in changes
        .into_iter()
        .zip(["Deprecated.", "Yanked by", "Withdrawn by"])
    {
        let record = author.state("later@1.0.0", change);
        served.node.submit(record.envelope().clone()).await.unwrap();
        let shown = page(&served, &format!("/packages/{}/later", author.owner())).await;
        assert_harmless(note, &shown.body);
        let notes = texts(&shown.body, ".note").concat();
        assert!(notes.contains(note) && notes.contains(evil), "{notes}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_empty_node_says_how_to_begin() {
    let served = served().await;
    let start = page(&served, "/").await;
    assert!(start.body.contains("market publish PATH"));
    assert!(start.body.contains("market up --bootstrap ADDRESS"));
    let nothing = page(&served, "/search?q=nothing%20%3Cb%3E").await;
    assert_eq!(texts(&nothing.body, "#none q"), ["nothing <b>"]);
    assert_eq!(texts(&nothing.body, "#said"), ["Nothing found."]);
    let swarm = page(&served, "/swarm").await;
    assert!(swarm.body.contains("Nobody is connected"));
    served.stop().await;
}

#[tokio::test]
async fn a_package_is_found_and_shown_whole() {
    let served = served().await;
    let mut other = author(2);
    let needed = Pack {
        name: "needed",
        version: "1.4.0",
        ..Pack::default()
    };
    needed.publish(&served, &mut other).await;
    let index = format!("sparse+http://127.0.0.1:7878/cargo/{}/", other.owner());
    let dependencies =
        format!("needed = {{ version = \"1\", registry-index = \"{index}\" }}\nplain = \"0.3\"\n");
    let mut author = author(1);
    for version in ["0.9.0", "1.0.0", "2.0.0-beta.1"] {
        let pack = Pack {
            name: "Shown",
            version,
            description: "What it is.",
            license: "MIT",
            repository: "https://code.example/shown",
            keywords: &["one&two".to_owned()],
            dependencies: &dependencies,
            readme: "# Words\n\nMore *words*.",
            ..Pack::default()
        };
        pack.publish(&served, &mut author).await;
    }
    let owner = author.owner();
    let start = page(&served, "/").await;
    assert_eq!(texts(&start.body, "#recent h3").len(), 2);
    let hits = served.get("/api/v1/search?q=shown").await.body;
    assert!(
        hits.contains("\"badge\":\"unverified\""),
        "for the script: {hits}"
    );
    let found = page(&served, "/search?q=shown").await;
    assert_eq!(texts(&found.body, "#results h3 a"), ["Shown"]);
    assert_eq!(texts(&found.body, "#results .badge"), ["unverified"]);
    assert_eq!(texts(&found.body, "#said"), ["1 package"]);

    for path in [
        format!("/packages/{owner}/shown"),
        "/packages/shown".to_owned(),
    ] {
        let shown = page(&served, &path).await.body;
        assert_harmless(&path, &shown);
        assert_eq!(
            texts(&shown, "h1"),
            ["Shown 1.0.0"],
            "a finished version comes first"
        );
        assert_eq!(texts(&shown, ".readme em"), ["words"]);
        assert_eq!(
            texts(&shown, "#versions + ul a"),
            ["2.0.0-beta.1", "1.0.0", "0.9.0"]
        );
        assert_eq!(texts(&shown, ".needs li").len(), 2);
        assert_eq!(texts(&shown, ".needs a"), ["needed"], "it has a page here");
        assert_eq!(texts(&shown, ".box .title"), ["Shown", "needed", "plain"]);
        let fetch = format!("market fetch {owner}/Shown@1.0.0");
        assert!(texts(&shown, ".copied code").contains(&fetch));
        assert!(shown.contains("This node holds the archive."));
        assert!(shown.contains("href=\"/search?q=one%26two\""));
        assert_eq!(texts(&shown, "dd a[rel]"), ["code.example"]);
    }
    let old = page(&served, &format!("/packages/{owner}/shown/0.9.0")).await;
    assert_eq!(texts(&old.body, "h1"), ["Shown 0.9.0"]);
    let none = browse(&served, &format!("/packages/{owner}/shown/7.0.0")).await;
    assert_eq!(none.status, 404);

    let publisher = page(&served, &format!("/owners/{owner}")).await.body;
    assert_harmless("the owner", &publisher);
    assert_eq!(texts(&publisher, ".items h3 a"), ["Shown"]);
    assert!(publisher.contains("may change who publishes"));
    let swarm = page(&served, "/swarm").await.body;
    assert_harmless("the swarm", &swarm);
    assert_eq!(
        texts(&swarm, "#feed li a"),
        ["shown", "shown", "shown", "needed"]
    );
    served.stop().await;
}

/// A crate as cargo packs it, with no more than this manifest.
fn packed_crate(name: &str, version: &str) -> (Vec<u8>, PackageMetadata) {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"A crate.\"\nreadme = false\n"
    );
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o644);
    let path = format!("{name}-{version}/Cargo.toml");
    tar.append_data(&mut header, path, manifest.as_bytes())
        .unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let inspected = archive::inspect(&bytes[..], Format::Cargo, Bounds::default()).unwrap();
    (bytes, inspected.metadata.unwrap())
}

#[tokio::test]
async fn a_crate_comes_with_the_lines_that_cargo_needs() {
    let served = served().await;
    let mut author = author(1);
    let (bytes, metadata) = packed_crate("lines", "1.2.3");
    let record = author.publish_metadata(metadata, &bytes);
    let envelope = record.envelope().clone();
    served
        .node
        .publish(envelope, &mut &bytes[..])
        .await
        .unwrap();
    let owner = author.owner().to_string();
    let shown = page(&served, "/packages/lines").await.body;
    assert_harmless("a crate", &shown);
    // As `market cargo-config` calls the registry of an owner without a label.
    let registry = &owner[..12];
    assert_eq!(
        texts(&shown, ".copied code"),
        [
            format!("lines = {{ version = \"1.2.3\", registry = \"{registry}\" }}"),
            format!("market cargo-config --write {owner}"),
            format!(
                "[registries.{registry}]\nindex = \"sparse+http://127.0.0.1:7878/cargo/{owner}/\""
            ),
            format!("market fetch {owner}/lines@1.2.3"),
        ]
    );
    assert!(shown.contains("This version has none."), "no README");
    served.stop().await;
}

#[tokio::test]
async fn the_packages_of_an_owner_are_leafed_through() {
    let served = served().await;
    // The owners around it have packages, too.
    let mut authors = [author(1), author(2), author(3)];
    authors.sort_by_key(Author::owner);
    for author in &mut authors {
        for number in 0..23 {
            let record = author.publish(&format!("p{number:02}@1.0.0"), "content");
            let envelope = record.envelope().clone();
            served
                .node
                .publish(envelope, &mut "content".as_bytes())
                .await
                .unwrap();
        }
    }
    let owner: OwnerId = authors[1].owner();
    let first = page(&served, &format!("/owners/{owner}")).await.body;
    let mut names = texts(&first, ".items h3 a");
    assert_eq!(names.len(), 20);
    let next = Html::parse_document(&first);
    let selector = Selector::parse("a[rel=next]").unwrap();
    let next = next
        .select(&selector)
        .next()
        .unwrap()
        .attr("href")
        .unwrap()
        .to_owned();
    let second = page(&served, &next).await.body;
    names.extend(texts(&second, ".items h3 a"));
    assert_eq!(names.len(), 23);
    names.dedup();
    assert_eq!(names.len(), 23);
    assert!(texts(&second, "a[rel=next]").is_empty());
    let all = page(&served, "/search?q=p&page=2").await.body;
    assert_eq!(texts(&all, "a[rel=prev]").len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn a_contested_name_asks_whom_the_user_means() {
    let served = served().await;
    let mut commands = Vec::new();
    for number in [1, 2] {
        let mut author = author(number);
        let record = author.publish("http@1.0.0", "content");
        let envelope = record.envelope().clone();
        served
            .node
            .publish(envelope, &mut "content".as_bytes())
            .await
            .unwrap();
        commands.push(format!("market use http {}", author.owner()));
    }
    let answer = browse(&served, "/packages/http").await;
    assert_eq!(answer.status, 409);
    assert_harmless("the choices", &answer.body);
    let mut told = texts(&answer.body, ".copied code");
    told.sort();
    commands.sort();
    assert_eq!(told, commands);
    served.stop().await;
}

#[tokio::test]
async fn browsers_get_problems_as_pages_and_programs_as_json() {
    let served = served().await;
    for (path, status) in [
        ("/nowhere", 404),
        ("/packages/nobody", 404),
        ("/packages/Acme/x", 400),
        ("/packages/a/b/c/d", 404),
        ("/packages/%ff", 400),
        ("/owners/ns1short", 400),
        ("/search?page=x", 400),
        ("/search?page=99999", 400),
    ] {
        let answer = browse(&served, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_harmless(path, &answer.body);
        assert_eq!(texts(&answer.body, "h1").len(), 1, "{path}");
        let plain = served.get(path).await;
        assert!(plain.headers.contains("application/problem+json"), "{path}");
    }
    let api = "GET /api/v1/nowhere HTTP/1.1\r\nHost: HOST\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    assert!(
        served
            .raw(api)
            .await
            .headers
            .contains("application/problem+json")
    );
    let foreign =
        "GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    let answer = served.raw(foreign).await;
    assert_eq!(answer.status, 421);
    assert!(!answer.headers.contains("text/html"));
    served.stop().await;
}

#[tokio::test]
async fn files_of_pages_are_asked_for_once() {
    let served = served().await;
    for (path, kind) in [
        ("/style.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let first = served.get(path).await;
        assert_eq!(first.status, 200, "{path}");
        assert!(
            first.headers.contains(&format!("content-type: {kind}")),
            "{path}"
        );
        assert!(first.headers.contains("cache-control: no-cache"), "{path}");
        assert!(
            first
                .headers
                .contains("content-security-policy: default-src 'none'")
        );
        let tag = first
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .unwrap();
        let again = format!(
            "GET {path} HTTP/1.1\r\nHost: HOST\r\nIf-None-Match: \"x\", {tag}\r\nConnection: close\r\n\r\n"
        );
        let again = served.raw(&again).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
    served.stop().await;
}
