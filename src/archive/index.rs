//! Addresses of cargo indexes: which namespace one means.
//!
//! The address of an index is written into lock files, into other packages' manifests and into indexes, so it must
//! mean the same on every machine: all nodes use one *canonical base*, wherever each of them really listens.
//! Format: `sparse+BASE/cargo/SEGMENT/`.

use std::fmt;
use std::str::FromStr;

use ggen_protocols::id::{Label, OwnerId};
use url::Url;

/// Whose packages an index lists: the last segment of its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// `_`: what bare names mean on this node.
    View,
    /// One owner.
    Owner(OwnerId),
    /// The owner that a label means on this node.
    Label(Label),
}

impl Segment {
    /// What stands before a package's name to mean the same.
    pub fn namespace(&self) -> Option<String> {
        match self {
            Self::View => None,
            Self::Owner(owner) => Some(owner.to_string()),
            Self::Label(label) => Some(label.as_str().to_owned()),
        }
    }

    /// The segment of an index's address, whatever its base; nothing if the address is no index of a node.
    pub fn of_url(url: &str) -> Option<Self> {
        let url = Url::parse(url.strip_prefix("sparse+")?).ok()?;
        let mut segments = url.path_segments()?.rev();
        let (empty, segment) = (segments.next()?, segments.next()?);
        let fits = empty.is_empty() && segments.next() == Some("cargo");
        let plain = url.query().is_none() && url.fragment().is_none();
        (fits && plain).then(|| segment.parse().ok()).flatten()
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View => f.write_str("_"),
            Self::Owner(owner) => owner.fmt(f),
            Self::Label(label) => f.write_str(label.as_str()),
        }
    }
}

impl FromStr for Segment {
    type Err = ggen_protocols::id::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "_" {
            return Ok(Self::View);
        }
        match text.parse() {
            Ok(owner) => Ok(Self::Owner(owner)),
            Err(error) if text.starts_with("ns1") => Err(error),
            Err(_) => text.parse().map(Self::Label),
        }
    }
}

/// The base that all nodes of a swarm use in the addresses of indexes: `http://127.0.0.1:7878` unless its users
/// agree on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical(String);

impl Canonical {
    /// The base unless another one is agreed on.
    pub const DEFAULT: &str = "http://127.0.0.1:7878";

    /// The address of an index, as cargo's configuration and lock files have it.
    pub fn index(&self, segment: &Segment) -> String {
        format!("sparse+{}/cargo/{segment}/", self.0)
    }

    /// The base itself, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.0
    }
}

impl Default for Canonical {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

/// Why a text is no base for addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no base for the addresses of indexes: expected one such as http://127.0.0.1:7878"
)]
pub struct NoBase(String);

impl FromStr for Canonical {
    type Err = NoBase;

    fn from_str(text: &str) -> Result<Self, NoBase> {
        let refuse = || NoBase(text.chars().take(200).collect());
        let url = Url::parse(text).map_err(|_| refuse())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(refuse());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn owner() -> OwnerId {
        OwnerId::from_bytes([7; 32])
    }

    #[test]
    fn an_address_names_its_segment_whatever_its_base() {
        for segment in [
            Segment::View,
            Segment::Owner(owner()),
            Segment::Label("acme".parse().unwrap()),
        ] {
            for base in ["http://127.0.0.1:7878", "https://packages.example/deep"] {
                let base: Canonical = base.parse().unwrap();
                let address = base.index(&segment);
                assert_eq!(
                    Segment::of_url(&address),
                    Some(segment.clone()),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_index_of_a_node_has_no_segment() {
        for address in [
            "http://127.0.0.1:7878/cargo/acme/",
            "sparse+http://127.0.0.1:7878/cargo/acme",
            "sparse+http://127.0.0.1:7878/cargo/acme.git/",
            "sparse+http://127.0.0.1:7878/cargo/Acme/",
            "sparse+http://127.0.0.1:7878/cargo/ns1short/",
            "sparse+http://127.0.0.1:7878/other/acme/",
            "sparse+http://127.0.0.1:7878/cargo/acme/?token=1",
            "sparse+cargo/acme/",
        ] {
            assert_eq!(Segment::of_url(address), None, "{address}");
        }
    }

    #[test]
    fn a_base_carries_no_secret_and_no_slash() {
        assert_eq!(
            "http://localhost:80/".parse::<Canonical>().unwrap().base(),
            "http://localhost"
        );
        for wrong in [
            "127.0.0.1:7878",
            "ftp://a/",
            "http://u:p@a/",
            "http://a/?t=1",
            "",
        ] {
            wrong.parse::<Canonical>().unwrap_err();
        }
    }
}
