//! `market versions`: lists the versions of a package.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::PackageInfo;

use crate::access::Access;
use crate::info::{self, Package};
use crate::output::{Output, table};

/// Lists the versions of a package, highest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `NAME`, or `NAMESPACE/NAME`
    #[arg(value_name = "NAME", value_parser = Package::parse)]
    package: Package,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let Package { namespace, name } = args.package;
    let access = Access::open(layout).await?;
    let found = access.client().info(namespace.as_deref(), &name).await;
    access.close().await?;
    let PackageInfo {
        versions,
        versions_total,
        ..
    } = found?;
    output.result(&versions, |versions| {
        let mut text = table(&versions.iter().map(info::version).collect::<Vec<_>>());
        text.push_str(&info::rest(versions_total.saturating_sub(versions.len())));
        text
    })
}
