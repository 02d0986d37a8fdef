//! What a publisher declares of a release, as programs meet it. The wire form is in [`crate::record`].

mod signing;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::hash::ContentHash;
use crate::id::{OwnerId, PackageId, PublicKey};

/// Dependencies by the name that the package's own code calls them; one name may stand several times,
/// for several kinds or platforms.
pub type Dependencies = HashMap<String, Vec<Dependency>>;

/// Everything that a registry tells of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackageMetadata {
    /// Name, version and namespace.
    pub id: PackageId,
    /// One or two sentences, at most 1,000 bytes.
    pub description: String,
    /// Who wrote it: names or addresses.
    pub authors: Vec<String>,
    /// Licence expression, or empty.
    pub license: String,
    /// Where its source is kept.
    pub repository: Option<Url>,
    /// Its site.
    pub homepage: Option<Url>,
    /// At most five words of at most 20 bytes.
    pub keywords: Vec<String>,
    /// At most five slugs.
    pub categories: Vec<String>,
    /// What it needs.
    pub dependencies: Dependencies,
    /// Hashes and size of the archive, as the record states them.
    pub checksums: Checksums,
    /// Who signed the record, and the record.
    pub signature: Signature,
    /// The publisher's clock when it signed, to the millisecond; nothing is decided by it.
    pub published_at: DateTime<Utc>,
    /// What the archive is.
    pub format: Format,
    /// Its documentation.
    pub documentation: Option<Url>,
    /// The native library it links, of which a build may hold one.
    pub links: Option<String>,
    /// The oldest compiler it builds with.
    pub rust_version: Option<String>,
    /// Features and what each turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// BLAKE3 hash of its README.
    pub readme: Option<ContentHash>,
    /// Whether its owner asked that it be no longer chosen, and why.
    pub deprecated: Option<String>,
}

impl PackageMetadata {
    /// Metadata that says nothing but the id: what literals end in (`..PackageMetadata::new(id)`).
    pub fn new(id: PackageId) -> Self {
        Self {
            id,
            description: String::new(),
            authors: Vec::new(),
            license: String::new(),
            repository: None,
            homepage: None,
            keywords: Vec::new(),
            categories: Vec::new(),
            dependencies: Dependencies::new(),
            checksums: Checksums::default(),
            signature: Signature::default(),
            published_at: DateTime::UNIX_EPOCH,
            format: Format::default(),
            documentation: None,
            links: None,
            rust_version: None,
            features: BTreeMap::new(),
            readme: None,
            deprecated: None,
        }
    }
}

/// What an archive is, and so how it is checked.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// A `.crate` file: gzip, tar, `Cargo.toml`.
    Cargo,
    /// A ggen pack: gzip, tar, `pack.toml`.
    Pack,
    /// Bytes that only their publisher understands; never unpacked.
    #[default]
    Generic,
}

/// Which builds need a dependency.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DependencyKind {
    /// Every build.
    #[default]
    Normal,
    /// Tests, examples and benches.
    Dev,
    /// The build script.
    Build,
}

/// Where a dependency comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DependencySource {
    /// The ecosystem's own default registry, whatever that is where it is resolved.
    #[default]
    Default,
    /// This owner, bound when the release was signed.
    Owner(OwnerIdText),
    /// The registry with this index URL.
    Url(String),
}

/// An owner id that serialises as text; on the wire ids are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerIdText(pub OwnerId);

impl TryFrom<String> for OwnerIdText {
    type Error = crate::id::IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<OwnerIdText> for String {
    fn from(id: OwnerIdText) -> Self {
        id.0.to_string()
    }
}

/// One dependency of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The package needed.
    pub name: String,
    /// Which of its versions will do.
    pub requirement: VersionReq,
    /// Where it comes from.
    pub source: DependencySource,
    /// Which builds need it.
    pub kind: DependencyKind,
    /// Which of its features must be on.
    pub features: Vec<String>,
    /// For which platforms, as a `cfg(...)` or a target triple.
    pub target: Option<String>,
    /// Whether only a feature turns it on.
    pub optional: bool,
    /// Whether its default features are on.
    pub default_features: bool,
}

impl Dependency {
    /// A dependency of every build on any version that `requirement` allows, from the default registry.
    pub fn new(name: impl Into<String>, requirement: VersionReq) -> Self {
        Self {
            name: name.into(),
            requirement,
            source: DependencySource::Default,
            kind: DependencyKind::Normal,
            features: Vec::new(),
            target: None,
            optional: false,
            default_features: true,
        }
    }
}

/// Hashes and size of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// What peers fetch it by.
    pub blake3: Option<ContentHash>,
    /// What package managers check it by.
    pub sha256: Option<ContentHash>,
    /// Its length in bytes.
    pub size: Option<u64>,
}

/// Who vouches for metadata, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The signing key.
    pub key: KeyText,
    /// What the key signed.
    pub proof: Proof,
}

/// A public key that serialises as text; on the wire keys are bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct KeyText(pub PublicKey);

impl TryFrom<String> for KeyText {
    type Error = crate::id::IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<KeyText> for String {
    fn from(key: KeyText) -> Self {
        key.0.to_string()
    }
}

/// What a signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Proof {
    /// The metadata alone: 64 bytes of Ed25519.
    Metadata(Bytes),
    /// The whole record that the metadata derives from, in its envelope.
    Record(Bytes),
}

impl Default for Proof {
    fn default() -> Self {
        Self::Metadata(Bytes::new())
    }
}
