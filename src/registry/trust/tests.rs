//! When trust is computed anew, and when not.
#![allow(clippy::unwrap_used)]

use ggen_protocols::trust::PARTIAL;

use super::*;
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::policy::Decision;
use crate::registry::{Catalogue, Choices};
use crate::testing::registry::Author;

async fn opened() -> (tempfile::TempDir, LocalRegistry) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(path, OpenOptions::default()).await;
    (home, registry.unwrap())
}

async fn reach(registry: &LocalRegistry) -> Arc<Reach> {
    let viewer = registry.viewer();
    let reach = registry.view(move |stored| Ok(viewer.reach(stored)?));
    reach.await.unwrap()
}

fn stranger(number: u32) -> Author {
    let mut seed = [0xff; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Author::from_seed(seed)
}

#[tokio::test]
async fn what_a_thousand_strangers_say_is_not_computed() {
    let (_home, registry) = opened().await;
    let [mut alice, mut bob, mut carol, dave] = [1, 2, 3, 4].map(Author::new);
    let anchor = Anchor {
        weight: FULL,
        depth: 2,
    };
    let decision = Decision::Anchor(alice.owner(), anchor);
    registry.decide(decision).await.unwrap();
    let introduced = alice.endorse(bob.owner(), Level::Full);
    registry.admit(vec![introduced]).await.unwrap();
    let before = reach(&registry).await;
    assert_eq!(before.score(&bob.owner()), FULL);

    for numbers in [0..500, 500..1000] {
        let said = numbers.flat_map(|number| {
            let mut stranger = stranger(number);
            let founded = stranger.found("someone", None);
            [founded, stranger.endorse(bob.owner(), Level::Distrust)]
        });
        registry.admit(said.collect()).await.unwrap();
    }
    let after = reach(&registry).await;
    assert!(Arc::ptr_eq(&before, &after), "it was computed again");

    // The word of one who was introduced counts; that of one who may introduce nobody does not.
    let said = bob.endorse(carol.owner(), Level::Partial);
    registry.admit(vec![said]).await.unwrap();
    let before = reach(&registry).await;
    assert_eq!(before.score(&carol.owner()), PARTIAL);
    let said = carol.endorse(dave.owner(), Level::Full);
    registry.admit(vec![said]).await.unwrap();
    let after = reach(&registry).await;
    assert!(Arc::ptr_eq(&before, &after), "it was computed again");
    assert_eq!(after.score(&dave.owner()), 0);

    // Until it is said that she may: then also what she said before counts.
    let said = alice.endorse(carol.owner(), Level::Full);
    registry.admit(vec![said]).await.unwrap();
    assert_eq!(reach(&registry).await.score(&dave.owner()), FULL);
    let said = carol.endorse(dave.owner(), Level::None);
    registry.admit(vec![said]).await.unwrap();
    assert_eq!(reach(&registry).await.score(&dave.owner()), 0);
}

#[tokio::test]
async fn the_word_of_one_who_is_evicted_goes_with_it() {
    let home = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        pool_bytes_max: 20_000,
        ..OpenOptions::default()
    };
    let registry = LocalRegistry::open(home.path().join("catalogue.redb"), options);
    let registry = registry.await.unwrap();
    let [mut alice, mut bob, carol, mut mallory] = [1, 2, 3, 4].map(Author::new);
    let anchor = Anchor {
        weight: FULL,
        depth: 2,
    };
    let decision = Decision::Anchor(alice.owner(), anchor);
    registry.decide(decision).await.unwrap();
    let said = vec![
        alice.endorse(bob.owner(), Level::Partial),
        bob.endorse(carol.owner(), Level::Full),
    ];
    registry.admit(said).await.unwrap();
    assert_eq!(reach(&registry).await.score(&carol.owner()), PARTIAL);
    let flood = (0..20).map(|at| mallory.publish(&format!("m@{at}.0.0"), "x"));
    registry.admit(flood.collect()).await.unwrap();
    let (owner, key) = (bob.owner(), bob.key());
    let head = registry.feed_head(owner, key).await.unwrap();
    assert_eq!(head.seq, 0, "bob was not evicted");
    assert_eq!(reach(&registry).await.score(&carol.owner()), 0);
}
