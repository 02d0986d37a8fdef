//! Grammar and limits of records: what a signature cannot make right.

use semver::{Version, VersionReq};
use unicode_normalization::is_nfc;

use super::Record;
use super::body::{Body, Info, Links, Publish, PublishDependency, SourceWire, State};
use crate::id::{self, PackageName};
use crate::limits;

/// A field of a record that breaks its grammar or limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct GrammarError {
    /// Which field.
    pub field: &'static str,
    /// Which rule it breaks.
    pub why: String,
}

type Checked = Result<(), GrammarError>;

fn refuse(field: &'static str, why: impl Into<String>) -> Checked {
    let why = why.into();
    Err(GrammarError { field, why })
}

fn at_most(field: &'static str, count: usize, max: usize, unit: &str) -> Checked {
    if count > max {
        return refuse(
            field,
            format!("{count} {unit} are more than the {max} allowed"),
        );
    }
    Ok(())
}

fn uint(field: &'static str, value: u64) -> Checked {
    if value > limits::UINT_MAX {
        return refuse(field, "it is larger than 2^53 - 1");
    }
    Ok(())
}

/// Characters that let one text look like another, or order it otherwise than it is stored: controls but for
/// line feed and tab, the bidirectional controls, and those without width.
pub fn misleads(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn text(field: &'static str, text: &str, bytes_max: usize) -> Checked {
    at_most(field, text.len(), bytes_max, "bytes")?;
    if let Some(c) = text.chars().find(|c| misleads(*c)) {
        let why = format!(
            "the character U+{:04X} is not allowed in text",
            u32::from(c)
        );
        return refuse(field, why);
    }
    if !is_nfc(text) {
        return refuse(field, "it is not in Unicode normal form C");
    }
    Ok(())
}

/// Visible ASCII: identifiers of others, which no reader may misread.
fn token(field: &'static str, value: &str, bytes_max: usize) -> Checked {
    at_most(field, value.len(), bytes_max, "bytes")?;
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse(field, "it must be one or more visible ASCII characters");
    }
    Ok(())
}

/// Name, version, requirement: a parser decides, and its reason is passed on.
fn parsed<T, E: ToString>(field: &'static str, result: Result<T, E>) -> Checked {
    match result {
        Ok(_) => Ok(()),
        Err(error) => refuse(field, error.to_string()),
    }
}

fn name(field: &'static str, value: &str) -> Checked {
    parsed(field, value.parse::<PackageName>())
}

/// What a package's own code calls a dependency: a name that may also start with `_`.
fn alias(field: &'static str, value: &str) -> Checked {
    at_most(field, value.len(), limits::NAME_BYTES_MAX, "bytes")?;
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !starts || value == "_" || !value.bytes().all(plain) {
        return refuse(
            field,
            "another name must start with a letter or `_` and consist of letters, digits, `-` and `_`",
        );
    }
    Ok(())
}

fn url(field: &'static str, value: &str) -> Checked {
    token(field, value, limits::URL_BYTES_MAX)?;
    match value.parse::<url::Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(()),
        Ok(_) => refuse(
            field,
            "only http and https addresses with a host are allowed",
        ),
        Err(error) => refuse(field, format!("it is no URL: {error}")),
    }
}

pub(super) fn check(record: &Record) -> Checked {
    match &record.body {
        Body::Publish(publish) => {
            chained(record)?;
            check_publish(publish)
        }
        Body::State(state) => {
            chained(record)?;
            check_state(state)
        }
        Body::Other { .. } => Ok(()),
    }
}

fn chained(record: &Record) -> Checked {
    if record.owner.is_none() {
        return refuse("owner", "it must be named");
    }
    if record.seq == 0 || (record.seq == 1) != record.previous.is_none() {
        return refuse(
            "seq",
            "the first record is number 1 and has no previous one, and no other has none",
        );
    }
    Ok(())
}

