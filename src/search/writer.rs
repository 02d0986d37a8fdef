//! The index's one writer, on its own thread: gathers changes, commits them together, and shows the result.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::SearchError;
use super::folder::{self, Generation};
use super::lexicon::Committed;
use super::overlay::{Change, Overlay};
use super::query::View;
use super::schema::Fields;

/// Changes that wait for a commit: searches look through them one by one, in some 100 µs.
pub(crate) const WAITING_MAX: usize = 1_000;
/// Until finished merges are shown where no commit shows them.
const SETTLE: Duration = Duration::from_secs(3);
/// Attempts to merge everything while other merges end.
const MERGE_ATTEMPTS_MAX: usize = 8;
/// Between attempts to write where writing failed.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What the engine and its writer share.
pub(crate) struct Shared {
    pub(crate) fields: Fields,
    /// How long a change may wait for company before it is committed.
    commit_delay: Duration,
    state: Mutex<State>,
    /// Tells the writer that there is something to do.
    work: Condvar,
    /// Tells those who wait how far the writer is.
    progress: watch::Sender<Progress>,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The last ticket that is durable and in the committed index.
    committed: u64,
    /// The position that is durable.
    pub(crate) position: u64,
    /// What the last attempt failed with.
    failure: Option<String>,
    /// Counts attempts that failed.
    failures: u64,
}

struct State {
    committed: Committed,
    overlay: Arc<Overlay>,
    /// Changes that no commit took yet, in order; at most `WAITING_MAX`, or one larger batch.
    waiting: Vec<(u64, Change)>,
    /// Counts what was handed in.
    ticket: u64,
    /// The last position handed in.
    position: u64,
    /// Since when something waits.
    since: Option<Instant>,
    /// Somebody waits for the commit.
    hurry: bool,
    /// The index is being replaced: nothing is committed meanwhile.
    held: bool,
    task: Option<Task>,
    path: PathBuf,
    stopped: bool,
}

/// What only the writer's thread can do, besides committing.
pub(crate) enum Task {
    Merge(oneshot::Sender<Result<(), SearchError>>),
    /// Goes on with this generation, with the changes after this ticket on top.
    Replace(
        Box<Generation>,
        u64,
        oneshot::Sender<Result<(), SearchError>>,
    ),
}

/// What the thread does next.
enum Turn {
    Commit {
        changes: Vec<(u64, Change)>,
        ticket: u64,
        position: u64,
    },
    Task(Task),
    Settle,
    Stop,
}

