//! Signs records with a key of a home and hands them to the node.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::{Client, ControlError, Failure};
use ggen_marketplace::crypto::PrivateKey;
use ggen_marketplace::node::Published;
use ggen_marketplace::protocols::id::{Label, NetworkId, OwnerId, PublicKey};
use ggen_marketplace::protocols::owner::{Documents, Standing};
use ggen_marketplace::protocols::record::{Body, Draft, Head, Record, Signed};

use crate::namespace::verified;
use crate::output::Output;
use crate::passphrase;
use crate::prepare::Archive;

/// How often a record is signed again because another one of the same key came first.
const ATTEMPTS_MAX: usize = 3;

/// The identity key with this label; without one, the first key of the home or its only one.
///
/// # Errors
/// Says what to do if there is none, or if it is not clear which is meant.
pub(crate) fn identity(layout: &Layout, label: Option<&Label>) -> anyhow::Result<Identity> {
    if let Some(label) = label {
        let found = layout.identity(label)?;
        return found.with_context(|| {
            format!(
                "there is no key `{label}` in this home: `market key list` tells which there are"
            )
        });
    }
    if let Some(first) = layout.identity(&Identity::first())? {
        return Ok(first);
    }
    let mut all = layout.identities()?;
    match all.len() {
        0 => bail!(
            "there is no identity in {} to sign with: run `market init`",
            layout.dir().display()
        ),
        1 => Ok(all.remove(0)),
        _ => bail!("this home has several keys: name one of those that `market key list` tells"),
    }
}

/// What signs: a key in this process, or one that the running node holds.
#[derive(Debug)]
pub(crate) enum Pen {
    /// The key itself.
    Key(PrivateKey),
    /// The node's keyring.
    Node(Client),
}

impl Pen {
    /// Opens the key of an identity: a plain one as it is, a locked one in the running node if it is unlocked
    /// there, else with its passphrase.
    pub(crate) async fn of(
        layout: &Layout,
        identity: &Identity,
        client: &Client,
        output: Output,
    ) -> anyhow::Result<Self> {
        if is_unlocked(layout, identity, client).await? {
            return Ok(Self::Node(client.clone()));
        }
        let (key, _) = passphrase::open(layout, identity, output).await?;
        Ok(Self::Key(key))
    }

    pub(crate) async fn seal(&self, draft: Draft) -> anyhow::Result<Bytes> {
        match self {
            Self::Key(key) => Ok(key.seal(draft)),
            Self::Node(client) => Ok(client.seal(draft).await?),
        }
    }
}

/// Whether a locked key is unlocked in the running node.
pub(crate) async fn is_unlocked(
    layout: &Layout,
    identity: &Identity,
    client: &Client,
) -> anyhow::Result<bool> {
    if !layout.is_locked(&identity.label)? {
        return Ok(false);
    }
    let unlocked = client.unlocked().await?;
    Ok(unlocked.iter().any(|one| one.key.0 == identity.public))
}

/// Hands over the record that founded the namespace of a key of this home, if the node does not hold it.
pub(crate) async fn hand_over_genesis(
    layout: &Layout,
    label: &Label,
    client: &Client,
) -> anyhow::Result<()> {
    let Some(envelope) = layout.genesis(label)? else {
        return Ok(());
    };
    let id = Signed::from_envelope(envelope.clone())?.id(layout.network()?.id());
    if client.documents(OwnerId::of_genesis(id)).await?.is_empty() {
        client.submit(&envelope).await?;
    }
    Ok(())
}

/// Tells the node, which may have started before they did, whom this home writes as.
pub(crate) async fn tell_owners(layout: &Layout, client: &Client) -> anyhow::Result<()> {
    Ok(client.write_as(&layout.owners()?).await?)
}

/// A key of a home, and what it needs to write records with it.
#[derive(Debug)]
pub(crate) struct Signer {
    pen: Pen,
    key: PublicKey,
    network: NetworkId,
    owner: OwnerId,
}

