//! What an honest peer's answers look like.

use bytes::Bytes;

use super::fingerprint::{Branch, Prefix};
use crate::id::{NetworkId, RecordId};
use crate::limits;
use crate::record::{Record, Refusal, Signed};

/// Why an answer cannot come from an honest peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lie {
    /// An answer of another kind or length than the question.
    #[error("an answer that does not fit the question")]
    Unfitting,
    /// A branch that the tree of no set has at this place.
    #[error("a branch that is no part of a catalogue tree")]
    Misshapen,
    /// Records other than those asked for.
    #[error("records that were not asked for")]
    NotAsked,
    /// Records that every correct node refuses.
    #[error("records that every node refuses")]
    Invalid,
    /// Ids without end whose records never come.
    #[error("differences without end, and no records")]
    Endless,
}

/// What the envelopes of an answer must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Those with these ids, in this order.
    Exactly(Vec<RecordId>),
    /// Ascending ones of a range.
    Ascending {
        /// Where all of them lie.
        prefix: Prefix,
        /// All come after this id.
        after: Option<RecordId>,
        /// None comes after this id.
        until: Option<RecordId>,
    },
}

impl Expected {
    /// Reads envelopes and checks that they are what was asked for; their signatures are for later. Envelopes of
    /// a version that this code does not know are left out.
    ///
    /// # Errors
    /// [`Lie`] if no honest peer answers so.
    pub fn check(
        &self,
        network: NetworkId,
        envelopes: Vec<Bytes>,
    ) -> Result<Vec<(RecordId, Signed<Record>)>, Lie> {
        let mut records = Vec::with_capacity(envelopes.len());
        let mut last = match self {
            Self::Exactly(ids) if ids.len() != envelopes.len() => return Err(Lie::NotAsked),
            Self::Exactly(_) => None,
            Self::Ascending { after, .. } => *after,
        };
        for (at, envelope) in envelopes.into_iter().enumerate() {
            let record = match Signed::from_envelope(envelope) {
                Ok(record) => record,
                Err(Refusal::UnknownVersion(_)) => continue,
                Err(_) => return Err(Lie::Invalid),
            };
            let id = record.id(network);
            let fits = match self {
                Self::Exactly(ids) => ids.get(at) == Some(&id),
                Self::Ascending { prefix, until, .. } => {
                    prefix.contains(&id)
                        && last.is_none_or(|last| last < id)
                        && until.is_none_or(|until| id <= until)
                }
            };
            if !fits {
                return Err(Lie::NotAsked);
            }
            last = Some(id);
            records.push((id, record));
        }
        Ok(records)
    }
}

/// Checks that some set has this branch at this place.
pub(super) fn branch(prefix: &Prefix, branch: &Branch) -> Result<(), Lie> {
    let deepest = prefix.depth() >= limits::TREE_DEPTH_MAX;
    let shaped = match branch {
        Branch::Bucket(ids) => {
            ids.len() <= if deepest { 1 } else { limits::BUCKET_IDS_MAX }
                && ids.iter().all(|id| prefix.contains(id))
                && ids.is_sorted_by(|a, b| a < b)
        }
        Branch::Inner(_) => !deepest && branch.root().count > limits::BUCKET_IDS_MAX as u64,
    };
    if shaped { Ok(()) } else { Err(Lie::Misshapen) }
}
