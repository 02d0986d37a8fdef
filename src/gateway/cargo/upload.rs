//! What cargo uploads: a description in JSON and the archive, each behind its length. The archive's own manifest is
//! what counts; a description that says something else is refused, so that nobody is shown the one and gets the other.
//!
//! ```text
//! upload = length: u32 little-endian, description (JSON), length: u32 little-endian, archive
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{Buf, Bytes};
use ggen_protocols::record::{Publish, PublishDependency, SourceWire};
use semver::VersionReq;
use serde::Deserialize;

use super::DEFAULT_REGISTRY;

/// Largest description, in bytes: the most that a record can carry fits several times.
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;
/// Longest value in an error, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// What the description says of all that resolving depends on. The rest of it is not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) vers: String,
    #[serde(default)]
    deps: Vec<Needed>,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
    links: Option<String>,
    rust_version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Needed {
    name: String,
    version_req: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default = "yes")]
    default_features: bool,
    target: Option<String>,
    kind: Option<String>,
    registry: Option<String>,
    explicit_name_in_toml: Option<String>,
}

fn yes() -> bool {
    true
}

/// Takes an upload apart.
///
/// # Errors
/// Says which of the two lengths does not fit.
pub(super) fn parts(upload: &Bytes) -> Result<(Bytes, Bytes), String> {
    let mut rest = upload.clone();
    let description = part(&mut rest, "description", DESCRIPTION_BYTES_MAX)?;
    let archive = part(&mut rest, "archive", usize::MAX)?;
    if rest.has_remaining() {
        return Err(format!(
            "the upload has {} bytes after the archive",
            rest.remaining()
        ));
    }
    Ok((description, archive))
}

