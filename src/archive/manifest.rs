//! Reads what a manifest declares, so that all nodes derive the same from the same archive.
//!
//! What resolving depends on (name, version, dependencies, features, `links`, `rust-version`) is taken exactly, or the
//! manifest is refused. What only describes (text, people, addresses, words) is cut to what a record can
//! carry, for nobody should be kept from publishing by a sixth keyword.

mod clean;
mod dependencies;
mod fields;

use std::collections::BTreeMap;

use ggen_protocols::id::{PackageId, PackageName, parse_version};
use ggen_protocols::limits;
use ggen_protocols::metadata::{DependencyKind, PackageMetadata};

use fields::Fields;

/// Reads the `Cargo.toml` of an archive: the one that `cargo package` has written.
pub(super) fn cargo(text: &str) -> Result<PackageMetadata, String> {
    let root = fields::parse(text)?;
    let root = Fields::root(&root);
    let package = root.table(&["package", "project"])?;
    let package = package.ok_or("it has no [package] table")?;
    if package.is_false_or_empty("publish") {
        return Err(
            "it says `publish = false`, so its author does not want it published; where that is meant for other \
             registries only, name the ones that it is meant for"
                .to_owned(),
        );
    }
    let mut metadata = described(&package)?;
    metadata.links = package.text("links")?;
    metadata.rust_version = package.text("rust-version")?;
    metadata.features = features(&root)?;
    metadata.dependencies = dependencies::cargo(&root)?;
    Ok(metadata)
}

/// Reads a `pack.toml`: `[pack]` describes the pack, `[dependencies]` names the packs it needs, as in a `Cargo.toml`.
/// All other tables are the pack's own affair.
pub(super) fn pack(text: &str) -> Result<PackageMetadata, String> {
    let root = fields::parse(text)?;
    let root = Fields::root(&root);
    let package = root.table(&["pack"])?.ok_or("it has no [pack] table")?;
    let mut metadata = described(&package)?;
    let kinds = [(&["dependencies"][..], DependencyKind::Normal)];
    dependencies::add(&root, &kinds, None, &mut metadata.dependencies)?;
    Ok(metadata)
}

/// The name alone, from a manifest as its author wrote it.
pub(super) fn cargo_package_name(text: &str) -> Result<Option<String>, String> {
    let root = fields::parse(text)?;
    let package = Fields::root(&root).table(&["package", "project"])?;
    package.map_or(Ok(None), |package| package.text("name"))
}

/// What a manifest says about a README.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readme {
    /// This file is it.
    File(String),
    /// There is none.
    None,
}

/// What the manifest says in this table; nothing if it leaves that open.
pub(super) fn readme(text: &str, table: &str) -> Option<Readme> {
    let root = fields::parse(text).ok()?;
    let package = Fields::root(&root).table(&[table]).ok()??;
    if package.is_false_or_empty("readme") {
        return Some(Readme::None);
    }
    package
        .plain("readme")
        .map(|path| Readme::File(path.to_owned()))
}

/// What both kinds of manifest say in the same words.
fn described(package: &Fields<'_>) -> Result<PackageMetadata, String> {
    let required = |key: &str| {
        let value = package.text(key)?;
        value.ok_or_else(|| format!("{} is missing", package.path(key)))
    };
    let name: PackageName = required("name")?.parse().map_err(describe)?;
    let version = parse_version(&required("version")?).map_err(describe)?;
    let url = |key: &str| Ok::<_, String>(package.text(key)?.as_deref().and_then(clean::url));
    let words = |key: &str, count, bytes| {
        let words = package.texts(key)?.unwrap_or_default();
        Ok::<_, String>(clean::words(words, count, bytes))
    };
    let id = PackageId {
        name: name.into(),
        version,
        namespace: None,
    };
    Ok(PackageMetadata {
        description: clean::text(
            &package.text("description")?.unwrap_or_default(),
            limits::DESCRIPTION_BYTES_MAX,
        ),
        authors: clean::authors(package.texts("authors")?.unwrap_or_default()),
        license: clean::license(&package.text("license")?.unwrap_or_default()),
        repository: url("repository")?,
        homepage: url("homepage")?,
        documentation: url("documentation")?,
        keywords: words("keywords", limits::KEYWORDS_MAX, limits::KEYWORD_BYTES_MAX)?,
        categories: words(
            "categories",
            limits::CATEGORIES_MAX,
            limits::CATEGORY_BYTES_MAX,
        )?,
        ..PackageMetadata::new(id)
    })
}

fn features(root: &Fields<'_>) -> Result<BTreeMap<String, Vec<String>>, String> {
    let Some(table) = root.table(&["features"])? else {
        return Ok(BTreeMap::new());
    };
    let mut features = BTreeMap::new();
    for name in table.keys() {
        let values = table.texts(name)?.unwrap_or_default();
        features.insert(name.to_owned(), values);
    }
    Ok(features)
}

fn describe(error: impl ToString) -> String {
    error.to_string()
}
