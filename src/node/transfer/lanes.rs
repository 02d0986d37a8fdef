//! Carries out what `protocols::fetch` decides: one task for each request that is open.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{AbortHandle, Abortable, BoxFuture, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use ggen_protocols::Moment;
use ggen_protocols::fetch::{
    BLOCK_BYTES, Effect, Failure, Fetch, Input, LANES_MAX, LaneId, PIECE_BYTES,
};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use iroh_blobs::Hash;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::api::remote::GetProgressItem;
use iroh_blobs::get::fsm::{AtBlobHeaderNextError, DecodeError};
use iroh_blobs::get::{GetError, StreamPair};
use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt, ERR_LIMIT, ERR_PERMISSION, GetRequest};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::pool::Pool;
use super::{Fetched, TransferError, Want};
use crate::node::Progress;
use crate::store::{BlobStore, StorageError};

/// How much a lane receives before it says so, in bytes, unless `REPORT_INTERVAL` passes first.
const REPORT_BYTES: u64 = 256 << 10;
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Reports under way: enough that no lane waits long.
const REPORTS_MAX: usize = 4 * LANES_MAX;
/// Blobs up to this size are never kept in part: looking for parts of them would only cost time.
const WHOLE_BYTES_MAX: u64 = BLOCK_BYTES;
/// What an answer has besides the blob's bytes if the blob is a single block: its length, and no hashes.
const SINGLE_BLOCK_OTHER_BYTES: u64 = 8;

/// What a lane says: all that it received so far, and how it ended once it did.
struct Report {
    lane: LaneId,
    bytes: u64,
    end: Option<Result<Proof, Broken>>,
}

/// Whether an answer alone proves that the blob is whole and has its size: asking the store costs as much as
/// fetching a small blob.
type Proof = bool;

struct Run<'a> {
    store: &'a Arc<dyn BlobStore>,
    pool: &'a Arc<Pool>,
    want: Want,
    began: Instant,
    lanes: FuturesUnordered<Abortable<BoxFuture<'static, ()>>>,
    open: HashMap<LaneId, (AbortHandle, PeerId, usize)>,
    reports: mpsc::Sender<Report>,
    wake_at: Option<tokio::time::Instant>,
    proven: Proof,
}

/// What ends a run.
enum End {
    Done,
    GiveUp(ggen_protocols::fetch::Refusal),
}

/// Fetches one blob. Dropping the future aborts the tasks.
pub(super) async fn fetch(
    store: &Arc<dyn BlobStore>,
    pool: &Arc<Pool>,
    want: Want,
    progress: Option<mpsc::Sender<Progress>>,
) -> Result<Fetched, TransferError> {
    let (hash, size) = (want.hash, want.size);
    let failed = |source: crate::Error| TransferError::Store {
        hash,
        source: Box::new(source),
    };
    let guard = store.protect(&hash, size).await.map_err(failed)?;
    let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
    let mut run = Run {
        store,
        pool,
        began: Instant::now(),
        lanes: FuturesUnordered::new(),
        open: HashMap::new(),
        reports,
        wake_at: None,
        proven: false,
        want,
    };
    let missing = match size {
        0..=WHOLE_BYTES_MAX => whole(size),
        _ => {
            present(store.blobs(), hash, size)
                .await
                .map_err(|e| failed(e.into()))?
                .1
        }
    };
    let missing_bytes: u64 = missing.iter().map(|range| range.end - range.start).sum();
    let mut fetch = Fetch::new(size, missing);
    let providers = std::mem::take(&mut run.want.providers).into_iter();
    // The tick lets a fetch without any provider end.
    let mut inputs: Vec<Input> = providers
        .map(Input::Provider)
        .chain([Input::Tick])
        .collect();
    loop {
        for input in std::mem::take(&mut inputs) {
            for effect in fetch.handle(run.now(), input) {
                match run.carry_out(effect).await.map_err(|e| failed(e.into()))? {
                    Next::Go => {}
                    Next::Tell(input) => inputs.push(input),
                    Next::End(End::Done) => {
                        tell(&progress, size, size);
                        return Ok((guard, fetch.given()));
                    }
                    Next::End(End::GiveUp(why)) => {
                        return Err(TransferError::Refused { hash, why });
                    }
                }
            }
        }
        if inputs.is_empty() {
            inputs = run
                .wait(&mut reported)
                .await
                .map_err(|e| failed(e.into()))?;
            if progress.is_some() {
                let given: u64 = fetch.given().values().sum();
                tell(&progress, (size - missing_bytes + given).min(size), size);
            }
        }
    }
}

