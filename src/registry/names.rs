//! Names to owners on this node: reads the claims that `ggen_protocols::view` decides on.

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::id::{CanonicalName, Label, OwnerId};
use ggen_protocols::limits;
use ggen_protocols::record::Body;
use ggen_protocols::view::{self, Claims, Local, View};

use super::contested::{Contested, SHOWN_MAX};
use super::policy::{Claimant, Claimants};
use super::trust::{self, Reach, Viewer};
use super::view::{Failure, Namespace, Snapshot, absent, held, moment, not_found};
use super::{RegistryError, shelf};
use crate::db::Fault;

/// Owners of a name that are read at a time.
const PAGE_OWNERS: usize = 256;

/// Why it is not known who claims a name.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Storage failed.
    Fault(Fault),
    /// There are more claimants than one lookup looks at.
    TooMany,
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Who claims a name, or claims it under a label.
pub(crate) struct NameClaims<'a, S> {
    pub(crate) snapshot: &'a S,
    pub(crate) viewer: &'a Viewer,
    pub(crate) name: &'a CanonicalName,
    /// The label that they must have: by their own document, or by the word of an anchor.
    pub(crate) label: Option<&'a Label>,
}

impl<S: Snapshot> NameClaims<'_, S> {
    /// Whether the owner has the label that is asked for.
    fn bears(&self, owner: OwnerId) -> Result<bool, Fault> {
        let Some(label) = self.label else {
            return Ok(true);
        };
        Ok(
            self.snapshot.label(owner)?.as_deref() == Some(label.as_str())
                || trust::is_called(self.snapshot, self.viewer, owner, label.as_str())?,
        )
    }

    /// Whether an owner that publishes under the name claims it, unless it is vetoed.
    fn is_claim(&self, owner: OwnerId) -> Result<bool, Fault> {
        Ok(is_live(self.snapshot, owner, self.name)? && self.bears(owner)?)
    }

    /// Calls `each` with every claimant that is not vetoed, ascending, until it says that it has enough. False if
    /// there are too many to look at all: claims cost nothing, and a lookup must not take the longer for them. Those
    /// that are vetoed are as many as the user and the anchors named.
    fn walk(&self, mut each: impl FnMut(OwnerId) -> bool) -> Result<bool, Fault> {
        let (mut after, mut looked) = (None, 0);
        loop {
            let page = self.snapshot.owners_after(self.name, after, PAGE_OWNERS)?;
            let is_last = page.len() < PAGE_OWNERS;
            after = page.last().copied();
            for owner in page {
                if self.snapshot.vetoed(owner)?.is_some() {
                    continue;
                }
                if looked == limits::CLAIMANTS_MAX {
                    return Ok(false);
                }
                looked += 1;
                if self.is_claim(owner)? && !each(owner) {
                    return Ok(true);
                }
            }
            if is_last {
                return Ok(true);
            }
        }
    }
}

impl<S: Snapshot> Claims for NameClaims<'_, S> {
    type Error = Unread;

    fn has(&self, owner: OwnerId) -> Result<bool, Unread> {
        let has = self.snapshot.has_package(owner, self.name)?
            && is_live(self.snapshot, owner, self.name)?;
        // What was used here stays reachable, whatever became of its owner.
        let has = has || !self.snapshot.contents(owner, self.name)?.is_empty();
        Ok(has && self.bears(owner)?)
    }

    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, Unread> {
        let mut found = Vec::new();
        let is_known = self.walk(|owner| {
            found.push(owner);
            found.len() < limit
        })?;
        match is_known {
            true => Ok(found),
            false => Err(Unread::TooMany),
        }
    }
}

/// Whether an owner did not take back all of a package.
fn is_live(snapshot: &impl Snapshot, owner: OwnerId, name: &CanonicalName) -> Result<bool, Fault> {
    let registers = snapshot.registers(owner, name)?;
    let withdrawn: Vec<_> = registers.iter().filter(|(_, r)| r.withdrawn).collect();
    if withdrawn.is_empty() {
        return Ok(true);
    }
    if withdrawn.iter().any(|(version, _)| version.is_none()) {
        return Ok(false);
    }
    let slots = snapshot.slots(owner, name)?.into_keys();
    let mut slots = slots.map(Some);
    Ok(slots.any(|version| registers.get(&version).is_none_or(|r| !r.withdrawn)))
}

