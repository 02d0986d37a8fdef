//! Answers one request on one connection.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use ggen_protocols::id::{OwnerId, RecordId, ReleaseKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::frame::{self, Frame};
use super::keyring::Keyring;
use super::offer::Asked;
use super::request::{Failure, Reply, Request};
use super::server::Web;
use super::views::{Hits, PackageInfo, ReleaseState};
use crate::Result;
use crate::crypto::PrivateKey;
use crate::node::{Fetched, Node, Wanted};
use crate::registry::RegistryError;
use crate::search::SearchQuery;

/// Claimants of a name in one answer.
const CLAIMANTS_MAX: usize = 1000;
/// How long a client may take for its request and its envelope.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Progress reports of one fetch that wait to be sent; older ones are worth nothing.
const PROGRESS_MAX: usize = 8;

/// Reads one request from `stream`, does it on `node`, and writes the answer. `web` is how the node
/// answers HTTP; `keyring` holds unlocked keys, if the node outlives the command.
///
/// # Errors
/// What the connection failed with; what the node failed with is an answer.
pub(super) async fn answer(
    node: &Node,
    web: Option<&Web>,
    keyring: Option<&Keyring>,
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
        Request::Documents { owner } => return documents(node, owner.0, &mut writer).await,
        Request::Record { id } => return record(node, &id, &mut writer).await,
        Request::Offer { id, owner, key } => {
            let offer = keyring.ok_or_else(no_node).and_then(|keyring| {
                let offers = keyring.offers();
                Ok((offers, offers.add(&id, owner.0, key.0)?))
            });
            return match offer {
                Ok((offers, asked)) => stand(offers.asked(asked), &mut reader, &mut writer).await,
                Err(failure) => frame::write_message(&mut writer, &Reply::Failed(failure)).await,
            };
        }
        request @ (Request::Unlock { .. }
        | Request::Lock { .. }
        | Request::Unlocked
        | Request::Sign) => {
            let done = keys(node, keyring, request, &mut reader).await?;
            let (reply, signature) = match done {
                Ok(done) => done,
                Err(failure) => (Reply::Failed(failure), None),
            };
            frame::write_message(&mut writer, &reply).await?;
            return match signature {
                Some(signature) => frame::write_chunks(&mut writer, &signature).await,
                None => Ok(()),
            };
        }
        question => tokio::select! {
            done = look(node, web, question) => done,
            () = gone(&mut reader) => return Ok(()),
        },
    };
    let reply = done.unwrap_or_else(|error| Reply::Failed(Failure::from(&error)));
    frame::write_message(&mut writer, &reply).await
}

/// Says of each hit how far its owner is relied on.
pub(crate) async fn tell_trust(node: &Node, hits: &mut Hits) -> Result<()> {
    let choices = node.choices()?;
    for hit in &mut hits.hits {
        let name = hit.name.parse()?;
        let trust = choices.trust(hit.owner.parse()?, Some(&name)).await?;
        hit.badge = Some(trust.badge().to_owned());
        hit.label = trust.label;
    }
    Ok(())
}

