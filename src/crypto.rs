//! Keys, signatures over metadata, checksums, and how far a key is trusted.
//!
//! [`CryptoVerifier`] is what programs use; [`Ed25519CryptoVerifier`] implements it. [`PrivateKey`] and
//! [`Passphrase`] keep secrets in files, [`pem`] reads and writes keys as text, [`TrustStore`] says where trust
//! comes from.

mod ed25519;
mod error;
mod file;
mod key;
mod passphrase;
pub mod pem;
mod trust;
mod verifier;

use std::fmt;

use async_trait::async_trait;
use ggen_protocols::hash::{ContentHash, HashAlgorithm};
use ggen_protocols::id::OwnerId;
use ggen_protocols::metadata::{PackageMetadata, Signature};
use ggen_protocols::record::Draft;

use crate::Result;

pub use ed25519::StrictSignatures;
pub use error::CryptoError;
pub use ggen_protocols::id::PublicKey;
pub use ggen_protocols::trust::Anchor;
pub use key::PrivateKey;
pub use passphrase::Passphrase;
pub use trust::MemoryTrust;
pub use verifier::Ed25519CryptoVerifier;

/// Signs and checks metadata and bytes, keeps keys as text, and says how far a key is trusted.
///
/// # Contract (checked by `testing::crypto::suite`)
/// - What `sign` made verifies, and nothing else does: no other metadata, key or bytes.
/// - A refusal is an answer with its reason, not an error; errors are for what could not be looked at.
/// - A revoked key is trusted by nothing that is said of it later.
#[async_trait]
pub trait CryptoVerifier: fmt::Debug + Send + Sync {
    /// Signs metadata by itself: all of it but its `signature`.
    async fn sign(&self, metadata: &PackageMetadata, private_key: &PrivateKey)
    -> Result<Signature>;

    /// Checks a signature over metadata: one that [`CryptoVerifier::sign`] made, or the record that a registry
    /// gives with the metadata.
    async fn verify_signature(
        &self,
        metadata: &PackageMetadata,
        signature: &Signature,
    ) -> Result<VerificationResult>;

    /// The hash of a package's bytes.
    async fn checksum(&self, bytes: &[u8], algorithm: HashAlgorithm) -> Result<ContentHash>;

    /// Whether the bytes have this hash.
    async fn verify_checksum(&self, bytes: &[u8], expected: &ContentHash) -> Result<bool>;

    /// How far a key is trusted here, and by whom.
    async fn verify_trust(&self, public_key: &PublicKey) -> Result<TrustResult>;

    /// Says how far a key is trusted: every namespace whose root it is, so that the trust outlives the key, or
    /// the key's own namespace if it is the root of none. [`TrustLevel::None`] and [`TrustLevel::Unknown`] take
    /// back what was said; [`TrustLevel::Distrusted`] blocks, and [`TrustLevel::Revoked`] revokes the key.
    /// Naming somebody whom this node blocked does not lift the block.
    async fn add_trusted_key(&self, public_key: &PublicKey, trust_level: TrustLevel) -> Result<()>;

    /// Stops trusting a key here, whoever vouches for it, and the namespaces whose root it is. Others learn of it
    /// only by a record of the key's namespace, which the registry writes.
    ///
    /// # Errors
    /// [`CryptoError::BadReason`] if the reason is empty, longer than 256 bytes or not printable.
    async fn revoke_key(&self, public_key: &PublicKey, reason: &str) -> Result<()>;

    /// Whether a key was revoked: here, or in every namespace that listed it.
    async fn is_revoked(&self, public_key: &PublicKey) -> Result<bool>;

    /// Makes a new key from the system's randomness.
    async fn generate_keypair(&self) -> Result<KeyPair>;

    /// Reads a key that is not locked, in any form of [`pem::import`].
    ///
    /// # Errors
    /// [`CryptoError::Locked`] if it needs a passphrase, [`CryptoError::Unusable`] with the reason.
    async fn import_key_pem(&self, pem_data: &str) -> Result<Key>;

    /// Writes a key as PEM: a public one as SPKI, a private one as PKCS#8, **not locked** and in a string that
    /// nobody wipes. [`pem::export`] locks and wipes.
    async fn export_key_pem(&self, key: &Key) -> Result<String>;
}

/// What trust in keys is derived from. Kept in memory, or by a catalogue.
#[async_trait]
pub trait TrustStore: fmt::Debug + Send + Sync {
    /// The namespaces that the key is root or publisher of, as far as known; at least the key's own one.
    async fn identities(&self, key: &PublicKey) -> Result<Vec<Identity>>;

