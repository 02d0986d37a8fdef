//! Signs records with the key of a home and hands them to the node.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{Client, ControlError, Failure};
use ggen_marketplace::crypto::PrivateKey;
use ggen_marketplace::node::Published;
use ggen_marketplace::protocols::id::{NetworkId, OwnerId};
use ggen_marketplace::protocols::record::{Body, Record};

use crate::prepare::Archive;

/// How often a record is signed again because another one of the same key came first.
const ATTEMPTS_MAX: usize = 3;

/// The key of a home, and what it needs to write records with it.
#[derive(Debug)]
pub(crate) struct Signer {
    key: PrivateKey,
    network: NetworkId,
    owner: OwnerId,
}

impl Signer {
    pub(crate) fn of(layout: &Layout) -> anyhow::Result<Self> {
        let key = layout.identity()?;
        let network = layout.network()?.id();
        let owner = OwnerId::of_key(network, key.public());
        Ok(Self {
            key,
            network,
            owner,
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

    async fn seal(&self, client: &Client, body: &Body) -> anyhow::Result<Bytes> {
        let head = client.feed_head(self.owner, self.key.public()).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.context("the clock of this machine stands before 1970: set it")?;
        let record = Record {
            owner: Some(self.owner),
            seq: head.seq + 1,
            previous: head.last,
            time_ms: u64::try_from(now.as_millis())?,
            body: body.clone(),
        };
        let draft = record.draft(self.network, self.key.public());
        Ok(self.key.seal(draft.context("cannot write the record")?))
    }
}

fn is_stale(error: &ControlError) -> bool {
    matches!(error, ControlError::Failed(Failure { stale: true, .. }))
}
