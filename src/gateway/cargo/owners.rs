//! `GET`, `PUT` and `DELETE …/owners`: who may publish a package. An owner is a key; what adds or removes one is the
//! document of the namespace, which its root key signs.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId};
use ggen_protocols::owner::{Documents, NamespaceDocument, SCOPE_ALL, Standing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::path::AtPackage;
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::desk::{self, Writer, bad, forbidden};
use crate::gateway::error::Problem;
use crate::gateway::permit;
use crate::registry::Scope;

/// What cargo shows of an owner.
#[derive(Debug, Serialize)]
struct User {
    /// Where it stands in the list.
    id: u32,
    /// The key.
    login: String,
    /// What it may do.
    name: Option<String>,
}

/// Whom cargo wants to add or to remove.
#[derive(Debug, Deserialize)]
struct Wanted {
    users: Vec<String>,
}

pub(super) async fn list(
    State(gateway): State<Gateway>,
    at: AtPackage,
) -> Result<Json<Value>, Problem> {
    let (segment, name) = (&at.segment, at.name.canonical());
    let owner = permit::owner_of(&gateway, segment, &name).await?;
    let documents = documents(&gateway, owner, &name).await?;
    Ok(Json(
        json!({ "users": users(in_force(&documents)?, &name) }),
    ))
}

pub(super) async fn add(
    State(gateway): State<Gateway>,
    at: AtPackage,
    credential: Credential,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let keys = wanted(body).await?;
    let name = at.name.canonical();
    let change = Change::begin(&gateway, &at, &credential).await?;
    let mut document = in_force(&change.documents)?.clone();
    for key in &keys {
        let_publish(&mut document, *key, &name);
    }
    let owner = change.writer.owner();
    change.finish(document).await?;
    let keys = shown(&keys);
    Ok(Json(json!({
        "ok": true,
        "msg": format!("{keys} may publish {} in {owner} from now on", at.name),
    })))
}

pub(super) async fn remove(
    State(gateway): State<Gateway>,
    at: AtPackage,
    credential: Credential,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let keys = wanted(body).await?;
    let name = at.name.canonical();
    let change = Change::begin(&gateway, &at, &credential).await?;
    let owner = change.writer.owner();
    let mut document = in_force(&change.documents)?.clone();
    for key in &keys {
        let last = gateway.node.feed_head(owner, *key).await?.last;
        take_away(&mut document, *key, &name, last).map_err(forbidden)?;
    }
    change.finish(document).await?;
    let keys = shown(&keys);
    Ok(Json(json!({
        "ok": true,
        "msg": format!("{keys} may not publish {} in {owner} any more", at.name),
    })))
}

/// A change of the document of a namespace.
struct Change<'a> {
    documents: Documents,
    writer: Writer<'a>,
}

impl<'a> Change<'a> {
    async fn begin(
        gateway: &'a Gateway,
        at: &AtPackage,
        credential: &Credential,
    ) -> Result<Self, Problem> {
        let name = at.name.canonical();
        let Credential::Token(grant) = credential else {
            return Err(forbidden(
                "owners are changed with a token that has the scope change-owners, or with `market owner add KEY \
                 --scope NAME` and `market owner remove KEY`",
            ));
        };
        credential.allows(Scope::ChangeOwners, &name)?;
        let owner = permit::own(gateway, &at.segment, &name, grant.owner()).await?;
        let documents = documents(gateway, owner, &name).await?;
        let root = in_force(&documents)?.root;
        Ok(Self {
            documents,
            writer: Writer::unlocked(gateway, owner, root),
        })
    }

    async fn finish(self, document: NamespaceDocument) -> Result<(), Problem> {
        if document != *in_force(&self.documents)? {
            self.writer.set_document(&self.documents, document).await?;
        }
        Ok(())
    }
}

async fn wanted(body: Body) -> Result<Vec<PublicKey>, Problem> {
    let body = desk::read(body).await?;
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("no list of owners: {error}")))?;
    if wanted.users.is_empty() {
        return Err(bad("name an owner"));
    }
    let keys = wanted.users.iter().map(|text| {
        let key = text.parse();
        key.map_err(|_| {
            bad(format!(
                "`{}` is no key: an owner is named by a public key, as `market key list` tells it",
                text.escape_debug()
            ))
        })
    });
    keys.collect()
}

fn shown(keys: &[PublicKey]) -> String {
    let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
    keys.join(", ")
}

