//! Documents, endorsements and heads that must be refused. What is expected of them stands in
//! `vectors/refused.json`.

use ggen_protocols::cbor;
use ggen_protocols::owner::{Mark, NamespaceDocument, commitment};
use ggen_protocols::record::{Body, Head, Record};
use ggen_protocols::trust::Endorse;

use super::records::documents::{
    acl, endorse, founding, genesis, head, head_record, later, other, unchained,
};
use super::records::{first, key, owner};

type Edit<T> = (&'static str, fn(&mut T));

/// Payloads of these kinds that break a rule of their own, by the names of their files.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let geneses: [Edit<NamespaceDocument>; 4] = [
        ("genesis-other-signer", |d| d.root = other(0x11)),
        ("genesis-reason", |d| d.mark = Mark::Reason(String::new())),
        ("genesis-implicit", |d| {
            *d = NamespaceDocument::implicit(key())
        }),
        ("document-label", |d| d.label = "Acme".into()),
    ];
    let acls: [Edit<NamespaceDocument>; 9] = [
        ("acl-nonce", |d| d.mark = founding().mark),
        ("reason-bidi", |d| d.mark = Mark::Reason("\u{202e}".into())),
        ("publishers-unsorted", |d| d.publishers.swap(0, 1)),
        ("publisher-twice", |d| {
            d.publishers[0] = d.publishers[1].clone()
        }),
        ("scopes-none", |d| d.publishers[0].1.clear()),
        ("scopes-unsorted", |d| d.publishers[0].1.swap(0, 1)),
        ("scope-not-canonical", |d| {
            d.publishers[0].1[0] = "Bar_x".into()
        }),
        ("retired-unsorted", |d| d.retired.swap(0, 1)),
        ("retired-twice", |d| d.retired[0] = d.retired[1]),
    ];
    let endorsements: [Edit<Endorse>; 5] = [
        ("endorse-level", |e| e.level = 4),
        ("endorse-depth", |e| e.depth = 4),
        ("endorse-revision", |e| e.revision = 0),
        ("endorse-label", |e| e.label = Some("Bob".into())),
        ("endorse-reason", |e| e.reason = "a".repeat(257)),
    ];
    let heads: [Edit<Head>; 3] = [
        ("head-unsorted", |h| h.feeds.swap(0, 1)),
        ("head-twice", |h| h.feeds[0] = h.feeds[1]),
        ("head-place-zero", |h| h.feeds[0].1 = 0),
    ];
    let mut all = Vec::new();
    for (name, edit) in geneses {
        let mut document = founding();
        edit(&mut document);
        let body = Body::Genesis(Box::new(document));
        all.push((name, cbor::encode(&unchained(body))));
    }
    for (name, edit) in acls {
        let mut document = later();
        edit(&mut document);
        let body = Body::Acl(Box::new(document));
        all.push((name, cbor::encode(&Record { body, ..acl() })));
    }
    for (name, edit) in endorsements {
        let mut body = endorse();
        edit(&mut body);
        all.push((name, cbor::encode(&first(Body::Endorse(body)))));
    }
    for (name, edit) in heads {
        let mut body = head();
        edit(&mut body);
        let body = Body::Head(Box::new(body));
        all.push((
            name,
            cbor::encode(&Record {
                body,
                ..head_record()
            }),
        ));
    }
    all.extend(chains());
    all.extend(forms());
    all
}

/// Records that stand where their kind may not.
fn chains() -> Vec<(&'static str, Vec<u8>)> {
    let geneses: [Edit<Record>; 2] = [
        ("genesis-in-namespace", |r| r.owner = Some(owner())),
        ("genesis-time", |r| r.time_ms = 1),
    ];
    let acls: [Edit<Record>; 4] = [
        ("acl-time", |r| r.time_ms = 1),
        ("acl-owner-missing", |r| r.owner = None),
        ("acl-continues-nothing", |r| r.previous = None),
        ("acl-place-zero", |r| r.seq = 0),
    ];
    let heads: [Edit<Record>; 2] = [
        ("head-in-feed", |r| (r.owner, r.seq) = (Some(owner()), 1)),
        ("head-in-namespace", |r| r.owner = Some(owner())),
    ];
    let endorsements: [Edit<Record>; 2] = [
        ("endorse-owner-missing", |r| r.owner = None),
        ("endorse-second-without-previous", |r| r.seq = 2),
    ];
    let mut all = Vec::new();
    for (good, edits) in [
        (genesis(), &geneses[..]),
        (acl(), &acls),
        (head_record(), &heads),
        (first(Body::Endorse(endorse())), &endorsements),
    ] {
        for (name, edit) in edits {
            let mut record = good.clone();
            edit(&mut record);
            all.push((*name, cbor::encode(&record)));
        }
    }
    all
}

/// Bodies with an item of another type.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let patched = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let genesis = cbor::encode(&genesis());
    let acl = cbor::encode(&acl());
    let commitment = &[&[0x58, 0x20][..], &commitment(other(0x66))].concat();
    let nonce = &[&[0x50][..], &[0x77; 16]].concat();
    let reason = b"\x77the old laptop was lost";
    let bytes = |count: u8| [&[0x58, count][..], &vec![0x77; usize::from(count)]].concat();
    vec![
        (
            "recovery-31-bytes",
            patched(&genesis, commitment, &bytes(31)),
        ),
        (
            "recovery-33-bytes",
            patched(&genesis, commitment, &bytes(33)),
        ),
        (
            "nonce-15-bytes",
            patched(&genesis, nonce, &[&[0x4f][..], &[0x77; 15]].concat()),
        ),
        (
            "nonce-17-bytes",
            patched(&genesis, nonce, &[&[0x51][..], &[0x77; 17]].concat()),
        ),
        ("nonce-null", patched(&genesis, nonce, &[0xf6])),
        ("reason-integer", patched(&acl, reason, &[7])),
        ("reason-array", patched(&acl, reason, &[0x80])),
        (
            "head-body-empty",
            patched(
                &cbor::encode(&head_record()),
                &cbor::encode(&head()),
                &[0x80],
            ),
        ),
    ]
}
