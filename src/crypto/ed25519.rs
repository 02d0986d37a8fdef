//! Ed25519 by the strict rules.

use ed25519_dalek::{Signature, VerifyingKey};
use ggen_protocols::id::PublicKey;
use ggen_protocols::record::CheckSignature;

/// Checks signatures with `verify_strict`, one by one.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictSignatures;

impl CheckSignature for StrictSignatures {
    fn check(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key.as_bytes()).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}
