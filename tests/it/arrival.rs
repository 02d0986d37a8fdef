//! Hostile archives from a peer that did not check them: refused on arrival with the reason, and not passed on.

use std::fs;
use std::path::Path;

use ggen_marketplace::prelude::*;
use ggen_marketplace::protocols::metadata::Format;
use ggen_marketplace::registry::Verdict;
use ggen_marketplace::testing::cluster::{Member, Options, author, eventually};
use ggen_marketplace::testing::registry::metadata;

use crate::archive_hostile::REASONS;
use crate::place::DEADLINE;

/// Held back by a limit that nodes set higher; shown on the archive itself.
const UNDER_LOWER_LIMITS: &str = "bomb_ratio";

/// The corpus' archive of this name.
fn archive(name: &str) -> Vec<u8> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/archives");
    fs::read(corpus.join(format!("{name}.crate"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_archive_is_refused_where_it_arrives_and_served_no_further() {
    let (mallory, _mallory) = Member::start(Options::default()).await.unwrap();
    let (bob, _bob) = Member::start(Options::to(&[&mallory])).await.unwrap();
    let names = REASONS
        .iter()
        .filter(|(name, _)| *name != UNDER_LOWER_LIMITS);
    let mut releases = Vec::new();
    for (number, (name, reason)) in names.enumerate() {
        // An owner each, for all of them are the same release of one package.
        let mut owner = author(100 + number as u8);
        let content = archive(name);
        let declared = PackageMetadata {
            format: Format::Cargo,
            ..metadata("evil@0.1.0")
        };
        let record = owner.publish_metadata(declared, &content);
        // Past the door: store and catalogue take what a node of theirs would have checked.
        mallory.node.store().store(content.into()).await.unwrap();
        mallory
            .node
            .catalogue()
            .admit(vec![record.clone()])
            .await
            .unwrap();
        releases.push((name, reason, owner.owner(), record.id()));
    }
    eventually("bob has the records", DEADLINE, async || {
        bob.node.status().await.unwrap().records == releases.len() as u64
    })
    .await;

    for (name, reason, owner, record) in releases {
        let error = bob.fetch(&format!("{owner}/evil@0.1.0")).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{name}: {error}");
        let package = "evil".parse().unwrap();
        let known = bob
            .node
            .catalogue()
            .releases(owner, &package)
            .await
            .unwrap();
        assert_eq!(known[0].record, record);
        let verdict = &known[0].verdict;
        assert!(
            matches!(verdict, Verdict::Unsound(why) if why.contains(reason)),
            "{name}: {verdict:?}"
        );
        let hash = known[0].metadata.checksums.blake3.unwrap();
        assert!(!bob.node.store().is_held(&hash), "{name} would be served");
        // Asked again it is withheld, without another transfer.
        let again = bob.fetch(&format!("{owner}/evil@0.1.0")).await.unwrap_err();
        assert!(again.to_string().contains("withheld"), "{name}: {again}");
    }
    assert_eq!(bob.node.status().await.unwrap().blobs, 0);
    eventually("search offers none of them", DEADLINE, async || {
        bob.search("evil").await.unwrap().total == 0
    })
    .await;
}
