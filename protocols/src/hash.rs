//! Content hashes, BLAKE3 with contexts, SHA-256: nothing else names those crates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The hash functions that a content hash may come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// What blobs are stored and transferred under.
    #[default]
    BLAKE3,
    /// What package managers check downloads with.
    SHA256,
}

impl HashAlgorithm {
    /// The prefix in the text form of a [`ContentHash`].
    pub fn name(self) -> &'static str {
        match self {
            Self::BLAKE3 => "blake3",
            Self::SHA256 => "sha256",
        }
    }
}

/// A 32-byte hash of some content, and the function that it came from.
///
/// Its text is `blake3:<64 hex digits>` or `sha256:<64 hex digits>`. The default is BLAKE3 with all
/// bytes zero, which no known content has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash {
    algorithm: HashAlgorithm,
    bytes: [u8; 32],
}

impl ContentHash {
    /// Hashes `content` with SHA-256.
    pub fn sha256(content: impl AsRef<[u8]>) -> Self {
        Self::from_sha256(sha2::Sha256::digest(content.as_ref()).into())
    }

    /// Hashes `content` with BLAKE3.
    pub fn blake3(content: impl AsRef<[u8]>) -> Self {
        Self::from_blake3(*blake3::hash(content.as_ref()).as_bytes())
    }

    /// Hashes `content` with the given function.
    pub fn of(algorithm: HashAlgorithm, content: impl AsRef<[u8]>) -> Self {
        match algorithm {
            HashAlgorithm::BLAKE3 => Self::blake3(content),
            HashAlgorithm::SHA256 => Self::sha256(content),
        }
    }

    /// The BLAKE3 hash with these bytes.
    pub const fn from_blake3(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: HashAlgorithm::BLAKE3,
            bytes,
        }
    }

    /// The SHA-256 hash with these bytes.
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: HashAlgorithm::SHA256,
            bytes,
        }
    }

    /// The function that this hash came from.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The hash as 64 lower-case hexadecimal digits, without the function's name.
    pub fn to_hex(&self) -> String {
        hex(&self.bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Why a text is no content hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no content hash: expected `blake3:` or `sha256:` and 64 lower-case hexadecimal digits"
)]
pub struct ParseHashError(String);

impl FromStr for ContentHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || {
            let text = text.chars().take(80).collect::<String>();
            ParseHashError(text.escape_debug().to_string())
        };
        let (algorithm, digits) = text.split_once(':').ok_or_else(refuse)?;
        let bytes = unhex(digits).ok_or_else(refuse)?;
        match algorithm {
            "blake3" => Ok(Self::from_blake3(bytes)),
            "sha256" => Ok(Self::from_sha256(bytes)),
            _ => Err(refuse()),
        }
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Computes the BLAKE3 and the SHA-256 hash and the length of one content in one pass.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    size: u64,
}

impl ContentHasher {
    /// Starts with no content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The BLAKE3 hash, the SHA-256 hash and the length in bytes of all that was added.
    pub fn finish(self) -> (ContentHash, ContentHash, u64) {
        (
            ContentHash::from_blake3(*self.blake3.finalize().as_bytes()),
            ContentHash::from_sha256(self.sha256.finalize().into()),
            self.size,
        )
    }
}

/// BLAKE3 in its key derivation mode: `context` separates the uses of one hash function.
pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The 32 bytes that 64 lower-case hexadecimal digits stand for.
pub(crate) fn unhex(digits: &str) -> Option<[u8; 32]> {
    let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_empty_content_has_the_published_hashes() {
        assert_eq!(
            ContentHash::sha256(b"").to_hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            ContentHash::blake3(b"").to_hex(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn one_pass_gives_both_hashes() {
        let mut hasher = ContentHasher::new();
        hasher.update(b"some ");
        hasher.update(b"content");
        let content = b"some content";
        assert_eq!(
            hasher.finish(),
            (
                ContentHash::blake3(content),
                ContentHash::sha256(content),
                12
            )
        );
    }

    #[test]
    fn text_and_hash_are_each_other() {
        for hash in [ContentHash::sha256(b"x"), ContentHash::blake3(b"x")] {
            assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
        }
        for wrong in ["", "blake3", "md5:00", "blake3:0", "blake3:AF", "sha256:zz"] {
            assert!(wrong.parse::<ContentHash>().is_err(), "{wrong}");
        }
    }
}
