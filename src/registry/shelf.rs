//! One package on this node: its releases, what keeps them from being given out, and what was used of them here.

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::catalogue::{Claim, Register, Slot, Status};
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Body, State};
use ggen_protocols::trust::Veto;
use semver::Version;

use super::view::{Held, Snapshot, held, moment};
use super::{Release, Standing, Verdict};
use crate::db::Fault;

/// One package: what is effective of it, and what was used of it here.
pub(super) struct Shelf {
    owner: OwnerId,
    name: CanonicalName,
    states: States,
    pub(super) slots: BTreeMap<Version, Slot>,
    used: BTreeMap<Version, RecordId>,
    pub(super) gate: Gate,
}

impl Shelf {
    pub(super) fn read(
        snapshot: &impl Snapshot,
        owner: OwnerId,
        name: &CanonicalName,
    ) -> Result<Self, Fault> {
        Ok(Self {
            owner,
            name: name.clone(),
            states: States::read(snapshot, owner, name)?,
            slots: snapshot.slots(owner, name)?,
            used: snapshot.contents(owner, name)?,
            gate: Gate::read(snapshot, owner)?,
        })
    }

    /// The same with one release of it only, whichever others there are.
    pub(super) fn read_one(snapshot: &impl Snapshot, release: &ReleaseKey) -> Result<Self, Fault> {
        let ReleaseKey {
            owner,
            name,
            version,
        } = release;
        let slot = snapshot.slot(release)?.into_iter();
        let used = snapshot.content(release)?.into_iter();
        Ok(Self {
            owner: *owner,
            name: name.clone(),
            states: States::read_one(snapshot, release)?,
            slots: slot.map(|slot| (version.clone(), slot)).collect(),
            used: used.map(|record| (version.clone(), record)).collect(),
            gate: Gate::read(snapshot, *owner)?,
        })
    }

    /// Versions that are published or were used here, ascending.
    pub(super) fn versions(&self) -> BTreeSet<Version> {
        self.slots.keys().chain(self.used.keys()).cloned().collect()
    }

    pub(super) fn is_offered(
        &self,
        snapshot: &impl Snapshot,
        version: &Version,
        slot: &Slot,
    ) -> Result<bool, Fault> {
        Ok(!self.is_yanked(version) && self.is_given_out(snapshot, version, slot)?)
    }

    pub(super) fn is_yanked(&self, version: &Version) -> bool {
        self.states.yanked(version)
    }

    /// Whether whoever asks for this very version gets it, yanked or not.
    pub(super) fn is_given_out(
        &self,
        snapshot: &impl Snapshot,
        version: &Version,
        slot: &Slot,
    ) -> Result<bool, Fault> {
        let unsound = matches!(snapshot.verdict(&slot.first().record)?, Verdict::Unsound(_));
        Ok(!self.states.withdrawn(version)
            && !unsound
            && self.gate.withheld(snapshot, slot)?.is_none()
            && self.is_as_used(snapshot, version, slot)?)
    }

    /// Whether a slot's one content is what was used here, if anything was.
    fn is_as_used(
        &self,
        snapshot: &impl Snapshot,
        version: &Version,
        slot: &Slot,
    ) -> Result<bool, Fault> {
        let Some(used) = self
            .used
            .get(version)
            .filter(|id| **id != slot.first().record)
        else {
            return Ok(true);
        };
        let content = match snapshot.held(used)?.map(|held| held.record) {
            Some(record) => match &record.content().body {
                Body::Publish(publish) => Some(Claim::of(*used, publish).content),
                _ => None,
            },
            None => None,
        };
        Ok(content.is_none_or(|content| content == slot.first().content))
    }

    /// One release; nothing if it is neither published nor was used here.
    pub(super) fn release(
        &self,
        snapshot: &impl Snapshot,
        version: &Version,
    ) -> Result<Option<Release>, Fault> {
        let slot = self.slots.get(version);
        let used = match self.used.get(version) {
            Some(used) => snapshot.held(used)?,
            None => None,
        };
        let standing = match slot {
            None => Standing::Withheld(self.gate.gone(snapshot)?),
            Some(slot) => match self.gate.withheld(snapshot, slot)? {
                Some(standing) => standing,
                None if self.is_as_used(snapshot, version, slot)? => Standing::Published,
                None => Standing::Withheld(
                    "its owner now publishes another content under this version than the one that was used here"
                        .to_owned(),
                ),
            },
        };
        let pinned = used.is_some();
        let held = match (used, slot) {
            // The smallest record of the same content, as for everybody else.
            (Some(_), Some(slot)) if standing == Standing::Published => held(snapshot, slot)?,
            (Some(used), _) => used,
            (None, Some(slot)) => held(snapshot, slot)?,
            (None, None) => return Ok(None),
        };
        let is_shown_yanked = pinned && standing != Standing::Published;
        let metadata = metadata(&held, &self.states, version, Some(self.owner.to_string()))?;
        let record = held.record.id();
        Ok(Some(Release {
            record,
            metadata,
            standing,
            pinned,
            yanked: self.states.yanked(version) || is_shown_yanked,
            withdrawn: self.states.withdrawn(version),
            note: self.states.note(version),
            state: self.states.state(&self.name, Some(version)),
            package_state: self.states.state(&self.name, None),
            verdict: snapshot.verdict(&record)?,
            first_seen: moment(held.first_seen_ms),
            key: ReleaseKey::new(self.owner, self.name.clone(), version),
        }))
    }
}