impl Signer {
    /// Opens the key with this label, or the one that is meant without a label.
    pub(crate) async fn of(
        layout: &Layout,
        label: Option<&Label>,
        client: &Client,
        output: Output,
    ) -> anyhow::Result<Self> {
        let identity = identity(layout, label)?;
        let pen = Pen::of(layout, &identity, client, output).await?;
        Self::by(layout, &identity, pen, client).await
    }

    /// Signs with what is open already.
    pub(crate) async fn by(
        layout: &Layout,
        identity: &Identity,
        pen: Pen,
        client: &Client,
    ) -> anyhow::Result<Self> {
        hand_over_genesis(layout, &identity.label, client).await?;
        tell_owners(layout, client).await?;
        Ok(Self {
            pen,
            key: identity.public,
            network: layout.network()?.id(),
            owner: identity.owner,
        })
    }

    /// Whose packages this key signs.
    pub(crate) fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Signs a publish record and hands it over with its archive.
    pub(crate) async fn publish(
        &self,
        client: &Client,
        body: &Body,
        archive: &Archive,
    ) -> anyhow::Result<Published> {
        let mut attempt = 1;
        loop {
            let envelope = self.seal(client, body).await?;
            let mut bytes = archive.open().await?;
            match client.publish(&envelope, &mut bytes).await {
                Err(error) if is_stale(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                done => return Ok(done?),
            }
        }
    }

    /// Signs a record without archive, hands it over, and returns its id.
    pub(crate) async fn submit(&self, client: &Client, body: &Body) -> anyhow::Result<String> {
        let mut attempt = 1;
        loop {
            let envelope = self.seal(client, body).await?;
            match client.submit(&envelope).await {
                Err(error) if is_stale(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                done => return Ok(done?),
            }
        }
    }

    /// Tells the swarm what the namespace holds as far as this node knows, so that whoever lacks something of it
    /// learns that. Nothing depends on it: where it fails, that is noted.
    pub(crate) async fn witness(&self, client: &Client, output: Output) {
        if let Err(error) = self.submit_head(client).await {
            output.note(format_args!(
                "others were not told what is complete now: {error:#}"
            ));
        }
    }

    async fn submit_head(&self, client: &Client) -> anyhow::Result<()> {
        let mut documents = Documents::none(self.network, self.owner);
        documents.admit(self.key);
        for envelope in client.documents(self.owner).await? {
            documents.offer(&verified(envelope, self.network)?);
        }
        let Standing::Active(acl, document) = documents.standing() else {
            return Ok(());
        };
        let publishers = document.publishers.iter().map(|(key, _)| *key);
        let keys: BTreeSet<PublicKey> = publishers.chain([document.root]).collect();
        if !keys.contains(&self.key) {
            return Ok(());
        }
        let mut feeds = Vec::new();
        for key in keys {
            let head = client.feed_head(self.owner, key).await?;
            feeds.extend(head.last.map(|last| (key, head.seq, last)));
        }
        let record = Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: now_ms()?,
            body: Body::Head(Box::new(Head {
                subject: self.owner,
                acl,
                feeds,
            })),
        };
        let draft = record.draft(self.network, self.key);
        let draft = draft.context("cannot write the record")?;
        client.submit(&self.pen.seal(draft).await?).await?;
        Ok(())
    }

    /// Signs the next record of the key's feed.
    pub(crate) async fn seal(&self, client: &Client, body: &Body) -> anyhow::Result<Bytes> {
        let head = client.feed_head(self.owner, self.key).await?;
        let record = Record {
            owner: Some(self.owner),
            seq: head.seq + 1,
            previous: head.last,
            time_ms: now_ms()?,
            body: body.clone(),
        };
        let draft = record.draft(self.network, self.key);
        self.pen
            .seal(draft.context("cannot write the record")?)
            .await
    }
}

fn now_ms() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("the clock of this machine stands before 1970: set it")?;
    Ok(u64::try_from(now.as_millis())?)
}

fn is_stale(error: &ControlError) -> bool {
    matches!(error, ControlError::Failed(Failure { stale: true, .. }))
}
