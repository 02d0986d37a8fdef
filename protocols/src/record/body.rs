//! The bodies of records, as they stand on the wire: arrays of fixed positions.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use semver::{BuildMetadata, Version};
use serde::{Deserialize, Serialize};
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use super::grammar::{self, GrammarError};
use super::head::{Head, KIND_HEAD};
use super::{Record, Verified};
use crate::cbor::Opaque;
use crate::hash::{ContentHash, HashAlgorithm};
use crate::id::{CanonicalName, OwnerId, PackageId, PackageName, RecordId, ReleaseKey};
use crate::metadata::{
    Checksums, Dependencies, Dependency, DependencyKind, DependencySource, Format, KeyText,
    OwnerIdText, PackageMetadata, Proof, Signature,
};
use crate::owner::{KIND_ACL, KIND_GENESIS, NamespaceDocument};
use crate::trust::{Endorse, KIND_ENDORSE};

/// The number of the record kind that publishes a release.
pub const KIND_PUBLISH: u64 = 3;
/// The number of the record kind that sets a state register.
pub const KIND_STATE: u64 = 4;

/// What a record says.
// Only the largest is boxed: a state is made and read too often to be worth an allocation for its 256 bytes.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// A namespace begins, under this document.
    Genesis(Box<NamespaceDocument>),
    /// This document replaces the one before it.
    Acl(Box<NamespaceDocument>),
    /// Here is a release.
    Publish(Box<Publish>),
    /// This is the state of a release or of a package.
    State(State),
    /// This is what the namespace thinks of another one.
    Endorse(Endorse),
    /// This is what the signer saw last of a namespace.
    Head(Box<Head>),
    /// Something that this version stores and passes on and does not understand.
    Other {
        /// Its kind.
        kind: u64,
        /// Its content.
        body: Opaque,
    },
}

impl Body {
    /// The number that stands for the kind on the wire.
    pub fn kind(&self) -> u64 {
        match self {
            Self::Genesis(_) => KIND_GENESIS,
            Self::Acl(_) => KIND_ACL,
            Self::Publish(_) => KIND_PUBLISH,
            Self::State(_) => KIND_STATE,
            Self::Endorse(_) => KIND_ENDORSE,
            Self::Head(_) => KIND_HEAD,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// The body of a publish record: everything that resolving and fetching a release needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Publish {
    /// Name, in the publisher's spelling.
    pub name: String,
    /// Version, build metadata included.
    pub version: String,
    /// Number of the format: 0 cargo, 1 pack, 2 generic; others are opaque archives.
    pub format: u64,
    /// BLAKE3 hash of the archive.
    pub blake3: Option<serde_bytes::ByteArray<32>>,
    /// SHA-256 hash of the archive.
    pub sha256: Option<serde_bytes::ByteArray<32>>,
    /// Length of the archive in bytes.
    pub size: Option<u64>,
    /// What it needs, strictly ascending.
    pub dependencies: Vec<PublishDependency>,
    /// Its features, names strictly ascending.
    pub features: Vec<FeatureWire>,
    /// One or two sentences.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// Licence expression, or empty.
    pub license: String,
    /// Its addresses.
    pub links: Links,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// Slugs of categories.
    pub categories: Vec<String>,
    /// The native library it links.
    pub native: Option<String>,
    /// The oldest compiler it builds with.
    pub rust_version: Option<String>,
    /// BLAKE3 hash of its README.
    pub readme: Option<serde_bytes::ByteArray<32>>,
    /// BLAKE3 hash of a statement of how it was built.
    pub provenance: Option<serde_bytes::ByteArray<32>>,
}

/// Addresses on the web.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Links {
    /// Where the source is kept.
    pub repository: Option<String>,
    /// The project's site.
    pub homepage: Option<String>,
    /// Its documentation.
    pub documentation: Option<String>,
}

/// A feature and what it turns on.
pub type FeatureWire = (String, Vec<String>);

/// Where a dependency comes from: null, an owner's bytes, or an index URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum SourceWire {
    /// The ecosystem's default registry.
    Default(()),
    /// An owner.
    Owner(OwnerId),
    /// An index URL.
    Url(String),
}

