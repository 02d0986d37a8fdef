//! What a version needs, and what that needs: as far as this node knows it.

use std::collections::{HashMap, VecDeque};

use axum::Json;
use axum::extract::State;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageName, ReleaseKey};
use ggen_protocols::metadata::{Dependency, DependencyKind, DependencySource, Format};
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, At, ReleasePath, bad};
use crate::Error;
use crate::Result;
use crate::gateway::Gateway;
use crate::gateway::error::{Body, Problem};
use crate::node::Node;
use crate::registry::{RegistryError, Release};

/// Steps away from the root, and versions, that a graph has at most, and unless asked otherwise.
const DEPTH_MAX: usize = 32;
const DEPTH: usize = 8;
const NODES_MAX: usize = 1_000;
const NODES: usize = 200;
/// Needs that are followed: each is looked up.
const EDGES_MAX: usize = 5_000;

/// How much of a graph is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Extent {
    /// Steps away from the version that was asked for [default: 8].
    #[param(maximum = 32)]
    depth: Option<usize>,
    /// Versions in the graph [default: 200].
    #[param(maximum = 1_000)]
    nodes: Option<usize>,
    /// Whether to tell of what only the tests of the version that was asked for need.
    #[serde(default)]
    dev: bool,
}

/// Versions, and how they need each other. Each requirement is met by the highest offered version that it allows,
/// by itself: this is no lock file. Versions that need each other in a circle stay so.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Graph {
    /// The versions; the first is the one that was asked for.
    nodes: Vec<Version>,
    /// Who needs what.
    edges: Vec<Need>,
    /// Whether there is more than was asked for, or than can be told of.
    truncated: bool,
}

/// One version in a graph.
#[derive(Debug, Serialize, ToSchema)]
struct Version {
    /// Whose it is.
    owner: String,
    /// Its name.
    name: String,
    /// The version.
    version: String,
    /// Steps from the one that was asked for.
    depth: usize,
}

/// That one version needs another.
#[derive(Debug, Serialize, ToSchema)]
struct Need {
    /// The place in `nodes` of the version that needs something.
    from: usize,
    /// The place of what meets the need; nothing unless it is `met`.
    to: Option<usize>,
    /// The package needed.
    name: String,
    /// Which versions will do.
    requirement: String,
    /// Where it comes from: `default`, an owner id, or the address of an index.
    source: String,
    /// `normal`, `build` or `dev`.
    kind: &'static str,
    /// Whether only a feature turns it on.
    optional: bool,
    /// For which platforms, if not for all.
    target: Option<String>,
    /// `met`; `missing` if no offered version here will do; `contested` if its name means nobody until the user
    /// decides; `elsewhere` if it is no business of this node; `beyond` if the graph ends here.
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Met,
    Missing,
    Contested,
    Elsewhere,
    Beyond,
}

/// What a version needs, transitively.
#[utoipa::path(get, path = "/api/v1/packages/{namespace}/{name}/{version}/dependencies", tag = "packages", params(ReleasePath, Extent), responses(
    (status = 200, description = "The graph", body = Graph),
    (status = 400, description = "A parameter is out of bounds", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "There is no such version here", body = Body, content_type = "application/problem+json"),
    (status = 409, description = "The name means nobody until the user decides; `choices` says who claims it", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn dependencies(
    State(gateway): State<Gateway>,
    At(path): At<ReleasePath>,
    Asked(extent): Asked<Extent>,
) -> Result<Json<Graph>, Problem> {
    let depth_max = extent.depth.unwrap_or(DEPTH);
    let nodes_max = extent.nodes.unwrap_or(NODES);
    if depth_max > DEPTH_MAX || nodes_max > NODES_MAX || nodes_max == 0 {
        return Err(bad(format!(
            "`depth` is at most {DEPTH_MAX}, and `nodes` 1 to {NODES_MAX}"
        )));
    }
    let root = path.release(&gateway).await?;
    let mut walk = Walk {
        node: &gateway.node,
        depth_max,
        nodes_max,
        graph: Graph {
            nodes: Vec::new(),
            edges: Vec::new(),
            truncated: false,
        },
        places: HashMap::new(),
        met: HashMap::new(),
        waiting: VecDeque::new(),
    };
    walk.add(root, 0);
    while let Some((from, release)) = walk.waiting.pop_front() {
        walk.follow(from, &release, extent.dev).await?;
    }
    Ok(Json(walk.graph))
}

/// One requirement on one package.
type Wish = (OwnerId, CanonicalName, VersionReq);

struct Walk<'a> {
    node: &'a Node,
    depth_max: usize,
    nodes_max: usize,
    graph: Graph,
    places: HashMap<ReleaseKey, usize>,
    /// What meets each requirement that was looked up.
    met: HashMap<Wish, (Outcome, Option<usize>)>,
    waiting: VecDeque<(usize, Release)>,
}

