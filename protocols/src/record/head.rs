//! Heads: what somebody saw last of a namespace. Not part of the set: only the newest of each witness is kept.

use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::id::{OwnerId, PublicKey, RecordId};

/// The number of the record kind that tells what its signer saw last of a namespace.
pub const KIND_HEAD: u64 = 6;

/// The body of a head record. Whoever lacks a record that it names knows that something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Head {
    /// Of which namespace.
    pub subject: OwnerId,
    /// The document that held.
    pub acl: RecordId,
    /// The end of each feed: key, place and record, strictly ascending.
    pub feeds: Vec<(PublicKey, u64, RecordId)>,
}
