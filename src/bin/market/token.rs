//! `market token`: lets programs publish over HTTP, each as far as its token says.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::Client;
use ggen_marketplace::protocols::id::Label;
use ggen_marketplace::protocols::metadata::{KeyText, OwnerIdText};
use ggen_marketplace::registry::tokens::{
    DAYS_DEFAULT, Grant, NamePattern, NoTokenId, Scope, Terms, Token, TokenId, TokenRefusal,
};
use serde::Serialize;

use crate::access::Access;
use crate::output::{Output, Shown, table};
use crate::sign::identity;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a token and shows it, once
    New(New),
    /// Tells which tokens there are and what they allow
    List,
    /// Ends a token at once
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is published with a token is signed by your key, which must be unlocked in the running node: \
                  `market key unlock`.\n\n\
                  Example: market token new --scope publish-update --name 'my-app*' --label ci --output ci.token"
)]
pub(crate) struct New {
    /// What it allows: publish-new, publish-update, yank or change-owners; may be given several times
    #[arg(long, value_name = "SCOPE", required = true)]
    scope: Vec<Scope>,
    /// Package that it is for, or the beginning of names and `*`; may be given several times [default: all]
    #[arg(long, value_name = "PATTERN")]
    name: Vec<NamePattern>,
    /// After how many days it expires, at most 366
    #[arg(long, value_name = "N", default_value_t = DAYS_DEFAULT)]
    days: u32,
    /// Which key signs for it [default: the first]
    #[arg(long, value_name = "LABEL")]
    key: Option<Label>,
    /// What you call it
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// Writes it to a new file that only you can read, instead of showing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market token revoke Ab3dE6gH")]
pub(crate) struct Revoke {
    /// Which one, as `market token list` tells; or the token itself
    #[arg(value_name = "ID")]
    id: String,
}

/// A new token, and all that is known of it.
#[derive(Serialize)]
struct Made<'a> {
    /// The token, unless it is in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Path>,
    #[serde(flatten)]
    grant: &'a Grant,
}

#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    grant: Grant,
    /// `good`, `expired` or `revoked`.
    state: &'static str,
}

pub(crate) async fn run(command: Command, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let client = access.client();
    let done = match command {
        Command::New(args) => new(args, layout, client, output).await,
        Command::List => list(client, output).await,
        Command::Revoke(args) => revoke(&args, client, output).await,
    };
    access.close().await?;
    done
}

async fn new(args: New, layout: &Layout, client: &Client, output: Output) -> anyhow::Result<()> {
    let identity = identity(layout, args.key.as_ref())?;
    let terms = Terms {
        label: args.label,
        key: KeyText(identity.public),
        owner: OwnerIdText(identity.owner),
        scopes: args.scope.into_iter().collect(),
        names: args.name,
        days: args.days,
    };
    let token = Token::random();
    // Before there is a token that nobody would get to see.
    let file = args.output.as_deref();
    if let Some(path) = file {
        write(path, &token)?;
    }
    let added = client.add_token(token.fingerprint(), terms).await;
    if let (Err(_), Some(path)) = (&added, file) {
        // It is nothing without the node's word. The first failure is the one to tell.
        drop(fs::remove_file(path));
    }
    let grant = added?;
    let made = Made {
        token: file.is_none().then(|| token.reveal()),
        output: file,
        grant: &grant,
    };
    output.result(&made, told)?;
    output.note(format_args!(
        "publishing with the token needs the key `{}` unlocked, by `market key unlock`",
        identity.label
    ));
    Ok(())
}

/// Writes a token to a file that nobody else could open or prepare.
fn write(path: &Path, token: &Token) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let cannot = || {
        format!(
            "cannot write the token to {}: name a file that does not exist",
            path.display()
        )
    };
    let mut file = opened.with_context(cannot)?;
    let written = writeln!(file, "{}", token.reveal()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write the token to {}", path.display()))
}

fn told(made: &Made<'_>) -> String {
    let grant = made.grant;
    let scopes = names(&grant.scopes);
    let packages = match grant.names.is_empty() {
        true => "all packages".to_owned(),
        false => names(&grant.names),
    };
    let expires = grant.expires.format("%Y-%m-%d");
    let head = format!(
        "made the token {}: {scopes} for {packages} in {}, until {expires}\n",
        grant.id,
        grant.owner.0.short()
    );
    match (made.token, made.output) {
        (Some(token), _) => format!(
            "{head}\n    {token}\n\nit is shown only now; whoever has it can do all this: keep it as a password\n"
        ),
        (None, path) => {
            let path = path.unwrap_or(Path::new("")).display().to_string();
            format!("{head}it is in {}, and nowhere else\n", Shown::new(&path))
        }
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let now = Utc::now();
    let grants = client.tokens().await?.into_iter();
    let listed: Vec<_> = grants
        .map(|grant| Listed {
            state: match grant.ended(now) {
                None => "good",
                Some(TokenRefusal::Revoked { .. }) => "revoked",
                Some(_) => "expired",
            },
            grant,
        })
        .collect();
    output.result(&listed, |listed| match listed.is_empty() {
        true => "no tokens: `market token new` makes one\n".to_owned(),
        false => shown(listed),
    })
}

fn shown(listed: &[Listed]) -> String {
    let head = ["ID", "STATE", "EXPIRES", "USED", "ALLOWS", "FOR", "LABEL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Listed { grant, state } in listed {
        let used = grant
            .used
            .map_or_else(|| "never".to_owned(), |day| day.to_string());
        let packages = match grant.names.is_empty() {
            true => "all".to_owned(),
            false => names(&grant.names),
        };
        rows.push(vec![
            grant.id.to_string(),
            (*state).to_owned(),
            grant.expires.format("%Y-%m-%d").to_string(),
            used,
            names(&grant.scopes),
            Shown::listed(&packages).to_string(),
            Shown::listed(&grant.label).to_string(),
        ]);
    }
    table(&rows)
}

async fn revoke(args: &Revoke, client: &Client, output: Output) -> anyhow::Result<()> {
    let id = match args.id.parse::<Token>() {
        Ok(token) => token.fingerprint().id,
        // What it is instead is not quoted: it may be some other secret.
        Err(_) => args
            .id
            .parse::<TokenId>()
            .map_err(|error: NoTokenId| crate::Usage(error.to_string()))?,
    };
    let grant = client.revoke_token(id).await?;
    output.result(&grant, |grant| {
        format!(
            "revoked the token {}: it allows nothing any more\n",
            grant.id
        )
    })
}

fn names<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    all.join(",")
}
