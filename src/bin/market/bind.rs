//! Binds the dependencies of a package to owners before it is signed, as the node of this home knows them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use ggen_marketplace::archive::bind;
use ggen_marketplace::control::{Client, VersionInfo};
use ggen_marketplace::protocols::id::{CanonicalName, OwnerId, PackageName};
use ggen_marketplace::protocols::metadata::{DependencySource, OwnerIdText};
use ggen_marketplace::protocols::record::{Body, Publish, SourceWire};

use crate::prepare::Prepared;

/// Binds every dependency from an index of a node to the owner that is meant there.
pub(crate) async fn bind(prepared: &mut Prepared, client: &Client) -> anyhow::Result<()> {
    let Body::Publish(publish) = &mut prepared.body else {
        return Ok(());
    };
    let mut owners = BTreeMap::new();
    for wanted in bind::unbound(publish) {
        let (segment, name) = &wanted;
        let namespace = segment.namespace();
        let info = client.info(namespace.as_deref(), name).await;
        let info = info.with_context(|| format!("cannot tell whose `{name}` it depends on"))?;
        owners.insert(wanted, info.owner.parse()?);
    }
    bind::bind(publish, &owners);
    Ok(())
}

/// What becomes of default dependencies on packages of the same batch, by name.
#[derive(Debug, Default)]
pub(crate) struct Adoption {
    /// They are bound to the publisher.
    pub(crate) adopted: BTreeSet<String>,
    /// They are not, for the release is out and says otherwise.
    pub(crate) left: BTreeSet<String>,
}

/// Binds default dependencies on packages of the same batch to `owner`. A release that is out already with the same
/// archive keeps the bindings that it has: it can be published again, with others, and is the same.
pub(crate) async fn adopt(
    prepared: &mut Prepared,
    batch: &BTreeSet<CanonicalName>,
    owner: OwnerId,
    client: &Client,
) -> Adoption {
    let Body::Publish(publish) = &mut prepared.body else {
        return Adoption::default();
    };
    let released = released(publish, owner, client).await;
    let bound = released.map(|release| bound(&release, owner));
    let adopted = bind::adopt(publish, bound.as_ref().unwrap_or(batch), owner);
    let in_batch = |name: &str| {
        let name = name.parse::<PackageName>();
        name.is_ok_and(|name| batch.contains(&name.canonical()))
    };
    let rest = publish.dependencies.iter();
    let left = rest.filter(|rest| rest.source == SourceWire::Default(()) && in_batch(&rest.name));
    Adoption {
        adopted,
        left: left.map(|left| left.name.clone()).collect(),
    }
}

/// The release of the same version with the same archive, if there is one.
async fn released(publish: &Publish, owner: OwnerId, client: &Client) -> Option<VersionInfo> {
    let (namespace, name) = (owner.to_string(), publish.package_name());
    // Whatever speaks against publishing is said when it is tried.
    let info = client.info(Some(&namespace), &name).await.ok()?;
    let mut versions = info.versions.into_iter();
    let sha256 = publish.checksums().sha256;
    versions.find(|one| one.version == publish.version && one.sha256 == sha256)
}

/// The names of the dependencies of a release that are bound to `owner`.
fn bound(release: &VersionInfo, owner: OwnerId) -> BTreeSet<CanonicalName> {
    let source = DependencySource::Owner(OwnerIdText(owner));
    let dependencies = release.dependencies.values().flatten();
    let bound = dependencies.filter(|dependency| dependency.source == source);
    let names = bound.filter_map(|dependency| dependency.name.parse::<PackageName>().ok());
    names.map(|name| name.canonical()).collect()
}

/// The name of what is to be published.
pub(crate) fn name(prepared: &Prepared) -> Option<CanonicalName> {
    match &prepared.body {
        Body::Publish(publish) => Some(Publish::package_name(publish).canonical()),
        _ => None,
    }
}
