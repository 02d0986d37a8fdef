//! `market search`: finds packages by words.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Hits;

use crate::access::Access;
use crate::output::{Output, Shown, owner, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words; without any, everything
    words: Vec<String>,
    /// Most packages to show
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=100))]
    limit: u16,
    /// Packages to pass over
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    offset: u16,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let found = search(&args, &access).await;
    access.close().await?;
    output.result(&found?, shown)
}

async fn search(args: &Args, access: &Access) -> anyhow::Result<Hits> {
    access.catch_up().await?;
    let words = args.words.join(" ");
    let (limit, offset) = (args.limit.into(), args.offset.into());
    Ok(access.client().search(&words, limit, offset).await?)
}

fn shown(found: &Hits) -> String {
    if found.total == 0 {
        return "nothing found\n".to_owned();
    }
    let rows = found.hits.iter().map(|hit| {
        vec![
            Shown::new(&hit.name).to_string(),
            Shown::new(&hit.version).to_string(),
            owner(&hit.owner),
            Shown::listed(&hit.description).to_string(),
        ]
    });
    let mut text = table(&rows.collect::<Vec<_>>());
    let rest = found.total.saturating_sub(found.hits.len() as u64);
    if rest > 0 {
        text.push_str(&format!("{rest} more: --limit and --offset show them\n"));
    }
    text
}
