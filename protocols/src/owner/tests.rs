//! Rule R1, document by document.
#![allow(clippy::unwrap_used)]

use super::*;

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

const ROOT: u8 = 1;
const THIEF: u8 = 66;

/// A document of `root`, committed to the recovery key with this number, that lets `root` publish everything.
fn document(root: u8, recovery: Option<u8>, mark: Mark) -> Box<NamespaceDocument> {
    Box::new(NamespaceDocument {
        label: "acme".to_owned(),
        recovery: recovery.map(|n| ByteArray::new(commitment(key(n)))),
        mark,
        ..NamespaceDocument::implicit(key(root))
    })
}

fn genesis() -> Verified<Record> {
    let nonce = Mark::Nonce(ByteArray::new([7; 16]));
    let record = Record {
        owner: None,
        seq: 0,
        previous: None,
        time_ms: 0,
        body: Body::Genesis(document(ROOT, Some(101), nonce)),
    };
    record.by(key(ROOT))
}

fn owner() -> OwnerId {
    OwnerId::of_genesis(genesis().id())
}

/// What `signer` puts after `before`: `root` is the new root, `recovery` the new commitment.
fn after(
    before: &Verified<Record>,
    signer: u8,
    root: u8,
    recovery: Option<u8>,
    reason: impl ToString,
) -> Verified<Record> {
    let reason = Mark::Reason(reason.to_string());
    let record = Record {
        owner: Some(owner()),
        seq: before.content().seq + 1,
        previous: Some(before.id()),
        time_ms: 0,
        body: Body::Acl(document(root, recovery, reason)),
    };
    record.by(key(signer))
}

fn documents<'a>(all: impl IntoIterator<Item = &'a Verified<Record>>) -> Documents {
    let mut documents = Documents::none(NetworkId::main(), owner());
    for record in all {
        assert_eq!(documents.offer(record), Offered::New);
    }
    documents
}

fn active(documents: &Documents) -> Option<RecordId> {
    match documents.standing() {
        Standing::Active(id, _) => Some(id),
        _ => None,
    }
}

#[test]
fn an_owner_is_one_key_in_one_network() {
    let id = OwnerId::of_key(NetworkId::main(), key(1));
    assert_eq!(id, OwnerId::of_key(NetworkId::main(), key(1)));
    assert_ne!(id, OwnerId::of_key(NetworkId::main(), key(2)));
    assert_ne!(id, OwnerId::of_key(NetworkId::named("test"), key(1)));
}

#[test]
fn the_root_may_replace_itself_and_the_new_one_goes_on() {
    let genesis = genesis();
    let second = after(&genesis, ROOT, 2, Some(101), "");
    let third = after(&second, 2, 3, Some(101), "");
    let documents = documents([&genesis, &second, &third]);
    assert_eq!(active(&documents), Some(third.id()));
    assert_eq!(documents.next(key(3)), Ok((third.id(), 3)));
    assert!(documents.next(key(2)).is_err());
    // The recovery key goes on where the epoch began, whatever the roots did since.
    assert_eq!(documents.next(key(101)), Ok((genesis.id(), 1)));
    assert!(documents.contradiction().is_empty());
}

#[test]
fn two_documents_after_one_freeze_until_the_recovery_key_speaks() {
    let genesis = genesis();
    let second = after(&genesis, ROOT, 2, Some(101), "");
    let third = after(&second, 2, 3, Some(101), "");
    let late = after(&genesis, ROOT, THIEF, Some(101), "");
    let mut documents = documents([&genesis, &second, &third, &late]);
    assert_eq!(documents.standing(), Standing::Frozen(genesis.id()));
    let both = BTreeSet::from([second.id(), late.id()]);
    assert_eq!(
        documents.contradiction(),
        both.into_iter().collect::<Vec<_>>()
    );
    assert!(documents.next(key(3)).is_err());
    let recovery = after(&genesis, 101, 9, Some(102), "");
    assert_eq!(documents.offer(&recovery), Offered::New);
    assert_eq!(active(&documents), Some(recovery.id()));
    assert_eq!(documents.next(key(9)), Ok((recovery.id(), 2)));
    assert_eq!(documents.next(key(102)), Ok((recovery.id(), 2)));
    assert!(documents.next(key(101)).is_err());
}

