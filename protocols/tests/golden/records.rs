//! The values that the golden records stand for: fixed key, fixed fields.

use ggen_protocols::cbor::{self, Opaque};
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::record::{
    Body, Info, Links, Publish, PublishDependency, Record, SourceWire, State,
};
use serde_bytes::ByteArray;

#[path = "documents.rs"]
pub(crate) mod documents;

/// The public key of RFC 8032 §7.1, test 1. Its seed is only in the tests that sign.
pub(crate) const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

pub(crate) fn key() -> PublicKey {
    KEY.parse().unwrap()
}

pub(crate) fn network() -> NetworkId {
    NetworkId::named("main")
}

pub(crate) fn owner() -> OwnerId {
    OwnerId::of_key(network(), key())
}

fn hash(byte: u8) -> Option<ByteArray<32>> {
    Some(ByteArray::new([byte; 32]))
}

/// The first record of a feed, with this body.
pub(crate) fn first(body: Body) -> Record {
    Record {
        owner: Some(owner()),
        seq: 1,
        previous: None,
        time_ms: 1_767_225_600_000,
        body,
    }
}

/// A release that says as little as possible.
pub(crate) fn least() -> Publish {
    Publish {
        name: "least".to_owned(),
        version: "0.1.0".to_owned(),
        format: 2,
        blake3: None,
        sha256: hash(0x22),
        size: None,
        dependencies: Vec::new(),
        features: Vec::new(),
        description: String::new(),
        authors: Vec::new(),
        license: String::new(),
        links: Links::default(),
        keywords: Vec::new(),
        categories: Vec::new(),
        native: None,
        rust_version: None,
        readme: None,
        provenance: None,
    }
}

pub(crate) fn dependency(name: &str, source: SourceWire) -> PublishDependency {
    PublishDependency {
        name: name.to_owned(),
        requirement: "^1.2".to_owned(),
        source,
        kind: 0,
        features: Vec::new(),
        target: None,
        optional: false,
        default_features: true,
        rename: None,
    }
}

/// A release that uses every field.
pub(crate) fn full() -> Publish {
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let url = |text: &str| Some(text.to_owned());
    Publish {
        name: "Full_Example".to_owned(),
        version: "1.2.3-rc.1+build.5".to_owned(),
        format: 0,
        blake3: hash(0x11),
        sha256: hash(0x22),
        size: Some(123_456),
        dependencies: vec![
            PublishDependency {
                kind: 1,
                rename: Some("_bar2".to_owned()),
                ..dependency(
                    "bar",
                    SourceWire::Url("sparse+https://index.example/".to_owned()),
                )
            },
            PublishDependency {
                requirement: ">=1.0.0, <2.0.0".to_owned(),
                features: texts(&["std", "derive"]),
                optional: true,
                default_features: false,
                ..dependency("foo", SourceWire::Default(()))
            },
            PublishDependency {
                kind: 2,
                target: Some("cfg(all(unix, target_arch = \"x86_64\"))".to_owned()),
                ..dependency("foo", SourceWire::Owner(OwnerId::from_bytes([0x33; 32])))
            },
        ],
        features: vec![
            ("default".to_owned(), texts(&["std", "dep:foo"])),
            ("std".to_owned(), texts(&["foo?/std"])),
        ],
        description: "A line with “quotes”,\nand a second one: naïve 日本.".to_owned(),
        authors: texts(&["Zoë <zoe@example.org>", "B"]),
        license: "MIT OR Apache-2.0".to_owned(),
        links: Links {
            repository: url("https://example.org/full/example?a=b#c"),
            homepage: url("http://example.org/"),
            documentation: None,
        },
        keywords: texts(&["example", "b-2"]),
        categories: texts(&["development-tools::testing"]),
        native: Some("z".to_owned()),
        rust_version: Some("1.85".to_owned()),
        readme: hash(0x44),
        provenance: hash(0x55),
    }
}

/// A yank with a reason.
pub(crate) fn yank() -> State {
    State {
        name: "full-example".to_owned(),
        version: Some("1.2.3-rc.1".to_owned()),
        revision: 1,
        yanked: true,
        withdrawn: false,
        note: "broken on big-endian machines".to_owned(),
        info: None,
    }
}

/// New metadata for a package as a whole.
fn edit() -> State {
    State {
        name: "full-example".to_owned(),
        version: None,
        revision: (1 << 32) - 1,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        info: Some(Info {
            description: Some("Better said.".to_owned()),
            links: Links {
                documentation: Some("https://docs.example/".to_owned()),
                ..Links::default()
            },
            keywords: Some(Vec::new()),
            categories: None,
            deprecated: Some("use `other`".to_owned()),
        }),
    }
}

fn opaque() -> Opaque {
    // [1, "text", h'00ff', null, true, [[], 2^53 - 1]]
    let bytes = [
        &[0x86, 0x01, 0x64][..],
        b"text",
        &[0x42, 0x00, 0xff, 0xf6, 0xf5, 0x82, 0x80],
        &[0x1b, 0x00, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    cbor::decode(&bytes.concat(), 100).unwrap()
}

/// The golden records, by the names of their files; those in the namespace of the bare key stand in one feed.
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let previous = |byte| Some(RecordId::from_bytes([byte; 32]));
    let later = |seq, body| Record {
        seq,
        previous: previous(seq as u8),
        ..first(body)
    };
    let other = Body::Other {
        kind: 1000,
        body: opaque(),
    };
    let mut all = vec![
        ("publish-least", first(Body::Publish(Box::new(least())))),
        ("publish", later(2, Body::Publish(Box::new(full())))),
        ("state-yank", later(3, Body::State(yank()))),
        ("state-info", later(4, Body::State(edit()))),
        ("unknown-kind", later(5, other)),
    ];
    all.extend(documents::records());
    all
}
