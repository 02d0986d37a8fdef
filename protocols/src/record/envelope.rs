//! The envelope that a record travels in, and the way from `Signed` to `Verified`.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde_bytes::{ByteArray, ByteBuf};

use super::{Body, CheckSignature, Record, Refusal, parse_payload};
use crate::cbor::{self, DecodeError, Items};
use crate::hash;
use crate::id::{NetworkId, OwnerId, PublicKey, RecordId};
use crate::limits;

/// The envelope version that this code reads and writes.
pub const ENVELOPE_VERSION: u64 = 1;

const MESSAGE_DOMAIN: &[u8] = b"ggen-market/record/1\0";
const ID_CONTEXT: &str = "ggen-market 2026 record id";

impl Record {
    /// The record ready to be signed by `key` for `network`.
    ///
    /// # Errors
    /// [`Refusal`] as every receiver would give it.
    pub fn draft(&self, network: NetworkId, key: PublicKey) -> Result<Draft, Refusal> {
        let payload = cbor::encode(self);
        parse_payload(key, &payload)?;
        Ok(Draft {
            network,
            key,
            payload,
        })
    }
}

/// A record that only lacks its signature.
#[derive(Debug, Clone)]
pub struct Draft {
    network: NetworkId,
    key: PublicKey,
    payload: Vec<u8>,
}

impl Draft {
    /// The draft whose [`Draft::message`] this is. Whoever signs for others signs nothing else.
    ///
    /// # Errors
    /// [`Refusal`] if it is no message of this network, or as every receiver would give it.
    pub fn of_message(network: NetworkId, message: &[u8]) -> Result<Self, Refusal> {
        let foreign = || Refusal::Payload(DecodeError::malformed("it is no record to be signed"));
        let rest = message.strip_prefix(MESSAGE_DOMAIN).ok_or_else(foreign)?;
        let rest = rest.strip_prefix(network.as_bytes()).ok_or_else(foreign)?;
        let (key, payload) = rest.split_first_chunk().ok_or_else(foreign)?;
        let key = PublicKey::from_bytes(*key);
        parse_payload(key, payload)?;
        Ok(Self {
            network,
            key,
            payload: payload.to_vec(),
        })
    }

    /// Who is to sign it.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What is to be signed.
    ///
    /// # Errors
    /// [`Refusal`], which making the draft would have given.
    pub fn record(&self) -> Result<Record, Refusal> {
        parse_payload(self.key, &self.payload)
    }

    /// The bytes that the key must sign.
    pub fn message(&self) -> Vec<u8> {
        message(self.network, self.key, &self.payload)
    }

    /// The envelope with this signature over [`Draft::message`].
    pub fn sealed(self, signature: [u8; 64]) -> Bytes {
        let version = ENVELOPE_VERSION;
        let key = ByteArray::new(*self.key.as_bytes());
        cbor::encode(&(
            version,
            key,
            ByteBuf::from(self.payload),
            ByteArray::new(signature),
        ))
        .into()
    }
}

fn message(network: NetworkId, key: PublicKey, payload: &[u8]) -> Vec<u8> {
    [MESSAGE_DOMAIN, network.as_bytes(), key.as_bytes(), payload].concat()
}

/// The id of the record with this payload under this key in this network.
pub(crate) fn id(network: NetworkId, key: PublicKey, payload: &[u8]) -> RecordId {
    let parts: [&[u8]; 3] = [network.as_bytes(), key.as_bytes(), payload];
    RecordId::from_bytes(hash::derive(ID_CONTEXT, &parts))
}

/// An envelope from outside: of the right form, nothing in it checked yet.
#[derive(Clone)]
pub struct Signed<T> {
    envelope: Bytes,
    key: PublicKey,
    payload: Bytes,
    signature: [u8; 64],
    content: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes by {})", self.payload.len(), self.key)
    }
}

impl<T> Signed<T> {
    /// The claimed signer.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// The id that the content has, whoever signed it truly.
    pub fn id(&self, network: NetworkId) -> RecordId {
        id(network, self.key, &self.payload)
    }
}

