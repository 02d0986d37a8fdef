//! Which names a node answers to. A page elsewhere may make its own name resolve to this machine, and would
//! otherwise read and write here as if it were ours.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::error::Problem;

/// Longest name, in bytes: that of the domain name system.
const NAME_BYTES_MAX: usize = 253;
/// Names that lead to this machine only, whoever resolves them.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// A name by which clients reach a node: `NAME` or `NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// In lower case.
    name: String,
    port: Option<u16>,
}

/// Why a text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of a host: expected one such as packages.example or packages.example:8443"
)]
pub struct NoHostName(String);

impl FromStr for HostName {
    type Err = NoHostName;

    fn from_str(text: &str) -> Result<Self, NoHostName> {
        let refuse = || NoHostName(text.chars().take(NAME_BYTES_MAX).collect());
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_part) {
            return Err(refuse());
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// All names that a node answers to.
#[derive(Debug)]
pub(super) struct Hosts {
    port: u16,
    /// Of the address that is bound, if it is not one for all.
    ip: Option<IpAddr>,
    /// Whether other machines may reach it at addresses that it does not know.
    is_anywhere: bool,
    names: Vec<HostName>,
}

impl Hosts {
    pub(super) fn new(address: SocketAddr, names: Vec<HostName>) -> Self {
        let ip = address.ip();
        Self {
            port: address.port(),
            ip: Some(ip).filter(|ip| !ip.is_unspecified()),
            is_anywhere: ip.is_unspecified(),
            names,
        }
    }

    /// Whether `HOST[:PORT]` means this node.
    pub(super) fn is_ours(&self, text: &str) -> bool {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, digits)) if !digits.ends_with(']') => match digits.parse::<u16>() {
                Ok(port) => (name, Some(port)),
                Err(_) => return false,
            },
            _ => (text, None),
        };
        let named = |known: &HostName| {
            let fits = known.port.map_or_else(
                || port.is_none_or(|port| port == self.port),
                |expected| port == Some(expected),
            );
            fits && name.eq_ignore_ascii_case(&known.name)
        };
        if self.names.iter().any(named) {
            return true;
        }
        let is_loopback = LOOPBACK
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        // A page cannot make an address resolve to another one: it is what it says.
        let is_address = ip(name).is_some_and(|ip| self.is_anywhere || self.ip == Some(ip));
        port.unwrap_or(80) == self.port && (is_loopback || is_address)
    }

    /// Whether a request is for this node.
    ///
    /// # Errors
    /// 400 if it does not name one host, 421 if it names another one.
    pub(super) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            let why = "a request names the host it is for, once";
            return Err(Problem::new(StatusCode::BAD_REQUEST, why));
        };
        let authority = uri.authority().map(|authority| authority.as_str());
        if host.to_str().is_ok_and(|host| self.is_ours(host))
            && authority.is_none_or(|authority| self.is_ours(authority))
        {
            return Ok(());
        }
        let port = self.port;
        let why = format!(
            "this node answers as 127.0.0.1:{port}, [::1]:{port} and localhost:{port}; \
             `market up --http-name NAME` adds a name"
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, why))
    }

    /// Whether a page of this origin was served by this node, by itself or behind a proxy that has a certificate.
    pub(super) fn is_own_origin(&self, origin: &str) -> bool {
        let authority = origin.strip_prefix("http://");
        let authority = authority.or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| self.is_ours(authority))
    }
}

/// An address as it stands in a URL.
fn ip(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse().ok().filter(IpAddr::is_ipv4),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    use super::*;

    fn checked(hosts: &[&str], uri: &str, port: u16) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let ours = Hosts::new(SocketAddr::from(([127, 0, 0, 1], port)), Vec::new());
        let checked = ours.check(&headers, &uri.parse().unwrap());
        checked.err().map(|p| p.into_response().status())
    }

    #[test]
    fn only_names_of_this_machine_with_the_right_port_are_ours() {
        for ours in [
            "127.0.0.1:7878",
            "localhost:7878",
            "LOCALHOST:7878",
            "[::1]:7878",
        ] {
            assert_eq!(checked(&[ours], "/", 7878), None, "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7878",
            "127.0.0.1",
            "127.0.0.1:7879",
            "127.0.0.2:7878",
            "192.0.2.1:7878",
            "127.0.0.1.evil.example:7878",
            "localhost.:7878",
            "[::1]",
            "::1",
            "127.0.0.1:",
            "127.0.0.1:+7878x",
            "",
        ] {
            let status = Some(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(checked(&[foreign], "/", 7878), status, "{foreign}");
        }
    }

    #[test]
    fn the_port_may_be_left_out_only_where_it_is_the_default() {
        assert_eq!(checked(&["localhost"], "/", 80), None);
        assert_eq!(checked(&["[::1]"], "/", 80), None);
    }

    #[test]
    fn a_request_names_one_host() {
        let bad = Some(StatusCode::BAD_REQUEST);
        assert_eq!(checked(&[], "/", 80), bad);
        assert_eq!(checked(&["localhost", "localhost"], "/", 80), bad);
    }

    #[test]
    fn the_host_in_an_absolute_address_counts_too() {
        let foreign = checked(&["localhost:80"], "http://evil.example/", 80);
        assert_eq!(foreign, Some(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(checked(&["localhost:80"], "http://localhost/", 80), None);
    }

    #[test]
    fn names_and_addresses_for_others_are_those_that_were_given() {
        let names = ["Packages.example", "other.example:8443"];
        let names = names.map(|name| name.parse().unwrap()).to_vec();
        let one = Hosts::new("192.0.2.1:7878".parse().unwrap(), names);
        let every = Hosts::new("0.0.0.0:7878".parse().unwrap(), Vec::new());
        for (text, on_one, on_every) in [
            ("packages.example", true, false),
            ("PACKAGES.example:7878", true, false),
            ("packages.example:80", false, false),
            ("other.example:8443", true, false),
            ("other.example", false, false),
            ("192.0.2.1:7878", true, true),
            ("192.0.2.2:7878", false, true),
            ("[2001:db8::1]:7878", false, true),
            ("2001:db8::1", false, false),
            ("192.0.2.1:7879", false, false),
            ("192.0.2.1.evil.example:7878", false, false),
            ("localhost:7878", true, true),
        ] {
            assert_eq!(
                (one.is_ours(text), every.is_ours(text)),
                (on_one, on_every),
                "{text}"
            );
        }
        assert!(one.is_own_origin("https://packages.example"));
        assert!(one.is_own_origin("http://127.0.0.1:7878"));
        for foreign in [
            "null",
            "http://evil.example",
            "ftp://packages.example",
            "packages.example",
            "",
        ] {
            assert!(!one.is_own_origin(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_name_of_a_host_has_letters_digits_and_dots() {
        for good in ["a", "packages.example", "x-1.example:8443"] {
            assert_eq!(good.parse::<HostName>().unwrap().to_string(), good);
        }
        let long = "a".repeat(254);
        for wrong in [
            "", ".", "a..b", "a b", "http://a", "a:", "a:99999", "a/b", "*", &long,
        ] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }
}
