//! How each refused vector is made from a good record. What is expected of it stands in `vectors/refused.json`.

use ggen_protocols::cbor;
use ggen_protocols::id::{NetworkId, PublicKey, RecordId};
use ggen_protocols::record::{Body, Publish, PublishDependency, Record, SourceWire, State};
use serde_bytes::{ByteArray, ByteBuf};

use super::records::{dependency, first, full, key, least, network, yank};

/// Signs `payload` with the golden key for a network, and gives key and signature.
pub(crate) type Sign<'a> = &'a dyn Fn(NetworkId, &[u8]) -> [u8; 64];

/// The envelope with these parts, whether or not they belong together.
pub(crate) fn envelope(key: PublicKey, payload: &[u8], signature: [u8; 64]) -> Vec<u8> {
    let parts = (
        1u64,
        ByteArray::new(*key.as_bytes()),
        ByteBuf::from(payload),
        ByteArray::new(signature),
    );
    cbor::encode(&parts)
}

/// All refused envelopes, by the names of their files.
pub(crate) fn refused(sign: Sign<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let sealed = |payload: Vec<u8>| envelope(key(), &payload, sign(network(), &payload));
    let mut all = envelopes(sign);
    all.extend(signatures(sign));
    let payloads = encodings().into_iter().chain(grammar()).chain(unknown());
    for (name, payload) in payloads.chain(super::refused_documents::refused()) {
        all.push((name, sealed(payload)));
    }
    all
}

/// Replaces the first place where `from` stands.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn good() -> Vec<u8> {
    cbor::encode(&first(Body::Publish(Box::new(least()))))
}

fn envelopes(sign: Sign<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let payload = good();
    let whole = envelope(key(), &payload, sign(network(), &payload));
    let length = u8::try_from(payload.len()).unwrap();
    let end = whole.len() - 1;
    vec![
        ("envelope-trailing-byte", [&whole[..], &[0]].concat()),
        ("envelope-truncated", whole[..end].to_vec()),
        (
            "envelope-extra-item",
            [&[0x85], &whole[1..], &[0xf6]].concat(),
        ),
        (
            "envelope-indefinite",
            [&[0x9f], &whole[1..], &[0xff]].concat(),
        ),
        (
            "envelope-long-length",
            patched(&whole, &[0x58, length], &[0x59, 0, length]),
        ),
        (
            "envelope-short-key",
            patched(&whole, &[0x58, 0x20, 0xd7], &[0x58, 0x1f]),
        ),
        ("envelope-map", [&[0xa2], &whole[1..]].concat()),
        ("envelope-empty", Vec::new()),
        ("envelope-version-2", [&[0x84, 0x02], &whole[2..]].concat()),
        ("envelope-version-1000", vec![0x82, 0x19, 0x03, 0xe8, 0xa0]),
    ]
}

