//! One door, and what is not let through it.
#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU64, Ordering};

use ggen_protocols::owner::{Mark, NamespaceDocument, SCOPE_ALL};
use ggen_protocols::record::Head;
use serde_bytes::ByteBuf;

use super::*;
use crate::crypto::PrivateKey;
use crate::registry::local::OpenOptions;
use crate::testing::cluster::author;
use crate::testing::memory::MemoryRegistry;
use crate::testing::registry::Author;

fn door(clock: fn() -> u64) -> Door {
    let catalogue = MemoryRegistry::new(OpenOptions::default());
    Door::new(Arc::new(catalogue), clock)
}

fn announced(envelope: &[u8]) -> Vec<u8> {
    Announcement::Record(ByteBuf::from(envelope.to_vec())).encode()
}

async fn judged(door: &Door, messages: &[Vec<u8>]) -> Vec<Judgement> {
    let answers = door.gossiped(messages).await.unwrap();
    let judgement = |answer| match answer {
        Gossiped::Judged(judgement) => judgement,
        Gossiped::Large(id) => panic!("{id} is not large"),
    };
    answers.into_iter().map(judgement).collect()
}

async fn verified(door: &Door, record: &Verified<Record>) -> Result<Verified<Record>, Refusal> {
    door.verify(record.envelope().clone()).await.unwrap()
}

async fn count(door: &Door) -> u64 {
    door.catalogue.totals().await.unwrap().records
}

#[tokio::test]
async fn a_new_record_is_passed_on_once() {
    let door = door(system_clock);
    let message = announced(author(1).publish("demo@1.0.0", "x").envelope());
    let twice = [message.clone(), message.clone()];
    let [Judgement::Accept, Judgement::Ignore] = judged(&door, &twice).await[..] else {
        panic!("new once, known then");
    };
    assert_eq!(judged(&door, &[message]).await, [Judgement::Ignore]);
    assert_eq!(count(&door).await, 1);
}

#[tokio::test]
async fn no_flipped_bit_gets_through_and_all_are_held_against_the_sender() {
    let door = door(system_clock);
    let valid = author(1).publish("demo@1.0.0", "x").envelope().to_vec();
    let mut messages = Vec::new();
    for bit in 0..valid.len() * 8 {
        let mut envelope = valid.clone();
        envelope[bit / 8] ^= 1 << (bit % 8);
        messages.push(announced(&envelope));
    }
    let judgements = judged(&door, &messages).await;
    for (bit, judgement) in judgements.into_iter().enumerate() {
        // The version's byte says that the envelope is of a version to come, which blames nobody.
        let version = bit / 8 == 1;
        let expected = [Judgement::Reject, Judgement::Ignore];
        assert!(
            judgement == expected[0] || version && judgement == expected[1],
            "bit {bit}"
        );
    }
    assert_eq!(count(&door).await, 0);
}

#[tokio::test]
async fn a_forged_copy_does_not_keep_the_true_one_out() {
    let door = door(system_clock);
    let valid = author(1).publish("demo@1.0.0", "x").envelope().to_vec();
    let mut forged = valid.clone();
    let end = forged.len() - 1;
    forged[end] ^= 1;
    let both = [announced(&forged), announced(&valid)];
    let [Judgement::Reject, Judgement::Accept] = judged(&door, &both).await[..] else {
        panic!("the copies have one id and are two messages");
    };
}

#[tokio::test]
async fn an_old_record_is_stored_and_not_passed_on() {
    let door = door(system_clock);
    let message = announced(Author::new(1).publish("demo@1.0.0", "x").envelope());
    assert_eq!(judged(&door, &[message]).await, [Judgement::Ignore]);
    assert_eq!(count(&door).await, 1);
}

#[tokio::test]
async fn a_record_from_the_future_waits_and_blames_nobody() {
    static NOW_MS: AtomicU64 = AtomicU64::new(1_000_000);
    let door = door(|| NOW_MS.load(Ordering::Relaxed));
    let mut alice = Author::new(1);
    alice.time_ms = 1_000_000 + 600_001;
    let record = alice.publish("demo@1.0.0", "x");
    let message = [announced(record.envelope())];
    assert_eq!(judged(&door, &message).await, [Judgement::Ignore]);
    let expected = Expected::Exactly(vec![record.id()]);
    let envelopes = vec![record.envelope().clone()];
    let taken = door.reconciled(envelopes.clone(), expected.clone()).await;
    assert_eq!(taken.unwrap(), Ok(Taken::default()));
    assert_eq!(count(&door).await, 0);

    NOW_MS.fetch_add(1, Ordering::Relaxed);
    let taken = door.reconciled(envelopes, expected).await.unwrap();
    assert_eq!(taken, Ok(Taken { new: 1, refused: 0 }));
}

