//! Writing under `/api/v1/packages`: publishing an archive, yanking, and what may change of a release afterwards.

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use ggen_protocols::id::{PackageId, PackageName, parse_version};
use ggen_protocols::metadata::{Checksums, Format, PackageMetadata};
use ggen_protocols::record::{Info, Publish, State as Register};
use semver::Version;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::archive::index::Segment;
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::desk::{self, bad};
use crate::gateway::error::Problem;
use crate::gateway::permit;
use crate::node::Published;
use crate::registry::Scope;

const RELEASE: &str = "/api/v1/packages/{namespace}/{name}/{version}";

/// What clients send to have something changed.
pub(in crate::gateway) fn routes() -> Router<Gateway> {
    Router::new()
        .route(RELEASE, put(publish).patch(describe))
        .route(&format!("{RELEASE}/yank"), post(yank))
        .route(&format!("{RELEASE}/unyank"), post(unyank))
}

type At = Result<Path<(String, String, String)>, PathRejection>;

/// A release, as a path names it: below an owner id, a label, or `_` for what the client writes as.
struct Release {
    segment: Segment,
    name: PackageName,
    version: Version,
}

impl Release {
    fn at(path: At) -> Result<Self, Problem> {
        let Path((namespace, name, version)) = path.map_err(|error| bad(error.body_text()))?;
        Ok(Self {
            segment: namespace.parse().map_err(crate::Error::Id)?,
            name: name.parse().map_err(crate::Error::Id)?,
            version: parse_version(&version).map_err(crate::Error::Id)?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Kind {
    format: Option<Format>,
}

/// Publishes the body. What the archive says of its name and version must be what the path says.
async fn publish(
    State(gateway): State<Gateway>,
    path: At,
    kind: Result<Query<Kind>, QueryRejection>,
    credential: Credential,
    body: Body,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let at = Release::at(path)?;
    let Query(kind) = kind.map_err(|error| bad(error.body_text()))?;
    let format = kind.format.unwrap_or_default();
    let writer = permit::publisher(&gateway, &at.segment, &credential).await?;
    let there = desk::refuse_collision(&gateway, writer.owner(), &at.name, &at.version).await?;
    permit::may_publish(&credential, &at.name, there.is_empty())?;
    let archive = desk::read(body).await?;
    let inspected = desk::inspect(archive.clone(), format).await?;
    let metadata = match inspected.metadata {
        Some(metadata) => metadata,
        None => PackageMetadata {
            format,
            checksums: Checksums {
                blake3: Some(inspected.blake3),
                sha256: Some(inspected.sha256),
                size: Some(inspected.size),
            },
            ..PackageMetadata::new(PackageId {
                name: at.name.as_str().to_owned(),
                version: at.version.clone(),
                namespace: None,
            })
        },
    };
    let declared = (metadata.id.name.as_str(), &metadata.id.version);
    if declared != (at.name.as_str(), &at.version) {
        return Err(bad(format!(
            "the archive holds {}@{}, the address says {}@{}",
            declared.0, declared.1, at.name, at.version
        )));
    }
    let mut publish = Publish::from_metadata(&metadata).map_err(|error| bad(error.to_string()))?;
    desk::bind_dependencies(&gateway, &mut publish).await?;
    let published = writer.publish(publish, archive).await?;
    Ok((StatusCode::CREATED, Json(published)))
}

async fn yank(
    State(gateway): State<Gateway>,
    path: At,
    credential: Credential,
) -> Result<Json<Value>, Problem> {
    set_yanked(&gateway, path, credential, true).await
}

async fn unyank(
    State(gateway): State<Gateway>,
    path: At,
    credential: Credential,
) -> Result<Json<Value>, Problem> {
    set_yanked(&gateway, path, credential, false).await
}

async fn set_yanked(
    gateway: &Gateway,
    path: At,
    credential: Credential,
    yanked: bool,
) -> Result<Json<Value>, Problem> {
    let at = Release::at(path)?;
    let package = (&at.segment, &at.name);
    permit::set_yanked(gateway, package, &at.version, credential, yanked).await?;
    Ok(Json(json!({
        "package": format!("{}@{}", at.name, at.version),
        "yanked": yanked,
    })))
}

/// What is said of a release now: absent means no change, null means as it was published.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[serde(default, deserialize_with = "said")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    repository: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    homepage: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    documentation: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    keywords: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "said")]
    categories: Option<Option<Vec<String>>>,
    /// Why it should be no longer chosen.
    #[serde(default, deserialize_with = "said")]
    deprecated: Option<Option<String>>,
}

fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Changes {
    fn apply(self, info: &mut Info) {
        fn set<T>(field: &mut Option<T>, said: Option<Option<T>>) {
            if let Some(said) = said {
                *field = said;
            }
        }
        set(&mut info.description, self.description);
        set(&mut info.links.repository, self.repository);
        set(&mut info.links.homepage, self.homepage);
        set(&mut info.links.documentation, self.documentation);
        set(&mut info.keywords, self.keywords);
        set(&mut info.categories, self.categories);
        set(&mut info.deprecated, self.deprecated);
    }
}

async fn describe(
    State(gateway): State<Gateway>,
    path: At,
    credential: Credential,
    changes: Result<Json<Changes>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let at = Release::at(path)?;
    let Json(changes) = changes.map_err(|error| bad(error.body_text()))?;
    let canonical = at.name.canonical();
    credential.allows(Scope::PublishUpdate, &canonical)?;
    let Credential::Token(grant) = &credential else {
        return Err(desk::forbidden("this needs a token: `market token new`"));
    };
    let owner = permit::own(&gateway, &at.segment, &canonical, grant.owner()).await?;
    let release = permit::release(&gateway, owner, &at.name, &at.version).await?;
    let before = permit::state(&release);
    let mut info = before.info.clone().unwrap_or_default();
    changes.apply(&mut info);
    let info = Some(info).filter(|info| *info != Info::default());
    if info != before.info {
        let state = Register {
            revision: before.revision + 1,
            info,
            ..before
        };
        permit::unlocked(&gateway, grant)?.set_state(state).await?;
    }
    Ok(Json(json!({
        "package": format!("{}@{}", at.name, at.version),
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_says_what_it_means_to_change_and_nothing_else() {
        let mut info = Info {
            description: Some("before".to_owned()),
            deprecated: Some("old".to_owned()),
            ..Info::default()
        };
        let text = "{\"deprecated\":null,\"keywords\":[\"a\"],\"homepage\":\"https://a.example/\"}";
        let changes: Changes = serde_json::from_str(text).unwrap();
        changes.apply(&mut info);
        assert_eq!(info.description.as_deref(), Some("before"));
        assert_eq!(info.deprecated, None);
        assert_eq!(info.keywords, Some(vec!["a".to_owned()]));
        assert_eq!(info.links.homepage.as_deref(), Some("https://a.example/"));
        serde_json::from_str::<Changes>("{\"yanked\":true}").unwrap_err();
    }
}
