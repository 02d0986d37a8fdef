//! Records and metadata from chance, within the grammar.

use ggen_protocols::cbor;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{OwnerId, PackageId, PackageName, PublicKey, RecordId};
use ggen_protocols::metadata::{
    Checksums, Dependency, DependencyKind, DependencySource, Format, OwnerIdText, PackageMetadata,
};
use ggen_protocols::owner::{Mark, NamespaceDocument, SCOPE_ALL};
use ggen_protocols::record::{Body, Head, Info, Links, Publish, Record, State};
use ggen_protocols::trust::Endorse;
use proptest::collection::{btree_map, btree_set, hash_map, vec};
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use serde_bytes::ByteArray;

use super::records::{key, owner};

fn name() -> impl Strategy<Value = String> {
    let spelled = "[A-Za-z][A-Za-z0-9_-]{0,12}";
    spelled.prop_filter("a device name", |name| name.parse::<PackageName>().is_ok())
}

fn alias() -> impl Strategy<Value = String> {
    prop_oneof![name(), "_[a-z]{1,5}"]
}

/// Text in normal form, of several scripts, with line ends.
fn text() -> impl Strategy<Value = String> {
    "[ -~\n\téß中文кириллица🦀]{0,60}"
}

fn token() -> impl Strategy<Value = String> {
    "[!-~]{1,20}"
}

fn feature() -> impl Strategy<Value = String> {
    prop_oneof![token(), "dep:[a-z]{1,8}", "[a-z]{1,8}\\?/[a-z]{1,8}"]
}

fn url() -> impl Strategy<Value = url::Url> {
    "https?://[a-z]{1,10}\\.example/[a-z/]{0,10}(\\?q=[a-zé ]{0,5})?"
        .prop_map(|text| text.parse().unwrap())
}

fn version() -> impl Strategy<Value = semver::Version> {
    "(0|[1-9][0-9]{0,3})\\.[0-9]\\.[0-9](-rc\\.[1-9])?(\\+b[0-9]{1,4})?"
        .prop_map(|text| text.parse().unwrap())
}

fn source() -> impl Strategy<Value = DependencySource> {
    let owner = any::<[u8; 32]>().prop_map(|bytes| OwnerIdText(OwnerId::from_bytes(bytes)));
    prop_oneof![
        Just(DependencySource::Default),
        owner.prop_map(DependencySource::Owner),
        "(sparse\\+)?https://[a-z]{1,9}\\.example/".prop_map(DependencySource::Url),
    ]
}

fn dependency() -> impl Strategy<Value = Dependency> {
    let requirement = select(vec!["*", "^1.2", "=0.3.1", ">=1, <2", "~0.5.0-alpha"]);
    let kinds = [
        DependencyKind::Normal,
        DependencyKind::Dev,
        DependencyKind::Build,
    ];
    let target = select(vec![
        "cfg(unix)",
        "cfg(not(any(windows, target_os = \"macos\")))",
        "x86_64-a-b",
    ]);
    (
        (name(), requirement, source(), select(kinds.to_vec())),
        (
            vec(feature(), 0..3),
            of(target),
            any::<bool>(),
            any::<bool>(),
        ),
    )
        .prop_map(
            |((name, requirement, source, kind), (features, target, optional, default))| {
                Dependency {
                    name,
                    requirement: requirement.parse().unwrap(),
                    source,
                    kind,
                    features,
                    target: target.map(ToOwned::to_owned),
                    optional,
                    default_features: default,
                }
            },
        )
}

fn checksums() -> impl Strategy<Value = Checksums> {
    let size = of(0u64..1 << 53);
    (
        any::<[u8; 32]>(),
        of(any::<[u8; 32]>()),
        size,
        any::<bool>(),
    )
        .prop_map(|(one, other, size, swapped)| {
            let (blake3, sha256) = if swapped {
                (other, Some(one))
            } else {
                (Some(one), other)
            };
            Checksums {
                blake3: blake3.map(ContentHash::from_blake3),
                sha256: sha256.map(ContentHash::from_sha256),
                size,
            }
        })
}

/// Metadata that a record can carry. Of dependencies under one alias none stands twice.
pub(crate) fn metadata() -> impl Strategy<Value = PackageMetadata> {
    let formats = vec![Format::Cargo, Format::Pack, Format::Generic];
    let said = (
        text(),
        vec(text(), 0..3),
        text(),
        vec(token(), 0..=5),
        vec(token(), 0..=5),
    );
    let urls = (of(url()), of(url()), of(url()));
    let build = (
        of(token()),
        of(token()),
        btree_map(token(), vec(feature(), 0..4), 0..4),
    );
    let dependencies = hash_map(alias(), vec(dependency(), 1..3), 0..4);
    let readme = of(any::<[u8; 32]>());
    (
        (name(), version(), select(formats)),
        said,
        urls,
        build,
        (dependencies, checksums(), readme),
    )
        .prop_map(|((name, version, format), said, urls, build, rest)| {
            let id = PackageId {
                name,
                version,
                namespace: None,
            };
            let (dependencies, checksums, readme) = rest;
            PackageMetadata {
                description: said.0,
                authors: said.1,
                license: said.2,
                keywords: said.3,
                categories: said.4,
                repository: urls.0,
                homepage: urls.1,
                documentation: urls.2,
                links: build.0,
                rust_version: build.1,
                features: build.2,
                dependencies,
                checksums,
                readme: readme.map(ContentHash::from_blake3),
                format,
                ..PackageMetadata::new(id)
            }
        })
}

