//! The documents of a namespace as the node holds them, and changing the one in force.

use anyhow::{Context, bail};
use bytes::Bytes;
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::crypto::StrictSignatures;
use ggen_marketplace::protocols::id::{NetworkId, OwnerId, PublicKey, RecordId};
use ggen_marketplace::protocols::owner::{Documents, Mark, NamespaceDocument, Standing};
use ggen_marketplace::protocols::record::{Body, Record, Signed, Verified};

use crate::behind::{Guard, Risk};
use crate::output::Output;
use crate::sign::{Pen, hand_over_genesis};

/// What the node holds of a namespace's documents.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) owner: OwnerId,
    pub(crate) network: NetworkId,
    pub(crate) documents: Documents,
    records: Vec<Verified<Record>>,
}

impl Namespace {
    /// Asks the node for them. Those of a bare key, which nobody sends, are known if it is one of these
    /// `identities`.
    pub(crate) async fn of(
        layout: &Layout,
        client: &Client,
        owner: OwnerId,
        identities: &[Identity],
    ) -> anyhow::Result<Self> {
        for identity in identities.iter().filter(|one| one.owner == owner) {
            hand_over_genesis(layout, &identity.label, client).await?;
        }
        let network = layout.network()?.id();
        let mut documents = Documents::none(network, owner);
        for identity in identities {
            documents.admit(identity.public);
        }
        let mut records = Vec::new();
        for envelope in client.documents(owner).await? {
            let record = verified(envelope, network)?;
            documents.offer(&record);
            records.push(record);
        }
        Ok(Self {
            owner,
            network,
            documents,
            records,
        })
    }

    /// The document that says who may write now.
    ///
    /// # Errors
    /// Says why none does, and what can be done.
    pub(crate) fn in_force(&self) -> anyhow::Result<&NamespaceDocument> {
        let owner = self.owner;
        match self.documents.standing() {
            Standing::Active(_, document) => Ok(document),
            Standing::Unknown => bail!(
                "nothing is known here of the namespace {owner}: connect to a node that has it, and try again"
            ),
            Standing::Frozen(at) if self.documents.get(&at).is_some_and(is_without_recovery) => {
                bail!(
                    "{owner} is frozen for good, because its root key contradicted itself and it has no recovery key: \
                 found another namespace"
                )
            }
            Standing::Frozen(_) => bail!(
                "{owner} is frozen, because its root key contradicted itself: \
                 only `market recover` with its recovery key can go on"
            ),
            Standing::Dead(_) => bail!(
                "{owner} is dead, because its recovery key was used twice: found another namespace"
            ),
        }
    }

    /// Makes sure that the node has taken no other document since it was asked for them.
    pub(crate) async fn confirm(&self, client: &Client) -> anyhow::Result<()> {
        let held = client.documents(self.owner).await?;
        let known = self.records.iter().map(Verified::envelope);
        if !held.iter().eq(known) {
            bail!(
                "nothing was signed: who may publish in {} was changed elsewhere, which became known just now; \
                 look at `market owner list`, and try again",
                self.owner
            );
        }
        Ok(())
    }

    /// Every document that is known, an implicit one included.
    pub(crate) fn all(&self) -> impl Iterator<Item = &NamespaceDocument> {
        let genesis = RecordId::from_bytes(*self.owner.as_bytes());
        let sent = self
            .records
            .iter()
            .filter_map(|record| match &record.content().body {
                Body::Genesis(document) | Body::Acl(document) => Some(document.as_ref()),
                _ => None,
            });
        let is_sent = self.records.iter().any(|record| record.id() == genesis);
        let implicit = self.documents.get(&genesis).filter(|_| !is_sent);
        implicit.into_iter().chain(sent)
    }
}

fn is_without_recovery(document: &NamespaceDocument) -> bool {
    document.recovery.is_none()
}

/// Reads an envelope that the node gave.
pub(crate) fn verified(envelope: Bytes, network: NetworkId) -> anyhow::Result<Verified<Record>> {
    let signed = Signed::from_envelope(envelope).and_then(|s| s.verify(&StrictSignatures, network));
    signed.context("the node gave a damaged record: run `market verify`")
}

/// What signs for the root of a namespace, and with which key.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) key: PublicKey,
    pub(crate) pen: Pen,
}

impl Root {
    /// The root key of the document in force, if this home has it.
    pub(crate) async fn of(
        layout: &Layout,
        client: &Client,
        namespace: &Namespace,
        identities: &[Identity],
        output: Output,
    ) -> anyhow::Result<Self> {
        let key = namespace.in_force()?.root;
        let Some(identity) = identities.iter().find(|one| one.public == key) else {
            bail!(
                "only the root key of {} can change who may write there, and this home does not have it: \
                 run this where {key} is",
                namespace.owner
            );
        };
        let pen = Pen::of(layout, identity, client, output).await?;
        Ok(Self { key, pen })
    }
}

/// Changes the document in force with the root's signature; returns the record that says so and the new document.
/// Without a change nothing is signed, nor where the guard refuses.
pub(crate) async fn change(
    guard: &Guard<'_>,
    namespace: &Namespace,
    root: &Root,
    reason: &str,
    edit: impl FnOnce(&mut NamespaceDocument) -> anyhow::Result<()>,
) -> anyhow::Result<(Option<String>, NamespaceDocument)> {
    let before = namespace.in_force()?;
    let mut document = before.clone();
    edit(&mut document)?;
    if document == *before {
        return Ok((None, document));
    }
    guard.pass(Risk::of(before)).await?;
    namespace.confirm(guard.client).await?;
    document.mark = Mark::Reason(reason.to_owned());
    let record = namespace.documents.continued(root.key, document.clone());
    let record = record.map_err(anyhow::Error::msg)?;
    let draft = record.draft(namespace.network, root.key);
    let envelope = root
        .pen
        .seal(draft.context("no record can say that")?)
        .await?;
    Ok((Some(guard.client.submit(&envelope).await?), document))
}

/// What a key may do in a namespace, in words.
pub(crate) fn role(document: &NamespaceDocument, key: PublicKey) -> String {
    let mut roles = Vec::new();
    if document.root == key {
        roles.push("root".to_owned());
    }
    let publisher = document.publishers.iter().find(|(one, _)| *one == key);
    if let Some((_, scopes)) = publisher {
        roles.push(format!("publishes {}", scopes.join(" ")));
    }
    let retired = document.retired.iter().any(|(one, _)| *one == key);
    if retired && publisher.is_none() {
        roles.push("retired".to_owned());
    }
    match roles.is_empty() {
        true => "none".to_owned(),
        false => roles.join(", "),
    }
}
