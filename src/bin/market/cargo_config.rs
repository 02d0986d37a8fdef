//! `market cargo-config`: what cargo's configuration needs to say to use the indexes of this node.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use ggen_marketplace::archive::index::{Canonical, Segment};
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::{Label, OwnerId};
use serde::Serialize;
use toml::{Table, Value};

use crate::Usage;
use crate::output::Output;
use crate::owner::owner_or_own;
use file::Outcome;

/// Where cargo looks first.
const FILE: &str = ".cargo/config.toml";
/// Characters of an owner id that name a registry of an owner without a label.
const ID_CHARS: usize = 12;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market cargo-config --write --credential-provider")]
pub(crate) struct Args {
    /// Whose packages: an owner id, a label, or `_` for what bare names mean here [default: your own]
    #[arg(value_name = "NAMESPACE")]
    namespaces: Vec<Segment>,
    /// What the registry is to be called, for one NAMESPACE [default: its label]
    #[arg(long, value_name = "REGISTRY")]
    name: Option<String>,
    /// Has cargo sign with the key of this home, instead of sending a token
    #[arg(long)]
    credential_provider: bool,
    /// Adds it to the file [default: .cargo/config.toml]
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = FILE
    )]
    write: Option<PathBuf>,
    /// Replaces registries of the same name
    #[arg(long, requires = "write")]
    force: bool,
}

/// A table of the configuration.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it stands: `registries` or `source`, and its name there.
    pub(crate) path: (&'static str, String),
    pub(crate) table: Table,
}

#[derive(Debug, Serialize)]
struct Done {
    registries: Vec<Registry>,
    /// What belongs into the file.
    text: String,
    /// The file that has it now.
    path: Option<PathBuf>,
    changed: bool,
}

#[derive(Debug, Serialize)]
struct Registry {
    name: String,
    index: String,
    /// The registry to publish to, search in and yank from, where that is another one.
    local: Option<String>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    if args.name.is_some() && args.namespaces.len() > 1 {
        let why = "--name names one registry: give one NAMESPACE with it";
        return Err(Usage(why.to_owned()).into());
    }
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let Ok(client) = Client::of_running(layout.dir()).await else {
        bail!(
            "no node runs on {}, so nobody knows where its indexes are: run `market up` first",
            layout.dir().display()
        );
    };
    let status = client.status().await?;
    let base = |text: Option<String>| -> anyhow::Result<Canonical> {
        let text = text.context("the running node answers no HTTP")?;
        Ok(text.parse()?)
    };
    let is_open = status.http.as_deref().is_none_or(is_loopback);
    if args.credential_provider && !is_open {
        output.note(
            "warning: unless the node runs with --public-read, it tells nothing without a token, and this provider \
             has none to show: cargo will not be able to read from it",
        );
    }
    let bases = Bases {
        own: base(status.http)?,
        canonical: base(status.canonical)?,
        provider: match args.credential_provider {
            true => Some(provider(layout)?),
            // Cargo shows a token where it reads only if its configuration says where it has one from.
            false => (!is_open).then(|| Value::from(vec!["cargo:token"])),
        },
    };
    let wanted = match args.namespaces.is_empty() {
        true => vec![Segment::Owner(owner_or_own(None, layout)?)],
        false => args.namespaces,
    };
    let (mut registries, mut blocks) = (Vec::new(), Vec::new());
    for segment in wanted {
        let (segment, called) = settled(segment, &client).await?;
        let name = args.name.clone().unwrap_or(called);
        registries.push(bases.add(&segment, name, &mut blocks));
    }
    let text: Vec<_> = blocks.iter().map(Block::text).collect();
    let mut done = Done {
        registries,
        text: text.join("\n"),
        path: None,
        changed: false,
    };
    if let Some(path) = args.write {
        let outcome = file::merge(&path, &blocks, args.force)?;
        done.changed = matches!(outcome, Outcome::Written);
        done.path = Some(path);
    }
    advise(output);
    output.result(&done, shown)
}