impl Shared {
    pub(crate) fn new(
        fields: Fields,
        generation: &Generation,
        committed: Committed,
        commit_delay: Duration,
    ) -> Self {
        let position = generation.position;
        let state = State {
            committed,
            overlay: Arc::default(),
            waiting: Vec::new(),
            ticket: 0,
            position,
            since: None,
            hurry: false,
            held: false,
            task: None,
            path: generation.path.clone(),
            stopped: false,
        };
        Self {
            fields,
            commit_delay,
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: watch::Sender::new(Progress {
                position,
                ..Progress::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    /// What a search sees now.
    pub(crate) fn view(&self) -> View {
        let state = self.state();
        View {
            committed: state.committed.clone(),
            overlay: state.overlay.clone(),
        }
    }

    /// Where the current generation is.
    pub(crate) fn path(&self) -> PathBuf {
        self.state().path.clone()
    }

    pub(crate) fn durable_position(&self) -> u64 {
        self.progress.borrow().position
    }

    /// Hands in changes; returns when searches show them. More than fit the overlay are committed at once.
    pub(crate) async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<u64>,
    ) -> Result<(), SearchError> {
        let many = changes.len() > WAITING_MAX;
        let mut changes = Some(changes);
        let mut progress = self.progress.subscribe();
        let failures = progress.borrow_and_update().failures;
        loop {
            if let Some(ticket) = self.hand_in(&mut changes, position, many) {
                return if many {
                    self.committed(ticket).await
                } else {
                    Ok(())
                };
            }
            changed(&mut progress, failures).await?;
        }
    }

    /// Makes everything that was handed in durable.
    pub(crate) async fn flush(&self) -> Result<(), SearchError> {
        let ticket = self.state().ticket;
        self.committed(ticket).await
    }

    /// The ticket of these changes, if there was room for them.
    fn hand_in(
        &self,
        changes: &mut Option<Vec<Change>>,
        position: Option<u64>,
        many: bool,
    ) -> Option<u64> {
        let mut state = self.state();
        let count = changes.as_ref().map_or(0, Vec::len);
        if !state.waiting.is_empty() && state.waiting.len() + count > WAITING_MAX {
            state.hurry = true;
            self.work.notify_one();
            return None;
        }
        let changes = changes.take().unwrap_or_default();
        state.ticket += 1;
        let ticket = state.ticket;
        if !many {
            Arc::make_mut(&mut state.overlay).add(ticket, &changes);
        }
        state
            .waiting
            .extend(changes.into_iter().map(|change| (ticket, change)));
        state.position = position.unwrap_or(state.position);
        state.since.get_or_insert_with(Instant::now);
        self.work.notify_one();
        Some(ticket)
    }

    async fn committed(&self, ticket: u64) -> Result<(), SearchError> {
        let mut progress = self.progress.subscribe();
        let failures = progress.borrow_and_update().failures;
        loop {
            if progress.borrow().committed >= ticket {
                return Ok(());
            }
            {
                let mut state = self.state();
                state.hurry |= state.since.is_some();
                self.work.notify_one();
            }
            changed(&mut progress, failures).await?;
        }
    }

    /// Holds commits back until the returned guard goes; gives the last ticket handed in.
    pub(crate) fn hold(&self) -> (Held<'_>, u64) {
        let mut state = self.state();
        state.held = true;
        (Held(self), state.ticket)
    }

    /// Has the writer's thread do something. One at a time: callers see to that.
    pub(crate) async fn run(
        &self,
        task: impl FnOnce(oneshot::Sender<Result<(), SearchError>>) -> Task,
    ) -> Result<(), SearchError> {
        let (done, answer) = oneshot::channel();
        self.state().task = Some(task(done));
        self.work.notify_one();
        let stopped = |_| SearchError::IndexingFailed("the index was closed".to_owned());
        answer.await.map_err(stopped)?
    }

    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.work.notify_one();
    }

    /// Waits for something to do.
    fn turn(&self, settle: Option<Instant>) -> Turn {
        let mut state = self.state();
        loop {
            if let Some(task) = state.task.take() {
                return Turn::Task(task);
            }
            let now = Instant::now();
            let due = state
                .since
                .filter(|_| !state.held)
                .map(|since| since + self.commit_delay);
            let full = state.hurry || state.stopped || state.waiting.len() >= WAITING_MAX;
            if due.is_some_and(|due| full || due <= now) {
                state.since = None;
                state.hurry = false;
                let changes = std::mem::take(&mut state.waiting);
                let (ticket, position) = (state.ticket, state.position);
                return Turn::Commit {
                    changes,
                    ticket,
                    position,
                };
            }
            if state.stopped {
                return Turn::Stop;
            }
            if settle.is_some_and(|settle| settle <= now) {
                return Turn::Settle;
            }
            state = match due.into_iter().chain(settle).min() {
                None => self
                    .work
                    .wait(state)
                    .expect("no holder of this lock can panic"),
                Some(until) => {
                    let waited = self.work.wait_timeout(state, until - now);
                    waited.expect("no holder of this lock can panic").0
                }
            };
        }
    }

    fn show(&self, committed: Committed, ticket: u64, position: u64) {
        let mut state = self.state();
        state.committed = committed;
        Arc::make_mut(&mut state.overlay).drop_up_to(ticket);
        drop(state);
        self.progress.send_modify(|progress| {
            progress.committed = ticket;
            progress.position = position;
            progress.failure = None;
        });
    }

    /// Puts changes back that could not be committed, and waits; false if it is time to stop.
    fn put_back(&self, changes: Vec<(u64, Change)>, error: String, delay: Duration) -> bool {
        let mut state = self.state();
        let later = std::mem::replace(&mut state.waiting, changes);
        state.waiting.extend(later);
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        self.progress.send_modify(|progress| {
            progress.failure = Some(error);
            progress.failures += 1;
        });
        let end = Instant::now() + delay;
        let mut state = self.state();
        while !state.stopped && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.work.wait_timeout(state, left);
            state = waited.expect("no holder of this lock can panic").0;
        }
        !state.stopped
    }
}

/// Waits for the writer's next report; an error if it failed since there were so many failures.
async fn changed(
    progress: &mut watch::Receiver<Progress>,
    failures: u64,
) -> Result<(), SearchError> {
    let closed = |_| SearchError::IndexingFailed("the index was closed".to_owned());
    progress.changed().await.map_err(closed)?;
    let progress = progress.borrow_and_update();
    match &progress.failure {
        Some(failure) if progress.failures > failures => {
            Err(SearchError::IndexingFailed(failure.clone()))
        }
        _ => Ok(()),
    }
}

/// While it lives, nothing is committed.
pub(crate) struct Held<'a>(&'a Shared);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state().held = false;
        self.0.work.notify_one();
    }
}

