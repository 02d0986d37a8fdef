//! The list of what a release depends on.

use std::collections::BTreeMap;

use ggen_protocols::id::{OwnerId, PackageName};
use ggen_protocols::metadata::{Dependency, DependencyKind, DependencySource};

use super::graph;
use super::shown::clip;
use crate::Result;
use crate::gateway::Gateway;
use crate::registry::Release;

/// Owners whose labels are looked up; others are called by their short ids.
const LABELS_MAX: usize = 50;

/// One dependency in the list.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) name: String,
    pub(super) requirement: String,
    /// Where its page is, if it can have one here.
    pub(super) href: Option<String>,
    pub(super) from: String,
    pub(super) kind: &'static str,
    pub(super) remarks: Vec<String>,
}

/// All dependencies, those of every build first.
pub(super) async fn needs(gateway: &Gateway, release: &Release) -> Result<Vec<Need>> {
    let all = &release.metadata.dependencies;
    let mut all: Vec<(&String, &Dependency)> = all
        .iter()
        .flat_map(|(name, list)| list.iter().map(move |one| (name, one)))
        .collect();
    all.sort_by(|(_, a), (_, b)| {
        let key = |one: &Dependency| (one.kind, one.optional, one.name.clone(), one.target.clone());
        key(a).cmp(&key(b))
    });
    let mut labels = BTreeMap::new();
    for (_, one) in &all {
        if let Some(owner) = graph::owner_of(&one.source)
            && labels.len() < LABELS_MAX
            && !labels.contains_key(&owner)
        {
            labels.insert(
                owner,
                gateway.node.choices()?.trust(owner, None).await?.label,
            );
        }
    }
    let needs = all.into_iter().map(|(name, one)| need(name, one, &labels));
    Ok(needs.collect())
}

fn need(called: &str, one: &Dependency, labels: &BTreeMap<OwnerId, Option<String>>) -> Need {
    let mut remarks = Vec::new();
    if called != one.name {
        remarks.push(format!("called {called}"));
    }
    if one.optional {
        remarks.push("optional".to_owned());
    }
    if !one.default_features {
        remarks.push("without default features".to_owned());
    }
    if !one.features.is_empty() {
        remarks.push(format!("with {}", clip(&one.features.join(", "), 200)));
    }
    if let Some(target) = &one.target {
        remarks.push(format!("for {}", clip(target, 200)));
    }
    let parsed: Result<PackageName, _> = one.name.parse();
    let (from, href) = match (graph::owner_of(&one.source), &one.source) {
        (Some(owner), _) => (
            labels
                .get(&owner)
                .cloned()
                .flatten()
                .unwrap_or_else(|| owner.short()),
            parsed.ok().map(|name| format!("/packages/{owner}/{name}")),
        ),
        (None, DependencySource::Url(url)) => (clip(url, 80), None),
        _ => ("cargo's default registry".to_owned(), None),
    };
    Need {
        name: one.name.clone(),
        requirement: graph::requirement(&one.requirement),
        href,
        from,
        kind: match one.kind {
            DependencyKind::Dev => "for tests",
            DependencyKind::Build => "for its build script",
            _ => "",
        },
        remarks,
    }
}
