//! The configured peers: dialled again and again for as long as they are not connected.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// Pause after the first failure; it doubles up to the longest, which is short enough that a peer that comes
/// back is found within seconds.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(3);
/// How long a peer that is no use (this node itself, or one of another network) is left alone.
const USELESS_DELAY: Duration = Duration::from_secs(600);

/// One configured address.
#[derive(Debug)]
struct Contact {
    /// Without `/p2p/ID`.
    address: Multiaddr,
    /// As it was configured.
    text: String,
    /// Only this peer will do.
    expected: Option<PeerId>,
    /// Who answered there last.
    found: Option<PeerId>,
    dialling: Option<ConnectionId>,
    connected: bool,
    retry_at: Instant,
    delay: Duration,
    /// Who answered there last was this node itself, or one of another network.
    useless: bool,
    /// The log said that it cannot be reached.
    warned: bool,
}

/// All configured addresses.
#[derive(Debug, Default)]
pub(super) struct Contacts(Vec<Contact>);

impl Contacts {
    /// Reads the configured multiaddresses.
    pub(super) fn parse(texts: &[String]) -> Result<Self, String> {
        let now = Instant::now();
        let parse = |text: &String| {
            let mut address: Multiaddr = text
                .parse()
                .map_err(|error| format!("`{text}` is no multiaddress: {error}"))?;
            let expected = match address.iter().last() {
                Some(Protocol::P2p(peer)) => {
                    address.pop();
                    Some(peer)
                }
                _ => None,
            };
            Ok(Contact {
                address,
                text: text.clone(),
                expected,
                found: expected,
                dialling: None,
                connected: false,
                retry_at: now,
                delay: RETRY_DELAY_MIN,
                useless: false,
                warned: false,
            })
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Who is to be found at each address that is of use; nothing where nobody has answered yet.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Option<PeerId>> {
        let useful = self.0.iter().filter(|one| !one.useless);
        useful.map(|one| one.found)
    }

    /// When the next one is to be dialled.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        let idle = self.0.iter().filter(|one| one.is_idle());
        idle.map(|one| one.retry_at).min()
    }

    /// How to dial one that is due now; it counts as being dialled from then on.
    pub(super) fn take_due(&mut self) -> Option<DialOpts> {
        let now = Instant::now();
        let due = |one: &&mut Contact| one.is_idle() && one.retry_at <= now;
        let contact = self.0.iter_mut().find(due)?;
        let address = contact.address.clone();
        let options = match contact.expected {
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address])
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id()
                .address(address)
                .allocate_new_port()
                .build(),
        };
        contact.dialling = Some(options.connection_id());
        Some(options)
    }

    /// A connection stands.
    pub(super) fn connected(&mut self, connection: ConnectionId, peer: PeerId) {
        for contact in &mut self.0 {
            if contact.dialling == Some(connection) {
                contact.dialling = None;
                contact.found = Some(peer);
            }
            if contact.found == Some(peer) {
                if contact.warned {
                    tracing::info!(address = contact.text, "bootstrap peer reached");
                }
                contact.connected = true;
                contact.useless = false;
                contact.warned = false;
                contact.delay = RETRY_DELAY_MIN;
            }
        }
    }

    /// The last connection with a peer is gone.
    pub(super) fn disconnected(&mut self, peer: PeerId) {
        let now = Instant::now();
        for contact in &mut self.0 {
            if contact.found == Some(peer) && contact.connected {
                contact.connected = false;
                contact.retry_at = contact.retry_at.max(now + RETRY_DELAY_MIN);
            }
        }
    }

    /// A dial was not needed now.
    pub(super) fn postponed(&mut self, connection: ConnectionId) {
        for contact in &mut self.0 {
            if contact.dialling == Some(connection) {
                contact.dialling = None;
                contact.retry_at = Instant::now() + RETRY_DELAY_MAX;
            }
        }
    }

    /// A dial failed; the log says so once, until the peer is reached.
    pub(super) fn failed(&mut self, connection: ConnectionId, why: &str) {
        let dialled = |one: &&mut Contact| one.dialling == Some(connection);
        let Some(contact) = self.0.iter_mut().find(dialled) else {
            return;
        };
        contact.dialling = None;
        contact.retry_at = Instant::now() + contact.delay;
        contact.delay = RETRY_DELAY_MAX.min(contact.delay * 2);
        let address = contact.text.as_str();
        if contact.warned {
            tracing::debug!(address, why, "bootstrap peer still out of reach");
        } else {
            contact.warned = true;
            tracing::warn!(
                address,
                why,
                "cannot reach bootstrap peer; going on without it and trying again"
            );
        }
    }

    /// The peer there is none to talk to: it is left alone for a long time.
    pub(super) fn useless(&mut self, connection: Option<ConnectionId>, peer: PeerId, why: &str) {
        for contact in &mut self.0 {
            let dialled = connection.is_some() && contact.dialling == connection;
            if dialled || contact.found == Some(peer) {
                contact.dialling = None;
                contact.useless = true;
                contact.retry_at = Instant::now() + USELESS_DELAY;
                tracing::warn!(address = contact.text, why, "bootstrap peer is of no use");
            }
        }
    }
}

impl Contact {
    fn is_idle(&self) -> bool {
        !self.connected && self.dialling.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_contact_is_dialled_until_it_answers_and_again_once_it_is_gone() {
        let mut contacts = Contacts::parse(&["/ip4/127.0.0.1/tcp/1".to_owned()]).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let dial = contacts.take_due().unwrap();
            assert!(contacts.take_due().is_none(), "one dial at a time");
            contacts.failed(dial.connection_id(), "refused");
            let next = contacts.next_dial().unwrap();
            pauses.push(next - Instant::now());
            tokio::time::advance(next - Instant::now()).await;
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&RETRY_DELAY_MAX));

        let dial = contacts.take_due().unwrap();
        let peer = PeerId::random();
        assert_eq!(contacts.nodes().collect::<Vec<_>>(), [None]);
        contacts.connected(dial.connection_id(), peer);
        assert_eq!(contacts.nodes().collect::<Vec<_>>(), [Some(peer)]);
        assert_eq!(contacts.next_dial(), None);
        contacts.disconnected(peer);
        let pause = contacts.next_dial().unwrap() - Instant::now();
        assert_eq!(pause, RETRY_DELAY_MIN);
        contacts.useless(None, peer, "it is of another network");
        assert_eq!(contacts.nodes().count(), 0);
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let error = Contacts::parse(&["localhost:4000".to_owned()]).unwrap_err();
        assert!(error.contains("localhost:4000"), "{error}");
    }
}
