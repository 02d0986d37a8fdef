//! Takes the addresses to answer HTTP on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use super::GatewayError;

/// How often another free port is tried where the first one is free for one kind of address only.
const ATTEMPTS_MAX: usize = 8;

/// Addresses of this machine that connections come in on.
#[derive(Debug)]
pub struct Bound {
    pub(super) first: TcpListener,
    pub(super) second: Option<TcpListener>,
}

impl Bound {
    /// The first address, which the node calls its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }
}

/// Takes an address of this machine for programs on it only; port 0 takes a free one. With 127.0.0.1 comes the same
/// port of `[::1]`, if the machine has that address: `localhost` may mean either.
///
/// # Errors
/// [`GatewayError`].
pub async fn bind(address: SocketAddr) -> Result<Bound, GatewayError> {
    if !address.ip().is_loopback() {
        return Err(GatewayError::NotLoopback(address));
    }
    if address.ip() != Ipv4Addr::LOCALHOST {
        return bind_insecure(address).await;
    }
    for _ in 1..ATTEMPTS_MAX {
        match both(address).await {
            Err(GatewayError::InUse(_)) if address.port() == 0 => {}
            bound => return bound,
        }
    }
    both(address).await
}

/// Takes any address, other machines' ways to this one included: what goes over it is neither secret nor protected
/// from changes.
///
/// # Errors
/// [`GatewayError`].
pub async fn bind_insecure(address: SocketAddr) -> Result<Bound, GatewayError> {
    Ok(Bound {
        first: listen(address).await?,
        second: None,
    })
}

async fn both(address: SocketAddr) -> Result<Bound, GatewayError> {
    let first = listen(address).await?;
    let port = first
        .local_addr()
        .map_err(|source| failed(address, source))?
        .port();
    let second = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    let second = match second {
        Ok(second) => Some(second),
        // Somebody else would get what is meant for this node.
        Err(error @ GatewayError::InUse(_)) => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "no IPv6 on this machine");
            None
        }
    };
    Ok(Bound { first, second })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| failed(address, source))
}

fn failed(address: SocketAddr, source: io::Error) -> GatewayError {
    match source.kind() {
        io::ErrorKind::AddrInUse => GatewayError::InUse(address),
        _ => GatewayError::Listen { address, source },
    }
}
