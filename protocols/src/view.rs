//! Names to owners, for one node: whom does `http` mean here?
//!
//! Nobody owns a name in the swarm: whoever publishes under it claims it, and claims cost nothing. So the answer
//! is this node's own, a pure function of what it holds and of what its user decided: no clock, no order of
//! arrival, and no number of strangers takes part in it. Where it would be a guess, there is no answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::OwnerId;
use crate::trust::FULL;

/// What to do with a name that one unknown owner alone claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It means that owner, unverified: trust on first use.
    #[default]
    Tofu,
    /// It means nobody until the user decides.
    Strict,
}

/// By what an owner was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The user chose it, or used it before.
    Pin,
    /// It is this node's own.
    Own,
    /// It alone is trusted among those who claim the name.
    Trusted,
    /// Nobody else claims the name; unverified.
    SoleClaimant,
}

/// Whom a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// This owner.
    Owner(OwnerId, Why),
    /// Several claim it, or in strict mode one whom the user does not know: nobody is preferred.
    Contested,
    /// Nobody claims it; or the one who is meant does not.
    Nobody,
}

/// Who claims a name. There may be very many, of whom most do not matter.
pub trait Claims {
    /// What reading them can fail with.
    type Error;

    /// Whether this owner publishes under the name and did not take everything back.
    fn has(&self, owner: OwnerId) -> Result<bool, Self::Error>;

    /// Up to `limit` of those who do and are not vetoed.
    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, Self::Error>;
}

/// What this node's user decided, as far as it concerns one name.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Whom the user chose or used.
    pub pin: Option<OwnerId>,
    /// Whom this node writes as.
    pub own: &'a [OwnerId],
    /// The scores of those who have one; vetoed ones have none.
    pub scores: &'a BTreeMap<OwnerId, u8>,
    /// What to do with a sole claimant.
    pub mode: Mode,
}

/// Whom a name means: by pin, own, trusted, sole claimant, in this order.
///
/// # Errors
/// Those of reading the claims.
pub fn resolve<C: Claims>(local: Local<'_>, claims: &C) -> Result<View, C::Error> {
    if let Some(pin) = local.pin {
        return Ok(if claims.has(pin)? {
            View::Owner(pin, Why::Pin)
        } else {
            View::Nobody
        });
    }
    let own = local.own.iter().copied();
    if let [owner] = those(own, claims)?[..] {
        return Ok(View::Owner(owner, Why::Own));
    }
    let scores = local.scores.iter();
    let trusted = scores.filter_map(|(owner, score)| (*score >= FULL).then_some(*owner));
    match those(trusted, claims)?[..] {
        [owner] => return Ok(View::Owner(owner, Why::Trusted)),
        [] => {}
        _ => return Ok(View::Contested),
    }
    Ok(match (claims.some(2)?.as_slice(), local.mode) {
        ([], _) => View::Nobody,
        ([owner], Mode::Tofu) => View::Owner(*owner, Why::SoleClaimant),
        _ => View::Contested,
    })
}

fn those<C: Claims>(
    owners: impl Iterator<Item = OwnerId>,
    claims: &C,
) -> Result<Vec<OwnerId>, C::Error> {
    let mut found = Vec::new();
    for owner in owners {
        if claims.has(owner)? && !found.contains(&owner) {
            found.push(owner);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
