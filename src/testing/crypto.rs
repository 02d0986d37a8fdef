//! The contracts of `CryptoVerifier` and `TrustStore`, one fact after the other, for any implementation.
#![allow(clippy::unwrap_used)] // It is a test.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use ggen_protocols::hash::{ContentHash, HashAlgorithm};
use ggen_protocols::id::{NetworkId, OwnerId, PackageId};
use ggen_protocols::limits;
use ggen_protocols::metadata::{
    Checksums, Dependencies, Dependency, DependencyKind, DependencySource, Format, PackageMetadata,
    Proof, Signature,
};
use ggen_protocols::record::{Record, Verified};
use ggen_protocols::trust::{FULL, PARTIAL};

use crate::Error;
use crate::crypto::{
    Anchor, CryptoError, CryptoVerifier, Key, OwnerTrust, PrivateKey, PublicKey, TrustLevel,
    TrustStore,
};
use crate::testing::registry::Author;

/// Checks every promise of the trait on verifiers that `make` makes, which know nobody.
///
/// # Panics
/// If a promise is broken.
pub async fn suite(make: impl Fn() -> Arc<dyn CryptoVerifier>) {
    metadata_that_was_signed_verifies_and_no_other(&*make()).await;
    signatures_that_are_none_are_told_apart(&*make()).await;
    a_record_proves_the_metadata_that_derives_from_it(&*make()).await;
    checksums_are_those_of_the_bytes(&*make()).await;
    keys_survive_as_text(&*make()).await;
    texts_that_are_no_keys_are_refused(&*make()).await;
    each_level_is_answered_as_it_was_given(&make).await;
    trust_can_be_taken_back(&*make()).await;
    a_revoked_key_is_trusted_by_nothing(&*make()).await;
}

fn full() -> PackageMetadata {
    let dependency = Dependency {
        features: vec!["std".to_owned()],
        target: Some("cfg(unix)".to_owned()),
        ..Dependency::new("serde", "^1.2".parse().unwrap())
    };
    PackageMetadata {
        description: "A package.".to_owned(),
        authors: vec!["Alice".to_owned()],
        license: "MIT".to_owned(),
        repository: Some("https://example.org/r".parse().unwrap()),
        homepage: Some("https://example.org/h".parse().unwrap()),
        documentation: Some("https://example.org/d".parse().unwrap()),
        keywords: vec!["http".to_owned()],
        categories: vec!["web".to_owned()],
        dependencies: Dependencies::from([("serde".to_owned(), vec![dependency])]),
        checksums: Checksums {
            blake3: Some(ContentHash::blake3(b"x")),
            sha256: Some(ContentHash::sha256(b"x")),
            size: Some(1),
        },
        published_at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
        format: Format::Cargo,
        links: Some("z".to_owned()),
        rust_version: Some("1.80".to_owned()),
        features: BTreeMap::from([("f".to_owned(), vec!["serde/std".to_owned()])]),
        readme: Some(ContentHash::blake3(b"readme")),
        deprecated: Some("old".to_owned()),
        ..PackageMetadata::new(PackageId::new("http", "1.2.3").in_namespace("acme"))
    }
}

