//! Which blobs are held: an index in memory, kept in the names of tags on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use ggen_protocols::hash::{ContentHash, HashAlgorithm};

use super::{StorageMetadata, StorageStats};

/// What the names of tags that mean "held" begin with.
pub(super) const TAG_PREFIX: &str = "held/";

/// The held blobs, by their BLAKE3 and SHA-256 hashes.
#[derive(Debug, Default)]
pub(super) struct Held(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    blobs: BTreeMap<[u8; 32], Entry>,
    by_sha256: HashMap<[u8; 32], [u8; 32]>,
    bytes: u64,
}

/// What is known of one held blob besides its BLAKE3 hash. Kept small: there may be hundreds of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    sha256: [u8; 32],
    size: u64,
    stored_at: DateTime<Utc>,
}

impl Held {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        // Each change leaves the index whole, so that one made by a thread that panicked is no harm.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a blob; one that is held already stays as it is.
    pub(super) fn insert(&self, blob: &StorageMetadata) {
        let index = &mut *self.write();
        let key = *blob.blake3.as_bytes();
        let entry = Entry {
            sha256: *blob.sha256.as_bytes(),
            size: blob.size,
            stored_at: blob.stored_at,
        };
        if let std::collections::btree_map::Entry::Vacant(vacant) = index.blobs.entry(key) {
            vacant.insert(entry);
            index.by_sha256.insert(entry.sha256, key);
            index.bytes += entry.size;
        }
    }

    /// Takes a blob out and says whether it was held.
    pub(super) fn remove(&self, blake3: &ContentHash) -> bool {
        let index = &mut *self.write();
        let Some(entry) = index.blobs.remove(blake3.as_bytes()) else {
            return false;
        };
        index.by_sha256.remove(&entry.sha256);
        index.bytes -= entry.size;
        true
    }

    /// What is known of the blob with this BLAKE3 or SHA-256 hash.
    pub(super) fn get(&self, hash: &ContentHash) -> Option<StorageMetadata> {
        let index = self.read();
        let key = match hash.algorithm() {
            HashAlgorithm::BLAKE3 => hash.as_bytes(),
            HashAlgorithm::SHA256 => index.by_sha256.get(hash.as_bytes())?,
            _ => return None,
        };
        let entry = index.blobs.get(key)?;
        Some(metadata(key, entry))
    }

    pub(super) fn contains(&self, blake3: &[u8; 32]) -> bool {
        self.read().blobs.contains_key(blake3)
    }

    /// The first `limit` whose hexadecimal digits begin with `prefix`, ascending.
    pub(super) fn list(&self, prefix: &str, limit: usize) -> Vec<ContentHash> {
        let digits = prefix.len() <= 64 && prefix.bytes().all(|b| b.is_ascii_hexdigit());
        let first: ContentHash = match format!("blake3:{prefix:0<64}").parse() {
            Ok(first) if digits => first,
            _ => return Vec::new(),
        };
        let index = self.read();
        let from = index.blobs.range(*first.as_bytes()..);
        from.map(|(key, _)| ContentHash::from_blake3(*key))
            .take_while(|hash| hash.to_hex().starts_with(prefix))
            .take(limit)
            .collect()
    }

    pub(super) fn all(&self) -> Vec<StorageMetadata> {
        let index = self.read();
        let all = index.blobs.iter();
        all.map(|(key, entry)| metadata(key, entry)).collect()
    }

    pub(super) fn stats(&self) -> StorageStats {
        let index = self.read();
        StorageStats {
            blobs: index.blobs.len() as u64,
            bytes: index.bytes,
        }
    }
}

fn metadata(key: &[u8; 32], entry: &Entry) -> StorageMetadata {
    StorageMetadata {
        size: entry.size,
        stored_at: entry.stored_at,
        blake3: ContentHash::from_blake3(*key),
        sha256: ContentHash::from_sha256(entry.sha256),
    }
}

/// What the names of all tags of one blob begin with.
pub(super) fn tag_prefix(blake3: &ContentHash) -> String {
    format!("{TAG_PREFIX}{}/", blake3.to_hex())
}

/// The name of the tag that makes this blob held: `held/BLAKE3/SHA256/SIZE/MILLISECONDS`. All that must survive
/// stands in the name, so that one transaction of the blob database sets it all.
pub(super) fn tag_name(blob: &StorageMetadata) -> String {
    format!(
        "{}{}/{}/{}",
        tag_prefix(&blob.blake3),
        blob.sha256.to_hex(),
        blob.size,
        blob.stored_at.timestamp_millis()
    )
}

/// Reads back what [`tag_name`] wrote.
pub(super) fn parse_tag(name: &[u8]) -> Option<StorageMetadata> {
    let name = std::str::from_utf8(name).ok()?;
    let mut parts = name.strip_prefix(TAG_PREFIX)?.split('/');
    let blob = StorageMetadata {
        blake3: format!("blake3:{}", parts.next()?).parse().ok()?,
        sha256: format!("sha256:{}", parts.next()?).parse().ok()?,
        size: parts.next()?.parse().ok()?,
        stored_at: DateTime::from_timestamp_millis(parts.next()?.parse().ok()?)?,
    };
    parts.next().is_none().then_some(blob)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn blob(content: &str) -> StorageMetadata {
        StorageMetadata {
            size: content.len() as u64,
            stored_at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
            blake3: ContentHash::blake3(content),
            sha256: ContentHash::sha256(content),
        }
    }

    #[test]
    fn a_tag_name_says_all_that_must_survive() {
        let blob = blob("content");
        let name = tag_name(&blob);
        assert!(name.starts_with(&tag_prefix(&blob.blake3)));
        assert_eq!(parse_tag(name.as_bytes()), Some(blob));
        for wrong in [
            "held/",
            "other/x",
            &name[1..],
            &format!("{name}/x"),
            &name[..100],
        ] {
            assert_eq!(parse_tag(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_prefix_lists_in_order_and_a_wrong_one_nothing() {
        let held = Held::default();
        let mut all: Vec<ContentHash> = (0..200).map(|n| blob(&n.to_string()).blake3).collect();
        for n in 0..200 {
            held.insert(&blob(&n.to_string()));
        }
        all.sort();
        assert_eq!(held.list("", 1000), all);
        assert_eq!(held.list("", 7), all[..7]);
        let prefix = &all[50].to_hex()[..1];
        let with = all.iter().filter(|h| h.to_hex().starts_with(prefix));
        assert_eq!(held.list(prefix, 1000), with.copied().collect::<Vec<_>>());
        for none in ["xyz", "AB", &"0".repeat(65), "ffffffff"] {
            assert_eq!(held.list(none, 10), [], "{none}");
        }
    }

    #[test]
    fn sums_follow_what_is_held() {
        let held = Held::default();
        held.insert(&blob("four"));
        held.insert(&blob("four"));
        held.insert(&blob("seven77"));
        assert_eq!(
            held.stats(),
            StorageStats {
                blobs: 2,
                bytes: 11
            }
        );
        assert!(held.remove(&ContentHash::blake3("four")));
        assert!(!held.remove(&ContentHash::blake3("four")));
        assert_eq!(held.get(&ContentHash::sha256("four")), None);
        assert_eq!(held.stats(), StorageStats { blobs: 1, bytes: 7 });
    }
}
