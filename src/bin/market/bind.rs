//! Binds the dependencies of a package to owners before it is signed, as the node of this home knows them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use ggen_marketplace::archive::bind;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{CanonicalName, OwnerId};
use ggen_marketplace::protocols::record::{Body, Publish};

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

/// Binds default dependencies on packages of the same batch to `owner`; returns their names.
pub(crate) fn adopt(
    prepared: &mut Prepared,
    batch: &BTreeSet<CanonicalName>,
    owner: OwnerId,
) -> BTreeSet<String> {
    match &mut prepared.body {
        Body::Publish(publish) => bind::adopt(publish, batch, owner),
        _ => BTreeSet::new(),
    }
}

/// The name of what is to be published.
pub(crate) fn name(prepared: &Prepared) -> Option<CanonicalName> {
    match &prepared.body {
        Body::Publish(publish) => Some(Publish::package_name(publish).canonical()),
        _ => None,
    }
}