pub(super) fn check_publish(publish: &Publish) -> Checked {
    name("name", &publish.name)?;
    parsed("version", id::parse_version(&publish.version))?;
    uint("format", publish.format)?;
    uint("size", publish.size.unwrap_or(0))?;
    if publish.blake3.is_none() && publish.sha256.is_none() {
        return refuse("hashes", "at least one of BLAKE3 and SHA-256 must be given");
    }
    at_most(
        "dependencies",
        publish.dependencies.len(),
        limits::DEPENDENCIES_MAX,
        "of them",
    )?;
    for dependency in &publish.dependencies {
        check_dependency(dependency)?;
    }
    if !publish.dependencies.is_sorted_by(|a, b| a < b) {
        return refuse("dependencies", "they must be sorted, each once");
    }
    at_most(
        "features",
        publish.features.len(),
        limits::FEATURES_MAX,
        "of them",
    )?;
    for (feature, values) in &publish.features {
        token("feature", feature, limits::FEATURE_BYTES_MAX)?;
        at_most(
            "feature",
            values.len(),
            limits::FEATURE_VALUES_MAX,
            "values",
        )?;
        for value in values {
            token("feature value", value, limits::FEATURE_BYTES_MAX)?;
        }
    }
    if !publish.features.is_sorted_by(|(a, _), (b, _)| a < b) {
        return refuse("features", "they must be sorted by name, each once");
    }
    text(
        "description",
        &publish.description,
        limits::DESCRIPTION_BYTES_MAX,
    )?;
    at_most(
        "authors",
        publish.authors.len(),
        limits::AUTHORS_MAX,
        "of them",
    )?;
    for author in &publish.authors {
        text("author", author, limits::AUTHOR_BYTES_MAX)?;
    }
    text("license", &publish.license, limits::LICENSE_BYTES_MAX)?;
    check_links(&publish.links)?;
    check_words(&publish.keywords, &publish.categories)?;
    if let Some(native) = &publish.native {
        token("links", native, limits::NAME_BYTES_MAX)?;
    }
    if let Some(version) = &publish.rust_version {
        token("rust_version", version, limits::VERSION_BYTES_MAX)?;
    }
    Ok(())
}

fn check_dependency(dependency: &PublishDependency) -> Checked {
    name("dependency", &dependency.name)?;
    if let Some(rename) = &dependency.rename {
        alias("dependency", rename)?;
        if *rename == dependency.name {
            return refuse(
                "dependency",
                "a name of its own must differ from the package's",
            );
        }
    }
    at_most(
        "requirement",
        dependency.requirement.len(),
        limits::REQUIREMENT_BYTES_MAX,
        "bytes",
    )?;
    parsed("requirement", dependency.requirement.parse::<VersionReq>())?;
    if dependency.kind > 2 {
        return refuse(
            "dependency kind",
            "it must be 0 (normal), 1 (dev) or 2 (build)",
        );
    }
    at_most(
        "dependency features",
        dependency.features.len(),
        limits::FEATURE_VALUES_MAX,
        "of them",
    )?;
    for feature in &dependency.features {
        token("dependency feature", feature, limits::FEATURE_BYTES_MAX)?;
    }
    if let Some(target) = &dependency.target {
        text("target", target, limits::TARGET_BYTES_MAX)?;
    }
    match &dependency.source {
        SourceWire::Url(index) => index_url(index),
        SourceWire::Default(()) | SourceWire::Owner(_) => Ok(()),
    }
}

fn index_url(index: &str) -> Checked {
    at_most(
        "dependency registry",
        index.len(),
        limits::URL_BYTES_MAX,
        "bytes",
    )?;
    let plain = index.strip_prefix("sparse+").unwrap_or(index);
    url("dependency registry", plain)
}

fn check_links(links: &Links) -> Checked {
    for (field, link) in [
        ("repository", &links.repository),
        ("homepage", &links.homepage),
        ("documentation", &links.documentation),
    ] {
        if let Some(link) = link {
            url(field, link)?;
        }
    }
    Ok(())
}

fn check_words(keywords: &[String], categories: &[String]) -> Checked {
    at_most("keywords", keywords.len(), limits::KEYWORDS_MAX, "of them")?;
    for keyword in keywords {
        token("keyword", keyword, limits::KEYWORD_BYTES_MAX)?;
    }
    at_most(
        "categories",
        categories.len(),
        limits::CATEGORIES_MAX,
        "of them",
    )?;
    for category in categories {
        token("category", category, limits::CATEGORY_BYTES_MAX)?;
    }
    Ok(())
}

fn check_state(state: &State) -> Checked {
    name("name", &state.name)?;
    if let Some(version) = &state.version {
        parsed("version", id::parse_version(version))?;
    }
    if state.revision == 0 || state.revision > limits::REVISION_MAX {
        return refuse("revision", "it must be from 1 to 2^32 - 1");
    }
    text("note", &state.note, limits::NOTE_BYTES_MAX)?;
    state.info.as_ref().map_or(Ok(()), check_info)
}

