//! What holds of every record and message: nothing else than what was signed is taken, and nothing panics.
#![allow(clippy::unwrap_used)]

use std::fs;

use bytes::Bytes;
use ggen_protocols::catalogue::Namespace;
use ggen_protocols::cbor;
use ggen_protocols::id::OwnerId;
use ggen_protocols::limits;
use ggen_protocols::message::{Announcement, Request, Response};
use ggen_protocols::metadata::{PackageMetadata, Proof};
use ggen_protocols::record::{Body, Publish, Record, Refusal, Signed};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::{Index, select};
use serde_bytes::{ByteArray, ByteBuf};

#[path = "golden/generated.rs"]
mod generated;
#[path = "golden/keyed.rs"]
mod keyed;
#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/records.rs"]
mod records;

use keyed::verify;
use records::{key, network};

fn seal(record: &Record) -> Bytes {
    keyed::seal(record, key())
}

/// Golden files, as the start of what a stranger could send.
fn golden() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<_> = (records::records().into_iter().map(|(name, _)| name))
        .chain(messages::requests().into_iter().map(|(name, _)| name))
        .chain(messages::responses().into_iter().map(|(name, _)| name))
        .chain(messages::announcements().into_iter().map(|(name, _)| name))
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    select(names).prop_map(move |name| fs::read(format!("{folder}/{name}.cbor")).unwrap())
}

/// Bytes near to good ones: some replaced, some put in, some left out.
fn damaged(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // Bytes that mean something where an item begins are more likely than others.
    let heads = select(vec![
        0x00, 0x18, 0x1b, 0x40, 0x58, 0x60, 0x78, 0x80, 0x81, 0x9a, 0x9f, 0xa0, 0xc0, 0xf4, 0xf5,
        0xf6, 0xf7, 0xff,
    ]);
    let change = (any::<Index>(), 0u8..3, prop_oneof![heads, any::<u8>()]);
    (good, vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        for (at, how, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// Reads bytes as everything that they could be; whatever is taken must encode to the same bytes.
fn read_as_everything(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(response.encode(), bytes);
    }
    if let Ok(announcement) = Announcement::decode(bytes) {
        assert_eq!(announcement.encode(), bytes);
    }
    read_payload(bytes);
    let envelope = Bytes::copy_from_slice(bytes);
    if let Ok(signed) = Signed::from_envelope(envelope.clone()) {
        let parts = typed(bytes).expect("what is read in place is also of the type");
        assert_eq!(parts.1.into_array(), *signed.key().as_bytes());
        if let Ok(verified) = signed.trust_stored(network()) {
            let draft = verified.content().draft(network(), verified.key()).unwrap();
            assert_eq!(draft.sealed(parts.3.into_array()), envelope);
            if let Ok(owner) = verified.namespace() {
                // Whatever it says, taking it in must not panic.
                let mut namespace = Namespace::new(network(), owner);
                drop(namespace.admit(&verified));
                drop(namespace.meaning());
            }
        }
    } else if let Some(parts) = typed(bytes) {
        assert_ne!(
            parts.0, 1,
            "an envelope of version 1 is read in place if it is of the type"
        );
    }
}

fn read_payload(payload: &[u8]) {
    let parts = (
        1u64,
        ByteArray::new(*key().as_bytes()),
        ByteBuf::from(payload),
        ByteArray::new([0; 64]),
    );
    let signed = Signed::from_envelope(cbor::encode(&parts).into()).unwrap();
    if let Ok(verified) = signed.trust_stored(network()) {
        assert_eq!(cbor::encode(verified.content()), payload);
    }
}

type Envelope = (u64, ByteArray<32>, ByteBuf, ByteArray<64>);

/// The envelope as the decoder for all other messages reads it.
fn typed(bytes: &[u8]) -> Option<Envelope> {
    cbor::decode(bytes, limits::ENVELOPE_BYTES_MAX).ok()
}

/// Metadata with the dependencies of each alias in one order, each once.
fn ordered(mut metadata: PackageMetadata) -> PackageMetadata {
    for all in metadata.dependencies.values_mut() {
        all.sort_by_key(|one| format!("{one:?}"));
        all.dedup();
    }
    metadata
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn i8_every_flipped_bit_of_a_valid_envelope_is_refused(record in generated::record()) {
        let good = seal(&record);
        for bit in 0..good.len() * 8 {
            let mut wrong = good.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let refusal = verify(wrong).expect_err("a changed bit");
            prop_assert!(
                matches!(refusal, Refusal::Envelope(_) | Refusal::UnknownVersion(_) | Refusal::Signature),
                "bit {}: {:?}", bit, refusal
            );
        }
    }
}

proptest! {
    #[test]
    fn i8_a_record_verifies_as_what_was_signed(record in generated::record()) {
        let envelope = seal(&record);
        let verified = verify(envelope.clone()).unwrap();
        prop_assert_eq!(verified.content(), &record);
        prop_assert_eq!(verified.envelope(), &envelope);
        prop_assert_eq!(verified.key(), key());
        let namespace = match &record.body {
            Body::Genesis(_) => Ok(OwnerId::of_genesis(verified.id())),
            _ => record.owner.ok_or(Refusal::NoNamespace),
        };
        prop_assert_eq!(verified.namespace(), namespace);
    }

    #[test]
    fn i9_another_signature_makes_no_second_id(record in generated::record(), signature in vec(any::<u8>(), 64)) {
        let good = verify(seal(&record)).unwrap();
        let signature = signature.try_into().unwrap();
        let other = record.draft(network(), key()).unwrap().sealed(signature);
        let signed = Signed::from_envelope(other.clone()).unwrap();
        prop_assert_eq!(signed.id(network()), good.id());
        prop_assert_eq!(verify(other).unwrap_err(), Refusal::Signature);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn i8_damaged_records_and_messages_never_panic_and_are_taken_only_as_they_stand(
        bytes in prop_oneof![
            damaged(golden()),
            damaged(generated::record().prop_map(|record| seal(&record).to_vec())),
            damaged(generated::record().prop_map(|record| cbor::encode(&record))),
        ],
    ) {
        read_as_everything(&bytes);
    }

    #[test]
    fn metadata_comes_back_from_the_record_that_carries_it(metadata in generated::metadata()) {
        let publish = Publish::from_metadata(&metadata).unwrap();
        let record = records::first(Body::Publish(Box::new(publish.clone())));
        let verified = verify(seal(&record)).unwrap();
        let Body::Publish(carried) = &verified.content().body else {
            panic!("a publish record");
        };
        prop_assert_eq!(&**carried, &publish);
        let back = carried.to_metadata(Some("acme".to_owned()), &verified);
        prop_assert_eq!(back.signature.key.0, key());
        prop_assert_eq!(&back.signature.proof, &Proof::Record(verified.envelope().clone()));
        prop_assert_eq!(back.published_at.timestamp_millis(), 1_767_225_600_000);
        prop_assert_eq!(&Publish::from_metadata(&back).unwrap(), &publish);
        let mut expected = ordered(metadata);
        expected.id.namespace = Some("acme".to_owned());
        expected.signature = back.signature.clone();
        expected.published_at = back.published_at;
        prop_assert_eq!(ordered(back), expected);
    }
}
