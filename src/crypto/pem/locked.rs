//! PKCS#8 under a passphrase: PBES2 (RFC 8018) with scrypt or PBKDF2, and AES in CBC mode.
//!
//! Derivation and decryption are done here and not by `pkcs5`, which leaves the derived key in memory.

use aes::{Aes128Dec, Aes192Dec, Aes256Dec, Aes256Enc};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use pbkdf2::pbkdf2_hmac;
use pkcs8::der::Decode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{self, Kdf, Pbkdf2Prf, Salt, ScryptParams};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rand::TryRng;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{CryptoError, Passphrase};

/// Memory that scrypt may take, in bytes: `128 N r` and `128 r p` are each at most this.
const SCRYPT_BYTES_MAX: u64 = 128 << 20;
/// Work that scrypt may take, as `N r p`: four times that of N = 2^17, r = 8, p = 1, so about a second.
const SCRYPT_WORK_MAX: u64 = 1 << 22;
/// Rounds of PBKDF2; ten million take some seconds.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

/// The largest N whose files OpenSSL opens: it gives scrypt 32 MiB at most, and N = 2^15 needs a little more.
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
/// Makes up for the small N: as much work as N = 2^17 with p = 1, in 16 MiB instead of 128.
const SCRYPT_P: u16 = 8;
const _: () = assert!(128 * SCRYPT_N * (SCRYPT_R as u64) < 32 << 20);
const _: () = assert!(SCRYPT_N * (SCRYPT_R as u64) * (SCRYPT_P as u64) <= SCRYPT_WORK_MAX);

/// AES block and so the most that padding adds, in bytes.
const BLOCK_BYTES: usize = 16;

/// The PKCS#8 document inside.
pub(super) fn open(
    der: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let unknown = |error| {
        CryptoError::unusable(format!(
            "it is locked in a way that is not known here ({error}): `openssl pkcs8 -topk8` writes one that is"
        ))
    };
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(unknown)?;
    let EncryptionScheme::Pbes2(scheme) = &info.encryption_algorithm else {
        let why = "it is locked by a method that is long broken (PBES1): `openssl pkcs8 -topk8` writes a better one";
        return Err(CryptoError::unusable(why));
    };
    affordable(&scheme.kdf)?;
    let passphrase = passphrase.ok_or(CryptoError::Locked { path: None })?;
    let mut data = Zeroizing::new(info.encrypted_data.as_bytes().to_vec());
    let length = decrypt(scheme, passphrase, &mut data)?;
    data.truncate(length);
    // A wrong key leaves a valid padding once in 256 times.
    if PrivateKeyInfoRef::from_der(&data).is_err() {
        return Err(CryptoError::WrongPassphrase { path: None });
    }
    Ok(data)
}

/// The document under the passphrase, with a fresh salt and IV.
pub(super) fn close(plain: &[u8], passphrase: &Passphrase) -> Result<SecretDocument, CryptoError> {
    let failed = |error| CryptoError::unusable(format!("it cannot be locked ({error})"));
    let mut random = [[0; BLOCK_BYTES]; 2];
    let filled = rand::rngs::SysRng.try_fill_bytes(random.as_flattened_mut());
    filled.expect("a system without randomness can lock nothing");
    let [salt, iv] = random;
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: Salt::new(salt).map_err(failed)?,
        cost_parameter: SCRYPT_N,
        block_size: SCRYPT_R,
        parallelization: SCRYPT_P,
        key_length: None,
    });
    let key = derive(&kdf, passphrase, 32)?;
    let mut data = Zeroizing::new(plain.to_vec());
    data.resize(plain.len() + BLOCK_BYTES, 0);
    let cipher = cbc::Encryptor::<Aes256Enc>::new_from_slices(&key[..], &iv);
    let cipher = cipher.expect("32 bytes are a key of AES-256, 16 an IV");
    let encrypted = cipher.encrypt_padded::<Pkcs7>(&mut data, plain.len());
    let encrypted = encrypted.expect("a block more than the text is room for padding");
    let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv };
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: pbes2::Parameters { kdf, encryption }.into(),
        encrypted_data: OctetStringRef::new(encrypted).map_err(failed)?,
    };
    SecretDocument::encode_msg(&info).map_err(failed)
}

/// Refuses what would take too much memory or time, before any of it is spent.
fn affordable(kdf: &Kdf) -> Result<(), CryptoError> {
    let (n, r, p) = match kdf {
        Kdf::Scrypt(scrypt) => {
            let (r, p) = (scrypt.block_size.into(), scrypt.parallelization.into());
            (scrypt.cost_parameter, r, p)
        }
        Kdf::Pbkdf2(pbkdf2) if (1..=PBKDF2_ROUNDS_MAX).contains(&pbkdf2.iteration_count) => {
            return Ok(());
        }
        Kdf::Pbkdf2(_) => (u64::MAX, u64::MAX, u64::MAX),
        _ => {
            return Err(CryptoError::unusable(
                "its key derivation is not known here",
            ));
        }
    };
    let bytes = n.max(p).saturating_mul(r).saturating_mul(128);
    let work = n.saturating_mul(r).saturating_mul(p);
    if bytes > SCRYPT_BYTES_MAX || work > SCRYPT_WORK_MAX {
        let why = "opening it would take more memory or time than is given to one key";
        return Err(CryptoError::unusable(why));
    }
    Ok(())
}