#[tokio::test]
async fn bytes_that_are_no_announcement_are_refused() {
    let door = door(system_clock);
    let mut long = author(1).publish("demo@1.0.0", "x").envelope().to_vec();
    long.resize(ggen_protocols::limits::GOSSIP_ENVELOPE_BYTES_MAX + 1, 0);
    for wrong in [vec![], vec![0xff; 100], announced(&long), announced(&[])] {
        assert_eq!(judged(&door, &[wrong]).await, [Judgement::Reject]);
    }
}

#[tokio::test]
async fn a_large_record_is_taken_only_if_it_is_the_one_announced() {
    let door = door(system_clock);
    let mut alice = author(1);
    let (one, other) = (
        alice.publish("demo@1.0.0", "x"),
        alice.publish("demo@2.0.0", "y"),
    );
    let message = Announcement::Large((one.id(), 40_000)).encode();
    let answers = door.gossiped(std::slice::from_ref(&message)).await.unwrap();
    assert!(matches!(answers[..], [Gossiped::Large(id)] if id == one.id()));

    let pulled = async |envelope| door.pulled(one.id(), envelope).await.unwrap();
    assert_eq!(pulled(None).await, Judgement::Ignore);
    let wrong = Some(other.envelope().clone());
    assert_eq!(pulled(wrong).await, Judgement::Reject);
    assert_eq!(count(&door).await, 0);
    assert_eq!(
        pulled(Some(one.envelope().clone())).await,
        Judgement::Accept
    );
    assert_eq!(judged(&door, &[message]).await, [Judgement::Ignore]);
}

#[tokio::test]
async fn answers_keep_the_order_of_many_records() {
    let door = door(system_clock);
    let mut alice = author(1);
    let mut messages = Vec::new();
    for n in 0..200 {
        let mut envelope = alice
            .publish(&format!("demo@{n}.0.0"), "x")
            .envelope()
            .to_vec();
        if n % 3 == 0 {
            let end = envelope.len() - 1;
            envelope[end] ^= 1;
        }
        messages.push(announced(&envelope));
    }
    for (n, judgement) in judged(&door, &messages).await.into_iter().enumerate() {
        let forged = n % 3 == 0;
        assert_eq!(judgement == Judgement::Reject, forged, "{n}");
        assert_eq!(judgement == Judgement::Accept, !forged, "{n}");
    }
}

#[tokio::test]
async fn what_a_user_signs_is_refused_with_the_reason() {
    let door = door(system_clock);
    let mut alice = author(1);
    let bob = author(2);
    let body = alice.publish("demo@1.0.0", "x").content().body.clone();
    let foreign = alice.write_in(bob.owner(), body);
    let error = verified(&door, &foreign).await.unwrap_err();
    assert!(matches!(error, Refusal::Unauthorised { .. }), "{error}");
    let mut late = author(3);
    late.time_ms += 3_600_000;
    let late = late.publish("demo@1.0.0", "x");
    let error = verified(&door, &late).await.unwrap_err();
    assert!(matches!(error, Refusal::FutureDated { .. }), "{error}");
    let good = author(4).publish("demo@1.0.0", "x");
    assert_eq!(verified(&door, &good).await.unwrap().id(), good.id());
}

/// The acl record by which the bare key number 1 lets number 2 publish everything.
fn delegation() -> Bytes {
    let [root, delegate] = [1, 2].map(|number| PrivateKey::from_seed([number; 32]));
    let owner = OwnerId::of_key(NetworkId::main(), root.public());
    let mut document = NamespaceDocument::implicit(root.public());
    document
        .publishers
        .push((delegate.public(), vec![SCOPE_ALL.to_owned()]));
    document.publishers.sort();
    document.mark = Mark::Reason("a second publisher".to_owned());
    let record = Record {
        owner: Some(owner),
        seq: 1,
        previous: Some(RecordId::from_bytes(*owner.as_bytes())),
        time_ms: 0,
        body: Body::Acl(Box::new(document)),
    };
    root.seal(record.draft(NetworkId::main(), root.public()).unwrap())
}

#[tokio::test]
async fn a_record_waits_for_the_document_that_names_its_signer() {
    let door = door(system_clock);
    let owner = author(1).owner();
    let mut delegate = author(2);
    let body = author(2).publish("demo@1.0.0", "x").content().body.clone();
    let early = announced(delegate.write_in(owner, body).envelope());
    assert_eq!(
        judged(&door, std::slice::from_ref(&early)).await,
        [Judgement::Ignore]
    );
    assert_eq!(count(&door).await, 0);
    // Documents carry no time, and are passed on all the same.
    let document = announced(&delegation());
    assert_eq!(judged(&door, &[document]).await, [Judgement::Accept]);
    assert_eq!(count(&door).await, 2, "the record was offered again");
    assert_eq!(judged(&door, &[early]).await, [Judgement::Ignore]);
    let owners = door.catalogue.owners_of(&"demo".parse().unwrap()).await;
    assert_eq!(owners.unwrap(), [owner]);
}

