//! The forms of OpenSSH: its private key file (PROTOCOL.key) and the line of a public key.

use rand::TryRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, Cipher, Kdf, LineEnding};
use zeroize::Zeroizing;

use super::asn1::mismatch;
use super::{CryptoError, Passphrase, PublicKey, other_kind, public_key};
use crate::crypto::PrivateKey;

/// Rounds of bcrypt that are done to open a key; a thousand take some seconds.
const ROUNDS_MAX: u32 = 1024;
/// Rounds of bcrypt in what is written: what `ssh-keygen` takes since OpenSSH 9.4.
const ROUNDS: u32 = 24;

pub(super) fn private(
    text: &str,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, CryptoError> {
    let mut key = read(text)?;
    check(&key.algorithm())?;
    if key.is_encrypted() {
        match key.kdf() {
            Kdf::Bcrypt { rounds, .. } if *rounds <= ROUNDS_MAX => {}
            Kdf::Bcrypt { .. } => {
                let why = "opening it would take more time than is given to one key";
                return Err(CryptoError::unusable(why));
            }
            _ => return Err(CryptoError::unusable("it is locked without a passphrase")),
        }
        let passphrase = passphrase.ok_or(CryptoError::Locked { path: None })?;
        key = key
            .decrypt(passphrase.as_bytes())
            .map_err(|error| match error {
                // What is told apart by chance only: two equal numbers at the start, or the tag of the cipher.
                ssh_key::Error::Crypto | ssh_key::Error::Encoding(_) => {
                    CryptoError::WrongPassphrase { path: None }
                }
                error => damaged(error),
            })?;
    }
    let KeypairData::Ed25519(pair) = key.key_data() else {
        return Err(other_kind("another kind of key"));
    };
    let ours = PrivateKey::from_seed(*Zeroizing::new(pair.private.to_bytes()));
    if ours.public().as_bytes() != &pair.public.0 {
        return Err(mismatch());
    }
    Ok(ours)
}

pub(super) fn is_locked(text: &str) -> Result<bool, CryptoError> {
    Ok(read(text)?.is_encrypted())
}

pub(super) fn public(line: &str) -> Result<PublicKey, CryptoError> {
    let (kind, _) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if kind != "ssh-ed25519" {
        let known =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        return Err(match Algorithm::new(kind) {
            _ if !known => CryptoError::unusable("it is neither PEM nor a public key of OpenSSH"),
            _ if kind.contains("-cert-") => {
                CryptoError::unusable("it is a certificate: give the key itself")
            }
            Ok(algorithm) => kind_of(&algorithm),
            Err(_) => other_kind("another kind of key"),
        });
    }
    if line.contains(['\n', '\r']) {
        let why = "it holds more than one line: keep one key in one text";
        return Err(CryptoError::unusable(why));
    }
    let key = ssh_key::PublicKey::from_openssh(line).map_err(damaged)?;
    match key.key_data() {
        KeyData::Ed25519(key) => public_key(&key.0),
        _ => Err(other_kind("another kind of key")),
    }
}

pub(super) fn of_private(
    key: &PrivateKey,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, CryptoError> {
    let pair = Ed25519Keypair {
        public: Ed25519PublicKey(*key.public().as_bytes()),
        private: Ed25519PrivateKey::from_bytes(&key.seed()),
    };
    let mut written = ssh_key::PrivateKey::new(pair.into(), "").map_err(unwritten)?;
    if let Some(passphrase) = passphrase {
        let mut random = [0; 20];
        let filled = rand::rngs::SysRng.try_fill_bytes(&mut random);
        filled.expect("a system without randomness can lock nothing");
        let (salt, check) = random.split_at(16);
        let kdf = Kdf::Bcrypt {
            salt: salt.to_vec(),
            rounds: ROUNDS,
        };
        let check = check
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        let locked = written.encrypt_with(Cipher::Aes256Ctr, kdf, check, passphrase.as_bytes());
        written = locked.map_err(unwritten)?;
    }
    written.to_openssh(LineEnding::LF).map_err(unwritten)
}

pub(super) fn of_public(key: &PublicKey) -> Result<Zeroizing<String>, CryptoError> {
    let key = KeyData::Ed25519(Ed25519PublicKey(*key.as_bytes()));
    let line = ssh_key::PublicKey::new(key, "").to_openssh();
    Ok(Zeroizing::new(line.map_err(unwritten)? + "\n"))
}

fn read(text: &str) -> Result<ssh_key::PrivateKey, CryptoError> {
    ssh_key::PrivateKey::from_openssh(text).map_err(|error| match error {
        ssh_key::Error::AlgorithmUnknown => {
            other_kind("another kind of key, or one locked in a way that is not known here")
        }
        ssh_key::Error::AlgorithmUnsupported { algorithm } => kind_of(&algorithm),
        // Both halves are compared while reading.
        ssh_key::Error::PublicKey => mismatch(),
        error => damaged(error),
    })
}

fn check(algorithm: &Algorithm) -> Result<(), CryptoError> {
    match algorithm {
        Algorithm::Ed25519 => Ok(()),
        other => Err(kind_of(other)),
    }
}

fn kind_of(algorithm: &Algorithm) -> CryptoError {
    other_kind(match algorithm {
        Algorithm::Rsa { .. } => "an RSA key",
        Algorithm::Dsa => "a DSA key",
        Algorithm::Ecdsa { .. } => "a key of an ECDSA curve",
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => "a key on a security token",
        _ => "another kind of key",
    })
}

fn damaged(error: ssh_key::Error) -> CryptoError {
    CryptoError::unusable(format!("it is no key of OpenSSH, or damaged ({error})"))
}

fn unwritten(error: ssh_key::Error) -> CryptoError {
    CryptoError::unusable(format!("it cannot be written ({error})"))
}