impl Walk<'_> {
    fn add(&mut self, release: Release, depth: usize) -> usize {
        let place = self.graph.nodes.len();
        self.graph.nodes.push(Version {
            owner: release.key.owner.to_string(),
            name: release.metadata.id.name.clone(),
            version: release.metadata.id.version.to_string(),
            depth,
        });
        self.places.insert(release.key.clone(), place);
        self.waiting.push_back((place, release));
        place
    }

    /// Adds what a version needs.
    async fn follow(&mut self, from: usize, release: &Release, dev: bool) -> Result<()> {
        let depth = self.graph.nodes[from].depth;
        let metadata = &release.metadata;
        let mut needs: Vec<_> = metadata.dependencies.values().flatten().collect();
        needs.retain(|need| need.kind != DependencyKind::Dev || (dev && from == 0));
        needs.sort_by(|one, other| {
            let order = |need: &Dependency| (need.name.clone(), need.requirement.to_string());
            order(one).cmp(&order(other))
        });
        for need in needs {
            if self.graph.edges.len() >= EDGES_MAX {
                self.graph.truncated = true;
                return Ok(());
            }
            let (outcome, to) = self.meet(need, metadata.format, depth).await?;
            self.graph.truncated |= matches!(outcome, Outcome::Beyond);
            self.graph.edges.push(Need {
                from,
                to,
                name: need.name.clone(),
                requirement: need.requirement.to_string(),
                source: match &need.source {
                    DependencySource::Owner(owner) => owner.0.to_string(),
                    DependencySource::Url(address) => address.clone(),
                    _ => "default".to_owned(),
                },
                kind: match need.kind {
                    DependencyKind::Dev => "dev",
                    DependencyKind::Build => "build",
                    _ => "normal",
                },
                optional: need.optional,
                target: need.target.clone(),
                outcome,
            });
        }
        Ok(())
    }

    /// Finds what meets a need, and makes it part of the graph.
    async fn meet(
        &mut self,
        need: &Dependency,
        format: Format,
        depth: usize,
    ) -> Result<(Outcome, Option<usize>)> {
        // A name of a foreign registry may be none of ours.
        let Ok(name) = need.name.parse::<PackageName>() else {
            return Ok((Outcome::Elsewhere, None));
        };
        let name = name.canonical();
        let owner = match &need.source {
            DependencySource::Owner(owner) => owner.0,
            // Cargo's own default registry is not this one; packs have no other.
            DependencySource::Default if format != Format::Cargo => {
                match self.node.catalogue().owner_of(None, &name).await {
                    Ok(owner) => owner,
                    Err(Error::Registry(RegistryError::NotFound(_))) => {
                        return Ok((Outcome::Missing, None));
                    }
                    Err(Error::Registry(RegistryError::Contested(_))) => {
                        return Ok((Outcome::Contested, None));
                    }
                    Err(error) => return Err(error),
                }
            }
            _ => return Ok((Outcome::Elsewhere, None)),
        };
        let wish = (owner, name, need.requirement.clone());
        if let Some(met) = self.met.get(&wish) {
            return Ok(*met);
        }
        let releases = self.node.catalogue().releases(owner, &wish.1).await?;
        let fitting = releases.into_iter().rev().find(|release| {
            release.is_offered() && need.requirement.matches(&release.metadata.id.version)
        });
        let met = match fitting {
            None => (Outcome::Missing, None),
            Some(release) => match self.places.get(&release.key) {
                Some(place) => (Outcome::Met, Some(*place)),
                None if depth >= self.depth_max || self.graph.nodes.len() >= self.nodes_max => {
                    // A shorter way to it may come later, so this is not kept in mind.
                    return Ok((Outcome::Beyond, None));
                }
                None => (Outcome::Met, Some(self.add(release, depth + 1))),
            },
        };
        self.met.insert(wish, met);
        Ok(met)
    }
}
