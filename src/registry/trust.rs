//! Whom this node relies on: loads the neighbourhood of its anchors out of a snapshot, and keeps it for as long as
//! nothing of it changes. Not for what strangers say: their endorsements are admitted without it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey};
use ggen_protocols::limits;
use ggen_protocols::owner::Standing;
use ggen_protocols::trust::{Anchor, Endorsement, FULL, Level, Trust, Veto};

use super::policy::{Endorser, KeyIdentity, OwnerStatus, OwnerTrust, TrustPath};
use super::view::Snapshot;
use crate::db::Fault;

/// A node's own owners are relied on as much as can be.
const OWN: Anchor = Anchor {
    weight: FULL,
    depth: limits::TRUST_HOPS_MAX,
};

/// Whom a node relies on, and whom not.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    trust: Trust,
    pub(crate) scores: BTreeMap<OwnerId, u8>,
}

impl Reach {
    /// Reads what the anchors say, and those whom they allow to introduce others. Of frozen and dead owners no
    /// endorsement is effective, so there is none to read.
    pub(crate) fn load(snapshot: &impl Snapshot, own: &[OwnerId]) -> Result<Self, Fault> {
        let mut trust = anchored(snapshot, own)?;
        let mut edges = 0;
        let anchors = trust.anchors.iter();
        let mut layer: BTreeMap<OwnerId, u8> = anchors.map(|(id, a)| (*id, a.depth)).collect();
        let mut depths = layer.clone();
        for _ in 0..=limits::TRUST_HOPS_MAX {
            let mut next: BTreeMap<OwnerId, u8> = BTreeMap::new();
            for (issuer, depth) in layer {
                if depth == 0 && !trust.anchors.contains_key(&issuer) {
                    continue;
                }
                if let Entry::Vacant(none) = trust.web.entry(issuer) {
                    let said = snapshot.endorsements(issuer)?.into_iter();
                    let said = said.take(limits::ENDORSEMENTS_PER_ISSUER_MAX);
                    let said = said.map(|(subject, word)| (subject, (word.level, word.depth)));
                    let said: BTreeMap<_, _> = said.take(limits::TRUST_EDGES_MAX - edges).collect();
                    edges += said.len();
                    none.insert(said);
                }
                let said = trust.web.get(&issuer).into_iter().flatten();
                for (subject, (level, endorsed)) in said.filter(|_| depth > 0) {
                    let depth = (*endorsed).min(depth - 1);
                    let known = depths.get(subject).copied();
                    if level.weight() > 0 && known.is_none_or(|known| known < depth) {
                        depths.insert(*subject, depth);
                        next.insert(*subject, depth);
                    }
                }
            }
            layer = next;
        }
        let scores = trust.scores();
        Ok(Self { trust, scores })
    }

    /// Whose word on others was looked at: what anybody else says of them changes nothing.
    pub(crate) fn introducers(&self) -> BTreeSet<OwnerId> {
        self.trust.web.keys().copied().collect()
    }

    /// The score of one owner.
    pub(crate) fn score(&self, owner: &OwnerId) -> u8 {
        self.scores.get(owner).copied().unwrap_or_default()
    }

    /// Those who vouch for an owner directly, on the best way from each anchor, ascending.
    pub(crate) fn vouchers(&self, owner: OwnerId) -> BTreeSet<OwnerId> {
        let paths = self.trust.paths(owner).into_iter();
        paths
            .filter_map(|path| path.owners.len().checked_sub(2).map(|at| path.owners[at]))
            .collect()
    }
}

/// The decisions that trust begins with, with an empty web.
fn anchored(snapshot: &impl Snapshot, own: &[OwnerId]) -> Result<Trust, Fault> {
    let mut trust = Trust {
        anchors: snapshot.anchors()?,
        blocked: snapshot.blocked()?.into_keys().collect(),
        ..Trust::default()
    };
    trust.anchors.extend(own.iter().map(|own| (*own, OWN)));
    Ok(trust)
}

/// Who is vetoed, and by what.
pub(crate) fn vetoes(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
) -> Result<BTreeMap<OwnerId, Veto>, Fault> {
    let mut trust = anchored(snapshot, own)?;
    let full = trust.anchors.iter().filter(|(_, a)| a.weight == FULL);
    let full: Vec<OwnerId> = full.map(|(anchor, _)| *anchor).collect();
    for anchor in full {
        let said = snapshot.endorsements(anchor)?.into_iter();
        let said = said.take(limits::ENDORSEMENTS_PER_ISSUER_MAX);
        let said = said.map(|(subject, word)| (subject, (word.level, word.depth)));
        trust.web.insert(anchor, said.collect());
    }
    Ok(trust.vetoes())
}

/// Who looks at a catalogue: the owners that it writes as, and whom it relied on when it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Viewer {
    pub(crate) own: Vec<OwnerId>,
    known: Mutex<Option<(u64, Arc<Reach>)>>,
}

