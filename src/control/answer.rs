//! Answers one request on one connection.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use ggen_protocols::id::ReleaseKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{self, Frame};
use super::request::{Failure, Reply, Request};
use super::views::{Hits, PackageInfo, ReleaseState};
use crate::Result;
use crate::node::{Fetched, Node, Wanted};
use crate::registry::RegistryError;
use crate::search::SearchQuery;

/// How long a client may take for its request and its envelope.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Progress reports of one fetch that wait to be sent; older ones are worth nothing.
const PROGRESS_MAX: usize = 8;

/// Reads one request from `stream`, does it on `node`, and writes the answer. `http` is where the node
/// answers HTTP, which it does not know itself.
///
/// # Errors
/// What the connection failed with; what the node failed with is an answer.
pub(super) async fn answer(
    node: &Node,
    http: Option<&str>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let request = in_time(frame::read_message(&mut reader)).await?;
    let done = match request {
        Request::Publish => publish(node, &mut reader).await?,
        Request::Submit => submit(node, &mut reader).await?,
        Request::Fetch { wanted, content } => {
            return fetch(node, &wanted, content, &mut reader, &mut writer).await;
        }
        question => tokio::select! {
            done = look(node, http, question) => done,
            () = gone(&mut reader) => return Ok(()),
        },
    };
    let reply = done.unwrap_or_else(|error| Reply::Failed(Failure::from(&error)));
    frame::write_message(&mut writer, &reply).await
}

/// The questions that change nothing.
async fn look(node: &Node, http: Option<&str>, question: Request) -> Result<Reply> {
    Ok(match question {
        Request::Status => {
            let mut status = node.status().await?;
            status.http = http.map(ToOwned::to_owned);
            Reply::Status(Box::new(status))
        }
        Request::Peers => Reply::Peers(node.peers().await?),
        Request::Search {
            text,
            limit,
            offset,
        } => {
            let query = SearchQuery {
                text,
                limit,
                offset,
                ..SearchQuery::default()
            };
            Reply::Hits(Hits::from(node.search(&query).await?))
        }
        Request::Info { namespace, name } => {
            let (owner, releases) = node.info(namespace.as_deref(), &name).await?;
            let info = PackageInfo::of(owner, releases);
            let none = || RegistryError::NotFound(name.to_string());
            Reply::Info(Box::new(info.ok_or_else(none)?))
        }
        Request::State {
            namespace,
            name,
            version,
        } => {
            let (owner, releases) = node.info(namespace.as_deref(), &name).await?;
            let wanted = ReleaseKey::new(owner, name.canonical(), &version);
            let found = releases.into_iter().find(|release| release.key == wanted);
            let none = || RegistryError::NotFound(format!("{name}@{version}"));
            let release = found.ok_or_else(none)?;
            Reply::State(Box::new(ReleaseState {
                owner: owner.to_string(),
                yanked: release.yanked,
                state: release.state,
            }))
        }
        Request::FeedHead { owner, key } => {
            let head = node.feed_head(owner.0, key.0).await?;
            Reply::FeedHead {
                seq: head.seq,
                last: head.last.map(|id| id.to_string()),
            }
        }
        Request::Verify => Reply::Verified(node.verify().await?),
        Request::Publish | Request::Submit | Request::Fetch { .. } => {
            unreachable!("the caller answers these itself")
        }
    })
}

async fn publish(
    node: &Node,
    reader: &mut (impl AsyncRead + Send + Unpin),
) -> io::Result<Result<Reply>> {
    let envelope = in_time(envelope(reader)).await?;
    let mut archive = frame::body(reader);
    Ok(node
        .publish(envelope, &mut archive)
        .await
        .map(Reply::Published))
}

async fn submit(
    node: &Node,
    reader: &mut (impl AsyncRead + Send + Unpin),
) -> io::Result<Result<Reply>> {
    let envelope = in_time(envelope(reader)).await?;
    let submitted = node.submit(envelope).await;
    Ok(submitted.map(|record| Reply::Submitted {
        record: record.to_string(),
    }))
}

/// Fetches, tells how far it has come, and hands the archive over. A client that goes away ends the fetch.
async fn fetch(
    node: &Node,
    wanted: &Wanted,
    content: bool,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (progress, mut reports) = mpsc::channel(PROGRESS_MAX);
    let fetching = node.fetch(wanted, Some(progress));
    tokio::pin!(fetching);
    let fetched = loop {
        tokio::select! {
            fetched = &mut fetching => break fetched,
            Some(report) = reports.recv() => {
                frame::write_message(writer, &Reply::Progress(report)).await?;
            }
            () = gone(reader) => return Ok(()),
        }
    };
    let failed = match fetched {
        Ok(fetched) => {
            let reply = Reply::Fetched(Box::new(fetched.clone()));
            frame::write_message(writer, &reply).await?;
            if !content {
                return Ok(());
            }
            hand_over(node, &fetched, writer).await?
        }
        Err(error) => Some(error),
    };
    match failed {
        Some(error) => {
            let reply = Reply::Failed(Failure::from(&error));
            frame::write_message(writer, &reply).await
        }
        None => frame::write_end(writer).await,
    }
}

/// Writes the blob as chunks; what reading it failed with is for the client to know.
async fn hand_over(
    node: &Node,
    fetched: &Fetched,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<crate::Error>> {
    let mut pieces = match node.read(&fetched.blake3).await {
        Ok(pieces) => pieces,
        Err(error) => return Ok(Some(error)),
    };
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(bytes) => frame::write_chunks(writer, &bytes).await?,
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

async fn envelope(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    match frame::read(reader).await? {
        Frame::Chunk(envelope) => Ok(envelope),
        other => Err(frame::unexpected(&other)),
    }
}

async fn in_time<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(REQUEST_TIME_MAX, reading)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Waits until the other side goes away. One that says more than its request counts as gone.
async fn gone(reader: &mut (impl AsyncRead + Unpin)) {
    // Whatever comes, an end, an error or a byte: the conversation is over.
    drop(reader.read_u8().await);
}