impl Signed<Record> {
    /// Reads an envelope's outer form.
    ///
    /// # Errors
    /// [`Refusal::Envelope`] or [`Refusal::UnknownVersion`].
    pub fn from_envelope(envelope: Bytes) -> Result<Self, Refusal> {
        let mut items = Items::of(&envelope);
        let count = items.array().map_err(Refusal::Envelope)?;
        // Another version may have another length and number of items, but it is an array and this comes first.
        let version = items.uint().map_err(Refusal::Envelope)?;
        if version != ENVELOPE_VERSION {
            return Err(Refusal::UnknownVersion(version));
        }
        let rest = |mut items: Items<'_>| {
            cbor::bounded(&envelope, limits::ENVELOPE_BYTES_MAX)?;
            if count != 4 {
                return Err(DecodeError::malformed("an envelope has four items"));
            }
            let key = PublicKey::from_bytes(items.exactly()?);
            let payload = envelope.slice_ref(items.bytes()?);
            let signature = items.exactly()?;
            items.end()?;
            Ok((key, payload, signature))
        };
        let (key, payload, signature) = rest(items).map_err(Refusal::Envelope)?;
        Ok(Self {
            envelope,
            key,
            payload,
            signature,
            content: PhantomData,
        })
    }

    /// Checks the signature, then reads the payload.
    ///
    /// # Errors
    /// [`Refusal::Signature`] before a byte of the payload is looked at; then [`Refusal::Payload`] or
    /// [`Refusal::Grammar`].
    pub fn verify(
        self,
        checker: &impl CheckSignature,
        network: NetworkId,
    ) -> Result<Verified<Record>, Refusal> {
        let message = message(network, self.key, &self.payload);
        if !checker.check(&self.key, &message, &self.signature) {
            return Err(Refusal::Signature);
        }
        self.parse(network)
    }

    /// Reads an envelope that this node verified before it stored it, without checking the signature again.
    ///
    /// # Errors
    /// [`Refusal`] if the stored bytes are damaged.
    pub fn trust_stored(self, network: NetworkId) -> Result<Verified<Record>, Refusal> {
        self.parse(network)
    }

    fn parse(self, network: NetworkId) -> Result<Verified<Record>, Refusal> {
        Ok(Verified {
            id: self.id(network),
            key: self.key,
            content: parse_payload(self.key, &self.payload)?,
            envelope: self.envelope,
        })
    }
}

/// Content whose signature was checked: the only thing that the catalogue takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    id: RecordId,
    key: PublicKey,
    content: T,
    envelope: Bytes,
}

impl<T> Verified<T> {
    /// The record's id.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// Who signed it.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What was signed.
    pub fn content(&self) -> &T {
        &self.content
    }

    /// The bytes to store and to pass on.
    pub fn envelope(&self) -> &Bytes {
        &self.envelope
    }
}

impl Verified<Record> {
    /// The namespace that it is written in; a founding record is written in the one that it founds. Whether its
    /// signer may write there is for that namespace's documents to say.
    ///
    /// # Errors
    /// [`Refusal::NoNamespace`].
    pub fn namespace(&self) -> Result<OwnerId, Refusal> {
        match &self.content.body {
            Body::Genesis(_) => Ok(OwnerId::of_genesis(self.id)),
            _ => self.content.owner.ok_or(Refusal::NoNamespace),
        }
    }

    /// Whether the record's time is at most ten minutes ahead of `now_ms`.
    ///
    /// # Errors
    /// [`Refusal::FutureDated`].
    pub fn in_time(&self, now_ms: u64) -> Result<(), Refusal> {
        let ahead_ms = self.content.time_ms.saturating_sub(now_ms);
        if u128::from(ahead_ms) > limits::TIME_AHEAD_MAX.as_millis() {
            return Err(Refusal::FutureDated { ahead_ms });
        }
        Ok(())
    }
}

#[cfg(test)]
impl Record {
    /// The record as one of `key`, without a signature that anybody could check.
    #[allow(clippy::unwrap_used)]
    pub(crate) fn by(&self, key: PublicKey) -> Verified<Record> {
        let network = NetworkId::main();
        let envelope = self.draft(network, key).unwrap().sealed([0; 64]);
        let signed = Signed::from_envelope(envelope).unwrap();
        signed.trust_stored(network).unwrap()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::{Body, KIND_STATE, Treatment};

    const NOW_MS: u64 = 1_767_225_600_000;

    fn verified(owner: Option<OwnerId>, time_ms: u64) -> Verified<Record> {
        let key = PublicKey::from_bytes([7; 32]);
        let network = NetworkId::main();
        let body = cbor::decode(&[0x80], 1).unwrap();
        let record = Record {
            owner,
            seq: 1,
            previous: None,
            time_ms,
            body: Body::Other { kind: 1000, body },
        };
        let envelope = record.draft(network, key).unwrap().sealed([0; 64]);
        let signed = Signed::from_envelope(envelope).unwrap();
        signed.trust_stored(network).unwrap()
    }

    #[test]
    fn a_record_may_be_ten_minutes_ahead_and_no_more() {
        let check = |time_ms| verified(None, time_ms).in_time(NOW_MS);
        for time_ms in [0, NOW_MS, NOW_MS + 600_000] {
            assert_eq!(check(time_ms), Ok(()), "{time_ms}");
        }
        let refusal = check(NOW_MS + 600_001).unwrap_err();
        assert_eq!(refusal, Refusal::FutureDated { ahead_ms: 600_001 });
        assert_eq!(refusal.treatment(), Treatment::Ignore);
        assert!(check(limits::UINT_MAX).is_err());
    }

    #[test]
    fn a_draft_is_refused_for_what_its_receivers_would_refuse() {
        let key = PublicKey::from_bytes([7; 32]);
        let mut record = verified(None, NOW_MS).content;
        // Of a known kind, an unknown body is a body of the wrong form.
        record.body = match record.body {
            Body::Other { body, .. } => Body::Other {
                kind: KIND_STATE,
                body,
            },
            body => body,
        };
        let refusal = record.draft(NetworkId::main(), key).unwrap_err();
        assert!(matches!(refusal, Refusal::Payload(_)), "{refusal:?}");
    }
}
