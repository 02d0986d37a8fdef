//! Owners that nobody here chose share a bounded pool, and whole ones go when it is full.

use std::sync::Arc;

use ggen_protocols::id::OwnerId;
use ggen_protocols::record::{Record, Refusal, Verified};

use super::{Author, after, document, name, texts};
use crate::registry::local::OpenOptions;
use crate::registry::{Admission, Catalogue, Witnessed, ids_max};

/// Room for five records of these tests and not for six.
const POOL: u64 = 9600;

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    whole_owners_make_room(&*make(crowded()).await).await;
    an_evicted_owner_stays_away(&*make(crowded()).await).await;
    what_a_user_here_writes_in_comes_back(&*make(crowded()).await).await;
    own_records_are_not_in_the_pool(make).await;
    a_stranger_larger_than_the_pool_goes_itself(&*make(crowded()).await).await;
    documents_after_declined_ones_are_declined(&*make(crowded()).await).await;
    what_an_evicted_owner_saw_goes_with_it(&*make(crowded()).await).await;
    the_oldest_ids_are_forgotten(&*make(crowded()).await).await;
}

fn crowded() -> OpenOptions {
    OpenOptions {
        pool_bytes_max: POOL,
        ..OpenOptions::default()
    }
}

/// Records with places for `count` releases of two packages.
fn releases(author: &mut Author, count: usize) -> Vec<Verified<Record>> {
    let names = (0..count).map(|n| format!("{}@1.{n}.0", ["a", "b"][n % 2]));
    names.map(|release| author.publish(&release, "x")).collect()
}

async fn held(catalogue: &dyn Catalogue, records: &[Verified<Record>]) -> usize {
    let ids = records.iter().map(|record| record.id()).collect();
    let envelopes = catalogue.envelopes(ids).await.unwrap();
    envelopes.iter().flatten().count()
}

async fn is_sound(catalogue: &dyn Catalogue) {
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
}

async fn whole_owners_make_room(catalogue: &dyn Catalogue) {
    let mut authors = [1, 2, 3].map(Author::new);
    let [first, second, third] = &mut authors;
    let (mut one, two, three) = (releases(first, 2), releases(second, 2), releases(third, 2));
    catalogue.admit(one.clone()).await.unwrap();
    catalogue.admit(two.clone()).await.unwrap();
    // The first owner writes again: now the second has been quiet for longest.
    let more = first.publish("c@1.0.0", "c");
    one.push(more.clone());
    catalogue.admit(vec![more]).await.unwrap();
    let before = *catalogue.position().borrow();
    let answers = catalogue.admit(three.clone()).await.unwrap();
    assert_eq!(answers, [Admission::New, Admission::New]);
    let counts = [
        held(catalogue, &one).await,
        held(catalogue, &two).await,
        held(catalogue, &three).await,
    ];
    assert_eq!(counts, [3, 0, 2]);
    let ids = two.iter().map(|record| record.id()).collect();
    assert_eq!(catalogue.known(ids).await.unwrap(), [true, true]);
    assert_eq!(catalogue.root().await.unwrap().count, 7);
    let owner = authors[1].owner();
    assert_eq!(catalogue.releases(owner, &name("a")).await.unwrap(), []);
    assert!(
        !catalogue
            .owners_of(&name("a"))
            .await
            .unwrap()
            .contains(&owner)
    );
    // Who follows the changes hears of every package that went.
    let told = catalogue.changes(before + 2, 10).await.unwrap();
    assert!(
        told.iter()
            .all(|change| change.record.as_bytes() == owner.as_bytes())
    );
    let told = told.into_iter().filter_map(|change| change.package);
    assert_eq!(texts(told.map(|(_, name)| name)), ["a", "b"]);
    let totals = catalogue.totals().await.unwrap();
    assert_eq!((totals.records, totals.packages), (5, 5));
    is_sound(catalogue).await;
}

async fn an_evicted_owner_stays_away(catalogue: &dyn Catalogue) {
    let mut authors = [1, 2].map(Author::new);
    let old = releases(&mut authors[0], 4);
    catalogue.admit(old.clone()).await.unwrap();
    catalogue.admit(releases(&mut authors[1], 4)).await.unwrap();
    let root = catalogue.root().await.unwrap();
    assert_eq!(root.count, 8);
    let answers = catalogue.admit(old).await.unwrap();
    assert_eq!(answers, vec![Admission::Evicted; 4]);
    assert_eq!(catalogue.root().await.unwrap(), root);
    let next = authors[0].publish("a@2.0.0", "x");
    let answers = catalogue.admit(vec![next.clone()]).await.unwrap();
    assert_eq!(answers, [Admission::Evicted]);
    assert_eq!(catalogue.known(vec![next.id()]).await.unwrap(), [true]);
    assert_eq!(catalogue.root().await.unwrap().count, 9);
    assert_eq!(catalogue.totals().await.unwrap().records, 4);
    is_sound(catalogue).await;
}

async fn what_a_user_here_writes_in_comes_back(catalogue: &dyn Catalogue) {
    let mut authors = [1, 2].map(Author::new);
    let old = releases(&mut authors[0], 3);
    catalogue.admit(old.clone()).await.unwrap();
    let others = releases(&mut authors[1], 4);
    catalogue.admit(others).await.unwrap();
    assert_eq!(held(catalogue, &old).await, 0);
    let mut again = Author::new(1);
    let first = again.publish("a@1.0.0", "x");
    assert_eq!(catalogue.admit_own(first).await.unwrap(), Admission::New);
    let ids = old.iter().map(|record| record.id()).collect();
    let known = catalogue.known(ids).await.unwrap();
    assert_eq!(known, [true, false, false], "the others are to come again");
    assert_eq!(catalogue.root().await.unwrap().count, 5);
    is_sound(catalogue).await;
}

