//! Trust in memory: what a program says, for as long as it runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use ggen_protocols::id::{NetworkId, OwnerId};
use ggen_protocols::limits;
use ggen_protocols::trust::{Level, Path, Trust, Veto};

use super::{Anchor, CryptoError, Identity, OwnerTrust, PublicKey, TrustPath, TrustStore};
use crate::Result;

/// Anchors, blocks and endorsements in maps. Nothing is read from records: who lists a key and who vouches for
/// whom is said to it.
#[derive(Debug)]
pub struct MemoryTrust {
    network: NetworkId,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    trust: Trust,
    /// Why each of the blocked is.
    blocked: BTreeMap<OwnerId, String>,
    revoked: BTreeMap<PublicKey, String>,
    listed: BTreeMap<PublicKey, BTreeMap<OwnerId, bool>>,
}

impl MemoryTrust {
    /// Knows nobody. Keys have the owner ids of this network.
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            said: Mutex::default(),
        }
    }

    /// Takes it that a namespace lists a key, as its root or as a publisher.
    pub fn list(&self, key: PublicKey, identity: Identity) {
        let mut said = self.said();
        let listed = said.listed.entry(key).or_default();
        listed.insert(identity.owner, identity.is_root);
    }

    /// Takes it that one owner endorses another, who may introduce others `depth` introductions further.
    /// Replaces what it said before.
    pub fn endorse(&self, issuer: OwnerId, subject: OwnerId, level: Level, depth: u8) {
        let mut said = self.said();
        let edges = said.trust.web.entry(issuer).or_default();
        edges.insert(subject, (level, depth));
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("no holder of this lock can panic")
    }
}

#[async_trait]
impl TrustStore for MemoryTrust {
    async fn identities(&self, key: &PublicKey) -> Result<Vec<Identity>> {
        let own = OwnerId::of_key(self.network, *key);
        let mut identities = self.said().listed.get(key).cloned().unwrap_or_default();
        identities.insert(own, true);
        let identities = identities.into_iter();
        Ok(identities
            .map(|(owner, is_root)| Identity { owner, is_root })
            .collect())
    }

    async fn trust(&self, owner: OwnerId) -> Result<OwnerTrust> {
        let said = self.said();
        let paths = said.trust.paths(owner);
        Ok(OwnerTrust {
            score: said.trust.scores().get(&owner).copied().unwrap_or_default(),
            paths: paths.into_iter().filter_map(path).collect(),
            anchor: said.trust.anchors.get(&owner).copied(),
            blocked: said.blocked.get(&owner).cloned(),
            vetoed_by: match said.trust.vetoes().get(&owner) {
                Some(Veto::By(anchor)) => Some(*anchor),
                _ => None,
            },
        })
    }

    async fn set_anchor(&self, owner: OwnerId, anchor: Option<Anchor>) -> Result<()> {
        let mut said = self.said();
        let anchors = &mut said.trust.anchors;
        match anchor {
            None => {
                anchors.remove(&owner);
            }
            Some(_) if anchors.len() >= limits::ANCHORS_MAX && !anchors.contains_key(&owner) => {
                return Err(CryptoError::TooManyAnchors.into());
            }
            Some(anchor) => {
                anchors.insert(owner, anchor);
            }
        }
        Ok(())
    }

    async fn block(&self, owner: OwnerId, reason: &str) -> Result<()> {
        let mut said = self.said();
        said.trust.blocked.insert(owner);
        said.blocked.insert(owner, reason.to_owned());
        Ok(())
    }

    async fn block_key(&self, key: &PublicKey, reason: &str) -> Result<()> {
        self.said().revoked.insert(*key, reason.to_owned());
        Ok(())
    }

    async fn revocation(&self, key: &PublicKey) -> Result<Option<String>> {
        Ok(self.said().revoked.get(key).cloned())
    }
}

/// A path without its end, which the asker knows.
fn path(path: Path) -> Option<TrustPath> {
    let (anchor, rest) = path.owners.split_first()?;
    let through = rest.split_last().map(|(_, through)| through.to_vec());
    Some(TrustPath {
        anchor: *anchor,
        through: through.unwrap_or_default(),
        weight: path.weight,
    })
}
