//! Records, ids, the tree, the change feed: the catalogue as other nodes see it.

use std::sync::Arc;

use ggen_protocols::id::RecordId;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root, branch_of};
use ggen_protocols::record::{Record, Verified};

use super::{Author, assert_refused, name, with_identity};
use crate::registry::local::OpenOptions;
use crate::registry::{Admission, Catalogue, RegistryError, Release, Verdict};

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    an_empty_catalogue_is_empty(&*make(OpenOptions::default()).await).await;
    a_record_is_admitted_once(&*make(OpenOptions::default()).await).await;
    a_stranger_writes_in_nobodys_namespace(&*make(OpenOptions::default()).await).await;
    state_does_not_depend_on_delivery(make).await;
    the_tree_is_that_of_the_known_ids(&*make(OpenOptions::default()).await).await;
    declined_ids_are_known_and_not_held(make).await;
    changes_are_followed_from_any_position(&*make(OpenOptions::default()).await).await;
    a_fork_is_seen(&*make(OpenOptions::default()).await).await;
    a_verdict_is_local_knowledge(&*make(OpenOptions::default()).await).await;
    the_own_owner_is_the_first(&*make(with_identity()).await);
}

fn all() -> std::ops::RangeInclusive<RecordId> {
    Prefix::ROOT.first()..=Prefix::ROOT.last()
}

fn releases(authors: &mut [Author], count: usize) -> Vec<Verified<Record>> {
    let mut records = Vec::new();
    for at in 0..count {
        let author = &mut authors[at % authors.len()];
        records.push(author.publish(&format!("p{}@1.{at}.0", at % 7), &at.to_string()));
    }
    records
}

async fn an_empty_catalogue_is_empty(catalogue: &dyn Catalogue) {
    assert_eq!(catalogue.root().await.unwrap(), Root::default());
    assert_eq!(catalogue.ids(all(), 10).await.unwrap(), []);
    assert_eq!(catalogue.changes(0, 10).await.unwrap(), []);
    assert_eq!(*catalogue.position().borrow(), 0);
    assert_eq!(
        catalogue.totals().await.unwrap(),
        crate::registry::Totals::default()
    );
    let branches = catalogue.branches(vec![Prefix::ROOT]).await.unwrap();
    assert_eq!(branches, [Branch::Bucket(Vec::new())]);
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
    assert_eq!(catalogue.admit(Vec::new()).await.unwrap(), []);
}

async fn a_record_is_admitted_once(catalogue: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let (first, second) = (alice.publish("a@1.0.0", "1"), alice.publish("a@1.1.0", "2"));
    let offered = vec![first.clone(), second.clone(), first.clone()];
    let answers = catalogue.admit(offered).await.unwrap();
    assert_eq!(answers, [Admission::New, Admission::New, Admission::Known]);
    let answers = catalogue.admit(vec![second.clone()]).await.unwrap();
    assert_eq!(answers, [Admission::Known]);
    let unknown = RecordId::from_bytes([7; 32]);
    let ids = vec![second.id(), unknown, first.id()];
    assert_eq!(
        catalogue.known(ids.clone()).await.unwrap(),
        [true, false, true]
    );
    let held = catalogue.envelopes(ids).await.unwrap();
    let envelope = |record: &Verified<Record>| Some(record.envelope().clone());
    assert_eq!(held, [envelope(&second), None, envelope(&first)]);
    assert_eq!(catalogue.totals().await.unwrap().records, 2);
}

async fn a_stranger_writes_in_nobodys_namespace(catalogue: &dyn Catalogue) {
    let mut mallory = Author::new(6);
    let body = mallory.publish("a@1.0.0", "x").content().body.clone();
    let intruding = mallory.write_in(Author::new(1).owner(), body);
    let answers = catalogue.admit(vec![intruding.clone()]).await.unwrap();
    assert!(
        matches!(answers[..], [Admission::Refused(_)]),
        "{answers:?}"
    );
    assert_eq!(
        catalogue.known(vec![intruding.id()]).await.unwrap(),
        [false]
    );
    assert_eq!(catalogue.root().await.unwrap(), Root::default());
}

