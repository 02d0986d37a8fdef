//! Taking what users of this node sign: the archive first, then the record, so that no record that others see
//! points at bytes that nobody has.

use std::sync::Arc;

use bytes::Bytes;
use ggen_protocols::id::{OwnerId, PackageId};
use ggen_protocols::record::{Body, FeedHead, Publish, Record, Verified};
use tokio::io::AsyncRead;

use super::observe::Origin;
use super::{NodeError, Published, Shared, admit, check};
use crate::Error;
use crate::Result;
use crate::crash;
use crate::registry::{Admission, RegistryError, Release, Standing, Verdict, Witnessed};
use crate::store::{Staged, StorageError};

/// A publish record whose archive is here, but not checked.
#[derive(Debug)]
pub(super) struct Staging {
    record: Verified<Record>,
    publish: Publish,
    staged: Staged,
}

/// What the first look at a publish record gave.
pub(super) enum Look {
    /// Exactly this is published and its archive is held: nothing is to be done.
    Done(Published),
    /// Its archive is wanted.
    Wanted(Box<(Verified<Record>, Publish)>),
}

/// Reads a publish record and finds what speaks against it before its archive is read.
pub(super) async fn look(shared: &Shared, envelope: Bytes) -> Result<Look> {
    let record = shared
        .door
        .verify(envelope)
        .await?
        .map_err(NodeError::from)?;
    let owner = record.namespace().map_err(NodeError::from)?;
    let Body::Publish(publish) = &record.content().body else {
        return Err(
            NodeError::OtherKind("it publishes nothing: hand it over without an archive").into(),
        );
    };
    let publish = publish.as_ref().clone();
    let size_max = shared.config.package_bytes_max;
    if publish.size.is_some_and(|size| size > size_max) {
        return Err(StorageError::TooLarge { max: size_max }.into());
    }
    if let Some(release) = existing(shared, owner, &publish).await? {
        let same = check::publish_of(&*shared.catalogue, &release).await? == publish;
        if !same || release.standing != Standing::Published {
            return Err(RegistryError::Conflict {
                id: id(owner, &publish),
            }
            .into());
        }
        let checksums = &release.metadata.checksums;
        if checksums
            .blake3
            .is_some_and(|hash| shared.store.is_held(&hash))
        {
            let record = release.record.to_string();
            return Ok(Look::Done(published(owner, &publish, record, false)));
        }
    } else {
        continues_feed(shared, owner, &record).await?;
    }
    Ok(Look::Wanted(Box::new((record, publish))))
}

async fn existing(shared: &Shared, owner: OwnerId, publish: &Publish) -> Result<Option<Release>> {
    let key = publish.key(owner);
    let releases = shared.catalogue.releases(owner, &key.name).await?;
    Ok(releases.into_iter().find(|release| release.key == key))
}

/// Saves reading an archive whose record cannot be taken; the catalogue decides it again when it writes.
async fn continues_feed(shared: &Shared, owner: OwnerId, record: &Verified<Record>) -> Result<()> {
    let head = shared.catalogue.feed_head(owner, record.key()).await?;
    let content = record.content();
    let expected = FeedHead {
        seq: content.seq.saturating_sub(1),
        last: content.previous,
    };
    if head != expected {
        return Err(NodeError::Stale.into());
    }
    Ok(())
}

/// Writes the archive down, not yet seen by anybody.
pub(super) async fn stage(
    shared: &Shared,
    record: Verified<Record>,
    publish: Publish,
    archive: &mut (dyn AsyncRead + Unpin + Send),
) -> Result<Staging> {
    let size_max = shared.config.package_bytes_max;
    let staged = shared.store.stage(archive, size_max).await?;
    crash::point("publish.staged");
    Ok(Staging {
        record,
        publish,
        staged,
    })
}

