//! `market use`: decides whom names mean here.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{Client, PackageInfo};
use ggen_marketplace::protocols::id::{Label, OwnerId, PackageName, split_namespace};
use ggen_marketplace::protocols::view::Mode;
use ggen_marketplace::registry::policy::{Decision, Policy};
use serde::Serialize;

use crate::Usage;
use crate::access::Access;
use crate::output::{Output, table};
use crate::pins::{FILE_BYTES_MAX, Pins};

/// Decides whom a name means on this node
///
/// Example: `market use http ns1k7f3…` makes `http` mean that owner here, whoever else claims the name;
/// `market use acme/http ns1k7f3…` makes the label `acme` mean it, for all names.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    /// `NAME` or `LABEL/NAME`
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Whom it means from now on: `ns1…`, whole [default: changes nothing, and tells whom it means]
    #[arg(value_name = "OWNER")]
    owner: Option<OwnerId>,
    /// Lists all pins
    #[arg(long, conflicts_with_all = ["name", "remove", "export", "import", "strict", "tofu"])]
    list: bool,
    /// Takes the pin of a name, or of the label before it, back
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "export", "import", "strict", "tofu"])]
    remove: Option<String>,
    /// Writes all pins to a file for others to import, `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "import", "strict", "tofu"])]
    export: Option<PathBuf>,
    /// Takes pins over from a file that `--export` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "strict", "tofu"])]
    import: Option<PathBuf>,
    /// Lets the file give a pinned name to another owner
    #[arg(long, requires = "import")]
    replace: bool,
    /// From now on a name that one unknown owner alone claims means nobody
    #[arg(long, conflicts_with_all = ["name", "tofu"])]
    strict: bool,
    /// From now on a name that one unknown owner alone claims means that owner
    #[arg(long, conflicts_with = "name")]
    tofu: bool,
}

#[derive(Serialize)]
struct Done {
    /// What was done, for people.
    #[serde(skip)]
    text: String,
    changed: usize,
    #[serde(flatten)]
    policy: Listed,
}

#[derive(Serialize)]
struct Listed {
    mode: Mode,
    names: std::collections::BTreeMap<String, String>,
    labels: std::collections::BTreeMap<String, String>,
}

impl From<&Policy> for Listed {
    fn from(policy: &Policy) -> Self {
        let names = policy.names.iter();
        let labels = policy.labels.iter();
        Self {
            mode: policy.mode,
            names: names
                .map(|(name, id)| (name.to_string(), id.0.to_string()))
                .collect(),
            labels: labels
                .map(|(name, id)| (name.to_string(), id.0.to_string()))
                .collect(),
        }
    }
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let done = decide(&args, layout, access.client()).await;
    access.close().await?;
    let done = done?;
    if args.export.as_deref() == Some(Path::new("-")) {
        return output.raw(&done.text);
    }
    output.result(&done, |done| done.text.clone())
}

async fn decide(args: &Args, layout: &Layout, client: &Client) -> anyhow::Result<Done> {
    let before = client.policy().await?;
    let (decisions, text) = match args {
        Args {
            name: Some(name),
            owner: Some(owner),
            ..
        } => pin(client, name, *owner).await?,
        Args {
            name: Some(name),
            owner: None,
            ..
        } => (Vec::new(), meaning(client, name).await?),
        Args {
            remove: Some(name), ..
        } => unpin(&before, name)?,
        Args {
            export: Some(path), ..
        } => (Vec::new(), export(path, layout, &before)?),
        Args {
            import: Some(path), ..
        } => {
            let cannot = || format!("cannot take over {}", path.display());
            let pins =
                Pins::read(&read(path)?, &layout.network()?.to_string()).with_context(cannot)?;
            let decisions = pins.decisions(&before, args.replace).with_context(cannot)?;
            let text = format!(
                "took over {} pins from {}\n",
                decisions.len(),
                path.display()
            );
            (decisions, text)
        }
        Args { strict: true, .. } => {
            let text = "a name that one unknown owner alone claims means nobody from now on\n";
            (vec![Decision::Mode(Mode::Strict)], text.to_owned())
        }
        Args { tofu: true, .. } => {
            let text = "a name that one unknown owner alone claims means that owner from now on\n";
            (vec![Decision::Mode(Mode::Tofu)], text.to_owned())
        }
        Args { list: true, .. } => (Vec::new(), list(&before)),
        _ => return Err(Usage("say what to do: see `market use --help`".to_owned()).into()),
    };
    let changed = decisions.len();
    if changed > 0 {
        client.decide(Decision::All(decisions)).await?;
    }
    let policy = Listed::from(&client.policy().await?);
    Ok(Done {
        text,
        changed,
        policy,
    })
}

