//! Reading a blob with every block verified.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use ggen_protocols::hash::ContentHash;
use iroh_blobs::api;
use iroh_blobs::api::blobs::EncodedItem;
use iroh_blobs::protocol::ChunkRanges;

use super::StorageError;
use super::local::blob_hash;
use crate::Result;

/// The bytes of a whole blob in order; what is wrong with them, or that there are not `size` of them, is the
/// last item. The crate's own `reader` verifies nothing.
pub(super) fn verified(
    blobs: &api::Store,
    hash: ContentHash,
    size: u64,
    path: PathBuf,
) -> BoxStream<'static, Result<Bytes>> {
    let items = blobs
        .blobs()
        .export_bao(blob_hash(&hash), ChunkRanges::all());
    let reading = Reading {
        items: items.stream().boxed(),
        hash,
        left: size,
        path,
    };
    stream::unfold(Some(reading), next).fuse().boxed()
}

struct Reading {
    items: BoxStream<'static, EncodedItem>,
    hash: ContentHash,
    left: u64,
    path: PathBuf,
}

async fn next(reading: Option<Reading>) -> Option<(Result<Bytes>, Option<Reading>)> {
    let mut reading = reading?;
    loop {
        let wrong = match reading.items.next().await {
            Some(EncodedItem::Leaf(leaf)) if leaf.data.len() as u64 <= reading.left => {
                reading.left -= leaf.data.len() as u64;
                return Some((Ok(leaf.data), Some(reading)));
            }
            Some(EncodedItem::Leaf(_)) => damaged(&reading, "it is longer than it was"),
            Some(EncodedItem::Error(error)) => unreadable(&reading, error.into()),
            Some(EncodedItem::Size(_) | EncodedItem::Parent(_)) => continue,
            Some(EncodedItem::Done) | None if reading.left == 0 => return None,
            Some(EncodedItem::Done) | None => damaged(&reading, "it is shorter than it was"),
        };
        return Some((Err(wrong.into()), None));
    }
}

fn damaged(reading: &Reading, why: &str) -> StorageError {
    StorageError::Damaged {
        hash: reading.hash,
        why: why.to_owned(),
    }
}

fn unreadable(reading: &Reading, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged(reading, &error.to_string()),
        io::ErrorKind::UnexpectedEof => damaged(reading, "its file is too short"),
        io::ErrorKind::NotFound => damaged(reading, "its file is gone"),
        // The crate's word for an entry whose files it could not open.
        _ if error.to_string().contains("poisoned") => {
            damaged(reading, "its file cannot be opened")
        }
        _ => StorageError::Write {
            what: "read a blob",
            path: reading.path.clone(),
            source: error,
        },
    }
}
