//! Records: what gets signed, the envelope it travels in, and the way from `Signed` to `Verified`.
//!
//! ```text
//! envelope = [1, key: bytes32, payload: bytes, signature: bytes64]
//! message  = "ggen-market/record/1" 0x00 network32 key32 payload      (what the signature covers)
//! id       = BLAKE3.derive_key("ggen-market 2026 record id", network32 key32 payload)
//! payload  = [kind, owner: bytes32|null, seq, previous: bytes32|null, time in ms, body: array]
//! ```
//! The signature is checked over the received bytes before anything inside the payload is looked at. Until
//! then nothing is copied but the payload, once, into the message.

mod body;
mod envelope;
mod grammar;
mod head;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use body::{
    Body, FeatureWire, FeedHead, Info, KIND_PUBLISH, KIND_STATE, Links, Publish, PublishDependency,
    SourceWire, State,
};
pub(crate) use envelope::id;
pub use envelope::{Draft, ENVELOPE_VERSION, Signed, Verified};
pub use grammar::{GrammarError, misleads};
pub use head::{Head, KIND_HEAD};

use crate::cbor::{self, DecodeError, Items};
use crate::id::{OwnerId, PublicKey, RecordId};
use crate::limits;
use crate::owner::{KIND_ACL, KIND_GENESIS};
use crate::trust::KIND_ENDORSE;

/// Checks Ed25519 signatures; the rules themselves know no cryptography.
pub trait CheckSignature {
    /// Whether `signature` is `key`'s over `message`, by the strict rules: as RFC 8032 has it without the
    /// cofactor, and neither the key nor the signature's point is of small order.
    fn check(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// What a node does with a record that it does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Every correct node refuses it for ever: do not relay, count against the sender.
    Reject,
    /// Clock, quota or knowledge of this node speaks against it: do not relay, blame nobody.
    Ignore,
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The envelope's bytes are not of its form.
    #[error("envelope: {0}")]
    Envelope(DecodeError),
    /// The envelope is of a version that this code does not know.
    #[error("the envelope is of version {0}; this node reads version 1")]
    UnknownVersion(u64),
    /// The signature is not the key's over these bytes in this network.
    #[error("the signature does not fit key, network and payload")]
    Signature,
    /// The payload's bytes are not of their form.
    #[error("payload: {0}")]
    Payload(DecodeError),
    /// A field breaks its grammar or limit.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// It is of a kind that this version does not know, and larger than what is kept of such.
    #[error(
        "kind {kind} is unknown here, and of unknown kinds at most {max} bytes are kept, not {size}",
        max = limits::OPAQUE_PAYLOAD_BYTES_MAX
    )]
    UnknownKind {
        /// Its kind.
        kind: u64,
        /// The payload's size in bytes.
        size: usize,
    },
    /// It speaks in no namespace, as only heads and records of kinds unknown to this version may.
    #[error("the record is written in no namespace, so it is no part of the catalogue")]
    NoNamespace,
    /// A document that cannot continue the one it names, for this reason.
    #[error("it is no document of namespace {owner}: {why}")]
    WrongDocument {
        /// The namespace.
        owner: OwnerId,
        /// Why.
        why: &'static str,
    },
    /// A document beyond those that are kept.
    #[error("namespace {owner} has as many documents as are kept")]
    SuperfluousDocument {
        /// The namespace.
        owner: OwnerId,
    },
    /// Its time is more than ten minutes ahead of this node's clock.
    #[error(
        "its time is {ahead_ms} ms ahead of this node's clock, more than the allowed ten minutes"
    )]
    FutureDated {
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// The key may not write in the namespace, as far as this node knows.
    #[error("key {key} may not write in namespace {owner}")]
    Unauthorised {
        /// The signer.
        key: PublicKey,
        /// The namespace.
        owner: OwnerId,
    },
}