fn shown(done: &Done) -> String {
    let Some(path) = &done.path else {
        return done.text.clone();
    };
    let path = path.display();
    let mut text = match done.changed {
        true => format!("wrote {path}\n"),
        false => format!("unchanged: {path} has it already\n"),
    };
    for Registry { name, local, .. } in &done.registries {
        let to = local.as_ref().unwrap_or(name);
        text.push_str(&format!(
            "add a package: cargo add NAME --registry {name}; publish: cargo publish --registry {to}\n"
        ));
    }
    text
}

/// Whether only programs of this machine reach a node that answers there: then nobody needs a token to read.
fn is_loopback(http: &str) -> bool {
    let address = http.strip_prefix("http://").unwrap_or(http);
    let address: Result<SocketAddr, _> = address.parse();
    address.is_ok_and(|address| address.ip().is_loopback())
}

/// Cargo itself reads names of registries so.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(Usage(format!(
        "`{name}` is no name of a registry: use letters, digits, - and _"
    ))
    .into())
}

/// The segment that means the same everywhere, and what to call its registry.
async fn settled(segment: Segment, client: &Client) -> anyhow::Result<(Segment, String)> {
    let (owner, label) = match segment {
        Segment::View => return Ok((Segment::View, "bare".to_owned())),
        Segment::Label(label) => (of_label(&label, client).await?, Some(label.to_string())),
        Segment::Owner(owner) => (owner, None),
    };
    let label = match label {
        Some(label) => Some(label),
        None => client.trust(owner, None).await?.label,
    };
    let id = || owner.to_string().chars().take(ID_CHARS).collect();
    Ok((Segment::Owner(owner), label.unwrap_or_else(id)))
}

/// Whom a label means: the one that it is pinned to here, or one's own namespace that is called so.
async fn of_label(label: &Label, client: &Client) -> anyhow::Result<OwnerId> {
    let policy = client.policy().await?;
    if let Some(owner) = policy.labels.get(label) {
        return Ok(owner.0);
    }
    if let Some(own) = client.status().await?.owner {
        let own = own.parse()?;
        let trust = client.trust(own, None).await?;
        if trust.label.as_deref() == Some(label.as_str()) {
            return Ok(own);
        }
    }
    bail!(
        "`{label}` means nobody here yet: say whom with `market use {label} OWNER`, or name the owner's id"
    )
}

struct Bases {
    own: Canonical,
    canonical: Canonical,
    provider: Option<Value>,
}

impl Bases {
    /// Adds what one index needs. Where this node answers elsewhere than everybody's addresses say, what is read from
    /// there is read here instead, and what is sent goes to a registry of its own: cargo replaces sources for reading only.
    fn add(&self, segment: &Segment, name: String, blocks: &mut Vec<Block>) -> Registry {
        let index = self.canonical.index(segment);
        let own = self.own.index(segment);
        if own == index {
            blocks.push(Block::registry(&name, &index, self.provider.as_ref()));
            return Registry {
                name,
                index,
                local: None,
            };
        }
        let local = format!("{name}-local");
        blocks.push(Block::registry(&name, &index, None));
        blocks.push(Block::registry(&local, &own, self.provider.as_ref()));
        let table = Table::from_iter([
            ("registry".to_owned(), Value::from(index.clone())),
            ("replace-with".to_owned(), Value::from(local.clone())),
        ]);
        // Called as `cargo vendor` calls it: cargo takes one source for an address, and so the vendored packages replace
        // this one in a project that has them.
        blocks.push(Block {
            path: ("source", index.clone()),
            table,
        });
        Registry {
            name,
            index,
            local: Some(local),
        }
    }
}

impl Block {
    fn registry(name: &str, index: &str, provider: Option<&Value>) -> Self {
        let mut table = Table::from_iter([("index".to_owned(), Value::from(index))]);
        if let Some(provider) = provider {
            table.insert("credential-provider".to_owned(), provider.clone());
        }
        Self {
            path: ("registries", name.to_owned()),
            table,
        }
    }

