//! Keys, signatures and records together: known answers of others, our golden bytes, and key files.

mod files_of_keys;
mod known_answers;
mod pem;
mod refused;
mod tampering;
mod trust;

#[path = "../../protocols/tests/golden/files.rs"]
mod files;
#[path = "../../protocols/tests/golden/records.rs"]
mod records;
#[path = "../../protocols/tests/golden/refused_documents.rs"]
mod refused_documents;

use bytes::Bytes;
use ggen_marketplace::crypto::{PrivateKey, StrictSignatures};
use ggen_protocols::id::NetworkId;
use ggen_protocols::record::{Record, Refusal, Signed, Verified};

use files::{golden, refusals, same, words};
use records::{key, network};

/// The secret key of RFC 8032 §7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

fn verify(envelope: impl Into<Bytes>) -> Result<Verified<Record>, Refusal> {
    Signed::from_envelope(envelope.into())?.verify(&StrictSignatures, network())
}

/// Signs a payload as the specification says it, without the code that is tested.
fn sign(network: NetworkId, payload: &[u8]) -> [u8; 64] {
    let domain = b"ggen-market/record/1\0";
    let key = key();
    let parts: [&[u8]; 4] = [domain, network.as_bytes(), key.as_bytes(), payload];
    PrivateKey::from_seed(SEED).sign(&parts.concat())
}

#[test]
fn the_golden_records_are_signed_by_the_golden_key() {
    let signer = PrivateKey::from_seed(SEED);
    assert_eq!(signer.public(), key());
    for (name, record) in records::records() {
        same(name, &signer.seal(record.draft(network(), key()).unwrap()));
        assert_eq!(verify(golden(name)).unwrap().content(), &record, "{name}");
    }
}

#[test]
fn each_refused_file_is_made_as_described_and_refused_for_its_reason() {
    let made = refused::refused(&sign);
    let listed = refusals();
    assert_eq!(made.len(), listed.len());
    for (name, envelope) in made {
        same(&format!("refused/{name}"), &envelope);
        let (_, refusal, treatment) = listed.iter().find(|(n, ..)| n == name).expect(name);
        let error = verify(envelope).expect_err(name);
        let expected = (refusal.clone(), treatment.as_str());
        assert_eq!(words(&error), expected, "{name}: {error}");
    }
}