/// Decrypts in place; gives the length of the text.
fn decrypt(
    scheme: &pbes2::Parameters,
    passphrase: &Passphrase,
    data: &mut [u8],
) -> Result<usize, CryptoError> {
    type Scheme = pbes2::EncryptionScheme;
    fn run<C: KeyIvInit + BlockModeDecrypt>(
        key: &[u8],
        iv: &[u8],
        data: &mut [u8],
    ) -> Option<usize> {
        let cipher = C::new_from_slices(key, iv).ok()?;
        Some(cipher.decrypt_padded::<Pkcs7>(data).ok()?.len())
    }
    let length = match &scheme.encryption {
        Scheme::Aes128Cbc { .. } => 16,
        Scheme::Aes192Cbc { .. } => 24,
        Scheme::Aes256Cbc { .. } => 32,
        _ => return Err(CryptoError::unusable("its cipher is not AES in CBC mode")),
    };
    let key = derive(&scheme.kdf, passphrase, length)?;
    let key = &key[..length];
    let text = match &scheme.encryption {
        Scheme::Aes128Cbc { iv } => run::<cbc::Decryptor<Aes128Dec>>(key, iv, data),
        Scheme::Aes192Cbc { iv } => run::<cbc::Decryptor<Aes192Dec>>(key, iv, data),
        Scheme::Aes256Cbc { iv } => run::<cbc::Decryptor<Aes256Dec>>(key, iv, data),
        _ => None,
    };
    text.ok_or(CryptoError::WrongPassphrase { path: None })
}

/// A key of `length` bytes, at the start of the 32.
fn derive(
    kdf: &Kdf,
    passphrase: &Passphrase,
    length: usize,
) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    if kdf
        .key_length()
        .is_some_and(|said| usize::from(said) != length)
    {
        return Err(CryptoError::unusable(
            "its key derivation and its cipher disagree on the length of the key",
        ));
    }
    let mut key = Zeroizing::new([0; 32]);
    let secret = passphrase.as_bytes();
    match kdf {
        Kdf::Scrypt(scrypt) => {
            let n = scrypt.cost_parameter;
            let (r, p) = (scrypt.block_size.into(), scrypt.parallelization.into());
            let is_possible = n > 1 && n.is_power_of_two() && r > 0 && p > 0;
            let log = u8::try_from(n.trailing_zeros()).ok();
            let log = log.filter(|_| is_possible);
            let parameters = log.and_then(|log| scrypt::Params::new(log, r, p).ok());
            let parameters = parameters
                .ok_or_else(|| CryptoError::unusable("scrypt cannot have its parameters"))?;
            let salt = scrypt.salt.as_bytes();
            scrypt::scrypt(secret, salt, &parameters, &mut key[..length])
                .expect("a key is not too long for scrypt");
        }
        Kdf::Pbkdf2(pbkdf2) => {
            let (salt, rounds) = (pbkdf2.salt.as_bytes(), pbkdf2.iteration_count);
            let key = &mut key[..length];
            match pbkdf2.prf {
                Pbkdf2Prf::HmacWithSha224 => pbkdf2_hmac::<Sha224>(secret, salt, rounds, key),
                Pbkdf2Prf::HmacWithSha256 => pbkdf2_hmac::<Sha256>(secret, salt, rounds, key),
                Pbkdf2Prf::HmacWithSha384 => pbkdf2_hmac::<Sha384>(secret, salt, rounds, key),
                Pbkdf2Prf::HmacWithSha512 => pbkdf2_hmac::<Sha512>(secret, salt, rounds, key),
                _ => {
                    return Err(CryptoError::unusable(
                        "its key is derived with SHA-1: `openssl pkcs8 -topk8` writes a better one",
                    ));
                }
            }
        }
        _ => {
            return Err(CryptoError::unusable(
                "its key derivation is not known here",
            ));
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scrypt(n: u64, r: u16, p: u16) -> Kdf {
        Kdf::Scrypt(ScryptParams {
            salt: Salt::new([1; 16]).unwrap(),
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        })
    }

    #[test]
    fn only_what_is_affordable_is_derived() {
        for (n, r, p) in [(1 << 17, 8, 1), (1 << 14, 8, 8), (1 << 17, 8, 4), (2, 1, 1)] {
            assert!(affordable(&scrypt(n, r, p)).is_ok(), "{n} {r} {p}");
        }
        for (n, r, p) in [
            (1 << 18, 8, 1),
            (1 << 17, 9, 1),
            (1 << 17, 8, 5),
            (2, u16::MAX, u16::MAX),
            (u64::MAX, 1, 1),
        ] {
            assert!(affordable(&scrypt(n, r, p)).is_err(), "{n} {r} {p}");
        }
        let pbkdf2 =
            |rounds| Kdf::Pbkdf2(pbes2::Pbkdf2Params::hmac_sha256(rounds, &[1; 16]).unwrap());
        assert!(affordable(&pbkdf2(10_000_000)).is_ok());
        assert!(affordable(&pbkdf2(10_000_001)).is_err());
        assert!(affordable(&pbkdf2(0)).is_err());
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let passphrase: Passphrase = "x".parse().unwrap();
        for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (1024, 0, 1), (1024, 8, 0)] {
            let refused = derive(&scrypt(n, r, p), &passphrase, 32).unwrap_err();
            assert!(refused.to_string().contains("scrypt cannot"), "{refused}");
        }
    }
}