type Edit = (&'static str, fn(&mut PackageMetadata));

fn dependency(metadata: &mut PackageMetadata) -> &mut Dependency {
    let all = metadata.dependencies.get_mut("serde").unwrap();
    all.first_mut().unwrap()
}

/// One change of each part of [`full`].
fn edits() -> Vec<Edit> {
    vec![
        ("name", |m| m.id.name = "https".to_owned()),
        ("version", |m| m.id.version.patch += 1),
        ("build", |m| m.id.version.build = "b".parse().unwrap()),
        ("namespace", |m| m.id.namespace = None),
        ("description", |m| m.description.push('!')),
        ("authors", |m| m.authors.push("Bob".to_owned())),
        ("author", |m| m.authors[0].push('!')),
        ("license", |m| m.license.clear()),
        ("repository", |m| m.repository = None),
        ("homepage", |m| m.homepage = m.repository.clone()),
        ("documentation", |m| m.documentation = None),
        ("swapped", |m| {
            std::mem::swap(&mut m.homepage, &mut m.repository)
        }),
        ("keywords", |m| m.keywords.clear()),
        ("moved", |m| {
            std::mem::swap(&mut m.keywords, &mut m.categories)
        }),
        ("categories", |m| m.categories.push("x".to_owned())),
        ("blake3", |m| {
            m.checksums.blake3 = Some(ContentHash::blake3(b"y"))
        }),
        ("sha256", |m| m.checksums.sha256 = None),
        ("size", |m| m.checksums.size = Some(2)),
        ("published_at", |m| {
            m.published_at += chrono::Duration::nanoseconds(1)
        }),
        ("format", |m| m.format = Format::Pack),
        ("links", |m| m.links = None),
        ("rust_version", |m| m.rust_version = Some("1.81".to_owned())),
        ("features", |m| m.features.clear()),
        ("feature", |m| m.features.get_mut("f").unwrap().clear()),
        ("readme", |m| m.readme = Some(ContentHash::blake3(b"other"))),
        ("deprecated", |m| m.deprecated = None),
        ("dependencies", |m| m.dependencies.clear()),
        ("alias", |m| {
            let all = m.dependencies.remove("serde").unwrap();
            m.dependencies.insert("other".to_owned(), all);
        }),
        ("twice", |m| {
            let again = dependency(m).clone();
            m.dependencies.get_mut("serde").unwrap().push(again);
        }),
        ("dependency name", |m| dependency(m).name.push('x')),
        ("requirement", |m| {
            dependency(m).requirement = "*".parse().unwrap()
        }),
        ("source", |m| {
            dependency(m).source = DependencySource::Url("https://example.org/".to_owned());
        }),
        ("kind", |m| dependency(m).kind = DependencyKind::Dev),
        ("dependency features", |m| dependency(m).features.clear()),
        ("target", |m| dependency(m).target = None),
        ("optional", |m| dependency(m).optional = true),
        ("default_features", |m| {
            dependency(m).default_features = false
        }),
    ]
}

/// Why the signature is not valid.
async fn why(
    verifier: &dyn CryptoVerifier,
    metadata: &PackageMetadata,
    signature: &Signature,
) -> String {
    let result = verifier
        .verify_signature(metadata, signature)
        .await
        .unwrap();
    assert!(!result.is_valid, "valid: {metadata:?}");
    assert_eq!(result.key, signature.key.0);
    result.reason.unwrap()
}

async fn metadata_that_was_signed_verifies_and_no_other(verifier: &dyn CryptoVerifier) {
    let pair = verifier.generate_keypair().await.unwrap();
    let mut metadata = full();
    let signature = verifier.sign(&metadata, &pair.private_key).await.unwrap();
    assert_eq!(signature.key.0, pair.public_key);
    assert_eq!(
        verifier.sign(&metadata, &pair.private_key).await.unwrap(),
        signature
    );
    // Where it stands later is not part of what it covers.
    metadata.signature = signature.clone();
    let result = verifier
        .verify_signature(&metadata, &signature)
        .await
        .unwrap();
    assert!(result.is_valid && result.reason.is_none(), "{result:?}");
    assert_eq!((result.key, result.owner), (pair.public_key, None));
    for (what, edit) in edits() {
        let mut other = metadata.clone();
        edit(&mut other);
        assert_ne!(other, metadata, "{what}");
        let why = why(verifier, &other, &signature).await;
        assert!(why.contains("does not fit"), "{what}: {why}");
    }
}

async fn signatures_that_are_none_are_told_apart(verifier: &dyn CryptoVerifier) {
    let [key, other] = [1, 2].map(|seed| PrivateKey::from_seed([seed; 32]));
    let good = verifier.sign(&full(), &key).await.unwrap();
    let Proof::Metadata(bytes) = &good.proof else {
        panic!("{good:?}");
    };
    let with = |bytes: Vec<u8>| Signature {
        proof: Proof::Metadata(bytes.into()),
        ..good.clone()
    };
    for at in [0, 31, 32, 63] {
        let mut wrong = bytes.to_vec();
        wrong[at] ^= 1;
        assert!(
            why(verifier, &full(), &with(wrong))
                .await
                .contains("does not fit")
        );
    }
    assert!(
        why(verifier, &full(), &with(bytes[1..].to_vec()))
            .await
            .contains("not 63")
    );
    assert!(
        why(verifier, &full(), &Signature::default())
            .await
            .contains("not signed")
    );
    let mut by_other = good.clone();
    by_other.key.0 = other.public();
    assert!(
        why(verifier, &full(), &by_other)
            .await
            .contains("does not fit")
    );
    // Under a weak key one signature fits everything; such a key signs nothing here.
    let mut weak = with([&[1][..], &[0; 63]].concat());
    weak.key.0 = PublicKey::from_bytes(std::array::from_fn(|at| u8::from(at == 0)));
    assert!(why(verifier, &full(), &weak).await.contains("does not fit"));
}

/// What a registry gives of a release that this record publishes.
fn derived(record: &Verified<Record>, namespace: Option<String>) -> PackageMetadata {
    let ggen_protocols::record::Body::Publish(publish) = &record.content().body else {
        panic!("the record publishes");
    };
    publish.to_metadata(namespace, record)
}

async fn a_record_proves_the_metadata_that_derives_from_it(verifier: &dyn CryptoVerifier) {
    let mut author = Author::new(1);
    let mut said = full();
    said.deprecated = None;
    let record = author.publish_metadata(said, b"content");
    for namespace in [
        None,
        Some("acme".to_owned()),
        Some(author.owner().to_string()),
    ] {
        let metadata = derived(&record, namespace);
        let signature = metadata.signature.clone();
        let result = verifier
            .verify_signature(&metadata, &signature)
            .await
            .unwrap();
        assert!(result.is_valid, "{result:?}");
        assert_eq!(
            (result.key, result.owner),
            (author.key(), Some(author.owner()))
        );
        assert!(result.changed.is_empty(), "{result:?}");
    }
    let metadata = derived(&record, Some("acme".to_owned()));
    let signature = metadata.signature.clone();
    for (what, edit) in edits() {
        let mut other = metadata.clone();
        edit(&mut other);
        if other == metadata || what == "namespace" {
            continue;
        }
        let result = verifier.verify_signature(&other, &signature).await.unwrap();
        // What its owner may change by a later record is named; what it is built from may not differ.
        let may_change = [
            "description",
            "repository",
            "homepage",
            "documentation",
            "swapped",
            "keywords",
            "moved",
            "categories",
        ];
        assert_eq!(
            result.is_valid,
            may_change.contains(&what),
            "{what}: {result:?}"
        );
        assert_eq!(
            result.changed.is_empty(),
            !result.is_valid,
            "{what}: {result:?}"
        );
    }
    let elsewhere = derived(&record, Some(Author::new(2).owner().to_string()));
    assert!(
        why(verifier, &elsewhere, &signature)
            .await
            .contains("another namespace")
    );
    let mut by_other = signature.clone();
    by_other.key.0 = Author::new(2).key();
    assert!(
        why(verifier, &metadata, &by_other)
            .await
            .contains("signed by the key")
    );
    let mut wrong = record.envelope().to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    let with = |envelope: Vec<u8>| Signature {
        proof: Proof::Record(envelope.into()),
        ..signature.clone()
    };
    assert!(
        why(verifier, &metadata, &with(wrong))
            .await
            .contains("the record:")
    );
    assert!(
        why(verifier, &metadata, &with(Vec::new()))
            .await
            .contains("the record:")
    );
    let yank = author.yank("http@1.2.3", 1, true);
    let why = why(verifier, &metadata, &with(yank.envelope().to_vec())).await;
    assert!(why.contains("publishes nothing"), "{why}");
}

async fn checksums_are_those_of_the_bytes(verifier: &dyn CryptoVerifier) {
    let long = vec![7; (3 << 20) + 1];
    for bytes in [&b""[..], b"some content", &long] {
        for (algorithm, expected) in [
            (HashAlgorithm::SHA256, ContentHash::sha256(bytes)),
            (HashAlgorithm::BLAKE3, ContentHash::blake3(bytes)),
        ] {
            let hash = verifier.checksum(bytes, algorithm).await.unwrap();
            assert_eq!(hash, expected);
            assert!(verifier.verify_checksum(bytes, &hash).await.unwrap());
            let other = [bytes, b"!"].concat();
            assert!(!verifier.verify_checksum(&other, &hash).await.unwrap());
        }
    }
    let swapped = ContentHash::from_sha256(*ContentHash::blake3(b"x").as_bytes());
    assert!(!verifier.verify_checksum(b"x", &swapped).await.unwrap());
}

async fn keys_survive_as_text(verifier: &dyn CryptoVerifier) {
    let pair = verifier.generate_keypair().await.unwrap();
    let another = verifier.generate_keypair().await.unwrap();
    assert_ne!(pair.public_key, another.public_key);
    assert_eq!(pair.private_key.public(), pair.public_key);
    let text = verifier
        .export_key_pem(&pair.public_key.into())
        .await
        .unwrap();
    assert!(text.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{text}");
    let read = verifier.import_key_pem(&text).await.unwrap();
    assert!(matches!(read, Key::Public(key) if key == pair.public_key));
    let text = verifier
        .export_key_pem(&pair.private_key.clone().into())
        .await
        .unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let Key::Private(read) = verifier.import_key_pem(&text).await.unwrap() else {
        panic!("a private key was written");
    };
    assert_eq!(read.seed(), pair.private_key.seed());
    let signature = verifier.sign(&full(), &read).await.unwrap();
    assert!(
        verifier
            .verify_signature(&full(), &signature)
            .await
            .unwrap()
            .is_valid
    );
}

/// The error about keys in an answer that must be one.
fn refused<T: std::fmt::Debug>(answer: crate::Result<T>) -> CryptoError {
    match answer {
        Err(Error::Crypto(error)) => error,
        other => panic!("expected an error about a key, got {other:?}"),
    }
}

async fn texts_that_are_no_keys_are_refused(verifier: &dyn CryptoVerifier) {
    let key = Key::Private(PrivateKey::from_seed([3; 32]));
    let text = verifier.export_key_pem(&key).await.unwrap();
    for wrong in [
        "",
        "secret",
        &text[1..],
        &text[..text.len() - 10],
        &format!("{text}{text}"),
    ] {
        let error = refused(verifier.import_key_pem(wrong).await);
        assert!(matches!(error, CryptoError::Unusable { .. }), "{error:?}");
        assert!(!error.to_string().contains("Aw"), "{error}");
    }
}

async fn each_level_is_answered_as_it_was_given(make: &impl Fn() -> Arc<dyn CryptoVerifier>) {
    use TrustLevel::{Distrusted, Full, Marginal, None, Partial, Revoked, Ultimate, Unknown};
    let key = PrivateKey::from_seed([4; 32]).public();
    let owner = OwnerId::of_key(NetworkId::main(), key);
    for (given, answered, score) in [
        (Ultimate, Ultimate, 3),
        (Full, Full, 3),
        (Partial, Partial, 1),
        (Marginal, Partial, 1),
        (None, Unknown, 0),
        (Unknown, Unknown, 0),
        (Distrusted, Distrusted, 0),
        (Revoked, Revoked, 0),
    ] {
        let verifier = make();
        assert_eq!(verifier.verify_trust(&key).await.unwrap().level, Unknown);
        verifier.add_trusted_key(&key, given).await.unwrap();
        let trust = verifier.verify_trust(&key).await.unwrap();
        assert_eq!(
            (trust.level, trust.score),
            (answered, score),
            "{given:?}: {trust:?}"
        );
        assert_eq!(trust.is_trusted, score == 3, "{trust:?}");
        assert_eq!(trust.identities, [owner]);
        assert_eq!(trust.paths.len(), usize::from(score > 0), "{trust:?}");
        assert_eq!(trust.revoked.is_some(), given == Revoked, "{trust:?}");
        assert_eq!(trust.blocked.is_some(), given == Distrusted, "{trust:?}");
        assert_eq!(verifier.is_revoked(&key).await.unwrap(), given == Revoked);
    }
    let weak = PublicKey::from_bytes([0; 32]);
    let error = refused(make().add_trusted_key(&weak, Full).await);
    assert!(matches!(error, CryptoError::Unusable { .. }), "{error:?}");
}

async fn trust_can_be_taken_back(verifier: &dyn CryptoVerifier) {
    let [key, other] = [5, 6].map(|seed| PrivateKey::from_seed([seed; 32]).public());
    verifier
        .add_trusted_key(&key, TrustLevel::Full)
        .await
        .unwrap();
    assert!(!verifier.verify_trust(&other).await.unwrap().is_trusted);
    verifier
        .add_trusted_key(&key, TrustLevel::Partial)
        .await
        .unwrap();
    assert_eq!(verifier.verify_trust(&key).await.unwrap().score, 1);
    verifier
        .add_trusted_key(&key, TrustLevel::None)
        .await
        .unwrap();
    assert_eq!(
        verifier.verify_trust(&key).await.unwrap().level,
        TrustLevel::Unknown
    );
    verifier
        .add_trusted_key(&key, TrustLevel::Distrusted)
        .await
        .unwrap();
    verifier
        .add_trusted_key(&key, TrustLevel::Ultimate)
        .await
        .unwrap();
    let trust = verifier.verify_trust(&key).await.unwrap();
    assert_eq!(
        (trust.level, trust.score),
        (TrustLevel::Distrusted, 0),
        "{trust:?}"
    );
}

async fn a_revoked_key_is_trusted_by_nothing(verifier: &dyn CryptoVerifier) {
    let [key, other] = [7, 8].map(|seed| PrivateKey::from_seed([seed; 32]));
    verifier
        .add_trusted_key(&key.public(), TrustLevel::Full)
        .await
        .unwrap();
    let long = "x".repeat(257);
    for reason in ["", " \n", "a\u{1b}[0m", "a\u{202e}b", &long] {
        let error = refused(verifier.revoke_key(&key.public(), reason).await);
        assert!(matches!(error, CryptoError::BadReason), "{error:?}");
    }
    assert!(!verifier.is_revoked(&key.public()).await.unwrap());
    verifier
        .revoke_key(&key.public(), "stolen with the laptop")
        .await
        .unwrap();
    for _ in 0..2 {
        assert!(verifier.is_revoked(&key.public()).await.unwrap());
        let trust = verifier.verify_trust(&key.public()).await.unwrap();
        assert_eq!(trust.revoked.as_deref(), Some("stolen with the laptop"));
        assert_eq!(
            (trust.is_trusted, trust.level),
            (false, TrustLevel::Revoked)
        );
        assert_eq!(trust.score, 0);
        verifier
            .add_trusted_key(&key.public(), TrustLevel::Ultimate)
            .await
            .unwrap();
    }
    assert!(!verifier.is_revoked(&other.public()).await.unwrap());
    // Whether a signature fits is another question than whether its key is trusted.
    let signature = verifier.sign(&full(), &key).await.unwrap();
    assert!(
        verifier
            .verify_signature(&full(), &signature)
            .await
            .unwrap()
            .is_valid
    );
}

/// Checks every promise of `TrustStore` on a store of the main network that knows nobody.
///
/// # Panics
/// If a promise is broken.
pub async fn trust_store_suite(store: &dyn TrustStore) {
    let [key, other] = [1, 2].map(|seed| PrivateKey::from_seed([seed; 32]).public());
    let [owner, stranger] = [key, other].map(|key| OwnerId::of_key(NetworkId::main(), key));
    let identities = store.identities(&key).await.unwrap();
    assert!(
        identities.iter().any(|i| i.owner == owner && i.is_root),
        "{identities:?}"
    );
    assert_eq!(store.trust(owner).await.unwrap(), OwnerTrust::default());
    for (weight, depth) in [(PARTIAL, 1), (FULL, 0)] {
        let anchor = Some(Anchor { weight, depth });
        store.set_anchor(owner, anchor).await.unwrap();
        let trust = store.trust(owner).await.unwrap();
        assert_eq!((trust.score, trust.anchor), (weight, anchor));
        let [path] = &trust.paths[..] else {
            panic!("{trust:?}");
        };
        assert_eq!((path.anchor, path.weight), (owner, weight));
        assert!(path.through.is_empty());
    }
    assert_eq!(store.trust(stranger).await.unwrap(), OwnerTrust::default());
    store.block(owner, "bad news").await.unwrap();
    let trust = store.trust(owner).await.unwrap();
    assert_eq!(
        (trust.score, trust.blocked.as_deref()),
        (0, Some("bad news"))
    );
    assert!(trust.paths.is_empty());

    let full = Some(Anchor {
        weight: FULL,
        depth: 1,
    });
    let numbered = |number: usize| {
        let mut bytes = [0xee; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        OwnerId::from_bytes(bytes)
    };
    for number in 1..limits::ANCHORS_MAX {
        store.set_anchor(numbered(number), full).await.unwrap();
    }
    let error = refused(store.set_anchor(stranger, full).await);
    assert!(matches!(error, CryptoError::TooManyAnchors), "{error:?}");
    store.set_anchor(numbered(1), full).await.unwrap();
    store.set_anchor(numbered(1), None).await.unwrap();
    store.set_anchor(stranger, full).await.unwrap();
    assert_eq!(store.trust(stranger).await.unwrap().score, FULL);
    assert_eq!(
        store.trust(numbered(1)).await.unwrap(),
        OwnerTrust::default()
    );

    assert_eq!(store.revocation(&key).await.unwrap(), None);
    store.block_key(&key, "stolen").await.unwrap();
    assert_eq!(
        store.revocation(&key).await.unwrap().as_deref(),
        Some("stolen")
    );
    assert_eq!(store.revocation(&other).await.unwrap(), None);
}