/// Whose package a namespace and a name mean here.
pub(crate) fn owner_of(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    namespace: Option<&str>,
    name: &CanonicalName,
) -> Result<OwnerId, Failure> {
    let (label, pin) = match Namespace::parse(namespace)? {
        Namespace::Owner(owner) => {
            let has =
                snapshot.has_package(owner, name)? || !snapshot.contents(owner, name)?.is_empty();
            return match has {
                true => Ok(owner),
                false => Err(absent(snapshot, owner, namespace, name.as_str(), None)?),
            };
        }
        Namespace::Label(label) => {
            let pin = snapshot.pin(&label)?;
            (Some(label), pin)
        }
        Namespace::Bare => (None, snapshot.name_pin(name)?),
    };
    let claims = NameClaims {
        snapshot,
        viewer,
        name,
        // A pinned label needs no other proof.
        label: label.as_ref().filter(|_| pin.is_none()),
    };
    // Where a pin decides, nobody's trust is looked at.
    let reach = match pin {
        Some(_) => Reach::default().into(),
        None => viewer.reach(snapshot)?,
    };
    let local = Local {
        pin,
        own: &viewer.own,
        scores: &reach.scores,
        mode: snapshot.mode()?,
    };
    let view = match view::resolve(local, &claims) {
        Ok(view) => view,
        // Who alone claims it among so many is not known.
        Err(Unread::TooMany) => View::Contested,
        Err(Unread::Fault(fault)) => return Err(fault.into()),
    };
    match (view, pin) {
        (View::Owner(owner, _), _) => Ok(owner),
        (View::Contested, _) => {
            let contested = Contested {
                claimants: claimants_of(&claims, &reach, SHOWN_MAX)?,
                label: label.map(|label| label.to_string()),
                name: name.clone(),
            };
            Err(RegistryError::Contested(Box::new(contested)).into())
        }
        (View::Nobody, Some(pin)) if shelf::suspended(snapshot, pin)?.is_some() => {
            Err(absent(snapshot, pin, namespace, name.as_str(), None)?)
        }
        (View::Nobody, Some(pin)) => {
            let (what, wanted) = match &label {
                Some(label) => (label.to_string(), format!("{label}/{name}")),
                None => (name.to_string(), name.to_string()),
            };
            Err(RegistryError::NotFound(format!(
                "`{wanted}` of {pin}, whom `{what}` is pinned to here (`market use --remove {wanted}` takes the pin back),"
            ))
            .into())
        }
        (View::Nobody, None) => {
            // Those who publish it may all be kept away from.
            let owners = snapshot.owners_after(name, None, PAGE_OWNERS)?;
            for owner in owners {
                if let Some(why) = shelf::vetoed(snapshot, owner)? {
                    let id = name.to_string();
                    return Err(RegistryError::Withheld { id, why }.into());
                }
            }
            Err(not_found(namespace, name.as_str(), None))
        }
    }
}

/// Who claims a name here, whatever it means.
pub(crate) fn claimants(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    namespace: Option<&str>,
    name: &CanonicalName,
    limit: usize,
) -> Result<Claimants, Failure> {
    let label = match Namespace::parse(namespace)? {
        Namespace::Owner(owner) => {
            let reach = viewer.reach(snapshot)?;
            let claimant = claimant(snapshot, &reach, owner, name)?;
            let shown: Vec<_> = claimant.into_iter().collect();
            let total = shown.len() as u64;
            return Ok(Claimants {
                total,
                is_more: false,
                shown,
            });
        }
        Namespace::Label(label) => Some(label),
        Namespace::Bare => None,
    };
    let claims = NameClaims {
        snapshot,
        viewer,
        name,
        label: label.as_ref(),
    };
    let reach = viewer.reach(snapshot)?;
    Ok(claimants_of(&claims, &reach, limit)?)
}

/// Those with a score first, so that no number of strangers hides them.
fn claimants_of<S: Snapshot>(
    claims: &NameClaims<'_, S>,
    reach: &Reach,
    limit: usize,
) -> Result<Claimants, Fault> {
    let mut ranked: BTreeMap<(u8, OwnerId), OwnerId> = BTreeMap::new();
    let mut rank = |owner| {
        ranked.insert((u8::MAX - reach.score(&owner), owner), owner);
        if ranked.len() > limit {
            ranked.pop_last();
        }
    };
    let mut scored = BTreeSet::new();
    for owner in reach.scores.keys() {
        if claims.snapshot.has_package(*owner, claims.name)? && claims.is_claim(*owner)? {
            rank(*owner);
            scored.insert(*owner);
        }
    }
    let mut total = scored.len() as u64;
    let is_more = !claims.walk(|owner| {
        if !scored.contains(&owner) {
            rank(owner);
            total += 1;
        }
        true
    })?;
    let mut shown = Vec::new();
    for owner in ranked.into_values() {
        shown.extend(claimant(claims.snapshot, reach, owner, claims.name)?);
    }
    Ok(Claimants {
        total,
        is_more,
        shown,
    })
}

fn claimant(
    snapshot: &impl Snapshot,
    reach: &Reach,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Option<Claimant>, Fault> {
    let slots = snapshot.slots(owner, name)?;
    let Some((_, lowest)) = slots.first_key_value() else {
        return Ok(None);
    };
    let first = held(snapshot, lowest)?;
    let vouchers = reach.vouchers(owner).into_iter();
    Ok(Some(Claimant {
        owner,
        label: snapshot.label(owner)?,
        versions: slots.len(),
        score: reach.score(&owner),
        vouched_by: vouchers
            .map(|voucher| trust::called(snapshot, voucher))
            .collect::<Result<_, _>>()?,
        first_seen: moment(first.first_seen_ms),
        spelled: match &first.record.content().body {
            Body::Publish(publish) => publish.name.clone(),
            _ => name.to_string(),
        },
    }))
}

#[cfg(test)]
mod tests;
