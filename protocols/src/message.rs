//! What two peers say to each other: requests and responses of `/ggen-market/sync/1`, and announcements.

use bytes::Bytes;
use serde_bytes::{ByteArray, ByteBuf};
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::cbor::{self, DecodeError};
use crate::id::{NetworkId, OwnerId, PublicKey, RecordId};
use crate::limits;
use crate::reconcile::fingerprint::{Branch, Prefix, Root};

/// What a peer tells of itself when a connection opens, and again whenever it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Hello {
    /// The network whose records it keeps.
    pub network: NetworkId,
    /// Its catalogue.
    pub root: Root,
    /// Its clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Where it serves blobs: socket addresses; an unspecified IP stands for the one it is reached by.
    pub blob_addresses: Vec<String>,
    /// Its software and version.
    pub agent: String,
}

/// Asks for envelopes in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct PageRequest {
    /// Only ids of this prefix.
    pub prefix: Prefix,
    /// Only ids after this one.
    pub after: Option<RecordId>,
}

/// One page of envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Page {
    /// Up to [`limits::ANSWER_RECORDS_MAX`] envelopes, up to [`limits::ANSWER_BYTES_MAX`] bytes of them.
    pub envelopes: Vec<ByteBuf>,
    /// Where the next page begins: after this id; nothing if this was the last one.
    pub next: Option<RecordId>,
}

/// Where a head stands among all: by whom it is about, then by who signed it.
pub type HeadPlace = (OwnerId, PublicKey);

/// Some of the heads that a peer keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Heads {
    /// Up to [`limits::ANSWER_RECORDS_MAX`] envelopes of head records, up to [`limits::ANSWER_BYTES_MAX`] bytes.
    pub envelopes: Vec<ByteBuf>,
    /// Where the next ones begin: after this place; nothing if these were the last.
    pub next: Option<HeadPlace>,
}

/// A question of one peer to another. Every question is answered by the response of the same name,
/// or by [`Response::Busy`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// This is me; who are you?
    Hello(Hello),
    /// What lies below these prefixes of your tree?
    Branches(Vec<Prefix>),
    /// Which envelopes come next?
    Page(PageRequest),
    /// What are the records with these ids?
    Records(Vec<RecordId>),
    /// Do you hold the blobs with these BLAKE3 hashes?
    Holds(Vec<ByteArray<32>>),
    /// Which heads do you keep, after this place?
    Heads(Option<HeadPlace>),
}
cbor::numbered!(Request {
    1 => Hello(Hello),
    2 => Branches(Vec<Prefix>),
    3 => Page(PageRequest),
    4 => Records(Vec<RecordId>),
    5 => Holds(Vec<ByteArray<32>>),
    7 => Heads(Option<HeadPlace>),
});

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// This is me.
    Hello(Hello),
    /// One branch for each prefix asked for, in that order.
    Branches(Vec<Branch>),
    /// The next envelopes.
    Page(Page),
    /// One item for each id asked for, in that order; `None` is "not held". The answer ends early, after at
    /// least one item, where it would pass [`limits::ANSWER_BYTES_MAX`]: ask again for the rest.
    Records(Vec<Option<ByteBuf>>),
    /// One item for each hash asked for, in that order.
    Holds(Vec<bool>),
    /// Too much to do: ask again in so many milliseconds.
    Busy(u64),
    /// The next heads.
    Heads(Heads),
}
cbor::numbered!(Response {
    1 => Hello(Hello),
    2 => Branches(Vec<Branch>),
    3 => Page(Page),
    4 => Records(Vec<Option<ByteBuf>>),
    5 => Holds(Vec<bool>),
    6 => Busy(u64),
    7 => Heads(Heads),
});

impl Request {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a request and checks its bounds.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that no peer of ours sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let request = cbor::decode(bytes, limits::REQUEST_BYTES_MAX)?;
        match &request {
            Self::Hello(hello) => hello.check()?,
            Self::Branches(prefixes) => {
                bounded("prefixes", prefixes.len(), limits::REQUEST_BRANCHES_MAX)?
            }
            Self::Page(_) | Self::Heads(_) => {}
            Self::Records(ids) => bounded("ids", ids.len(), limits::REQUEST_IDS_MAX)?,
            Self::Holds(hashes) => bounded("hashes", hashes.len(), limits::REQUEST_HOLDS_MAX)?,
        }
        Ok(request)
    }
}

impl Response {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a response and checks its bounds; whether it fits the question is for the asker to see.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that no peer of ours sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let response = cbor::decode(bytes, limits::RESPONSE_BYTES_MAX)?;
        match &response {
            Self::Hello(hello) => hello.check()?,
            Self::Branches(branches) => {
                bounded("branches", branches.len(), limits::REQUEST_BRANCHES_MAX)?
            }
            Self::Page(page) => bounded(
                "envelopes",
                page.envelopes.len(),
                limits::ANSWER_RECORDS_MAX,
            )?,
            Self::Records(records) => bounded("envelopes", records.len(), limits::REQUEST_IDS_MAX)?,
            Self::Holds(held) => bounded("hashes", held.len(), limits::REQUEST_HOLDS_MAX)?,
            Self::Heads(heads) => bounded(
                "envelopes",
                heads.envelopes.len(),
                limits::ANSWER_RECORDS_MAX,
            )?,
            Self::Busy(_) => {}
        }
        Ok(response)
    }
}

impl Hello {
    fn check(&self) -> Result<(), DecodeError> {
        bounded(
            "addresses",
            self.blob_addresses.len(),
            limits::ADDRESSES_MAX,
        )?;
        for address in &self.blob_addresses {
            bounded(
                "bytes of an address",
                address.len(),
                limits::ADDRESS_BYTES_MAX,
            )?;
        }
        bounded(
            "bytes of an agent",
            self.agent.len(),
            limits::AGENT_BYTES_MAX,
        )
    }
}

