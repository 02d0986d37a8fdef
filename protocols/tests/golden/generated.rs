//! Records and metadata from chance, within the grammar.

use ggen_protocols::cbor;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{OwnerId, PackageId, PackageName, RecordId};
use ggen_protocols::metadata::{
    Checksums, Dependency, DependencyKind, DependencySource, Format, OwnerIdText, PackageMetadata,
};
use ggen_protocols::record::{Body, Info, Links, Publish, Record, State};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::records::owner;

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
        5u64..1 << 53,
        vec((any::<bool>(), of(0u64..1 << 53), text()), 0..5),
    )
        .prop_map(|(kind, items)| Body::Other {
            kind,
            body: cbor::decode(&cbor::encode(&items), 4096).unwrap(),
        })
}

/// Records of every kind.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let body = prop_oneof![publish(), state(), unknown()];
    let previous = of((2u64..1 << 53, any::<[u8; 32]>()));
    (body, previous, 0u64..1 << 53).prop_map(|(body, previous, time_ms)| Record {
        owner: Some(owner()),
        seq: previous.map_or(1, |(seq, _)| seq),
        previous: previous.map(|(_, id)| RecordId::from_bytes(id)),
        time_ms,
        body,
    })
}
