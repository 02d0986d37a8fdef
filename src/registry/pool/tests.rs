//! Eviction in pieces, after a crash in between, and what a user's choices change.
#![allow(clippy::unwrap_used)]

use ggen_protocols::id::CanonicalName;
use ggen_protocols::record::{Record, Verified};

use super::*;
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::write::Written;
use crate::registry::{Admission, Catalogue};
use crate::testing::registry::Author;

fn options(pool_bytes_max: u64) -> OpenOptions {
    OpenOptions {
        pool_bytes_max,
        ..OpenOptions::default()
    }
}

fn releases(author: &mut Author, count: usize) -> Vec<Verified<Record>> {
    let names = (0..count).map(|n| format!("p{}@1.{n}.0", n % 3));
    names.map(|release| author.publish(&release, "x")).collect()
}

/// Writes a row that the user's choices make, and looks at the owner again.
async fn choose(registry: &LocalRegistry, rows: Rows, key: Vec<u8>, row: Vec<u8>, owner: OwnerId) {
    let chosen = registry.change(move |transaction| {
        let mut table = transaction.table(rows)?;
        let written = match row.is_empty() {
            true => table.remove(key.as_slice()).map(drop),
            false => table.insert(key.as_slice(), row.as_slice()).map(drop),
        };
        written.map_err(Fault::from)?;
        drop(table);
        Ok(Written::at(reconsider(transaction, owner)?, ()))
    });
    chosen.await.unwrap();
}

async fn findings(registry: &LocalRegistry) -> Vec<String> {
    registry.audit().await.unwrap().findings
}

async fn count(registry: &LocalRegistry) -> u64 {
    registry.totals().await.unwrap().records
}

#[tokio::test]
async fn an_owner_goes_in_pieces_and_goes_on_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let mut mallory = Author::new(1);
    let records = releases(&mut mallory, 3000);
    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    registry.admit(records).await.unwrap();
    let root = registry.root().await.unwrap();
    let terms = Terms {
        network: registry.network(),
        now_ms: 0,
        owner_records_max: u64::MAX,
        pool_bytes_max: 0,
    };
    // Pieces take the releases, and then some of the records; more is to be done.
    let piece = move |transaction: &WriteTransaction| {
        let evicted = evict(transaction, &terms)?;
        Ok(Written::at(evicted.position, evicted.more))
    };
    let mut left = 3000;
    while left == 3000 {
        assert!(registry.change(piece).await.unwrap());
        left = count(&registry).await;
    }
    assert!((1..3000).contains(&left), "{left}");
    assert_eq!(findings(&registry).await, [""; 0]);
    // It was told of before its records were gone, and takes no more.
    let more = mallory.publish("more@1.0.0", "x");
    let answers = registry.admit(vec![more]).await.unwrap();
    assert_eq!(answers, [Admission::Evicted]);
    assert_eq!(findings(&registry).await, [""; 0]);
    drop(registry);

    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    assert_eq!(count(&registry).await, 0);
    assert_eq!(registry.root().await.unwrap().count, root.count + 1);
    let packages: Vec<CanonicalName> = ["p0", "p1", "p2"]
        .map(|name| name.parse().unwrap())
        .to_vec();
    let told = registry.changes(3000, 10).await.unwrap();
    let told = told.into_iter().filter_map(|change| change.package);
    assert_eq!(told.map(|(_, name)| name).collect::<Vec<_>>(), packages);
    assert_eq!(findings(&registry).await, [""; 0]);
}