async fn state_does_not_depend_on_delivery(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let mut records = vec![
        alice.publish("a@1.0.0", "1"),
        alice.publish("a@1.0.0", "other"),
        alice.yank("a@1.0.0", 1, true),
        bob.publish("a@1.0.0", "1"),
        bob.yank("a@1.0.0", 1, false),
        bob.yank("a@1.0.0", 1, true),
        bob.yank("a@1.0.0", 2, false),
        bob.publish("b@1.0.0", "1"),
    ];
    let forward = make(OpenOptions::default()).await;
    forward.admit(records.clone()).await.unwrap();
    records.reverse();
    let backward = make(OpenOptions::default()).await;
    for group in records.chunks(3) {
        backward.admit(group.to_vec()).await.unwrap();
        backward.admit(records[..2].to_vec()).await.unwrap();
    }
    assert_eq!(
        forward.root().await.unwrap(),
        backward.root().await.unwrap()
    );
    let timeless = |releases: Vec<Release>| -> Vec<Release> {
        let timeless = releases.into_iter().map(|release| Release {
            first_seen: chrono::DateTime::UNIX_EPOCH,
            ..release
        });
        timeless.collect()
    };
    for (owner, package) in forward.packages(None, 10).await.unwrap() {
        let one = forward.releases(owner, &package).await.unwrap();
        let other = backward.releases(owner, &package).await.unwrap();
        assert_eq!(timeless(one), timeless(other));
    }
    let bobs = forward.releases(bob.owner(), &name("a")).await.unwrap();
    assert!(!bobs[0].yanked, "the larger revision counts");
}

async fn the_tree_is_that_of_the_known_ids(catalogue: &dyn Catalogue) {
    let mut authors = [Author::new(1), Author::new(2), Author::new(3)];
    let mut ids = Vec::new();
    // Sizes that fill one bucket, split it, and split again.
    for count in [31, 1, 1, 200, 500] {
        let records = releases(&mut authors, count);
        ids.extend(records.iter().map(|record| record.id()));
        catalogue.admit(records).await.unwrap();
        ids.sort();
        let whole = branch_of(Prefix::ROOT, &ids);
        assert_eq!(catalogue.root().await.unwrap(), whole.root());
        for id in ids.iter().step_by(40) {
            let prefixes: Vec<_> = [0, 1, 2, 3, 64].map(|d| Prefix::of(id, d)).to_vec();
            let branches = catalogue.branches(prefixes.clone()).await.unwrap();
            for (prefix, branch) in prefixes.into_iter().zip(branches) {
                let below: Vec<_> = ids
                    .iter()
                    .filter(|id| prefix.contains(id))
                    .copied()
                    .collect();
                assert_eq!(branch, branch_of(prefix, &below), "{prefix:?}");
            }
        }
    }
    assert_eq!(catalogue.ids(all(), usize::MAX).await.unwrap(), ids);
    assert_eq!(catalogue.ids(all(), 5).await.unwrap(), ids[..5]);
    let part = catalogue.ids(ids[100]..=ids[120], 1000).await.unwrap();
    assert_eq!(part, ids[100..=120]);
    let none = catalogue.ids(ids[120]..=ids[100], 1000).await.unwrap();
    assert_eq!(none, []);
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
}

async fn declined_ids_are_known_and_not_held(
    make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>,
) {
    let catalogue = make(OpenOptions {
        owner_records_max: 2,
        ..OpenOptions::default()
    })
    .await;
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let records: Vec<_> = ["a@1.0.0", "a@1.1.0", "a@1.2.0"]
        .map(|release| alice.publish(release, release))
        .to_vec();
    let answers = catalogue.admit(records.clone()).await.unwrap();
    assert_eq!(
        answers,
        [Admission::New, Admission::New, Admission::OwnerFull]
    );
    let others = catalogue
        .admit(vec![bob.publish("b@1.0.0", "b")])
        .await
        .unwrap();
    assert_eq!(others, [Admission::New]);
    let declined = records[2].clone();
    assert_eq!(catalogue.known(vec![declined.id()]).await.unwrap(), [true]);
    assert_eq!(
        catalogue.envelopes(vec![declined.id()]).await.unwrap(),
        [None]
    );
    let root = catalogue.root().await.unwrap();
    assert_eq!(root.count, 4);
    let again = catalogue.admit(vec![declined]).await.unwrap();
    assert_eq!(again, [Admission::OwnerFull]);
    assert_eq!(catalogue.root().await.unwrap(), root);
    let totals = catalogue.totals().await.unwrap();
    assert_eq!((totals.records, totals.versions), (3, 3));
    assert_eq!(catalogue.changes(0, 10).await.unwrap().len(), 3);
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
}

