//! Checking the archive of a release, off the runtime's threads.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::NetworkId;
use ggen_protocols::record::{Body, Publish, Signed};
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::Result;
use crate::archive::{self, ArchiveError, Bounds, Inspected};
use crate::registry::{Catalogue, RegistryError, Release};
use crate::store::BlobStore;

/// Reads a whole blob and compares it with the record that publishes it. The inner error is the archive's fault.
///
/// # Errors
/// Those of the store: nothing is known about the archive then.
pub(super) async fn archive(
    store: &Arc<dyn BlobStore>,
    hash: &ContentHash,
    publish: Publish,
) -> Result<Result<Inspected, ArchiveError>> {
    let stream = store.inspect(hash).await?;
    let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
    let broken = Arc::new(AtomicBool::new(false));
    let reader = Watched {
        reader,
        broken: broken.clone(),
    };
    let check = move || archive::matches(reader, &publish, Bounds::default());
    let checked = match spawn_blocking(check).await {
        Ok(checked) => checked,
        Err(error) => return Err(io::Error::other(error).into()),
    };
    match checked {
        Err(ArchiveError::Io(error)) if broken.load(Ordering::Relaxed) => Err(error.into()),
        checked => Ok(checked),
    }
}

/// Tells a store that fails from an archive that cannot be read.
struct Watched<R> {
    reader: R,
    broken: Arc<AtomicBool>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.broken.store(true, Ordering::Relaxed);
        }
        read
    }
}

/// The publish body in the record of a release.
///
/// # Errors
/// Those of the catalogue; `Damaged` if the record is no publish record.
pub(super) async fn publish_of(catalogue: &dyn Catalogue, release: &Release) -> Result<Publish> {
    let envelopes = catalogue.envelopes(vec![release.record]).await?;
    let damaged = || RegistryError::Damaged(format!("the record of {} is missing", release.key));
    let envelope = envelopes.into_iter().next().flatten().ok_or_else(damaged)?;
    publish_in(envelope, catalogue.network()).ok_or_else(|| damaged().into())
}

/// The publish body in a stored envelope, if it is of a publish record.
pub(super) fn publish_in(envelope: bytes::Bytes, network: NetworkId) -> Option<Publish> {
    let record = Signed::from_envelope(envelope).and_then(|signed| signed.trust_stored(network));
    match &record.ok()?.content().body {
        Body::Publish(publish) => Some(publish.as_ref().clone()),
        _ => None,
    }
}