async fn own_records_are_not_in_the_pool(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    let mut own = Author::new(1);
    let options = OpenOptions {
        own: vec![own.owner()],
        // The ids of the others who went take their part of it.
        pool_bytes_max: POOL * 3 / 2,
        ..crowded()
    };
    let catalogue = make(options).await;
    let mut records = releases(&mut own, 40);
    for number in 2..12 {
        catalogue
            .admit(releases(&mut Author::new(number), 4))
            .await
            .unwrap();
        catalogue.admit(records.drain(..4).collect()).await.unwrap();
    }
    let totals = catalogue.totals().await.unwrap();
    assert_eq!(totals.records, 44, "all own ones and those of one stranger");
    assert_eq!(catalogue.root().await.unwrap().count, 80);
    is_sound(&*catalogue).await;
}

async fn a_stranger_larger_than_the_pool_goes_itself(catalogue: &dyn Catalogue) {
    let records = releases(&mut Author::new(1), 40);
    catalogue.admit(records).await.unwrap();
    assert_eq!(catalogue.totals().await.unwrap().records, 0);
    assert_eq!(catalogue.root().await.unwrap().count, 40);
    is_sound(catalogue).await;
}

async fn documents_after_declined_ones_are_declined(catalogue: &dyn Catalogue) {
    let mut team = Author::new(1);
    let founded = team.found("team", None);
    let owner = OwnerId::of_genesis(founded.id());
    let mut records = vec![founded.clone()];
    records.extend((0..3).map(|n| team.publish_in(owner, &format!("a@1.{n}.0"), "x")));
    catalogue.admit(records.clone()).await.unwrap();
    catalogue
        .admit(releases(&mut Author::new(2), 4))
        .await
        .unwrap();
    assert_eq!(held(catalogue, &records).await, 0);
    // Both wait for what is not taken any more: peers must not offer them again and again.
    let first = team.acl(owner, after(&founded), document(&team, &[]));
    let second = team.acl(owner, after(&first), document(&team, &[]));
    let count = catalogue.root().await.unwrap().count;
    let superfluous = Admission::Refused(Refusal::SuperfluousDocument { owner });
    for (number, record) in [first, second].into_iter().enumerate() {
        let answers = catalogue.admit(vec![record.clone()]).await.unwrap();
        assert_eq!(answers, std::slice::from_ref(&superfluous), "{number}");
        assert_eq!(catalogue.known(vec![record.id()]).await.unwrap(), [true]);
    }
    assert_eq!(catalogue.root().await.unwrap().count, count + 2);
    // Nobody else uses up room for ids with them.
    let other = OwnerId::of_genesis(Author::new(3).found("other", None).id());
    let foreign = team.acl(other, after(&founded), document(&team, &[]));
    let answers = catalogue.admit(vec![foreign.clone()]).await.unwrap();
    assert!(
        matches!(
            answers[..],
            [Admission::Refused(Refusal::Unauthorised { .. })]
        ),
        "{answers:?}"
    );
    assert_eq!(catalogue.known(vec![foreign.id()]).await.unwrap(), [false]);
    is_sound(catalogue).await;
}

async fn what_an_evicted_owner_saw_goes_with_it(catalogue: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let records = releases(&mut alice, 4);
    catalogue.admit(records.clone()).await.unwrap();
    let head = alice.witness();
    assert_eq!(
        catalogue.witness(head.clone()).await.unwrap(),
        Witnessed::Newer
    );
    catalogue
        .admit(releases(&mut Author::new(2), 4))
        .await
        .unwrap();
    assert_eq!(held(catalogue, &records).await, 0);
    assert_eq!(catalogue.sights(alice.owner()).await.unwrap(), []);
    assert_eq!(catalogue.witness(head).await.unwrap(), Witnessed::Stranger);
    is_sound(catalogue).await;
}

async fn the_oldest_ids_are_forgotten(catalogue: &dyn Catalogue) {
    let kept = usize::try_from(ids_max(POOL)).unwrap();
    let mut authors = [1, 2, 3].map(Author::new);
    let [first, second, third] = &mut authors;
    let one = releases(first, kept / 2);
    let two = releases(second, kept / 2);
    for records in [&one, &two] {
        catalogue.admit(records.clone()).await.unwrap();
    }
    assert_eq!(catalogue.root().await.unwrap().count, kept as u64);
    is_sound(catalogue).await;
    let three = releases(third, 6);
    catalogue.admit(three.clone()).await.unwrap();
    let count = catalogue.root().await.unwrap().count;
    assert_eq!(count as usize, two.len() + three.len());
    let ids = [&one[0], &two[0], &three[0]].map(|record| record.id());
    let known = catalogue.known(ids.to_vec()).await.unwrap();
    assert_eq!(known, [false, true, true]);
    is_sound(catalogue).await;
    // Of an owner of whom nothing is known, records are taken as from any other.
    let answers = catalogue.admit(one[..1].to_vec()).await.unwrap();
    assert_eq!(answers, [Admission::New]);
    is_sound(catalogue).await;
}