type Plan = (Vec<Decision>, String);

async fn pin(client: &Client, text: &str, owner: OwnerId) -> anyhow::Result<Plan> {
    let (label, name) = parse(text)?;
    let claims = client.claimants(Some(&owner.to_string()), &name, 1).await?;
    let hint = match claims.total {
        0 => format!("it publishes no `{name}` as far as is known here\n"),
        _ => String::new(),
    };
    Ok(match label {
        Some(label) => {
            let text = format!("`{label}/` means {owner} here from now on, for every name\n{hint}");
            (vec![Decision::PinLabel(label, owner)], text)
        }
        None => {
            let text = format!("`{name}` means {owner} here from now on\n{hint}");
            (vec![Decision::PinName(name.canonical(), owner)], text)
        }
    })
}

/// Whom a name means as things stand.
async fn meaning(client: &Client, text: &str) -> anyhow::Result<String> {
    let (namespace, name) = split_namespace(text).map_err(|error| Usage(error.to_string()))?;
    let info = client.info(namespace.as_deref(), &name).await?;
    let PackageInfo { owner, badge, .. } = info;
    Ok(format!("`{text}` means {owner} here ({badge})\n"))
}

fn unpin(policy: &Policy, text: &str) -> anyhow::Result<Plan> {
    let (label, name) = parse(text)?;
    let (decision, known) = match label {
        Some(label) => {
            let known = policy.labels.contains_key(&label);
            (Decision::UnpinLabel(label), known)
        }
        None => {
            let name = name.canonical();
            let known = policy.names.contains_key(&name);
            (Decision::UnpinName(name), known)
        }
    };
    if !known {
        bail!("`{text}` is not pinned: `market use --list` shows what is");
    }
    Ok((
        vec![decision],
        format!("`{text}` means whom the rules say from now on\n"),
    ))
}

fn parse(text: &str) -> anyhow::Result<(Option<Label>, PackageName)> {
    let usage = |why: String| Usage(why);
    let (namespace, name) = split_namespace(text).map_err(|error| usage(error.to_string()))?;
    let label = namespace.map(|text| text.parse::<Label>()).transpose();
    let label = label.map_err(|error| {
        usage(format!(
            "{error}: write NAME or LABEL/NAME; an owner id always means itself"
        ))
    })?;
    Ok((label, name))
}

fn list(policy: &Policy) -> String {
    let mut rows = Vec::new();
    for (label, owner) in &policy.labels {
        rows.push(vec![format!("{label}/"), owner.0.to_string()]);
    }
    for (name, owner) in &policy.names {
        rows.push(vec![name.to_string(), owner.0.to_string()]);
    }
    let mode = match policy.mode {
        Mode::Tofu => "other names mean their sole claimant (--strict changes that)\n",
        Mode::Strict => {
            "other names mean nobody but owners that you rely on (--tofu changes that)\n"
        }
    };
    format!("{}{mode}", table(&rows))
}

fn export(path: &Path, layout: &Layout, policy: &Policy) -> anyhow::Result<String> {
    let pins = Pins::of(layout.network()?.to_string(), policy);
    let text = pins.text()?;
    if path == Path::new("-") {
        return Ok(text);
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let count = policy.names.len() + policy.labels.len();
    Ok(format!("wrote {count} pins to {}\n", path.display()))
}

/// Reads a file of pins, if it is not too large.
fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(cannot)?;
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if length.with_context(cannot)? as u64 > FILE_BYTES_MAX {
        bail!(
            "{} has more than 1 MiB: it is no file of pins",
            path.display()
        );
    }
    Ok(text)
}
