//! Which of what old keys wrote stays good: shown to the user, and asked of the user.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::DateTime;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{PublicKey, RecordId};
use ggen_marketplace::protocols::owner::Standing;
use ggen_marketplace::protocols::record::{Body, FeedHead};

use crate::Usage;
use crate::key::written_by;
use crate::namespace::{Namespace, verified};
use crate::output::{Output, Shown};

/// Records of each key that are shown.
const SHOWN_MAX: usize = 5;

/// What the user says of old keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Old key and its last good record; may be given several times
    #[arg(long, value_name = "KEY=RECORD")]
    keep: Vec<Keep>,
    /// Old key of which nothing is good; may be given several times
    #[arg(long, value_name = "KEY")]
    distrust: Vec<PublicKey>,
    /// Keeps everything of the others that is in force now, as known here
    #[arg(long, conflicts_with = "keep_none")]
    keep_all: bool,
    /// Keeps nothing of the others
    #[arg(long)]
    keep_none: bool,
}

#[derive(Debug, Clone, Copy)]
struct Keep {
    key: PublicKey,
    last: RecordId,
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("`{text}` is no key with its last good record: expected KEY=RECORD");
        let (key, last) = text.split_once('=').ok_or_else(refuse)?;
        Ok(Self {
            key: key.parse().map_err(|_| refuse())?,
            last: last.parse().map_err(|_| refuse())?,
        })
    }
}

/// A key that wrote in the namespace.
struct Writer {
    key: PublicKey,
    head: FeedHead,
    /// Up to where what it wrote is in force now.
    good: Vec<RecordId>,
}

impl Choice {
    /// The old keys with their last good records, as documents list them.
    ///
    /// # Errors
    /// If something is not said of a key that wrote: what it wrote last may be a thief's, so nothing is guessed.
    pub(crate) async fn retired(
        &self,
        client: &Client,
        namespace: &Namespace,
        output: Output,
    ) -> anyhow::Result<Vec<(PublicKey, RecordId)>> {
        let mut retired = Vec::new();
        for keep in &self.keep {
            let last = written_by(client, namespace, keep.key, keep.last).await?;
            retired.push((keep.key, last));
        }
        let mut open = Vec::new();
        for writer in writers(client, namespace).await? {
            let is_said = self.keep.iter().any(|keep| keep.key == writer.key)
                || self.distrust.contains(&writer.key)
                || self.keep_none;
            match (is_said, self.keep_all) {
                (true, _) => {}
                (false, true) => {
                    let good = writer.good.iter();
                    retired.extend(good.map(|last| (writer.key, *last)));
                }
                (false, false) => open.push(writer),
            }
        }
        if !open.is_empty() {
            for writer in &open {
                show(writer, client, namespace, output).await?;
            }
            return Err(Usage(
                "say what stays of what these keys wrote, for a thief may have written the last of it: \
                 --keep KEY=RECORD, --distrust KEY, --keep-all or --keep-none"
                    .to_owned(),
            )
            .into());
        }
        retired.sort();
        retired.dedup();
        Ok(retired)
    }
}

/// All keys that any document names and that wrote something.
async fn writers(client: &Client, namespace: &Namespace) -> anyhow::Result<Vec<Writer>> {
    let in_force = match namespace.documents.standing() {
        Standing::Active(_, document) => Some(document),
        Standing::Frozen(at) | Standing::Dead(at) => namespace.documents.get(&at),
        Standing::Unknown => None,
    };
    let mut found = BTreeMap::new();
    for key in namespace.all().flat_map(|document| document.keys()) {
        if found.contains_key(&key) {
            continue;
        }
        let head = client.feed_head(namespace.owner, key).await?;
        let Some(last) = head.last else {
            continue;
        };
        let publishes = |document: &&_| is_publisher(document, key);
        let good = match in_force {
            Some(document) if publishes(&document) => vec![last],
            Some(document) => {
                let retired = document.retired.iter().filter(|(one, _)| *one == key);
                retired.map(|(_, last)| *last).collect()
            }
            None => Vec::new(),
        };
        found.insert(key, Writer { key, head, good });
    }
    Ok(found.into_values().collect())
}

fn is_publisher(
    document: &ggen_marketplace::protocols::owner::NamespaceDocument,
    key: PublicKey,
) -> bool {
    document.publishers.iter().any(|(one, _)| *one == key)
}

/// Prints what a key wrote last, newest first.
async fn show(
    writer: &Writer,
    client: &Client,
    namespace: &Namespace,
    output: Output,
) -> anyhow::Result<()> {
    let good = match writer.good.as_slice() {
        [] => "nothing of it is in force".to_owned(),
        [last] if Some(*last) == writer.head.last => "all of it is in force".to_owned(),
        good => {
            let good: Vec<_> = good.iter().map(ToString::to_string).collect();
            format!("in force up to {}", good.join(" and "))
        }
    };
    output.note(format_args!(
        "{}  {} records; {good}",
        writer.key, writer.head.seq
    ));
    let mut next = writer.head.last;
    for _ in 0..SHOWN_MAX {
        let Some(id) = next else {
            return Ok(());
        };
        let Some(envelope) = client.record(id).await? else {
            return Ok(());
        };
        let record = verified(envelope, namespace.network)?;
        let content = record.content();
        let what = match &content.body {
            Body::Publish(publish) => format!("{}@{}", publish.name, publish.version),
            Body::State(state) => match &state.version {
                Some(version) => format!("state of {}@{version}", state.name),
                None => format!("state of {}", state.name),
            },
            Body::Endorse(endorse) => format!("endorses {}", endorse.subject),
            _ => "something else".to_owned(),
        };
        let time = i64::try_from(content.time_ms).ok();
        let time = time.and_then(DateTime::from_timestamp_millis);
        let time = time.map(|time| time.format("%Y-%m-%d %H:%M").to_string());
        output.note(format_args!(
            "  {id}  {}  {}",
            time.unwrap_or_default(),
            Shown::listed(&what)
        ));
        next = content.previous;
    }
    if next.is_some() {
        output.note("  and more before that");
    }
    Ok(())
}