    /// The line that it begins with.
    pub(crate) fn header(&self) -> String {
        let (kind, name) = &self.path;
        match check_name(name) {
            Ok(()) => format!("[{kind}.{name}]"),
            Err(_) => format!("[{kind}.{}]", Value::from(name.as_str())),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.header());
        for (key, value) in &self.table {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}

/// This program, as cargo is to start it.
fn provider(layout: &Layout) -> anyhow::Result<Value> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let text = |path: &std::path::Path| {
        let text = path.to_str().map(ToOwned::to_owned);
        text.with_context(|| format!("{} is no text, as cargo needs it", path.display()))
    };
    let mut words = vec![text(&program)?, "cargo-credential".to_owned()];
    let usual = Layout::of_platform();
    if usual.map_or(true, |usual| usual.dir() != layout.dir()) {
        let home = std::path::absolute(layout.dir())?;
        words.extend(["--home".to_owned(), text(&home)?]);
    }
    Ok(words.into())
}

/// What in this environment keeps cargo from reaching the node.
#[allow(clippy::disallowed_methods)] // The command itself reads its environment.
fn advise(output: Output) {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let Some(proxy) = proxies.into_iter().find(|name| set(name).is_some()) else {
        return;
    };
    let except = set("no_proxy")
        .or_else(|| set("NO_PROXY"))
        .unwrap_or_default();
    let mut hosts = except.split(',').map(str::trim);
    if !hosts.any(|host| host == "127.0.0.1" || host == "*") {
        output.note(format_args!(
            "{proxy} is set, and cargo uses it for this machine, too: add 127.0.0.1 to no_proxy"
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn blocks(own: &str, canonical: &str) -> String {
        let bases = Bases {
            own: own.parse().unwrap(),
            canonical: canonical.parse().unwrap(),
            provider: Some(Value::from(vec!["/m \"x", "cargo-credential"])),
        };
        let mut blocks = Vec::new();
        bases.add(&Segment::View, "acme".to_owned(), &mut blocks);
        let text: Vec<_> = blocks.iter().map(Block::text).collect();
        text.join("\n")
    }

    #[test]
    fn only_other_machines_need_a_token_to_read() {
        for (http, expected) in [
            ("http://127.0.0.1:7878", true),
            ("http://[::1]:7878", true),
            ("http://0.0.0.0:7878", false),
            ("http://192.0.2.1:80", false),
            ("http://[::]:80", false),
        ] {
            assert_eq!(is_loopback(http), expected, "{http}");
        }
    }

    #[test]
    fn one_block_where_the_node_answers_at_the_usual_address() {
        let text = blocks("http://127.0.0.1:7878", "http://127.0.0.1:7878");
        let table: Table = text.parse().unwrap();
        let registry = &table["registries"]["acme"];
        assert_eq!(
            registry["index"].as_str(),
            Some("sparse+http://127.0.0.1:7878/cargo/_/")
        );
        assert_eq!(registry["credential-provider"][0].as_str(), Some("/m \"x"));
        assert!(!table.contains_key("source"), "{text}");
    }

    #[test]
    fn elsewhere_reading_is_replaced_and_writing_has_its_own_registry() {
        let text = blocks("http://127.0.0.1:9001", "http://127.0.0.1:7878");
        let table: Table = text.parse().unwrap();
        let registries = &table["registries"];
        let index = "sparse+http://127.0.0.1:7878/cargo/_/";
        assert_eq!(registries["acme"]["index"].as_str(), Some(index));
        assert!(registries["acme"].get("credential-provider").is_none());
        let local = &registries["acme-local"];
        assert_eq!(
            local["index"].as_str(),
            Some("sparse+http://127.0.0.1:9001/cargo/_/")
        );
        assert!(local.get("credential-provider").is_some());
        let source = &table["source"][index];
        assert_eq!(source["registry"].as_str(), Some(index));
        assert_eq!(source["replace-with"].as_str(), Some("acme-local"));
    }
}