impl Refusal {
    /// Whether every correct node refuses the record for ever, or only this one now.
    pub fn treatment(&self) -> Treatment {
        match self {
            Self::Envelope(_)
            | Self::Signature
            | Self::Payload(_)
            | Self::Grammar(_)
            | Self::WrongDocument { .. } => Treatment::Reject,
            Self::UnknownVersion(_)
            | Self::UnknownKind { .. }
            | Self::NoNamespace
            | Self::SuperfluousDocument { .. }
            | Self::FutureDated { .. }
            | Self::Unauthorised { .. } => Treatment::Ignore,
        }
    }
}

/// One statement of one key: its place in the key's feed, its time, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The namespace it is written in; `None` in a record that founds one, and in a head.
    pub owner: Option<OwnerId>,
    /// Place in the feed of this key in this namespace, from 1. Of an acl record, the place after the document
    /// that it continues; 0 in a record that founds a namespace, and in a head.
    pub seq: u64,
    /// The record before it in that feed, `None` for the first; of an acl record, the document it continues.
    pub previous: Option<RecordId>,
    /// The signer's clock, in milliseconds since 1970; nothing is decided by it. 0 in documents.
    pub time_ms: u64,
    /// What it says.
    pub body: Body,
}

impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.body.kind();
        let head = (&self.owner, self.seq, &self.previous, self.time_ms);
        let (owner, seq, previous, time) = head;
        match &self.body {
            Body::Genesis(body) | Body::Acl(body) => {
                (kind, owner, seq, previous, time, body).serialize(serializer)
            }
            Body::Endorse(body) => (kind, owner, seq, previous, time, body).serialize(serializer),
            Body::Head(body) => (kind, owner, seq, previous, time, body).serialize(serializer),
            Body::Publish(body) => (kind, owner, seq, previous, time, body).serialize(serializer),
            Body::State(body) => (kind, owner, seq, previous, time, body).serialize(serializer),
            Body::Other { body, .. } => {
                (kind, owner, seq, previous, time, body).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of six")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Record, A::Error> {
                let short = || serde::de::Error::custom("the array is too short");
                let kind: u64 = seq.next_element()?.ok_or_else(short)?;
                Ok(Record {
                    owner: seq.next_element()?.ok_or_else(short)?,
                    seq: seq.next_element()?.ok_or_else(short)?,
                    previous: seq.next_element()?.ok_or_else(short)?,
                    time_ms: seq.next_element()?.ok_or_else(short)?,
                    body: match kind {
                        KIND_GENESIS => Body::Genesis(seq.next_element()?.ok_or_else(short)?),
                        KIND_ACL => Body::Acl(seq.next_element()?.ok_or_else(short)?),
                        KIND_ENDORSE => Body::Endorse(seq.next_element()?.ok_or_else(short)?),
                        KIND_HEAD => Body::Head(seq.next_element()?.ok_or_else(short)?),
                        KIND_PUBLISH => Body::Publish(seq.next_element()?.ok_or_else(short)?),
                        KIND_STATE => Body::State(seq.next_element()?.ok_or_else(short)?),
                        kind => Body::Other {
                            kind,
                            body: seq.next_element()?.ok_or_else(short)?,
                        },
                    },
                })
            }
        }
        deserializer.deserialize_tuple(6, Fields)
    }
}

fn parse_payload(key: PublicKey, payload: &[u8]) -> Result<Record, Refusal> {
    let size = payload.len();
    let kind = kind(payload).map_err(Refusal::Payload)?;
    // Before it is decoded, because what is unknown may be anything.
    if size > limits::OPAQUE_PAYLOAD_BYTES_MAX && !(KIND_GENESIS..=KIND_HEAD).contains(&kind) {
        return Err(Refusal::UnknownKind { kind, size });
    }
    let record: Record =
        cbor::decode(payload, limits::PAYLOAD_BYTES_MAX).map_err(Refusal::Payload)?;
    grammar::check(key, &record)?;
    Ok(record)
}

fn kind(payload: &[u8]) -> Result<u64, DecodeError> {
    let mut items = Items::of(payload);
    if items.array()? != 6 {
        return Err(DecodeError::malformed("a payload has six items"));
    }
    items.uint()
}
