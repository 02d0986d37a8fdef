//! Peers and addresses in our terms and in libp2p's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ggen_protocols::id::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;

/// What libp2p puts before an Ed25519 key to make a peer id.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
/// A peer in our terms; nothing for keys that are not Ed25519.
pub(super) fn inner(peer: &libp2p::PeerId) -> Option<PeerId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
    Some(PeerId::from_bytes(key.try_into().ok()?))
}

/// A peer in libp2p's terms.
pub(super) fn outer(peer: PeerId) -> libp2p::PeerId {
    let mut bytes = PEER_ID_PREFIX.to_vec();
    bytes.extend(peer.as_bytes());
    libp2p::PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

/// Loopback, private and link-local addresses.
pub(super) fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The first 24 bits of a public IPv4 address, the first 48 of an IPv6 address.
pub(super) fn neighbourhood(ip: IpAddr) -> Option<(bool, [u8; 6])> {
    if is_near(ip) {
        return None;
    }
    let mut bits = [0; 6];
    match ip.to_canonical() {
        IpAddr::V4(ip) => bits[..3].copy_from_slice(&ip.octets()[..3]),
        IpAddr::V6(ip) => bits.copy_from_slice(&ip.octets()[..6]),
    }
    Some((ip.is_ipv4(), bits))
}

/// Fails if another process listens on a TCP port: libp2p would share it silently, for it sets `SO_REUSEPORT`.
pub(super) fn probe(address: &Multiaddr) -> io::Result<()> {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    match (ip(address), port) {
        (Some(ip), Some(port)) if port != 0 => {
            std::net::TcpListener::bind(SocketAddr::new(ip, port)).map(drop)
        }
        _ => Ok(()),
    }
}

/// The innermost cause of an error, which is the one that people understand.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(DialError::Transport(failures)) = error.downcast_ref::<DialError>()
        && let Some((_, failure)) = failures.first()
    {
        text = reason(failure);
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