/// The questions that change nothing.
async fn look(node: &Node, web: Option<&Web>, question: Request) -> Result<Reply> {
    Ok(match question {
        Request::Status => {
            let mut status = node.status().await?;
            status.http = web.map(|web| web.http.clone());
            status.canonical = web.map(|web| web.canonical.base().to_owned());
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
            let mut hits = Hits::from(node.search(&query).await?);
            tell_trust(node, &mut hits).await?;
            Reply::Hits(hits)
        }
        Request::Info { namespace, name } => {
            let (owner, releases) = node.info(namespace.as_deref(), &name).await?;
            let trust = node.choices()?;
            let trust = trust.trust(owner, Some(&name.canonical())).await?;
            let info = PackageInfo::of(&trust, releases);
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
        Request::Policy => Reply::Policy(Box::new(node.choices()?.policy().await?)),
        Request::WriteAs { owners } => {
            let owners = owners.into_iter().map(|owner| owner.0).collect();
            node.choices()?.write_as(owners).await?;
            Reply::Decided
        }
        Request::Decide(decision) => {
            node.choices()?.decide(decision).await?;
            Reply::Decided
        }
        Request::Trust { owner, name } => {
            let name = name.map(|name| name.canonical());
            let trust = node.choices()?.trust(owner.0, name.as_ref()).await?;
            Reply::Trust(Box::new(trust))
        }
        Request::Identities { key } => Reply::Identities(node.choices()?.identities(key.0).await?),
        Request::Claimants {
            namespace,
            name,
            limit,
        } => {
            let (choices, name) = (node.choices()?, name.canonical());
            let limit = limit.min(CLAIMANTS_MAX);
            let claimants = choices.claimants(namespace.as_deref(), &name, limit);
            Reply::Claimants(claimants.await?)
        }
        Request::Sights { owner } => {
            let sights = node.catalogue().sights(owner.0);
            Reply::Sights(sights.await?)
        }
        Request::Evidence(question) => {
            let evidence = node.choices()?.evidence(question).await?;
            Reply::Evidence(Box::new(evidence))
        }
        Request::AddToken { token, terms } => {
            let grant = node.choices()?.add_token(&token, &terms).await?;
            Reply::Token(Box::new(grant))
        }
        Request::Tokens => Reply::Tokens(node.choices()?.tokens().await?),
        Request::RevokeToken { id } => {
            let grant = node.choices()?.revoke_token(&id).await?;
            Reply::Token(Box::new(grant))
        }
        _ => unreachable!("the caller answers the others itself"),
    })
}

/// What concerns unlocked keys: the reply, and the signature if there is one.
async fn keys(
    node: &Node,
    keyring: Option<&Keyring>,
    request: Request,
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Result<(Reply, Option<[u8; 64]>), Failure>> {
    let Some(keyring) = keyring else {
        return Ok(match request {
            Request::Unlocked => Ok((Reply::Unlocked(Vec::new()), None)),
            _ => Err(no_node()),
        });
    };
    Ok(match request {
        Request::Unlock { seconds } => {
            let seed = in_time(frame::read_seed(reader)).await?;
            let key = PrivateKey::from_seed(*seed);
            let unlocked = keyring.unlock(key, Duration::from_secs(seconds));
            unlocked.map(|()| (Reply::Unlocked(keyring.unlocked()), None))
        }
        Request::Lock { key } => {
            let locked = keyring.lock(key.map(|key| key.0));
            Ok((Reply::Unlocked(locked), None))
        }
        Request::Sign => {
            let message = in_time(envelope(reader)).await?;
            let signed = keyring.sign(node.catalogue().network(), &message, Instant::now());
            signed.map(|signature| (Reply::Signed, Some(signature)))
        }
        _ => Ok((Reply::Unlocked(keyring.unlocked()), None)),
    })
}

/// Keeps an offer until it is asked for, its time is over, or one of both sides goes.
async fn stand(
    asked: impl Future<Output = Option<Asked>>,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    frame::write_message(writer, &Reply::Offered).await?;
    let asked = tokio::select! {
        asked = asked => asked,
        () = gone(reader) => return Ok(()),
    };
    let Some(Asked { message, reply }) = asked else {
        return Ok(());
    };
    frame::write_message(writer, &Reply::Asked).await?;
    frame::write_chunks(writer, &message).await?;
    let signed = match in_time(frame::read(reader)).await? {
        Frame::Chunk(signature) => {
            let signature = signature.as_ref().try_into();
            Ok(signature.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?)
        }
        Frame::Message(json) => Err(frame::parse(&json)?),
        other => return Err(frame::unexpected(&other)),
    };
    // Whoever asked may have gone meanwhile.
    reply.send(signed).unwrap_or_default();
    Ok(())
}

fn no_node() -> Failure {
    Failure {
        message: "no node runs that could hold an unlocked key: run `market up` first".to_owned(),
        stale: false,
        choices: Vec::new(),
    }
}

async fn documents(
    node: &Node,
    owner: OwnerId,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let envelopes = match node.documents(owner).await {
        Ok(envelopes) => envelopes,
        Err(error) => {
            let reply = Reply::Failed(Failure::from(&error));
            return frame::write_message(writer, &reply).await;
        }
    };
    let count = envelopes.len();
    frame::write_message(writer, &Reply::Documents { count }).await?;
    for envelope in envelopes {
        frame::write_chunks(writer, &envelope).await?;
    }
    Ok(())
}

async fn record(node: &Node, id: &str, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let envelope = match id.parse::<RecordId>() {
        Ok(id) => node.record(id).await,
        Err(error) => Err(error.into()),
    };
    match envelope {
        Ok(Some(envelope)) => {
            frame::write_message(writer, &Reply::Record { held: true }).await?;
            frame::write_chunks(writer, &envelope).await
        }
        Ok(None) => frame::write_message(writer, &Reply::Record { held: false }).await,
        Err(error) => {
            let reply = Reply::Failed(Failure::from(&error));
            frame::write_message(writer, &reply).await
        }
    }
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
