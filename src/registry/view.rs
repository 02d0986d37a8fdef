//! What a catalogue answers: names to owners, releases, the best version. Decided on a snapshot, without I/O of
//! its own.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ggen_protocols::catalogue::{Feed, Register, Slot};
use ggen_protocols::id::{
    self, CanonicalName, IdError, Label, OwnerId, PackageId, PackageName, PublicKey, RecordId,
    ReleaseKey,
};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Body, Record, State, Verified};
use semver::{Version, VersionReq};

use super::{RegistryError, Release, Standing, Verdict};
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
    /// Who publishes under a name, ascending.
    fn owners(&self, name: &CanonicalName) -> Result<Vec<OwnerId>, Fault>;
    /// The first packages after `after` of which some release names this author, who is in lower case.
    fn authored(
        &self,
        author: &str,
        after: Option<&Package>,
        limit: usize,
    ) -> Result<Vec<Package>, Fault>;
    fn pin(&self, label: &Label) -> Result<Option<OwnerId>, Fault>;
    fn feed(&self, owner: OwnerId, key: PublicKey) -> Result<Feed, Fault>;
    fn verdict(&self, id: &RecordId) -> Result<Verdict, Fault>;
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

/// Whose package a namespace and a name mean on a node that writes as the owners `own`.
pub(crate) fn owner_of(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    namespace: Option<&str>,
    name: &CanonicalName,
) -> Result<OwnerId, Failure> {
    let owners = snapshot.owners(name)?;
    let named = match Namespace::parse(namespace)? {
        Namespace::Owner(owner) => Some(owner),
        Namespace::Label(label) => snapshot.pin(&label)?,
        Namespace::Bare => {
            let own = own.iter().find(|own| owners.contains(own));
            match (own, owners.as_slice()) {
                (Some(owner), _) | (None, [owner]) => Some(*owner),
                (None, []) => None,
                (None, _) => {
                    let name = name.clone();
                    return Err(RegistryError::Contested { name, owners }.into());
                }
            }
        }
    };
    named
        .filter(|owner| owners.contains(owner))
        .ok_or_else(|| not_found(namespace, name.as_str(), None))
}

fn not_found(namespace: Option<&str>, name: &str, version: Option<&Version>) -> Failure {
    let namespace = namespace.map(|text| format!("{text}/")).unwrap_or_default();
    let version = version.map(|v| format!("@{v}")).unwrap_or_default();
    RegistryError::NotFound(format!("{namespace}{name}{version}")).into()
}

/// Where `id` stands, and what was claimed for it.
pub(crate) fn find(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    id: &PackageId,
) -> Result<(ReleaseKey, Slot), Failure> {
    let name = id.name.parse::<PackageName>()?.canonical();
    let owner = owner_of(snapshot, own, id.namespace.as_deref(), &name)?;
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
    own: &[OwnerId],
    id: &PackageId,
) -> Result<PackageMetadata, Failure> {
    let (key, slot) = find(snapshot, own, id)?;
    if slot.is_conflicted() {
        let records: Vec<_> = slot
            .claims()
            .map(|claim| claim.record.to_string())
            .collect();
        let why = format!(
            "it was published with several contents, by the records {}",
            records.join(", ")
        );
        return Err(RegistryError::Withheld {
            id: id.to_string(),
            why,
        }
        .into());
    }
    let states = States::read(snapshot, key.owner, &key.name)?;
    let held = held(snapshot, &slot)?;
    Ok(metadata(
        &held,
        &states,
        &key.version,
        id.namespace.clone(),
    )?)
}

pub(crate) fn list_versions(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    namespace: Option<&str>,
    name: &str,
) -> Result<Vec<Version>, Failure> {
    let name = name.parse::<PackageName>()?.canonical();
    let Some(owner) = known(owner_of(snapshot, own, namespace, &name))? else {
        return Ok(Vec::new());
    };
    let slots = snapshot.slots(owner, &name)?.into_iter();
    let published = slots.filter(|(_, slot)| !slot.is_conflicted());
    Ok(published
        .map(|(version, slot)| spelled(version, &slot))
        .collect())
}

/// The version as it was published.
fn spelled(version: Version, slot: &Slot) -> Version {
    Version {
        build: slot.first().build.clone(),
        ..version
    }
}

