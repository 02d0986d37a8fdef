//! `market info`: tells of a package and its versions.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{PackageInfo, VersionInfo};
use ggen_marketplace::protocols::id::{IdError, PackageName, split_namespace};
use ggen_marketplace::registry::policy::OwnerStatus;

use crate::access::Access;
use crate::output::{Output, Shown, bytes, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `NAME`, or `NAMESPACE/NAME`
    #[arg(value_name = "NAME", value_parser = Package::parse)]
    package: Package,
}

/// A package by name, as it is written on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) namespace: Option<String>,
    pub(crate) name: PackageName,
}

impl Package {
    pub(crate) fn parse(text: &str) -> Result<Self, IdError> {
        let (namespace, name) = split_namespace(text)?;
        Ok(Self { namespace, name })
    }
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let Package { namespace, name } = args.package;
    let access = Access::open(layout).await?;
    let info = access.client().info(namespace.as_deref(), &name).await;
    access.close().await?;
    output.result(&info?, shown)
}

fn shown(info: &PackageInfo) -> String {
    let mut facts = vec![
        ("package", info.name.clone()),
        ("owner", info.owner.clone()),
        ("label", info.label.clone().unwrap_or_default()),
        ("trust", info.badge.clone()),
        ("status", status(info)),
        ("description", info.description.clone()),
        ("license", info.license.clone()),
        ("repository", info.repository.clone().unwrap_or_default()),
        ("keywords", info.keywords.join(", ")),
    ];
    facts.retain(|(_, fact)| !fact.is_empty());
    let facts = facts.iter();
    let facts = facts.map(|(name, fact)| vec![(*name).to_owned(), Shown::new(fact).to_string()]);
    let mut text = table(&facts.collect::<Vec<_>>());
    text.push('\n');
    text.push_str(&table(
        &info.versions.iter().map(version).collect::<Vec<_>>(),
    ));
    let shown = info.versions.len();
    text.push_str(&rest(info.versions_total.saturating_sub(shown)));
    text
}

/// Says how many versions are not shown.
pub(crate) fn rest(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!("and {count} lower versions\n"),
    }
}

/// Only what is not as usual is worth a line.
fn status(info: &PackageInfo) -> String {
    match info.status {
        OwnerStatus::Active => String::new(),
        other => other.to_string(),
    }
}

/// What a list of versions says of one.
pub(crate) fn version(version: &VersionInfo) -> Vec<String> {
    let mut states = Vec::new();
    for (holds, word) in [
        (version.yanked, "yanked"),
        (version.withdrawn, "withdrawn"),
        (version.conflicted, "withheld: two contents"),
        (
            version.unsound.is_some(),
            "withheld: not what its record says",
        ),
        (
            version.withheld.is_some() && !version.conflicted,
            "withheld",
        ),
        (version.pinned, "used here"),
    ] {
        if holds {
            states.push(word);
        }
    }
    let mut state = states.join(", ");
    if let Some(why) = version.withheld.as_ref().filter(|_| !version.conflicted) {
        state.push_str(&format!(" ({})", Shown::new(why)));
    }
    if !version.note.is_empty() {
        state.push_str(&format!(" ({})", Shown::new(&version.note)));
    }
    vec![
        Shown::new(&version.version).to_string(),
        version.published_at.format("%Y-%m-%d").to_string(),
        version.size.map(bytes).unwrap_or_default(),
        state,
    ]
}