impl<'de> Deserialize<'de> for SourceWire {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl serde::de::Visitor<'_> for Source {
            type Value = SourceWire;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, 32 bytes or a text")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<SourceWire, E> {
                Ok(SourceWire::Default(()))
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<SourceWire, E> {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(SourceWire::Owner(OwnerId::from_bytes(bytes)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SourceWire, E> {
                Ok(SourceWire::Url(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Source)
    }
}

/// One dependency on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize_tuple, Deserialize_tuple)]
pub struct PublishDependency {
    /// The package needed.
    pub name: String,
    /// Which versions will do.
    pub requirement: String,
    /// Where it comes from.
    pub source: SourceWire,
    /// 0 normal, 1 dev, 2 build.
    pub kind: u64,
    /// Features that must be on.
    pub features: Vec<String>,
    /// Platform expression.
    pub target: Option<String>,
    /// Whether only a feature turns it on.
    pub optional: bool,
    /// Whether its default features are on.
    pub default_features: bool,
    /// What the package's own code calls it, where that differs from the name.
    pub rename: Option<String>,
}

/// The body of a state record: a register that its owner may set again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct State {
    /// Name, in any spelling.
    pub name: String,
    /// The version, or nothing for the package as a whole.
    pub version: Option<String>,
    /// One more than the largest revision that the writer had seen.
    pub revision: u64,
    /// Whether new resolutions pass over it.
    pub yanked: bool,
    /// Whether its owner takes it back altogether.
    pub withdrawn: bool,
    /// Why, at most 256 bytes.
    pub note: String,
    /// Metadata that may change after publication.
    pub info: Option<Info>,
}

/// Metadata that an owner may change after publication; what is absent stays as published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Info {
    /// New description.
    pub description: Option<String>,
    /// New addresses; a `None` among them stays as published.
    pub links: Links,
    /// New keywords.
    pub keywords: Option<Vec<String>>,
    /// New categories.
    pub categories: Option<Vec<String>>,
    /// Why it should be no longer chosen.
    pub deprecated: Option<String>,
}

impl State {
    /// The register that it sets: a package's, or one of its versions.
    pub fn key(&self) -> (CanonicalName, Option<Version>) {
        let version = self.version.as_ref().map(|version| Version {
            build: BuildMetadata::EMPTY,
            ..grammar::checked_version(version)
        });
        (grammar::checked_name(&self.name).canonical(), version)
    }
}

impl Publish {
    /// The body that publishes `metadata`. Its `namespace`, `signature` and `published_at` are not part of it,
    /// nor is `deprecated`, which a state record says. Dependencies under one alias are sorted.
    ///
    /// # Errors
    /// [`GrammarError`] names the field that no record can carry.
    pub fn from_metadata(metadata: &PackageMetadata) -> Result<Self, GrammarError> {
        let text = |url: &Option<url::Url>| url.as_ref().map(ToString::to_string);
        let mut dependencies = Vec::new();
        for (alias, all) in &metadata.dependencies {
            dependencies.extend(
                all.iter()
                    .map(|one| PublishDependency::from_metadata(alias, one)),
            );
        }
        dependencies.sort();
        dependencies.dedup();
        let publish = Self {
            name: metadata.id.name.clone(),
            version: metadata.id.version.to_string(),
            format: match metadata.format {
                Format::Cargo => 0,
                Format::Pack => 1,
                Format::Generic => 2,
            },
            blake3: bytes_of("blake3", HashAlgorithm::BLAKE3, metadata.checksums.blake3)?,
            sha256: bytes_of("sha256", HashAlgorithm::SHA256, metadata.checksums.sha256)?,
            size: metadata.checksums.size,
            dependencies,
            features: metadata.features.clone().into_iter().collect(),
            description: metadata.description.clone(),
            authors: metadata.authors.clone(),
            license: metadata.license.clone(),
            links: Links {
                repository: text(&metadata.repository),
                homepage: text(&metadata.homepage),
                documentation: text(&metadata.documentation),
            },
            keywords: metadata.keywords.clone(),
            categories: metadata.categories.clone(),
            native: metadata.links.clone(),
            rust_version: metadata.rust_version.clone(),
            readme: bytes_of("readme", HashAlgorithm::BLAKE3, metadata.readme)?,
            provenance: None,
        };
        grammar::check_publish(&publish)?;
        Ok(publish)
    }

    /// Name in the publisher's spelling.
    pub fn package_name(&self) -> PackageName {
        grammar::checked_name(&self.name)
    }

    /// Where the release stands in the namespace of `owner`.
    pub fn key(&self, owner: OwnerId) -> ReleaseKey {
        let version = grammar::checked_version(&self.version);
        ReleaseKey::new(owner, self.package_name().canonical(), &version)
    }

    /// Hashes and size of the archive.
    pub fn checksums(&self) -> Checksums {
        Checksums {
            blake3: self
                .blake3
                .map(|b| ContentHash::from_blake3(b.into_array())),
            sha256: self
                .sha256
                .map(|b| ContentHash::from_sha256(b.into_array())),
            size: self.size,
        }
    }

    /// The body as metadata under `namespace`; `by` is the record that carries it.
    pub fn to_metadata(&self, namespace: Option<String>, by: &Verified<Record>) -> PackageMetadata {
        let url = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let mut dependencies = Dependencies::new();
        for one in &self.dependencies {
            let alias = one.rename.as_ref().unwrap_or(&one.name).clone();
            dependencies
                .entry(alias)
                .or_default()
                .push(one.to_metadata());
        }
        let id = PackageId {
            name: self.name.clone(),
            version: grammar::checked_version(&self.version),
            namespace,
        };
        PackageMetadata {
            description: self.description.clone(),
            authors: self.authors.clone(),
            license: self.license.clone(),
            repository: url(&self.links.repository),
            homepage: url(&self.links.homepage),
            keywords: self.keywords.clone(),
            categories: self.categories.clone(),
            dependencies,
            checksums: self.checksums(),
            signature: Signature {
                key: KeyText(by.key()),
                proof: Proof::Record(by.envelope().clone()),
            },
            published_at: moment(by.content().time_ms),
            format: match self.format {
                0 => Format::Cargo,
                1 => Format::Pack,
                _ => Format::Generic,
            },
            documentation: url(&self.links.documentation),
            links: self.native.clone(),
            rust_version: self.rust_version.clone(),
            features: BTreeMap::from_iter(self.features.iter().cloned()),
            readme: self
                .readme
                .map(|b| ContentHash::from_blake3(b.into_array())),
            ..PackageMetadata::new(id)
        }
    }
}

impl PublishDependency {
    fn from_metadata(alias: &str, dependency: &Dependency) -> Self {
        Self {
            name: dependency.name.clone(),
            requirement: dependency.requirement.to_string(),
            source: match &dependency.source {
                DependencySource::Default => SourceWire::Default(()),
                DependencySource::Owner(owner) => SourceWire::Owner(owner.0),
                DependencySource::Url(url) => SourceWire::Url(url.clone()),
            },
            kind: match dependency.kind {
                DependencyKind::Normal => 0,
                DependencyKind::Dev => 1,
                DependencyKind::Build => 2,
            },
            features: dependency.features.clone(),
            target: dependency.target.clone(),
            optional: dependency.optional,
            default_features: dependency.default_features,
            rename: (alias != dependency.name).then(|| alias.to_owned()),
        }
    }

    fn to_metadata(&self) -> Dependency {
        Dependency {
            name: self.name.clone(),
            requirement: grammar::checked_requirement(&self.requirement),
            source: match &self.source {
                SourceWire::Default(()) => DependencySource::Default,
                SourceWire::Owner(owner) => DependencySource::Owner(OwnerIdText(*owner)),
                SourceWire::Url(url) => DependencySource::Url(url.clone()),
            },
            kind: match self.kind {
                0 => DependencyKind::Normal,
                1 => DependencyKind::Dev,
                _ => DependencyKind::Build,
            },
            features: self.features.clone(),
            target: self.target.clone(),
            optional: self.optional,
            default_features: self.default_features,
        }
    }
}

/// The bytes of a hash whose function the wire does not tell, because the field does.
fn bytes_of(
    field: &'static str,
    algorithm: HashAlgorithm,
    hash: Option<ContentHash>,
) -> Result<Option<serde_bytes::ByteArray<32>>, GrammarError> {
    match hash {
        Some(hash) if hash.algorithm() != algorithm => Err(GrammarError {
            field,
            why: format!("a {} hash belongs here, not {hash}", algorithm.name()),
        }),
        hash => Ok(hash.map(|hash| serde_bytes::ByteArray::new(*hash.as_bytes()))),
    }
}

/// Milliseconds since 1970 as a date; what no date can hold becomes the latest one.
fn moment(time_ms: u64) -> DateTime<Utc> {
    let signed = i64::try_from(time_ms).ok();
    signed
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A record's first words in the feed of its key: what the next record needs to be chained. Of two, the one with the
/// larger place is the larger, at one place the one with the larger id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedHead {
    /// Place of the last record, 0 where there is none.
    pub seq: u64,
    /// The last record.
    pub last: Option<RecordId>,
}