fn bounded(what: &str, count: usize, max: usize) -> Result<(), DecodeError> {
    if count > max {
        return Err(DecodeError::malformed(format!(
            "{count} {what}, at most {max} are allowed"
        )));
    }
    Ok(())
}

/// What is gossiped: a record, or for large ones its id and size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Announcement {
    /// An envelope of at most [`limits::GOSSIP_ENVELOPE_BYTES_MAX`] bytes.
    Record(ByteBuf),
    /// The id and the size in bytes of a larger one, to be asked of whoever passed this on.
    Large((RecordId, u64)),
}
cbor::numbered!(Announcement { 1 => Record(ByteBuf), 2 => Large((RecordId, u64)) });

impl Announcement {
    /// The announcement of a record with this id and envelope.
    pub fn of(id: RecordId, envelope: &Bytes) -> Self {
        if envelope.len() <= limits::GOSSIP_ENVELOPE_BYTES_MAX {
            Self::Record(ByteBuf::from(envelope.to_vec()))
        } else {
            Self::Large((id, envelope.len() as u64))
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads an announcement.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that no peer of ours sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let announcement = cbor::decode(bytes, limits::GOSSIP_MESSAGE_BYTES_MAX)?;
        match &announcement {
            Self::Record(envelope) => {
                bounded("bytes", envelope.len(), limits::GOSSIP_ENVELOPE_BYTES_MAX)?
            }
            Self::Large((_, size)) => {
                let size = usize::try_from(*size).unwrap_or(usize::MAX);
                bounded("bytes", size, limits::ENVELOPE_BYTES_MAX)?;
                // A record has one announcement, so that it passes each peer once.
                if size <= limits::GOSSIP_ENVELOPE_BYTES_MAX {
                    return Err(DecodeError::malformed(format!(
                        "a record of {size} bytes is announced whole"
                    )));
                }
            }
        }
        Ok(announcement)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hello() -> Hello {
        Hello {
            network: NetworkId::main(),
            root: Root::default(),
            time_ms: 0,
            blob_addresses: Vec::new(),
            agent: String::new(),
        }
    }

    #[test]
    fn requests_end_where_the_limits_say() {
        type Make = fn(usize) -> Request;
        let cases: [(Make, usize); 5] = [
            (
                |n| Request::Branches(vec![Prefix::ROOT; n]),
                limits::REQUEST_BRANCHES_MAX,
            ),
            (
                |n| Request::Records(vec![RecordId::from_bytes([1; 32]); n]),
                limits::REQUEST_IDS_MAX,
            ),
            (
                |n| Request::Holds(vec![ByteArray::new([1; 32]); n]),
                limits::REQUEST_HOLDS_MAX,
            ),
            (
                |n| {
                    Request::Hello(Hello {
                        blob_addresses: vec![String::new(); n],
                        ..hello()
                    })
                },
                limits::ADDRESSES_MAX,
            ),
            (
                |n| {
                    Request::Hello(Hello {
                        agent: "a".repeat(n),
                        ..hello()
                    })
                },
                limits::AGENT_BYTES_MAX,
            ),
        ];
        for (make, max) in cases {
            assert_eq!(Request::decode(&make(max).encode()).unwrap(), make(max));
            let error = Request::decode(&make(max + 1).encode()).unwrap_err();
            assert!(
                error.to_string().contains(&format!("at most {max} ")),
                "{error}"
            );
        }
    }

    #[test]
    fn responses_end_where_the_limits_say() {
        type Make = fn(usize) -> Response;
        let page = |n| {
            Response::Page(Page {
                envelopes: vec![ByteBuf::new(); n],
                next: None,
            })
        };
        let cases: [(Make, usize); 4] = [
            (
                |n| Response::Branches(vec![Branch::Bucket(Vec::new()); n]),
                limits::REQUEST_BRANCHES_MAX,
            ),
            (page, limits::ANSWER_RECORDS_MAX),
            (
                |n| Response::Records(vec![None; n]),
                limits::REQUEST_IDS_MAX,
            ),
            (
                |n| Response::Holds(vec![true; n]),
                limits::REQUEST_HOLDS_MAX,
            ),
        ];
        for (make, max) in cases {
            assert_eq!(Response::decode(&make(max).encode()).unwrap(), make(max));
            let error = Response::decode(&make(max + 1).encode()).unwrap_err();
            assert!(
                error.to_string().contains(&format!("at most {max} ")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_record_has_one_announcement() {
        let id = RecordId::from_bytes([1; 32]);
        let limit = limits::GOSSIP_ENVELOPE_BYTES_MAX;
        for (size, large) in [(0, false), (limit, false), (limit + 1, true)] {
            let announcement = Announcement::of(id, &Bytes::from(vec![0; size]));
            assert_eq!(
                matches!(announcement, Announcement::Large(_)),
                large,
                "{size}"
            );
            let bytes = announcement.encode();
            assert!(bytes.len() <= limits::GOSSIP_MESSAGE_BYTES_MAX);
            assert_eq!(Announcement::decode(&bytes).unwrap(), announcement);
        }
        for wrong in [
            Announcement::Large((id, limit as u64)),
            Announcement::Large((id, limits::ENVELOPE_BYTES_MAX as u64 + 1)),
            Announcement::Record(ByteBuf::from(vec![0; limit + 1])),
        ] {
            assert!(Announcement::decode(&wrong.encode()).is_err());
        }
    }
}
