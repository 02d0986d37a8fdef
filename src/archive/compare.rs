//! Compares an archive with the record that publishes it.

use std::fmt::Debug;
use std::io::Read;

use ggen_protocols::metadata::Format;
use ggen_protocols::record::{Publish, PublishDependency, SourceWire};

use super::bind::is_bound;
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
    same_dependencies(&derived.dependencies, &recorded.dependencies)
}

/// The dependencies as the manifest has them, but for those that the record binds to an owner. One that is there
/// both bound and unbound stands twice, and differs.
fn same_dependencies(
    derived: &[PublishDependency],
    recorded: &[PublishDependency],
) -> Result<(), ArchiveError> {
    let (mut derived, mut recorded) = (derived.to_vec(), recorded.to_vec());
    for list in [&mut derived, &mut recorded] {
        // Binding moves a dependency within the order of records.
        list.sort_by_cached_key(|one| (sourceless(one), one.source.clone()));
    }
    for (declared, recorded) in derived.iter().zip(&mut recorded) {
        if is_bound(&declared.source, &recorded.source) {
            recorded.source = declared.source.clone();
        }
    }
    same_each("dependencies", &derived, &recorded)
}

fn sourceless(dependency: &PublishDependency) -> PublishDependency {
    PublishDependency {
        source: SourceWire::Default(()),
        ..dependency.clone()
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::OwnerId;

    use super::*;

    fn owner(number: u8) -> SourceWire {
        SourceWire::Owner(OwnerId::from_bytes([number; 32]))
    }

    fn index(segment: &str) -> SourceWire {
        SourceWire::Url(format!("sparse+http://127.0.0.1:7878/cargo/{segment}/"))
    }

    fn dependency(name: &str, source: SourceWire) -> PublishDependency {
        PublishDependency {
            name: name.to_owned(),
            requirement: "*".to_owned(),
            source,
            kind: 0,
            features: Vec::new(),
            target: None,
            optional: false,
            default_features: true,
            rename: None,
        }
    }

    fn fits(declared: &SourceWire, recorded: &[SourceWire]) -> bool {
        let recorded: Vec<_> = recorded
            .iter()
            .map(|source| dependency("a", source.clone()))
            .collect();
        same_dependencies(&[dependency("a", declared.clone())], &recorded).is_ok()
    }

    #[test]
    fn a_record_binds_what_the_manifest_leaves_open_and_nothing_else() {
        let own = OwnerId::from_bytes([1; 32]).to_string();
        for open in [
            SourceWire::Default(()),
            index("_"),
            index("acme"),
            index(&own),
        ] {
            assert!(fits(&open, &[owner(1)]), "{open:?}");
            assert!(fits(&open, std::slice::from_ref(&open)), "{open:?}");
            assert!(!fits(&open, &[index("other")]), "{open:?}");
            assert!(!fits(&open, &[]), "{open:?}");
            assert!(!fits(&open, &[owner(1), open.clone()]));
        }
        assert!(!fits(&index(&own), &[owner(2)]));
        assert!(!fits(&index(&own), &[SourceWire::Default(())]));
        let foreign = SourceWire::Url("sparse+https://example.org/index/".to_owned());
        assert!(!fits(&foreign, &[owner(1)]));
    }

    #[test]
    fn binding_one_dependency_does_not_excuse_another() {
        let derived = [
            dependency("a", SourceWire::Default(())),
            dependency("b", index("_")),
        ];
        // In the order of records: by name first.
        let bound = [dependency("a", owner(2)), dependency("b", owner(1))];
        same_dependencies(&derived, &bound).unwrap();
        let swapped = [dependency("a", owner(2)), dependency("c", owner(1))];
        same_dependencies(&derived, &swapped).unwrap_err();
    }
}