#[tokio::test]
async fn whom_the_user_chose_is_never_evicted_and_comes_back() {
    let name = || b"name".to_vec();
    for (rows, by_name) in [
        (tables::PINS, true),
        (tables::NAME_PINS, true),
        (tables::ANCHORS, false),
        (tables::TRUSTED, false),
    ] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("catalogue.redb");
        let registry = LocalRegistry::open(&path, options(22_000)).await.unwrap();
        let (mut alice, mut bob) = (Author::new(1), Author::new(2));
        let owner = alice.owner();
        let id = owner.as_bytes().to_vec();
        let (key, row) = match by_name {
            true => (name(), id),
            false => (id, vec![1]),
        };
        let old = releases(&mut alice, 10);
        registry.admit(old.clone()).await.unwrap();
        choose(&registry, rows, key.clone(), row.clone(), owner).await;
        registry.admit(releases(&mut bob, 10)).await.unwrap();
        assert_eq!(count(&registry).await, 20, "{}", rows.name());
        assert_eq!(findings(&registry).await, [""; 0]);
        // Chosen no more, it goes with the next who comes.
        choose(&registry, rows, key.clone(), Vec::new(), owner).await;
        registry
            .admit(releases(&mut Author::new(3), 1))
            .await
            .unwrap();
        assert_eq!(count(&registry).await, 11, "{}", rows.name());
        let root = registry.root().await.unwrap();
        assert_eq!(findings(&registry).await, [""; 0]);
        // Chosen again, what is known of it is forgotten, so that it comes again.
        let position = *registry.position().borrow();
        choose(&registry, rows, key, row, owner).await;
        assert!(*registry.position().borrow() > position);
        assert_eq!(registry.root().await.unwrap().count, root.count - 10);
        assert_eq!(findings(&registry).await, [""; 0]);
        let answers = registry.admit(old).await.unwrap();
        assert_eq!(answers, vec![Admission::New; 10]);
        assert_eq!(registry.root().await.unwrap(), root);
        assert_eq!(findings(&registry).await, [""; 0]);
    }
}

#[tokio::test]
async fn those_of_whom_something_was_used_go_last_and_by_their_last_use() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    let mut authors = [1, 2, 3, 4].map(Author::new);
    let mut records = Vec::new();
    for author in &mut authors {
        let of_author = releases(author, 5);
        registry.admit(of_author.clone()).await.unwrap();
        records.push(of_author);
    }
    // The first two are used, the second one first.
    for (number, position) in [(0, 30u64), (1, 25)] {
        let owner = authors[number].owner();
        let (key, row) = (owner.as_bytes().to_vec(), position.to_be_bytes().to_vec());
        choose(&registry, tables::USED, key, row, owner).await;
    }
    assert_eq!(findings(&registry).await, [""; 0]);
    drop(registry);
    let mut gone = Vec::new();
    for bound in [28_000, 20_000, 12_000, 1] {
        let registry = LocalRegistry::open(&path, options(bound)).await.unwrap();
        for (number, of_author) in records.iter().enumerate() {
            let held = registry.envelopes(vec![of_author[0].id()]).await.unwrap();
            if held[0].is_none() && !gone.contains(&number) {
                gone.push(number);
            }
        }
        assert_eq!(findings(&registry).await, [""; 0]);
    }
    assert_eq!(gone, [2, 3, 1, 0]);
}

#[tokio::test]
async fn who_is_own_no_more_is_a_stranger() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let mut alice = Author::new(1);
    let own = OpenOptions {
        own: vec![alice.owner()],
        ..options(1)
    };
    let registry = LocalRegistry::open(&path, own).await.unwrap();
    registry.admit(releases(&mut alice, 5)).await.unwrap();
    assert_eq!(
        (count(&registry).await, findings(&registry).await),
        (5, vec![])
    );
    drop(registry);
    let registry = LocalRegistry::open(&path, options(1)).await.unwrap();
    assert_eq!(
        (count(&registry).await, findings(&registry).await),
        (0, vec![])
    );
}