async fn changes_are_followed_from_any_position(catalogue: &dyn Catalogue) {
    let mut position = catalogue.position();
    let mut alice = Author::new(1);
    let first = vec![
        alice.publish("Foo@1.0.0", "1"),
        alice.yank("foo@1.0.0", 1, true),
    ];
    let second = vec![alice.publish("b@1.0.0", "1"), first[0].clone()];
    catalogue.admit(first.clone()).await.unwrap();
    assert!(position.has_changed().unwrap());
    assert_eq!(*position.borrow_and_update(), 2);
    catalogue.admit(second.clone()).await.unwrap();
    assert_eq!(*position.borrow_and_update(), 3);
    catalogue.admit(second.clone()).await.unwrap();
    assert!(!position.has_changed().unwrap(), "nothing was new");

    let changes = catalogue.changes(0, 10).await.unwrap();
    let positions: Vec<_> = changes.iter().map(|change| change.position).collect();
    assert_eq!(positions, [1, 2, 3]);
    let records: Vec<_> = changes.iter().map(|change| change.record).collect();
    assert_eq!(records, [first[0].id(), first[1].id(), second[0].id()]);
    let package = Some((alice.owner(), name("foo")));
    assert_eq!(changes[0].package, package);
    assert_eq!(changes[1].package, package);
    assert_eq!(catalogue.changes(1, 1).await.unwrap(), changes[1..2]);
    assert_eq!(catalogue.changes(3, 10).await.unwrap(), []);
    assert_eq!(catalogue.changes(u64::MAX, 10).await.unwrap(), []);
}

async fn a_fork_is_seen(catalogue: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let head = async |author: &Author| {
        let head = catalogue.feed_head(author.owner(), author.key()).await;
        head.unwrap()
    };
    assert_eq!(head(&alice).await, Default::default());
    let first = alice.publish("a@1.0.0", "1");
    let mut backup = alice.clone();
    let second = alice.publish("a@1.1.0", "2");
    catalogue.admit(vec![second, first]).await.unwrap();
    assert_eq!(head(&alice).await, alice.head);
    assert_eq!(catalogue.forked(alice.owner()).await.unwrap(), []);
    let forked = backup.publish("a@1.2.0", "3");
    catalogue.admit(vec![forked]).await.unwrap();
    assert_eq!(
        catalogue.forked(alice.owner()).await.unwrap(),
        [alice.key()]
    );
    assert_eq!(catalogue.forked(Author::new(2).owner()).await.unwrap(), []);
    let head = head(&alice).await;
    assert_eq!(
        (head.seq, head.last),
        (2, alice.head.last.max(backup.head.last))
    );
    let releases = catalogue.releases(alice.owner(), &name("a")).await.unwrap();
    assert_eq!(releases.len(), 3, "both branches count");
}

async fn a_verdict_is_local_knowledge(catalogue: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let record = alice.publish("a@1.0.0", "1");
    assert_refused!(
        catalogue.judge(record.id(), Verdict::Sound).await,
        RegistryError::NotFound(_)
    );
    catalogue.admit(vec![record.clone()]).await.unwrap();
    let root = catalogue.root().await.unwrap();
    let unsound = Verdict::Unsound("its size differs".to_owned());
    for (verdict, changes) in [
        (Verdict::Sound, 1),
        (unsound.clone(), 2),
        (unsound, 2),
        (Verdict::Unchecked, 3),
    ] {
        catalogue.judge(record.id(), verdict.clone()).await.unwrap();
        let releases = catalogue.releases(alice.owner(), &name("a")).await.unwrap();
        assert_eq!(releases[0].verdict, verdict);
        let told = catalogue.changes(0, 10).await.unwrap();
        assert_eq!(told.len(), changes, "{verdict:?}");
        assert!(told.iter().all(|change| change.record == record.id()));
        assert!(told.iter().all(|change| change.package == told[0].package));
        assert_eq!(*catalogue.position().borrow(), changes as u64);
    }
    assert_eq!(catalogue.root().await.unwrap(), root);
    let next = alice.publish("a@1.1.0", "2");
    catalogue.admit(vec![next]).await.unwrap();
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
}

fn the_own_owner_is_the_first(catalogue: &dyn Catalogue) {
    assert_eq!(catalogue.own(), [Author::new(0).owner()]);
    assert_eq!(catalogue.network(), Default::default());
}
