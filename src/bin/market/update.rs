//! `market update`: replaces what describes a published version.

use anyhow::bail;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{Label, PackageId, PackageName};
use ggen_marketplace::protocols::record::Body;
use ggen_marketplace::registry::MetadataUpdates;
use serde::Serialize;
use url::Url;

use crate::Usage;
use crate::access::Access;
use crate::output::Output;
use crate::sign::Signer;
use crate::yank::never_set;

/// Replaces what describes a published version
///
/// What is not named stays as it is. Licence, authors and dependencies are fixed in a release: publish a new version
/// to change them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `NAME@VERSION`
    #[arg(value_name = "NAME@VERSION")]
    package: PackageId,
    /// One or two sentences
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where its source is kept
    #[arg(long, value_name = "URL")]
    repository: Option<Url>,
    /// Its site
    #[arg(long, value_name = "URL")]
    homepage: Option<Url>,
    /// Where its documentation is
    #[arg(long, value_name = "URL")]
    documentation: Option<Url>,
    /// A word to find it by, instead of all it had; may be given five times
    #[arg(long = "keyword", value_name = "WORD")]
    keywords: Vec<String>,
    /// A category, instead of all it had; may be given five times
    #[arg(long = "category", value_name = "SLUG")]
    categories: Vec<String>,
    /// Key to sign with, of those that `market key list` tells [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
}

/// What is to be said of a version from now on.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) package: PackageId,
    pub(crate) updates: MetadataUpdates,
    pub(crate) key: Option<Label>,
    /// What was done, and what was found to be so before.
    pub(crate) words: [&'static str; 2],
}

#[derive(Serialize)]
struct Done {
    package: String,
    owner: String,
    /// The record that says so; nothing if it was so before.
    record: Option<String>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let some = |words: Vec<String>| Some(words).filter(|words| !words.is_empty());
    let updates = MetadataUpdates {
        description: args.description,
        repository: args.repository,
        homepage: args.homepage,
        documentation: args.documentation,
        keywords: some(args.keywords),
        categories: some(args.categories),
        ..MetadataUpdates::default()
    };
    if updates == MetadataUpdates::default() {
        let why =
            "nothing to update: give at least one of the options that `market update --help` tells";
        return Err(Usage(why.to_owned()).into());
    }
    let wish = Wish {
        package: args.package,
        updates,
        key: args.key,
        words: ["updated", "says this already"],
    };
    describe(wish, layout, output).await
}

/// Signs what is to be said of a version, and tells what became of it.
pub(crate) async fn describe(wish: Wish, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let words = wish.words;
    let done = submit(wish, layout, access.client(), output).await;
    access.close().await?;
    output.result(&done?, |done| match done.record {
        Some(_) => format!("{}  {}\n", words[0], done.package),
        None => format!("unchanged  {} {}\n", done.package, words[1]),
    })
}

async fn submit(
    wish: Wish,
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
            "{id} belongs to {}: only its owner can describe it, and this home publishes as {own}",
            found.owner
        );
    }
    let before = found.state;
    let before = before.unwrap_or_else(|| never_set(&id.name, &id.version));
    let record = match wish.updates.next(before)? {
        Some(state) => Some(signer.submit(client, &Body::State(state)).await?),
        None => None,
    };
    if record.is_some() {
        signer.witness(client, output).await;
    }
    Ok(Done {
        package: id.to_string(),
        owner: own,
        record,
    })
}
