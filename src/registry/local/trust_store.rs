//! A `LocalRegistry` as the trust behind a verifier: anchors and blocks are its user's decisions, and who vouches for
//! whom stands in its records.

use async_trait::async_trait;
use ggen_protocols::id::{OwnerId, PublicKey};
use ggen_protocols::limits;
use ggen_protocols::trust::Anchor;

use super::LocalRegistry;
use crate::Result;
use crate::crypto::{CryptoError, Identity, OwnerTrust, TrustPath, TrustStore};
use crate::registry::policy::{Choices, Decision};

#[async_trait]
impl TrustStore for LocalRegistry {
    async fn identities(&self, key: &PublicKey) -> Result<Vec<Identity>> {
        let own = OwnerId::of_key(self.network, *key);
        let found = Choices::identities(self, *key).await?;
        let mut identities: Vec<_> = found
            .iter()
            .filter(|found| found.is_root || found.is_listed)
            .map(|found| Identity {
                owner: found.owner,
                is_root: found.is_root,
            })
            .collect();
        // Of a bare key that never wrote anything, no record tells.
        if found.iter().all(|found| found.owner != own) {
            identities.push(Identity {
                owner: own,
                is_root: true,
            });
        }
        Ok(identities)
    }

    async fn trust(&self, owner: OwnerId) -> Result<OwnerTrust> {
        let trust = Choices::trust(self, owner, None).await?;
        let paths = trust.paths.into_iter().filter_map(|path| {
            let (anchor, rest) = path.owners.split_first()?;
            let through = rest.split_last().map_or(&[][..], |(_, through)| through);
            Some(TrustPath {
                anchor: *anchor,
                through: through.to_vec(),
                weight: path.weight,
            })
        });
        Ok(OwnerTrust {
            score: trust.score,
            paths: paths.collect(),
            anchor: trust.anchor,
            blocked: trust.blocked,
            vetoed_by: trust.vetoed_by,
        })
    }

    async fn set_anchor(&self, owner: OwnerId, anchor: Option<Anchor>) -> Result<()> {
        let decision = match anchor {
            Some(anchor) => {
                let anchors = self.policy().await?.anchors;
                if anchors.len() >= limits::ANCHORS_MAX && !anchors.contains_key(&owner) {
                    return Err(CryptoError::TooManyAnchors.into());
                }
                Decision::Anchor(owner, anchor)
            }
            None => Decision::NoAnchor(owner),
        };
        self.decide(decision).await
    }

    async fn block(&self, owner: OwnerId, reason: &str) -> Result<()> {
        self.decide(Decision::Block(owner, reason.to_owned())).await
    }

    async fn block_key(&self, key: &PublicKey, reason: &str) -> Result<()> {
        self.decide(Decision::BlockKey(*key, reason.to_owned()))
            .await
    }

    async fn revocation(&self, key: &PublicKey) -> Result<Option<String>> {
        if let Some(reason) = self.policy().await?.blocked_keys.remove(key) {
            return Ok(Some(reason));
        }
        let found = Choices::identities(self, *key).await?;
        let is_out = !found.is_empty() && found.iter().all(|f| !f.is_root && !f.is_listed);
        let namespaces: Vec<_> = found.iter().map(|found| found.owner.short()).collect();
        Ok(is_out.then(|| {
            let namespaces = namespaces.join(", ");
            format!("every namespace that listed the key has retired it: {namespaces}")
        }))
    }
}
