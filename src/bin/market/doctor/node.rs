//! What the node of a home says of itself: its address, its peers, its keys, its index.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::gateway::{self, GatewayError};
use ggen_marketplace::node::Status;
use ggen_marketplace::protocols::owner::Standing;

use super::{Args, Check};
use crate::access::Access;
use crate::namespace::Namespace;

/// Changes that the search index may be behind for the moment.
const BEHIND_MAX: u64 = 1_000;

/// Asks the node, whether it runs or was opened for this command alone.
pub(super) async fn look(access: &Access, layout: &Layout, args: &Args, runs: bool) -> Vec<Check> {
    let client = access.client();
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => {
            let found = format!("it does not say how it is: {error}");
            return vec![Check::problem("node", found, "restart it: market up")];
        }
    };
    let mut checks = Vec::new();
    if runs {
        checks.push(Check::ok(
            "node",
            format!("runs, version {}", status.version),
        ));
        checks.extend(address(&status));
        checks.extend(peers(&status));
        checks.push(reach(&status));
        checks.push(index(&status));
    } else {
        let found = "does not run; the home opens without fault";
        checks.push(Check::warning("node", found, "market up"));
        checks.push(port_without_node(args.http).await);
    }
    match keys(layout, client, runs).await {
        Ok(of_keys) => checks.extend(of_keys),
        Err(error) => checks.push(Check::problem(
            "keys",
            format!("{error:#}"),
            "market key list",
        )),
    }
    checks
}

/// Whether a node that is started now gets its port.
pub(super) async fn port_without_node(http: SocketAddr) -> Check {
    match gateway::bind(http).await {
        Ok(_free) => Check::ok("http", format!("{http} is free")),
        Err(error @ GatewayError::InUse(_)) => Check::problem(
            "http",
            format!("{error}"),
            format!("who has it: ss -ltnp 'sport = :{}'", http.port()),
        ),
        Err(error) => Check::problem("http", format!("{error}"), "market up --http 127.0.0.1:0"),
    }
}

/// Whether addresses of indexes, which all nodes of the swarm share, lead to this node on this machine.
fn address(status: &Status) -> Vec<Check> {
    let Some(http) = &status.http else {
        let found = "the node answers no HTTP: cargo cannot use it";
        return vec![Check::problem("http", found, "restart it: market up")];
    };
    let mut checks = vec![Check::ok("http", http.clone())];
    // What it was started with; it says nothing only where it serves no index.
    if let Some(base) = &status.canonical {
        checks.push(match base.trim_end_matches('/') == http {
            true => Check::ok("canonical", base.clone()),
            false => Check::warning(
                "canonical",
                format!("lock files name {base}, and this node answers at {http}"),
                format!(
                    "market up --http {}, if that is where you want it",
                    without_scheme(base)
                ),
            ),
        });
    }
    checks
}

fn without_scheme(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

fn peers(status: &Status) -> Vec<Check> {
    let caught_up = status.caught_up;
    let mut checks = vec![match status.peers {
        0 if caught_up.known == 0 => Check::warning(
            "peers",
            "no other node is configured, and none was ever met",
            "market up --bootstrap ADDR, with the address that another node's `market status` shows",
        ),
        0 => Check::problem(
            "peers",
            format!("connected to none of {} known nodes", caught_up.known),
            "check the addresses given with --bootstrap, and whether a firewall keeps TCP back",
        ),
        peers => Check::ok("peers", format!("{peers} connected")),
    }];
    checks.push(match caught_up.complete {
        true => Check::ok("caught up", caught_up.to_string()),
        false => Check::warning(
            "caught up",
            caught_up.to_string(),
            "wait a minute; then see `market peers` for who does not answer",
        ),
    });
    checks
}

/// Whether nodes of other networks could connect here.
fn reach(status: &Status) -> Check {
    let ips = status.addresses.iter().filter_map(|address| ip(address));
    let widest = ips.map(width).max();
    match widest {
        Some(Width::World) => Check::ok("reachable", "listens on a public address"),
        Some(Width::Site) => Check::warning(
            "reachable",
            "listens on addresses of this site only: nodes elsewhere reach it only if it connects to them",
            "nothing, if that is what you want; otherwise forward a port to it and give others that address",
        ),
        Some(Width::Machine) => Check::warning(
            "reachable",
            "listens on this machine only: no other machine can connect",
            "market up --listen /ip4/0.0.0.0/tcp/4001",
        ),
        None => Check::problem(
            "reachable",
            "listens nowhere",
            "market up --listen /ip4/0.0.0.0/tcp/4001",
        ),
    }
}

/// From where an address can be reached. Those set apart for documents and tests lead nowhere in the world; a
/// machine that has one all the same sits behind something that translates it, like those of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Machine,
    Site,
    World,
}

fn ip(multiaddr: &str) -> Option<IpAddr> {
    multiaddr.split('/').nth(2)?.parse().ok()
}

