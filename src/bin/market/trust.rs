//! `market trust`: whom this node relies on, whom it keeps away from, and what one says of others.

use std::collections::BTreeSet;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{IdError, OwnerId, PackageName, PublicKey};
use ggen_marketplace::protocols::record::Body;
use ggen_marketplace::protocols::trust::{Anchor, Endorse, FULL, Level, PARTIAL};
use ggen_marketplace::registry::policy::{Decision, OwnerTrust, Policy};
use serde::Serialize;

use crate::access::Access;
use crate::output::{Output, Shown, table};
use crate::sign::Signer;

/// Pinned names that are looked at to say what a decision changes.
const NAMES_MAX: usize = 1000;

/// Whom this node relies on, and whom not
///
/// Example: `market trust add ns1k7f3… --level full --depth 1` relies on an owner and on those whom it endorses.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Relies on an owner: nobody else learns of it
    Add {
        /// `ns1…`, or the key of its root
        #[arg(value_name = "OWNER|KEY", value_parser = Subject::parse)]
        subject: Subject,
        /// One full owner suffices to trust another, or three partial ones
        #[arg(long, default_value = "full")]
        level: Reliance,
        /// How many introductions away its word still counts
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
        depth: u8,
    },
    /// Lists whom this node relies on and whom it blocked
    List,
    /// Tells how far an owner is trusted here, and over whom
    Show {
        /// `ns1…`, or a key
        #[arg(value_name = "OWNER|KEY", value_parser = Subject::parse)]
        subject: Subject,
    },
    /// Relies on an owner no longer, and says which names that changes
    Revoke {
        /// `ns1…`, or the key of its root
        #[arg(value_name = "OWNER|KEY", value_parser = Subject::parse)]
        subject: Subject,
        /// Why, for the answer
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Keeps away from an owner, or from all that a key signed
    Block {
        /// `ns1…`, or a key
        #[arg(value_name = "OWNER|KEY", value_parser = Subject::parse)]
        subject: Subject,
        /// Why, at most 256 bytes
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Takes a block back
    Unblock {
        /// `ns1…`, or a key
        #[arg(value_name = "OWNER|KEY", value_parser = Subject::parse)]
        subject: Subject,
    },
    /// Tells everybody, signed, what this home's owner thinks of another
    Endorse {
        /// `ns1…`
        #[arg(value_name = "OWNER")]
        owner: OwnerId,
        /// What it thinks
        #[arg(long)]
        level: Said,
        /// How many further introductions the other may make
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
        depth: u8,
        /// What to call it, for those who rely on this home's owner
        #[arg(long)]
        label: Option<String>,
        /// Why, at most 256 bytes
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reliance {
    Full,
    Partial,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Said {
    Full,
    Partial,
    None,
    Distrust,
}

impl From<Said> for Level {
    fn from(said: Said) -> Self {
        match said {
            Said::Full => Self::Full,
            Said::Partial => Self::Partial,
            Said::None => Self::None,
            Said::Distrust => Self::Distrust,
        }
    }
}

/// An owner or a key, as it is written on the command line.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Owner(OwnerId),
    Key(PublicKey),
}

impl Subject {
    fn parse(text: &str) -> Result<Self, IdError> {
        match text.starts_with("ns1") {
            true => text.parse().map(Self::Owner),
            false => text.parse().map(Self::Key),
        }
    }

    /// Whom a key stands for: the namespace that it is the root of, else the one of the bare key.
    async fn owner(self, client: &Client) -> anyhow::Result<OwnerId> {
        let key = match self {
            Self::Owner(owner) => return Ok(owner),
            Self::Key(key) => key,
        };
        let identities = client.identities(key).await?;
        let roots: Vec<_> = identities.iter().filter(|one| one.is_root).collect();
        let founded: Vec<_> = roots.iter().skip(1).map(|one| one.owner).collect();
        match (founded.as_slice(), roots.first()) {
            ([owner], _) => Ok(*owner),
            ([], Some(bare)) => Ok(bare.owner),
            ([], None) => {
                bail!("key {key} is the root of no namespace here: name the owner, `ns1…`")
            }
            (several, _) => {
                let owners: Vec<_> = several.iter().map(ToString::to_string).collect();
                bail!(
                    "key {key} is the root of {}: name one of them",
                    owners.join(" and ")
                )
            }
        }
    }
}

#[derive(Serialize)]
struct Done {
    /// What was done and what it means, for people.
    #[serde(skip)]
    text: String,
    subject: String,
    /// Names that mean somebody else or nobody now.
    names: Vec<String>,
    /// The record, if one was signed.
    record: Option<String>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let client = access.client();
    match args.what {
        What::List => {
            let policy = client.policy().await;
            access.close().await?;
            output.result(&policy?, list)
        }
        What::Show { subject } => {
            let trust = show(client, subject).await;
            access.close().await?;
            output.result(&trust?, |all| {
                all.iter().map(shown).collect::<Vec<_>>().join("\n")
            })
        }
        what => {
            let done = act(what, layout, client, output).await;
            access.close().await?;
            output.result(&done?, |done| done.text.clone())
        }
    }
}

async fn show(client: &Client, subject: Subject) -> anyhow::Result<Vec<OwnerTrust>> {
    let owners = match subject {
        Subject::Owner(owner) => vec![owner],
        Subject::Key(key) => {
            let identities = client.identities(key).await?;
            identities.iter().map(|one| one.owner).collect()
        }
    };
    let mut all = Vec::new();
    for owner in owners {
        all.push(client.trust(owner, None).await?);
    }
    Ok(all)
}

async fn act(what: What, layout: &Layout, client: &Client, output: Output) -> anyhow::Result<Done> {
    match what {
        What::Add {
            subject,
            level,
            depth,
        } => {
            let owner = subject.owner(client).await?;
            let (weight, means) = match level {
                Reliance::Full => (FULL, "it is trusted"),
                Reliance::Partial => (PARTIAL, "it counts a third of what trust takes"),
            };
            let decision = Decision::Anchor(owner, Anchor { weight, depth });
            let names = decide(client, decision).await?;
            let text = format!(
                "this node relies on {owner}: {means}, and its word on others counts {depth} introductions far; nobody else learns of it\n"
            );
            Ok(done(owner, text, names))
        }
        What::Revoke { subject, reason } => {
            let owner = subject.owner(client).await?;
            if !client.policy().await?.anchors.contains_key(&owner) {
                bail!(
                    "this node does not rely on {owner}: `market trust list` shows on whom it does"
                );
            }
            let names = decide(client, Decision::NoAnchor(owner)).await?;
            let why = match reason.as_str() {
                "" => String::new(),
                reason => format!(" ({})", Shown::new(reason)),
            };
            let text = format!(
                "this node does not rely on {owner} any more{why}; what was pinned or used here stays, and nobody else learns of it\n"
            );
            Ok(done(owner, text, names))
        }
        What::Block { subject, reason } => {
            let (what, decision, means) = match subject {
                Subject::Owner(owner) => (
                    owner.to_string(),
                    Decision::Block(owner, reason),
                    "nothing of it is offered here",
                ),
                Subject::Key(key) => (
                    format!("key {key}"),
                    Decision::BlockKey(key, reason),
                    "nothing that it signed is offered here",
                ),
            };
            let names = decide(client, decision).await?;
            let text = format!(
                "{what} is blocked: {means}; what was used before is still served by its exact version, with a warning; nobody else learns of it\n"
            );
            Ok(done(what, text, names))
        }
        What::Unblock { subject } => {
            let (what, decision) = match subject {
                Subject::Owner(owner) => (owner.to_string(), Decision::Unblock(owner)),
                Subject::Key(key) => (format!("key {key}"), Decision::UnblockKey(key)),
            };
            let names = decide(client, decision).await?;
            let text = format!("{what} is not blocked here\n");
            Ok(done(what, text, names))
        }
        What::Endorse {
            owner,
            level,
            depth,
            label,
            reason,
        } => {
            let signer = Signer::of(layout, None, client, output).await?;
            let word = Endorse {
                subject: owner,
                revision: 0,
                level: Level::from(level).number(),
                depth: depth.into(),
                label,
                reason,
            };
            endorse(&signer, client, output, level, word).await
        }
        What::List | What::Show { .. } => unreachable!("the caller answers these itself"),
    }
}

fn done(subject: impl ToString, mut text: String, names: Vec<String>) -> Done {
    for name in &names {
        text.push_str(&format!("  {name}\n"));
    }
    Done {
        text,
        subject: subject.to_string(),
        names,
        record: None,
    }
}

/// Decides, and gives the pinned and endorsed names that mean somebody else now, as far as they are few enough.
async fn decide(client: &Client, decision: Decision) -> anyhow::Result<Vec<String>> {
    let names = names(client).await?;
    let mut before = Vec::new();
    for name in &names {
        before.push(meaning(client, name).await);
    }
    client.decide(decision).await?;
    let mut changed = Vec::new();
    for (name, before) in names.iter().zip(before) {
        let after = meaning(client, name).await;
        if before != after {
            changed.push(match (before, after) {
                (Ok(before), Ok(after)) => format!("`{name}` means {after}, not {before} any more"),
                (Err(_), Ok(after)) => format!("`{name}` means {after}"),
                (_, Err(why)) => {
                    format!("`{name}` does not resolve any more: {}", Shown::new(&why))
                }
            });
        }
    }
    Ok(changed)
}

/// Names that a decision may concern: of what can be found here, and what is pinned.
async fn names(client: &Client) -> anyhow::Result<BTreeSet<PackageName>> {
    let policy = client.policy().await?;
    let pinned = policy.names.keys().map(ToString::to_string);
    let hits = client.search("", 100, 0).await?.hits;
    let found = hits.into_iter().map(|hit| hit.name);
    let names = pinned.chain(found).filter_map(|name| name.parse().ok());
    Ok(names.take(NAMES_MAX).collect())
}

/// Whom a name means, or why nobody; and whether its best version is offered.
async fn meaning(client: &Client, name: &PackageName) -> Result<String, String> {
    let info = client
        .info(None, name)
        .await
        .map_err(|error| error.to_string())?;
    let withheld = info.versions.iter().map(|version| version.withheld.clone());
    match withheld.collect::<Option<Vec<_>>>() {
        Some(all) if !all.is_empty() => Err(all.into_iter().next().unwrap_or_default()),
        _ => Ok(info.owner),
    }
}

/// Signs what `word` says, with the revision that is next; `level` is its level.
async fn endorse(
    signer: &Signer,
    client: &Client,
    output: Output,
    level: Said,
    mut word: Endorse,
) -> anyhow::Result<Done> {
    let (own, owner) = (signer.owner(), word.subject);
    let known = client.trust(owner, None).await?;
    let said = known.endorsed_by.iter().filter(|said| said.issuer == own);
    word.revision = said.map(|said| said.revision).max().unwrap_or_default() + 1;
    let body = Body::Endorse(word);
    let record = signer.submit(client, &body).await?;
    signer.witness(client, output).await;
    let means = match level {
        Said::Full => "those who rely on you trust it as you do",
        Said::Partial => "it counts a third for those who rely on you",
        Said::None => "you say nothing of it any more",
        Said::Distrust => "those who fully rely on you are kept away from it",
    };
    let mut done = done(
        owner,
        format!("told everybody, as {own}: {means}\n"),
        Vec::new(),
    );
    done.text.push_str(&format!("record  {record}\n"));
    done.record = Some(record);
    Ok(done)
}

fn list(policy: &Policy) -> String {
    let mut rows = Vec::new();
    for (owner, anchor) in &policy.anchors {
        let level = if anchor.weight >= FULL {
            "full"
        } else {
            "partial"
        };
        let depth = format!("depth {}", anchor.depth);
        rows.push(vec![owner.to_string(), level.to_owned(), depth]);
    }
    let blocked = policy
        .blocked
        .iter()
        .map(|(owner, why)| (owner.to_string(), why));
    let keys = policy
        .blocked_keys
        .iter()
        .map(|(key, why)| (format!("key {key}"), why));
    for (what, why) in blocked.chain(keys) {
        rows.push(vec![
            what,
            "blocked".to_owned(),
            Shown::new(why).to_string(),
        ]);
    }
    if rows.is_empty() {
        return "this node relies on nobody but itself, and blocks nobody\n".to_owned();
    }
    table(&rows)
}

fn shown(trust: &OwnerTrust) -> String {
    let called = |owner: &OwnerId| match trust.labels.get(owner) {
        Some(label) => format!("{} ({})", Shown::new(label), owner.short()),
        None => owner.short(),
    };
    let mut text = format!("owner   {}\n", trust.owner);
    if let Some(label) = &trust.label {
        text.push_str(&format!("label   {}\n", Shown::new(label)));
    }
    text.push_str(&format!(
        "status  {}\ntrust   {}, {} of 3\n",
        trust.status,
        trust.badge(),
        trust.score
    ));
    if let Some(why) = &trust.blocked {
        text.push_str(&format!("blocked here: {}\n", Shown::new(why)));
    }
    if let Some(anchor) = &trust.vetoed_by {
        text.push_str(&format!(
            "distrusted by {}, on whom you rely\n",
            called(anchor)
        ));
    }
    for path in &trust.paths {
        let owners: Vec<_> = path.owners.iter().map(called).collect();
        text.push_str(&format!(
            "  {} of 3 over  you → {}\n",
            path.weight,
            owners.join(" → ")
        ));
    }
    for said in &trust.endorsed_by {
        let level = match said.level {
            Level::Distrust => "distrusts it",
            Level::None => "says nothing of it any more",
            Level::Partial => "endorses it partially",
            Level::Full => "endorses it fully",
        };
        let label = said
            .label
            .as_ref()
            .map(|label| format!(" as `{}`", Shown::new(label)));
        let reason = match said.reason.as_str() {
            "" => String::new(),
            reason => format!(": {}", Shown::new(reason)),
        };
        text.push_str(&format!(
            "  {} {level}{}{reason}\n",
            called(&said.issuer),
            label.unwrap_or_default()
        ));
    }
    text
}
