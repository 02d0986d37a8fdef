//! The decisions of a `LocalRegistry`'s user.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use ggen_protocols::id::{CanonicalName, OwnerId, PublicKey, RecordId, ReleaseKey};
use redb::WriteTransaction;

use super::LocalRegistry;
use crate::Result;
use crate::registry::evidence::{self, Evidence, Question};
use crate::registry::policy::{Claimants, Decision, KeyIdentity, OwnerTrust, Policy};
use crate::registry::stored::{self, Source};
use crate::registry::trust::Viewer;
use crate::registry::view::Failure;
use crate::registry::write::Written;
use crate::registry::{Choices, Concern, Decisions, decide, names, tables, trust, view};

#[async_trait]
impl Choices for LocalRegistry {
    fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    async fn policy(&self) -> Result<Policy> {
        self.view(|stored| Ok(view::policy(stored)?)).await
    }

    async fn decide(&self, decision: Decision) -> Result<()> {
        let network = self.network;
        self.change(move |transaction| {
            decide::decide(transaction, network, decision)?;
            unchanged(transaction, Some(Concern::All))
        })
        .await
    }

    async fn write_as(&self, owners: Vec<OwnerId>) -> Result<()> {
        let own = owners.clone();
        self.change(move |transaction| {
            decide::open(transaction, &own)?;
            unchanged(transaction, Some(Concern::All))
        })
        .await?;
        let mut viewer = self.viewer.write().unwrap_or_else(PoisonError::into_inner);
        *viewer = Arc::new(Viewer::new(owners));
        // Once more: who looked between the commit and this line saw as the former owners do.
        self.decisions.add(Concern::All);
        Ok(())
    }

    async fn used(
        &self,
        namespace: Option<&str>,
        release: &ReleaseKey,
        record: RecordId,
    ) -> Result<()> {
        let (network, release) = (self.network, release.clone());
        let namespace = namespace.map(str::to_owned);
        let (before, named) = (release.clone(), namespace.clone());
        // What a snapshot has is durable, and a commit for nothing would take many times as long as to look.
        let is_noted = self.view(move |stored| decide::is_used(stored, named.as_deref(), &before));
        if is_noted.await? {
            return Ok(());
        }
        self.change(move |transaction| {
            let namespace = namespace.as_deref();
            let pinned = decide::used(transaction, network, namespace, &release, record)?;
            unchanged(transaction, pinned)
        })
        .await
    }

    async fn trust(&self, owner: OwnerId, name: Option<&CanonicalName>) -> Result<OwnerTrust> {
        let (viewer, name) = (self.viewer(), name.cloned());
        self.view(move |stored| Ok(trust::of_owner(stored, &viewer, owner, name.as_ref())?))
            .await
    }

    async fn identities(&self, key: PublicKey) -> Result<Vec<KeyIdentity>> {
        self.view(move |stored| Ok(trust::identities(stored, key)?))
            .await
    }

    async fn claimants(
        &self,
        namespace: Option<&str>,
        name: &CanonicalName,
        limit: usize,
    ) -> Result<Claimants> {
        let (viewer, name) = (self.viewer(), name.clone());
        let namespace = namespace.map(str::to_owned);
        self.view(move |stored| {
            names::claimants(stored, &viewer, namespace.as_deref(), &name, limit)
        })
        .await
    }

    async fn evidence(&self, question: Question) -> Result<Evidence> {
        let network = self.network;
        self.view(move |stored| Ok(evidence::gather(stored, network, &question)?))
            .await
    }
}

/// What was decided is no change of the catalogue; what follows from it may be.
pub(super) fn unchanged(
    transaction: &WriteTransaction,
    decided: Option<Concern>,
) -> Result<Written<()>, Failure> {
    let position = stored::last_position(&transaction.table(tables::CHANGES)?)?;
    Ok(Written {
        decided,
        ..Written::at(position, ())
    })
}
