//! The golden bytes, both ways, and the bytes that must be refused.
//!
//! The files are the protocol: a test that fails here prints what the code makes, and whoever means to change
//! the protocol puts that into the file by hand (`xxd -r -p`), under a new version. Signatures are checked
//! where Ed25519 is, in the tests of the whole; here they are taken from the files.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;

use bytes::Bytes;
use ggen_protocols::catalogue::{Namespace, Status};
use ggen_protocols::cbor;
use ggen_protocols::hash::{ContentHash, ContentHasher};
use ggen_protocols::id::{OwnerId, PackageId, PackageName};
use ggen_protocols::limits;
use ggen_protocols::message::{Announcement, Request, Response};
use ggen_protocols::metadata::{Checksums, PackageMetadata};
use ggen_protocols::owner::{KIND_GENESIS, NamespaceDocument};
use ggen_protocols::record::{Body, Publish, Record, Refusal, Signed, Verified};
use serde_json::Value;

#[path = "golden/files.rs"]
mod files;
#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/records.rs"]
mod records;
#[path = "golden/refused_documents.rs"]
mod refused_documents;

use files::{folder, golden, json, refusals, same, words};
use records::{key, network, owner};

fn read(envelope: impl Into<Bytes>) -> Result<Verified<Record>, Refusal> {
    Signed::from_envelope(envelope.into())?.trust_stored(network())
}

#[test]
fn records_are_their_golden_bytes() {
    let known = json("records.json");
    assert_eq!(known["key"], records::KEY);
    assert_eq!(known["owner"], owner().to_string());
    for (name, record) in records::records() {
        let file = golden(name);
        let signature = file.last_chunk::<64>().copied().unwrap_or([0; 64]);
        same(
            name,
            &record.draft(network(), key()).unwrap().sealed(signature),
        );
        let verified = read(file).unwrap();
        assert_eq!(verified.content(), &record, "{name}");
        assert_eq!(verified.id().to_string(), known["ids"][name], "{name}");
        let (founds, speaks) = (name == "genesis", name != "head");
        let namespace = if founds {
            Ok(OwnerId::of_genesis(verified.id()))
        } else {
            record.owner.ok_or(Refusal::NoNamespace)
        };
        assert_eq!(verified.namespace(), namespace, "{name}");
        assert_eq!(namespace.is_ok(), speaks, "{name}");
    }
}

/// The id of an owner is the id of a record that is never sent: here it is made.
#[test]
fn an_owner_is_the_implicit_founding_record_of_its_key() {
    let none: Option<u64> = None;
    let document = NamespaceDocument::implicit(key());
    let payload = cbor::encode(&(KIND_GENESIS, none, 0u64, none, 0u64, document));
    same("genesis-payload", &payload);
    let key = serde_bytes::ByteArray::new(*key().as_bytes());
    let signature = serde_bytes::ByteArray::new([0; 64]);
    let envelope = cbor::encode(&(1u64, key, serde_bytes::ByteBuf::from(payload), signature));
    let id = Signed::from_envelope(envelope.into())
        .unwrap()
        .id(network());
    assert_eq!(id.as_bytes(), owner().as_bytes());
}

#[test]
fn messages_are_their_golden_bytes() {
    fn both<T: PartialEq + Debug>(
        all: Vec<(&str, T)>,
        encode: fn(&T) -> Vec<u8>,
        decode: fn(&[u8]) -> Result<T, cbor::DecodeError>,
    ) {
        for (name, message) in all {
            same(name, &encode(&message));
            assert_eq!(decode(&golden(name)).unwrap(), message, "{name}");
        }
    }
    both(messages::requests(), Request::encode, Request::decode);
    both(messages::responses(), Response::encode, Response::decode);
    both(
        messages::announcements(),
        Announcement::encode,
        Announcement::decode,
    );
}

#[test]
fn each_refused_file_is_refused_for_its_reason() {
    for (name, refusal, treatment) in refusals() {
        let read = read(golden(&format!("refused/{name}")));
        if refusal == "signature" {
            assert!(
                read.is_ok(),
                "{name}: only its signature is wrong: {read:?}"
            );
            continue;
        }
        let error = read.expect_err(&name);
        assert_eq!(
            words(&error),
            (refusal, treatment.as_str()),
            "{name}: {error}"
        );
    }
}

/// The other refused files are made, and all of them signed, where Ed25519 is.
#[test]
fn refused_documents_are_made_as_described() {
    for (name, payload) in refused_documents::refused() {
        let file = golden(&format!("refused/{name}"));
        let signature = file.last_chunk::<64>().copied().unwrap_or([0; 64]);
        let parts = (
            1u64,
            serde_bytes::ByteArray::new(*key().as_bytes()),
            serde_bytes::ByteBuf::from(payload),
            serde_bytes::ByteArray::new(signature),
        );
        same(&format!("refused/{name}"), &cbor::encode(&parts));
    }
}

