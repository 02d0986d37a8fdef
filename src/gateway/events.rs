//! `/api/v1/events`: what happens on the node, as server-sent events.
//!
//! The stream is bounded everywhere: in number, in how far a watcher may be behind, in how much of the past it gets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use futures::Stream;
use futures::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Gateway;
use super::error::{Body, Problem};
use crate::node::{Event, Events, Node, RecordEvent, Told};

/// Streams at a time.
const STREAMS_MAX: usize = 32;
/// Steps of the past that a watcher gets who was away; if there were more, it is told so.
const RESUMED_MAX: u64 = 1_000;
/// Steps of the past that are read at a time.
const READ_MAX: usize = 64;
/// How often a silent stream says that it still is there: well within what the listener takes for silence.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// When a client that lost the stream should come again.
const RETRY: Duration = Duration::from_secs(2);
/// What a client that comes again says it was told last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Those who watch.
#[derive(Debug)]
pub(super) struct Watchers {
    streams: Arc<Semaphore>,
    end: CancellationToken,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            end: CancellationToken::new(),
        }
    }
}

impl Watchers {
    /// Ends all streams, which would not end by themselves.
    pub(super) fn end(&self) {
        self.end.cancel();
    }
}

/// That a watcher was not told of something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lost {
    /// How many events, as far as that is known.
    events: u64,
}

/// Tells what happens, from now on or from where a client was interrupted.
///
/// Events: `record` (its `id` is the position of the step), `blob`, `peer`, and `lost` with the number of events
/// that this stream was too slow for, or that lie too far back. A client that sends `Last-Event-ID` gets the
/// records after that position, at most 1,000. A comment comes every ten seconds when nothing else does.
#[utoipa::path(get, path = "/api/v1/events", tag = "node",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The `id` of the last event that the client got")),
    responses(
    (status = 200, description = "Server-sent events whose data is JSON: `RecordEvent`, `BlobEvent`, `PeerEvent`, `Lost`", body = String, content_type = "text/event-stream"),
    (status = 400, description = "`Last-Event-ID` is no position", body = Body, content_type = "application/problem+json"),
    (status = 503, description = "32 streams are open", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn events(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, Problem> {
    let after = headers.get(LAST_EVENT_ID).map(position).transpose()?;
    let watchers = &gateway.watchers;
    let slot = watchers.streams.clone().try_acquire_owned().map_err(|_| {
        let why = format!("{STREAMS_MAX} streams of events are open; close one, or try again");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
        problem.with(header::RETRY_AFTER, HeaderValue::from(RETRY.as_secs()))
    })?;
    let watch = Watch::new(&gateway.node, after, watchers.end.clone(), slot);
    let first = sse::Event::default()
        .retry(RETRY)
        .comment("what happens on this node");
    let events = stream::unfold(watch, |mut watch| async move {
        let said = watch.next().await?;
        Some((said.event(), watch))
    });
    let events = stream::StreamExt::chain(stream::once(async { Ok(first) }), events);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn position(value: &HeaderValue) -> Result<u64, Problem> {
    let position = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    position.ok_or_else(|| {
        let why = "`Last-Event-ID` is the `id` of an event of this node: a number";
        Problem::new(StatusCode::BAD_REQUEST, why)
    })
}

/// What one stream says next.
enum Said {
    Event(Event),
    Lost(u64),
}

impl Said {
    fn event(self) -> Result<sse::Event, axum::Error> {
        let event = sse::Event::default();
        match self {
            Self::Event(Event::Record(record)) => event
                .event("record")
                .id(record.position.to_string())
                .json_data(record),
            Self::Event(Event::Blob(blob)) => event.event("blob").json_data(blob),
            Self::Event(Event::Peer(peer)) => event.event("peer").json_data(peer),
            Self::Lost(events) => event.event("lost").json_data(Lost { events }),
        }
    }
}

/// One stream.
struct Watch {
    node: Node,
    events: Events,
    /// Up to where the watcher was told of records.
    told: u64,
    /// Up to where it is to be told of records of the past.
    past: u64,
    /// What was read of the past and not yet said.
    read: VecDeque<RecordEvent>,
    /// What lies too far back.
    lost: u64,
    end: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Watch {
    fn new(
        node: &Node,
        after: Option<u64>,
        end: CancellationToken,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        // Watched first: what happens while the past is read comes twice rather than not at all.
        let events = node.events();
        let past = *node.catalogue().position().borrow();
        // A position that was never reached is one of another catalogue.
        let after = after.unwrap_or(past).min(past);
        let told = after.max(past.saturating_sub(RESUMED_MAX));
        Self {
            node: node.clone(),
            events,
            told,
            past,
            read: VecDeque::new(),
            lost: told - after,
            end,
            _slot: slot,
        }
    }

    /// The next thing to say; nothing at the end of the stream.
    async fn next(&mut self) -> Option<Said> {
        if self.lost > 0 {
            return Some(Said::Lost(std::mem::take(&mut self.lost)));
        }
        loop {
            if let Some(record) = self.read.pop_front() {
                self.told = record.position;
                return Some(Said::Event(Event::Record(record)));
            }
            let told = tokio::select! {
                biased;
                () = self.end.cancelled() => return None,
                read = self.node.records_since(self.told, READ_MAX), if self.told < self.past => {
                    self.take(read);
                    continue;
                }
                // What is new waits for the past: a client counts on the order of positions.
                told = self.events.next(), if self.told >= self.past => told?,
            };
            match told {
                Told::Lost(events) => return Some(Said::Lost(events)),
                Told::Event(Event::Record(record)) if record.position <= self.told => {}
                Told::Event(event) => {
                    if let Event::Record(record) = &event {
                        self.told = record.position;
                    }
                    return Some(Said::Event(event));
                }
            }
        }
    }

    /// Takes in a part of the past; what cannot be read is lost.
    fn take(&mut self, read: crate::Result<Vec<RecordEvent>>) {
        let read = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "a watcher is not told of some records");
            Vec::new()
        });
        if read.is_empty() {
            self.told = self.past;
        }
        self.read = read.into();
    }
}
