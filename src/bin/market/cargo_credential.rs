//! `market cargo-credential`: a credential provider of cargo. It signs with a key of this home, so that neither cargo
//! nor the running node ever has one.
//!
//! Protocol: lines of JSON over standard input and output, version 1, as cargo's reference describes it. What cargo
//! gets as a token is sent to the node in the header `Authorization`: for a publish `offer.ID`, the id of an offer
//! that a process of ours stands behind; for a yank `record.BASE64URL`, the signed record itself.

mod hold;

use std::io::BufRead as _;

use anyhow::{Context, bail};
use data_encoding::BASE64URL_NOPAD;
use ggen_marketplace::archive::index::{Canonical, Segment};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::{Client, Promise, explain, offer_id};
use ggen_marketplace::protocols::id::{Label, OwnerId, PackageName, parse_version};
use ggen_marketplace::protocols::record::Body;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::output::Output;
use crate::passphrase;
use crate::sign::{self, Pen, Signer, is_unlocked};
use crate::yank;

/// How cargo starts a provider, whatever arguments its configuration names: those come with the request.
pub(crate) const PLUGIN: &str = "--cargo-plugin";
/// Longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, in .cargo/config.toml, as `market cargo-config --credential-provider` writes it:\n\
                        [registries.own]\n\
                        credential-provider = [\"market\", \"cargo-credential\"]"
)]
pub(crate) struct Args {
    /// Key to sign with, of those that `market key list` tells [default: the one that the index is of]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
    /// Waits to sign the release that standard input tells
    #[arg(long, hide = true)]
    hold: bool,
    /// What cargo asked before the arguments were known.
    #[arg(skip)]
    request: Option<Request>,
}