#[test]
fn a_recovery_key_that_is_used_twice_kills() {
    let genesis = genesis();
    let one = after(&genesis, 101, 9, Some(102), "");
    let other = after(&genesis, 101, THIEF, Some(103), "");
    let mut documents = documents([&genesis, &one, &other]);
    assert_eq!(documents.standing(), Standing::Dead(genesis.id()));
    assert_eq!(documents.contradiction().len(), 2);
    for n in [ROOT, 9, 101, 102, THIEF] {
        assert!(documents.next(key(n)).is_err(), "{n}");
    }
    // A third one would say nothing new.
    let third = after(&genesis, 101, 9, Some(104), "");
    assert_eq!(documents.offer(&third), Offered::Superfluous);
    assert_eq!(documents.offer(&one), Offered::Known);
}

#[test]
fn what_no_rule_allows_is_wrong() {
    let genesis = genesis();
    let second = after(&genesis, ROOT, 2, Some(101), "");
    let mut documents = documents([&genesis, &second]);
    let far = Record {
        seq: 3,
        ..after(&second, 2, 3, Some(101), "").content().clone()
    };
    let first = Record {
        previous: Some(RecordId::from_bytes([5; 32])),
        ..far.clone()
    };
    let elsewhere = Record {
        owner: Some(OwnerId::from_bytes([5; 32])),
        ..after(&second, 2, 3, Some(101), "").content().clone()
    };
    let nonce = Mark::Nonce(ByteArray::new([8; 16]));
    let other_genesis = Record {
        body: Body::Genesis(document(ROOT, None, nonce)),
        ..genesis.content().clone()
    };
    let wrong = [
        after(&second, ROOT, 3, Some(101), "a former root"),
        after(&second, 2, 2, Some(102), "another commitment of the root"),
        after(&second, 2, 2, None, "no commitment any more"),
        after(&second, 101, 9, Some(102), "recovery in the middle"),
        after(&genesis, 101, 9, Some(101), "recovery by the same key"),
        after(&genesis, THIEF, THIEF, Some(101), ""),
        far.by(key(2)),
        elsewhere.by(key(2)),
        other_genesis.by(key(ROOT)),
    ];
    for record in &wrong {
        let offered = documents.offer(record);
        assert!(matches!(offered, Offered::Wrong(_)), "{record:?}");
    }
    let why = |offered| match offered {
        Offered::Wrong(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(documents.offer(&wrong[0])).starts_with("its signer is neither the root"));
    assert!(why(documents.offer(&wrong[1])).starts_with("the root may not change"));
    assert_eq!(documents.offer(&first.by(key(2))), Offered::Waits);
    assert_eq!(active(&documents), Some(second.id()));
    assert_eq!(documents.len(), 2);
}

#[test]
fn a_key_that_is_root_and_recovery_may_do_both() {
    let genesis = genesis();
    let second = after(&genesis, 101, 5, Some(5), "");
    let as_root = after(&second, 5, 6, Some(5), "");
    let as_recovery = after(&second, 5, 7, None, "");
    let documents = documents([&genesis, &second, &as_root, &as_recovery]);
    assert_eq!(active(&documents), Some(as_recovery.id()));
}

#[test]
fn a_bare_key_founds_its_namespace_by_its_first_record_and_can_never_commit_to_a_recovery() {
    let owner = OwnerId::of_key(NetworkId::main(), key(1));
    let mut documents = Documents::none(NetworkId::main(), owner);
    assert_eq!(documents.standing(), Standing::Unknown);
    assert!(documents.is_empty());
    assert!(!documents.admit(key(2)));
    let acl = |seq, previous, signer, root, recovery| {
        let record = Record {
            owner: Some(owner),
            seq,
            previous: Some(previous),
            time_ms: 0,
            body: Body::Acl(document(root, recovery, Mark::Reason(String::new()))),
        };
        record.by(key(signer))
    };
    let founding = RecordId::from_bytes(*owner.as_bytes());
    let first = acl(1, founding, 1, 2, None);
    let second = acl(2, first.id(), 2, 3, None);
    assert_eq!(documents.offer(&second), Offered::Waits);
    assert_eq!(documents.offer(&first), Offered::New);
    assert_eq!(documents.offer(&second), Offered::New);
    assert_eq!(active(&documents), Some(second.id()));
    let commits = acl(1, founding, 1, 1, Some(101));
    assert!(matches!(documents.offer(&commits), Offered::Wrong(_)));
    for (n, named) in [(1, true), (2, true), (3, true), (4, false)] {
        assert_eq!(documents.admit(key(n)), named, "{n}");
    }
}

#[test]
fn a_document_names_its_root_publishers_and_retired_keys() {
    let mut document = NamespaceDocument::implicit(key(1));
    document.publishers = vec![(key(2), vec!["b".to_owned(), "c-d".to_owned()])];
    document.retired = vec![(key(3), RecordId::from_bytes([0; 32]))];
    assert!(document.keys().eq([key(1), key(2), key(3)]));
    let grants = |n, name: Option<&str>| {
        let name: Option<CanonicalName> = name.map(|name| name.parse().unwrap());
        document.grants(key(n), name.as_ref())
    };
    assert!(grants(2, Some("b")) && grants(2, Some("C_d")));
    assert!(!grants(2, Some("bb")) && !grants(2, None));
    assert!(!grants(1, Some("b")) && !grants(3, Some("b")));
}

/// Nodes that were flooded in opposite orders agree: what decides is held beyond the bound.
#[test]
fn a_flood_of_documents_changes_nothing_of_what_holds() {
    let genesis = genesis();
    let count = limits::DOCUMENTS_PER_EPOCH_MAX;
    let flood: Vec<_> = (0..count + 8)
        .map(|n| after(&genesis, ROOT, THIEF, Some(101), n))
        .collect();
    let mut row = vec![after(&genesis, ROOT, ROOT, Some(101), "row")];
    for n in 1..count {
        row.push(after(&row[n - 1], ROOT, ROOT, Some(101), n));
    }
    let long = after(&row[count - 1], ROOT, ROOT, Some(101), "too long");
    let late = after(&row[9], ROOT, THIEF, Some(101), "late");
    let mut first_row = documents([&genesis]);
    for record in &row {
        assert_eq!(first_row.offer(record), Offered::New);
    }
    assert_eq!(active(&first_row), Some(row[count - 1].id()));
    assert!(matches!(first_row.offer(&long), Offered::Wrong(_)));
    // The bound is reached, and yet a contradiction is taken; a third document at that place is not.
    assert_eq!(first_row.offer(&late), Offered::New);
    assert_eq!(first_row.standing(), Standing::Frozen(row[9].id()));
    let third = after(&row[9], ROOT, THIEF, Some(101), "third");
    assert_eq!(first_row.offer(&third), Offered::Superfluous);
    let below = after(&row[20], ROOT, THIEF, Some(101), "below");
    assert_eq!(first_row.offer(&below), Offered::Superfluous);

    let mut first_flood = documents([&genesis]);
    let taken = |offered: &&Verified<Record>| first_flood.offer(offered) == Offered::New;
    assert_eq!(flood.iter().filter(taken).count(), count);
    assert_eq!(first_flood.offer(&row[0]), Offered::Superfluous);
    for record in &flood {
        first_row.offer(record);
    }
    assert_eq!(first_flood.standing(), first_row.standing());
    assert_eq!(first_flood.standing(), Standing::Frozen(genesis.id()));
    assert!(first_row.len() <= 3 * count);
    let recovery = after(&genesis, 101, 9, Some(102), "");
    for documents in [&mut first_flood, &mut first_row] {
        assert_eq!(documents.offer(&recovery), Offered::New);
        assert_eq!(active(documents), Some(recovery.id()));
    }
}

#[test]
fn recoveries_have_an_end() {
    let mut last = genesis();
    let mut documents = documents([&last]);
    let (mut signer, mut next) = (101, 102);
    for n in 0..limits::RECOVERIES_MAX {
        last = after(&last, signer, 9, Some(next), n);
        assert_eq!(documents.offer(&last), Offered::New, "{n}");
        (signer, next) = (next, signer);
    }
    assert_eq!(active(&documents), Some(last.id()));
    let beyond = after(&last, signer, 9, Some(next), "beyond");
    assert!(matches!(documents.offer(&beyond), Offered::Wrong(_)));
    let root = after(&last, 9, 9, Some(signer), "the root goes on");
    assert_eq!(documents.offer(&root), Offered::New);
}

#[test]
fn a_document_stays_sorted_and_a_key_stands_in_it_once() {
    let mut document = NamespaceDocument::implicit(key(5));
    let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    document.let_publish(key(1), names(&["b", "a", "b"]));
    document.let_publish(key(1), names(&["c"]));
    let mut publishers = vec![(key(1), names(&["c"])), (key(5), names(&["*"]))];
    publishers.sort();
    assert_eq!(document.publishers, publishers);
}

#[test]
fn a_retired_key_keeps_its_records_and_a_forgotten_one_does_not() {
    let record = |number| RecordId::from_bytes([number; 32]);
    let mut document = NamespaceDocument::implicit(key(5));
    document.retire(key(5), Some(record(2)));
    document.retire(key(5), Some(record(1)));
    assert_eq!(document.retired, [(key(5), record(1)), (key(5), record(2))]);
    assert!(document.publishers.is_empty());
    document.forget(key(5));
    assert!(document.retired.is_empty());
}
