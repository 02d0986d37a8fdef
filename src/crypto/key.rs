//! Secret keys in memory and in files.

use std::fmt;
use std::io;
use std::path::Path;

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer, SigningKey};
use ggen_protocols::id::{PeerId, PublicKey};
use rand::TryRng;
use zeroize::Zeroizing;

use super::error::CryptoError;
use super::file::{folder, read_guarded, sync, write_new};
use super::passphrase::Passphrase;
use super::{Key, pem};

/// An Ed25519 secret key; zeroed when dropped, never printed.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public())
    }
}

impl PrivateKey {
    /// The key with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&Zeroizing::new(seed)))
    }

    /// A new key from the system's randomness.
    ///
    /// # Panics
    /// If the system has no randomness to give; no key could be trusted then.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng
            .try_fill_bytes(seed.as_mut())
            .expect("a system without randomness can make no key");
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for the transports that need it; zeroed when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The peer that uses this key for its transport.
    pub fn peer(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Reads a key file that is not locked: [`PrivateKey::open`] without a passphrase.
    ///
    /// # Errors
    /// As for [`PrivateKey::open`].
    pub fn load(path: &Path) -> Result<Self, CryptoError> {
        Self::open(path, None)
    }

    /// Reads a key file in any form that [`pem::import`] reads, locked or not: mode 0600, owned by this user, no
    /// link, nothing beside the key, in a folder where nobody else may write.
    ///
    /// # Errors
    /// [`CryptoError::Locked`] if it needs a passphrase and there is none, [`CryptoError::WrongPassphrase`], or
    /// what is wrong with the file and what to do.
    pub fn open(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, CryptoError> {
        let text = read_text(path)?;
        match pem::import(&text, passphrase).map_err(|error| error.in_file(path))? {
            Key::Private(key) => Ok(key),
            Key::Public(_) => Err(CryptoError::BadKey {
                path: path.to_owned(),
                why: "it is a public key: the private one belongs here".to_owned(),
            }),
        }
    }

    /// Whether a key file needs a passphrase.
    ///
    /// # Errors
    /// As for [`PrivateKey::open`], of the file itself.
    pub fn is_locked(path: &Path) -> Result<bool, CryptoError> {
        pem::is_locked(&read_text(path)?).map_err(|error| error.in_file(path))
    }

    /// Writes a new key file, in a folder made with mode 0700 if it is missing. An existing file is never
    /// overwritten, and never seen half written. Survives a crash when it returns.
    ///
    /// Unlike what [`pem::export`] gives, it holds the public half, so that damage to it is noticed.
    ///
    /// # Errors
    /// [`CryptoError::File`]; its source is of the kind `AlreadyExists` if there is such a file.
    /// [`CryptoError::OpenFolder`] if others may write in the folder.
    pub fn save_new(&self, path: &Path) -> Result<(), CryptoError> {
        let pem = self
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a key of fixed size always has a PEM form");
        write_new(path, pem.as_bytes())
    }

    /// Writes a new key file that the passphrase opens, in PKCS#8; else as [`PrivateKey::save_new`].
    ///
    /// # Errors
    /// As for [`PrivateKey::save_new`].
    pub fn save_new_locked(&self, path: &Path, passphrase: &Passphrase) -> Result<(), CryptoError> {
        let key = Key::Private(self.clone());
        let text = pem::export(&key, pem::Form::Pkcs8, Some(passphrase))?;
        write_new(path, text.as_bytes())
    }

    /// Reads the key file, or makes one if there is none; the flag is true if it was made. Of several callers,
    /// in this process or another, one makes the key and all get that one.
    ///
    /// # Errors
    /// As for [`PrivateKey::load`] and [`PrivateKey::save_new`].
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), CryptoError> {
        match Self::load(path) {
            Err(CryptoError::NoKey { .. }) => {}
            loaded => return Ok((loaded?, false)),
        }
        let key = Self::generate();
        match key.save_new(path) {
            Ok(()) => Ok((key, true)),
            Err(CryptoError::File { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                let key = Self::load(path)?;
                // Whoever made it may not have come to this yet.
                sync(folder(path))?;
                Ok((key, false))
            }
            Err(error) => Err(error),
        }
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, CryptoError> {
    let bytes = read_guarded(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CryptoError::BadKey {
            path: path.to_owned(),
            why: "it is no text".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let key = PrivateKey::from_seed([0xab; 32]);
        let text = format!("{key:?} {key:#?}");
        assert!(
            !text.contains("abab") && !text.contains("171, 171"),
            "{text}"
        );
        assert!(text.contains(&key.public().to_string()));
    }
}
