//! `market owner`: who may publish in a namespace.

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{OwnerId, PackageName, PublicKey};
use ggen_marketplace::protocols::owner::{NamespaceDocument, SCOPE_ALL, Standing};
use ggen_marketplace::registry::Sight;
use serde::Serialize;

use crate::access::Access;
use crate::behind::Behind;
use crate::namespace::{self, Namespace, Root, change};
use crate::output::{Output, Shown, table};
use crate::sign;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Tells who may publish in a namespace
    List(List),
    /// Lets a key publish in the namespace of this home
    Add(Add),
    /// Takes a key's right to publish away; what it published stays
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market owner list ns1…")]
pub(crate) struct List {
    /// Owner id [default: that of this home]
    owner: Option<OwnerId>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market owner add 3b6a… --scope parser --scope printer")]
pub(crate) struct Add {
    /// Public key, as `market key new` told it there
    key: PublicKey,
    /// Name that it may publish; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    scope: Vec<PackageName>,
    /// Lets it publish under every name, and endorse other owners
    #[arg(long)]
    all: bool,
    /// Owner id [default: that of this home]
    #[arg(long)]
    owner: Option<OwnerId>,
    #[command(flatten)]
    behind: Behind,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market owner remove 3b6a…")]
pub(crate) struct Remove {
    /// Public key
    key: PublicKey,
    /// Takes everything away that the key ever wrote
    #[arg(long)]
    forget: bool,
    /// Owner id [default: that of this home]
    #[arg(long)]
    owner: Option<OwnerId>,
    #[command(flatten)]
    behind: Behind,
}

/// A document as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    owner: String,
    /// `active`, `frozen` or `dead`.
    status: &'static str,
    /// The document that holds, or the one that contradicts itself.
    document: String,
    label: Option<String>,
    root: String,
    recoverable: bool,
    publishers: Vec<Publisher>,
    retired: Vec<Retired>,
    /// The keys of this home, and what they may do there.
    ours: Vec<Ours>,
    /// How much of it is here, by the word of its own keys; newest first.
    seen: Vec<Sight>,
}

#[derive(Debug, Serialize)]
struct Publisher {
    key: String,
    scopes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Retired {
    key: String,
    /// Its last good record.
    last: String,
}

#[derive(Debug, Serialize)]
struct Ours {
    label: String,
    key: String,
    role: String,
}

/// What became of a change.
#[derive(Debug, Serialize)]
struct Changed {
    owner: String,
    key: String,
    /// The record that says so; nothing if it was so before.
    record: Option<String>,
    role: String,
}

pub(crate) async fn run(command: Command, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let client = access.client();
    match command {
        Command::List(args) => {
            let done = list(args, layout, client).await;
            access.close().await?;
            output.result(&done?, shown)
        }
        Command::Add(args) => {
            let done = add(args, layout, client, output).await;
            access.close().await?;
            output.result(&done?, |done| {
                let means = "nodes take what it publishes from when they have this record";
                said(done, &format!("{means}: they get it as they get packages"))
            })
        }
        Command::Remove(args) => {
            let forget = args.forget;
            let done = remove(args, layout, client, output).await;
            access.close().await?;
            output.result(&done?, |done| {
                said(done, match forget {
                    true => "nodes that have this record offer nothing that it published",
                    false => "nodes that have this record take nothing new of it; what it published until now stays",
                })
            })
        }
    }
}

fn said(done: &Changed, means: &str) -> String {
    match &done.record {
        Some(record) => format!(
            "{}  {} in {}\nrecord {record}\n{means}\n",
            done.key, done.role, done.owner
        ),
        None => format!("unchanged  {}  {} in {}\n", done.key, done.role, done.owner),
    }
}

/// The namespace that is meant without naming one.
pub(crate) fn owner_or_own(owner: Option<OwnerId>, layout: &Layout) -> anyhow::Result<OwnerId> {
    match owner {
        Some(owner) => Ok(owner),
        None => Ok(sign::identity(layout, None)
            .context("no namespace was named")?
            .owner),
    }
}

async fn list(args: List, layout: &Layout, client: &Client) -> anyhow::Result<Told> {
    let owner = owner_or_own(args.owner, layout)?;
    let identities = layout.identities()?;
    let namespace = Namespace::of(layout, client, owner, &identities).await?;
    let mut told = tell(&namespace, &identities)?;
    told.seen = client.sights(owner).await?;
    Ok(told)
}

fn tell(namespace: &Namespace, identities: &[Identity]) -> anyhow::Result<Told> {
    let (status, id, document) = match namespace.documents.standing() {
        Standing::Active(id, document) => ("active", id, document),
        Standing::Frozen(id) => ("frozen", id, held(namespace, &id)?),
        Standing::Dead(id) => ("dead", id, held(namespace, &id)?),
        Standing::Unknown => bail!(
            "nothing is known here of who may publish as {}: either it is a bare key, which publishes alone, \
             or no node that has it was met yet",
            namespace.owner
        ),
    };
    Ok(Told {
        owner: namespace.owner.to_string(),
        status,
        document: id.to_string(),
        label: (!document.label.is_empty()).then(|| document.label.clone()),
        root: document.root.to_string(),
        recoverable: document.recovery.is_some(),
        publishers: document
            .publishers
            .iter()
            .map(|(key, scopes)| Publisher {
                key: key.to_string(),
                scopes: scopes.clone(),
            })
            .collect(),
        retired: document
            .retired
            .iter()
            .map(|(key, last)| Retired {
                key: key.to_string(),
                last: last.to_string(),
            })
            .collect(),
        ours: identities
            .iter()
            .filter(|identity| identity.owner == namespace.owner)
            .map(|identity| Ours {
                label: identity.label.to_string(),
                key: identity.public.to_string(),
                role: namespace::role(document, identity.public),
            })
            .collect(),
        seen: Vec::new(),
    })
}

fn held<'a>(
    namespace: &'a Namespace,
    id: &ggen_marketplace::protocols::id::RecordId,
) -> anyhow::Result<&'a NamespaceDocument> {
    let document = namespace.documents.get(id);
    document.context("the node gave documents without their beginning: run `market verify`")
}