/// Makes "there is none" of the error that says so.
fn known<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Refused(Error::Registry(RegistryError::NotFound(_)))) => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(crate) fn resolve_version(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    name: &str,
    requirement: &VersionReq,
) -> Result<Option<PackageId>, Failure> {
    let (namespace, name) = id::split_namespace(name)?;
    let canonical = name.canonical();
    let Some(owner) = known(owner_of(snapshot, own, namespace.as_deref(), &canonical))? else {
        return Ok(None);
    };
    let states = States::read(snapshot, owner, &canonical)?;
    let slots = snapshot.slots(owner, &canonical)?;
    for (version, slot) in slots.into_iter().rev() {
        if requirement.matches(&version) && is_offered(snapshot, &states, &version, &slot)? {
            return Ok(Some(PackageId {
                name: name.as_str().to_owned(),
                version: spelled(version, &slot),
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
    let states = States::read(snapshot, owner, name)?;
    let mut slots: Vec<_> = snapshot.slots(owner, name)?.into_iter().collect();
    slots.sort_by_key(|(version, _)| version.pre.is_empty());
    for (version, slot) in slots.iter().rev() {
        if is_offered(snapshot, &states, version, slot)? {
            let held = held(snapshot, slot)?;
            return metadata(&held, &states, version, Some(owner.to_string())).map(Some);
        }
    }
    Ok(None)
}

fn is_offered(
    snapshot: &impl Snapshot,
    states: &States,
    version: &Version,
    slot: &Slot,
) -> Result<bool, Fault> {
    Ok(!slot.is_conflicted()
        && !states.yanked(version)
        && !states.withdrawn(version)
        && !matches!(snapshot.verdict(&slot.first().record)?, Verdict::Unsound(_)))
}

pub(crate) fn is_yanked(
    snapshot: &impl Snapshot,
    own: &[OwnerId],
    id: &PackageId,
) -> Result<bool, Failure> {
    let (key, _) = find(snapshot, own, id)?;
    let states = States::read(snapshot, key.owner, &key.name)?;
    Ok(states.yanked(&key.version))
}

pub(crate) fn releases(
    snapshot: &impl Snapshot,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Vec<Release>, Fault> {
    let states = States::read(snapshot, owner, name)?;
    let mut releases = Vec::new();
    for (version, slot) in snapshot.slots(owner, name)? {
        let held = held(snapshot, &slot)?;
        let metadata = metadata(&held, &states, &version, Some(owner.to_string()))?;
        releases.push(Release {
            record: held.record.id(),
            metadata,
            standing: if slot.is_conflicted() {
                Standing::Conflicted(slot.claims().map(|claim| claim.record).collect())
            } else {
                Standing::Published
            },
            yanked: states.yanked(&version),
            withdrawn: states.withdrawn(&version),
            note: states.note(&version),
            state: states.state(name, &version),
            verdict: snapshot.verdict(&held.record.id())?,
            first_seen: moment(held.first_seen_ms),
            key: ReleaseKey::new(owner, name.clone(), &version),
        });
    }
    Ok(releases)
}

fn held(snapshot: &impl Snapshot, slot: &Slot) -> Result<Held, Fault> {
    let id = slot.first().record;
    let missing = || {
        Fault::Damaged(format!(
            "a release stands on record {id}, which is not held"
        ))
    };
    snapshot.held(&id)?.ok_or_else(missing)
}

fn metadata(
    held: &Held,
    states: &States,
    version: &Version,
    namespace: Option<String>,
) -> Result<PackageMetadata, Fault> {
    let Body::Publish(publish) = &held.record.content().body else {
        let id = held.record.id();
        let what = format!("a release stands on record {id}, which publishes nothing");
        return Err(Fault::Damaged(what));
    };
    let mut metadata = publish.to_metadata(namespace, &held.record);
    for register in states.of(version) {
        if let Some(info) = &register.info {
            info.apply(&mut metadata);
        }
    }
    Ok(metadata)
}

/// The registers of one package.
pub(crate) struct States(BTreeMap<Option<Version>, Register>);

impl States {
    pub(crate) fn read(
        snapshot: &impl Snapshot,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<Self, Fault> {
        Ok(Self(snapshot.registers(owner, name)?))
    }

    /// The package's register, then the release's: what the second says comes later.
    fn of(&self, version: &Version) -> impl Iterator<Item = &Register> {
        let own = self.0.get(&Some(version.clone()));
        self.0.get(&None).into_iter().chain(own)
    }

    pub(crate) fn yanked(&self, version: &Version) -> bool {
        self.of(version).any(|register| register.yanked)
    }

    fn withdrawn(&self, version: &Version) -> bool {
        self.of(version).any(|register| register.withdrawn)
    }

    /// What the release's own register holds, in the form that a record sets it in.
    pub(crate) fn state(&self, name: &CanonicalName, version: &Version) -> Option<State> {
        let register = self.0.get(&Some(version.clone()))?;
        Some(State {
            name: name.to_string(),
            version: Some(version.to_string()),
            revision: register.revision,
            yanked: register.yanked,
            withdrawn: register.withdrawn,
            note: register.note.clone(),
            info: register.info.clone(),
        })
    }

    fn note(&self, version: &Version) -> String {
        let notes = self.of(version).map(|register| &register.note);
        let said = notes.filter(|note| !note.is_empty()).last();
        said.cloned().unwrap_or_default()
    }
}

/// Milliseconds since 1970 as a date; what no date can hold becomes the latest one.
fn moment(time_ms: u64) -> DateTime<Utc> {
    let signed = i64::try_from(time_ms).ok();
    signed
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
