//! `market key rotate` and `retire`: what happens to a key that is old, or stolen.

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::crypto::PrivateKey;
use ggen_marketplace::protocols::id::{Label, OwnerId, PublicKey, RecordId};
use ggen_marketplace::protocols::owner::NamespaceDocument;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::behind::Behind;
use crate::namespace::{self, Namespace, Root, change, verified};
use crate::output::Output;
use crate::owner::{known, owner_or_own};
use crate::passphrase;
use crate::sign::{Pen, identity};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key rotate --root")]
pub(crate) struct Rotate {
    /// Which key [default: the first]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Makes the new key the root of the namespace, too
    #[arg(long)]
    root: bool,
    #[command(flatten)]
    behind: Behind,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key retire 3b6a… --after 9f41… --reason stolen")]
#[group(id = "cut", required = true, multiple = false)]
pub(crate) struct Cut {
    /// Its last good record: what it wrote afterwards has no effect
    #[arg(long, value_name = "RECORD")]
    after: Option<RecordId>,
    /// Its last record known here is good
    #[arg(long)]
    now: bool,
    /// Nothing that it ever wrote is good
    #[arg(long)]
    nothing: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Retire {
    /// Public key
    key: PublicKey,
    #[command(flatten)]
    cut: Cut,
    /// Why, for others to read
    #[arg(long, default_value = "")]
    reason: String,
    /// Owner id [default: that of this home]
    #[arg(long)]
    owner: Option<OwnerId>,
    #[command(flatten)]
    behind: Behind,
}

/// A key that was replaced.
#[derive(Debug, Serialize)]
pub(crate) struct Rotated {
    label: String,
    owner: String,
    old: String,
    new: String,
    /// The last good record of the old key; nothing if it never wrote one.
    last: Option<String>,
    /// Where the old key is kept.
    kept: Option<String>,
    /// Whether the old key is still the root.
    old_is_root: bool,
    role: String,
}

/// A key that was retired.
#[derive(Debug, Serialize)]
pub(crate) struct Retired {
    owner: String,
    key: String,
    /// Its last good record; nothing if none is.
    last: Option<String>,
    /// The record that says so; nothing if it was so before.
    record: Option<String>,
}

pub(crate) async fn rotate(
    args: Rotate,
    layout: &Layout,
    client: &Client,
    output: Output,
) -> anyhow::Result<Rotated> {
    let old = identity(layout, args.label.as_ref())?;
    let keys = layout.hold_keys()?;
    let path = layout.key_path(&old.label);
    let what = format!("the key `{}`", old.label);
    let passphrase = match layout.is_locked(&old.label)? {
        true => Some(passphrase::to_open(&what, output).await?),
        false => None,
    };
    let given = passphrase.clone();
    let key = spawn_blocking(move || PrivateKey::open(&path, given.as_ref())).await??;
    let identities = layout.identities()?;
    let namespace = Namespace::of(layout, client, old.owner, &identities).await?;
    if key.public() != old.public {
        // The successor is in its place already, and only the note of it is missing.
        let document = namespace.in_force()?;
        if namespace::role(document, key.public()) == "none" {
            bail!("{} is no key of {}", key.public(), old.owner);
        }
        let new = Identity {
            public: key.public(),
            ..old.clone()
        };
        keys.note(&new)?;
        return rotated_to(&old, &new, document, None, client).await;
    }
    // Checks what else the home has against it, such as a founding that was cut off.
    let given = passphrase.clone();
    let (place, identity) = (layout.clone(), old.clone());
    spawn_blocking(move || place.open_key(&identity, given.as_ref())).await??;
    let (label, given) = (old.label.clone(), passphrase);
    let (keys, successor) = spawn_blocking(move || {
        let successor = keys.successor(&label, given.as_ref());
        (keys, successor)
    })
    .await?;
    let successor = successor?;
    let new = Identity {
        public: successor.public(),
        ..old.clone()
    };
    let document = hand_over(
        &args,
        layout,
        client,
        &namespace,
        &identities,
        (&key, &new),
        output,
    )
    .await?;
    // Where the old key stays the root it is still needed, under a label of its own.
    let aside = match document.root == old.public {
        true => Some(root_label(&old.label)?),
        false => None,
    };
    let kept = keys.replace(&new, Some(&old), aside.as_ref())?;
    if aside.is_none()
        && client
            .unlocked()
            .await?
            .iter()
            .any(|one| one.key.0 == old.public)
    {
        client.lock(Some(old.public)).await?;
    }
    rotated_to(
        &old,
        &new,
        &document,
        kept.map(|path| path.display().to_string()),
        client,
    )
    .await
}

/// Tells the world of the new key, if it does not know it yet.
async fn hand_over(
    args: &Rotate,
    layout: &Layout,
    client: &Client,
    namespace: &Namespace,
    identities: &[Identity],
    (old, new): (&PrivateKey, &Identity),
    output: Output,
) -> anyhow::Result<NamespaceDocument> {
    let before = namespace.in_force()?;
    if namespace::role(before, new.public) != "none" {
        return Ok(before.clone());
    }
    let scopes = before
        .publishers
        .iter()
        .find(|(key, _)| *key == old.public());
    let scopes = scopes.map(|(_, scopes)| scopes.clone());
    let is_root = before.root == old.public();
    if scopes.is_none() && !is_root {
        bail!(
            "{} may not publish in {}, so there is nothing to rotate",
            old.public(),
            namespace.owner
        );
    }
    if scopes.is_none() && !args.root {
        bail!("the key is the root and publishes nothing: say --root to replace it as that");
    }
    if !args.root && is_root {
        // Refused now rather than after the world was told.
        let aside = root_label(&new.label)?;
        if layout
            .identity(&aside)?
            .is_some_and(|one| one.public != old.public())
        {
            bail!("there is a key `{aside}` already, which is where the old key would be kept");
        }
    }
    let root = match is_root {
        true => Root {
            key: old.public(),
            pen: Pen::Key(old.clone()),
        },
        false => Root::of(layout, client, namespace, identities, output).await?,
    };
    let last = client.feed_head(namespace.owner, old.public()).await?.last;
    let edit = |document: &mut NamespaceDocument| {
        if let Some(scopes) = scopes {
            document.retire(old.public(), last);
            document.let_publish(new.public, scopes);
        }
        if args.root {
            document.root = new.public;
        }
        Ok(())
    };
    let guard = args.behind.guard(client, output);
    let (_, document) = change(&guard, namespace, &root, "rotated", edit).await?;
    Ok(document)
}

/// What a key is called that stays the root while another one publishes.
fn root_label(label: &Label) -> anyhow::Result<Label> {
    let aside = format!("{label}-root");
    let parsed = aside.parse();
    parsed.with_context(|| {
        format!("the old key stays the root and would be kept as `{aside}`: say --root")
    })
}

async fn rotated_to(
    old: &Identity,
    new: &Identity,
    document: &NamespaceDocument,
    kept: Option<String>,
    client: &Client,
) -> anyhow::Result<Rotated> {
    let last = client.feed_head(old.owner, old.public).await?.last;
    Ok(Rotated {
        label: new.label.to_string(),
        owner: new.owner.to_string(),
        old: old.public.to_string(),
        new: new.public.to_string(),
        last: last.map(|id| id.to_string()),
        kept,
        old_is_root: document.root == old.public,
        role: namespace::role(document, new.public),
    })
}

pub(crate) fn rotated(done: &Rotated) -> String {
    let stays = match &done.last {
        Some(last) => format!("what it published up to record {last} stays good"),
        None => "it never published anything".to_owned(),
    };
    let kept = done.kept.as_deref().unwrap_or("its file");
    let advice = match done.old_is_root {
        true => format!(
            "it is still the root: move {kept} off this machine, and bring it back to change who may publish"
        ),
        false => format!(
            "others know the new key from when they have this change; \
             whoever has the old one can still freeze the namespace if it was the root: destroy {kept} and its copies"
        ),
    };
    format!(
        "rotated the key `{}` of {}\nold     {}\nnew     {}  {}\n{stays}\n{advice}\n",
        done.label, done.owner, done.old, done.new, done.role
    )
}

pub(crate) async fn retire(
    args: Retire,
    layout: &Layout,
    client: &Client,
    output: Output,
) -> anyhow::Result<Retired> {
    let owner = owner_or_own(args.owner, layout)?;
    let identities = layout.identities()?;
    let namespace = Namespace::of(layout, client, owner, &identities).await?;
    known(&namespace, args.key)?;
    if namespace.in_force()?.root == args.key {
        bail!(
            "{} is the root of {owner}: replace it with `market key rotate --root`, \
             or if somebody else has it with `market recover`",
            args.key
        );
    }
    let last = match args.cut.after {
        Some(record) => Some(written_by(client, &namespace, args.key, record).await?),
        None if args.cut.now => client.feed_head(owner, args.key).await?.last,
        None => None,
    };
    let root = Root::of(layout, client, &namespace, &identities, output).await?;
    let edit = |document: &mut NamespaceDocument| {
        // Records that were called good before may be the thief's, too.
        document.forget(args.key);
        document.retire(args.key, last);
        Ok(())
    };
    let guard = args.behind.guard(client, output);
    let (record, _) = change(&guard, &namespace, &root, &args.reason, edit).await?;
    Ok(Retired {
        owner: owner.to_string(),
        key: args.key.to_string(),
        last: last.map(|id| id.to_string()),
        record,
    })
}

pub(crate) fn retired(done: &Retired) -> String {
    let means = match &done.last {
        Some(last) => format!(
            "good up to record {last}; nothing that it wrote or writes beside that has an effect"
        ),
        None => "nothing that it ever wrote has an effect".to_owned(),
    };
    let when = "for every node that has this change; packages that were fetched before stay where they are";
    let did = match done.record {
        Some(_) => "retired",
        None => "unchanged",
    };
    format!("{did}  {} of {}\n{means}, {when}\n", done.key, done.owner)
}

/// A record that is known here and that `key` wrote in the namespace.
pub(crate) async fn written_by(
    client: &Client,
    namespace: &Namespace,
    key: PublicKey,
    record: RecordId,
) -> anyhow::Result<RecordId> {
    let envelope = client.record(record).await?;
    let envelope = envelope.with_context(|| {
        format!("record {record} is not known here: connect to a node that has it, or check the id")
    })?;
    let found = verified(envelope, namespace.network)?;
    if found.key() != key || found.content().owner != Some(namespace.owner) {
        bail!("record {record} is not one of {key} in {}", namespace.owner);
    }
    Ok(record)
}
