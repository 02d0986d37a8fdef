//! A package: what it is, whose, why one may rely on it, how to get it.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use ggen_protocols::id::{PackageName, parse_version, split_namespace};
use ggen_protocols::metadata::Format;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::graph::{self, Graph};
use super::needs::{Need, needs};
use super::readme;
use super::shown::{self, Link, Mark, Moment, bytes, clip, count};
use super::trust::Owner;
use super::{bad, page};
use crate::Error;
use crate::Result;
use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::node::Availability;
use crate::registry::{Contested, RegistryError, Release, Verdict};

/// Versions that are listed; the command tells of more.
const VERSIONS_MAX: usize = 100;
/// Versions that are listed at first sight.
const VERSIONS_SHOWN: usize = 8;
/// Features that are listed.
const FEATURES_MAX: usize = 100;
/// Characters of what an owner or this node says of a version.
const WORDS_MAX: usize = 500;
/// Characters of an owner id by which cargo's configuration calls the registry of an owner without a label.
const REGISTRY_ID_CHARS: usize = 12;

#[derive(Template)]
#[template(path = "package.html", config = "src/gateway/pages/askama.toml")]
struct Page {
    name: String,
    owner: Owner,
    version: String,
    description: String,
    license: String,
    /// Each with where to search for it.
    keywords: Vec<(String, String)>,
    links: Vec<Link>,
    rust_version: Option<String>,
    authors: Vec<String>,
    published: Moment,
    size: Option<String>,
    blake3: Option<String>,
    sha256: Option<String>,
    record: String,
    format: &'static str,
    is_crate: bool,
    held: bool,
    /// How many peers hold it, once they were asked. The script asks by itself.
    elsewhere: Option<String>,
    notes: Vec<Note>,
    deprecated: Option<String>,
    readme: Option<readme::Shown>,
    needs: Vec<Need>,
    graph: Option<Graph>,
    features: Vec<(String, String)>,
    versions: Vec<Row>,
    versions_more: Vec<Row>,
    versions_total: String,
    /// What cargo's configuration calls the index of this owner.
    registry: String,
    index: String,
}

/// What is out of the ordinary about the version that is shown.
struct Note {
    class: &'static str,
    title: &'static str,
    words: String,
}

/// One version in the list.
struct Row {
    version: String,
    when: Moment,
    states: Vec<(&'static str, &'static str)>,
    current: bool,
}

#[derive(Template)]
#[template(path = "contested.html", config = "src/gateway/pages/askama.toml")]
struct Choices {
    wanted: String,
    total: u64,
    claimants: Vec<Claimant>,
    more: u64,
}

struct Claimant {
    id: String,
    mark: Mark,
    called: String,
    versions: String,
    vouched: String,
    spelled: String,
    since: Moment,
    command: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wishes {
    ask: Option<Ask>,
}

/// What is found out only for who wants it: it takes up to a second and a half.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ask {
    Peers,
}

/// A version that is wanted, and what of it.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted<'a> {
    version: Option<&'a str>,
    ask: Option<Ask>,
}

pub(super) async fn by_name(
    State(gateway): State<Gateway>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|error| bad(error.body_text()))?;
    answer(&gateway, &name, Wanted::default()).await
}

pub(super) async fn of_owner(
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((namespace, name)) = path.map_err(|error| bad(error.body_text()))?;
    let name = format!("{namespace}/{name}");
    answer(&gateway, &name, Wanted::default()).await
}

pub(super) async fn of_version(
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    wishes: Result<Query<Wishes>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path((namespace, name, version)) = path.map_err(|error| bad(error.body_text()))?;
    let Query(wishes) = wishes.map_err(|error| bad(error.body_text()))?;
    let wanted = Wanted {
        version: Some(&version),
        ask: wishes.ask,
    };
    answer(&gateway, &format!("{namespace}/{name}"), wanted).await
}

