//! Names and identities: parsed newtypes, so that no later code checks again.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::hash;
use crate::limits;

/// Why a text is no name, label, id, version or requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {why}")]
pub struct IdError {
    /// What the text should have been.
    what: &'static str,
    /// The text, cut at 80 characters.
    text: String,
    /// The rule that it breaks.
    why: String,
}

impl IdError {
    pub(crate) fn new(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        let text = text.chars().take(80).collect::<String>();
        Self {
            what,
            text: text.escape_debug().to_string(),
            why: why.into(),
        }
    }
}

/// Names that some file systems refuse as file names.
const DEVICE_NAMES: &[&str] = &[
    "aux", "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "con",
    "lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9", "nul", "prn",
];

/// A package name in its publisher's spelling: a letter, then up to 63 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

impl PackageName {
    /// The spelling that names are compared by.
    pub fn canonical(&self) -> CanonicalName {
        CanonicalName(self.0.to_ascii_lowercase().replace('_', "-"))
    }

    /// The name as its publisher spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = |why: &str| Err(IdError::new("package name", text, why));
        if text.len() > limits::NAME_BYTES_MAX {
            return refuse("it is longer than 64 characters");
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return refuse("it must start with a letter");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return refuse("only letters, digits, `-` and `_` may stand in it");
        }
        if DEVICE_NAMES.contains(&text.to_ascii_lowercase().as_str()) {
            return refuse("some systems reserve it as a device name");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PackageName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A package name as it is stored and compared: lower case, `_` written as `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalName(String);

impl CanonicalName {
    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CanonicalName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Ok(text.parse::<PackageName>()?.canonical())
    }
}

impl fmt::Display for CanonicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What people call a namespace: a lower-case letter, then up to 31 of `a-z 0-9 -`, not starting with `ns1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// The label itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = |why: &str| Err(IdError::new("namespace label", text, why));
        if text.len() > limits::LABEL_BYTES_MAX {
            return refuse("it is longer than 32 characters");
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return refuse("it must start with a lower-case letter");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return refuse("only lower-case letters, digits and `-` may stand in it");
        }
        if text.starts_with("ns1") {
            return refuse("`ns1` begins owner ids");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Thirty-two bytes on the wire, in one of the meanings below.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "ByteArray<32>", into = "ByteArray<32>")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes of this id.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<ByteArray<32>> for $name {
            fn from(bytes: ByteArray<32>) -> Self {
                Self(bytes.into_array())
            }
        }

        impl From<$name> for ByteArray<32> {
            fn from(id: $name) -> Self {
                ByteArray::new(id.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

bytes32! {
    /// Who owns a namespace: the id of the record that founded it. Its text is `ns1` and 52 of `a-z 2-7`.
    OwnerId
}
bytes32! {
    /// The id of a record: a hash of network, key and payload, not of the signature.
    RecordId
}
bytes32! {
    /// An Ed25519 public key, in the form that RFC 8032 gives it. Its text is 64 hexadecimal digits.
    PublicKey
}
bytes32! {
    /// A node, by its Ed25519 transport key. Its text is the one that libp2p gives it.
    PeerId
}
bytes32! {
    /// Separates the records of one swarm from those of every other.
    NetworkId
}

impl Default for PublicKey {
    /// The key with all bytes zero, under which nothing verifies.
    fn default() -> Self {
        Self([0; 32])
    }
}

impl NetworkId {
    /// The network with this name.
    pub fn named(name: &str) -> Self {
        Self(hash::derive(
            "ggen-market 2026 network id",
            &[name.as_bytes()],
        ))
    }

    /// The network that nodes belong to unless they are told otherwise.
    pub fn main() -> Self {
        Self::named("main")
    }
}

impl Default for NetworkId {
    fn default() -> Self {
        Self::main()
    }
}

/// RFC 4648 base 32 in lower case, without padding, unused bits zero.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.encoding()
        .expect("32 distinct symbols make an encoding")
});

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns1{}", BASE32.encode(&self.0))
    }
}

impl OwnerId {
    /// The text for lists: `ns1`, two more characters, `…` and the last four. Never compare by it.
    pub fn short(&self) -> String {
        let text = self.to_string();
        format!("{}…{}", &text[..5], &text[text.len() - 4..])
    }
}

impl FromStr for OwnerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::new("owner id", text, "expected `ns1` and 52 of `a-z 2-7`");
        let digits = text.strip_prefix("ns1").ok_or_else(refuse)?;
        let bytes = BASE32.decode(digits.as_bytes()).map_err(|_| refuse())?;
        Ok(Self(bytes.try_into().map_err(|_| refuse())?))
    }
}

/// Hexadecimal text, both ways.
macro_rules! hex_text {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hash::hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = hash::unhex(text);
                let refuse =
                    || IdError::new($what, text, "expected 64 lower-case hexadecimal digits");
                Ok(Self(bytes.ok_or_else(refuse)?))
            }
        }
    };
}

hex_text!(RecordId, "record id");
hex_text!(PublicKey, "public key");
hex_text!(NetworkId, "network id");

/// What libp2p puts before an Ed25519 key to make a peer id: identity multihash of a protobuf key.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = PEER_ID_PREFIX.to_vec();
        bytes.extend(self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl FromStr for PeerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || {
            IdError::new(
                "peer id",
                text,
                "expected the base 58 text of an Ed25519 peer",
            )
        };
        if text.len() > 64 {
            return Err(refuse());
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| refuse())?;
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or_else(refuse)?;
        Ok(Self(key.try_into().map_err(|_| refuse())?))
    }
}

