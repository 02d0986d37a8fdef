//! `market key`: the keys of this home.

mod hold;
mod rotate;
mod transfer;

use anyhow::Context;
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::crypto::PrivateKey;
use ggen_marketplace::protocols::id::{Label, OwnerId};
use ggen_marketplace::protocols::owner::Standing;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::access::Access;
use crate::namespace::{self, Namespace};
use crate::output::{Output, owner, table};
use crate::passphrase;

pub(crate) use rotate::written_by;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a further key
    New(New),
    /// Tells which keys there are and what they may do
    List,
    /// Takes a key from a file
    Import(transfer::Import),
    /// Writes a key for elsewhere
    Export(transfer::Export),
    /// Says whose packages a key signs from now on
    Assign(Assign),
    /// Lets the running node sign with a locked key for a while
    Unlock(hold::Unlock),
    /// Makes the running node forget unlocked keys
    Lock(hold::Lock),
    /// Replaces a key by a new one; what it published stays
    Rotate(rotate::Rotate),
    /// Retires a key that was stolen, at its last good record
    Retire(rotate::Retire),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key new --label ci")]
pub(crate) struct New {
    /// What this home calls the key [default: identity]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Namespace that it is to write in [default: that of this home, or the key's own]
    #[arg(long, value_name = "OWNER")]
    owner: Option<OwnerId>,
    /// Stores the key without a passphrase
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key assign ns1… --label ci")]
pub(crate) struct Assign {
    /// Owner id of the namespace
    owner: OwnerId,
    /// Which key [default: the first]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
}

/// A key and whose packages it signs.
#[derive(Debug, Serialize)]
struct Made {
    label: String,
    public: String,
    owner: String,
    /// Whether the key is its own namespace, in which it publishes without being added.
    own: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    label: String,
    public: String,
    owner: String,
    locked: bool,
    /// For how long the running node still signs with it.
    unlocked_seconds: Option<u64>,
    role: String,
}

pub(crate) async fn run(command: Command, layout: &Layout, output: Output) -> anyhow::Result<()> {
    match command {
        Command::New(args) => new(args, layout, output).await,
        Command::Import(args) => transfer::import(args, layout, output).await,
        Command::Export(args) => transfer::export(args, layout, output).await,
        Command::Assign(args) => assign(args, layout, output),
        Command::Unlock(args) => hold::unlock(args, layout, output).await,
        Command::Lock(args) => hold::lock(args, layout, output).await,
        Command::List => {
            let access = Access::open(layout).await?;
            let listed = list(layout, access.client()).await;
            access.close().await?;
            output.result(&listed?, |listed| shown(listed))
        }
        Command::Rotate(args) => {
            let access = Access::open(layout).await?;
            let done = rotate::rotate(args, layout, access.client(), output).await;
            access.close().await?;
            output.result(&done?, rotate::rotated)
        }
        Command::Retire(args) => {
            let access = Access::open(layout).await?;
            let done = rotate::retire(args, layout, access.client(), output).await;
            access.close().await?;
            output.result(&done?, rotate::retired)
        }
    }
}

async fn new(args: New, layout: &Layout, output: Output) -> anyhow::Result<()> {
    layout.init(None)?;
    let label = args.label.unwrap_or_else(Identity::first);
    let key = PrivateKey::generate();
    let owner = match args.owner {
        Some(owner) => Some(owner),
        None => layout.identity(&Identity::first())?.map(|one| one.owner),
    };
    let what = format!("the key `{label}`");
    let free = layout.identity(&label)?.is_none();
    let passphrase = match free {
        true => passphrase::for_new_key(args.plain, &what, output).await?,
        // Adding it says why not.
        false => None,
    };
    let made = add(layout, label, owner, key, passphrase).await?;
    output.result(&made, |made| told("made", made))
}

/// Adds a key to the home; without an owner it is its own.
async fn add(
    layout: &Layout,
    label: Label,
    owner: Option<OwnerId>,
    key: PrivateKey,
    passphrase: Option<ggen_marketplace::crypto::Passphrase>,
) -> anyhow::Result<Made> {
    let own = OwnerId::of_key(layout.network()?.id(), key.public());
    let owner = owner.unwrap_or(own);
    let keys = layout.hold_keys()?;
    let adding = move || keys.add(&label, owner, &key, passphrase.as_ref());
    let identity = spawn_blocking(adding).await??;
    Ok(Made {
        label: identity.label.to_string(),
        public: identity.public.to_string(),
        owner: owner.to_string(),
        own: owner == own,
    })
}

fn told(did: &str, made: &Made) -> String {
    let means = match made.own {
        true => "it publishes as itself; `market key assign` lets it write in another namespace"
            .to_owned(),
        false => format!(
            "it can publish there once the root of that namespace has said: market owner add {} --all",
            made.public
        ),
    };
    format!(
        "{did} the key `{}`\npublic  {}\nowner   {}\n{means}\n",
        made.label, made.public, made.owner
    )
}

fn assign(args: Assign, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let before = crate::sign::identity(layout, args.label.as_ref())?;
    let keys = layout.hold_keys()?;
    let identity = Identity {
        owner: args.owner,
        ..before
    };
    keys.note(&identity)?;
    let own = OwnerId::of_key(layout.network()?.id(), identity.public);
    let made = Made {
        label: identity.label.to_string(),
        public: identity.public.to_string(),
        owner: identity.owner.to_string(),
        own: identity.owner == own,
    };
    output.result(&made, |made| told("assigned", made))
}

async fn list(layout: &Layout, client: &Client) -> anyhow::Result<Vec<Listed>> {
    let identities = layout.identities()?;
    let unlocked = client.unlocked().await?;
    let mut listed = Vec::new();
    for identity in &identities {
        let namespace = Namespace::of(layout, client, identity.owner, &identities).await;
        let namespace = namespace.with_context(|| format!("key `{}`", identity.label))?;
        let seconds = unlocked.iter().find(|one| one.key.0 == identity.public);
        listed.push(Listed {
            label: identity.label.to_string(),
            public: identity.public.to_string(),
            owner: identity.owner.to_string(),
            locked: layout.is_locked(&identity.label)?,
            unlocked_seconds: seconds.map(|one| one.seconds),
            role: match namespace.documents.standing() {
                Standing::Active(_, document) => namespace::role(document, identity.public),
                Standing::Frozen(_) => "none: the namespace is frozen".to_owned(),
                Standing::Dead(_) => "none: the namespace is dead".to_owned(),
                Standing::Unknown => "none: the namespace is not known here".to_owned(),
            },
        });
    }
    Ok(listed)
}

fn shown(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "no keys: `market init` makes the first\n".to_owned();
    }
    let rows = listed.iter().map(|one| {
        let lock = match (one.locked, one.unlocked_seconds) {
            (_, Some(seconds)) => format!("unlocked for {seconds} s"),
            (true, None) => "locked".to_owned(),
            (false, None) => "plain".to_owned(),
        };
        vec![
            one.label.clone(),
            one.public.clone(),
            owner(&one.owner),
            lock,
            one.role.clone(),
        ]
    });
    table(&rows.collect::<Vec<_>>())
}
