//! Damages every table of a catalogue in several ways, and expects to be told.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::PackageMetadata;
use redb::{Database, ReadableDatabase};

use super::*;
use crate::crypto::PrivateKey;
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::{Catalogue, Registry, Verdict};

fn options() -> OpenOptions {
    OpenOptions {
        identity: Some(PrivateKey::from_seed([1; 32])),
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
    // What was chosen on this node follows from nothing.
    let chosen = [tables::ABOUT.name(), tables::PINS.name()];
    for rows in tables::ALL {
        if chosen.contains(&rows.name()) {
            continue;
        }
        for damage in ["remove", "flip", "move", "cut"] {
            // A verdict that is gone, or is another one, is as good as the one before.
            let is_verdict = rows.name() == tables::VERDICTS.name();
            if is_verdict && ["remove", "flip", "cut"].contains(&damage) {
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
