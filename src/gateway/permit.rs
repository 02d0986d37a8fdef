//! From what a client shows and where it wants to write to somebody who may write there.

use ggen_protocols::id::{CanonicalName, Label, OwnerId, PackageName};
use ggen_protocols::record::State;
use semver::Version;

use super::Gateway;
use super::auth::Credential;
use super::desk::{self, Writer, forbidden};
use super::error::Problem;
use crate::Error;
use crate::archive::index::Segment;
use crate::registry::{Grant, Scope};
use crate::registry::{RegistryError, Release};

/// Who publishes at an index.
///
/// # Errors
/// 403 if the index is of somebody else, or the key is locked.
pub(super) async fn publisher<'a>(
    gateway: &'a Gateway,
    segment: &Segment,
    credential: &Credential,
) -> Result<Writer<'a>, Problem> {
    let writer = match credential {
        Credential::Token(grant) => unlocked(gateway, grant)?,
        Credential::Offer(id) => Writer::offered(gateway, id.clone())?,
        Credential::Envelope(_) => {
            return Err(forbidden(
                "the token is a signed record, which publishes nothing",
            ));
        }
    };
    refuse_foreign(gateway, segment, writer.owner()).await?;
    Ok(writer)
}

/// Whether a client may publish a package, which is new or not.
pub(super) fn may_publish(
    credential: &Credential,
    name: &PackageName,
    is_new: bool,
) -> Result<(), Problem> {
    let scope = match is_new {
        true => Scope::PublishNew,
        false => Scope::PublishUpdate,
    };
    credential.allows(scope, &name.canonical())
}

/// Writes with the key of a token.
///
/// # Errors
/// 403 if it is locked: before anything large is read for nothing.
pub(super) fn unlocked<'a>(gateway: &'a Gateway, grant: &Grant) -> Result<Writer<'a>, Problem> {
    let key = grant.key.0;
    let unlocked = gateway.keys.unlocked();
    if !unlocked.iter().any(|one| one.key.0 == key) {
        return Err(forbidden(format!(
            "key {key} is locked: run `market key unlock`"
        )));
    }
    Ok(Writer::unlocked(gateway, grant.owner(), key))
}

/// Yanks a release or takes that back; nothing changes if it is so already.
pub(super) async fn set_yanked(
    gateway: &Gateway,
    package: (&Segment, &PackageName),
    version: &Version,
    credential: Credential,
    yanked: bool,
) -> Result<(), Problem> {
    let (segment, name) = package;
    let canonical = name.canonical();
    credential.allows(Scope::Yank, &canonical)?;
    match credential {
        Credential::Token(grant) => {
            let owner = own(gateway, segment, &canonical, grant.owner()).await?;
            let release = release(gateway, owner, name, version).await?;
            let before = state(&release);
            if before.yanked == yanked {
                return match release.yanked {
                    now if now == yanked => Ok(()),
                    _ => Err(forbidden(format!(
                        "{name}@{version} is hidden because its owner yanked the whole package"
                    ))),
                };
            }
            let state = State {
                revision: before.revision + 1,
                yanked,
                note: String::new(),
                ..before
            };
            unlocked(gateway, &grant)?.set_state(state).await?;
            Ok(())
        }
        Credential::Envelope(envelope) => {
            let owner = match segment {
                Segment::View => desk::signed_for(gateway, &envelope)?,
                _ => owner_of(gateway, segment, &canonical).await?,
            };
            release(gateway, owner, name, version).await?;
            desk::submit_yank(gateway, envelope, (owner, &canonical), version, yanked).await
        }
        Credential::Offer(_) => Err(forbidden("the token is for publishing one release only")),
    }
}

/// The state of a release, which may never have been set.
pub(super) fn state(release: &Release) -> State {
    release.state.clone().unwrap_or_else(|| State {
        name: release.metadata.id.name.clone(),
        version: Some(release.metadata.id.version.to_string()),
        revision: 0,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        info: None,
    })
}

/// The state of the package of a release as a whole, which may never have been set.
pub(super) fn package_state(release: &Release) -> State {
    release.package_state.clone().unwrap_or_else(|| State {
        name: release.metadata.id.name.clone(),
        version: None,
        revision: 0,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        info: None,
    })
}

/// One release.
///
/// # Errors
/// 404.
pub(super) async fn release(
    gateway: &Gateway,
    owner: OwnerId,
    name: &PackageName,
    version: &Version,
) -> Result<Release, Problem> {
    let mut releases = desk::releases(gateway, owner, &name.canonical())
        .await?
        .into_iter();
    let found = releases.find(|release| release.key.version.cmp_precedence(version).is_eq());
    found.ok_or_else(|| {
        let none = RegistryError::NotFound(format!("{name}@{version}"));
        Error::from(none).into()
    })
}

/// Whose package it is at an index.
pub(super) async fn owner_of(
    gateway: &Gateway,
    segment: &Segment,
    name: &CanonicalName,
) -> Result<OwnerId, Problem> {
    let namespace = segment.namespace();
    let owner = gateway
        .node
        .catalogue()
        .owner_of(namespace.as_deref(), name);
    Ok(owner.await?)
}

/// Makes sure that a package at an index is one of `owner`. At `_`, one's own package is meant, whoever else has one.
///
/// # Errors
/// 404 if there is no such package, 403 if it is somebody else's.
pub(super) async fn own(
    gateway: &Gateway,
    segment: &Segment,
    name: &CanonicalName,
    owner: OwnerId,
) -> Result<OwnerId, Problem> {
    let is_own = !desk::releases(gateway, owner, name).await?.is_empty();
    if *segment == Segment::View && is_own {
        return Ok(owner);
    }
    match owner_of(gateway, segment, name).await? {
        other if other == owner => Ok(owner),
        other => Err(forbidden(format!(
            "{name} belongs to {other}, and the token writes as {owner}: only keys that {other} names may change it"
        ))),
    }
}

/// Refuses to write as `owner` where packages of somebody else are listed.
async fn refuse_foreign(
    gateway: &Gateway,
    segment: &Segment,
    owner: OwnerId,
) -> Result<(), Problem> {
    let is_of = match segment {
        Segment::View => true,
        Segment::Owner(other) => *other == owner,
        Segment::Label(label) => is_called(gateway, owner, label).await?,
    };
    if is_of {
        return Ok(());
    }
    Err(forbidden(format!(
        "this index is of {segment}, and the key writes as {owner}: publish at the index \
         {} or with a key that {segment} names",
        gateway.canonical.index(&Segment::Owner(owner))
    )))
}

/// Whether a label means this owner here: it is pinned to it, or it is what the owner calls itself.
async fn is_called(gateway: &Gateway, owner: OwnerId, label: &Label) -> Result<bool, Problem> {
    let choices = gateway.node.choices()?;
    if let Some(pinned) = choices.policy().await?.labels.get(label) {
        return Ok(pinned.0 == owner);
    }
    let trust = choices.trust(owner, None).await?;
    Ok(trust.label.as_deref() == Some(label.as_str()))
}
