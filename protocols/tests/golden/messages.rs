//! The messages that the golden files stand for.

use ggen_protocols::id::{OwnerId, PublicKey, RecordId};
use ggen_protocols::message::{
    Announcement, HeadPlace, Heads, Hello, Page, PageRequest, Request, Response,
};
use ggen_protocols::reconcile::fingerprint::{Prefix, Root, branch_of};
use serde_bytes::{ByteArray, ByteBuf};

use super::records::network;

fn ids(count: u8) -> Vec<RecordId> {
    (0..count)
        .map(|n| RecordId::from_bytes([n * 7; 32]))
        .collect()
}

fn hello() -> Hello {
    Hello {
        network: network(),
        root: Root::of_bucket(&ids(3)),
        time_ms: 1_767_225_600_000,
        blob_addresses: vec!["0.0.0.0:4433".to_owned(), "[::]:4433".to_owned()],
        agent: "market/0.1.0".to_owned(),
    }
}

fn place() -> HeadPlace {
    (
        OwnerId::from_bytes([0x33; 32]),
        PublicKey::from_bytes([0x44; 32]),
    )
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let deep = Prefix::of(&RecordId::from_bytes([0xab; 32]), 3);
    let page = PageRequest {
        prefix: deep,
        after: Some(RecordId::from_bytes([0xab; 32])),
    };
    let hashes = vec![ByteArray::new([0x11; 32]), ByteArray::new([0x22; 32])];
    vec![
        ("request-hello", Request::Hello(hello())),
        (
            "request-branches",
            Request::Branches(vec![Prefix::ROOT, deep]),
        ),
        ("request-page", Request::Page(page)),
        ("request-records", Request::Records(ids(2))),
        ("request-holds", Request::Holds(hashes)),
        ("request-heads", Request::Heads(Some(place()))),
    ]
}

pub(crate) fn responses() -> Vec<(&'static str, Response)> {
    let branches = vec![
        branch_of(Prefix::ROOT, &ids(36)),
        branch_of(Prefix::ROOT, &ids(2)),
    ];
    let page = Page {
        envelopes: vec![ByteBuf::from([1, 2, 3]), ByteBuf::from([4])],
        next: Some(RecordId::from_bytes([0xcd; 32])),
    };
    let heads = Heads {
        envelopes: vec![ByteBuf::from([1, 2, 3])],
        next: Some(place()),
    };
    let records = vec![Some(ByteBuf::from([1, 2, 3])), None];
    vec![
        ("response-hello", Response::Hello(hello())),
        ("response-branches", Response::Branches(branches)),
        ("response-page", Response::Page(page)),
        ("response-records", Response::Records(records)),
        ("response-holds", Response::Holds(vec![true, false])),
        ("response-busy", Response::Busy(1500)),
        ("response-heads", Response::Heads(heads)),
    ]
}

pub(crate) fn announcements() -> Vec<(&'static str, Announcement)> {
    let id = RecordId::from_bytes([0xef; 32]);
    vec![
        (
            "announcement-record",
            Announcement::Record(ByteBuf::from([1, 2, 3])),
        ),
        ("announcement-large", Announcement::Large((id, 40_000))),
    ]
}