fn part(rest: &mut Bytes, what: &str, length_max: usize) -> Result<Bytes, String> {
    let length = rest
        .try_get_u32_le()
        .map_err(|_| format!("the upload ends before the length of its {what}"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > length_max {
        return Err(format!("its {what} has at most {length_max} bytes"));
    }
    if length > rest.len() {
        return Err(format!(
            "its {what} is to have {length} bytes, but {} follow",
            rest.len()
        ));
    }
    Ok(rest.split_to(length))
}

impl Description {
    /// Checks that the archive's manifest says the same. `is_here` knows the addresses of the index that is uploaded to,
    /// which the description leaves out.
    ///
    /// # Errors
    /// Says what differs.
    pub(super) fn check(
        &self,
        manifest: &Publish,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        same("name", &self.name, &manifest.name)?;
        same("version", &self.vers, &manifest.version)?;
        same("links", &self.links, &manifest.native)?;
        same("rust-version", &self.rust_version, &manifest.rust_version)?;
        let features: Vec<_> = self.features.clone().into_iter().collect();
        same_each("features", &features, &manifest.features)?;
        let needed: Result<Vec<_>, _> = self.deps.iter().map(Needed::read).collect();
        let mut needed = needed?;
        let mut declared: Vec<_> = manifest.dependencies.iter().map(comparable).collect();
        for list in [&mut needed, &mut declared] {
            for dependency in &mut *list {
                if matches!(&dependency.source, SourceWire::Url(url) if is_here(url)) {
                    dependency.source = here();
                }
            }
            list.sort();
            list.dedup();
        }
        same_each("dependencies", &needed, &declared)
    }
}

/// Stands for the index that is uploaded to.
fn here() -> SourceWire {
    SourceWire::Url(String::new())
}

/// A dependency without what may be written in several ways.
fn comparable(dependency: &PublishDependency) -> PublishDependency {
    let mut same = dependency.clone();
    same.features.sort();
    if let Some(target) = &mut same.target {
        target.retain(|c| !c.is_whitespace());
    }
    same
}

impl Needed {
    fn read(&self) -> Result<PublishDependency, String> {
        let requirement: VersionReq = self.version_req.parse().map_err(|error| {
            format!(
                "`{}` is no version requirement: {error}",
                self.version_req.escape_debug()
            )
        })?;
        let kind = match self.kind.as_deref() {
            None | Some("normal") => 0,
            Some("dev") => 1,
            Some("build") => 2,
            Some(other) => {
                return Err(format!(
                    "there are no dependencies of the kind `{}`",
                    other.escape_debug()
                ));
            }
        };
        let rename = self.explicit_name_in_toml.clone();
        Ok(comparable(&PublishDependency {
            name: self.name.clone(),
            requirement: requirement.to_string(),
            source: match self.registry.as_deref() {
                None => here(),
                Some(DEFAULT_REGISTRY) => SourceWire::Default(()),
                Some(url) => SourceWire::Url(url.to_owned()),
            },
            kind,
            features: self.features.clone(),
            target: self.target.clone(),
            optional: self.optional,
            default_features: self.default_features,
            rename: rename.filter(|alias| *alias != self.name),
        }))
    }
}

fn same<T: PartialEq + Debug>(field: &str, said: &T, declared: &T) -> Result<(), String> {
    if said == declared {
        return Ok(());
    }
    Err(differs(field, Some(said), Some(declared)))
}

/// As [`same`], but shows the first elements that differ, for the lists may be long.
fn same_each<T: PartialEq + Debug>(field: &str, said: &[T], declared: &[T]) -> Result<(), String> {
    let pairs = said.iter().zip(declared);
    let at = pairs.take_while(|(one, other)| one == other).count();
    if at == said.len() && at == declared.len() {
        return Ok(());
    }
    Err(differs(field, said.get(at), declared.get(at)))
}

fn differs(field: &str, said: Option<&impl Debug>, declared: Option<&impl Debug>) -> String {
    format!(
        "the upload describes another package than its archive holds: {field} is {}, the Cargo.toml in the archive \
         says {}",
        shown(said),
        shown(declared)
    )
}

fn shown(value: Option<&impl Debug>) -> String {
    let text = value.map_or("absent".to_owned(), |value| format!("{value:?}"));
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::hash::ContentHash;
    use ggen_protocols::id::PackageId;
    use ggen_protocols::metadata::{Dependency, DependencyKind, DependencySource, PackageMetadata};

    use super::*;

    const OWN: &str = "sparse+http://127.0.0.1:7878/cargo/_/";
    const OTHER: &str = "sparse+http://127.0.0.1:7878/cargo/acme/";

    fn upload(description: &[u8], archive: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [description, archive] {
            bytes.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            bytes.extend(part);
        }
        bytes
    }

    #[test]
    fn an_upload_is_taken_apart_only_if_both_lengths_fit() {
        let whole = upload(b"json", b"archive");
        let (description, archive) = parts(&whole.clone().into()).unwrap();
        assert_eq!(
            (&description[..], &archive[..]),
            (&b"json"[..], &b"archive"[..])
        );
        for length in 0..whole.len() {
            parts(&whole[..length].to_vec().into()).unwrap_err();
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(parts(&longer.into()).unwrap_err().contains("after"));
        let mut lying = whole;
        lying[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        parts(&lying.into()).unwrap_err();
    }

    fn manifest() -> Publish {
        let mut metadata = PackageMetadata::new(PackageId::new("app", "1.0.0-a+b"));
        let mut add = |alias: &str, dependency: Dependency| {
            let all = metadata.dependencies.entry(alias.to_owned()).or_default();
            all.push(dependency);
        };
        let url = |url: &str| DependencySource::Url(url.to_owned());
        add("usual", Dependency::new("usual", "1".parse().unwrap()));
        add(
            "alias",
            Dependency {
                source: url(OWN),
                kind: DependencyKind::Build,
                target: Some("cfg(target_os=\"linux\")".to_owned()),
                features: vec!["b".to_owned(), "a".to_owned()],
                optional: true,
                default_features: false,
                ..Dependency::new("real", ">=1, <3".parse().unwrap())
            },
        );
        add(
            "far",
            Dependency {
                source: url(OTHER),
                kind: DependencyKind::Dev,
                ..Dependency::new("far", "*".parse().unwrap())
            },
        );
        metadata.features = BTreeMap::from([("f".to_owned(), vec!["dep:alias".to_owned()])]);
        metadata.links = Some("z".to_owned());
        metadata.rust_version = Some("1.70".to_owned());
        metadata.checksums.sha256 = Some(ContentHash::sha256("archive"));
        Publish::from_metadata(&metadata).unwrap()
    }

    fn description() -> serde_json::Value {
        let needed = |name: &str, req: &str, kind: &str, registry: Option<&str>| {
            serde_json::json!({
                "name": name, "version_req": req, "features": [], "optional": false,
                "default_features": true, "target": null, "kind": kind, "registry": registry,
            })
        };
        let mut real = needed("real", ">=1,<3", "build", None);
        real["explicit_name_in_toml"] = "alias".into();
        real["target"] = "cfg(target_os = \"linux\")".into();
        real["features"] = serde_json::json!(["a", "b"]);
        real["optional"] = true.into();
        real["default_features"] = false.into();
        serde_json::json!({
            "name": "app", "vers": "1.0.0-a+b", "links": "z", "rust_version": "1.70",
            "features": { "f": ["dep:alias"] },
            "deps": [
                real,
                needed("usual", "^1", "normal", Some(DEFAULT_REGISTRY)),
                needed("far", "*", "dev", Some(OTHER)),
            ],
            "description": "of no interest here",
        })
    }

    fn check(description: &serde_json::Value) -> Result<(), String> {
        let description: Description = serde_json::from_value(description.clone()).unwrap();
        description.check(&manifest(), |url| url == OWN)
    }

    #[test]
    fn the_same_package_in_cargos_words_is_the_same() {
        check(&description()).unwrap();
    }

    #[test]
    fn a_description_of_something_else_is_refused() {
        let changes: [(&str, serde_json::Value); 16] = [
            ("/name", "App".into()),
            ("/vers", "1.0.0-a+c".into()),
            ("/links", "y".into()),
            ("/links", serde_json::Value::Null),
            ("/rust_version", "1.71".into()),
            ("/features/f", serde_json::json!([])),
            ("/features", serde_json::json!({})),
            ("/deps/0/name", "unreal".into()),
            ("/deps/0/explicit_name_in_toml", "other".into()),
            ("/deps/0/target", "cfg(target_os = \"macos\")".into()),
            ("/deps/0/kind", "normal".into()),
            ("/deps/0/optional", false.into()),
            ("/deps/1/version_req", "^2".into()),
            ("/deps/1/registry", serde_json::Value::Null),
            ("/deps/2/registry", DEFAULT_REGISTRY.into()),
            ("/deps", serde_json::json!([])),
        ];
        for (place, value) in changes {
            let mut changed = description();
            *changed.pointer_mut(place).unwrap() = value;
            let why = check(&changed).unwrap_err();
            assert!(why.contains("another package"), "{place}: {why}");
        }
    }
}