#[tokio::test]
async fn a_document_that_fits_nowhere_is_held_against_its_sender() {
    let door = door(system_clock);
    assert_eq!(
        judged(&door, &[announced(&delegation())]).await,
        [Judgement::Accept]
    );
    // Signed by the delegate, who may not change who may publish.
    let signed = Signed::from_envelope(delegation()).unwrap();
    let record = signed.trust_stored(NetworkId::main()).unwrap();
    let mallory = PrivateKey::from_seed([2; 32]);
    let draft = record.content().draft(NetworkId::main(), mallory.public());
    let forged = announced(&mallory.seal(draft.unwrap()));
    assert_eq!(judged(&door, &[forged]).await, [Judgement::Reject]);
    assert_eq!(count(&door).await, 1);
}

/// A head of the namespace of the bare key number 1, signed by the key with this number.
fn head(signer: u8, time_ms: u64, last: &Verified<Record>) -> Bytes {
    head_of(author(1).owner(), signer, time_ms, last)
}

fn head_of(subject: OwnerId, signer: u8, time_ms: u64, last: &Verified<Record>) -> Bytes {
    let key = PrivateKey::from_seed([signer; 32]);
    let head = Head {
        subject,
        acl: RecordId::from_bytes(*subject.as_bytes()),
        feeds: vec![(last.key(), last.content().seq, last.id())],
    };
    let record = Record {
        owner: None,
        seq: 0,
        previous: None,
        time_ms,
        body: Body::Head(Box::new(head)),
    };
    key.seal(record.draft(NetworkId::main(), key.public()).unwrap())
}

#[tokio::test]
async fn a_head_tells_what_is_missing_and_is_no_part_of_the_set() {
    let door = door(system_clock);
    let mut alice = author(1);
    let first = alice.publish("demo@1.0.0", "1");
    let second = alice.publish("demo@1.1.0", "2");
    judged(&door, &[announced(first.envelope())]).await;
    let root = door.catalogue.root().await.unwrap();
    let now = system_clock();
    let unheard = author(3).witness().envelope().clone();
    assert_eq!(
        judged(&door, &[announced(&unheard)]).await,
        [Judgement::Ignore]
    );
    let newest = announced(&head(1, now, &second));
    let heads = [
        (announced(&head(1, now - 1000, &second)), Judgement::Accept),
        (newest.clone(), Judgement::Accept),
        (newest, Judgement::Ignore),
        (announced(&head(1, now - 2000, &first)), Judgement::Ignore),
        (announced(&head(2, now, &first)), Judgement::Ignore),
        (
            announced(&head(1, now + 3_600_000, &first)),
            Judgement::Ignore,
        ),
    ];
    for (at, (message, expected)) in heads.into_iter().enumerate() {
        assert_eq!(judged(&door, &[message]).await, [expected], "{at}");
    }
    assert_eq!(door.catalogue.root().await.unwrap(), root);
    let sights = door.catalogue.sights(alice.owner()).await.unwrap();
    assert_eq!(sights.len(), 1);
    assert_eq!((sights[0].witness, sights[0].missing), (alice.key(), 1));
    judged(&door, &[announced(second.envelope())]).await;
    let sights = door.catalogue.sights(alice.owner()).await.unwrap();
    assert_eq!(sights[0].missing, 0);
}

#[tokio::test]
async fn an_old_head_says_nothing() {
    let door = door(system_clock);
    let first = author(1).publish("demo@1.0.0", "1");
    let week_ms = 7 * 24 * 3_600_000;
    let old = head(1, system_clock() - week_ms - 60_000, &first);
    judged(&door, &[announced(&old)]).await;
    assert_eq!(door.catalogue.sights(author(1).owner()).await.unwrap(), []);
}

#[tokio::test]
async fn a_head_waits_for_the_documents_of_its_namespace() {
    let door = door(system_clock);
    let acme = author(1);
    let genesis = acme.found("acme", None);
    let owner = genesis.namespace().unwrap();
    let release = author(1).publish_in(owner, "demo@1.0.0", "x");
    let early = announced(&head_of(owner, 1, system_clock(), &release));
    let foreign = announced(&head_of(owner, 2, system_clock(), &release));
    assert_eq!(
        judged(&door, &[early.clone(), foreign]).await,
        [Judgement::Ignore, Judgement::Ignore]
    );
    assert_eq!(door.catalogue.sights(owner).await.unwrap(), []);
    judged(&door, &[announced(genesis.envelope())]).await;
    let sights = door.catalogue.sights(owner).await.unwrap();
    let [sight] = &sights[..] else {
        panic!("only the word of its root counts: {sights:?}");
    };
    assert_eq!((sight.witness, sight.missing), (acme.key(), 1));
    assert_eq!(judged(&door, &[early]).await, [Judgement::Ignore]);
}
