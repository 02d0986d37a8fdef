//! Bringing a blob here: finding who holds it, transferring it, checking it, holding it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{PeerId, RecordId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::network::Network;
use super::wanted::package;
use super::{NodeError, Progress, Shared, check};
use crate::Error;
use crate::Result;
use crate::registry::{Release, Verdict};

/// How often providers are looked for anew after all of them failed.
const ROUNDS_MAX: usize = 3;
/// Steps of progress that may wait for somebody to look.
const PROGRESS_STEPS_MAX: usize = 8;

/// What is to be brought here.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) release: Release,
    pub(super) hash: ContentHash,
    pub(super) size: u64,
}

impl Blob {
    /// The archive of a release; nothing if its record names none.
    pub(super) fn of(release: &Release) -> Option<Self> {
        let checksums = &release.metadata.checksums;
        Some(Self {
            hash: checksums.blake3?,
            size: checksums.size?,
            release: release.clone(),
        })
    }
}

/// How far bringing a blob is; all who want it watch the same job.
#[derive(Debug, Clone)]
pub(super) enum State {
    Running(Progress),
    /// It is held now. Holds how many bytes came from whom.
    Held(Arc<BTreeMap<PeerId, u64>>),
    Failed(Failure),
}

/// Why a blob could not be brought here.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nobody who is connected holds it; so many were asked.
    NoProvider(usize),
    /// This happened.
    Because(String),
}

impl Failure {
    pub(super) fn error(self, blob: &Blob) -> Error {
        let package = package(&blob.release);
        let error = match self {
            Self::NoProvider(asked) => NodeError::NoProvider {
                package,
                hash: blob.hash,
                asked,
            },
            Self::Because(why) => NodeError::FetchFailed { package, why },
        };
        error.into()
    }
}

/// A job that brings one blob, as others see it.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The record that the blob is checked against.
    pub(super) record: RecordId,
    pub(super) state: watch::Receiver<State>,
}

/// Brings a blob here. Everything is told through `state`.
pub(super) async fn bring(
    shared: Arc<Shared>,
    network: Option<Network>,
    blob: Blob,
    state: watch::Sender<State>,
) {
    let start = Instant::now();
    let ended = match network {
        Some(network) => transfer(&shared, &network, &blob, &state).await,
        None => Err(Failure::NoProvider(0)),
    };
    let ended = match ended {
        Ok(providers) => State::Held(Arc::new(providers)),
        Err(failure) => State::Failed(failure),
    };
    shared.meters.fetched(&ended, start.elapsed());
    state.send_replace(ended);
}

async fn transfer(
    shared: &Shared,
    network: &Network,
    blob: &Blob,
    state: &watch::Sender<State>,
) -> Result<BTreeMap<PeerId, u64>, Failure> {
    if blob.size > shared.config.package_bytes_max {
        return Err(Failure::Because(format!(
            "it has {} bytes, and this node takes at most {}",
            blob.size, shared.config.package_bytes_max
        )));
    }
    let mut failure = None;
    for _ in 0..ROUNDS_MAX {
        let (providers, asked) = network.providers(&blob.hash).await;
        if providers.is_empty() {
            return Err(failure.unwrap_or(Failure::NoProvider(asked)));
        }
        let (steps, mut progress) = mpsc::channel(PROGRESS_STEPS_MAX);
        let fetch = network
            .transfer
            .fetch(blob.hash, blob.size, providers, Some(steps));
        let tell = async {
            while let Some(step) = progress.recv().await {
                state.send_replace(State::Running(step));
            }
        };
        let (fetched, ()) = tokio::join!(fetch, tell);
        match fetched {
            Ok((staged, given)) => {
                crate::crash::point("fetch.fetched");
                let inspected = vet(shared, blob).await?;
                let held = shared.store.hold(staged, inspected).await;
                held.map_err(|error| Failure::Because(error.to_string()))?;
                crate::crash::point("fetch.held");
                judge(shared, blob, Verdict::Sound).await?;
                shared.teller.blob(blob.hash, blob.size);
                return Ok(given);
            }
            // Others may have come meanwhile, or the same ones may be back.
            Err(error) => failure = Some(Failure::Because(error.to_string())),
        }
    }
    Err(failure.unwrap_or(Failure::NoProvider(0)))
}

/// Checks the archive against the release's record; gives its SHA-256. A wrong one is noted, and not asked for
/// again.
async fn vet(shared: &Shared, blob: &Blob) -> Result<ContentHash, Failure> {
    let because = |error: Error| Failure::Because(error.to_string());
    let publish = check::publish_of(&*shared.catalogue, &blob.release)
        .await
        .map_err(because)?;
    let checked = check::archive(&shared.store, &blob.hash, publish).await;
    match checked.map_err(because)? {
        Ok(inspected) => Ok(inspected.sha256),
        Err(error) => {
            let why = error.to_string();
            judge(shared, blob, Verdict::Unsound(why.clone())).await?;
            Err(Failure::Because(why))
        }
    }
}

async fn judge(shared: &Shared, blob: &Blob, verdict: Verdict) -> Result<(), Failure> {
    let judged = shared.catalogue.judge(blob.release.record, verdict).await;
    judged.map_err(|error| Failure::Because(error.to_string()))
}

/// Checks a blob that is held, but was not checked against this release yet: another release has the same one,
/// or the node stopped between the two.
///
/// # Errors
/// [`NodeError::FetchFailed`] with what is wrong.
pub(super) async fn vet_held(shared: &Shared, blob: &Blob) -> Result<()> {
    let vetted = async {
        vet(shared, blob).await?;
        judge(shared, blob, Verdict::Sound).await
    };
    vetted.await.map_err(|failure| failure.error(blob))
}
