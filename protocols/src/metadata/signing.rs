//! The bytes that get signed where metadata is signed by itself, without a record.
//!
//! ```text
//! message  = "ggen-market/metadata/1" 0x00 key32 metadata
//! metadata = [name, version, namespace|null, format, published_at, [blake3|null, sha256|null, size|null],
//!             [[alias, [dependency...]]...], [[feature, [value...]]...], description, [author...], license,
//!             [repository|null, homepage|null, documentation|null], [keyword...], [category...],
//!             native|null, rust_version|null, readme|null, deprecated|null]
//! dependency = [name, requirement, source, kind, [feature...], target|null, optional, default_features]
//! ```
//! Canonical CBOR as in records. Hashes and the time are texts, because metadata may say what no record can: a
//! hash of another function, a time before 1970 or between two milliseconds.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use serde_tuple::Serialize_tuple;
use url::Url;

use super::{Dependency, DependencyKind, DependencySource, Format, PackageMetadata};
use crate::cbor;
use crate::hash::ContentHash;
use crate::id::PublicKey;
use crate::record::SourceWire;

const DOMAIN: &[u8] = b"ggen-market/metadata/1\0";

#[derive(Serialize_tuple)]
struct Signed<'a> {
    name: &'a str,
    version: String,
    namespace: Option<&'a str>,
    format: u64,
    published_at: String,
    checksums: (Option<String>, Option<String>, Option<u64>),
    dependencies: Vec<(&'a str, Vec<SignedDependency<'a>>)>,
    features: Vec<(&'a str, &'a [String])>,
    description: &'a str,
    authors: &'a [String],
    license: &'a str,
    addresses: [Option<&'a str>; 3],
    keywords: &'a [String],
    categories: &'a [String],
    native: Option<&'a str>,
    rust_version: Option<&'a str>,
    readme: Option<String>,
    deprecated: Option<&'a str>,
}

#[derive(Serialize_tuple)]
struct SignedDependency<'a> {
    name: &'a str,
    requirement: String,
    source: SourceWire,
    kind: u64,
    features: &'a [String],
    target: Option<&'a str>,
    optional: bool,
    default_features: bool,
}

impl PackageMetadata {
    /// The bytes that `key` signs for this metadata: all of it but `signature`. Equal metadata has equal bytes,
    /// and other metadata others.
    pub fn signing_bytes(&self, key: &PublicKey) -> Vec<u8> {
        let text = |hash: &Option<ContentHash>| hash.as_ref().map(ToString::to_string);
        let url = |url: &'_ Option<Url>| url.as_ref().map(Url::as_str).map(str::to_owned);
        let addresses = [&self.repository, &self.homepage, &self.documentation].map(url);
        let sorted: BTreeMap<_, _> = self.dependencies.iter().collect();
        let signed = Signed {
            name: &self.id.name,
            version: self.id.version.to_string(),
            namespace: self.id.namespace.as_deref(),
            format: self.format.number(),
            published_at: self
                .published_at
                .to_rfc3339_opts(SecondsFormat::Nanos, true),
            checksums: (
                text(&self.checksums.blake3),
                text(&self.checksums.sha256),
                self.checksums.size,
            ),
            dependencies: sorted
                .into_iter()
                .map(|(alias, all)| {
                    (
                        alias.as_str(),
                        all.iter().map(SignedDependency::of).collect(),
                    )
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|(name, values)| (name.as_str(), values.as_slice()))
                .collect(),
            description: &self.description,
            authors: &self.authors,
            license: &self.license,
            addresses: addresses.each_ref().map(Option::as_deref),
            keywords: &self.keywords,
            categories: &self.categories,
            native: self.links.as_deref(),
            rust_version: self.rust_version.as_deref(),
            readme: text(&self.readme),
            deprecated: self.deprecated.as_deref(),
        };
        [DOMAIN, key.as_bytes(), &cbor::encode(&signed)].concat()
    }
}

impl<'a> SignedDependency<'a> {
    fn of(dependency: &'a Dependency) -> Self {
        Self {
            name: &dependency.name,
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
            features: &dependency.features,
            target: dependency.target.as_deref(),
            optional: dependency.optional,
            default_features: dependency.default_features,
        }
    }
}

impl Format {
    /// The number that stands for it where it is signed.
    fn number(self) -> u64 {
        match self {
            Self::Cargo => 0,
            Self::Pack => 1,
            Self::Generic => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::DateTime;

    use super::*;
    use crate::hash::hex;
    use crate::id::{OwnerId, PackageId};
    use crate::metadata::{Checksums, Dependencies, OwnerIdText, Proof};

    fn full() -> PackageMetadata {
        let mut dependency = Dependency::new("serde", "^1.2".parse().unwrap());
        dependency.source = DependencySource::Owner(OwnerIdText(OwnerId::from_bytes([7; 32])));
        dependency.target = Some("cfg(unix)".to_owned());
        PackageMetadata {
            description: "d".to_owned(),
            authors: vec!["a".to_owned()],
            repository: Some("https://example.org/".parse().unwrap()),
            checksums: Checksums {
                sha256: Some(ContentHash::from_sha256([1; 32])),
                size: Some(5),
                blake3: None,
            },
            published_at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
            dependencies: Dependencies::from([
                ("z".to_owned(), vec![dependency.clone()]),
                (
                    "b".to_owned(),
                    vec![Dependency::new("b", "*".parse().unwrap())],
                ),
            ]),
            features: BTreeMap::from([("f".to_owned(), vec!["g".to_owned()])]),
            ..PackageMetadata::new(PackageId::new("pkg", "1.0.0-rc.1+b").in_namespace("acme"))
        }
    }

    /// A changed text here is another way to sign: it needs another domain.
    #[test]
    fn the_signed_bytes_are_these() {
        let bytes = full().signing_bytes(&PublicKey::from_bytes([9; 32]));
        assert_eq!(hex(&bytes), GOLDEN);
    }

    const GOLDEN: &str = concat!(
        "6767656e2d6d61726b65742f6d657461646174612f310009090909090909090909090909090909090909090909090909",
        "090909090909099263706b676c312e302e302d72632e312b626461636d6502781e323032332d31312d31345432323a31",
        "333a32302e3132333030303030305a83f678477368613235363a30313031303130313031303130313031303130313031",
        "303130313031303130313031303130313031303130313031303130313031303130313031303130313031058282616281",
        "886162612af60080f6f4f582617a8188657365726465645e312e32582007070707070707070707070707070707070707",
        "0707070707070707070707070700806963666728756e697829f4f581826166816167616481616160837468747470733a",
        "2f2f6578616d706c652e6f72672ff6f68080f6f6f6f6",
    );

    #[test]
    fn the_signature_itself_is_not_signed() {
        let key = PublicKey::from_bytes([9; 32]);
        let mut other = full();
        other.signature.key.0 = key;
        other.signature.proof = Proof::Record(vec![1, 2, 3].into());
        assert_eq!(other.signing_bytes(&key), full().signing_bytes(&key));
        assert_ne!(
            full().signing_bytes(&PublicKey::from_bytes([8; 32])),
            full().signing_bytes(&key)
        );
    }
}
