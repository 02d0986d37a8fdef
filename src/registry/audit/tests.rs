//! Damages every table of a catalogue in several ways, and expects to be told.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::owner::SCOPE_ALL;
use ggen_protocols::trust::Level;
use redb::{Database, ReadableDatabase};

use super::*;
use crate::crypto::PrivateKey;
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::{Admission, Catalogue, Registry, Verdict, Witnessed};
use crate::testing::registry::{Author, after, document, retiring};

/// Records of one owner.
const ROOM: u64 = 50;

fn options() -> OpenOptions {
    OpenOptions {
        identity: Some(PrivateKey::from_seed([1; 32])),
        owner_records_max: ROOM,
        ..OpenOptions::default()
    }
}

/// A catalogue with rows in every table.
async fn fill(path: &Path) {
    let registry = LocalRegistry::open(path, options()).await.unwrap();
    for n in 0..40 {
        let id: PackageId = format!("acme/a@1.{n}.0").parse().unwrap();
        let metadata = PackageMetadata {
            authors: vec!["Alice".to_owned()],
            ..PackageMetadata::new(id)
        };
        let content = ContentHash::blake3([n]);
        registry.register(&metadata, content).await.unwrap();
    }
    let id: PackageId = "acme/a@1.1.0".parse().unwrap();
    registry.yank(&id, None).await.unwrap();
    let change = &registry.changes(0, 1).await.unwrap()[0];
    let unsound = Verdict::Unsound("wrong".to_owned());
    registry.judge(change.record, unsound).await.unwrap();
    let (mut bob, mut carol) = (Author::new(2), Author::new(3));
    let founded = bob.found("bob", None);
    let owner = OwnerId::of_genesis(founded.id());
    let first = bob.publish_in(owner, "b@1.0.0", "b");
    let second = bob.publish_in(owner, "b@1.1.0", "b");
    // The last good record of a retired key follows one that is not here.
    let granted = document(&bob, &[(&carol, SCOPE_ALL)]);
    let retired = retiring(granted, &[(&bob, &second)]);
    let acl = bob.acl(owner, after(&founded), retired);
    let endorsing = carol.endorse_with(owner, 1, Level::Full);
    let elsewhere = registry.admit(vec![founded, acl, second, endorsing]).await;
    assert_eq!(
        elsewhere.unwrap(),
        [
            Admission::New,
            Admission::New,
            Admission::New,
            Admission::New
        ]
    );
    assert_eq!(registry.known(vec![first.id()]).await.unwrap(), [false]);
    let head = carol.witness();
    let witnessed = registry.witness(head).await.unwrap();
    assert_eq!(witnessed, Witnessed::Newer);
    // Dave has no room for the last one.
    let mut dave = Author::new(4);
    let full = (0..=ROOM)
        .map(|n| dave.publish(&format!("d@1.{n}.0"), "d"))
        .collect();
    let answers = registry.admit(full).await.unwrap();
    assert_eq!(answers.last(), Some(&Admission::OwnerFull));
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}

/// The first row of a table.
fn first(database: &Database, rows: Rows) -> (Vec<u8>, Vec<u8>) {
    let snapshot = database.begin_read().unwrap();
    let table = snapshot.open_table(rows).unwrap();
    let (key, row) = table.first().unwrap().unwrap();
    (key.value().to_vec(), row.value().to_vec())
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[tokio::test]
async fn damage_to_any_table_is_found() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole.redb");
    fill(&whole).await;
    // What was chosen or counted on this node follows from nothing.
    let chosen = [
        tables::ABOUT,
        tables::PINS,
        tables::NAME_PINS,
        tables::CONTENTS,
        tables::ANCHORS,
        tables::BLOCKS,
        tables::BLOCKED_KEYS,
        tables::VETOED,
        tables::UNTOLD,
        tables::TRUSTED,
        tables::INTRODUCERS,
        tables::USED,
        tables::TOKENS,
        tables::DOWNLOADS,
    ];
    for rows in tables::ALL {
        if chosen.iter().any(|chosen| chosen.name() == rows.name()) {
            continue;
        }
        for damage in ["remove", "flip", "move", "cut"] {
            // A verdict that is gone, or is another one, is as good as the one before.
            let is_verdict = rows.name() == tables::VERDICTS.name();
            if is_verdict && ["remove", "flip", "cut"].contains(&damage) {
                continue;
            }
            // Nobody needs to have told what it saw.
            if rows.name() == tables::HEADS.name() && damage == "remove" {
                continue;
            }
            let path = home.path().join("damaged.redb");
            std::fs::copy(&whole, &path).unwrap();
            let database = Database::open(&path).unwrap();
            let (key, row) = first(&database, rows);
            if ["flip", "cut"].contains(&damage) && row.is_empty() {
                continue;
            }
            let write = database.begin_write().unwrap();
            let mut table = write.open_table(rows).unwrap();
            let old = table.remove(key.as_slice()).unwrap();
            drop(old);
            let (key, row) = match damage {
                "remove" => (key, None),
                "flip" => (key, Some(flipped(row))),
                "move" => (flipped(key), Some(row)),
                _ => (key, Some(row[..row.len() - 1].to_vec())),
            };
            if let Some(row) = row {
                table.insert(key.as_slice(), row.as_slice()).unwrap();
            }
            drop(table);
            write.commit().unwrap();
            drop(database);
            let registry = LocalRegistry::open(&path, options()).await.unwrap();
            let audit = registry.audit().await.unwrap();
            assert!(!audit.findings.is_empty(), "{damage} in {}", rows.name());
        }
    }
}
