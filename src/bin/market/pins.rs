//! `market-pins.toml`: whom names and labels mean, for a team to keep beside its code.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use ggen_marketplace::protocols::id::{CanonicalName, Label, OwnerId};
use ggen_marketplace::protocols::metadata::OwnerIdText;
use ggen_marketplace::registry::policy::{Decision, Policy};
use serde::{Deserialize, Serialize};

/// Largest file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    version: u32,
    network: String,
    #[serde(default)]
    names: BTreeMap<String, OwnerIdText>,
    #[serde(default)]
    labels: BTreeMap<String, OwnerIdText>,
}

impl Pins {
    /// The pins of a node in this network.
    pub(crate) fn of(network: String, policy: &Policy) -> Self {
        let names = policy.names.iter();
        let labels = policy.labels.iter();
        Self {
            version: VERSION,
            network,
            names: names.map(|(name, id)| (name.to_string(), *id)).collect(),
            labels: labels.map(|(label, id)| (label.to_string(), *id)).collect(),
        }
    }

    /// The file's text: the same for the same pins.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let pins = toml::to_string(self)?;
        Ok(format!(
            "# Whom names mean here. Made by `market use --export`; `market use --import` takes it over.\n{pins}"
        ))
    }

    /// Reads a file for a node in this network.
    pub(crate) fn read(text: &str, network: &str) -> anyhow::Result<Self> {
        let pins: Self = toml::from_str(text).context("it is no file of pins")?;
        if pins.version != VERSION {
            bail!(
                "it is of version {}; this program reads version 1",
                pins.version
            );
        }
        if pins.network != network {
            bail!(
                "it is for the network `{}`, and this home belongs to `{network}`",
                pins.network
            );
        }
        Ok(pins)
    }

    /// What is to be decided to have these pins: those that do not stand yet.
    ///
    /// # Errors
    /// A pin that means somebody else here, unless it may be replaced; what is no name or label.
    pub(crate) fn decisions(
        &self,
        policy: &Policy,
        replace: bool,
    ) -> anyhow::Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for (text, owner) in &self.names {
            let name: CanonicalName = text.parse()?;
            if is_new(text, policy.names.get(&name), owner.0, replace)? {
                decisions.push(Decision::PinName(name, owner.0));
            }
        }
        for (text, owner) in &self.labels {
            let label: Label = text.parse()?;
            if is_new(text, policy.labels.get(&label), owner.0, replace)? {
                decisions.push(Decision::PinLabel(label, owner.0));
            }
        }
        Ok(decisions)
    }
}

fn is_new(
    text: &str,
    known: Option<&OwnerIdText>,
    owner: OwnerId,
    replace: bool,
) -> anyhow::Result<bool> {
    match known {
        Some(known) if known.0 == owner => Ok(false),
        Some(known) if !replace => bail!(
            "`{text}` means {} here and {owner} in the file: nothing was changed; --replace takes the file's word",
            known.0
        ),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pins() -> (Policy, Pins) {
        let owner = |byte| OwnerIdText(OwnerId::from_bytes([byte; 32]));
        let policy = Policy {
            names: BTreeMap::from([("http".parse().unwrap(), owner(1))]),
            labels: BTreeMap::from([("acme".parse().unwrap(), owner(2))]),
            ..Policy::default()
        };
        let pins = Pins::of("main".to_owned(), &policy);
        (policy, pins)
    }

    #[test]
    fn what_is_exported_is_imported() {
        let (policy, pins) = pins();
        let text = pins.text().unwrap();
        let read = Pins::read(&text, "main").unwrap();
        assert_eq!(read, pins);
        assert_eq!(read.decisions(&policy, false).unwrap(), []);
        let all = read.decisions(&Policy::default(), false).unwrap();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_pin_is_not_given_to_another_unasked() {
        let (mut policy, pins) = pins();
        let other = OwnerIdText(OwnerId::from_bytes([3; 32]));
        policy.names.insert("http".parse().unwrap(), other);
        let error = pins.decisions(&policy, false).unwrap_err().to_string();
        assert!(error.contains("--replace"), "{error}");
        assert_eq!(pins.decisions(&policy, true).unwrap().len(), 1);
    }

    #[test]
    fn another_network_version_or_id_is_refused() {
        let text = pins().1.text().unwrap();
        for (text, network, why) in [
            (text.clone(), "other", "network"),
            (
                text.replace("version = 1", "version = 2"),
                "main",
                "version 2",
            ),
            (text.replace("ns1", "ns2"), "main", "no file of pins"),
            (
                text.replace("[names]", "[nothing]"),
                "main",
                "no file of pins",
            ),
        ] {
            let error = Pins::read(&text, network).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let (_, mut wrong) = pins();
        wrong.names.insert(
            "no name".to_owned(),
            OwnerIdText(OwnerId::from_bytes([1; 32])),
        );
        wrong.decisions(&Policy::default(), false).unwrap_err();
    }
}
