//! `market publish`: signs packages and gives them to the swarm, the next one being read meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::{StreamExt, stream};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{Client, explain};
use ggen_marketplace::node::Published;
use ggen_marketplace::protocols::id::{CanonicalName, Label, PackageName, parse_version};
use indicatif::ProgressBar;
use semver::Version;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::Told;
use crate::Usage;
use crate::access::Access;
use crate::bind::{self, Adoption};
use crate::output::{Output, Shown, Unit, bytes};
use crate::prepare::{Named, Prepared, prepare};
use crate::sign::{Signer, identity};

/// Packages that are read and checked ahead of the one being published: enough for all cores of a small
/// machine, few enough to hold packed directories in memory.
const AHEAD_MAX: usize = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `.crate` files, directories with `Cargo.toml` or `pack.toml`, or one file of any kind with --name and
    /// --version
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name of a file of any kind
    #[arg(long, requires = "version")]
    name: Option<PackageName>,
    /// Version of a file of any kind
    #[arg(long, requires = "name", value_parser = parse_version)]
    version: Option<Version>,
    /// Key to sign with, of those that `market key list` tells [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
    /// Takes dependencies on the default registry for the packages of the same name that are published with this
    /// command
    #[arg(long)]
    adopt_dependencies: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    published: usize,
    unchanged: usize,
    failed: usize,
    packages: Vec<Package>,
}

#[derive(Debug, Serialize)]
struct Package {
    path: String,
    /// Dependencies that were taken for packages of the same batch.
    adopted: BTreeSet<String>,
    /// Dependencies that were not, for the release was out before.
    left: BTreeSet<String>,
    #[serde(flatten)]
    published: Option<Published>,
    error: Option<String>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let named = match (args.name, args.version) {
        (Some(name), Some(version)) => Some(Named { name, version }),
        _ => None,
    };
    if named.is_some() && args.paths.len() > 1 {
        let why = "--name and --version name one file: give one PATH with them";
        return Err(Usage(why.to_owned()).into());
    }
    // Says that there is no key before anything is opened or waited for.
    identity(layout, args.key.as_ref())?;
    let access = Access::open(layout).await?;
    let done = async {
        let signer = Signer::of(layout, args.key.as_ref(), access.client(), output).await?;
        let batch = match args.adopt_dependencies {
            true => batch(&args.paths, named.as_ref()).await?,
            false => BTreeSet::new(),
        };
        let client = access.client();
        let report = publish_all(args.paths, named, &batch, &signer, client, output).await?;
        if report.published > 0 {
            signer.witness(access.client(), output).await;
        }
        anyhow::Ok((report, signer))
    };
    let done = done.await;
    access.close().await?;
    let (report, signer) = done?;
    finish(report, &signer, output)
}

/// The names of all that is to be published. What cannot be read is told of when its turn comes.
async fn batch(
    paths: &[PathBuf],
    named: Option<&Named>,
) -> anyhow::Result<BTreeSet<CanonicalName>> {
    let mut names = BTreeSet::new();
    for path in paths {
        let (path, named) = (path.clone(), named.cloned());
        let reading = spawn_blocking(move || prepare(&path, named.as_ref()).ok());
        let prepared = reading.await.context("reading a package was cut off")?;
        names.extend(prepared.as_ref().and_then(bind::name));
    }
    Ok(names)
}

async fn publish_all(
    paths: Vec<PathBuf>,
    named: Option<Named>,
    batch: &BTreeSet<CanonicalName>,
    signer: &Signer,
    client: &Client,
    output: Output,
) -> anyhow::Result<Report> {
    let bar = output.bar(paths.len() as u64, Unit::Packages);
    let mut prepared = stream::iter(paths)
        .map(|path| {
            let named = named.clone();
            // Started here, so that it goes on while the stream is not asked.
            let reading = spawn_blocking(move || (prepare(&path, named.as_ref()), path));
            async move { reading.await.context("reading a package was cut off") }
        })
        .buffered(AHEAD_MAX);
    let mut report = Report::default();
    while let Some(next) = prepared.next().await {
        let (mut prepared, path) = next?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        bar.set_message(Shown::listed(&name).to_string());
        let adopted = match &mut prepared {
            Ok(prepared) => bind::adopt(prepared, batch, signer.owner(), client).await,
            Err(_) => Adoption::default(),
        };
        let done = publish_one(prepared, signer, client).await;
        bar.suspend(|| report.note(&path, adopted, done, output))?;
        bar.inc(1);
    }
    ProgressBar::finish_and_clear(&bar);
    Ok(report)
}

/// Publishes what was prepared.
pub(crate) async fn publish_one(
    prepared: anyhow::Result<Prepared>,
    signer: &Signer,
    client: &Client,
) -> anyhow::Result<Published> {
    let mut prepared = prepared?;
    bind::bind(&mut prepared, client).await?;
    signer
        .publish(client, &prepared.body, &prepared.archive)
        .await
}

impl Report {
    /// Counts what became of one package, and says it. A wrong use of the command is not a failed package.
    fn note(
        &mut self,
        path: &Path,
        adoption: Adoption,
        done: anyhow::Result<Published>,
        output: Output,
    ) -> anyhow::Result<()> {
        let path = path.display().to_string();
        let Adoption { adopted, left } = adoption;
        let (published, error) = match done {
            Ok(published) => {
                let word = if published.new {
                    self.published += 1;
                    "published"
                } else {
                    self.unchanged += 1;
                    "unchanged"
                };
                let size = bytes(published.size);
                output.line(format_args!("{word}  {}  {size}", published.package))?;
                if !adopted.is_empty() {
                    output.line(format_args!(
                        "  its dependencies {} are those of {}",
                        listed(&adopted),
                        published.owner
                    ))?;
                }
                if !left.is_empty() {
                    output.line(format_args!(
                        "  its dependencies {} stay those of the default registry: it was published so before",
                        listed(&left)
                    ))?;
                }
                (Some(published), None)
            }
            Err(error) if error.is::<Usage>() => return Err(error),
            Err(error) => {
                self.failed += 1;
                let why = explain(error.as_ref());
                output.error(&error.context(format!("cannot publish {path}")));
                (None, Some(why))
            }
        };
        self.packages.push(Package {
            path,
            adopted,
            left,
            published,
            error,
        });
        Ok(())
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    names.join(", ")
}

fn finish(report: Report, signer: &Signer, output: Output) -> anyhow::Result<()> {
    output.result(&report, |report| {
        format!(
            "{} published, {} unchanged, {} failed, as {}\n",
            report.published,
            report.unchanged,
            report.failed,
            signer.owner()
        )
    })?;
    if report.failed > 0 {
        return Err(Told.into());
    }
    Ok(())
}