impl Viewer {
    pub(crate) fn new(own: Vec<OwnerId>) -> Self {
        Self {
            own,
            known: Mutex::default(),
        }
    }

    /// Whom this node relies on, by the records and decisions of a snapshot.
    pub(crate) fn reach(&self, snapshot: &impl Snapshot) -> Result<Arc<Reach>, Fault> {
        let Some(generation) = snapshot.trust_generation()? else {
            return Ok(Arc::new(Reach::load(snapshot, &self.own)?));
        };
        let known = || self.known.lock().expect("no holder of this lock can panic");
        if let Some((at, reach)) = &*known()
            && *at == generation
        {
            return Ok(reach.clone());
        }
        let reach = Arc::new(Reach::load(snapshot, &self.own)?);
        let mut known = known();
        // Somebody may look at a newer state at the same time; that is the one to keep.
        if known.as_ref().is_none_or(|(at, _)| *at < generation) {
            *known = Some((generation, reach.clone()));
        }
        Ok(reach)
    }
}

/// How far an owner is relied on here, and why.
pub(crate) fn of_owner(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    owner: OwnerId,
    name: Option<&CanonicalName>,
) -> Result<OwnerTrust, Fault> {
    let reach = viewer.reach(snapshot)?;
    let paths = reach.trust.paths(owner).into_iter();
    let paths: Vec<_> = paths
        .map(|path| TrustPath {
            weight: path.weight,
            owners: path.owners,
        })
        .collect();
    let web = reach.trust.web.iter();
    let issuers = web.filter(|(_, said)| said.contains_key(&owner));
    let issuers: BTreeSet<_> = issuers.map(|(issuer, _)| *issuer).collect();
    let mut endorsed_by = Vec::new();
    for issuer in issuers.union(&viewer.own.iter().copied().collect()) {
        if let Some(word) = snapshot.endorsement(*issuer, owner)? {
            endorsed_by.push(endorser(*issuer, word));
        }
    }
    let veto = snapshot.vetoed(owner)?;
    let pin = match name {
        Some(name) => snapshot.name_pin(name)?,
        None => None,
    };
    let anchors = viewer.own.contains(&owner);
    let mut trust = OwnerTrust {
        owner,
        label: snapshot.label(owner)?,
        status: OwnerStatus::from(snapshot.status(owner)?),
        own: anchors,
        pinned: pin == Some(owner),
        score: reach.score(&owner),
        anchor: snapshot.anchors()?.remove(&owner),
        blocked: snapshot.blocked()?.remove(&owner),
        vetoed_by: match veto {
            Some(Veto::By(anchor)) => Some(anchor),
            _ => None,
        },
        paths,
        endorsed_by,
        labels: BTreeMap::new(),
    };
    let on_paths = trust.paths.iter().flat_map(|path| path.owners.clone());
    let issuers = trust.endorsed_by.iter().map(|said| said.issuer);
    let named: BTreeSet<_> = on_paths.chain(issuers).chain(trust.vetoed_by).collect();
    for owner in named {
        if let Some(label) = snapshot.label(owner)? {
            trust.labels.insert(owner, label);
        }
    }
    Ok(trust)
}

fn endorser(issuer: OwnerId, word: Endorsement) -> Endorser {
    Endorser {
        issuer,
        revision: word.revision,
        level: word.level,
        depth: word.depth,
        label: word.label,
        reason: word.reason,
    }
}

/// How an owner is called in a line: by its label, or by its short id.
pub(crate) fn called(snapshot: &impl Snapshot, owner: OwnerId) -> Result<String, Fault> {
    Ok(snapshot.label(owner)?.unwrap_or_else(|| owner.short()))
}

/// Whether an own owner, or one whom the user relies on, calls another by this label.
pub(crate) fn is_called(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    owner: OwnerId,
    label: &str,
) -> Result<bool, Fault> {
    let anchors = snapshot.anchors()?.into_keys();
    for issuer in anchors.chain(viewer.own.iter().copied()) {
        let word = snapshot.endorsement(issuer, owner)?;
        let says = |word: Endorsement| {
            word.level >= Level::Partial && word.label.as_deref() == Some(label)
        };
        if word.is_some_and(says) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The namespaces that a key writes in: the one of the bare key first.
pub(crate) fn identities(
    snapshot: &impl Snapshot,
    key: PublicKey,
) -> Result<Vec<KeyIdentity>, Fault> {
    let mut identities = Vec::new();
    for owner in snapshot.namespaces_of(key)? {
        let mut documents = snapshot.documents(owner)?;
        // A namespace of a bare key has no document to read.
        documents.admit(key);
        let (is_root, is_listed) = match documents.standing() {
            Standing::Active(_, document) => {
                let mut publishers = document.publishers.iter();
                let is_listed = publishers.any(|(publisher, _)| *publisher == key);
                (document.root == key, is_listed)
            }
            _ => (false, false),
        };
        identities.push(KeyIdentity {
            owner,
            is_root,
            is_listed,
        });
    }
    Ok(identities)
}

#[cfg(test)]
mod tests;