fn check_info(info: &Info) -> Checked {
    if let Some(description) = &info.description {
        text("description", description, limits::DESCRIPTION_BYTES_MAX)?;
    }
    check_links(&info.links)?;
    let keywords = info.keywords.as_deref().unwrap_or_default();
    let categories = info.categories.as_deref().unwrap_or_default();
    check_words(keywords, categories)?;
    match &info.deprecated {
        Some(reason) => text("deprecated", reason, limits::NOTE_BYTES_MAX),
        None => Ok(()),
    }
}

// Bodies exist only decoded and checked, or built from checked metadata; so these cannot fail.

#[allow(clippy::expect_used)]
pub(super) fn checked_name(name: &str) -> PackageName {
    name.parse()
        .expect("the grammar was checked when the body was made")
}

#[allow(clippy::expect_used)]
pub(super) fn checked_version(version: &str) -> Version {
    version
        .parse()
        .expect("the grammar was checked when the body was made")
}

#[allow(clippy::expect_used)]
pub(super) fn checked_requirement(requirement: &str) -> VersionReq {
    let parsed = requirement.parse();
    parsed.expect("the grammar was checked when the body was made")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hash::ContentHash;
    use crate::id::PackageId;
    use crate::metadata::{Checksums, Dependency, DependencySource, PackageMetadata};

    fn metadata() -> PackageMetadata {
        let any = VersionReq::STAR;
        PackageMetadata {
            checksums: Checksums {
                blake3: Some(ContentHash::blake3(b"")),
                ..Checksums::default()
            },
            dependencies: [("dep".to_owned(), vec![Dependency::new("dep", any)])].into(),
            ..PackageMetadata::new(PackageId::new("real", "1.0.0"))
        }
    }

    fn refusal(edit: impl FnOnce(&mut PackageMetadata)) -> Option<&'static str> {
        let mut metadata = metadata();
        edit(&mut metadata);
        Publish::from_metadata(&metadata)
            .err()
            .map(|error| error.field)
    }

    fn dependency(edit: impl FnOnce(&mut Dependency)) -> Option<&'static str> {
        refusal(|metadata| edit(&mut metadata.dependencies.get_mut("dep").unwrap()[0]))
    }

    #[test]
    fn what_real_packages_declare_is_carried() {
        assert_eq!(refusal(|_| {}), None);
        let features = |count: usize, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|v| (*v).to_owned()).collect();
            (0..count)
                .map(|n| (format!("Win32_UI_{n}"), values.clone()))
                .collect()
        };
        let forms = ["dep:foo", "foo?/bar", "foo/bar", "c++17", "a.b", "2d"];
        assert_eq!(
            refusal(|m| m.features = features(limits::FEATURES_MAX, &forms)),
            None
        );
        assert_eq!(
            refusal(|m| m.description = "Two\n\tlines — naïve ☃.\n".to_owned()),
            None
        );
        assert_eq!(
            refusal(|m| m.authors = vec!["Zoë <z@example>".to_owned(); 64]),
            None
        );
        assert_eq!(
            refusal(|m| m.categories = vec!["a::b-c".to_owned(); 5]),
            None
        );
        assert_eq!(
            refusal(|m| m.keywords = vec!["no_std".to_owned(), "c++".to_owned()]),
            None
        );
        let cfg = "cfg(all(target_arch = \"wasm32\", not(target_os = \"wasi\")))";
        assert_eq!(dependency(|d| d.target = Some(cfg.to_owned())), None);
        let index = "sparse+https://index.example/a/";
        assert_eq!(
            dependency(|d| d.source = DependencySource::Url(index.to_owned())),
            None
        );
        let alias = |alias: &str| {
            refusal(|m| {
                let all = m.dependencies.remove("dep").unwrap();
                m.dependencies.insert(alias.to_owned(), all);
            })
        };
        for good in ["_dep", "dep2", "Dep", "__"] {
            assert_eq!(alias(good), None, "{good}");
        }
        for wrong in ["", "_", "2dep", "d p", "dép", "-d", &"d".repeat(65)] {
            assert_eq!(alias(wrong), Some("dependency"), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let long = |count: usize| "a".repeat(count);
        let url = |text: &str| Some(text.parse().unwrap());
        assert_eq!(refusal(|m| m.id.name = "1x".to_owned()), Some("name"));
        assert_eq!(
            refusal(|m| m.id.version.pre = long(150).parse().unwrap()),
            Some("version")
        );
        assert_eq!(refusal(|m| m.checksums.blake3 = None), Some("hashes"));
        assert_eq!(refusal(|m| m.checksums.size = Some(1 << 53)), Some("size"));
        let sha256 = Some(ContentHash::sha256(b""));
        assert_eq!(refusal(|m| m.checksums.blake3 = sha256), Some("blake3"));
        assert_eq!(
            refusal(|m| m.checksums.sha256 = m.checksums.blake3),
            Some("sha256")
        );
        assert_eq!(refusal(|m| m.readme = sha256), Some("readme"));
        assert_eq!(refusal(|m| m.description = long(1001)), Some("description"));
        assert_eq!(
            refusal(|m| m.authors = vec![String::new(); 65]),
            Some("authors")
        );
        assert_eq!(
            refusal(|m| m.authors = vec!["\u{200f}".to_owned()]),
            Some("author")
        );
        assert_eq!(refusal(|m| m.license = "MIT\r".to_owned()), Some("license"));
        assert_eq!(
            refusal(|m| m.repository = url("ssh://a/b")),
            Some("repository")
        );
        assert_eq!(
            refusal(|m| m.homepage = url("data:text/html,a")),
            Some("homepage")
        );
        let address = format!("https://a/{}", long(503));
        assert_eq!(
            refusal(|m| m.documentation = url(&address)),
            Some("documentation")
        );
        assert_eq!(
            refusal(|m| m.keywords = vec!["a".to_owned(); 6]),
            Some("keywords")
        );
        assert_eq!(refusal(|m| m.keywords = vec![long(21)]), Some("keyword"));
        assert_eq!(
            refusal(|m| m.keywords = vec!["schlüssel".to_owned()]),
            Some("keyword")
        );
        assert_eq!(
            refusal(|m| m.categories = vec!["a".to_owned(); 6]),
            Some("categories")
        );
        assert_eq!(
            refusal(|m| m.categories = vec!["a b".to_owned()]),
            Some("category")
        );
        assert_eq!(refusal(|m| m.links = Some("a b".to_owned())), Some("links"));
        assert_eq!(
            refusal(|m| m.rust_version = Some(String::new())),
            Some("rust_version")
        );
        let feature = |name: String| [(name, Vec::new())].into();
        assert_eq!(
            refusal(|m| m.features = feature(long(193))),
            Some("feature")
        );
        let values = |count| [("a".to_owned(), vec!["b".to_owned(); count])].into();
        assert_eq!(refusal(|m| m.features = values(4097)), Some("feature"));
        assert_eq!(
            dependency(|d| d.name = "nul".to_owned()),
            Some("dependency")
        );
        assert_eq!(
            dependency(|d| d.target = Some("\u{2068}".to_owned())),
            Some("target")
        );
        assert_eq!(
            dependency(|d| d.features = vec![" ".to_owned()]),
            Some("dependency feature")
        );
        let local = DependencySource::Url("https:///".to_owned());
        assert_eq!(
            dependency(|d| d.source = local),
            Some("dependency registry")
        );
    }

    #[test]
    fn no_text_holds_what_misleads() {
        let controls = (0u32..0x20)
            .chain(0x7f..0xa0)
            .filter(|c| ![9, 10].contains(c));
        let directions = [0x61c, 0x200e, 0x200f].into_iter();
        let others = (0x200b..=0x200f)
            .chain(0x202a..=0x202e)
            .chain(0x2066..=0x2069);
        for c in controls.chain(directions).chain(others).chain([0xfeff]) {
            let c = char::from_u32(c).unwrap();
            let error = text("note", &format!("a{c}b"), 100).unwrap_err();
            assert!(
                error.why.contains(&format!("U+{:04X}", u32::from(c))),
                "{error}"
            );
        }
        for fine in ["", "a\tb\n", "“—”", "\u{a0}", "é", "\u{1f980}"] {
            assert!(text("note", fine, 100).is_ok(), "{fine:?}");
        }
        assert!(
            text("note", "e\u{301}", 100).is_err(),
            "not in normal form C"
        );
    }
}
