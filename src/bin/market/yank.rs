//! `market yank` and `market unyank`: set the state of a version.

use anyhow::bail;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{Label, PackageId, PackageName};
use ggen_marketplace::protocols::record::{Body, State};
use semver::Version;
use serde::Serialize;

use crate::access::Access;
use crate::output::Output;
use crate::sign::Signer;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `NAME@VERSION`
    #[arg(value_name = "NAME@VERSION")]
    package: PackageId,
    /// Why, for those who used it
    #[arg(long, default_value = "")]
    reason: String,
    /// Key to sign with, of those that `market key list` tells [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnyankArgs {
    /// `NAME@VERSION`
    #[arg(value_name = "NAME@VERSION")]
    package: PackageId,
    /// Key to sign with, of those that `market key list` tells [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
}

/// What is to be done to a version.
#[derive(Debug)]
pub(crate) struct Wish {
    package: PackageId,
    yanked: bool,
    note: String,
    key: Option<Label>,
}

impl From<Args> for Wish {
    fn from(args: Args) -> Self {
        Self {
            package: args.package,
            yanked: true,
            note: args.reason,
            key: args.key,
        }
    }
}

impl From<UnyankArgs> for Wish {
    fn from(args: UnyankArgs) -> Self {
        Self {
            package: args.package,
            yanked: false,
            note: String::new(),
            key: args.key,
        }
    }
}

#[derive(Serialize)]
struct Done {
    package: String,
    owner: String,
    yanked: bool,
    /// The record that says so; nothing if it was so before.
    record: Option<String>,
}

pub(crate) async fn run(wish: Wish, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let done = set(&wish, layout, access.client(), output).await;
    access.close().await?;
    output.result(&done?, |done| {
        let word = if done.yanked { "yanked" } else { "unyanked" };
        match done.record {
            Some(_) => format!("{word}  {}\n", done.package),
            None => format!("unchanged  {} was {word} before\n", done.package),
        }
    })
}

async fn set(
    wish: &Wish,
    layout: &Layout,
    client: &Client,
    output: Output,
) -> anyhow::Result<Done> {
    let signer = Signer::of(layout, wish.key.as_ref(), client, output).await?;
    let id = &wish.package;
    let name: PackageName = id.name.parse()?;
    // Without a namespace, one's own package of that name is meant, whoever else has one.
    let own = signer.owner().to_string();
    let namespace = id.namespace.as_deref().unwrap_or(&own);
    let found = client.state(Some(namespace), &name, &id.version).await?;
    if found.owner != own {
        bail!(
            "{id} belongs to {}: only its owner can yank it, and this home publishes as {own}",
            found.owner
        );
    }
    let before = found
        .state
        .unwrap_or_else(|| never_set(&id.name, &id.version));
    let mut done = Done {
        package: id.to_string(),
        owner: own,
        yanked: wish.yanked,
        record: None,
    };
    // Without a new reason, the old one stands.
    let same_note = wish.note.is_empty() || before.note == wish.note;
    if before.yanked == wish.yanked && same_note {
        if found.yanked && !wish.yanked {
            bail!("{id} is hidden because its owner yanked the whole package");
        }
        return Ok(done);
    }
    let state = next(before, wish.yanked, &wish.note);
    done.record = Some(signer.submit(client, &Body::State(state)).await?);
    signer.witness(client, output).await;
    Ok(done)
}

/// The state that follows one.
pub(crate) fn next(before: State, yanked: bool, note: &str) -> State {
    State {
        revision: before.revision + 1,
        yanked,
        note: note.to_owned(),
        ..before
    }
}

/// The state of a release that nobody ever set.
pub(crate) fn never_set(name: &str, version: &Version) -> State {
    State {
        name: name.to_owned(),
        version: Some(version.to_string()),
        revision: 0,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        info: None,
    }
}