/// Checks what was staged, holds the archive, admits the record. Gives what came of it, and the record if it is
/// to be announced.
pub(super) async fn finish(
    shared: Arc<Shared>,
    staging: Staging,
) -> Result<(Published, Option<Verified<Record>>)> {
    let Staging {
        record,
        publish,
        staged,
    } = staging;
    let owner = record.namespace().map_err(NodeError::from)?;
    let checked = check::archive(&shared.store, &staged.hash(), publish.clone()).await?;
    let inspected = checked?;
    crash::point("publish.checked");
    // Nobody may take a held blob for an orphan before its record is there.
    let _writing = shared.writing.read().await;
    if existing(&shared, owner, &publish).await?.is_none() {
        continues_feed(&shared, owner, &record).await?;
    }
    let hash = staged.hash();
    let came = !shared.store.is_held(&hash);
    shared.store.hold(staged, inspected.sha256).await?;
    crash::point("publish.held");
    let admission = shared.catalogue.admit_own(record.clone()).await;
    let new = admitted(&shared, admission)?;
    crash::point("publish.admitted");
    let release = existing(&shared, owner, &publish).await?;
    let id = release.map_or(record.id(), |release| release.record);
    shared.catalogue.judge(id, Verdict::Sound).await?;
    crash::point("publish.judged");
    if came {
        shared.teller.blob(hash, inspected.size);
    }
    let published = published(owner, &publish, id.to_string(), new);
    Ok((published, new.then_some(record)))
}

/// Reads and verifies a record that comes without an archive.
pub(super) async fn verify_state(shared: &Shared, envelope: Bytes) -> Result<Verified<Record>> {
    let record = shared
        .door
        .verify(envelope)
        .await?
        .map_err(NodeError::from)?;
    if matches!(record.content().body, Body::Publish(_)) {
        return Err(
            NodeError::OtherKind("it publishes a release: hand it over with its archive").into(),
        );
    }
    Ok(record)
}

/// Admits a record that comes without an archive; true if it is new.
pub(super) async fn submit(shared: Arc<Shared>, record: Verified<Record>) -> Result<bool> {
    if admit::is_head(&record) {
        return match shared.catalogue.witness(record).await? {
            Witnessed::Newer => Ok(true),
            Witnessed::Older => Ok(false),
            Witnessed::Early | Witnessed::Stranger => {
                let why = "its signer is no key of the namespace that it tells of";
                Err(RegistryError::Unauthorized(why.to_owned()).into())
            }
        };
    }
    let admission = shared.catalogue.admit_own(record).await;
    admitted(&shared, admission)
}

fn admitted(shared: &Shared, admission: Result<Admission>) -> Result<bool> {
    shared.meters.admitted(Origin::Own, (&admission).into());
    match admission {
        Ok(Admission::New) => Ok(true),
        Ok(Admission::Known) => Ok(false),
        Ok(Admission::Refused(refusal)) => Err(NodeError::Refused(refusal).into()),
        Ok(Admission::OwnerFull) => {
            let why = "its owner has as many records as one may have";
            Err(RegistryError::Unauthorized(why.to_owned()).into())
        }
        Ok(Admission::Evicted) => {
            let why = "its owner had to make room for others on this node";
            Err(RegistryError::Unauthorized(why.to_owned()).into())
        }
        Err(Error::Registry(RegistryError::Stale)) => Err(NodeError::Stale.into()),
        Err(error) => Err(error),
    }
}

fn id(owner: OwnerId, publish: &Publish) -> PackageId {
    let key = publish.key(owner);
    PackageId {
        name: publish.name.clone(),
        version: key.version,
        namespace: Some(owner.to_string()),
    }
}

fn published(owner: OwnerId, publish: &Publish, record: String, new: bool) -> Published {
    let checksums = publish.checksums();
    Published {
        package: format!("{}@{}", publish.name, publish.version),
        owner: owner.to_string(),
        record,
        blake3: checksums.blake3.unwrap_or_default(),
        size: checksums.size.unwrap_or_default(),
        new,
    }
}