#[tokio::test]
async fn the_tree_shrinks_to_that_of_the_ids_that_are_left() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    registry.admit(releases(&mut alice, 40)).await.unwrap();
    let root = registry.root().await.unwrap();
    registry.admit(releases(&mut bob, 1500)).await.unwrap();
    let full = registry.root().await.unwrap();
    drop(registry);
    // Both go, and then one is chosen: as if it had never been here.
    let registry = LocalRegistry::open(&path, options(1)).await.unwrap();
    assert_eq!(registry.root().await.unwrap(), full);
    let id = bob.owner().as_bytes().to_vec();
    choose(&registry, tables::ANCHORS, id, vec![1], bob.owner()).await;
    assert_eq!(registry.root().await.unwrap(), root);
    assert_eq!(findings(&registry).await, [""; 0]);
}

async fn size(registry: &LocalRegistry) -> Size {
    let read = |transaction: &WriteTransaction| {
        let about = transaction.table(tables::ABOUT)?;
        Ok(Written::at(0, Size::read(&about)?))
    };
    registry.change(read).await.unwrap()
}

#[tokio::test]
async fn heads_about_a_stranger_take_their_part_of_the_pool_and_go_with_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    let mut alice = Author::new(1);
    registry.admit(releases(&mut alice, 5)).await.unwrap();
    let before = size(&registry).await;
    drop(registry);
    // There is room for what is held, and for nothing more.
    let full = (before.bytes..).find(|pool| records_room(*pool) >= before.bytes);
    let full = options(full.unwrap());
    let registry = LocalRegistry::open(&path, full.clone()).await.unwrap();
    assert_eq!(count(&registry).await, 5);
    let head = alice.witness();
    let taken = Account::bytes_of(head.envelope().len());
    registry.witness(head.clone()).await.unwrap();
    assert_eq!(count(&registry).await, 0);
    assert_eq!(registry.heads(None, 10).await.unwrap(), []);
    assert_eq!(findings(&registry).await, [""; 0]);

    // With room for it, it is counted once, however often it is told.
    let path = home.path().join("other.redb");
    let registry = LocalRegistry::open(&path, options(u64::MAX)).await.unwrap();
    registry
        .admit(releases(&mut Author::new(1), 5))
        .await
        .unwrap();
    for head in [head.clone(), head, alice.witness()] {
        registry.witness(head).await.unwrap();
        assert_eq!(size(&registry).await.bytes, before.bytes + taken);
        assert_eq!(findings(&registry).await, [""; 0]);
    }
}

#[tokio::test]
async fn changes_of_what_went_are_kept_for_a_while_and_those_of_what_is_held_for_ever() {
    const POOL: u64 = 700_000;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let mut own = Author::new(1);
    let options = OpenOptions {
        own: vec![own.owner()],
        ..options(POOL)
    };
    let registry = LocalRegistry::open(&path, options).await.unwrap();
    let mut records = releases(&mut own, 3);
    for number in 0..3000u64 {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        records.push(Author::from_seed(seed).publish(&format!("p{number}@1.0.0"), "x"));
    }
    registry.admit(records.clone()).await.unwrap();
    let (last, kept) = (*registry.position().borrow(), changes::kept(POOL));
    let pruned = registry.pruned().await.unwrap();
    assert!(last > kept && pruned == last - kept, "{pruned} of {last}");
    // Whoever begins now hears of everything that is held.
    let told = registry.changes(0, usize::MAX).await.unwrap();
    let held = registry.envelopes(records.iter().map(|record| record.id()).collect());
    let held: BTreeSet<RecordId> = records
        .iter()
        .zip(held.await.unwrap())
        .filter_map(|(record, envelope)| envelope.map(|_| record.id()))
        .collect();
    assert!((4..3000).contains(&held.len()), "{}", held.len());
    let heard: BTreeSet<RecordId> = told.iter().map(|change| change.record).collect();
    assert!(held.is_subset(&heard));
    let old = told.iter().filter(|change| change.position <= pruned);
    assert!(old.clone().count() >= 3 && old.clone().all(|change| held.contains(&change.record)));
    assert!(told.len() as u64 <= kept + held.len() as u64);
    assert_eq!(findings(&registry).await, [""; 0]);
}
