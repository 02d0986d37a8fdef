//! `market key unlock` and `lock`: keys that the running node signs with for a while.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{Client, UNLOCK_TIME_MAX};
use ggen_marketplace::protocols::id::Label;
use serde::Serialize;

use crate::output::Output;
use crate::passphrase;
use crate::sign::{hand_over_genesis, identity, tell_owners};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key unlock --for 5m")]
pub(crate) struct Unlock {
    /// Which key [default: the first]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// For how long, at most 15m
    #[arg(long = "for", value_name = "TIME", default_value = "15m")]
    time: UnlockTime,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key lock")]
pub(crate) struct Lock {
    /// Which key [default: all]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
}

/// A time with its unit, of 1 second to 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnlockTime(Duration);

impl FromStr for UnlockTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no time to unlock a key for: expected 1s to 15m");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            _ => return Err(refuse()),
        };
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        let time = Duration::from_secs(count.checked_mul(unit).ok_or_else(refuse)?);
        if time.is_zero() || time > UNLOCK_TIME_MAX {
            return Err(refuse());
        }
        Ok(Self(time))
    }
}

#[derive(Debug, Serialize)]
struct Unlocked {
    label: String,
    public: String,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Locked {
    /// The public halves of the keys that were unlocked.
    locked: Vec<String>,
}

pub(crate) async fn unlock(args: Unlock, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let identity = identity(layout, args.label.as_ref())?;
    // Before the passphrase is asked for in vain.
    let client = running(layout).await?;
    let (key, _) = passphrase::open(layout, &identity, output).await?;
    let seconds = args.time.0.as_secs();
    // What it is to sign belongs to a namespace that the node must know.
    hand_over_genesis(layout, &identity.label, &client).await?;
    tell_owners(layout, &client).await?;
    client.unlock(&key, seconds).await?;
    let done = Unlocked {
        label: identity.label.to_string(),
        public: identity.public.to_string(),
        seconds,
    };
    output.result(&done, |done| {
        format!(
            "unlocked the key `{}` for {} s\n\
             until then every program that you run can publish with it; `market key lock` ends it at once\n",
            done.label, done.seconds
        )
    })
}

pub(crate) async fn lock(args: Lock, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let key = match &args.label {
        Some(label) => Some(identity(layout, Some(label))?.public),
        None => None,
    };
    let locked = running(layout).await?.lock(key).await?;
    let done = Locked {
        locked: locked.iter().map(|one| one.key.0.to_string()).collect(),
    };
    output.result(&done, |done| match done.locked.is_empty() {
        true => "unchanged: no key was unlocked\n".to_owned(),
        false => format!(
            "locked  {}\nthe running node has forgotten it: publishing asks for the passphrase again\n",
            done.locked.join("  ")
        ),
    })
}

async fn running(layout: &Layout) -> anyhow::Result<Client> {
    match Client::of_running(layout.dir()).await {
        Ok(client) => Ok(client),
        Err(_) => bail!(
            "no node runs on {} that could hold an unlocked key: run `market up` first",
            layout.dir().display()
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_unlocked_for_a_second_to_fifteen_minutes() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("15m", 900), ("900s", 900)] {
            let time: UnlockTime = text.parse().unwrap();
            assert_eq!(time.0.as_secs(), seconds);
        }
        for wrong in [
            "",
            "0s",
            "16m",
            "901s",
            "15",
            "1h",
            "-1s",
            "m",
            "99999999999999999999m",
        ] {
            assert!(wrong.parse::<UnlockTime>().is_err(), "{wrong}");
        }
    }
}