fn publish() -> impl Strategy<Value = Body> {
    let body = |metadata: PackageMetadata| Publish::from_metadata(&metadata).unwrap();
    metadata().prop_map(move |metadata| Body::Publish(Box::new(body(metadata))))
}

fn state() -> impl Strategy<Value = Body> {
    let info = (of(text()), of(url()), of(vec(token(), 0..=5)), of(text())).prop_map(
        |(description, homepage, keywords, deprecated)| Info {
            description,
            links: Links {
                homepage: homepage.map(String::from),
                ..Links::default()
            },
            keywords,
            categories: None,
            deprecated,
        },
    );
    let flags = (any::<bool>(), any::<bool>());
    (
        name(),
        of(version()),
        1u64..1 << 32,
        flags,
        text(),
        of(info),
    )
        .prop_map(
            |(name, version, revision, (yanked, withdrawn), note, info)| {
                Body::State(State {
                    name,
                    version: version.map(|version| version.to_string()),
                    revision,
                    yanked,
                    withdrawn,
                    note,
                    info,
                })
            },
        )
}

fn unknown() -> impl Strategy<Value = Body> {
    (
        7u64..1 << 53,
        vec((any::<bool>(), of(0u64..1 << 53), text()), 0..5),
    )
        .prop_map(|(kind, items)| Body::Other {
            kind,
            body: cbor::decode(&cbor::encode(&items), 4096).unwrap(),
        })
}

fn id() -> impl Strategy<Value = RecordId> {
    any::<[u8; 32]>().prop_map(RecordId::from_bytes)
}

fn any_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

fn label() -> impl Strategy<Value = String> {
    "[a-m][a-z0-9-]{0,31}"
}

/// A document of the golden key's, with this mark.
fn document(mark: Mark) -> impl Strategy<Value = Box<NamespaceDocument>> {
    let canonical = name().prop_map(|name| {
        let name: PackageName = name.parse().unwrap();
        name.canonical().as_str().to_owned()
    });
    let scopes = prop_oneof![
        Just(vec![SCOPE_ALL.to_owned()]),
        btree_set(canonical, 1..5).prop_map(Vec::from_iter),
    ];
    (
        label(),
        of(any::<[u8; 32]>()),
        btree_map(any_key(), scopes, 0..4),
        btree_set((any_key(), id()), 0..4),
    )
        .prop_map(move |(label, recovery, publishers, retired)| {
            Box::new(NamespaceDocument {
                label,
                root: key(),
                recovery: recovery.map(ByteArray::new),
                publishers: publishers.into_iter().collect(),
                retired: retired.into_iter().collect(),
                mark: mark.clone(),
            })
        })
}

fn endorse() -> impl Strategy<Value = Body> {
    let numbers = (1u64..1 << 32, 0u64..4, 0u64..4);
    (any::<[u8; 32]>(), numbers, of(label()), text()).prop_map(
        |(subject, numbers, label, reason)| {
            Body::Endorse(Endorse {
                subject: OwnerId::from_bytes(subject),
                revision: numbers.0,
                level: numbers.1,
                depth: numbers.2,
                label,
                reason,
            })
        },
    )
}

fn head() -> impl Strategy<Value = Record> {
    let feeds = btree_map(any_key(), (1u64..1 << 53, id()), 0..4);
    (any::<[u8; 32]>(), id(), feeds, 0u64..1 << 53).prop_map(|(subject, acl, feeds, time_ms)| {
        let feeds = feeds.into_iter().map(|(key, (seq, id))| (key, seq, id));
        let head = Head {
            subject: OwnerId::from_bytes(subject),
            acl,
            feeds: feeds.collect(),
        };
        Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms,
            body: Body::Head(Box::new(head)),
        }
    })
}

fn genesis() -> impl Strategy<Value = Record> {
    let nonce = any::<[u8; 16]>().prop_map(|nonce| Mark::Nonce(ByteArray::new(nonce)));
    nonce.prop_flat_map(document).prop_map(|document| Record {
        owner: None,
        seq: 0,
        previous: None,
        time_ms: 0,
        body: Body::Genesis(document),
    })
}

fn acl() -> impl Strategy<Value = Record> {
    let document = text().prop_map(Mark::Reason).prop_flat_map(document);
    (document, id(), 1u64..1 << 53).prop_map(|(document, previous, seq)| Record {
        owner: Some(owner()),
        seq,
        previous: Some(previous),
        time_ms: 0,
        body: Body::Acl(document),
    })
}

fn chained() -> impl Strategy<Value = Record> {
    let body = prop_oneof![publish(), state(), endorse(), unknown()];
    let previous = of((2u64..1 << 53, id()));
    (body, previous, 0u64..1 << 53).prop_map(|(body, previous, time_ms)| Record {
        owner: Some(owner()),
        seq: previous.map_or(1, |(seq, _)| seq),
        previous: previous.map(|(_, id)| id),
        time_ms,
        body,
    })
}

/// Records of every kind, of the golden key.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    prop_oneof![4 => chained(), 1 => genesis(), 1 => acl(), 1 => head()]
}
