//! Both sides of reconciliation at the edge: answering peers' questions from the catalogue, and looking up what
//! the [`Reconciler`] asks of it.
//!
//! [`Reconciler`]: ggen_protocols::reconcile::Reconciler

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{PeerId, RecordId};
use ggen_protocols::limits;
use ggen_protocols::message::{HeadPlace, Heads, Hello, Page, PageRequest, Request, Response};
use ggen_protocols::reconcile::fingerprint::{Branch, Root};
use ggen_protocols::reconcile::{Found, Lookup};
use serde_bytes::ByteBuf;

use super::Shared;
use super::network::Network;
use crate::Result;

/// Envelopes read at a time, so that an answer never reads much more than it gives.
const ENVELOPES_AT_A_TIME: usize = 32;
/// Pages of declined records that one answer skips at the most.
const SKIPS_MAX: usize = 8;
/// What any answer costs at least, in bytes: a greeting has about so many.
const ANSWER_OVERHEAD_BYTES: u64 = 256;
/// Pages of heads that one peer is asked for in a row: as many as a node keeps of 100,000 namespaces.
const HEAD_PAGES_MAX: usize = 256;
/// What a peer is told to wait if the catalogue cannot be read, in milliseconds.
const TROUBLE_PAUSE_MS: u64 = 5_000;

/// Answers a peer's question.
pub(super) async fn answer(
    shared: &Shared,
    request: Request,
    blob_addresses: &[String],
) -> Response {
    match try_answer(shared, request, blob_addresses).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "cannot answer a peer from the catalogue");
            Response::Busy(TROUBLE_PAUSE_MS)
        }
    }
}

async fn try_answer(
    shared: &Shared,
    request: Request,
    blob_addresses: &[String],
) -> Result<Response> {
    let catalogue = &shared.catalogue;
    Ok(match request {
        Request::Hello(_) => {
            let root = catalogue.root().await?;
            Response::Hello(hello(shared, root, blob_addresses))
        }
        Request::Branches(prefixes) => Response::Branches(catalogue.branches(prefixes).await?),
        Request::Page(request) => Response::Page(page(shared, request).await?),
        Request::Records(ids) => Response::Records(records(shared, ids).await?),
        Request::Holds(hashes) => {
            let held = |hash: &serde_bytes::ByteArray<32>| {
                let hash = ContentHash::from_blake3(hash.into_array());
                shared.store.is_held(&hash)
            };
            Response::Holds(hashes.iter().map(held).collect())
        }
        Request::Heads(after) => Response::Heads(heads(shared, after).await?),
        // A question of a version to come.
        _ => Response::Busy(TROUBLE_PAUSE_MS),
    })
}

/// About how many bytes an answer has; exact to its framing.
pub(super) fn size(response: &Response) -> u64 {
    let bytes: usize = match response {
        Response::Page(page) => page.envelopes.iter().map(|one| one.len()).sum(),
        Response::Heads(heads) => heads.envelopes.iter().map(|one| one.len()).sum(),
        Response::Records(items) => items.iter().flatten().map(|one| one.len()).sum(),
        Response::Branches(branches) => branches
            .iter()
            .map(|branch| match branch {
                Branch::Inner(children) => children.len() * 40,
                Branch::Bucket(ids) => ids.len() * 34,
            })
            .sum(),
        _ => 0,
    };
    bytes as u64 + ANSWER_OVERHEAD_BYTES
}

/// What this node tells of itself.
pub(super) fn hello(shared: &Shared, root: Root, blob_addresses: &[String]) -> Hello {
    Hello {
        network: shared.catalogue.network(),
        root,
        time_ms: shared.door.now_ms(),
        blob_addresses: blob_addresses.to_vec(),
        agent: super::agent(),
    }
}

/// Where a peer serves blobs: an unspecified IP stands for the one that it is reached by.
pub(super) fn blob_addresses(hello: &Hello, reached_by: Option<IpAddr>) -> Vec<SocketAddr> {
    let parsed = hello
        .blob_addresses
        .iter()
        .filter_map(|text| text.parse().ok());
    parsed
        .filter_map(|address: SocketAddr| {
            let ip = match address.ip() {
                ip if ip.is_unspecified() => reached_by?,
                ip => ip,
            };
            Some(SocketAddr::new(ip, address.port()))
        })
        .collect()
}

