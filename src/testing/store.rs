//! What every `PackageStore` and `BlobStore` promises, as checks that panic where a promise is broken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::TryStreamExt;
use ggen_protocols::hash::ContentHash;
use tokio::io::{AsyncRead, ReadBuf};

use crate::Error;
use crate::store::{BlobStore, PackageStore, PackageStoreExt, StorageError, StorageStats};

/// Sizes around all limits of a store that works with blocks of 16 KiB: empty, inside one chunk, one block and
/// its neighbours, many blocks, a hash tree above one block.
pub const SIZES: [usize; 9] = [
    0,
    1,
    1024,
    16 * 1024 - 1,
    16 * 1024,
    16 * 1024 + 1,
    100_000,
    257 * 16 * 1024,
    5_000_000,
];

/// Bytes that are different for each `seed`, and nowhere repeat themselves.
pub fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// Checks every promise of `PackageStore` on stores that `make` gives, each empty.
///
/// # Panics
/// Where a promise is broken.
pub async fn package_suite<S: PackageStore>(make: impl AsyncFn() -> S) {
    what_is_stored_is_read_back(&make().await).await;
    uploads_and_stores_are_the_same(&make().await).await;
    a_failing_reader_leaves_nothing(&make().await).await;
    the_unknown_is_not_found(&make().await).await;
    deleted_is_gone_and_can_come_back(&make().await).await;
    lists_and_sums_follow(&make().await).await;
    many_writers_at_once(make().await).await;
    copies_have_the_same_hash(&make().await, &make().await).await;
}

/// Checks every promise of `BlobStore`, those of `PackageStore` included.
///
/// # Panics
/// Where a promise is broken.
pub async fn suite<S: BlobStore>(make: impl AsyncFn() -> S) {
    package_suite(&make).await;
    staged_is_not_seen_until_held(&make().await).await;
    staging_has_a_bound(&make().await).await;
    holding_needs_a_whole_blob(&make().await).await;
    holding_twice_is_holding_once(&make().await).await;
    a_sound_store_verifies(&make().await).await;
    a_closed_store_refuses(&make().await).await;
}

fn storage<T: std::fmt::Debug>(result: crate::Result<T>) -> StorageError {
    match result {
        Err(Error::Storage(error)) => error,
        other => panic!("expected a storage error, not {other:?}"),
    }
}

async fn read(store: &(impl PackageStore + ?Sized), hash: &ContentHash) -> Vec<u8> {
    let stream = store.stream(hash).await.expect("stream of a stored blob");
    let parts: Vec<Bytes> = stream.try_collect().await.expect("sound bytes");
    parts.concat()
}

async fn what_is_stored_is_read_back(store: &impl PackageStore) {
    for (seed, size) in SIZES.into_iter().enumerate() {
        let bytes = content(seed as u64, size);
        let hash = store.store(bytes.clone()).await.expect("store");
        assert_eq!(hash, ContentHash::blake3(&bytes), "{size} bytes");
        assert_eq!(store.get(&hash).await.expect("get"), bytes, "{size} bytes");
        assert_eq!(read(store, &hash).await, bytes, "{size} bytes");
        let sha256 = ContentHash::sha256(&bytes);
        assert_eq!(store.get(&sha256).await.expect("get by SHA-256"), bytes);
        let metadata = store.metadata(&sha256).await.expect("metadata");
        assert_eq!((metadata.blake3, metadata.sha256), (hash, sha256));
        assert_eq!(metadata.size, size as u64);
        let age = chrono::Utc::now() - metadata.stored_at;
        assert!(age.num_seconds().abs() < 600, "{age}");
    }
}

