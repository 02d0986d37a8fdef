//! What may change of a package or a version after it was published.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use ggen_protocols::record::{Info, State as Register};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::ask::{At, PackagePath, ReleasePath, Target, missing};
use crate::gateway::Gateway;
use crate::gateway::auth::Credential;
use crate::gateway::desk::{self, Writer, bad};
use crate::gateway::error::Problem;
use crate::gateway::permit;
use crate::registry::{Release, Scope};

/// What is to be said from now on: absent means no change, null means as it was published.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    /// One or two sentences.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// Where its source is kept.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    repository: Option<Option<String>>,
    /// Its site.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    homepage: Option<Option<String>>,
    /// Its documentation.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    documentation: Option<Option<String>>,
    /// Words to find it by.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    keywords: Option<Option<Vec<String>>>,
    /// Slugs of categories.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    categories: Option<Option<Vec<String>>>,
    /// Why it should be no longer chosen.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    deprecated: Option<Option<String>>,
}

/// What became of the changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Updated {
    /// `name@version`, or the name alone.
    package: String,
    /// The record that says so; nothing if it was so before.
    record: Option<String>,
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

/// Changes what is said of a package as a whole. What is said of one of its versions comes before it.
#[utoipa::path(patch, path = "/api/v1/packages/{namespace}/{name}", operation_id = "update_package", tag = "packages",
    params(PackagePath), request_body = Changes,
    responses((status = 200, description = "It is so now", body = Updated)),
)]
pub(super) async fn package(
    State(gateway): State<Gateway>,
    At(path): At<PackagePath>,
    credential: Credential,
    changes: Result<Json<Changes>, JsonRejection>,
) -> Result<Json<Updated>, Problem> {
    let at = path.target()?;
    let (writer, releases) = allowed(&gateway, &at, &credential).await?;
    let Some(release) = releases.first() else {
        return Err(missing(&at.name));
    };
    let before = permit::package_state(release);
    let record = set(&writer, before, changes).await?;
    let package = at.name.to_string();
    Ok(Json(Updated { package, record }))
}

/// Changes what is said of a version.
#[utoipa::path(patch, path = "/api/v1/packages/{namespace}/{name}/{version}", operation_id = "update_version",
    tag = "packages", params(ReleasePath), request_body = Changes,
    responses((status = 200, description = "It is so now", body = Updated)),
)]
pub(super) async fn version(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    credential: Credential,
    changes: Result<Json<Changes>, JsonRejection>,
) -> Result<Json<Updated>, Problem> {
    let (at, version) = path.target()?;
    let (writer, releases) = allowed(&gateway, &at, &credential).await?;
    let package = format!("{}@{version}", at.name);
    let mut releases = releases.iter();
    let found = releases.find(|release| release.key.version.cmp_precedence(&version).is_eq());
    let before = permit::state(found.ok_or_else(|| missing(&package))?);
    let record = set(&writer, before, changes).await?;
    Ok(Json(Updated { package, record }))
}

/// Who writes, if that is somebody who may change this package; and its releases.
async fn allowed<'a>(
    gateway: &'a Gateway,
    at: &Target,
    credential: &Credential,
) -> Result<(Writer<'a>, Vec<Release>), Problem> {
    let name = at.name.canonical();
    credential.allows(Scope::PublishUpdate, &name)?;
    let Credential::Token(grant) = credential else {
        return Err(desk::forbidden("this needs a token: `market token new`"));
    };
    let owner = permit::own(gateway, &at.segment, &name, grant.owner()).await?;
    let releases = desk::releases(gateway, owner, &name).await?;
    Ok((permit::unlocked(gateway, grant)?, releases))
}

/// Sets a register anew, unless it says all that already.
async fn set(
    writer: &Writer<'_>,
    before: Register,
    changes: Result<Json<Changes>, JsonRejection>,
) -> Result<Option<String>, Problem> {
    let Json(changes) = changes.map_err(|error| bad(error.body_text()))?;
    let mut info = before.info.clone().unwrap_or_default();
    changes.apply(&mut info);
    let info = Some(info).filter(|info| *info != Info::default());
    if info == before.info {
        return Ok(None);
    }
    let state = Register {
        revision: before.revision + 1,
        info,
        ..before
    };
    Ok(Some(writer.set_state(state).await?.to_string()))
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
