//! What a catalogue answers: names to owners, releases, the best version. Decided on a snapshot, without I/O of
//! its own.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ggen_protocols::catalogue::{Feed, Register, Slot, Status};
use ggen_protocols::id::{
    self, CanonicalName, IdError, Label, OwnerId, PackageId, PackageName, PublicKey, RecordId,
    ReleaseKey,
};
use ggen_protocols::metadata::{OwnerIdText, PackageMetadata};
use ggen_protocols::owner::Documents;
use ggen_protocols::record::{Record, Verified};
use ggen_protocols::trust::{Anchor, Endorsement, Veto};
use ggen_protocols::view::Mode;
use semver::{Version, VersionReq};

use super::evidence::Question;
use super::names::owner_of;
use super::policy::Policy;
use super::shelf::Shelf;
use super::trust::Viewer;
use super::{RegistryError, Release, Verdict, shelf};
use crate::Error;
use crate::db::Fault;

/// A package: its owner and its name.
pub(crate) type Package = (OwnerId, CanonicalName);

/// Packages looked at in one step of a listing.
const PAGE_PACKAGES: usize = 256;

/// A stored record.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) record: Verified<Record>,
    pub(crate) first_seen_ms: u64,
}

/// One state of a catalogue, as it is stored.
pub(crate) trait Snapshot {
    fn held(&self, id: &RecordId) -> Result<Option<Held>, Fault>;
    fn slot(&self, key: &ReleaseKey) -> Result<Option<Slot>, Fault>;
    fn slots(&self, owner: OwnerId, name: &CanonicalName)
    -> Result<BTreeMap<Version, Slot>, Fault>;
    /// Registers of a package's releases, and under no version its own.
    fn registers(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Option<Version>, Register>, Fault>;
    /// One of those.
    fn register(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
        version: Option<&Version>,
    ) -> Result<Option<Register>, Fault>;
    /// Who publishes under a name, ascending.
    fn owners(&self, name: &CanonicalName) -> Result<Vec<OwnerId>, Fault>;
    /// The first of them after `after`.
    fn owners_after(
        &self,
        name: &CanonicalName,
        after: Option<OwnerId>,
        limit: usize,
    ) -> Result<Vec<OwnerId>, Fault>;
    /// The first names with this prefix under which something is published, ascending.
    fn names(&self, prefix: &str, limit: usize) -> Result<Vec<CanonicalName>, Fault>;
    /// Whether an owner publishes under a name.
    fn has_package(&self, owner: OwnerId, name: &CanonicalName) -> Result<bool, Fault>;
    /// The first packages after `after` of which some release names this author, who is in lower case.
    fn authored(
        &self,
        author: &str,
        after: Option<&Package>,
        limit: usize,
    ) -> Result<Vec<Package>, Fault>;
    fn pin(&self, label: &Label) -> Result<Option<OwnerId>, Fault>;
    fn feed(&self, owner: OwnerId, key: PublicKey) -> Result<Feed, Fault>;
    /// The documents of a namespace.
    fn documents(&self, owner: OwnerId) -> Result<Documents, Fault>;
    /// Which document of a namespace holds; nothing for a bare key that never wrote one.
    fn status(&self, owner: OwnerId) -> Result<Option<Status>, Fault>;
    /// What the document that holds calls an owner.
    fn label(&self, owner: OwnerId) -> Result<Option<String>, Fault>;
    /// What an owner says of others.
    fn endorsements(&self, issuer: OwnerId) -> Result<BTreeMap<OwnerId, Endorsement>, Fault>;
    /// What one owner says of another.
    fn endorsement(&self, issuer: OwnerId, subject: OwnerId) -> Result<Option<Endorsement>, Fault>;
    /// Namespaces that some document of theirs gives this key a part in; the one of the bare key first.
    fn namespaces_of(&self, key: PublicKey) -> Result<Vec<OwnerId>, Fault>;
    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault>;
    /// The first frozen and dead owners, ascending.
    fn suspended(&self, limit: usize) -> Result<Vec<OwnerId>, Fault>;
    /// The first releases with several contents that a question is about, by owner, name and text of the version.
    fn conflicted(
        &self,
        question: &Question,
        limit: usize,
    ) -> Result<Vec<(ReleaseKey, Slot)>, Fault>;
    /// Records of an owner that stand at the same place of a forked feed, place by place.
    fn forks(&self, owner: OwnerId, limit: usize) -> Result<Vec<Vec<RecordId>>, Fault>;

    // What follows is decided on this node.

    fn mode(&self) -> Result<Mode, Fault>;
    fn name_pin(&self, name: &CanonicalName) -> Result<Option<OwnerId>, Fault>;
    fn name_pins(&self) -> Result<BTreeMap<CanonicalName, OwnerId>, Fault>;
    fn label_pins(&self) -> Result<BTreeMap<Label, OwnerId>, Fault>;
    /// The records of a package's releases that were used here.
    fn contents(
        &self,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<BTreeMap<Version, RecordId>, Fault>;
    /// The record of one of them.
    fn content(&self, release: &ReleaseKey) -> Result<Option<RecordId>, Fault>;
    fn anchors(&self) -> Result<BTreeMap<OwnerId, Anchor>, Fault>;
    /// Blocked owners, and why they are.
    fn blocked(&self) -> Result<BTreeMap<OwnerId, String>, Fault>;
    /// Blocked keys, and why they are.
    fn blocked_keys(&self) -> Result<BTreeMap<PublicKey, String>, Fault>;
    /// What takes all trust from an owner.
    fn vetoed(&self, owner: OwnerId) -> Result<Option<Veto>, Fault>;
    /// Is another one whenever anchors, blocks or endorsements are that count; nothing if that is not followed.
    fn trust_generation(&self) -> Result<Option<u64>, Fault>;
}

/// Why a question has no answer: storage failed, or the answer is an error.
#[derive(Debug)]
pub(crate) enum Failure {
    Fault(Fault),
    Refused(Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::Refused(error.into())
    }
}

/// How a namespace was named.
pub(crate) enum Namespace {
    Bare,
    Owner(OwnerId),
    Label(Label),
}

impl Namespace {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, IdError> {
        match text {
            None => Ok(Self::Bare),
            Some(text) if text.starts_with("ns1") => Ok(Self::Owner(text.parse()?)),
            Some(text) => Ok(Self::Label(text.parse()?)),
        }
    }
}

pub(super) fn not_found(namespace: Option<&str>, name: &str, version: Option<&Version>) -> Failure {
    let namespace = namespace.map(|text| format!("{text}/")).unwrap_or_default();
    let version = version.map(|v| format!("@{v}")).unwrap_or_default();
    RegistryError::NotFound(format!("{namespace}{name}{version}")).into()
}

/// Where `id` stands, and what was claimed for it.
pub(crate) fn find(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    id: &PackageId,
) -> Result<(ReleaseKey, Slot), Failure> {
    let name = id.name.parse::<PackageName>()?.canonical();
    let owner = owner_of(snapshot, viewer, id.namespace.as_deref(), &name)?;
    let key = ReleaseKey::new(owner, name, &id.version);
    match snapshot.slot(&key)? {
        Some(slot) => Ok((key, slot)),
        None => Err(not_found(
            id.namespace.as_deref(),
            &id.name,
            Some(&id.version),
        )),
    }
}

pub(crate) fn get(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    id: &PackageId,
) -> Result<PackageMetadata, Failure> {
    let release = release(snapshot, viewer, id)?;
    if let Some(why) = release.withheld().filter(|_| !release.pinned) {
        let id = id.to_string();
        return Err(RegistryError::Withheld { id, why }.into());
    }
    let mut metadata = release.metadata;
    metadata.id.namespace.clone_from(&id.namespace);
    Ok(metadata)
}

/// The release that `id` means, given out or not.
fn release(snapshot: &impl Snapshot, viewer: &Viewer, id: &PackageId) -> Result<Release, Failure> {
    let name = id.name.parse::<PackageName>()?.canonical();
    let owner = owner_of(snapshot, viewer, id.namespace.as_deref(), &name)?;
    let key = ReleaseKey::new(owner, name, &id.version);
    let package = Shelf::read_one(snapshot, &key)?;
    let found = package.release(snapshot, &key.version)?;
    match found {
        Some(release) => Ok(release),
        None => {
            let version = Some(&id.version);
            Err(absent(
                snapshot,
                owner,
                id.namespace.as_deref(),
                &id.name,
                version,
            )?)
        }
    }
}

/// The answer to a question for what is not here: that of a frozen or dead owner may well exist.
pub(super) fn absent(
    snapshot: &impl Snapshot,
    owner: OwnerId,
    namespace: Option<&str>,
    name: &str,
    version: Option<&Version>,
) -> Result<Failure, Fault> {
    let missing = not_found(namespace, name, version);
    Ok(match (shelf::suspended(snapshot, owner)?, missing) {
        (Some(why), Failure::Refused(Error::Registry(RegistryError::NotFound(id)))) => {
            RegistryError::Withheld { id, why }.into()
        }
        (_, missing) => missing,
    })
}

pub(crate) fn list_versions(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    namespace: Option<&str>,
    name: &str,
) -> Result<Vec<Version>, Failure> {
    let name = name.parse::<PackageName>()?.canonical();
    let Some(owner) = known(owner_of(snapshot, viewer, namespace, &name))? else {
        return Ok(Vec::new());
    };
    let shelf = Shelf::read(snapshot, owner, &name)?;
    let mut listed = Vec::new();
    for version in shelf.versions() {
        match shelf.slots.get(&version) {
            Some(slot) if shelf.gate.withheld(snapshot, slot)?.is_none() => {
                listed.push(spelled(version, slot));
            }
            _ => {
                let release = shelf.release(snapshot, &version)?;
                let pinned = release.filter(|release| release.pinned);
                listed.extend(pinned.map(|release| release.metadata.id.version));
            }
        }
    }
    Ok(listed)
}

/// The version as it was published.
fn spelled(version: Version, slot: &Slot) -> Version {
    Version {
        build: slot.first().build.clone(),
        ..version
    }
}

/// Makes "there is none" of the errors that say so.
fn known<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Refused(Error::Registry(
            RegistryError::NotFound(_) | RegistryError::Withheld { .. },
        ))) => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(crate) fn resolve_version(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    name: &str,
    requirement: &VersionReq,
) -> Result<Option<PackageId>, Failure> {
    let (namespace, name) = id::split_namespace(name)?;
    let canonical = name.canonical();
    let Some(owner) = known(owner_of(snapshot, viewer, namespace.as_deref(), &canonical))? else {
        return Ok(None);
    };
    let shelf = Shelf::read(snapshot, owner, &canonical)?;
    for (version, slot) in shelf.slots.iter().rev() {
        if requirement.matches(version) && shelf.is_offered(snapshot, version, slot)? {
            return Ok(Some(PackageId {
                name: name.as_str().to_owned(),
                version: spelled(version.clone(), slot),
                namespace,
            }));
        }
    }
    Ok(None)
}

pub(crate) fn list_by_author(
    snapshot: &impl Snapshot,
    author: &str,
    limit: usize,
    offset: usize,
) -> Result<Vec<PackageMetadata>, Failure> {
    let author = author.to_lowercase();
    let (mut skip, mut found) = (offset, Vec::new());
    let mut after: Option<Package> = None;
    while found.len() < limit {
        let page = snapshot.authored(&author, after.as_ref(), PAGE_PACKAGES)?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for (owner, name) in page {
            let names_author = |best: &PackageMetadata| {
                best.authors
                    .iter()
                    .any(|other| other.to_lowercase() == author)
            };
            match best(snapshot, owner, &name)?.filter(names_author) {
                Some(_) if skip > 0 => skip -= 1,
                Some(best) if found.len() < limit => found.push(best),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The highest offered version of a package; a pre-release only if there is nothing else.
fn best(
    snapshot: &impl Snapshot,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Option<PackageMetadata>, Fault> {
    let shelf = Shelf::read(snapshot, owner, name)?;
    let mut slots: Vec<_> = shelf.slots.iter().collect();
    slots.sort_by_key(|(version, _)| version.pre.is_empty());
    for (version, slot) in slots.into_iter().rev() {
        if shelf.is_offered(snapshot, version, slot)? {
            let release = shelf.release(snapshot, version)?;
            return Ok(release.map(|release| release.metadata));
        }
    }
    Ok(None)
}

pub(crate) fn is_yanked(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    id: &PackageId,
) -> Result<bool, Failure> {
    Ok(release(snapshot, viewer, id)?.yanked)
}

/// Where the release stands that `id` means.
///
/// # Errors
/// `NotFound`, `Contested`.
pub(crate) fn key_of(
    snapshot: &impl Snapshot,
    viewer: &Viewer,
    id: &PackageId,
) -> Result<ReleaseKey, Failure> {
    Ok(release(snapshot, viewer, id)?.key)
}

pub(crate) fn releases(
    snapshot: &impl Snapshot,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Vec<Release>, Fault> {
    let shelf = Shelf::read(snapshot, owner, name)?;
    let mut releases = Vec::new();
    for version in shelf.versions() {
        releases.extend(shelf.release(snapshot, &version)?);
    }
    Ok(releases)
}

pub(super) fn held(snapshot: &impl Snapshot, slot: &Slot) -> Result<Held, Fault> {
    let id = slot.first().record;
    let missing = || {
        Fault::Damaged(format!(
            "a release stands on record {id}, which is not held"
        ))
    };
    snapshot.held(&id)?.ok_or_else(missing)
}

/// Milliseconds since 1970 as a date; what no date can hold becomes the latest one.
pub(crate) fn moment(time_ms: u64) -> DateTime<Utc> {
    let signed = i64::try_from(time_ms).ok();
    signed
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Everything that this node's user decided.
pub(crate) fn policy(snapshot: &impl Snapshot) -> Result<Policy, Fault> {
    let names = snapshot.name_pins()?.into_iter();
    let labels = snapshot.label_pins()?.into_iter();
    Ok(Policy {
        mode: snapshot.mode()?,
        names: names
            .map(|(name, owner)| (name, OwnerIdText(owner)))
            .collect(),
        labels: labels
            .map(|(label, owner)| (label, OwnerIdText(owner)))
            .collect(),
        anchors: snapshot.anchors()?,
        blocked: snapshot.blocked()?,
        blocked_keys: snapshot.blocked_keys()?,
    })
}
