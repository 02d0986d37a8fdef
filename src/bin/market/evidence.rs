//! `market evidence`: what owners signed that contradicts itself, for anybody to check.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::protocols::id::{OwnerId, PackageName, parse_version, split_namespace};
use ggen_marketplace::registry::evidence::{Evidence, Question};

use crate::Usage;
use crate::access::Access;
use crate::output::{Output, Shown};

/// Largest file that is checked, in bytes: many contradictions of the largest records.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Prints what owners signed that contradicts itself, whole, so that others can check it without a node
///
/// Example: `market evidence ns1k7f3… http@1.0.0 --json > proof.json`, and anywhere else
/// `market evidence --check proof.json`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `OWNER`, `[OWNER/]NAME` or `[OWNER/]NAME@VERSION`; nothing for all that is known
    #[arg(value_name = "OWNER|NAME", num_args = 0..=2)]
    what: Vec<String>,
    /// Checks a file that `market evidence --json` wrote: by its signatures, without a node
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    check: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let evidence = match &args.check {
        Some(path) => {
            let evidence =
                read(path).with_context(|| format!("cannot check {}", path.display()))?;
            let checked = evidence.check();
            checked.map_err(|why| anyhow!("{} proves nothing: {why}", path.display()))?;
            evidence
        }
        None => {
            let question = question(&args.what)?;
            let access = Access::open(layout).await?;
            let evidence = access.client().evidence(question).await;
            access.close().await?;
            evidence?
        }
    };
    let checked = args.check.is_some();
    output.result(&evidence, |evidence| shown(evidence, checked))
}

fn question(words: &[String]) -> anyhow::Result<Question> {
    let mut question = Question::default();
    for word in words {
        match word.parse::<OwnerId>() {
            Ok(owner) => question.owner = Some(owner),
            Err(_) => {
                let usage = |error: &dyn std::fmt::Display| Usage(error.to_string());
                let (package, version) = match word.split_once('@') {
                    Some((package, version)) => (package, Some(version)),
                    None => (word.as_str(), None),
                };
                let split = split_namespace(package);
                let (owner, name): (Option<String>, PackageName) = split.map_err(|e| usage(&e))?;
                if let Some(owner) = owner {
                    question.owner = Some(owner.parse().map_err(|e| usage(&e))?);
                }
                question.name = Some(name.canonical());
                let version = version.map(parse_version).transpose();
                question.version = version.map_err(|e| usage(&e))?;
            }
        }
    }
    Ok(question)
}

fn read(path: &std::path::Path) -> anyhow::Result<Evidence> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        bail!("it has more than 64 MiB");
    }
    serde_json::from_str(&text).context("it is not what `market evidence --json` writes")
}

fn shown(evidence: &Evidence, checked: bool) -> String {
    if evidence.items.is_empty() {
        return "nothing contradicts itself\n".to_owned();
    }
    let mut text = String::new();
    for item in &evidence.items {
        let release = item
            .release
            .as_ref()
            .map(|release| format!("/{}", Shown::new(release)));
        text.push_str(&format!(
            "{}: {}{}\n",
            item.kind,
            item.owner,
            release.unwrap_or_default()
        ));
        for proof in &item.records {
            text.push_str(&format!(
                "  record   {}\n  key      {}\n",
                proof.id, proof.key
            ));
            if let Some(content) = &proof.content {
                text.push_str(&format!("  content  {}\n", Shown::new(content)));
            }
            if !checked {
                text.push_str(&format!("  envelope {}\n", proof.envelope));
            }
        }
    }
    if evidence.more {
        text.push_str("and more: name an owner or a package\n");
    }
    text.push_str(match checked {
        true => "every signature fits, and each pair proves what is said of it\n",
        false => {
            "`market evidence --json > FILE` and `market evidence --check FILE` check it anywhere\n"
        }
    });
    text
}
