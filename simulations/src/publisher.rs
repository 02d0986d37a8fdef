//! Records as some publisher would sign them.

use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::record::{Body, Links, Publish, Record, Signed};
use serde_bytes::ByteArray;

use crate::peer::KeyedHash;

/// Record number `number` of a run: by one of seven publishers, of some size.
///
/// # Panics
/// Never: the record keeps every limit.
#[allow(clippy::expect_used)]
pub fn record(network: NetworkId, number: u64) -> (RecordId, Bytes) {
    let key = PublicKey::from_bytes(*ContentHash::blake3([(number % 7) as u8]).as_bytes());
    let content = ContentHash::blake3(number.to_be_bytes());
    let record = Record {
        owner: Some(OwnerId::of_key(network, key)),
        seq: 1,
        previous: None,
        time_ms: number,
        body: Body::Publish(Box::new(Publish {
            name: format!("package-{number}"),
            version: "1.0.0".to_owned(),
            format: 2,
            blake3: Some(ByteArray::new(*content.as_bytes())),
            sha256: None,
            size: Some(number),
            dependencies: Vec::new(),
            features: Vec::new(),
            description: "x".repeat((number % 200) as usize),
            authors: Vec::new(),
            license: String::new(),
            links: Links::default(),
            keywords: Vec::new(),
            categories: Vec::new(),
            native: None,
            rust_version: None,
            readme: None,
            provenance: None,
        })),
    };
    let draft = record
        .draft(network, key)
        .expect("the record keeps every limit");
    let signature = KeyedHash::sign(&key, &draft.message());
    let envelope = draft.sealed(signature);
    let signed = Signed::<Record>::from_envelope(envelope.clone()).expect("it was just made");
    (signed.id(network), envelope)
}