/// The thread's loop. On stop, what waits is committed first.
pub(crate) fn write(shared: &Shared, mut generation: Generation) {
    let mut settle = None;
    let mut retry = RETRY_MIN;
    loop {
        match shared.turn(settle) {
            Turn::Stop => break,
            Turn::Settle => {
                settle = None;
                // A merge only makes searches faster: what cannot be shown now is shown with the next commit.
                match read(shared, &generation) {
                    Ok(committed) => shared.state().committed = committed,
                    Err(error) => {
                        tracing::debug!(%error, "merged segments of the search index cannot be read");
                    }
                }
            }
            Turn::Task(task) => {
                run(shared, &mut generation, task);
                settle = None;
            }
            Turn::Commit {
                changes,
                ticket,
                position,
            } => match commit(shared, &mut generation, &changes, position) {
                Ok(committed) => {
                    shared.show(committed, ticket, position);
                    retry = RETRY_MIN;
                    settle = Some(Instant::now() + SETTLE);
                }
                Err(error) => {
                    if retry == RETRY_MIN {
                        tracing::warn!(%error, path = %generation.path.display(),
                                "the search index cannot be written; it is tried again");
                    }
                    if let Err(error) = generation.writer.rollback() {
                        tracing::debug!(%error, "the search index's writer cannot begin again");
                    }
                    if !shared.put_back(changes, error.to_string(), retry) {
                        break;
                    }
                    retry = (retry * 2).min(RETRY_MAX);
                }
            },
        }
    }
    generation.close();
}

/// Reads what is committed now.
fn read(shared: &Shared, generation: &Generation) -> tantivy::Result<Committed> {
    generation.reader.reload()?;
    let before = shared.state().committed.clone();
    Committed::read(&shared.fields, generation.reader.searcher(), Some(&before))
}

fn commit(
    shared: &Shared,
    generation: &mut Generation,
    changes: &[(u64, Change)],
    position: u64,
) -> tantivy::Result<Committed> {
    let fields = &shared.fields;
    for (_, change) in changes {
        generation.writer.delete_term(fields.key_term(&change.key));
        if let Some(page) = &change.page {
            generation
                .writer
                .add_document(fields.document(&change.key, page))?;
        }
    }
    folder::commit(&mut generation.writer, position)?;
    read(shared, generation)
}

fn run(shared: &Shared, generation: &mut Generation, task: Task) {
    let (done, result) = match task {
        Task::Merge(done) => (done, merge(shared, generation)),
        Task::Replace(next, ticket, done) => (done, replace(shared, generation, *next, ticket)),
    };
    if done.send(result).is_err() {
        tracing::debug!("nobody waits for the search index any more");
    }
}

fn merge(shared: &Shared, generation: &mut Generation) -> Result<(), SearchError> {
    let failed = |error: tantivy::TantivyError| SearchError::IndexingFailed(error.to_string());
    // A merge that the writer began by itself may take segments away under this one: then it is asked again.
    for _ in 0..MERGE_ATTEMPTS_MAX {
        let segments = generation
            .writer
            .index()
            .searchable_segment_ids()
            .map_err(failed)?;
        if segments.len() < 2 || generation.writer.merge(&segments).wait().is_ok() {
            break;
        }
    }
    let committed = read(shared, generation).map_err(failed)?;
    shared.state().committed = committed;
    Ok(())
}

fn replace(
    shared: &Shared,
    generation: &mut Generation,
    next: Generation,
    ticket: u64,
) -> Result<(), SearchError> {
    if shared.progress.borrow().committed > ticket {
        // Whoever asked is gone, and with it what held commits back: they would be lost.
        next.delete()?;
        let why = "changes were committed while the index was rebuilt".to_owned();
        return Err(SearchError::IndexingFailed(why));
    }
    let committed = read(shared, &next).map_err(|error| {
        SearchError::IndexingFailed(format!("the new index cannot be read: {error}"))
    })?;
    let old = std::mem::replace(generation, next);
    let mut state = shared.state();
    state.committed = committed;
    state.path = generation.path.clone();
    state.waiting.retain(|(own, _)| *own > ticket);
    Arc::make_mut(&mut state.overlay).drop_up_to(ticket);
    if state.ticket == ticket {
        state.position = generation.position;
    }
    drop(state);
    shared.progress.send_modify(|progress| {
        progress.committed = progress.committed.max(ticket);
        progress.position = generation.position;
    });
    old.delete()
}