/// What cargo asks.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    v: u32,
    registry: Registry,
    #[serde(flatten)]
    action: Action,
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Registry {
    #[serde(rename = "index-url")]
    index_url: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Action {
    Get(Operation),
    Login,
    Logout,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
enum Operation {
    Read,
    Publish {
        name: String,
        vers: String,
        cksum: String,
    },
    Yank {
        name: String,
        vers: String,
    },
    Unyank {
        name: String,
        vers: String,
    },
    Owners,
    #[serde(other)]
    Unknown,
}

/// What cargo gets.
#[derive(Debug, Serialize)]
enum Answer {
    Ok(Given),
    Err(Refused),
}

#[derive(Debug, Serialize)]
struct Given {
    kind: &'static str,
    token: String,
    cache: &'static str,
    operation_independent: bool,
}

#[derive(Debug, Serialize)]
struct Refused {
    kind: &'static str,
    message: String,
}

impl Answer {
    /// A token for this one operation.
    fn token(token: String) -> Self {
        Self::Ok(Given {
            kind: "get",
            token,
            cache: "never",
            operation_independent: false,
        })
    }

    fn refused(kind: &'static str, message: impl Into<String>) -> Self {
        Self::Err(Refused {
            kind,
            message: message.into(),
        })
    }

    fn other(message: impl Into<String>) -> Self {
        Self::refused("other", message)
    }
}

impl Request {
    /// The arguments that cargo's configuration names after the program.
    pub(crate) fn args(&self) -> &[String] {
        &self.args
    }
}

impl Args {
    /// The same, to answer this first.
    pub(crate) fn with(self, request: Request) -> Self {
        Self {
            request: Some(request),
            ..self
        }
    }
}

/// Greets cargo and reads what it asks; nothing if it asks nothing.
pub(crate) fn greeted(output: Output) -> anyhow::Result<Option<Request>> {
    output.raw("{\"v\":[1]}\n")?;
    read()
}

/// Says why nothing can be answered.
pub(crate) fn refuse(why: &str, output: Output) -> anyhow::Result<()> {
    write(&Answer::other(why), output)
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    if args.hold {
        return hold::run(layout, output).await;
    }
    let mut next = match args.request {
        Some(request) => Some(request),
        None => greeted(output)?,
    };
    while let Some(request) = next {
        let answered = answer(&request, args.key.as_ref(), layout).await;
        let answer = answered.unwrap_or_else(|error| Answer::other(explain(error.as_ref())));
        write(&answer, output)?;
        next = spawn_blocking(read).await??;
    }
    Ok(())
}

fn read() -> anyhow::Result<Option<Request>> {
    let mut line = String::new();
    let input = std::io::stdin().lock();
    let read = std::io::Read::take(input, REQUEST_BYTES_MAX).read_line(&mut line);
    if read.context("cannot read what cargo asks")? == 0 {
        return Ok(None);
    }
    let request = serde_json::from_str(&line);
    request.context("cargo asks something that this version does not understand")
}

fn write(answer: &Answer, output: Output) -> anyhow::Result<()> {
    output.raw(&format!("{}\n", serde_json::to_string(answer)?))
}

async fn answer(
    request: &Request,
    label: Option<&Label>,
    layout: &Layout,
) -> anyhow::Result<Answer> {
    let foreign = || Answer::refused("url-not-supported", "this is no index of a node");
    let Some(segment) = Segment::of_url(&request.registry.index_url) else {
        return Ok(foreign());
    };
    if request.v != 1 {
        bail!(
            "cargo speaks version {} of its protocol, this command version 1",
            request.v
        );
    }
    let operation = match &request.action {
        Action::Get(operation) => operation,
        Action::Login => {
            let why = "there is no token to keep: this provider signs with the key of your home; \
                       `market key list` tells which";
            return Ok(Answer::other(why));
        }
        Action::Logout => return Ok(Answer::refused("not-found", "there is no token to forget")),
        Action::Unknown => return Ok(Answer::refused("operation-not-supported", "")),
    };
    let Ok(client) = Client::of_running(layout.dir()).await else {
        bail!(
            "no node runs on {}: run `market up` first",
            layout.dir().display()
        );
    };
    if !is_of(&client, &segment, &request.registry.index_url).await? {
        return Ok(foreign());
    }
    let (name, vers, yanked) = match operation {
        // No token is needed to read, but cargo asks before a publish, too, and goes on only with one; and it does not
        // say whether owners are to be listed or changed. What nobody stands behind changes nothing.
        Operation::Read | Operation::Owners => {
            return Ok(Answer::token(format!("offer.{}", offer_id())));
        }
        Operation::Unknown => return Ok(Answer::refused("operation-not-supported", "")),
        Operation::Publish { name, vers, cksum } => {
            let promise = Promise {
                name: name.clone(),
                version: vers.clone(),
                sha256: cksum.clone(),
            };
            let identity = identity_of(&segment, label, layout, &client).await?;
            let token = hold::begin(promise, &identity, layout, &client).await?;
            return Ok(Answer::token(token));
        }
        Operation::Yank { name, vers } => (name, vers, true),
        Operation::Unyank { name, vers } => (name, vers, false),
    };
    let identity = identity_of(&segment, label, layout, &client).await?;
    let signed = set_yanked(name, vers, yanked, &identity, layout, &client).await;
    let token = signed.with_context(|| format!("cannot change {name}@{vers}"))?;
    Ok(Answer::token(token))
}

/// Whether the address is one of the running node, be it its own or the one that all nodes use.
async fn is_of(client: &Client, segment: &Segment, url: &str) -> anyhow::Result<bool> {
    let status = client.status().await?;
    let bases = [status.http, status.canonical];
    let mut bases = bases.iter().flatten();
    Ok(bases.any(|base| {
        let base: Option<Canonical> = base.parse().ok();
        base.is_some_and(|base| base.index(segment) == url)
    }))
}

/// The key of this home that writes in the namespace that an index is of.
async fn identity_of(
    segment: &Segment,
    label: Option<&Label>,
    layout: &Layout,
    client: &Client,
) -> anyhow::Result<Identity> {
    let owner = match segment {
        Segment::View => None,
        Segment::Owner(owner) => Some(*owner),
        Segment::Label(called) => Some(owner_called(called, layout, client).await?),
    };
    let Some(owner) = owner else {
        return sign::identity(layout, label);
    };
    if let Some(label) = label {
        let named = sign::identity(layout, Some(label))?;
        if named.owner != owner {
            bail!(
                "the key `{label}` writes as {}, the index is of {owner}",
                named.owner
            );
        }
        return Ok(named);
    }
    let all = layout.identities()?;
    let found = all.into_iter().find(|one| one.owner == owner);
    found.with_context(|| {
        format!("this home has no key of {owner}: `market key list` tells whose keys it has")
    })
}

/// Whom a label means: the one that it is pinned to here, or the owner of a key of this home that calls itself so.
async fn owner_called(label: &Label, layout: &Layout, client: &Client) -> anyhow::Result<OwnerId> {
    if let Some(owner) = client.policy().await?.labels.get(label) {
        return Ok(owner.0);
    }
    for identity in layout.identities()? {
        let trust = client.trust(identity.owner, None).await?;
        if trust.label.as_deref() == Some(label.as_str()) {
            return Ok(identity.owner);
        }
    }
    bail!(
        "no key of this home writes as `{label}`: `market owner list` tells the label of your namespace"
    )
}

/// Opens a key: nothing if the running node signs with it.
async fn open(layout: &Layout, identity: &Identity, client: &Client) -> anyhow::Result<Pen> {
    if is_unlocked(layout, identity, client).await? {
        return Ok(Pen::Node(client.clone()));
    }
    let key = passphrase::open_for_program(layout, identity).await?;
    Ok(Pen::Key(key))
}

/// The signed record that yanks a release or takes that back. Signed even if that is so already, for cargo needs
/// something to send.
async fn set_yanked(
    name: &str,
    version: &str,
    yanked: bool,
    identity: &Identity,
    layout: &Layout,
    client: &Client,
) -> anyhow::Result<String> {
    let (name, version): (PackageName, _) = (name.parse()?, parse_version(version)?);
    let owner = identity.owner.to_string();
    let found = client.state(Some(&owner), &name, &version).await?;
    let before = found.state;
    let before = before.unwrap_or_else(|| yank::never_set(name.as_str(), &version));
    // Taken back, its reason says nothing any more.
    let note = if yanked {
        before.note.clone()
    } else {
        String::new()
    };
    let state = yank::next(before, yanked, &note);
    let pen = open(layout, identity, client).await?;
    let signer = Signer::by(layout, identity, pen, client).await?;
    let envelope = signer.seal(client, &Body::State(state)).await?;
    Ok(format!("record.{}", BASE64URL_NOPAD.encode(&envelope)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(rest: &str) -> Request {
        let registry = "\"registry\":{\"index-url\":\"sparse+http://a/cargo/_/\",\"name\":\"x\"}";
        let text = format!("{{\"v\":1,{registry},{rest}}}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn requests_of_cargo_are_understood_and_unknown_ones_are_known_to_be() {
        let publish = request(
            "\"kind\":\"get\",\"operation\":\"publish\",\"name\":\"n\",\"vers\":\"1.0.0\",\"cksum\":\"ab\",\
             \"args\":[\"cargo-credential\"],\"later\":1",
        );
        assert_eq!(publish.args(), ["cargo-credential"]);
        assert!(matches!(
            publish.action,
            Action::Get(Operation::Publish { .. })
        ));
        let owners = request("\"kind\":\"get\",\"operation\":\"owners\",\"name\":\"n\"");
        assert!(matches!(owners.action, Action::Get(Operation::Owners)));
        let login = request("\"kind\":\"login\",\"token\":\"t\",\"login-url\":\"u\"");
        assert!(matches!(login.action, Action::Login));
        assert!(matches!(
            request("\"kind\":\"logout\"").action,
            Action::Logout
        ));
        assert!(matches!(
            request("\"kind\":\"dance\"").action,
            Action::Unknown
        ));
        let other = request("\"kind\":\"get\",\"operation\":\"dance\"");
        assert!(matches!(other.action, Action::Get(Operation::Unknown)));
    }

    #[test]
    fn answers_are_as_cargo_reads_them() {
        let json = |answer: &Answer| serde_json::to_string(answer).unwrap();
        assert_eq!(
            json(&Answer::token("t".to_owned())),
            "{\"Ok\":{\"kind\":\"get\",\"token\":\"t\",\"cache\":\"never\",\"operation_independent\":false}}"
        );
        assert_eq!(
            json(&Answer::refused("not-found", "why")),
            "{\"Err\":{\"kind\":\"not-found\",\"message\":\"why\"}}"
        );
    }
}