/// What keeps releases of one owner from being given out here.
pub(super) struct Gate {
    owner: OwnerId,
    vetoed: Option<String>,
    blocked_keys: BTreeMap<PublicKey, String>,
}

impl Gate {
    fn read(snapshot: &impl Snapshot, owner: OwnerId) -> Result<Self, Fault> {
        Ok(Self {
            owner,
            vetoed: vetoed(snapshot, owner)?,
            blocked_keys: snapshot.blocked_keys()?,
        })
    }

    /// How a published release is kept from being given out, if it is.
    pub(super) fn withheld(
        &self,
        snapshot: &impl Snapshot,
        slot: &Slot,
    ) -> Result<Option<Standing>, Fault> {
        if slot.is_conflicted() {
            let records = slot.claims().map(|claim| claim.record).collect();
            return Ok(Some(Standing::Conflicted(records)));
        }
        if let Some(why) = &self.vetoed {
            return Ok(Some(Standing::Withheld(why.clone())));
        }
        if self.blocked_keys.is_empty() {
            return Ok(None);
        }
        let key = held(snapshot, slot)?.record.key();
        let why = self.blocked_keys.get(&key).map(|reason| {
            let because = because(reason);
            format!(
                "key {key}, which signed it, is blocked here{because}; `market trust unblock {key}` takes that back"
            )
        });
        Ok(why.map(Standing::Withheld))
    }

    /// Why a release that was used here is not published any more.
    fn gone(&self, snapshot: &impl Snapshot) -> Result<String, Fault> {
        let owner = self.owner;
        let lost = || format!("its owner {owner} took away the right of the key that signed it");
        Ok(suspended(snapshot, owner)?.unwrap_or_else(lost))
    }
}

/// Why nothing of an owner is effective now, if its documents contradict each other.
pub(super) fn suspended(snapshot: &impl Snapshot, owner: OwnerId) -> Result<Option<String>, Fault> {
    Ok(match snapshot.status(owner)? {
        Some(Status::Frozen(_)) => Some(format!(
            "its owner {owner} is frozen: its root signed two documents that contradict each other; its owner can end this with the recovery key"
        )),
        Some(Status::Dead(_)) => Some(format!(
            "its owner {owner} is dead: its recovery key was used twice, and nothing can be published there any more"
        )),
        _ => None,
    })
}

/// Why nothing of an owner is given out on this node, if the user or an anchor says so.
pub(super) fn vetoed(snapshot: &impl Snapshot, owner: OwnerId) -> Result<Option<String>, Fault> {
    Ok(match snapshot.vetoed(owner)? {
        None => None,
        Some(Veto::Blocked) => {
            let reason = snapshot.blocked()?.remove(&owner).unwrap_or_default();
            let because = because(&reason);
            Some(format!(
                "its owner {owner} is blocked here{because}; `market trust unblock {owner}` takes that back"
            ))
        }
        Some(Veto::By(anchor)) => {
            let word = snapshot.endorsement(anchor, owner)?;
            let because = because(word.map(|word| word.reason).unwrap_or_default().as_str());
            let called = match snapshot.label(anchor)? {
                Some(label) => format!("{label} ({anchor})"),
                None => anchor.to_string(),
            };
            Some(format!(
                "{called}, on whom you rely, distrusts its owner {owner}{because}; `market trust add {owner}` relies on it all the same"
            ))
        }
    })
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
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

    /// Those that speak of one release.
    fn read_one(snapshot: &impl Snapshot, release: &ReleaseKey) -> Result<Self, Fault> {
        let mut registers = BTreeMap::new();
        for version in [None, Some(&release.version)] {
            let register = snapshot.register(release.owner, &release.name, version)?;
            registers.extend(register.map(|register| (version.cloned(), register)));
        }
        Ok(Self(registers))
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

    /// What the own register of a release or of the package holds, in the form that a record sets it in.
    pub(crate) fn state(&self, name: &CanonicalName, version: Option<&Version>) -> Option<State> {
        let register = self.0.get(&version.cloned())?;
        Some(State {
            name: name.to_string(),
            version: version.map(ToString::to_string),
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
