//! Trust: how much one node relies on an owner, by whom it named and whom those vouch for.
//!
//! ```text
//! score(x) = min(3, sum over anchors a of
//!                max over paths a -> ... -> x of at most 3 hops, each allowed by the remaining depth,
//!                  of the least weight on the path)
//! remaining depth after a hop to s = min(depth before - 1, the endorsement's depth)
//! ```
//! One full anchor suffices, or three partial ones, as users of PGP know it. But anchors are summed and
//! not introducers, so that an anchor who was fooled by three puppets of one person counts once. Only a full
//! anchor's distrust and local blocks take trust away: nobody whom the node did not name can veto.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::id::{OwnerId, RecordId};
use crate::limits;

/// The number of the record kind that endorses an owner.
pub const KIND_ENDORSE: u64 = 5;

/// The score of what is trusted, and the weight of full trust.
pub const FULL: u8 = 3;
/// The weight of partial trust.
pub const PARTIAL: u8 = 1;

/// What an endorsement says of its subject, as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// 0: keep away. A veto if a full anchor says so.
    Distrust,
    /// 1: nothing; takes an earlier statement back.
    None,
    /// 2: counts a third.
    Partial,
    /// 3: as good as the issuer itself.
    Full,
}

impl Level {
    /// The level with this number on the wire.
    pub fn of(number: u64) -> Option<Self> {
        [Self::Distrust, Self::None, Self::Partial, Self::Full]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// Its number on the wire.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// What it adds to a score.
    pub fn weight(self) -> u8 {
        match self {
            Self::Distrust | Self::None => 0,
            Self::Partial => PARTIAL,
            Self::Full => FULL,
        }
    }
}

/// The body of an endorse record: a register of its issuer about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Endorse {
    /// About whom.
    pub subject: OwnerId,
    /// One more than the largest revision that the writer had seen.
    pub revision: u64,
    /// 0 distrust, 1 none, 2 partial, 3 full.
    pub level: u64,
    /// How many further introductions the subject may make, 0 to 3.
    pub depth: u64,
    /// What the issuer calls the subject, if it vouches for that too.
    pub label: Option<String>,
    /// Why, at most 256 bytes.
    pub reason: String,
}

/// What one issuer says of one subject: the largest by revision, then the less trusting, then by record id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Its revision.
    pub revision: u64,
    /// How far the subject is trusted.
    pub level: Level,
    /// How many further introductions the subject may make.
    pub depth: u8,
    /// The record that says so.
    pub record: RecordId,
    /// What the issuer calls the subject.
    pub label: Option<String>,
    /// Why.
    pub reason: String,
}

impl Endorsement {
    /// The value that the record with this id gives; nothing if its level is none that exists.
    pub fn of(record: RecordId, endorse: &Endorse) -> Option<Self> {
        Some(Self {
            revision: endorse.revision,
            level: Level::of(endorse.level)?,
            depth: u8::try_from(endorse.depth).ok()?,
            record,
            label: endorse.label.clone(),
            reason: endorse.reason.clone(),
        })
    }

    /// Rule R5: takes the other value if it is the larger one, and says whether that changed anything.
    pub fn merge(&mut self, other: Self) -> bool {
        use std::cmp::Reverse;
        let rank = |e: &Self| (e.revision, Reverse(e.level), Reverse(e.depth), e.record);
        let changed = rank(&other) > rank(self);
        if changed {
            *self = other;
        }
        changed
    }
}

/// An owner whom this node's user named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// [`FULL`] or [`PARTIAL`].
    pub weight: u8,
    /// How many introductions away its word still counts, 0 to 3.
    pub depth: u8,
}

/// The edge from an issuer to a subject.
pub type Edge = (Level, u8);
/// Who says what of whom. Of one issuer, the first [`limits::ENDORSEMENTS_PER_ISSUER_MAX`] subjects count.
pub type Web = BTreeMap<OwnerId, BTreeMap<OwnerId, Edge>>;

/// Why trust in one owner is refused, whoever else vouches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Veto {
    /// This node's user blocked it.
    Blocked,
    /// This full anchor distrusts it.
    By(OwnerId),
}

/// What a node's user decided, and what owners say of each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Whom the user named.
    pub anchors: BTreeMap<OwnerId, Anchor>,
    /// Whom the user blocked.
    pub blocked: BTreeSet<OwnerId>,
    /// Who says what of whom; what no anchor reaches need not be there.
    pub web: Web,
}

/// How trust comes from one anchor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The least weight on it.
    pub weight: u8,
    /// From the anchor to the subject, both included.
    pub owners: Vec<OwnerId>,
}

