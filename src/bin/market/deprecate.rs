//! `market deprecate`: asks that a published version be no longer chosen.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::protocols::id::{Label, PackageId};
use ggen_marketplace::registry::MetadataUpdates;

use crate::output::Output;
use crate::update::{Wish, describe};

/// Asks that a version be no longer chosen; it stays found, and works
///
/// It sinks in searches, and those who use it are told the reason. `market yank` hides a version altogether.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `NAME@VERSION`
    #[arg(value_name = "NAME@VERSION")]
    package: PackageId,
    /// Why, and what to use instead
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Takes it back
    #[arg(long, conflicts_with = "reason")]
    undo: bool,
    /// Key to sign with, of those that `market key list` tells [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let words = match args.undo {
        false => ["deprecated", "is deprecated already"],
        true => ["undeprecated", "is not deprecated"],
    };
    let wish = Wish {
        package: args.package,
        updates: MetadataUpdates {
            deprecated: Some(Some(args.reason).filter(|_| !args.undo)),
            ..MetadataUpdates::default()
        },
        key: args.key,
        words,
    };
    describe(wish, layout, output).await
}
