//! `market fetch`: brings a package here and checks it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::node::{Fetched, Progress, Wanted};
use tokio::io::AsyncWriteExt;

use crate::access::Access;
use crate::output::{Output, Unit, bytes};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `[NAMESPACE/]NAME`, `NAME@VERSION`, or `NAME@REQUIREMENT`
    #[arg(value_name = "PACKAGE")]
    wanted: Wanted,
    /// File to write, `-` for standard output; without it the node keeps the package and nothing is written
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrites FILE
    #[arg(long, requires = "output")]
    force: bool,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    if let Some(path) = &args.output
        && !args.force
    {
        refuse_overwriting(path)?;
    }
    let access = Access::open(layout).await?;
    let fetched = fetch(&args, access.client(), output).await;
    access.close().await?;
    let fetched = fetched?;
    if let Some(warning) = &fetched.warning {
        output.note(format_args!("warning: {warning}"));
    }
    if args.output.as_deref() == Some(Path::new("-")) {
        return Ok(());
    }
    output.result(&fetched, |fetched| {
        let size = bytes(fetched.size);
        let from = match (fetched.local, fetched.providers.len()) {
            (true, _) => "it was here".to_owned(),
            (false, 1) => format!("from 1 peer in {} ms", fetched.millis),
            (false, peers) => format!("from {peers} peers in {} ms", fetched.millis),
        };
        let Fetched {
            package,
            sha256,
            owner,
            ..
        } = fetched;
        format!("fetched  {package}  {size}  {from}\nof {owner}\n{sha256}\n")
    })
}

async fn fetch(args: &Args, client: &Client, output: Output) -> anyhow::Result<Fetched> {
    let bar = output.bar(0, Unit::Bytes);
    let progress = |report: Progress| {
        bar.set_length(report.size);
        bar.set_position(report.bytes);
    };
    let fetched = match args.output.as_deref() {
        None => Ok(client.fetch(&args.wanted, progress).await?),
        Some(path) if path == Path::new("-") => {
            let mut stdout = tokio::io::stdout();
            Ok(client.fetch_to(&args.wanted, progress, &mut stdout).await?)
        }
        Some(path) => write_file(args, path, client, progress).await,
    };
    bar.finish_and_clear();
    fetched
}

/// Writes the archive beside its place and moves it there when it is whole.
async fn write_file(
    args: &Args,
    path: &Path,
    client: &Client,
    progress: impl FnMut(Progress),
) -> anyhow::Result<Fetched> {
    let cannot = || format!("cannot write {}", path.display());
    let part = Part::beside(path).with_context(cannot)?;
    let options = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part.0)
        .await;
    let mut file = options.with_context(cannot)?;
    let fetched = client.fetch_to(&args.wanted, progress, &mut file).await;
    let fetched = fetched.with_context(|| format!("cannot fetch to {}", path.display()))?;
    file.shutdown().await.with_context(cannot)?;
    file.sync_all().await.with_context(cannot)?;
    if !args.force {
        refuse_overwriting(path)?;
    }
    fs::rename(&part.0, path).with_context(cannot)?;
    Ok(fetched)
}

fn refuse_overwriting(path: &Path) -> anyhow::Result<()> {
    if path != Path::new("-") && path.symlink_metadata().is_ok() {
        bail!("{} exists: use --force to overwrite it", path.display());
    }
    Ok(())
}

/// A file that is not whole yet; removed when this is dropped, unless it was moved to its place.
struct Part(PathBuf);

impl Part {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", std::process::id()));
        Ok(Self(path.with_file_name(part)))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Not there any more after the move.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}