/// Gives its bytes in pieces of odd lengths, and an error at the end if it is to fail.
struct Dribble {
    bytes: Bytes,
    fails: bool,
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && self.fails {
            return Poll::Ready(Err(io::Error::other("the reader fails")));
        }
        let length = self.bytes.len().min(buffer.remaining()).min(7919);
        buffer.put_slice(&self.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

async fn uploads_and_stores_are_the_same(store: &impl PackageStore) {
    for (seed, size) in SIZES.into_iter().enumerate() {
        let bytes = content(seed as u64, size);
        let reader = Dribble {
            bytes: bytes.clone(),
            fails: false,
        };
        let hint = (seed % 2 == 0).then_some(size as u64);
        let hash = store.upload_stream(reader, hint).await.expect("upload");
        assert_eq!(store.store(bytes.clone()).await.expect("store"), hash);
        assert_eq!(read(store, &hash).await, bytes, "{size} bytes");
        let sha256 = store.metadata(&hash).await.expect("metadata").sha256;
        assert_eq!(sha256, ContentHash::sha256(&bytes));
    }
    let stats = store.stats().await.expect("stats");
    assert_eq!(stats.blobs, SIZES.len() as u64, "no second copies");
}

async fn a_failing_reader_leaves_nothing(store: &impl PackageStore) {
    for size in SIZES {
        let bytes = content(99, size);
        let hash = ContentHash::blake3(&bytes);
        let fails = true;
        let result = store.upload_stream(Dribble { bytes, fails }, None).await;
        let error = result.expect_err("the reader fails").to_string();
        assert!(error.contains("the reader fails"), "{error}");
        assert!(!store.exists(&hash).await.expect("exists"));
    }
    assert_eq!(store.stats().await.expect("stats"), StorageStats::default());
}

async fn the_unknown_is_not_found(store: &impl PackageStore) {
    let kept = store.store(content(1, 50)).await.expect("store");
    for hash in [ContentHash::blake3("x"), ContentHash::sha256("x")] {
        let missing = |error| matches!(error, StorageError::NotFound(h) if h == hash);
        assert!(missing(storage(store.get(&hash).await)));
        assert!(missing(storage(store.stream(&hash).await.map(drop))));
        assert!(missing(storage(store.metadata(&hash).await)));
        assert!(missing(storage(store.delete(&hash).await)));
        assert!(!store.exists(&hash).await.expect("exists"));
    }
    // The same 32 bytes are another content under another function.
    let other = ContentHash::from_sha256(*kept.as_bytes());
    assert!(!store.exists(&other).await.expect("exists"));
}

async fn deleted_is_gone_and_can_come_back(store: &impl PackageStore) {
    for size in [100, 200_000] {
        let bytes = content(7, size);
        let hash = store.store(bytes.clone()).await.expect("store");
        let sha256 = ContentHash::sha256(&bytes);
        store.delete(&sha256).await.expect("delete by SHA-256");
        for gone in [hash, sha256] {
            assert!(!store.exists(&gone).await.expect("exists"));
            assert!(matches!(
                storage(store.get(&gone).await),
                StorageError::NotFound(_)
            ));
        }
        assert_eq!(store.list(None, 9).await.expect("list"), []);
        assert_eq!(store.store(bytes.clone()).await.expect("store"), hash);
        assert_eq!(store.get(&hash).await.expect("get"), bytes);
        store.delete(&hash).await.expect("delete");
    }
}

async fn lists_and_sums_follow(store: &impl PackageStore) {
    let mut hashes = Vec::new();
    for seed in 0..40 {
        hashes.push(store.store(content(seed, 100)).await.expect("store"));
    }
    hashes.sort();
    assert_eq!(store.list(None, 100).await.expect("list"), hashes);
    assert_eq!(store.list(None, 3).await.expect("list"), hashes[..3]);
    let prefix = &hashes[20].to_hex()[..5];
    let found = store.list(Some(prefix), 100).await.expect("list");
    assert_eq!(found, [hashes[20]]);
    let stats = store.stats().await.expect("stats");
    let (blobs, bytes) = (40, 4000);
    assert_eq!(stats, StorageStats { blobs, bytes });
    store.delete(&hashes[20]).await.expect("delete");
    assert_eq!(store.list(Some(prefix), 100).await.expect("list"), []);
    let (blobs, bytes) = (39, 3900);
    let stats = store.stats().await.expect("stats");
    assert_eq!(stats, StorageStats { blobs, bytes });
}

async fn many_writers_at_once<S: PackageStore>(store: S) {
    // Two of each, so that equal blobs meet too.
    let writes = (0..200u64).map(|n| store.store(content(n / 2, 200 * n as usize)));
    let hashes: Vec<ContentHash> = futures::future::try_join_all(writes).await.expect("store");
    for (n, hash) in hashes.iter().enumerate() {
        let bytes = content(n as u64 / 2, 200 * n);
        assert_eq!(store.get(hash).await.expect("get"), bytes);
    }
}

async fn copies_have_the_same_hash(from: &impl PackageStore, to: &impl PackageStore) {
    let bytes = content(5, 300_000);
    let hash = from.store(bytes.clone()).await.expect("store");
    assert_eq!(from.copy_to(&hash, to).await.expect("copy"), hash);
    assert_eq!(to.get(&hash).await.expect("get"), bytes);
}

async fn staged_is_not_seen_until_held(store: &impl BlobStore) {
    for size in [10, 100_000] {
        let bytes = content(3, size);
        let staged = store.stage(&mut &bytes[..], 1 << 20).await.expect("stage");
        let hash = staged.hash();
        assert_eq!(hash, ContentHash::blake3(&bytes));
        assert_eq!(staged.size(), Some(size as u64));
        assert!(!store.is_held(&hash) && !store.exists(&hash).await.expect("exists"));
        assert_eq!(store.stats().await.expect("stats").blobs, 0);
        assert!(matches!(
            storage(store.get(&hash).await),
            StorageError::NotFound(_)
        ));
        let inspected = store.inspect(&hash).await.expect("inspect");
        let parts: Vec<Bytes> = inspected.try_collect().await.expect("sound bytes");
        assert_eq!(parts.concat(), bytes);
        let sha256 = ContentHash::sha256(&bytes);
        store.hold(staged, sha256).await.expect("hold");
        assert!(store.is_held(&hash));
        assert_eq!(store.get(&sha256).await.expect("get"), bytes);
        store.delete(&hash).await.expect("delete");
    }
}

async fn staging_has_a_bound(store: &impl BlobStore) {
    for size in [100, 16 * 1024, 100_000, 1_000_000] {
        let bytes = content(4, size);
        let max = size as u64 - 1;
        let refused = storage(store.stage(&mut &bytes[..], max).await);
        assert!(matches!(refused, StorageError::TooLarge { max: m } if m == max));
        let staged = store.stage(&mut &bytes[..], max + 1).await;
        assert_eq!(staged.expect("stage").size(), Some(size as u64));
    }
}

async fn holding_needs_a_whole_blob(store: &impl BlobStore) {
    let nothing = ContentHash::blake3("never seen");
    let guard = store.protect(&nothing, 10).await.expect("protect");
    assert_eq!((guard.hash(), guard.size()), (nothing, None));
    let missing = |error| matches!(error, StorageError::NotFound(h) if h == nothing);
    assert!(missing(storage(store.inspect(&nothing).await.map(drop))));
    let sha256 = ContentHash::sha256("never seen");
    assert!(missing(storage(store.hold(guard, sha256).await)));
    assert!(!store.is_held(&nothing));
}

async fn holding_twice_is_holding_once(store: &impl BlobStore) {
    let bytes = content(6, 70_000);
    let sha256 = ContentHash::sha256(&bytes);
    let first = store.stage(&mut &bytes[..], 1 << 20).await.expect("stage");
    let second = store.stage(&mut &bytes[..], 1 << 20).await.expect("stage");
    let hash = first.hash();
    store.hold(first, sha256).await.expect("hold");
    let stored_at = store.metadata(&hash).await.expect("metadata").stored_at;
    store.hold(second, sha256).await.expect("hold again");
    let again = store.metadata(&hash).await.expect("metadata").stored_at;
    assert_eq!(again, stored_at);
    assert_eq!(store.stats().await.expect("stats").blobs, 1);
    store.delete(&hash).await.expect("delete");
    assert!(!store.is_held(&hash));
}

async fn a_sound_store_verifies(store: &impl BlobStore) {
    for (seed, size) in SIZES.into_iter().enumerate() {
        store
            .store(content(seed as u64, size))
            .await
            .expect("store");
    }
    assert_eq!(store.verify().await.expect("verify"), []);
    // A wrong claim about the SHA-256 hash is found.
    let bytes = content(77, 1000);
    let staged = store.stage(&mut &bytes[..], 1 << 20).await.expect("stage");
    let hash = staged.hash();
    let wrong = ContentHash::sha256("other bytes");
    store.hold(staged, wrong).await.expect("hold");
    let found = store.verify().await.expect("verify");
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [hash]);
}

async fn a_closed_store_refuses(store: &impl BlobStore) {
    let store: Arc<&dyn BlobStore> = Arc::new(store);
    let hash = store.store(content(8, 50_000)).await.expect("store");
    store.close().await.expect("close");
    store.close().await.expect("close again");
    let refused = storage(store.store(content(9, 50_000)).await);
    assert!(matches!(refused, StorageError::Write { .. }), "{refused:?}");
    let refused = storage(store.get(&hash).await);
    assert!(matches!(refused, StorageError::Write { .. }), "{refused:?}");
}