async fn answer(gateway: &Gateway, text: &str, wanted: Wanted<'_>) -> Result<Response, Problem> {
    let (namespace, name) = split_namespace(text).map_err(Error::Id)?;
    match package(gateway, namespace.as_deref(), &name, wanted).await {
        Ok(found) => page(StatusCode::OK, &found),
        Err(Error::Registry(RegistryError::Contested(contested))) => {
            page(StatusCode::CONFLICT, &Choices::from(*contested))
        }
        Err(error) => Err(Problem::from(error)),
    }
}

async fn package(
    gateway: &Gateway,
    namespace: Option<&str>,
    name: &PackageName,
    Wanted { version, ask }: Wanted<'_>,
) -> Result<Page> {
    let node = &gateway.node;
    let wanted = version.map(parse_version).transpose()?;
    let (owner, releases) = node.info(namespace, name).await?;
    let chosen = match &wanted {
        Some(version) => releases.iter().rev().find(|r| {
            let found = &r.metadata.id.version;
            found.cmp_precedence(version).is_eq()
        }),
        None => {
            let offered = releases.iter().rev().filter(|r| r.is_offered());
            // A first look is at what is finished, as cargo would choose it.
            let stable = offered
                .clone()
                .find(|r| r.metadata.id.version.pre.is_empty());
            stable
                .or_else(|| offered.into_iter().next())
                .or(releases.last())
        }
    };
    let none = || {
        let version = version.map(|version| format!("@{version}"));
        RegistryError::NotFound(format!("{name}{}", version.unwrap_or_default()))
    };
    let release = chosen.ok_or_else(none)?;
    let trust = node
        .choices()?
        .trust(owner, Some(&name.canonical()))
        .await?;
    let readme = readme(gateway, release).await?;
    let hash = release.metadata.checksums.blake3;
    let elsewhere = match (ask, &hash) {
        (Some(Ask::Peers), Some(hash)) => Some(elsewhere(node.availability(hash).await)),
        _ => None,
    };
    let metadata = &release.metadata;
    let graph = graph::draw(gateway, metadata).await?;
    let mut rows = releases.iter().rev().take(VERSIONS_MAX).map(|other| {
        let current = other.key == release.key;
        row(other, current)
    });
    let registry = trust.label.clone();
    let id = owner.to_string();
    let short_id = || id.chars().take(REGISTRY_ID_CHARS).collect();
    let keywords = metadata.keywords.iter();
    let features = metadata.features.iter().take(FEATURES_MAX);
    Ok(Page {
        owner: Owner::from(&trust),
        name: metadata.id.name.clone(),
        version: metadata.id.version.to_string(),
        description: metadata.description.clone(),
        license: metadata.license.clone(),
        keywords: keywords
            .map(|word| (word.clone(), shown::search(word)))
            .collect(),
        links: links(release),
        rust_version: metadata.rust_version.clone(),
        authors: metadata
            .authors
            .iter()
            .take(20)
            .map(|a| clip(a, 100))
            .collect(),
        published: Moment::from(metadata.published_at),
        size: metadata.checksums.size.map(bytes),
        blake3: metadata.checksums.blake3.map(|hash| hash.to_hex()),
        sha256: metadata.checksums.sha256.map(|hash| hash.to_hex()),
        record: release.record.to_string(),
        format: match metadata.format {
            Format::Cargo => "crate",
            Format::Pack => "pack",
            _ => "file",
        },
        is_crate: metadata.format == Format::Cargo,
        held: hash.is_some_and(|hash| node.store().is_held(&hash)),
        elsewhere,
        notes: notes(release),
        deprecated: metadata.deprecated.as_ref().map(|why| clip(why, WORDS_MAX)),
        readme,
        needs: needs(gateway, release).await?,
        graph,
        features: features
            .map(|(name, parts)| (clip(name, 80), clip(&parts.join(", "), WORDS_MAX)))
            .collect(),
        versions: rows.by_ref().take(VERSIONS_SHOWN).collect(),
        versions_more: rows.collect(),
        versions_total: count(releases.len() as u64, "version", "versions"),
        registry: registry.unwrap_or_else(short_id),
        index: gateway.canonical.index(&Segment::Owner(owner)),
    })
}

