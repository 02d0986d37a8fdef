//! The start page and the results of a search.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use ggen_protocols::id::OwnerId;
use serde::Deserialize;

use super::shown::{self, Moment, clip, grouped};
use super::trust::Owner;
use super::{bad, page};
use crate::Result;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;
use crate::search::SearchQuery;

/// Results on one page.
const PAGE_HITS: usize = 20;
/// Packages on the start page.
const RECENT_MAX: usize = 8;
/// Changes that are looked through for them.
const CHANGES_MAX: u64 = 400;
/// Characters of a description in a list.
const DESCRIPTION_MAX: usize = 240;
/// Characters of a query that is shown again; fewer count in a search.
const QUERY_MAX: usize = 256;

/// A package in a list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) owner: Owner,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) when: Option<Moment>,
}

#[derive(Template)]
#[template(path = "start.html", config = "src/gateway/pages/askama.toml")]
struct Page {
    query: String,
    /// Whether somebody searches; the start page shows what is new instead.
    searching: bool,
    total: u64,
    first: usize,
    items: Vec<Item>,
    recent: Vec<Item>,
    previous: Option<String>,
    next: Option<String>,
    packages: String,
    versions: String,
    owner: bool,
    empty: bool,
    peers: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    q: String,
    page: Option<usize>,
}

pub(super) async fn start(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let mut page = blank(&gateway).await?;
    page.recent = recent(&gateway).await?;
    super::page(StatusCode::OK, &page)
}

pub(super) async fn search(
    State(gateway): State<Gateway>,
    words: Result<Query<Words>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(words) = words.map_err(|error| bad(error.body_text()))?;
    let number = words.page.unwrap_or(1).max(1);
    let offset = (number - 1).saturating_mul(PAGE_HITS);
    if offset > SearchQuery::OFFSET_MAX {
        return Err(bad("nobody leafs that far: search for more words instead"));
    }
    let query = SearchQuery {
        text: words.q.chars().take(QUERY_MAX).collect(),
        limit: PAGE_HITS,
        offset,
        ..SearchQuery::default()
    };
    let found = gateway.node.search(&query).await?;
    let mut items = Vec::new();
    for hit in found.hits {
        let owner = hit.package.id.namespace.as_deref().unwrap_or_default();
        let owner: OwnerId = owner.parse().map_err(crate::Error::Id)?;
        items.push(Item {
            owner: owner_of(&gateway, owner, &hit.package.id.name).await?,
            name: hit.package.id.name,
            version: hit.package.id.version.to_string(),
            description: clip(&hit.package.description, DESCRIPTION_MAX),
            when: None,
        });
    }
    let more = (offset + items.len()) as u64 != found.total && !items.is_empty();
    let reachable = offset + PAGE_HITS <= SearchQuery::OFFSET_MAX;
    let at = |number: usize| format!("{}&page={number}", shown::search(&query.text));
    page(
        StatusCode::OK,
        &Page {
            previous: (number > 1).then(|| at(number - 1)),
            next: (more && reachable).then(|| at(number + 1)),
            query: query.text,
            searching: true,
            total: found.total,
            first: offset + 1,
            items,
            ..blank(&gateway).await?
        },
    )
}

async fn blank(gateway: &Gateway) -> Result<Page> {
    let totals = gateway.node.catalogue().totals().await?;
    Ok(Page {
        query: String::new(),
        searching: false,
        total: 0,
        first: 1,
        items: Vec::new(),
        recent: Vec::new(),
        previous: None,
        next: None,
        packages: grouped(totals.packages),
        versions: grouped(totals.versions),
        owner: !gateway.node.catalogue().own().is_empty(),
        empty: totals.packages == 0,
        peers: gateway.node.peers().await?.len(),
    })
}

/// The packages of which something was published last.
async fn recent(gateway: &Gateway) -> Result<Vec<Item>> {
    let catalogue = gateway.node.catalogue();
    let latest = *catalogue.position().borrow();
    let since = latest.saturating_sub(CHANGES_MAX);
    let changes = catalogue.changes(since, CHANGES_MAX as usize).await?;
    let packages = changes
        .into_iter()
        .rev()
        .filter_map(|change| change.package);
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    for (owner, name) in packages {
        if items.len() == RECENT_MAX {
            break;
        }
        if !seen.insert((owner, name.clone())) {
            continue;
        }
        items.extend(item(gateway, owner, &name).await?);
    }
    Ok(items)
}

/// A package in a list, by its highest offered version; nothing if none is offered.
pub(super) async fn item(
    gateway: &Gateway,
    owner: OwnerId,
    name: &ggen_protocols::id::CanonicalName,
) -> Result<Option<Item>> {
    let releases = gateway.node.catalogue().releases(owner, name).await?;
    let offered = releases
        .into_iter()
        .rev()
        .find(|release| release.is_offered());
    let Some(release) = offered else {
        return Ok(None);
    };
    let trust = gateway.node.choices()?.trust(owner, Some(name)).await?;
    Ok(Some(Item {
        owner: Owner::from(&trust),
        name: release.metadata.id.name,
        version: release.metadata.id.version.to_string(),
        description: clip(&release.metadata.description, DESCRIPTION_MAX),
        when: Some(Moment::from(release.metadata.published_at)),
    }))
}

async fn owner_of(gateway: &Gateway, owner: OwnerId, name: &str) -> Result<Owner> {
    let name = name.parse()?;
    let trust = gateway.node.choices()?.trust(owner, Some(&name)).await?;
    Ok(Owner::from(&trust))
}
