//! Passphrases: what locks a private key.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::error::CryptoError;
use super::file::read_guarded;

/// Longest passphrase, in bytes: the most that OpenSSL reads of one.
const PASSPHRASE_BYTES_MAX: usize = 1023;

/// A passphrase: one line, not empty, at most 1,023 bytes; zeroed when dropped, never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// Takes a passphrase as it is, byte for byte.
    ///
    /// # Errors
    /// [`CryptoError::BadPassphrase`] if it is empty, too long, or of more than one line.
    pub fn new(text: Zeroizing<String>) -> Result<Self, CryptoError> {
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > PASSPHRASE_BYTES_MAX {
            "it is longer than 1,023 bytes"
        } else if text.contains(['\n', '\r', '\0']) {
            "it has more than one line, or a zero byte"
        } else {
            return Ok(Self(text));
        };
        Err(CryptoError::BadPassphrase { why })
    }

    /// Reads a passphrase from a file that is guarded like a key: mode 0600, owned by this user, no link. One
    /// line break at its end does not count.
    ///
    /// # Errors
    /// [`CryptoError`] with what is wrong with the file or with the passphrase.
    pub fn read_file(path: &Path) -> Result<Self, CryptoError> {
        let bytes = read_guarded(path).map_err(|error| match error {
            CryptoError::NoKey { path } => CryptoError::NoPassphrase { path },
            error => error,
        })?;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| CryptoError::BadPassphrase {
            why: "it is no text",
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        Self::new(Zeroizing::new(text.to_owned()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Passphrase {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        Self::new(Zeroizing::new(text.to_owned()))
    }
}
