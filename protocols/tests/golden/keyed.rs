//! Signatures that anyone can make: a hash over key and message. The rules cannot tell.

use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, PublicKey};
use ggen_protocols::record::{CheckSignature, Record, Refusal, Signed, Verified};

struct KeyedHash;

impl KeyedHash {
    fn sign(key: &PublicKey, message: &[u8]) -> [u8; 64] {
        let all = [key.as_bytes(), message].concat();
        let halves = [ContentHash::blake3(&all), ContentHash::sha256(&all)];
        std::array::from_fn(|at| halves[at / 32].as_bytes()[at % 32])
    }
}

impl CheckSignature for KeyedHash {
    fn check(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        Self::sign(key, message) == *signature
    }
}

/// The envelope of `record`, signed by `key`.
pub(crate) fn seal(record: &Record, key: PublicKey) -> Bytes {
    let draft = record.draft(NetworkId::main(), key).unwrap();
    let signature = KeyedHash::sign(&key, &draft.message());
    draft.sealed(signature)
}

/// What a node makes of an envelope.
pub(crate) fn verify(envelope: impl Into<Bytes>) -> Result<Verified<Record>, Refusal> {
    Signed::from_envelope(envelope.into())?.verify(&KeyedHash, NetworkId::main())
}