#[test]
fn the_golden_namespace_is_founded_and_continued() {
    let [genesis, acl] = ["genesis", "acl"].map(|name| read(golden(name)).unwrap());
    let owner = records::documents::founded();
    assert_eq!(json("records.json")["founded"], owner.to_string());
    assert_eq!(genesis.namespace(), Ok(owner));
    let mut namespace = Namespace::new(network(), owner);
    assert_eq!(
        namespace.admit(&acl),
        Err(Refusal::Unauthorised { key: key(), owner })
    );
    assert_eq!(namespace.admit(&genesis), Ok(true));
    assert_eq!(namespace.admit(&acl), Ok(true));
    assert_eq!(namespace.meaning().status, Status::Active(acl.id()));
}

#[test]
fn every_file_among_the_vectors_is_tested() {
    let listed = |sub: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder().join(sub)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let files = paths.filter(|path| path.extension().is_some_and(|e| e == "cbor"));
        files
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let mut names = BTreeSet::from(["genesis-payload".to_owned()]);
    names.extend(
        records::records()
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    names.extend(
        messages::requests()
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    names.extend(
        messages::responses()
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    names.extend(
        messages::announcements()
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    assert_eq!(listed(""), names);
    let refused: BTreeSet<_> = refusals().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(listed("refused"), refused);
}

#[test]
fn an_envelope_over_the_limit_is_refused_by_its_length() {
    let mut long = golden("publish-least");
    long.resize(limits::ENVELOPE_BYTES_MAX + 1, 0);
    let error = read(long).unwrap_err();
    assert_eq!(words(&error), ("envelope too long".to_owned(), "reject"));
}

fn vectors(path: &str) -> Value {
    let path = format!("{}/tests/vectors/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|two| std::str::from_utf8(two).unwrap());
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

#[test]
fn the_cases_of_canonical_encoding_are_decided_as_listed() {
    let all = vectors("cbor/canonical_negative.json");
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 23);
    for case in cases {
        let bytes = unhex(&case["hex"]);
        let decoded = cbor::decode::<(u64, String, Option<u64>, Vec<u64>)>(&bytes, 1000);
        assert_eq!(
            decoded.is_ok(),
            case["accept"],
            "{}: {decoded:?}",
            case["why"]
        );
    }
}

#[test]
fn a_map_with_a_key_twice_is_refused() {
    use std::collections::BTreeMap;
    let all = vectors("dag-cbor/duplicate-keys.json");
    let bytes = unhex(&all[0]["hex"]);
    assert!(cbor::decode::<BTreeMap<String, u64>>(&bytes, 1000).is_err());
    assert!(cbor::decode::<cbor::Opaque>(&bytes, 1000).is_err());
}

#[test]
fn blake3_gives_the_published_hashes() {
    let all = vectors("blake3/test_vectors.json");
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 35);
    for case in cases {
        let size = case["input_len"].as_u64().unwrap();
        let input: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let expected = &case["hash"].as_str().unwrap()[..64];
        assert_eq!(ContentHash::blake3(&input).to_hex(), expected);
        let mut hasher = ContentHasher::new();
        input.chunks(1000).for_each(|chunk| hasher.update(chunk));
        assert_eq!(hasher.finish().0.to_hex(), expected);
    }
}

/// As a description, a naughty string comes back as it was, or is refused with the field's name.
#[test]
fn naughty_strings_are_carried_unchanged_or_refused_by_name() {
    let all = vectors("blns/blns.json");
    let (mut carried, mut refused) = (0, 0);
    for text in all.as_array().unwrap() {
        let text = text.as_str().unwrap();
        let metadata = PackageMetadata {
            description: text.to_owned(),
            checksums: Checksums {
                blake3: Some(ContentHash::blake3(text)),
                ..Checksums::default()
            },
            ..PackageMetadata::new(PackageId::new("naughty", "1.0.0"))
        };
        match Publish::from_metadata(&metadata) {
            Ok(publish) => {
                let record = records::first(Body::Publish(Box::new(publish)));
                let draft = record.draft(network(), key()).unwrap();
                assert_eq!(read(draft.sealed([0; 64])).unwrap().content(), &record);
                carried += 1;
            }
            Err(error) => {
                assert_eq!(error.field, "description", "{text:?}");
                refused += 1;
            }
        }
        if let Ok(name) = text.parse::<PackageName>() {
            assert!(name.as_str().is_ascii());
        }
    }
    assert!(
        carried > 400 && refused > 10,
        "{carried} carried, {refused} refused"
    );
}
