//! `market init`: makes the keys of a home and founds its namespace.

use ggen_marketplace::assemble::home::NetworkName;
use ggen_marketplace::assemble::{Founded, Founding, Identity, Init, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{Key, PrivateKey};
use ggen_marketplace::protocols::id::Label;
use serde::Serialize;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::output::Output;
use crate::passphrase;
use crate::sign::{hand_over_genesis, tell_owners};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market init --label acme > recovery.txt")]
pub(crate) struct Args {
    /// Swarm that the home belongs to [default: main]
    #[arg(long, value_name = "NAME")]
    network: Option<NetworkName>,
    /// What the namespace is called
    #[arg(long, value_name = "LABEL", conflicts_with = "no_recovery")]
    label: Option<Label>,
    /// Makes no recovery key: a lost or stolen key can then never be replaced
    #[arg(long)]
    no_recovery: bool,
    /// Stores the key without a passphrase
    #[arg(long)]
    plain: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    home: String,
    network: String,
    owner: String,
    public: String,
    peer: String,
    made: Vec<String>,
    /// The only time that it is told.
    recovery: Option<&'a str>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let init = layout.init(args.network.as_ref())?;
    let founded = found(args, layout, output).await?;
    let recovery = founded.recovery.as_ref().map(text_of).transpose()?;
    let made = Made {
        home: layout.dir().display().to_string(),
        network: layout.network()?.to_string(),
        owner: founded.identity.owner.to_string(),
        public: founded.identity.public.to_string(),
        peer: init.peer.to_string(),
        made: init
            .made
            .iter()
            .chain(&founded.made)
            .map(|path| path.display().to_string())
            .collect(),
        recovery: recovery.as_ref().map(|text| text.as_str()),
    };
    let keep = layout.key_path(&Identity::first());
    output.result(&made, |made| {
        let did = match (made.made.is_empty(), made.recovery) {
            (true, None) => "everything was there already, nothing was changed".to_owned(),
            (true, Some(_)) => "finished what an earlier run began".to_owned(),
            (false, _) => format!("made {}", made.made.join(", ")),
        };
        format!(
            "home     {}\nnetwork  {}\nowner    {}\npeer     {}\n{did}\n{}\
             next: `market up` runs the node; keep a copy of {}, it publishes as you\n",
            made.home,
            made.network,
            made.owner,
            made.peer,
            made.recovery.map(how_to_keep).unwrap_or_default(),
            keep.display(),
        )
    })?;
    // Only now: a namespace whose recovery key nobody saw could not be recovered.
    let label = founded.identity.label.clone();
    founded.finish()?;
    if layout.genesis(&label)?.is_none() {
        return Ok(());
    }
    let access = Access::open(layout).await?;
    let done = hand_over(layout, &label, access.client()).await;
    access.close().await?;
    done
}

async fn hand_over(layout: &Layout, label: &Label, client: &Client) -> anyhow::Result<()> {
    hand_over_genesis(layout, label, client).await?;
    tell_owners(layout, client).await
}

async fn found(args: Args, layout: &Layout, output: Output) -> anyhow::Result<Founded> {
    let first = Identity::first();
    let what = format!("the key `{first}`");
    let passphrase = if !layout.is_to_be_founded() {
        None
    } else if !layout.key_path(&first).exists() {
        passphrase::for_new_key(args.plain, &what, output).await?
    } else if layout.is_locked(&first)? {
        Some(passphrase::to_open(&what, output).await?)
    } else {
        None
    };
    let founding = match args.no_recovery {
        true => Founding::Bare,
        false => Founding::Recoverable { label: args.label },
    };
    let layout = layout.clone();
    Ok(spawn_blocking(move || layout.found(&founding, passphrase.as_ref())).await??)
}

/// A recovery key as it is handed out.
pub(crate) fn text_of(key: &PrivateKey) -> anyhow::Result<Zeroizing<String>> {
    Ok(pem::export(&Key::Private(key.clone()), Form::Pkcs8, None)?)
}

/// A recovery key and what to do with it.
pub(crate) fn how_to_keep(recovery: &str) -> String {
    format!(
        "\nThis is the recovery key. It is told once and kept nowhere:\n\n{recovery}\n\
         Write it down or put it into a password manager, and keep it off this machine.\n\
         Whoever has it can take the namespace over; without it a lost or stolen key cannot be replaced.\n\n"
    )
}

/// Says which key was made on the way to something else.
pub(crate) fn tell(init: &Init, output: Output) {
    if let Some(path) = &init.made {
        output.note(format_args!("made the key {}", path.display()));
    }
}
