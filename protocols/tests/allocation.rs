//! What hostile bytes cost in memory before they are refused. All allocations are counted, freed ones too.
#![allow(clippy::unwrap_used)]
#![allow(
    unsafe_code,
    reason = "counting what is allocated takes a global allocator"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ggen_protocols::cbor;
use ggen_protocols::id::{NetworkId, PublicKey};
use ggen_protocols::limits;
use ggen_protocols::message::{Announcement, Request, Response};
use ggen_protocols::owner::{KIND_ACL, KIND_GENESIS};
use ggen_protocols::record::{
    CheckSignature, KIND_HEAD, KIND_PUBLISH, KIND_STATE, Refusal, Signed,
};
use ggen_protocols::trust::KIND_ENDORSE;
use serde_bytes::{ByteArray, ByteBuf};

struct Counting;

thread_local! {
    /// Bytes that this thread has asked for so far.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` gives, and how many bytes it allocated.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let result = work();
    (result, ASKED.get() - before)
}

struct Always(bool);

impl CheckSignature for Always {
    fn check(&self, _: &PublicKey, _: &[u8], _: &[u8; 64]) -> bool {
        self.0
    }
}

fn envelope(payload: &[u8]) -> Bytes {
    let key = ByteArray::new([7; 32]);
    cbor::encode(&(1u64, key, ByteBuf::from(payload), ByteArray::new([9; 64]))).into()
}

fn verify(envelope: Bytes, signed: bool) -> Result<(), Refusal> {
    let signed_by = Signed::from_envelope(envelope)?;
    signed_by
        .verify(&Always(signed), NetworkId::main())
        .map(drop)
}

/// Lists of `item`, as long as a list may be, in a list that fills `size` bytes.
fn lists(item: &[u8], size: usize) -> Vec<u8> {
    let count = limits::ARRAY_ITEMS_MAX;
    let one = [
        &[0x99, (count >> 8) as u8, count as u8][..],
        &item.repeat(count),
    ]
    .concat();
    let lists = (size / one.len()).max(1);
    [
        &[0x98, u8::try_from(lists).unwrap()][..],
        &one.repeat(lists),
    ]
    .concat()
}

/// Bodies that say much in few bytes, for the place of the body or of one of its lists.
fn hostile(size: usize) -> Vec<Vec<u8>> {
    vec![
        vec![0x9b, 0, 0, 0, 1, 0, 0, 0, 0],
        vec![0x99, 0x10, 0x00],
        vec![0x7b, 0, 0, 0, 1, 0, 0, 0, 0],
        vec![0x5a, 0xff, 0xff, 0xff, 0xff],
        vec![0x81; size],
        vec![0x9f; size],
        lists(&[0xf6], size),
        lists(&[0x60], size),
        lists(&[0x80], size),
        lists(&[0x82, 0x60, 0x80], size),
        lists(&[0x82, 0x61, b'a', 0x81, 0x60], size),
    ]
}