fn tell(progress: &Option<mpsc::Sender<Progress>>, bytes: u64, size: u64) {
    if let Some(progress) = progress {
        // Who has no room for it now takes the next one.
        progress.try_send(Progress { bytes, size }).ok();
    }
}

enum Next {
    Go,
    Tell(Input),
    End(End),
}

impl Run<'_> {
    fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Next, StorageError> {
        match effect {
            Effect::Start {
                lane,
                peer,
                slot,
                range,
            } => self.start(lane, peer, slot, range),
            Effect::Stop { lane, broken } => {
                if let Some((task, peer, slot)) = self.open.remove(&lane) {
                    task.abort();
                    if broken {
                        tracing::debug!(%peer, "a request was given up");
                        self.pool.discard(peer, slot);
                    }
                }
            }
            Effect::Accuse(peer) => {
                tracing::debug!(%peer, hash = %self.want.hash, "sent bytes that are not the blob's");
            }
            Effect::WakeAt(moment) => self.wake_at = Some((self.began + moment.0).into()),
            Effect::Inspect => {
                let (size, missing) = match self.proven {
                    true => (Some(self.want.size), vec![]),
                    false => {
                        let (blobs, hash) = (self.store.blobs(), self.want.hash);
                        present(blobs, hash, self.want.size).await?
                    }
                };
                return Ok(Next::Tell(Input::Inspected { size, missing }));
            }
            Effect::Done => return Ok(Next::End(End::Done)),
            Effect::GiveUp(why) => return Ok(Next::End(End::GiveUp(why))),
        }
        Ok(Next::Go)
    }

    async fn wait(
        &mut self,
        reported: &mut mpsc::Receiver<Report>,
    ) -> Result<Vec<Input>, StorageError> {
        let wake_at = self.wake_at;
        let wake = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(report) = reported.recv() => {
                if report.end.is_some() {
                    self.open.remove(&report.lane);
                    self.proven |= matches!(report.end, Some(Ok(true)));
                }
                report.into_inputs()
            }
            () = wake => {
                self.wake_at = None;
                Ok(vec![Input::Tick])
            }
            // It has said so itself. One whose task panicked is replaced as a silent one.
            Some(_) = self.lanes.next() => Ok(vec![]),
        }
    }

    fn start(&mut self, lane: LaneId, peer: PeerId, slot: usize, range: Range<u64>) {
        let request = Lane {
            id: lane,
            pool: self.pool.clone(),
            blobs: self.store.blobs(),
            hash: blob_hash(&self.want.hash),
            peer,
            slot,
            range,
            reports: self.reports.clone(),
        };
        // Several lanes are worth several threads; many small fetches have enough of them.
        let task = match self.want.size > PIECE_BYTES {
            true => AbortOnDropHandle::new(tokio::spawn(request.run()))
                .map(drop)
                .boxed(),
            false => request.run().boxed(),
        };
        let (task, abort) = abortable(task);
        self.lanes.push(task);
        self.open.insert(lane, (abort, peer, slot));
    }
}

/// The blob's length if it is proven, and the ranges of it that are not here.
async fn present(
    blobs: iroh_blobs::api::Store,
    hash: ContentHash,
    size: u64,
) -> Result<(Option<u64>, Vec<Range<u64>>), StorageError> {
    let hash = blob_hash(&hash);
    let failed = |error: String| StorageError::Write {
        what: "look for a blob",
        path: "blobs".into(),
        source: std::io::Error::other(error),
    };
    let status = blobs.blobs().status(hash).await;
    match status.map_err(|error| failed(error.to_string()))? {
        BlobStatus::Complete { size } => return Ok((Some(size), vec![])),
        BlobStatus::NotFound => return Ok((None, whole(size))),
        BlobStatus::Partial { .. } => {}
    }
    let bitfield = blobs.blobs().observe(hash).await;
    let bitfield = bitfield.map_err(|error| failed(error.to_string()))?;
    let absent = ChunkRanges::bytes(0..size) - bitfield.ranges.clone();
    let bounds: Vec<u64> = absent.boundaries().iter().map(|c| c.to_bytes()).collect();
    let missing: Vec<Range<u64>> = bounds
        .chunks(2)
        .map(|bound| bound[0]..bound.get(1).copied().unwrap_or(size).min(size))
        .collect();
    // All that the record speaks of is here, and yet it is not whole: there is more.
    let size = match missing.is_empty() {
        true => Some(bitfield.size()),
        false => bitfield.validated_size(),
    };
    Ok((size, missing))
}

/// One request.
struct Lane {
    id: LaneId,
    pool: Arc<Pool>,
    blobs: iroh_blobs::api::Store,
    hash: Hash,
    peer: PeerId,
    slot: usize,
    range: Range<u64>,
    reports: mpsc::Sender<Report>,
}

