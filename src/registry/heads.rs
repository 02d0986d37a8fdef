//! Heads: what publishers say that they wrote last. Not part of the set, so nothing is decided by them; they tell
//! whether something is missing here.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::limits;
use ggen_protocols::owner::Standing;
use ggen_protocols::record::{Body, Head, Record, Signed, Verified};
use serde::{Deserialize, Serialize};

use super::RegistryError;
use super::view::{Snapshot, moment};
use crate::db::Fault;

/// What became of a head record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witnessed {
    /// It is the newest of its signer and is kept.
    Newer,
    /// One at least as new is kept already.
    Older,
    /// No document that is held names its signer. Offer it again when more documents of the namespace are here.
    Early,
    /// Its signer is neither the root nor a publisher of the namespace, nor one of this node's own owners. It says
    /// nothing that anybody should rely on.
    Stranger,
}

/// How much of a namespace is here, by the newest word of one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Who says so.
    #[serde(with = "super::text")]
    pub witness: PublicKey,
    /// When it said so, by its own clock.
    pub as_of: DateTime<Utc>,
    /// Records that it names, or that come before those, and that are not here.
    pub missing: u64,
}

/// The head in a record, if it is one.
pub(crate) fn head_of(record: &Verified<Record>) -> Option<&Head> {
    match &record.content().body {
        Body::Head(head) => Some(head),
        _ => None,
    }
}

/// The refusal of a record that is no head.
pub(crate) fn not_a_head() -> RegistryError {
    RegistryError::Validation("the record tells nothing of what its signer saw last".to_owned())
}

/// Why the word of `key` on a namespace does not count here; nothing if it does.
pub(crate) fn objection(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    network: NetworkId,
    subject: OwnerId,
    key: PublicKey,
) -> Result<Option<Witnessed>, Fault> {
    let mut documents = snapshot.documents(subject)?;
    if !documents.admit(key) {
        let is_own = !documents.is_empty() && own.contains(&OwnerId::of_key(network, key));
        return Ok((!is_own).then_some(Witnessed::Early));
    }
    // Keys cost nothing: one that never wrote a record here gets no room for its word either.
    let is_held = snapshot.status(subject)?.is_some() || snapshot.feed(subject, key)?.head.seq > 0;
    if !is_held {
        return Ok(Some(Witnessed::Stranger));
    }
    let counts = match documents.standing() {
        Standing::Active(_, document) => {
            let mut publishers = document.publishers.iter();
            document.root == key || publishers.any(|(publisher, _)| *publisher == key)
        }
        _ => false,
    };
    Ok((!counts).then_some(Witnessed::Stranger))
}

/// Whether a head is newer than the one that is kept. Of two with one time, the larger id: all nodes keep the same.
pub(crate) fn is_newer(new: &Verified<Record>, kept: Option<&Verified<Record>>) -> bool {
    let rank = |record: &Verified<Record>| (record.content().time_ms, record.id());
    kept.is_none_or(|kept| rank(new) > rank(kept))
}

/// Reads a head that was checked when it came.
pub(crate) fn stored(envelope: Bytes, network: NetworkId) -> Result<Verified<Record>, Fault> {
    let read = Signed::from_envelope(envelope).and_then(|signed| signed.trust_stored(network));
    read.map_err(|why| Fault::Damaged(format!("an envelope in `heads`: {why}")))
}

/// What the heads that are kept of a namespace say at `now_ms`; newest first. Old ones say nothing any more.
pub(crate) fn sights(
    snapshot: &impl Snapshot,
    subject: OwnerId,
    heads: &BTreeMap<PublicKey, Verified<Record>>,
    now_ms: u64,
) -> Result<Vec<Sight>, Fault> {
    let life = limits::HEAD_LIFE.as_millis();
    let mut sights = Vec::new();
    for (witness, record) in heads {
        let time_ms = record.content().time_ms;
        let Some(head) = head_of(record) else {
            continue;
        };
        if u128::from(now_ms.saturating_sub(time_ms)) > life {
            continue;
        }
        sights.push(Sight {
            witness: *witness,
            as_of: moment(time_ms),
            missing: missing(snapshot, subject, head)?,
        });
    }
    sights.sort_by_key(|sight| (std::cmp::Reverse(sight.as_of), sight.witness));
    Ok(sights)
}

fn missing(snapshot: &impl Snapshot, subject: OwnerId, head: &Head) -> Result<u64, Fault> {
    let genesis = RecordId::from_bytes(*subject.as_bytes());
    let has_document = head.acl == genesis || snapshot.held(&head.acl)?.is_some();
    let mut missing = u64::from(!has_document);
    for (key, seq, last) in &head.feeds {
        if snapshot.held(last)?.is_none() {
            let here = snapshot.feed(subject, *key)?.head.seq;
            // A fork may be longer here, and lack the one that is named.
            missing += seq.saturating_sub(here).max(1);
        }
    }
    Ok(missing)
}
