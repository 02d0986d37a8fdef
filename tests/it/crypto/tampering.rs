//! Whatever is changed in an envelope, it is refused.

use bytes::Bytes;
use ggen_marketplace::crypto::PrivateKey;
use ggen_protocols::catalogue::Namespace;
use ggen_protocols::id::NetworkId;
use ggen_protocols::record::{Body, Record, Refusal, Signed};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq};
use proptest::proptest;

use super::records::{self, key, network};
use super::{SEED, golden, verify};

#[test]
fn every_flipped_bit_of_a_golden_record_is_refused() {
    for (name, _) in records::records() {
        let good = golden(name);
        let id = verify(good.clone()).unwrap().id();
        for bit in 0..good.len() * 8 {
            let mut wrong = good.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let refusal = verify(wrong).expect_err("a changed bit");
            assert!(
                matches!(
                    refusal,
                    Refusal::Envelope(_) | Refusal::UnknownVersion(_) | Refusal::Signature
                ),
                "{name} {id}, bit {bit}: {refusal:?}"
            );
        }
    }
}

#[test]
fn an_envelope_says_nothing_in_another_network() {
    let signed = Signed::from_envelope(Bytes::from(golden("publish"))).unwrap();
    let here = signed.clone().id(network());
    let there = NetworkId::named("test");
    assert_ne!(signed.id(there), here);
    let refusal = signed.verify(&ggen_marketplace::crypto::StrictSignatures, there);
    assert_eq!(refusal.unwrap_err(), Refusal::Signature);
}

#[test]
fn a_payload_signed_by_another_key_is_another_record_without_rights() {
    let other = PrivateKey::from_seed([7; 32]);
    for (name, record) in records::records() {
        if matches!(record.body, Body::Genesis(_) | Body::Head(_)) {
            // Only its own root can sign the first, as its grammar says; the second is written in no namespace.
            continue;
        }
        let draft = record.draft(network(), other.public()).unwrap();
        let verified = verify(other.seal(draft)).unwrap();
        assert_ne!(verified.id(), verify(golden(name)).unwrap().id());
        let owner = verified.namespace().unwrap();
        let refusal = Namespace::new(network(), owner).admit(&verified);
        assert!(
            matches!(refusal, Err(Refusal::Unauthorised { .. })),
            "{refusal:?}"
        );
    }
}

fn notes() -> impl Strategy<Value = Record> {
    ("[ -~]{0,200}", 1u64..100, 0u64..(1 << 53)).prop_map(|(note, revision, time_ms)| Record {
        time_ms,
        ..records::first(Body::State(ggen_protocols::record::State {
            note,
            revision,
            ..records::yank()
        }))
    })
}

proptest! {
    #[test]
    fn a_signed_record_verifies_and_no_other_bytes_do(
        record in notes(),
        at in 0usize..10_000,
        change in 1u8..=255,
    ) {
        let good = PrivateKey::from_seed(SEED).seal(record.draft(network(), key()).unwrap());
        let verified = verify(good.clone()).unwrap();
        prop_assert_eq!(verified.content(), &record);
        prop_assert_eq!(verified.envelope(), &good);
        let mut wrong = good.to_vec();
        let at = at % wrong.len();
        wrong[at] ^= change;
        prop_assert!(verify(wrong).is_err());
        prop_assert!(verify(good.slice(..at)).is_err());
    }
}
