//! Packages as commands and HTTP tell of them: the JSON that programs may rely on.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::metadata::{Dependency, Format};
use ggen_protocols::record::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::registry::{OwnerStatus, OwnerTrust};
use crate::registry::{Release, Standing, Verdict};
use crate::search::SearchPage;

/// Versions of one package that are told of, the highest ones: an answer has a bound, a package has none.
const VERSIONS_MAX: usize = 1000;

/// One page of what a search found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hits {
    /// How many packages fit in all.
    pub total: u64,
    /// The ones asked for, best first.
    pub hits: Vec<Hit>,
    /// If there are none, at most three names that may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did_you_mean: Vec<String>,
}

/// One package that a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hit {
    /// What to write before the name to mean exactly this package.
    pub namespace: String,
    /// Whose it is.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Its best version.
    pub version: String,
    /// One or two sentences.
    pub description: String,
    /// How well it fits; comparable within one answer only.
    pub score: f32,
    /// How often it was downloaded, as far as this node knows.
    #[serde(default)]
    pub downloads: u64,
    /// Packages of other owners with the same name and description, which are not shown.
    #[serde(default)]
    pub copies: u32,
    /// Where words of the query stand in the name: first byte, and the one after the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_marks: Vec<(usize, usize)>,
    /// The same in the description.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub description_marks: Vec<(usize, usize)>,
    /// What the owner's document calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the user may expect of it, as in [`PackageInfo::badge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<String>,
}

impl From<SearchPage> for Hits {
    fn from(page: SearchPage) -> Self {
        let hits = page.hits.into_iter().map(|hit| {
            // The index keeps the owner as the namespace.
            let owner = hit.package.id.namespace.unwrap_or_default();
            Hit {
                namespace: owner.clone(),
                owner,
                name: hit.package.id.name,
                version: hit.package.id.version.to_string(),
                description: hit.package.description,
                score: hit.score,
                downloads: hit.downloads,
                copies: hit.copies,
                name_marks: marks(hit.highlights.name),
                description_marks: marks(hit.highlights.description),
                label: None,
                badge: None,
            }
        });
        Self {
            total: page.total,
            hits: hits.collect(),
            did_you_mean: page.did_you_mean,
        }
    }
}

fn marks(ranges: Vec<Range<usize>>) -> Vec<(usize, usize)> {
    let marks = ranges.into_iter();
    marks.map(|range| (range.start, range.end)).collect()
}

/// One package with its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackageInfo {
    /// What to write before the name to mean exactly this package.
    pub namespace: String,
    /// Whose it is.
    pub owner: String,
    /// What the owner's document calls it.
    pub label: Option<String>,
    /// What the user may expect of it: `own`, `pinned`, `trusted`, `partly trusted`, `unverified`, `distrusted` or
    /// `blocked`.
    pub badge: String,
    /// How the owner's documents stand: `active`, `frozen`, `dead` or `unknown`.
    #[schema(value_type = String)]
    pub status: OwnerStatus,
    /// When this node first saw its lowest version.
    pub first_seen: DateTime<Utc>,
    /// Its name, as its highest offered version spells it; without one, its highest.
    pub name: String,
    /// One or two sentences, of the same version.
    pub description: String,
    /// Licence expression of the same version, or empty.
    pub license: String,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// How many versions there are.
    pub versions_total: usize,
    /// The versions, highest first; at most the highest 1,000.
    pub versions: Vec<VersionInfo>,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// The version.
    pub version: String,
    /// Whether its owner yanked it: new resolutions pass over it.
    pub yanked: bool,
    /// Whether its owner took it back altogether.
    pub withdrawn: bool,
    /// What its owner said about that.
    pub note: String,
    /// Whether there are two contents for it, so that nobody can say which is meant.
    pub conflicted: bool,
    /// Why it is not given out here, if it is not; those who used it before still get it.
    pub withheld: Option<String>,
    /// Whether this very content was used here.
    pub pinned: bool,
    /// Why its archive is not what its record says, if it was here and is not.
    pub unsound: Option<String>,
    /// What the archive is.
    #[schema(value_type = String)]
    pub format: Format,
    /// What peers fetch it by.
    #[schema(value_type = Option<String>)]
    pub blake3: Option<ContentHash>,
    /// What package managers check it by.
    #[schema(value_type = Option<String>)]
    pub sha256: Option<ContentHash>,
    /// Length of the archive in bytes.
    pub size: Option<u64>,
    /// The publisher's clock when it signed.
    pub published_at: DateTime<Utc>,
    /// The record that published it.
    pub record: String,
    /// What it needs, by the name that its own code uses.
    #[schema(value_type = BTreeMap<String, Vec<DependencyForm>>)]
    pub dependencies: BTreeMap<String, Vec<Dependency>>,
}

/// One dependency of a version: the form of [`Dependency`] in JSON.
#[derive(ToSchema)]
#[schema(as = Dependency)]
#[allow(dead_code)] // It only describes what is written.
struct DependencyForm {
    /// The package needed.
    name: String,
    /// Which of its versions will do.
    requirement: String,
    /// `default`, `{"owner": id}` or `{"url": address}`.
    #[schema(value_type = Value)]
    source: (),
    /// `normal`, `dev` or `build`.
    kind: String,
    /// Which of its features must be on.
    features: Vec<String>,
    /// For which platforms, if not for all.
    target: Option<String>,
    /// Whether only a feature turns it on.
    optional: bool,
    /// Whether its default features are on.
    default_features: bool,
}

impl PackageInfo {
    /// Tells of these releases, which are those of one package in ascending order; nothing if there are none.
    pub(crate) fn of(trust: &OwnerTrust, releases: Vec<Release>) -> Option<Self> {
        let offered = releases.iter().rev().find(|release| release.is_offered());
        let shown = &offered.or(releases.last())?.metadata;
        let owner = trust.owner.to_string();
        Some(Self {
            namespace: owner.clone(),
            owner,
            label: trust.label.clone(),
            badge: trust.badge().to_owned(),
            status: trust.status,
            first_seen: releases.first()?.first_seen,
            name: shown.id.name.clone(),
            description: shown.description.clone(),
            license: shown.license.clone(),
            repository: shown.repository.as_ref().map(ToString::to_string),
            keywords: shown.keywords.clone(),
            versions_total: releases.len(),
            versions: releases
                .into_iter()
                .rev()
                .take(VERSIONS_MAX)
                .map(VersionInfo::from)
                .collect(),
        })
    }
}

impl From<Release> for VersionInfo {
    fn from(release: Release) -> Self {
        let withheld = release.withheld();
        let metadata = release.metadata;
        Self {
            withheld,
            pinned: release.pinned,
            version: metadata.id.version.to_string(),
            yanked: release.yanked,
            withdrawn: release.withdrawn,
            note: release.note,
            conflicted: matches!(release.standing, Standing::Conflicted(_)),
            unsound: match release.verdict {
                Verdict::Unsound(why) => Some(why),
                Verdict::Sound | Verdict::Unchecked => None,
            },
            format: metadata.format,
            blake3: metadata.checksums.blake3,
            sha256: metadata.checksums.sha256,
            size: metadata.checksums.size,
            published_at: metadata.published_at,
            record: release.record.to_string(),
            dependencies: metadata.dependencies.into_iter().collect(),
        }
    }
}

/// What the owner of a release must know to set its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseState {
    /// Whose it is.
    pub owner: String,
    /// Whether it is hidden now, be it by its own state or by that of its package.
    pub yanked: bool,
    /// Its own state, if that was ever set.
    pub state: Option<State>,
}
