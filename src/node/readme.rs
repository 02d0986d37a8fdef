//! Reads the README of a release whose archive is held, off the runtime's threads.

use std::io::{self, Read};

use futures::TryStreamExt;
use ggen_protocols::hash::ContentHash;
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Shared;
use super::fetch::Blob;
use crate::Result;
use crate::archive::{self, ArchiveError};
use crate::registry::{Release, Verdict};

/// Bytes of a README that are read: nobody reads more, and what shows it takes time for each.
const README_BYTES_MAX: u64 = 512 << 10;

pub(super) async fn of(shared: &Shared, release: &Release) -> Result<Option<String>> {
    let Some(blob) = Blob::of(release) else {
        return Ok(None);
    };
    let unsound = matches!(release.verdict, Verdict::Unsound(_));
    if unsound || !shared.store.is_held(&blob.hash) {
        return Ok(None);
    }
    let format = release.metadata.format;
    let path = read(shared, blob.hash, move |archive| {
        archive::readme_path(archive, format)
    });
    let Some(path) = path.await? else {
        return Ok(None);
    };
    let text = read(shared, blob.hash, move |archive| {
        archive::file(archive, &path, README_BYTES_MAX)
    });
    Ok(text.await?.map(shown))
}

/// Text, whatever the bytes are; without the part of a character that the cut may have left.
fn shown(bytes: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&bytes);
    let cut = bytes.len() as u64 >= README_BYTES_MAX;
    match text.strip_suffix(char::REPLACEMENT_CHARACTER) {
        Some(whole) if cut => whole.to_owned(),
        _ => text.into_owned(),
    }
}

async fn read<T: Send + 'static>(
    shared: &Shared,
    hash: ContentHash,
    look: impl FnOnce(&mut dyn Read) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T> {
    let stream = shared.store.stream(&hash).await?;
    let mut reader = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
    let looked = spawn_blocking(move || look(&mut reader)).await;
    Ok(looked.map_err(io::Error::other)??)
}
