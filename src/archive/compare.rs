//! Compares an archive with the record that publishes it.

use std::fmt::Debug;
use std::io::Read;

use ggen_protocols::metadata::Format;
use ggen_protocols::record::{Publish, PublishDependency, SourceWire};

use super::{ArchiveError, Bounds, Inspected, check};

/// Longest value in an error, in characters.
const SHOWN_CHARS_MAX: usize = 200;

pub(super) fn matches(
    archive: impl Read,
    publish: &Publish,
    bounds: Bounds,
) -> Result<Inspected, ArchiveError> {
    let format = match publish.format {
        0 => Format::Cargo,
        1 => Format::Pack,
        _ => Format::Generic,
    };
    let inspected = check::inspect(archive, format, bounds)?;
    let recorded = publish.checksums();
    stated("BLAKE3", inspected.blake3, recorded.blake3)?;
    stated("SHA-256", inspected.sha256, recorded.sha256)?;
    stated("size", inspected.size, recorded.size)?;
    if let Some(metadata) = &inspected.metadata {
        let derived = Publish::from_metadata(metadata)
            .map_err(|error| ArchiveError::Manifest(error.to_string()))?;
        same_declaration(&derived, publish)?;
    }
    Ok(inspected)
}

/// A record need not state every hash, nor the size; what it states must be right.
fn stated<T: PartialEq + ToString>(
    field: &'static str,
    found: T,
    recorded: Option<T>,
) -> Result<(), ArchiveError> {
    match recorded {
        Some(recorded) if recorded != found => Err(ArchiveError::Differs {
            field,
            found: found.to_string(),
            recorded: recorded.to_string(),
        }),
        _ => Ok(()),
    }
}

/// All that a manifest declares. The hashes of a README and of a provenance statement are not derived from the
/// archive, and so not compared.
fn same_declaration(derived: &Publish, recorded: &Publish) -> Result<(), ArchiveError> {
    same("name", &derived.name, &recorded.name)?;
    same("version", &derived.version, &recorded.version)?;
    same("description", &derived.description, &recorded.description)?;
    same("authors", &derived.authors, &recorded.authors)?;
    same("license", &derived.license, &recorded.license)?;
    same("links", &derived.links, &recorded.links)?;
    same("keywords", &derived.keywords, &recorded.keywords)?;
    same("categories", &derived.categories, &recorded.categories)?;
    same("native library", &derived.native, &recorded.native)?;
    same(
        "rust-version",
        &derived.rust_version,
        &recorded.rust_version,
    )?;
    same_each("features", &derived.features, &recorded.features)?;
    let recorded = unbound(&recorded.dependencies);
    same_each("dependencies", &derived.dependencies, &recorded)
}

/// The dependencies as the manifest has them: an owner may be bound to what the manifest leaves to the default
/// registry, for the manifest cannot name one.
fn unbound(dependencies: &[PublishDependency]) -> Vec<PublishDependency> {
    let mut dependencies = dependencies.to_vec();
    for dependency in &mut dependencies {
        if matches!(dependency.source, SourceWire::Owner(_)) {
            dependency.source = SourceWire::Default(());
        }
    }
    // Not deduplicated: a dependency that is there both bound and unbound stands twice, and differs.
    dependencies.sort();
    dependencies
}

fn same<T: PartialEq + Debug>(
    field: &'static str,
    found: &T,
    recorded: &T,
) -> Result<(), ArchiveError> {
    if found == recorded {
        return Ok(());
    }
    Err(ArchiveError::Differs {
        field,
        found: shown(Some(found)),
        recorded: shown(Some(recorded)),
    })
}

/// As [`same`], but shows the first elements that differ, for the lists may be long.
fn same_each<T: PartialEq + Debug>(
    field: &'static str,
    found: &[T],
    recorded: &[T],
) -> Result<(), ArchiveError> {
    let pairs = found.iter().zip(recorded);
    let at = pairs.take_while(|(one, other)| one == other).count();
    if at == found.len() && at == recorded.len() {
        return Ok(());
    }
    Err(ArchiveError::Differs {
        field,
        found: shown(found.get(at)),
        recorded: shown(recorded.get(at)),
    })
}

fn shown(value: Option<&impl Debug>) -> String {
    let text = value.map_or("absent".to_owned(), |value| format!("{value:?}"));
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