/// The documents of a namespace; that of a bare key is told by the key that signed a release.
async fn documents(
    gateway: &Gateway,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Documents, Problem> {
    let releases = desk::releases(gateway, owner, name).await?;
    let signers = releases
        .iter()
        .map(|release| release.metadata.signature.key.0);
    desk::documents(gateway, owner, signers).await
}

fn in_force(documents: &Documents) -> Result<&NamespaceDocument, Problem> {
    let why = match documents.standing() {
        Standing::Active(_, document) => return Ok(document),
        Standing::Unknown => "nothing is known here of who may publish as",
        Standing::Frozen(_) => "its root key contradicted itself, so that nobody may publish as",
        Standing::Dead(_) => "its recovery key was used twice, so that nobody may publish as",
    };
    let why = format!("{why} {}", documents.owner());
    Err(Problem::new(StatusCode::CONFLICT, why))
}

/// The root first, then the others that may publish the package.
fn users(document: &NamespaceDocument, name: &CanonicalName) -> Vec<User> {
    let root = (document.root, "root".to_owned());
    let others = document
        .publishers
        .iter()
        .filter(|(key, _)| *key != document.root && document.grants(*key, Some(name)))
        .map(|(key, scopes)| (*key, format!("publishes {}", scopes.join(" "))));
    let all = std::iter::once(root).chain(others).zip(0..);
    all.map(|((key, role), id)| User {
        id,
        login: key.to_string(),
        name: Some(role),
    })
    .collect()
}

fn let_publish(document: &mut NamespaceDocument, key: PublicKey, name: &CanonicalName) {
    if document.grants(key, Some(name)) {
        return;
    }
    let mut scopes = scopes(document, key);
    scopes.push(name.as_str().to_owned());
    document.let_publish(key, scopes);
}

fn scopes(document: &NamespaceDocument, key: PublicKey) -> Vec<String> {
    let mut publishers = document.publishers.iter();
    let found = publishers.find(|(publisher, _)| *publisher == key);
    found.map(|(_, scopes)| scopes.clone()).unwrap_or_default()
}

/// What the key published up to its record `last` stays.
fn take_away(
    document: &mut NamespaceDocument,
    key: PublicKey,
    name: &CanonicalName,
    last: Option<RecordId>,
) -> Result<(), String> {
    if key == document.root {
        return Err(format!(
            "{key} is the root key of the namespace, which always stays its owner: `market key rotate` replaces it"
        ));
    }
    let mut scopes = scopes(document, key);
    if scopes.iter().any(|scope| scope == SCOPE_ALL) {
        return Err(format!(
            "{key} may publish everything in the namespace, not this package alone: `market owner remove {key}` takes \
             that from it"
        ));
    }
    let before = scopes.len();
    scopes.retain(|scope| scope != name.as_str());
    if scopes.len() == before {
        return Err(format!("{key} is no owner of {name}"));
    }
    document.retire(key, last);
    if !scopes.is_empty() {
        document.let_publish(key, scopes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn name(text: &str) -> CanonicalName {
        text.parse().unwrap()
    }

    fn logins(document: &NamespaceDocument, package: &str) -> Vec<String> {
        let users = users(document, &name(package));
        assert!(users.iter().zip(0..).all(|(user, at)| user.id == at));
        users.into_iter().map(|user| user.login).collect()
    }

    #[test]
    fn an_owner_of_a_package_is_added_and_removed_for_it_alone() {
        let mut document = NamespaceDocument::implicit(key(1));
        let (root, other) = (key(1).to_string(), key(2).to_string());
        let only_root = vec![root.clone()];
        assert_eq!(logins(&document, "a"), only_root);
        for package in ["a", "b", "a"] {
            let_publish(&mut document, key(2), &name(package));
        }
        assert_eq!(logins(&document, "a"), [root.clone(), other.clone()]);
        assert_eq!(logins(&document, "c"), only_root);
        take_away(&mut document, key(2), &name("a"), None).unwrap();
        assert_eq!(logins(&document, "a"), only_root);
        assert_eq!(logins(&document, "b"), [root.clone(), other]);
        take_away(&mut document, key(2), &name("a"), None).unwrap_err();
        take_away(&mut document, key(2), &name("b"), None).unwrap();
        assert_eq!(document, NamespaceDocument::implicit(key(1)));
    }

    #[test]
    fn the_root_and_those_who_may_publish_everything_are_not_removed_from_one_package() {
        let mut document = NamespaceDocument::implicit(key(1));
        document.let_publish(key(2), vec![SCOPE_ALL.to_owned()]);
        let before = document.clone();
        for (number, why) in [(1, "root key"), (2, "everything"), (3, "no owner")] {
            let error = take_away(&mut document, key(number), &name("a"), None).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(document, before);
    }
}