async fn readme(gateway: &Gateway, release: &Release) -> Result<Option<readme::Shown>> {
    let Some(text) = gateway.node.readme(release).await? else {
        return Ok(None);
    };
    let shown = spawn_blocking(move || readme::shown(&text)).await;
    Ok(Some(shown.map_err(std::io::Error::other)?))
}

/// Who else holds an archive, in the words that the script has for it, too.
fn elsewhere(found: Availability) -> String {
    let (answered, holding) = (found.answered, found.holding);
    match (found.peers, answered) {
        (0, _) => "No peer is connected who could hold it, too.".to_owned(),
        (_, 0) => "No connected peer answered in time.".to_owned(),
        (_, 1) if holding == 1 => "The one peer that answered holds it.".to_owned(),
        (_, 1) => "The one peer that answered does not hold it.".to_owned(),
        _ => {
            let hold = if holding == 1 { "holds" } else { "hold" };
            format!("{holding} of the {answered} peers that answered {hold} it.")
        }
    }
}

fn links(release: &Release) -> Vec<Link> {
    let metadata = &release.metadata;
    let links = [
        Link::new("Source", metadata.repository.as_ref()),
        Link::new("Site", metadata.homepage.as_ref()),
        Link::new("Documentation", metadata.documentation.as_ref()),
    ];
    links.into_iter().flatten().collect()
}

fn notes(release: &Release) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(why) = release.withheld() {
        notes.push(Note {
            class: "bad",
            title: "Withheld",
            words: clip(&why, WORDS_MAX),
        });
    }
    if let Verdict::Unsound(why) = &release.verdict {
        notes.push(Note {
            class: "bad",
            title: "Not what its record says",
            words: clip(why, WORDS_MAX),
        });
    }
    let said = || clip(&release.note, WORDS_MAX);
    if release.withdrawn {
        notes.push(Note {
            class: "bad",
            title: "Withdrawn by its owner",
            words: said(),
        });
    } else if release.yanked {
        notes.push(Note {
            class: "fair",
            title: "Yanked by its owner: new resolutions pass over it",
            words: said(),
        });
    }
    notes
}

fn row(release: &Release, current: bool) -> Row {
    let states = [
        (release.withheld().is_some(), "bad", "withheld"),
        (
            matches!(release.verdict, Verdict::Unsound(_)),
            "bad",
            "unsound",
        ),
        (release.withdrawn, "bad", "withdrawn"),
        (release.yanked, "fair", "yanked"),
        (release.metadata.deprecated.is_some(), "fair", "deprecated"),
        (release.pinned, "good", "used here"),
    ];
    let states = states.into_iter().filter(|(holds, ..)| *holds);
    Row {
        version: release.metadata.id.version.to_string(),
        when: Moment::from(release.metadata.published_at),
        states: states.map(|(_, class, word)| (class, word)).collect(),
        current,
    }
}

impl From<Contested> for Choices {
    fn from(contested: Contested) -> Self {
        let label = contested.label.as_ref().map(|label| format!("{label}/"));
        let wanted = format!("{}{}", label.unwrap_or_default(), contested.name);
        let shown = contested.claimants.shown;
        let more = contested.claimants.total.saturating_sub(shown.len() as u64);
        let claimants = shown.into_iter().map(|claimant| {
            let id = claimant.owner.to_string();
            Claimant {
                mark: Mark::of(&id),
                called: claimant.label.unwrap_or_else(|| claimant.owner.short()),
                versions: count(claimant.versions as u64, "version", "versions"),
                vouched: match (claimant.score, claimant.vouched_by.as_slice()) {
                    (0, _) => "nobody you rely on vouches for it".to_owned(),
                    (score, []) => format!("you rely on it, {score} of 3"),
                    (score, by) => format!("vouched for by {} ({score} of 3)", by.join(", ")),
                },
                spelled: claimant.spelled,
                since: Moment::from(claimant.first_seen),
                command: format!("market use {wanted} {id}"),
                id,
            }
        });
        Self {
            total: contested.claimants.total,
            claimants: claimants.collect(),
            more,
            wanted,
        }
    }
}