/// Payloads with something hostile in each place.
fn payloads() -> Vec<Vec<u8>> {
    let size = limits::PAYLOAD_BYTES_MAX - 200;
    let owner = [&[0x58, 0x20][..], &[5; 32]].concat();
    let mut all = hostile(size);
    // Documents: their head, and their start up to the publishers, then up to the retired keys.
    let label = [&[0x86, 0x60][..], &owner, &[0xf6]].concat();
    for head in [
        [&[0x86, KIND_GENESIS as u8][..], &[0xf6, 0x00, 0xf6, 0x00]].concat(),
        [
            &[0x86, KIND_ACL as u8][..],
            &owner,
            &[0x01],
            &owner,
            &[0x00],
        ]
        .concat(),
    ] {
        for body in hostile(size) {
            all.push([&head[..], &body].concat());
            all.push([&head[..], &label, &body].concat());
            all.push([&head[..], &label, &[0x80], &body].concat());
            all.push([&head[..], &label, &[0x80, 0x80], &body].concat());
            // A publisher with many scopes.
            all.push([&head[..], &label, &[0x81, 0x82], &owner, &body].concat());
        }
        // Publishers that have as many empty scopes as a list can hold: the most memory for a byte.
        let publisher = [&[0x82][..], &owner, &lists(&[0x60], 0)[2..]].concat();
        let count = size / publisher.len();
        let publishers = [&[0x98, count as u8][..], &publisher.repeat(count)].concat();
        all.push([&head[..], &label, &publishers, &[0x80, 0x60]].concat());
    }
    // Heads: up to the feeds.
    let head = [
        &[0x86, KIND_HEAD as u8, 0xf6, 0x00, 0xf6, 0x00, 0x83][..],
        &owner,
        &owner,
    ]
    .concat();
    for body in hostile(size) {
        all.push([&head[..6], &body].concat());
        all.push([&head[..], &body].concat());
    }
    for kind in [KIND_PUBLISH, KIND_STATE, KIND_ENDORSE, 23] {
        let head = [&[0x86, kind as u8][..], &owner, &[0x01, 0xf6, 0x00]].concat();
        for body in hostile(size) {
            all.push([&head[..], &body].concat());
            // The start of a publish body up to its dependencies, then up to its features.
            let body_head = [
                &[0x92, 0x61, b'a', 0x65][..],
                b"1.0.0",
                &[0x00, 0xf6, 0xf6, 0xf6],
            ]
            .concat();
            all.push([&head[..], &body_head, &body].concat());
            all.push([&head[..], &body_head, &[0x80], &body].concat());
            let rest = [
                0x60, 0x80, 0x60, 0x83, 0xf6, 0xf6, 0xf6, 0x80, 0x80, 0xf6, 0xf6, 0xf6, 0xf6,
            ];
            all.push([&head[..], &body_head, &[0x80], &body, &rest].concat());
            all.push([&head[..], &body_head, &body, &[0x80], &rest].concat());
        }
    }
    all.retain(|payload| payload.len() <= limits::PAYLOAD_BYTES_MAX);
    all
}

#[test]
fn what_is_not_signed_costs_one_copy_of_its_bytes() {
    for payload in payloads() {
        let envelope = envelope(&payload);
        let size = envelope.len();
        let (result, cost) = counted(|| verify(envelope, false));
        assert_eq!(result, Err(Refusal::Signature));
        assert!(cost <= size + 100, "{cost} bytes for an envelope of {size}");
    }
}

#[test]
fn what_is_no_envelope_costs_nothing_but_the_error() {
    for bytes in hostile(limits::ENVELOPE_BYTES_MAX) {
        let (result, cost) = counted(|| verify(Bytes::from_owner(bytes), false));
        assert!(matches!(result, Err(Refusal::Envelope(_))), "{result:?}");
        assert!(cost <= 500, "{cost} bytes");
    }
}

/// A signer can be hostile, too, and pays for its signature. A list's item of one byte can be a text of 24
/// bytes in memory, and lists of them are the most that a byte can become.
#[test]
fn what_is_signed_and_refused_costs_a_small_multiple_of_its_bytes() {
    let mut most: f64 = 0.0;
    for payload in payloads() {
        let envelope = envelope(&payload);
        let size = envelope.len();
        let (result, cost) = counted(|| verify(envelope, true));
        let refusal = result.expect_err("hostile");
        assert!(
            cost <= 32 * size + 2000,
            "{cost} bytes for {size}: {refusal}"
        );
        most = most.max(cost as f64 / size as f64);
    }
    assert!(
        most > 2.0,
        "the payloads are not hostile enough to show anything: {most}"
    );
}

#[test]
fn refused_messages_cost_a_small_multiple_of_their_bytes() {
    let size = 700_000;
    for number in 1..=6 {
        for body in hostile(size) {
            let bytes = [&[0x82, number][..], &body].concat();
            let short = &bytes[..bytes.len().min(60_000)];
            for (refused, cost, size) in [
                {
                    let (result, cost) = counted(|| Response::decode(&bytes).is_err());
                    (result, cost, bytes.len())
                },
                {
                    let (result, cost) = counted(|| Request::decode(short).is_err());
                    (result, cost, short.len())
                },
                {
                    let (result, cost) = counted(|| Announcement::decode(short).is_err());
                    (result, cost, short.len())
                },
            ] {
                assert!(refused, "number {number}");
                assert!(cost <= 32 * size + 2000, "{cost} bytes for {size}");
            }
        }
    }
}