/// The next envelopes of a range.
async fn page(shared: &Shared, request: PageRequest) -> Result<Page> {
    let PageRequest { prefix, mut after } = request;
    let mut envelopes = Vec::new();
    let mut bytes = 0;
    for _ in 0..SKIPS_MAX {
        let first = match after {
            Some(after) => successor(&after).map(|next| next.max(prefix.first())),
            None => Some(prefix.first()),
        };
        let Some(first) = first.filter(|first| *first <= prefix.last()) else {
            return Ok(Page {
                envelopes,
                next: None,
            });
        };
        let range = first..=prefix.last();
        let ids = shared
            .catalogue
            .ids(range, limits::ANSWER_RECORDS_MAX)
            .await?;
        let more = ids.len() == limits::ANSWER_RECORDS_MAX;
        for chunk in ids.chunks(ENVELOPES_AT_A_TIME) {
            let read = shared.catalogue.envelopes(chunk.to_vec()).await?;
            for (id, envelope) in chunk.iter().zip(read) {
                if let Some(envelope) = envelope {
                    bytes += envelope.len();
                    if bytes > limits::ANSWER_BYTES_MAX {
                        return Ok(Page {
                            envelopes,
                            next: after,
                        });
                    }
                    envelopes.push(ByteBuf::from(Vec::from(envelope)));
                }
                after = Some(*id);
            }
        }
        if !more {
            return Ok(Page {
                envelopes,
                next: None,
            });
        }
        if !envelopes.is_empty() {
            break;
        }
    }
    Ok(Page {
        envelopes,
        next: after,
    })
}

/// The next heads that still say something.
async fn heads(shared: &Shared, after: Option<HeadPlace>) -> Result<Heads> {
    let catalogue = &shared.catalogue;
    let found = catalogue.heads(after, limits::ANSWER_RECORDS_MAX).await?;
    let mut next = (found.len() == limits::ANSWER_RECORDS_MAX)
        .then(|| found.last().map(|(place, _)| *place))
        .flatten();
    let (mut envelopes, mut bytes, mut last) = (Vec::new(), 0, after);
    for (place, envelope) in found {
        bytes += envelope.len();
        if bytes > limits::ANSWER_BYTES_MAX {
            next = last;
            break;
        }
        envelopes.push(ByteBuf::from(Vec::from(envelope)));
        last = Some(place);
    }
    Ok(Heads { envelopes, next })
}

/// Asks a peer for all heads that it keeps, and takes those that are news here. False if it did not answer, or is busy.
pub(super) async fn gather_heads(shared: &Shared, network: &Network, peer: PeerId) -> Result<bool> {
    let mut after = None;
    for _ in 0..HEAD_PAGES_MAX {
        let answer = network.ask(peer, Request::Heads(after)).await;
        let Some(Response::Heads(Heads { envelopes, next })) = answer else {
            return Ok(false);
        };
        let envelopes = envelopes.into_iter().map(|one| one.into_vec().into());
        shared.door.heads(envelopes.collect()).await?;
        match next {
            // One that goes back would lead in circles.
            Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
            _ => return Ok(true),
        }
    }
    Ok(true)
}

/// The envelopes of these records, as far as one answer reaches.
async fn records(shared: &Shared, ids: Vec<RecordId>) -> Result<Vec<Option<ByteBuf>>> {
    let mut items: Vec<Option<ByteBuf>> = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    for chunk in ids.chunks(ENVELOPES_AT_A_TIME) {
        for envelope in shared.catalogue.envelopes(chunk.to_vec()).await? {
            bytes += envelope.as_ref().map_or(0, Bytes::len);
            if bytes > limits::ANSWER_BYTES_MAX {
                return Ok(items);
            }
            items.push(envelope.map(|envelope| ByteBuf::from(Vec::from(envelope))));
        }
    }
    Ok(items)
}

/// The id after this one; nothing after the last.
fn successor(id: &RecordId) -> Option<RecordId> {
    let mut bytes = *id.as_bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(RecordId::from_bytes(bytes));
        }
    }
    None
}

/// Looks something up in the own catalogue.
///
/// # Errors
/// Those of the catalogue.
pub(super) async fn look_up(shared: &Shared, lookup: Lookup) -> Result<Found> {
    Ok(match lookup {
        Lookup::Branches(prefixes) => Found::Branches(shared.catalogue.branches(prefixes).await?),
        Lookup::Known(ids) => Found::Known(shared.catalogue.known(ids).await?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_successor_carries_and_the_last_id_has_none() {
        let id = |last: [u8; 2]| {
            let mut bytes = [0; 32];
            bytes[30..].copy_from_slice(&last);
            RecordId::from_bytes(bytes)
        };
        assert_eq!(successor(&id([0, 255])), Some(id([1, 0])));
        assert_eq!(successor(&RecordId::from_bytes([255; 32])), None);
    }

    #[test]
    fn an_unspecified_address_is_the_one_that_the_peer_is_reached_by() {
        let hello = Hello {
            network: ggen_protocols::id::NetworkId::main(),
            root: Default::default(),
            time_ms: 0,
            blob_addresses: ["0.0.0.0:7", "192.0.2.1:8", "[::]:9", "nowhere"]
                .map(str::to_owned)
                .to_vec(),
            agent: String::new(),
        };
        let reached: IpAddr = "198.51.100.4".parse().unwrap();
        let texts = |addresses: Vec<SocketAddr>| {
            let texts = addresses.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>()
        };
        assert_eq!(
            texts(blob_addresses(&hello, Some(reached))),
            ["198.51.100.4:7", "192.0.2.1:8", "198.51.100.4:9"]
        );
        assert_eq!(texts(blob_addresses(&hello, None)), ["192.0.2.1:8"]);
    }
}