    /// How far an owner is trusted.
    async fn trust(&self, owner: OwnerId) -> Result<OwnerTrust>;

    /// Names an owner as anchor, or no longer.
    ///
    /// # Errors
    /// [`CryptoError::TooManyAnchors`].
    async fn set_anchor(&self, owner: OwnerId, anchor: Option<Anchor>) -> Result<()>;

    /// Blocks an owner here.
    async fn block(&self, owner: OwnerId, reason: &str) -> Result<()>;

    /// Blocks a key here, in whatever namespace.
    async fn block_key(&self, key: &PublicKey, reason: &str) -> Result<()>;

    /// Why the key is revoked: blocked here, or retired by every namespace that listed it.
    async fn revocation(&self, key: &PublicKey) -> Result<Option<String>>;
}

/// A key of either kind.
#[derive(Debug, Clone)]
pub enum Key {
    /// Checks signatures.
    Public(PublicKey),
    /// Makes signatures.
    Private(PrivateKey),
}

impl From<PublicKey> for Key {
    fn from(key: PublicKey) -> Self {
        Self::Public(key)
    }
}

impl From<PrivateKey> for Key {
    fn from(key: PrivateKey) -> Self {
        Self::Private(key)
    }
}

impl PrivateKey {
    /// Signs a record and returns its envelope.
    pub fn seal(&self, draft: Draft) -> bytes::Bytes {
        let signature = self.sign(&draft.message());
        draft.sealed(signature)
    }
}

/// Both halves of a key; the secret half wipes itself.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Checks signatures.
    pub public_key: PublicKey,
    /// Makes signatures.
    pub private_key: PrivateKey,
}

/// What came of checking a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerificationResult {
    /// Whether the key signed this metadata. Whether the key may speak for the namespace, the catalogue says.
    pub is_valid: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The key that signed, or is said to have.
    pub key: PublicKey,
    /// The namespace that a record publishes in; nothing of metadata signed by itself.
    pub owner: Option<OwnerId>,
    /// Fields that an owner may change by a later record and that are not as in this one: this signature does
    /// not cover them.
    pub changed: Vec<&'static str>,
}

/// How far a key is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustLevel {
    /// As this node's own: weight 3, and its word counts three introductions away.
    Ultimate,
    /// Relied on: weight 3, and its word counts for those whom it vouches for itself.
    Full,
    /// Counts a third, and so do those whom it vouches for; as an answer: named by this node's user.
    Partial,
    /// As `Partial`; as an answer: not named, but somebody vouches for it who counts a third or two.
    Marginal,
    /// Nothing is said of it.
    None,
    /// Nothing is known of it.
    Unknown,
    /// Blocked here, or by the word of an owner who is fully trusted.
    Distrusted,
    /// The key itself was revoked.
    Revoked,
}

/// How far a key is trusted here, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustResult {
    /// Whether the score is 3 and the key is not revoked.
    pub is_trusted: bool,
    /// The same in a word.
    pub level: TrustLevel,
    /// From 0 to 3; that of the most trusted of its namespaces.
    pub score: u8,
    /// The namespaces that the key is root or publisher of, the most trusted first.
    pub identities: Vec<OwnerId>,
    /// How the trust comes about, the best path of each anchor.
    pub paths: Vec<TrustPath>,
    /// Why the key is revoked, if it is.
    pub revoked: Option<String>,
    /// Why this node blocks its namespace, if it does.
    pub blocked: Option<String>,
    /// The anchor that distrusts its namespace, if one does.
    pub vetoed_by: Option<OwnerId>,
}

/// How one anchor's word reaches an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPath {
    /// Who was named here.
    pub anchor: OwnerId,
    /// Who vouched for whom in between, without the anchor and the owner.
    pub through: Vec<OwnerId>,
    /// What it counts, 1 to 3: the least on the way.
    pub weight: u8,
}

/// A namespace that lists a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The namespace.
    pub owner: OwnerId,
    /// Whether the key is its root, and not a publisher only.
    pub is_root: bool,
}

/// How far an owner is trusted, as a [`TrustStore`] knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerTrust {
    /// From 0 to 3.
    pub score: u8,
    /// The best path of each anchor.
    pub paths: Vec<TrustPath>,
    /// How the owner itself was named here.
    pub anchor: Option<Anchor>,
    /// Why it is blocked here.
    pub blocked: Option<String>,
    /// The full anchor that distrusts it.
    pub vetoed_by: Option<OwnerId>,
}
