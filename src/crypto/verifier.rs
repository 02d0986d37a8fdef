//! The verifier: Ed25519 by the strict rules over canonical bytes, with trust from a store.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use ggen_protocols::hash::{ContentHash, ContentHasher, HashAlgorithm};
use ggen_protocols::id::{NetworkId, OwnerId};
use ggen_protocols::limits;
use ggen_protocols::metadata::{KeyText, PackageMetadata, Proof, Signature};
use ggen_protocols::record::{Body, CheckSignature, Record, Signed, Verified, misleads};
use ggen_protocols::trust::{FULL, PARTIAL};

use super::{
    Anchor, CryptoError, CryptoVerifier, Key, KeyPair, MemoryTrust, OwnerTrust, PrivateKey,
    PublicKey, StrictSignatures, TrustLevel, TrustResult, TrustStore, VerificationResult, pem,
};
use crate::Result;

/// Bytes that are hashed before other tasks get a turn; a few milliseconds of work.
const TURN_BYTES: usize = 1 << 20;

/// What is said of a key that was revoked without a reason.
const REVOKED: &str = "revoked by this node's user";
/// What is said of an owner that was blocked without a reason.
const DISTRUSTED: &str = "distrusted by this node's user";

/// Signs and checks with Ed25519.
#[derive(Debug, Clone)]
pub struct Ed25519CryptoVerifier {
    network: NetworkId,
    trust: Arc<dyn TrustStore>,
}

impl Default for Ed25519CryptoVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Ed25519CryptoVerifier {
    /// A verifier for records of the main network that remembers trust as long as it lives.
    pub fn new() -> Self {
        Self::with_trust(Arc::new(MemoryTrust::new(NetworkId::main())))
    }

    /// A verifier for records of the main network that asks this store about trust.
    pub fn with_trust(trust: Arc<dyn TrustStore>) -> Self {
        Self {
            network: NetworkId::main(),
            trust,
        }
    }

    /// Checks records of this network instead.
    #[must_use]
    pub fn in_network(mut self, network: NetworkId) -> Self {
        self.network = network;
        self
    }

    /// Checks the record in `envelope` and that `metadata` is what it says.
    fn verify_record(
        &self,
        metadata: &PackageMetadata,
        key: PublicKey,
        envelope: &bytes::Bytes,
    ) -> VerificationResult {
        let refuse = |why: String| refusal(key, why);
        let verified = Signed::from_envelope(envelope.clone())
            .and_then(|signed| signed.verify(&StrictSignatures, self.network));
        let record = match verified {
            Ok(record) => record,
            Err(refusal) => return refuse(format!("the record: {refusal}")),
        };
        if record.key() != key {
            return refuse(format!("the record was signed by the key {}", record.key()));
        }
        let owner = record.content().owner;
        if let Some(namespace) = &metadata.id.namespace
            && let Ok(said) = namespace.parse::<OwnerId>()
            && Some(said) != owner
        {
            return refuse("the record is of another namespace".to_owned());
        }
        let changed = match compare(metadata, &record) {
            Ok(changed) => changed,
            Err(why) => return refuse(why),
        };
        VerificationResult {
            is_valid: true,
            reason: None,
            key,
            owner,
            changed,
        }
    }

    /// The namespaces that naming this key names: those it is the root of. Its own one only if there is no other,
    /// for what is said of a founded namespace must not stay with a key that the namespace has replaced.
    async fn named(&self, key: &PublicKey) -> Result<Vec<OwnerId>> {
        let identities = self.trust.identities(key).await?;
        let roots = identities.into_iter().filter(|identity| identity.is_root);
        let own = OwnerId::of_key(self.network, *key);
        let mut named: Vec<_> = roots.map(|identity| identity.owner).collect();
        if named.len() > 1 {
            named.retain(|owner| *owner != own);
        }
        Ok(named)
    }
}

fn refusal(key: PublicKey, why: String) -> VerificationResult {
    VerificationResult {
        is_valid: false,
        reason: Some(why),
        key,
        owner: None,
        changed: Vec::new(),
    }
}

