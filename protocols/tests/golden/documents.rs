//! The values of the golden documents, endorsement and head.

use ggen_protocols::cbor;
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_protocols::owner::{Mark, NamespaceDocument, commitment};
use ggen_protocols::record::{Body, Head, Record, Signed};
use ggen_protocols::trust::Endorse;
use serde_bytes::{ByteArray, ByteBuf};

use super::{first, key, network};

pub(crate) fn other(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn id(byte: u8) -> RecordId {
    RecordId::from_bytes([byte; 32])
}

pub(crate) fn unchained(body: Body) -> Record {
    Record {
        owner: None,
        seq: 0,
        previous: None,
        time_ms: 0,
        body,
    }
}

pub(crate) fn founding() -> NamespaceDocument {
    NamespaceDocument {
        label: "acme".to_owned(),
        root: key(),
        recovery: Some(ByteArray::new(commitment(other(0x66)))),
        publishers: vec![(key(), vec!["*".to_owned()])],
        retired: Vec::new(),
        mark: Mark::Nonce(ByteArray::new([0x77; 16])),
    }
}

pub(crate) fn genesis() -> Record {
    unchained(Body::Genesis(Box::new(founding())))
}

/// The owner that the golden founding record makes.
pub(crate) fn founded() -> OwnerId {
    let network: NetworkId = network();
    let parts = (
        1u64,
        ByteArray::new(*key().as_bytes()),
        ByteBuf::from(cbor::encode(&genesis())),
        ByteArray::new([0; 64]),
    );
    let signed = Signed::<Record>::from_envelope(cbor::encode(&parts).into()).unwrap();
    OwnerId::of_genesis(signed.id(network))
}

pub(crate) fn later() -> NamespaceDocument {
    NamespaceDocument {
        publishers: vec![
            (other(0x11), vec!["bar".to_owned(), "foo-x".to_owned()]),
            (key(), vec!["*".to_owned()]),
        ],
        retired: vec![(other(0x22), id(0x33)), (other(0x22), id(0x34))],
        mark: Mark::Reason("the old laptop was lost".to_owned()),
        ..founding()
    }
}

pub(crate) fn acl() -> Record {
    Record {
        owner: Some(founded()),
        seq: 1,
        previous: Some(RecordId::from_bytes(*founded().as_bytes())),
        ..unchained(Body::Acl(Box::new(later())))
    }
}

pub(crate) fn endorse() -> Endorse {
    Endorse {
        subject: OwnerId::from_bytes([0x44; 32]),
        revision: 7,
        level: 2,
        depth: 1,
        label: Some("bob".to_owned()),
        reason: "reviewed his code".to_owned(),
    }
}

pub(crate) fn head() -> Head {
    Head {
        subject: founded(),
        acl: id(0x55),
        feeds: vec![(other(0x11), 1, id(0x56)), (key(), 12, id(0x57))],
    }
}

pub(crate) fn head_record() -> Record {
    Record {
        time_ms: 1_767_225_600_000,
        ..unchained(Body::Head(Box::new(head())))
    }
}

/// Golden records of the kinds beyond publish and state, by the names of their files.
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let sixth = Record {
        seq: 6,
        previous: Some(id(6)),
        ..first(Body::Endorse(endorse()))
    };
    vec![
        ("genesis", genesis()),
        ("acl", acl()),
        ("endorse", sixth),
        ("head", head_record()),
    ]
}