impl Trust {
    /// Everyone who is vetoed, and by what. Of several anchors, the smallest id is named.
    pub fn vetoes(&self) -> BTreeMap<OwnerId, Veto> {
        let mut vetoes = BTreeMap::new();
        for (anchor, _) in self.anchors.iter().filter(|(_, a)| a.weight == FULL) {
            for (subject, (level, _)) in self.edges(anchor) {
                if level == Level::Distrust && !self.anchors.contains_key(&subject) {
                    vetoes.entry(subject).or_insert(Veto::By(*anchor));
                }
            }
        }
        let blocked = self.blocked.iter().map(|owner| (*owner, Veto::Blocked));
        vetoes.extend(blocked);
        vetoes
    }

    fn edges(&self, issuer: &OwnerId) -> impl Iterator<Item = (OwnerId, Edge)> {
        let edges = self.web.get(issuer).into_iter().flatten();
        let counted = edges.take(limits::ENDORSEMENTS_PER_ISSUER_MAX);
        counted.map(|(subject, edge)| (*subject, *edge))
    }

    /// The score of everyone who has one, 1 to 3.
    pub fn scores(&self) -> BTreeMap<OwnerId, u8> {
        let vetoes = self.vetoes();
        let mut scores = BTreeMap::new();
        for (anchor, settings) in &self.anchors {
            for (owner, weight) in self.reached(*anchor, *settings, &vetoes) {
                let score: &mut u8 = scores.entry(owner).or_default();
                *score = FULL.min(score.saturating_add(weight));
            }
        }
        scores
    }

    /// The best weight with which one anchor's word reaches others, itself included.
    fn reached(
        &self,
        anchor: OwnerId,
        settings: Anchor,
        vetoes: &BTreeMap<OwnerId, Veto>,
    ) -> BTreeMap<OwnerId, u8> {
        let mut best = BTreeMap::new();
        self.walk(anchor, settings, vetoes, |path, weight| {
            if let Some(owner) = path.last() {
                let known: &mut u8 = best.entry(*owner).or_default();
                *known = weight.max(*known);
            }
        });
        best
    }

    /// The best path from each anchor to `subject`: the heaviest, of those the shortest, of those the one with
    /// the smallest ids. Heaviest first, then by anchor.
    pub fn paths(&self, subject: OwnerId) -> Vec<Path> {
        let vetoes = self.vetoes();
        let mut paths = Vec::new();
        for (anchor, settings) in &self.anchors {
            let mut found = Vec::new();
            self.walk(*anchor, *settings, &vetoes, |owners, weight| {
                if owners.last() == Some(&subject) {
                    let owners = owners.to_vec();
                    found.push(Path { weight, owners });
                }
            });
            let best = found.into_iter().min_by(|a, b| {
                let shorter = a.owners.len().cmp(&b.owners.len());
                let rank = b.weight.cmp(&a.weight).then(shorter);
                rank.then_with(|| a.owners.cmp(&b.owners))
            });
            paths.extend(best);
        }
        paths.sort_by(|a, b| {
            b.weight
                .cmp(&a.weight)
                .then_with(|| a.owners.cmp(&b.owners))
        });
        paths
    }

    /// Shows every path worth knowing from one anchor, hop by hop. For each owner, hop count, remaining depth
    /// and weight, it is the one with the smallest ids: at most 8 for an owner and hop.
    fn walk(
        &self,
        anchor: OwnerId,
        settings: Anchor,
        vetoes: &BTreeMap<OwnerId, Veto>,
        mut show: impl FnMut(&[OwnerId], u8),
    ) {
        if vetoes.contains_key(&anchor) || settings.weight == 0 {
            return;
        }
        let start = (
            anchor,
            settings.depth.min(limits::TRUST_HOPS_MAX),
            settings.weight,
        );
        let mut layer = BTreeMap::from([(start, vec![anchor])]);
        for _ in 0..=limits::TRUST_HOPS_MAX {
            let mut next: BTreeMap<(OwnerId, u8, u8), Vec<OwnerId>> = BTreeMap::new();
            for ((owner, depth, weight), path) in layer {
                show(&path, weight);
                if depth == 0 {
                    continue;
                }
                for (subject, (level, endorsed)) in self.edges(&owner) {
                    let weight = weight.min(level.weight());
                    if weight == 0 || vetoes.contains_key(&subject) || path.contains(&subject) {
                        continue;
                    }
                    let mut longer = path.clone();
                    longer.push(subject);
                    let at = (subject, endorsed.min(depth - 1), weight);
                    let known = next.entry(at).or_insert_with(|| longer.clone());
                    *known = longer.min(std::mem::take(known));
                }
            }
            layer = next;
        }
    }
}

#[cfg(test)]
mod tests;
