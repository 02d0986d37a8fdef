//! The command's side: asks a running node over its socket, or a node in this process directly.

mod offer;
mod tokens;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ggen_protocols::id::{IdError, OwnerId, PackageName, PublicKey, RecordId};
use ggen_protocols::metadata::{KeyText, OwnerIdText};
use ggen_protocols::record::{Draft, FeedHead};
use semver::Version;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::answer::answer;
use super::frame::{self, CHUNK_BYTES_MAX, Frame};
use super::request::{Failure, Reply, Request, UnlockedKey};
use super::socket;
use super::views::{Hits, PackageInfo, ReleaseState};
use crate::crypto::PrivateKey;
use crate::node::{Fetched, Node, PeerStatus, Progress, Published, Status, VerifyReport, Wanted};
use crate::registry::{Claimants, Decision, KeyIdentity, OwnerTrust, Policy};
use crate::registry::{Evidence, Question, Sight};

pub use offer::Offered;

/// Asks one node. Each question is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client(Way);

#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Direct(Node),
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The node could not do what was asked.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The connection to the node broke.
    #[error("the connection to the running node broke: see what the node says, and try again")]
    Connection(#[from] io::Error),
    /// The archive could not be read.
    #[error("cannot read the archive")]
    Archive(#[source] io::Error),
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
    /// The node's answer fits no question of this version.
    #[error("the running node gave an answer that does not fit: is it of another version?")]
    Unexpected,
    /// An id in the answer is none.
    #[error("the running node's answer holds a damaged id")]
    Id(#[from] IdError),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connection = (ReadHalf<Box<dyn Stream>>, WriteHalf<Box<dyn Stream>>);

impl Client {
    /// A client of the node that runs on this home.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` if none does.
    pub async fn of_running(home: &Path) -> io::Result<Self> {
        // The server takes a connection without a word as a client that went away.
        socket::connect(home).await?;
        Ok(Self(Way::Socket(home.to_path_buf())))
    }

    /// A client of a node in this process.
    pub fn of_node(node: Node) -> Self {
        Self(Way::Direct(node))
    }

    /// How the node is doing.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn status(&self) -> Result<Status, ControlError> {
        match self.ask(Request::Status).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Whom it is connected to.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, ControlError> {
        match self.ask(Request::Peers).await? {
            Reply::Peers(peers) => Ok(peers),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Which packages fit these words.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Hits, ControlError> {
        let text = text.to_owned();
        let request = Request::Search {
            text,
            limit,
            offset,
        };
        match self.ask(request).await? {
            Reply::Hits(hits) => Ok(hits),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The versions of one package.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn info(
        &self,
        namespace: Option<&str>,
        name: &PackageName,
    ) -> Result<PackageInfo, ControlError> {
        let request = Request::Info {
            namespace: namespace.map(ToOwned::to_owned),
            name: name.clone(),
        };
        match self.ask(request).await? {
            Reply::Info(info) => Ok(*info),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What the owner of a release must know to set its state.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn state(
        &self,
        namespace: Option<&str>,
        name: &PackageName,
        version: &Version,
    ) -> Result<ReleaseState, ControlError> {
        let request = Request::State {
            namespace: namespace.map(ToOwned::to_owned),
            name: name.clone(),
            version: version.clone(),
        };
        match self.ask(request).await? {
            Reply::State(state) => Ok(*state),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What the holder of `key` must know to sign its next record.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn feed_head(
        &self,
        owner: OwnerId,
        key: PublicKey,
    ) -> Result<FeedHead, ControlError> {
        let request = Request::FeedHead {
            owner: OwnerIdText(owner),
            key: KeyText(key),
        };
        match self.ask(request).await? {
            Reply::FeedHead { seq, last } => Ok(FeedHead {
                seq,
                last: last.map(|id| id.parse()).transpose()?,
            }),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Checks everything on the node's disk.
    ///
    /// # Errors
    /// [`ControlError`]; findings are no error.
    pub async fn verify(&self) -> Result<VerifyReport, ControlError> {
        match self.ask(Request::Verify).await? {
            Reply::Verified(report) => Ok(report),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The envelopes of all documents that are held of a namespace, each after the one that it continues.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn documents(&self, owner: OwnerId) -> Result<Vec<Bytes>, ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        let owner = OwnerIdText(owner);
        frame::write_message(&mut writer, &Request::Documents { owner }).await?;
        let Reply::Documents { count } = read_reply(&mut reader).await? else {
            return Err(ControlError::Unexpected);
        };
        let mut envelopes = Vec::new();
        for _ in 0..count {
            envelopes.push(read_chunk(&mut reader).await?);
        }
        Ok(envelopes)
    }

    /// The envelope of a record; nothing if it is not held.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn record(&self, id: RecordId) -> Result<Option<Bytes>, ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        let id = id.to_string();
        frame::write_message(&mut writer, &Request::Record { id }).await?;
        match read_reply(&mut reader).await? {
            Reply::Record { held: true } => Ok(Some(read_chunk(&mut reader).await?)),
            Reply::Record { held: false } => Ok(None),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Lets the running node sign with this key for so many seconds, at most [`super::UNLOCK_TIME_MAX`].
    ///
    /// # Errors
    /// [`ControlError::Failed`] if no node runs, or the time is not allowed.
    pub async fn unlock(&self, key: &PrivateKey, seconds: u64) -> Result<(), ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        frame::write_message(&mut writer, &Request::Unlock { seconds }).await?;
        // The node refuses before it has read the key if it takes none; then the answer says why.
        let sent = frame::write_chunks(&mut writer, key.seed().as_ref()).await;
        match (read_reply(&mut reader).await, sent) {
            (Ok(Reply::Unlocked(_)), Ok(())) => Ok(()),
            (Ok(_), _) => Err(ControlError::Unexpected),
            (Err(error), _) => Err(error),
        }
    }

    /// Makes the running node forget this key, or all, and tells which it knew.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if no node runs.
    pub async fn lock(&self, key: Option<PublicKey>) -> Result<Vec<UnlockedKey>, ControlError> {
        let key = key.map(KeyText);
        match self.ask(Request::Lock { key }).await? {
            Reply::Unlocked(keys) => Ok(keys),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The keys that the running node signs with.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn unlocked(&self) -> Result<Vec<UnlockedKey>, ControlError> {
        match self.ask(Request::Unlocked).await? {
            Reply::Unlocked(keys) => Ok(keys),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Lets the running node seal a draft with an unlocked key.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if the key is locked there.
    pub async fn seal(&self, draft: Draft) -> Result<Bytes, ControlError> {
        let signature = self.sign(&draft).await?;
        Ok(draft.sealed(signature))
    }

    /// Lets the running node sign a draft with an unlocked key.
    ///
    /// # Errors
    /// As for [`Client::seal`].
    pub async fn sign(&self, draft: &Draft) -> Result<[u8; 64], ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        frame::write_message(&mut writer, &Request::Sign).await?;
        frame::write_chunks(&mut writer, &draft.message()).await?;
        match read_reply(&mut reader).await? {
            Reply::Signed => {
                let signature = read_chunk(&mut reader).await?;
                let signature = signature.as_ref().try_into();
                signature.map_err(|_| ControlError::Unexpected)
            }
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Hands over a signed record without archive, and returns its id.
    ///
    /// # Errors
    /// [`ControlError::Failed`] with `stale` set if it must be signed again.
    pub async fn submit(&self, envelope: &Bytes) -> Result<String, ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        frame::write_message(&mut writer, &Request::Submit).await?;
        frame::write_chunks(&mut writer, envelope).await?;
        match read_reply(&mut reader).await? {
            Reply::Submitted { record } => Ok(record),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Hands over a signed publish record and its archive.
    ///
    /// # Errors
    /// [`ControlError::Failed`] with `stale` set if it must be signed again.
    pub async fn publish(
        &self,
        envelope: &Bytes,
        archive: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Published, ControlError> {
        let (mut reader, mut writer) = self.open().await?;
        // The node may refuse before it has read everything; then sending fails, and the answer says why.
        let (sent, reply) = tokio::join!(
            async {
                let sent = send_release(&mut writer, envelope, archive).await;
                if let Err(ControlError::Archive(_)) = &sent {
                    // The node waits for the rest; closing tells it that none comes.
                    writer.shutdown().await.unwrap_or_default();
                }
                sent
            },
            read_reply(&mut reader)
        );
        match (sent, reply) {
            (Err(error @ ControlError::Archive(_)), _) => Err(error),
            (_, Ok(Reply::Published(published))) => Ok(published),
            (_, Ok(_)) => Err(ControlError::Unexpected),
            (_, Err(error)) => Err(error),
        }
    }

    /// Brings a release to the node, without handing its archive over.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn fetch(
        &self,
        wanted: &Wanted,
        progress: impl FnMut(Progress),
    ) -> Result<Fetched, ControlError> {
        let (mut reader, _writer) = self.begin_fetch(wanted, false).await?;
        until_fetched(&mut reader, progress).await
    }

    /// Brings a release to the node and writes its archive to `output`. After an error `output` holds no
    /// more than a part.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn fetch_to(
        &self,
        wanted: &Wanted,
        progress: impl FnMut(Progress),
        output: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Fetched, ControlError> {
        let (mut reader, _writer) = self.begin_fetch(wanted, true).await?;
        let fetched = until_fetched(&mut reader, progress).await?;
        let mut written = 0;
        loop {
            match frame::read(&mut reader).await? {
                Frame::Chunk(chunk) => {
                    output
                        .write_all(&chunk)
                        .await
                        .map_err(ControlError::Output)?;
                    written += chunk.len() as u64;
                }
                Frame::End if written == fetched.size => break,
                Frame::End => return Err(ControlError::Unexpected),
                Frame::Message(json) => {
                    return Err(match frame::parse(&json)? {
                        Reply::Failed(failure) => failure.into(),
                        _ => ControlError::Unexpected,
                    });
                }
            }
        }
        output.flush().await.map_err(ControlError::Output)?;
        Ok(fetched)
    }

    /// What this node's user decided.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn policy(&self) -> Result<Policy, ControlError> {
        match self.ask(Request::Policy).await? {
            Reply::Policy(policy) => Ok(*policy),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Tells the node whom it writes as from now on, the first one first.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then.
    pub async fn write_as(&self, owners: &[OwnerId]) -> Result<(), ControlError> {
        let owners = owners.iter().map(|owner| OwnerIdText(*owner)).collect();
        match self.ask(Request::WriteAs { owners }).await? {
            Reply::Decided => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// How much of a namespace is here, by the word of its own keys; newest first.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn sights(&self, owner: OwnerId) -> Result<Vec<Sight>, ControlError> {
        let owner = OwnerIdText(owner);
        match self.ask(Request::Sights { owner }).await? {
            Reply::Sights(sights) => Ok(sights),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Decides.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then.
    pub async fn decide(&self, decision: Decision) -> Result<(), ControlError> {
        match self.ask(Request::Decide(decision)).await? {
            Reply::Decided => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// How far an owner is relied on, and whether a name is pinned to it.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn trust(
        &self,
        owner: OwnerId,
        name: Option<PackageName>,
    ) -> Result<OwnerTrust, ControlError> {
        let owner = OwnerIdText(owner);
        match self.ask(Request::Trust { owner, name }).await? {
            Reply::Trust(trust) => Ok(*trust),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The namespaces that a key writes in.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn identities(&self, key: PublicKey) -> Result<Vec<KeyIdentity>, ControlError> {
        let key = KeyText(key);
        match self.ask(Request::Identities { key }).await? {
            Reply::Identities(identities) => Ok(identities),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Who claims a name; at most 1,000 of them, and how many there are.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn claimants(
        &self,
        namespace: Option<&str>,
        name: &PackageName,
        limit: usize,
    ) -> Result<Claimants, ControlError> {
        let request = Request::Claimants {
            namespace: namespace.map(ToOwned::to_owned),
            name: name.clone(),
            limit,
        };
        match self.ask(request).await? {
            Reply::Claimants(claimants) => Ok(claimants),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What owners signed that contradicts itself.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn evidence(&self, question: Question) -> Result<Evidence, ControlError> {
        match self.ask(Request::Evidence(question)).await? {
            Reply::Evidence(evidence) => Ok(*evidence),
            _ => Err(ControlError::Unexpected),
        }
    }

    async fn begin_fetch(
        &self,
        wanted: &Wanted,
        content: bool,
    ) -> Result<Connection, ControlError> {
        let (reader, mut writer) = self.open().await?;
        let request = Request::Fetch {
            wanted: wanted.clone(),
            content,
        };
        frame::write_message(&mut writer, &request).await?;
        Ok((reader, writer))
    }

    async fn ask(&self, request: Request) -> Result<Reply, ControlError> {
        // The writing half stays open until the answer is here: closing it tells the node that nobody waits.
        let (mut reader, mut writer) = self.open().await?;
        frame::write_message(&mut writer, &request).await?;
        read_reply(&mut reader).await
    }

    async fn open(&self) -> io::Result<Connection> {
        let stream: Box<dyn Stream> = match &self.0 {
            Way::Socket(home) => Box::new(socket::connect(home).await?),
            Way::Direct(node) => {
                let (ours, theirs) = tokio::io::duplex(CHUNK_BYTES_MAX);
                let node = node.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(&node, None, None, theirs).await {
                        tracing::debug!(%error, "a command went away");
                    }
                });
                Box::new(ours)
            }
        };
        Ok(tokio::io::split(stream))
    }
}

async fn send_release(
    writer: &mut (impl AsyncWrite + Unpin),
    envelope: &Bytes,
    archive: &mut (dyn AsyncRead + Send + Unpin),
) -> Result<(), ControlError> {
    frame::write_message(writer, &Request::Publish).await?;
    frame::write_chunks(writer, envelope).await?;
    let mut piece = vec![0; CHUNK_BYTES_MAX];
    loop {
        let length = archive
            .read(&mut piece)
            .await
            .map_err(ControlError::Archive)?;
        if length == 0 {
            return Ok(frame::write_end(writer).await?);
        }
        frame::write_chunks(writer, &piece[..length]).await?;
    }
}

async fn read_chunk(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, ControlError> {
    match frame::read(reader).await? {
        Frame::Chunk(chunk) => Ok(chunk),
        _ => Err(ControlError::Unexpected),
    }
}

async fn read_reply(reader: &mut (impl AsyncRead + Unpin)) -> Result<Reply, ControlError> {
    match frame::read_message(reader).await? {
        Reply::Failed(failure) => Err(failure.into()),
        reply => Ok(reply),
    }
}

async fn until_fetched(
    reader: &mut (impl AsyncRead + Unpin),
    mut progress: impl FnMut(Progress),
) -> Result<Fetched, ControlError> {
    loop {
        match read_reply(reader).await? {
            Reply::Progress(report) => progress(report),
            Reply::Fetched(fetched) => return Ok(*fetched),
            _ => return Err(ControlError::Unexpected),
        }
    }
}