fn shown(told: &Told) -> String {
    let none = || "none".to_owned();
    let mut rows = vec![
        vec!["owner".to_owned(), told.owner.clone()],
        vec!["label".to_owned(), told.label.clone().unwrap_or_else(none)],
        vec!["status".to_owned(), told.status.to_owned()],
        vec!["document".to_owned(), told.document.clone()],
        vec!["root".to_owned(), told.root.clone()],
        vec![
            "recovery".to_owned(),
            match told.recoverable {
                true => "possible".to_owned(),
                false => "impossible: there is no recovery key".to_owned(),
            },
        ],
    ];
    for publisher in &told.publishers {
        let scopes = publisher.scopes.join(" ");
        let text = format!("{}  {scopes}", publisher.key);
        rows.push(vec![
            "publisher".to_owned(),
            Shown::whole(&text).to_string(),
        ]);
    }
    for retired in &told.retired {
        let text = format!("{}  up to {}", retired.key, retired.last);
        rows.push(vec!["retired".to_owned(), text]);
    }
    for ours in &told.ours {
        rows.push(vec![
            "here".to_owned(),
            format!("{}  {}", ours.label, ours.role),
        ]);
    }
    for sight in &told.seen {
        let time = sight.as_of.format("%Y-%m-%d %H:%M");
        let missing = match sight.missing {
            0 => "nothing of it is missing here".to_owned(),
            1 => "1 record of it is missing here: peers are asked for it".to_owned(),
            many => format!("{many} records of it are missing here: peers are asked for them"),
        };
        let text = format!("by {} at {time}: {missing}", sight.witness);
        rows.push(vec!["seen".to_owned(), text]);
    }
    table(&rows)
}

async fn add(
    args: Add,
    layout: &Layout,
    client: &Client,
    output: Output,
) -> anyhow::Result<Changed> {
    let owner = owner_or_own(args.owner, layout)?;
    let identities = layout.identities()?;
    let namespace = Namespace::of(layout, client, owner, &identities).await?;
    let root = Root::of(layout, client, &namespace, &identities, output).await?;
    let scopes: Vec<String> = match args.all {
        true => vec![SCOPE_ALL.to_owned()],
        false => args
            .scope
            .iter()
            .map(|name| name.canonical().as_str().to_owned())
            .collect(),
    };
    let before = namespace.in_force()?;
    let narrowed = before.publishers.iter().any(|(key, before)| {
        *key == args.key && before.iter().any(|scope| !scopes.contains(scope)) && !args.all
    });
    // What it published under names that it may publish no more stays.
    let last = match narrowed {
        true => client.feed_head(owner, args.key).await?.last,
        false => None,
    };
    let edit = |document: &mut NamespaceDocument| {
        if narrowed {
            document.retire(args.key, last);
        }
        document.let_publish(args.key, scopes);
        Ok(())
    };
    let guard = args.behind.guard(client, output);
    let (record, document) = change(&guard, &namespace, &root, "", edit).await?;
    Ok(changed(owner, args.key, record, &document))
}

async fn remove(
    args: Remove,
    layout: &Layout,
    client: &Client,
    output: Output,
) -> anyhow::Result<Changed> {
    let owner = owner_or_own(args.owner, layout)?;
    let identities = layout.identities()?;
    let namespace = Namespace::of(layout, client, owner, &identities).await?;
    let root = Root::of(layout, client, &namespace, &identities, output).await?;
    known(&namespace, args.key)?;
    let last = client.feed_head(owner, args.key).await?.last;
    let edit = |document: &mut NamespaceDocument| {
        let publishes = document.publishers.iter().any(|(key, _)| *key == args.key);
        match (args.forget, publishes) {
            (true, _) => document.forget(args.key),
            (false, true) => document.retire(args.key, last),
            // It is retired already, at a record that somebody chose.
            (false, false) => {}
        }
        Ok(())
    };
    let guard = args.behind.guard(client, output);
    let (record, document) = change(&guard, &namespace, &root, "", edit).await?;
    Ok(changed(owner, args.key, record, &document))
}

/// Refuses a key that the namespace never knew.
pub(crate) fn known(namespace: &Namespace, key: PublicKey) -> anyhow::Result<()> {
    if namespace
        .all()
        .any(|document| document.keys().any(|one| one == key))
    {
        return Ok(());
    }
    bail!(
        "{key} never was a key of {}: `market owner list` tells which are",
        namespace.owner
    )
}

fn changed(
    owner: OwnerId,
    key: PublicKey,
    record: Option<String>,
    document: &NamespaceDocument,
) -> Changed {
    Changed {
        owner: owner.to_string(),
        key: key.to_string(),
        record,
        role: namespace::role(document, key),
    }
}
