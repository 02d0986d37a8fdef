//! PKCS#8 (RFC 5208, RFC 5958) and SPKI (RFC 8410): Ed25519 keys in DER.

use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::der::Decode;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{EncodePrivateKey, EncodePublicKey, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::{CryptoError, PublicKey, other_kind, public_key};
use crate::crypto::PrivateKey;

/// What precedes the 32 bytes of the seed: the header of an octet string within the octet string.
const SEED_HEADER: [u8; 2] = [0x04, 0x20];

pub(super) fn private(der: &[u8]) -> Result<PrivateKey, CryptoError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|error| {
        CryptoError::unusable(format!("it is no private key in PKCS#8 ({error})"))
    })?;
    check(&info.algorithm)?;
    let seed = info.private_key.as_bytes().strip_prefix(&SEED_HEADER);
    let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let seed = seed.map(Zeroizing::new);
    let seed = seed.ok_or_else(|| CryptoError::unusable("an Ed25519 secret has 32 bytes"))?;
    let key = PrivateKey::from_seed(*seed);
    match info.public_key {
        Some(public) if public.as_bytes() != Some(key.public().as_bytes()) => Err(mismatch()),
        _ => Ok(key),
    }
}

/// Says that the public half was not made from the secret one. With such a pair, signing gives the secret away.
pub(super) fn mismatch() -> CryptoError {
    CryptoError::unusable("its public half does not belong to its secret half")
}

pub(super) fn public(der: &[u8]) -> Result<PublicKey, CryptoError> {
    let info = SubjectPublicKeyInfoRef::from_der(der);
    let info = info
        .map_err(|error| CryptoError::unusable(format!("it is no public key in SPKI ({error})")))?;
    check(&info.algorithm)?;
    public_key(info.subject_public_key.as_bytes().unwrap_or_default())
}

pub(super) fn of_private(key: &PrivateKey) -> SecretDocument {
    let pair = KeypairBytes {
        secret_key: *key.seed(),
        public_key: None,
    };
    pair.to_pkcs8_der()
        .expect("a key of fixed size always has a DER form")
}

pub(super) fn of_public(key: &PublicKey) -> SecretDocument {
    let bytes = ed25519_dalek::pkcs8::PublicKeyBytes(*key.as_bytes());
    let document = bytes.to_public_key_der();
    let document = document.expect("a key of fixed size always has a DER form");
    SecretDocument::try_from(document.as_bytes()).expect("a document stays one")
}

fn check(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), CryptoError> {
    let what = match algorithm.oid.to_string().as_str() {
        "1.3.101.112" if algorithm.parameters.is_none() => return Ok(()),
        "1.3.101.112" => return Err(CryptoError::unusable("Ed25519 has no parameters")),
        "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => "an RSA key",
        "1.2.840.10045.2.1" => "a key of an ECDSA curve",
        "1.2.840.10040.4.1" => "a DSA key",
        "1.3.101.110" => "an X25519 key, which cannot sign",
        "1.3.101.111" => "an X448 key, which cannot sign",
        "1.3.101.113" => "an Ed448 key",
        oid => return Err(other_kind(&format!("a key of the kind {oid}"))),
    };
    Err(other_kind(what))
}
