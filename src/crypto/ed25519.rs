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

/// The key, if nobody can sign under it who does not know its secret half.
///
/// # Errors
/// Why it is refused: no point of the curve, written in an unusual way, or of small order.
pub(super) fn checked(key: PublicKey) -> Result<PublicKey, &'static str> {
    let bytes = key.as_bytes();
    let point = VerifyingKey::from_bytes(bytes).map_err(|_| "it is no point of the curve")?;
    if point.is_weak() {
        return Err("it is a weak point (of small order), under which anybody can sign");
    }
    // The prime is 2^255 - 19: what is not below it stands for a number that has another spelling, too.
    let y_too_large = bytes[31] & 0x7f == 0x7f
        && bytes[1..31].iter().all(|byte| *byte == 0xff)
        && bytes[0] >= 0xed;
    if y_too_large {
        return Err("it is written in an unusual way, in which one key has two texts");
    }
    Ok(key)
}