fn signatures(sign: Sign<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let payload = good();
    let signature = sign(network(), &payload);
    let mut flipped = signature;
    flipped[0] ^= 1;
    // The order of the group, added to S: the same signature to whoever does not demand the least S.
    let order = b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
    let mut malleable = signature;
    let mut carry = 0;
    for (byte, more) in malleable[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(*more) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    // The neutral element as key and as R with S = 0 satisfies the equation for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut for_all = [0; 64];
    for_all[0] = 1;
    let mut other_key = *key().as_bytes();
    other_key[31] ^= 0x80;
    let with = |signature| envelope(key(), &payload, signature);
    let elsewhere = NetworkId::named("test");
    vec![
        ("signature-bit", with(flipped)),
        ("signature-malleable", with(malleable)),
        ("signature-other-network", with(sign(elsewhere, &payload))),
        ("signature-other-payload", with(sign(network(), b""))),
        (
            "signature-other-key",
            envelope(PublicKey::from_bytes(other_key), &payload, signature),
        ),
        (
            "signature-small-order-key",
            envelope(PublicKey::from_bytes(neutral), &payload, for_all),
        ),
    ]
}

/// Payloads of the right meaning in the wrong bytes.
fn encodings() -> Vec<(&'static str, Vec<u8>)> {
    let good = good();
    let owner = &good[2..36];
    let spread: Vec<u8> = owner[2..].iter().flat_map(cbor::encode).collect();
    let mut late = first(Body::Publish(Box::new(least())));
    late.time_ms = 1 << 53;
    let claim = [0x9b, 0, 0, 0, 1, 0, 0, 0, 0];
    let end = good.len() - 1;
    vec![
        (
            "payload-long-integer",
            patched(&good, &[0x86, 0x03], &[0x86, 0x18, 0x03]),
        ),
        (
            "payload-indefinite-array",
            [&[0x9f], &good[1..], &[0xff]].concat(),
        ),
        (
            "payload-indefinite-text",
            patched(&good, b"\x65least", b"\x7f\x65least\xff"),
        ),
        ("payload-trailing-byte", [&good[..], &[0]].concat()),
        (
            "payload-extra-item",
            [&[0x87], &good[1..], &[0xf6]].concat(),
        ),
        ("payload-missing-item", [&[0x85], &good[1..end]].concat()),
        ("payload-truncated", good[..end].to_vec()),
        ("payload-empty", Vec::new()),
        ("payload-integer-too-large", cbor::encode(&late)),
        (
            "payload-negative-integer",
            patched(&good, &[0x01, 0xf6], &[0x20, 0xf6]),
        ),
        (
            "payload-float",
            patched(&good, &[0x01, 0xf6], &[0xf9, 0x3c, 0x00, 0xf6]),
        ),
        (
            "payload-tag",
            patched(&good, b"\x65least", b"\xc0\x65least"),
        ),
        (
            "payload-undefined-for-null",
            patched(&good, &[0x01, 0xf6], &[0x01, 0xf7]),
        ),
        (
            "payload-bytes-for-text",
            patched(&good, b"\x65least", b"\x45least"),
        ),
        (
            "payload-not-utf8",
            patched(&good, b"\x65least", b"\x65l\xffast"),
        ),
        (
            "payload-array-for-bytes",
            patched(&good, owner, &[&[0x98, 0x20], &spread[..]].concat()),
        ),
        (
            "payload-claimed-length",
            patched(&good, b"\x650.1.0", &claim),
        ),
    ]
}

type Edit<T> = (&'static str, fn(&mut T));

/// Payloads in the right bytes that break a field's grammar.
fn grammar() -> Vec<(&'static str, Vec<u8>)> {
    let publish: [Edit<Publish>; 21] = [
        ("name-digit-first", |p| p.name = "1x".into()),
        ("name-look-alike", |p| p.name = "serdе".into()),
        ("name-device", |p| p.name = "NUL".into()),
        ("name-long", |p| p.name = "a".repeat(65)),
        ("version-short", |p| p.version = "1.0".into()),
        ("no-hash", |p| (p.blake3, p.sha256) = (None, None)),
        ("dependencies-unsorted", |p| p.dependencies.swap(0, 1)),
        ("dependency-twice", |p| {
            p.dependencies[1] = p.dependencies[0].clone()
        }),
        ("dependency-named-as-itself", |p| {
            p.dependencies[0].rename = Some("bar".into())
        }),
        ("dependency-requirement", |p| {
            p.dependencies[0].requirement = "latest".into()
        }),
        ("dependency-kind", |p| p.dependencies[0].kind = 3),
        ("dependency-registry-file", |p| {
            p.dependencies[0].source = SourceWire::Url("file:///etc".into());
        }),
        ("features-unsorted", |p| p.features.swap(0, 1)),
        ("feature-empty", |p| p.features[0].1[0] = String::new()),
        ("description-bidi", |p| p.description = "a\u{202e}b".into()),
        ("description-zero-width", |p| {
            p.description = "a\u{200b}b".into()
        }),
        ("description-not-nfc", |p| p.description = "e\u{301}".into()),
        ("author-control", |p| p.authors[0] = "a\u{1b}[0m".into()),
        ("link-script", |p| {
            p.links.homepage = Some("javascript:alert(1)".into())
        }),
        ("link-bidi", |p| {
            p.links.homepage = Some("https://a/\u{202e}b".into())
        }),
        ("keyword-space", |p| p.keywords[0] = "a b".into()),
    ];
    let state: [Edit<State>; 4] = [
        ("revision-zero", |s| s.revision = 0),
        ("revision-too-large", |s| s.revision = 1 << 32),
        ("note-bidi", |s| s.note = "\u{2066}".into()),
        ("state-name", |s| s.name = String::new()),
    ];
    let record: [Edit<Record>; 4] = [
        ("owner-missing", |r| r.owner = None),
        ("seq-zero", |r| r.seq = 0),
        ("seq-second-without-previous", |r| r.seq = 2),
        ("seq-first-with-previous", |r| {
            r.previous = Some(RecordId::from_bytes([1; 32]))
        }),
    ];
    let mut all = Vec::new();
    for (name, edit) in publish {
        let mut body = full();
        edit(&mut body);
        all.push((name, cbor::encode(&first(Body::Publish(Box::new(body))))));
    }
    for (name, edit) in state {
        let mut body = yank();
        edit(&mut body);
        all.push((name, cbor::encode(&first(Body::State(body)))));
    }
    for (name, edit) in record {
        let mut record = first(Body::State(yank()));
        edit(&mut record);
        all.push((name, cbor::encode(&record)));
    }
    all.extend(sources());
    all
}

/// Dependencies whose source is none of null, 32 bytes and a text.
fn sources() -> Vec<(&'static str, Vec<u8>)> {
    let mut body = least();
    let marked = SourceWire::Url("https://m/".to_owned());
    body.dependencies = vec![PublishDependency::clone(&dependency("d", marked))];
    let good = cbor::encode(&first(Body::Publish(Box::new(body))));
    let with = |source: &[u8]| patched(&good, b"\x6ahttps://m/", source);
    vec![
        (
            "source-31-bytes",
            with(&[&[0x58, 31][..], &[7; 31]].concat()),
        ),
        ("source-array", with(&[&[0x98, 32][..], &[7; 32]].concat())),
        ("source-integer", with(&[7])),
        ("source-bool", with(&[0xf5])),
    ]
}

/// Records of a kind that nobody knows, whose body may not be sent or not be kept.
fn unknown() -> Vec<(&'static str, Vec<u8>)> {
    let good = good();
    // Kind 1000 instead of 3, and what comes before the body.
    let head = [&[0x86, 0x19, 0x03, 0xe8], &good[2..47]].concat();
    let with = |body: &[u8]| [&head[..], body].concat();
    let mut nested = vec![0x81; 15];
    nested.push(0x80);
    vec![
        ("opaque-map", with(&[0x81, 0xa1, 0x01, 0x02])),
        ("opaque-float", with(&[0x81, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("opaque-tag", with(&[0x81, 0xc1, 0x01])),
        ("opaque-negative", with(&[0x81, 0x20])),
        ("opaque-simple", with(&[0x81, 0xe0])),
        ("opaque-no-array", with(&[0x01])),
        ("opaque-too-deep", with(&nested)),
        (
            "opaque-too-large",
            with(&[&[0x81, 0x59, 0x10, 0x00][..], &[0; 4096]].concat()),
        ),
    ]
}