/// Names one version of one package. `namespace` is a label, an owner id, or nothing (a bare name).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageId {
    /// The package's name; checked when a registry takes it.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Whose package: a label (`acme`), an owner id (`ns1…`), or whom this node means by the bare name.
    pub namespace: Option<String>,
}

impl PackageId {
    /// A bare name and a version.
    ///
    /// # Panics
    /// If `version` is not of the form of Semantic Versioning 2.0; [`PackageId::parse`] returns an error.
    #[allow(clippy::expect_used)]
    pub fn new(name: &str, version: &str) -> Self {
        let version = version
            .parse()
            .expect("documented: the version must be valid");
        Self {
            name: name.to_owned(),
            version,
            namespace: None,
        }
    }

    /// The same package in a namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Reads `[namespace/]name@version`.
    ///
    /// # Errors
    /// [`IdError`] with the part that breaks its grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (package, version) = text.rsplit_once('@').ok_or_else(|| {
            IdError::new("package id", text, "expected `[namespace/]name@version`")
        })?;
        let (namespace, name) = split_namespace(package)?;
        Ok(Self {
            name: name.as_str().to_owned(),
            version: parse_version(version)?,
            namespace,
        })
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for PackageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

/// Reads `[namespace/]name`; the namespace is a label or an owner id.
///
/// # Errors
/// [`IdError`] with the part that breaks its grammar.
pub fn split_namespace(text: &str) -> Result<(Option<String>, PackageName), IdError> {
    let Some((namespace, name)) = text.split_once('/') else {
        return Ok((None, text.parse()?));
    };
    if namespace.starts_with("ns1") {
        namespace.parse::<OwnerId>()?;
    } else {
        namespace.parse::<Label>()?;
    }
    Ok((Some(namespace.to_owned()), name.parse()?))
}

/// Reads a version of Semantic Versioning 2.0 of at most 150 bytes.
///
/// # Errors
/// [`IdError`] with the reason.
pub fn parse_version(text: &str) -> Result<Version, IdError> {
    if text.len() > limits::VERSION_BYTES_MAX {
        return Err(IdError::new(
            "version",
            text,
            "it is longer than 150 characters",
        ));
    }
    text.parse()
        .map_err(|error: semver::Error| IdError::new("version", text, error.to_string()))
}

/// Where a release stands in the catalogue: owner, canonical name, version without build metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReleaseKey {
    /// Who owns it.
    pub owner: OwnerId,
    /// Its name, as names are compared.
    pub name: CanonicalName,
    /// Its version without build metadata: versions that differ in nothing else are one release.
    pub version: Version,
}

impl ReleaseKey {
    /// The place of `version` of `name` of `owner`; build metadata is dropped.
    pub fn new(owner: OwnerId, name: CanonicalName, version: &Version) -> Self {
        let mut version = version.clone();
        version.build = semver::BuildMetadata::EMPTY;
        Self {
            owner,
            name,
            version,
        }
    }
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.owner, self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_differ_in_case_or_dashes_are_one() {
        let name: PackageName = "Foo_Bar".parse().unwrap();
        assert_eq!(
            name.canonical(),
            "foo-bar".parse::<CanonicalName>().unwrap()
        );
        assert_eq!(name.as_str(), "Foo_Bar");
    }

    #[test]
    fn names_out_of_grammar_are_refused_with_the_rule() {
        let long = "a".repeat(65);
        for (wrong, why) in [
            ("", "start with a letter"),
            ("1x", "start with a letter"),
            ("a b", "only letters"),
            ("serdе", "only letters"),
            ("CON", "device name"),
            (long.as_str(), "longer"),
        ] {
            let error = wrong.parse::<PackageName>().unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn owner_ids_have_one_text() {
        let id = OwnerId::from_bytes([0xab; 32]);
        let text = id.to_string();
        assert_eq!(text.len(), 55);
        assert_eq!(text.parse::<OwnerId>().unwrap(), id);
        // The last character carries four unused bits: any other than zero is another spelling.
        let mut other = text[..54].to_owned();
        other.push(if text.ends_with('q') { 'r' } else { 'z' });
        assert!(other.parse::<OwnerId>().is_err(), "{other}");
        assert!(text.to_uppercase().parse::<OwnerId>().is_err());
    }

    #[test]
    fn a_package_id_reads_what_it_prints() {
        for text in ["http@1.2.3", "acme/http@1.0.0-rc.1+b5"] {
            assert_eq!(text.parse::<PackageId>().unwrap().to_string(), text);
        }
        for wrong in [
            "http",
            "Acme/http@1.0.0",
            "ns1x/http@1.0.0",
            "http@1",
            "a/b/c@1.0.0",
        ] {
            assert!(wrong.parse::<PackageId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn peer_ids_read_as_libp2p_writes_them() {
        let id = PeerId::from_bytes([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse::<PeerId>().unwrap(), id);
        assert!(
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
                .parse::<PeerId>()
                .is_err()
        );
    }

    #[test]
    fn build_metadata_does_not_make_another_release() {
        let owner = OwnerId::from_bytes([1; 32]);
        let name: CanonicalName = "a".parse().unwrap();
        let key = |v: &str| ReleaseKey::new(owner, name.clone(), &v.parse().unwrap());
        assert_eq!(key("1.0.0+a"), key("1.0.0+b"));
        assert_ne!(key("1.0.0-a"), key("1.0.0-b"));
    }
}
