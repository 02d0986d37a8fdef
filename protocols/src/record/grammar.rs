//! Grammar and limits of records: what a signature cannot make right.

use semver::{Version, VersionReq};
use unicode_normalization::is_nfc;

use super::Record;
use super::body::{Body, Info, Links, Publish, PublishDependency, SourceWire, State};
use super::head::Head;
use crate::id::{self, Label, PackageName, PublicKey};
use crate::limits;
use crate::owner::{Mark, NamespaceDocument, SCOPE_ALL};
use crate::trust::{Endorse, Level};

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

pub(super) fn check(key: PublicKey, record: &Record) -> Checked {
    match &record.body {
        Body::Genesis(document) => {
            unchained(record)?;
            timeless(record)?;
            if key != document.root {
                return refuse(
                    "root",
                    "a founding record is signed by the root that it names",
                );
            }
            if !matches!(document.mark, Mark::Nonce(_)) {
                return refuse("nonce", "a founding record has 16 bytes of nonce");
            }
            if **document == NamespaceDocument::implicit(key) {
                return refuse(
                    "nonce",
                    "what a bare key is taken to have said is never sent",
                );
            }
            check_document(document)
        }
        Body::Acl(document) => {
            timeless(record)?;
            if record.owner.is_none() || record.previous.is_none() || record.seq == 0 {
                let why = "an access list names its namespace and the document it continues";
                return refuse("previous", why);
            }
            if !matches!(document.mark, Mark::Reason(_)) {
                return refuse(
                    "reason",
                    "an access list tells why it came, if only with an empty text",
                );
            }
            check_document(document)
        }
        Body::Endorse(endorse) => {
            chained(record)?;
            check_endorse(endorse)
        }
        Body::Head(head) => {
            unchained(record)?;
            check_head(head)
        }
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

/// Founding records and heads stand in no feed.
fn unchained(record: &Record) -> Checked {
    if record.owner.is_some() || record.seq != 0 || record.previous.is_some() {
        return refuse(
            "seq",
            "it stands in no namespace's feed: no owner, place 0, no previous one",
        );
    }
    Ok(())
}

/// A document that is signed again must be the same record, whenever that is.
fn timeless(record: &Record) -> Checked {
    if record.time_ms != 0 {
        return refuse("time", "a document carries no time");
    }
    Ok(())
}

fn label(value: &str) -> Checked {
    parsed("label", value.parse::<Label>())
}

fn check_document(document: &NamespaceDocument) -> Checked {
    if !document.label.is_empty() {
        label(&document.label)?;
    }
    let publishers = &document.publishers;
    at_most(
        "publishers",
        publishers.len(),
        limits::PUBLISHERS_MAX,
        "of them",
    )?;
    if !publishers.is_sorted_by(|(a, _), (b, _)| a < b) {
        return refuse("publishers", "they must be sorted by key, each once");
    }
    for (_, scopes) in publishers {
        at_most("scopes", scopes.len(), limits::SCOPES_MAX, "of them")?;
        if scopes.is_empty() || !scopes.is_sorted_by(|a, b| a < b) {
            return refuse("scopes", "they must be sorted, each once, and at least one");
        }
        for scope in scopes.iter().filter(|scope| *scope != SCOPE_ALL) {
            name("scope", scope)?;
            if checked_name(scope).canonical().as_str() != scope {
                return refuse("scope", "it must be in lower case, with `-` for `_`");
            }
        }
    }
    let retired = &document.retired;
    at_most("retired", retired.len(), limits::RETIRED_MAX, "of them")?;
    if !retired.is_sorted_by(|a, b| a < b) {
        return refuse("retired", "they must be sorted, each once");
    }
    match &document.mark {
        Mark::Reason(reason) => text("reason", reason, limits::NOTE_BYTES_MAX),
        Mark::Nonce(_) => Ok(()),
    }
}

fn check_endorse(endorse: &Endorse) -> Checked {
    revision(endorse.revision)?;
    if Level::of(endorse.level).is_none() {
        return refuse("level", "it must be from 0 (distrust) to 3 (full)");
    }
    if endorse.depth > u64::from(limits::TRUST_HOPS_MAX) {
        return refuse("depth", "it must be from 0 to 3");
    }
    if let Some(name) = &endorse.label {
        label(name)?;
    }
    text("reason", &endorse.reason, limits::NOTE_BYTES_MAX)
}

fn check_head(head: &Head) -> Checked {
    at_most("feeds", head.feeds.len(), limits::HEAD_FEEDS_MAX, "of them")?;
    if !head.feeds.is_sorted_by(|(a, ..), (b, ..)| a < b) {
        return refuse("feeds", "they must be sorted by key, each once");
    }
    if head.feeds.iter().any(|(_, seq, _)| *seq == 0) {
        return refuse("feeds", "a feed's first record is number 1");
    }
    Ok(())
}

fn revision(revision: u64) -> Checked {
    if revision == 0 || revision > limits::REVISION_MAX {
        return refuse("revision", "it must be from 1 to 2^32 - 1");
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
    revision(state.revision)?;
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
mod tests;
