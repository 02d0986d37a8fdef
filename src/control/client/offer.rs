//! The process behind an offer: waits to be asked for one signature.

use bytes::Bytes;
use ggen_protocols::id::{OwnerId, PublicKey};
use ggen_protocols::metadata::{KeyText, OwnerIdText};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Client, Connection, ControlError, read_chunk, read_reply};
use crate::control::frame;
use crate::control::offer::OFFER_TIME_MAX;
use crate::control::request::{Failure, Reply, Request};

/// An offer that stands.
pub struct Offered(Connection);

impl std::fmt::Debug for Offered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offered")
    }
}

impl Client {
    /// Offers to sign the publish record of one release with this key.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if no node runs, or too many offers stand there.
    pub async fn offer(
        &self,
        id: &str,
        owner: OwnerId,
        key: PublicKey,
    ) -> Result<Offered, ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        let request = Request::Offer {
            id: id.to_owned(),
            owner: OwnerIdText(owner),
            key: KeyText(key),
        };
        frame::write_message(&mut writer, &request).await?;
        match read_reply(&mut reader).await? {
            Reply::Offered => Ok(Offered((reader, writer))),
            _ => Err(ControlError::Unexpected),
        }
    }
}

impl Offered {
    /// Waits for the message to sign; nothing if the time of the offer is over, or the node stops.
    ///
    /// # Errors
    /// [`ControlError::Unexpected`].
    pub async fn asked(&mut self) -> Result<Option<Bytes>, ControlError> {
        let (reader, _) = &mut self.0;
        match timeout(OFFER_TIME_MAX, read_reply(reader)).await {
            Ok(Ok(Reply::Asked)) => Ok(Some(read_chunk(reader).await?)),
            Ok(Ok(_)) => Err(ControlError::Unexpected),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Gives the signature, or says why not; returns when the node has it.
    ///
    /// # Errors
    /// [`ControlError::Connection`].
    pub async fn answer(self, signed: Result<[u8; 64], Failure>) -> Result<(), ControlError> {
        let (mut reader, mut writer) = self.0;
        match signed {
            Ok(signature) => frame::write_chunks(&mut writer, &signature).await?,
            Err(failure) => frame::write_message(&mut writer, &failure).await?,
        }
        // It says nothing more, and closes.
        match reader.read_u8().await {
            Ok(_) => Err(ControlError::Unexpected),
            Err(_) => Ok(()),
        }
    }
}