/// The fields that may change later and did; or which field contradicts the record.
fn compare(
    metadata: &PackageMetadata,
    record: &Verified<Record>,
) -> Result<Vec<&'static str>, String> {
    let Body::Publish(publish) = &record.content().body else {
        return Err("the record publishes nothing".to_owned());
    };
    let signed = publish.to_metadata(metadata.id.namespace.clone(), record);
    // Named one by one, so that a new field cannot be forgotten here.
    let PackageMetadata {
        id,
        description,
        authors,
        license,
        repository,
        homepage,
        keywords,
        categories,
        dependencies,
        checksums,
        signature: _,
        published_at,
        format,
        documentation,
        links,
        rust_version,
        features,
        readme,
        deprecated,
    } = metadata;
    let fixed = [
        ("id", *id == signed.id),
        ("authors", *authors == signed.authors),
        ("license", *license == signed.license),
        ("dependencies", *dependencies == signed.dependencies),
        ("checksums", *checksums == signed.checksums),
        ("published_at", *published_at == signed.published_at),
        ("format", *format == signed.format),
        ("links", *links == signed.links),
        ("rust_version", *rust_version == signed.rust_version),
        ("features", *features == signed.features),
        ("readme", *readme == signed.readme),
    ];
    if let Some((field, _)) = fixed.iter().find(|(_, equal)| !equal) {
        return Err(format!("`{field}` is not what the record says"));
    }
    let later = [
        ("description", *description == signed.description),
        ("repository", *repository == signed.repository),
        ("homepage", *homepage == signed.homepage),
        ("documentation", *documentation == signed.documentation),
        ("keywords", *keywords == signed.keywords),
        ("categories", *categories == signed.categories),
        ("deprecated", *deprecated == signed.deprecated),
    ];
    let changed = later.iter().filter(|(_, equal)| !equal);
    Ok(changed.map(|(field, _)| *field).collect())
}

#[async_trait]
impl CryptoVerifier for Ed25519CryptoVerifier {
    async fn sign(
        &self,
        metadata: &PackageMetadata,
        private_key: &PrivateKey,
    ) -> Result<Signature> {
        let key = private_key.public();
        let signature = private_key.sign(&metadata.signing_bytes(&key));
        Ok(Signature {
            key: KeyText(key),
            proof: Proof::Metadata(signature.to_vec().into()),
        })
    }

    async fn verify_signature(
        &self,
        metadata: &PackageMetadata,
        signature: &Signature,
    ) -> Result<VerificationResult> {
        let key = signature.key.0;
        let bytes = match &signature.proof {
            Proof::Metadata(bytes) => bytes,
            Proof::Record(envelope) => return Ok(self.verify_record(metadata, key, envelope)),
            _ => {
                let why = "the signature is of a kind that this version does not know";
                return Ok(refusal(key, why.to_owned()));
            }
        };
        let Ok(bytes) = <&[u8; 64]>::try_from(&bytes[..]) else {
            let why = match bytes.len() {
                0 => "it is not signed".to_owned(),
                length => format!("a signature has 64 bytes, not {length}"),
            };
            return Ok(refusal(key, why));
        };
        if !StrictSignatures.check(&key, &metadata.signing_bytes(&key), bytes) {
            let why = "the signature does not fit the key and the metadata";
            return Ok(refusal(key, why.to_owned()));
        }
        Ok(VerificationResult {
            is_valid: true,
            reason: None,
            key,
            owner: None,
            changed: Vec::new(),
        })
    }

    async fn checksum(&self, bytes: &[u8], algorithm: HashAlgorithm) -> Result<ContentHash> {
        if bytes.len() <= TURN_BYTES {
            return Ok(ContentHash::of(algorithm, bytes));
        }
        let mut hasher = ContentHasher::new();
        for chunk in bytes.chunks(TURN_BYTES) {
            hasher.update(chunk);
            tokio::task::yield_now().await;
        }
        let (blake3, sha256, _) = hasher.finish();
        let mut hashes = [blake3, sha256].into_iter();
        let hash = hashes.find(|hash| hash.algorithm() == algorithm);
        Ok(hash.unwrap_or_else(|| ContentHash::of(algorithm, bytes)))
    }

    async fn verify_checksum(&self, bytes: &[u8], expected: &ContentHash) -> Result<bool> {
        Ok(self.checksum(bytes, expected.algorithm()).await? == *expected)
    }

