//! A publisher: its keys, its packages, and who vouches for it.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey};
use ggen_protocols::limits;
use ggen_protocols::owner::{Documents, NamespaceDocument, SCOPE_ALL, Standing};
use ggen_protocols::record::Signed;
use serde::Deserialize;

use super::shown::{clip, short};
use super::start::{Item, item};
use super::trust::Owner;
use super::{bad, page};
use crate::Error;
use crate::Result;
use crate::gateway::Gateway;
use crate::gateway::error::Problem;

/// Packages on one page.
const PAGE_PACKAGES: usize = 20;
/// Keys that are listed.
const KEYS_MAX: usize = 50;

#[derive(Template)]
#[template(path = "owner.html", config = "src/gateway/pages/askama.toml")]
struct Page {
    owner: Owner,
    keys: Vec<Key>,
    /// Whether it is a single key, without documents.
    bare: bool,
    recovery: bool,
    packages: Vec<Item>,
    hidden: usize,
    after: Option<String>,
    next: Option<String>,
}

struct Key {
    text: String,
    short: String,
    may: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct From {
    after: Option<String>,
}

pub(super) async fn owner(
    State(gateway): State<Gateway>,
    path: Result<Path<String>, PathRejection>,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(owner) = path.map_err(|error| bad(error.body_text()))?;
    let Query(from) = from.map_err(|error| bad(error.body_text()))?;
    let owner: OwnerId = owner.parse().map_err(Error::Id)?;
    let after = from.after.map(|name| name.parse::<CanonicalName>());
    let after = after.transpose().map_err(Error::Id)?;
    let made = made(&gateway, owner, after).await?;
    page(StatusCode::OK, &made)
}

async fn made(gateway: &Gateway, owner: OwnerId, after: Option<CanonicalName>) -> Result<Page> {
    let trust = gateway.node.choices()?.trust(owner, None).await?;
    let (names, more) = names(gateway, owner, after.clone()).await?;
    let mut packages = Vec::new();
    for name in &names {
        packages.extend(item(gateway, owner, name).await?);
    }
    let documents = documents(gateway, owner, names.first()).await?;
    let (keys, recovery, bare) = match documents.standing() {
        Standing::Active(_, document) => (
            keys(document),
            document.recovery.is_some(),
            document.label.is_empty(),
        ),
        _ => (Vec::new(), false, false),
    };
    Ok(Page {
        owner: Owner::from(&trust),
        keys,
        bare,
        recovery,
        hidden: names.len() - packages.len(),
        packages,
        after: after.map(|name| name.to_string()),
        next: names.last().filter(|_| more).map(ToString::to_string),
    })
}

/// The next packages of an owner, and whether there are more.
async fn names(
    gateway: &Gateway,
    owner: OwnerId,
    after: Option<CanonicalName>,
) -> Result<(Vec<CanonicalName>, bool)> {
    let after = match after {
        Some(name) => Some((owner, name)),
        None => before(owner),
    };
    let found = gateway.node.catalogue().packages(after, PAGE_PACKAGES + 1);
    let found = found.await?.into_iter();
    let own = found.take_while(|(of, _)| *of == owner);
    let mut names: Vec<_> = own.map(|(_, name)| name).collect();
    let more = names.len() > PAGE_PACKAGES;
    names.truncate(PAGE_PACKAGES);
    Ok((names, more))
}

/// The last place before all packages of an owner: the highest name that the owner with the id before it could have.
fn before(owner: OwnerId) -> Option<(OwnerId, CanonicalName)> {
    let mut bytes = *owner.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let borrowed;
        (*byte, borrowed) = byte.overflowing_sub(1);
        if !borrowed {
            let name = "z".repeat(limits::NAME_BYTES_MAX).parse();
            return Some((OwnerId::from_bytes(bytes), name.ok()?));
        }
    }
    None
}

async fn documents(
    gateway: &Gateway,
    owner: OwnerId,
    package: Option<&CanonicalName>,
) -> Result<Documents> {
    let catalogue = gateway.node.catalogue();
    let network = catalogue.network();
    let mut documents = Documents::none(network, owner);
    // The document of a bare key is implied by the key, which has signed what it published.
    if let Some(name) = package {
        for release in catalogue.releases(owner, name).await?.into_iter().take(1) {
            documents.admit(release.metadata.signature.key.0);
        }
    }
    for envelope in gateway.node.documents(owner).await? {
        // The catalogue checked it when it came.
        let read = Signed::from_envelope(envelope).and_then(|signed| signed.trust_stored(network));
        if let Ok(record) = read {
            documents.offer(&record);
        }
    }
    Ok(documents)
}

/// Each key once, with all that it may.
fn keys(document: &NamespaceDocument) -> Vec<Key> {
    let root = (document.root, "change who publishes".to_owned());
    let publishers = document.publishers.iter().map(|(publisher, scopes)| {
        let all = scopes.iter().any(|scope| scope == SCOPE_ALL);
        let may = match all {
            true => "publish everything".to_owned(),
            false => format!("publish {}", clip(&scopes.join(", "), 200)),
        };
        (*publisher, may)
    });
    let mut active: Vec<(PublicKey, Vec<String>)> = Vec::new();
    for (key, may) in std::iter::once(root).chain(publishers) {
        match active.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rights)) => rights.push(may),
            None => active.push((key, vec![may])),
        }
    }
    let active = active
        .into_iter()
        .map(|(key, may)| (key, format!("may {}", may.join(", and "))));
    let retired = document.retired.iter().map(|(old, _)| {
        (
            *old,
            "retired: what it signed before still counts".to_owned(),
        )
    });
    let key = |(key, may): (PublicKey, String)| {
        let text = key.to_string();
        Key {
            short: short(&text),
            text,
            may,
        }
    };
    active.chain(retired).take(KEYS_MAX).map(key).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_place_before_an_owner_is_before_its_first_name() {
        let owner = OwnerId::from_bytes([7; 32]);
        let (before, name) = before(owner).unwrap();
        assert!(before < owner);
        assert_eq!(name.as_str().len(), limits::NAME_BYTES_MAX);
        assert_eq!(super::before(OwnerId::from_bytes([0; 32])), None);
    }
}