fn width(ip: IpAddr) -> Width {
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Width::Machine;
    }
    let (nowhere, site) = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let tests = first == 198 && second & 0xfe == 18; // RFC 2544
            let reserved = first >= 240;
            let provider = first == 100 && second & 0xc0 == 64; // Behind a provider's NAT: RFC 6598.
            (
                ip.is_documentation() || tests || reserved,
                ip.is_private() || ip.is_link_local() || provider,
            )
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            let documents =
                (first, second) == (0x2001, 0xdb8) || (first == 0x3fff && second < 0x1000); // RFC 3849, RFC 9637
            (
                documents,
                ip.is_unique_local() || ip.is_unicast_link_local(),
            )
        }
    };
    match (nowhere, site) {
        (true, _) | (_, true) => Width::Site,
        _ => Width::World,
    }
}

fn index(status: &Status) -> Check {
    match status.search_behind {
        0 => Check::ok("search", "up to date"),
        behind if behind <= BEHIND_MAX => Check::ok("search", format!("{behind} changes behind")),
        behind => Check::warning(
            "search",
            format!("{behind} changes behind"),
            "wait; if the number does not fall, the log of `market up` says why",
        ),
    }
}

/// Whether there are keys, whether HTTP can sign with them, and whether a lost one can be replaced.
async fn keys(layout: &Layout, client: &Client, runs: bool) -> anyhow::Result<Vec<Check>> {
    let identities = layout.identities()?;
    if identities.is_empty() {
        let found = "none: this node finds, fetches and mirrors, and cannot publish";
        return Ok(vec![Check::warning("keys", found, "market init")]);
    }
    let unlocked = client.unlocked().await?;
    let mut checks = Vec::new();
    for identity in &identities {
        let label = &identity.label;
        let is_open = unlocked.iter().any(|one| one.key.0 == identity.public);
        let is_locked = layout.is_locked(label)?;
        checks.push(match (is_locked, is_open) {
            (true, false) if runs => Check::ok(
                "keys",
                format!("`{label}` is locked; publishing with a token needs: market key unlock"),
            ),
            (true, false) => Check::ok("keys", format!("`{label}` is locked")),
            (true, true) => Check::ok("keys", format!("`{label}` is unlocked in the node")),
            (false, _) => Check::warning(
                "keys",
                format!("`{label}` lies in the home without a passphrase"),
                "market key rotate makes a new one, with a passphrase unless --plain is given",
            ),
        });
        let namespace = Namespace::of(layout, client, identity.owner, &identities);
        let namespace = namespace.await.with_context(|| format!("key `{label}`"))?;
        checks.push(match namespace.documents.standing() {
            Standing::Active(_, document) if document.recovery.is_some() => Check::ok(
                "recovery",
                format!("the namespace of `{label}` has a recovery key"),
            ),
            Standing::Active(..) => Check::warning(
                "recovery",
                format!(
                    "the namespace of `{label}` has no recovery key: a lost key is lost for good"
                ),
                "market init in a new home founds one that has",
            ),
            Standing::Frozen(_) => Check::problem(
                "recovery",
                format!("the namespace of `{label}` is frozen: two changes contradict each other"),
                "market recover",
            ),
            Standing::Dead(_) => Check::problem(
                "recovery",
                format!("the namespace of `{label}` is dead: its recovery key contradicted itself"),
                "market init in a new home, and tell those who use your packages",
            ),
            Standing::Unknown => Check::warning(
                "recovery",
                format!("the namespace of `{label}` is not known here yet"),
                "connect to a node that has it",
            ),
        });
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_a_machine_a_site_or_the_world() {
        for (address, wide) in [
            ("/ip4/127.0.0.1/tcp/1/p2p/x", Width::Machine),
            ("/ip6/::1/tcp/1", Width::Machine),
            ("/ip4/192.168.1.2/tcp/1", Width::Site),
            ("/ip4/172.17.0.1/tcp/1", Width::Site),
            ("/ip4/100.64.9.9/tcp/1", Width::Site),
            ("/ip6/fe80::1/tcp/1", Width::Site),
            ("/ip6/fd00::1/tcp/1", Width::Site),
            ("/ip4/100.128.0.1/tcp/1", Width::World),
            ("/ip4/203.0.114.5/tcp/1", Width::World),
            ("/ip6/2001:db9::1/tcp/1", Width::World),
            ("/ip4/192.0.2.2/tcp/1", Width::Site),
            ("/ip4/198.51.100.1/tcp/1", Width::Site),
            ("/ip4/203.0.113.5/tcp/1", Width::Site),
            ("/ip4/198.19.0.1/tcp/1", Width::Site),
            ("/ip6/2001:db8::1/tcp/1", Width::Site),
            ("/ip6/3fff::1/tcp/1", Width::Site),
            ("/ip6/::ffff:192.168.1.1/tcp/1", Width::Site),
            ("/ip4/0.0.0.0/tcp/1", Width::Machine),
        ] {
            assert_eq!(ip(address).map(width), Some(wide), "{address}");
        }
        assert_eq!(ip("/dns4/a.example/tcp/1"), None);
    }
}