    async fn verify_trust(&self, public_key: &PublicKey) -> Result<TrustResult> {
        let revoked = self.trust.revocation(public_key).await?;
        let mut known = Vec::new();
        for identity in self.trust.identities(public_key).await? {
            let trust = self.trust.trust(identity.owner).await?;
            known.push((identity, trust));
        }
        // The best one counts: anybody can list a key in a namespace, so a bad one must not harm the key.
        known.sort_by_key(|(identity, trust)| {
            let is_vetoed = trust.blocked.is_some() || trust.vetoed_by.is_some();
            (
                Reverse(trust.score),
                !identity.is_root,
                !is_vetoed,
                identity.owner,
            )
        });
        let identities = known.iter().map(|(identity, _)| identity.owner).collect();
        let best = known.into_iter().next();
        let best = best.map(|(_, trust)| trust).unwrap_or_default();
        Ok(TrustResult {
            is_trusted: revoked.is_none() && best.score == FULL,
            level: match revoked {
                Some(_) => TrustLevel::Revoked,
                None => level(&best),
            },
            score: if revoked.is_some() { 0 } else { best.score },
            identities,
            paths: best.paths,
            revoked,
            blocked: best.blocked,
            vetoed_by: best.vetoed_by,
        })
    }

    async fn add_trusted_key(&self, public_key: &PublicKey, trust_level: TrustLevel) -> Result<()> {
        let anchor = |weight, depth| Some(Anchor { weight, depth });
        let anchor = match trust_level {
            TrustLevel::Ultimate => anchor(FULL, limits::TRUST_HOPS_MAX),
            TrustLevel::Full => anchor(FULL, 1),
            TrustLevel::Partial | TrustLevel::Marginal => anchor(PARTIAL, 1),
            TrustLevel::None | TrustLevel::Unknown => None,
            TrustLevel::Distrusted => {
                for owner in self.named(public_key).await? {
                    self.trust.block(owner, DISTRUSTED).await?;
                }
                return Ok(());
            }
            TrustLevel::Revoked => return self.trust.block_key(public_key, REVOKED).await,
        };
        if anchor.is_some() {
            super::ed25519::checked(*public_key).map_err(CryptoError::unusable)?;
        }
        for owner in self.named(public_key).await? {
            self.trust.set_anchor(owner, anchor).await?;
        }
        Ok(())
    }

    async fn revoke_key(&self, public_key: &PublicKey, reason: &str) -> Result<()> {
        let is_text = !reason.contains(misleads) && !reason.trim().is_empty();
        if !is_text || reason.len() > limits::NOTE_BYTES_MAX {
            return Err(CryptoError::BadReason.into());
        }
        self.trust.block_key(public_key, reason).await?;
        // Whoever has the root speaks for the whole namespace.
        for identity in self.trust.identities(public_key).await? {
            if identity.is_root {
                self.trust.block(identity.owner, reason).await?;
            }
        }
        Ok(())
    }

    async fn is_revoked(&self, public_key: &PublicKey) -> Result<bool> {
        Ok(self.trust.revocation(public_key).await?.is_some())
    }

    async fn generate_keypair(&self) -> Result<KeyPair> {
        let private_key = PrivateKey::generate();
        Ok(KeyPair {
            public_key: private_key.public(),
            private_key,
        })
    }

    async fn import_key_pem(&self, pem_data: &str) -> Result<Key> {
        Ok(pem::import(pem_data, None)?)
    }

    async fn export_key_pem(&self, key: &Key) -> Result<String> {
        let form = match key {
            Key::Public(_) => pem::Form::Spki,
            Key::Private(_) => pem::Form::Pkcs8,
        };
        Ok(pem::export(key, form, None)?.to_string())
    }
}

fn level(trust: &OwnerTrust) -> TrustLevel {
    match (trust.score, trust.anchor) {
        (FULL.., Some(anchor))
            if anchor.weight == FULL && anchor.depth >= limits::TRUST_HOPS_MAX =>
        {
            TrustLevel::Ultimate
        }
        (FULL.., _) => TrustLevel::Full,
        (1.., Some(_)) => TrustLevel::Partial,
        (1.., None) => TrustLevel::Marginal,
        (0, _) if trust.blocked.is_some() || trust.vetoed_by.is_some() => TrustLevel::Distrusted,
        (0, _) => TrustLevel::Unknown,
    }
}