impl Lane {
    async fn run(self) {
        let mut received = 0;
        let end = self.receive(&mut received).await;
        self.report(received, Some(end)).await;
    }

    async fn report(&self, bytes: u64, end: Option<Result<Proof, Broken>>) {
        let lane = self.id;
        // Fails only when the fetch is over.
        self.reports.send(Report { lane, bytes, end }).await.ok();
    }

    async fn receive(&self, received: &mut u64) -> Result<Proof, Broken> {
        let lent = self.pool.lend(self.peer, self.slot).await;
        let lent = lent.map_err(|why| Broken::Peer(Failure::Connection(why)))?;
        let opened = lent.connection.open_bi().await;
        let (send, recv) = opened.map_err(|error| Broken::Peer(closed(&error)))?;
        let pair = StreamPair::new(lent.connection.stable_id() as u64, recv, send);
        let ranges = ChunkRanges::bytes(self.range.clone());
        let request = GetRequest::blob_ranges(self.hash, ranges);
        let items = self.blobs.remote().execute_get(pair, request).stream();
        let mut items = std::pin::pin!(items);
        let mut reported = 0;
        let mut reported_at = Instant::now();
        while let Some(item) = items.next().await {
            match item {
                GetProgressItem::Progress(bytes) => {
                    *received = bytes;
                    let due = bytes - reported >= REPORT_BYTES
                        || reported_at.elapsed() >= REPORT_INTERVAL;
                    if due {
                        reported = bytes;
                        reported_at = Instant::now();
                        self.report(bytes, None).await;
                    }
                }
                GetProgressItem::Done(stats) => {
                    *received = stats.payload_bytes_read;
                    let whole = self.range == (0..*received);
                    return Ok(whole && stats.other_bytes_read == SINGLE_BLOCK_OTHER_BYTES);
                }
                GetProgressItem::Error(error) => return Err(broken(&error, *received)),
            }
        }
        let why = "it ended without a result".to_owned();
        Err(Broken::Peer(Failure::Connection(why)))
    }
}

impl Report {
    fn into_inputs(self) -> Result<Vec<Input>, StorageError> {
        let (lane, bytes) = (self.lane, self.bytes);
        let mut inputs = vec![Input::Received { lane, bytes }];
        match self.end {
            None => {}
            Some(Ok(_)) => inputs.push(Input::Ended(lane)),
            Some(Err(Broken::Peer(why))) => inputs.push(Input::Failed { lane, why }),
            Some(Err(Broken::Store(error))) => return Err(error),
        }
        Ok(inputs)
    }
}

enum Broken {
    Peer(Failure),
    Store(StorageError),
}

fn closed(error: &iroh::endpoint::ConnectionError) -> Failure {
    if let iroh::endpoint::ConnectionError::ApplicationClosed(closed) = error {
        match closed.error_code {
            ERR_PERMISSION => return Failure::NotHeld,
            ERR_LIMIT => return Failure::Busy,
            _ => {}
        }
    }
    Failure::Connection(error.to_string())
}

/// Whose fault it is that a request broke off after `received` bytes.
fn broken(error: &GetError, received: u64) -> Broken {
    match error.iroh_error_code() {
        Some(ERR_PERMISSION) => return Broken::Peer(Failure::NotHeld),
        Some(ERR_LIMIT) => return Broken::Peer(Failure::Busy),
        _ => {}
    }
    let ended = match received {
        0 => Failure::NotHeld,
        _ => Failure::Connection("it ended early".to_owned()),
    };
    let failure = match error {
        GetError::Decode { source, .. } => match source {
            DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => {
                Failure::Lied
            }
            DecodeError::ChunkNotFound { .. }
            | DecodeError::ParentNotFound { .. }
            | DecodeError::LeafNotFound { .. } => ended,
            _ => Failure::Connection(format!("{error:#}")),
        },
        GetError::AtBlobHeaderNext {
            source: AtBlobHeaderNextError::NotFound { .. },
            ..
        } => ended,
        GetError::LocalFailure { .. } | GetError::IrpcSend { .. } => {
            return Broken::Store(StorageError::Write {
                what: "store what a peer sends",
                path: "blobs".into(),
                source: std::io::Error::other(format!("{error:#}")),
            });
        }
        _ => Failure::Connection(format!("{error:#}")),
    };
    Broken::Peer(failure)
}

/// All of a blob, as the one range that is missing.
#[allow(clippy::single_range_in_vec_init)]
fn whole(size: u64) -> Vec<Range<u64>> {
    vec![0..size]
}

fn blob_hash(hash: &ContentHash) -> Hash {
    Hash::from_bytes(*hash.as_bytes())
}
