//! `market recover`: takes a namespace back with its recovery key, from whoever has its other keys.

mod writers;

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::{Context, bail};
use bytes::Bytes;
use ggen_marketplace::assemble::{HomeError, Identity, Keys, Layout};
use ggen_marketplace::control::Client;
use ggen_marketplace::crypto::{Key, Passphrase, PrivateKey, pem};
use ggen_marketplace::protocols::id::{Label, OwnerId};
use ggen_marketplace::protocols::owner::{Mark, NamespaceDocument, SCOPE_ALL, commitment};
use ggen_marketplace::protocols::record::Body;
use serde::Serialize;
use serde_bytes::ByteArray;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::behind::{Guard, Risk};
use crate::init::{how_to_keep, text_of};
use crate::namespace::{Namespace, verified};
use crate::output::Output;
use crate::passphrase;
use crate::sign::tell_owners;
use writers::Choice;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market recover --owner ns1… --keep-all < recovery.txt")]
pub(crate) struct Args {
    /// Owner id [default: that of this home]
    #[arg(long)]
    owner: Option<OwnerId>,
    /// What this home calls the new key [default: identity]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Stores the new key without a passphrase
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    choice: Choice,
    /// Why, for others to read
    #[arg(long, default_value = "recovered")]
    reason: String,
    /// Signs even if this node has not caught up with others: if another of your machines recovered the namespace
    /// meanwhile, it is dead for good
    #[arg(long)]
    even_if_behind: bool,
}

#[derive(Serialize)]
struct Recovered<'a> {
    owner: String,
    label: String,
    public: String,
    /// Each old key, with its last good record.
    kept: Vec<(String, String)>,
    /// The next recovery key, the only time that it is told; nothing if an earlier run told it.
    recovery: Option<&'a str>,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let text = spawn_blocking(move || read(output)).await??;
    let key = pem::import(&text, None).context("what was read is no recovery key")?;
    let Key::Private(recovery) = key else {
        bail!("what was read is a public key: the recovery key is the private one");
    };
    layout.init(None)?;
    let access = Access::open(layout).await?;
    let mut done = recover(args, layout, access.client(), recovery, output).await;
    if done.is_ok() {
        done = tell_owners(layout, access.client()).await;
    }
    access.close().await?;
    done
}

/// Reads a key from standard input, up to its last line.
fn read(output: Output) -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        output.note("paste the recovery key, up to and with its last line:");
    }
    let mut text = Zeroizing::new(String::with_capacity(pem::TEXT_BYTES_MAX + 1));
    let mut bounded = stdin.take(pem::TEXT_BYTES_MAX as u64 + 1);
    while bounded
        .read_line(&mut text)
        .context("cannot read the recovery key")?
        > 0
    {
        let last = text.trim_end().lines().next_back();
        if last.is_some_and(|line| line.starts_with("-----END ")) {
            break;
        }
    }
    Ok(text)
}

async fn recover(
    args: Args,
    layout: &Layout,
    client: &Client,
    recovery: PrivateKey,
    output: Output,
) -> anyhow::Result<()> {
    let label = args.label.clone().unwrap_or_else(Identity::first);
    let keys = layout.hold_keys()?;
    let old = layout.identity(&label)?;
    let owner = args.owner.or(old.as_ref().map(|old| old.owner));
    let owner = owner.context("it is not clear which namespace is meant: say --owner ns1…")?;
    if old.as_ref().is_some_and(|old| old.owner != owner) {
        let taken = HomeError::LabelTaken { label };
        return Err(anyhow::Error::new(taken).context("it writes in another namespace"));
    }
    let identities = layout.identities()?;
    if let Some(envelope) = keys.promised(&label)? {
        let namespace = Namespace::of(layout, client, owner, &identities).await?;
        return finish(envelope, &keys, label, old, &namespace, client, output).await;
    }
    let guard = Guard {
        client,
        output,
        even_if_behind: args.even_if_behind,
    };
    guard.pass(Risk::Dead).await?;
    let namespace = Namespace::of(layout, client, owner, &identities).await?;
    let before = place(&namespace, &recovery)?;
    let retired = args.choice.retired(client, &namespace, output).await?;
    let what = format!("the key `{label}`");
    let passphrase = passphrase::for_new_key(args.plain, &what, output).await?;
    let (keys, new) = successor(keys, &label, passphrase).await?;
    let next = PrivateKey::generate();
    let document = NamespaceDocument {
        root: new.public(),
        recovery: Some(ByteArray::new(commitment(next.public()))),
        publishers: vec![(new.public(), vec![SCOPE_ALL.to_owned()])],
        retired,
        mark: Mark::Reason(args.reason),
        ..before.clone()
    };
    let record = namespace
        .documents
        .continued(recovery.public(), document.clone());
    let record = record.map_err(anyhow::Error::msg)?;
    let draft = record.draft(namespace.network, recovery.public());
    let envelope = recovery.seal(draft.context("no record can say that")?);
    namespace.confirm(client).await?;
    // Told before it counts: a namespace whose recovery key nobody saw could not be recovered again.
    tell(&document, owner, &label, Some(&next), output)?;
    keys.promise(&label, &envelope)?;
    take(envelope, &keys, label, old, owner, &document, client).await
}

/// The document that the recovery key continues.
fn place<'a>(
    namespace: &'a Namespace,
    recovery: &PrivateKey,
) -> anyhow::Result<&'a NamespaceDocument> {
    let owner = namespace.owner;
    if namespace.documents.is_empty() {
        bail!(
            "nothing is known here of {owner}: run `market up --bootstrap ADDR` on this home until it has met a node that has it"
        );
    }
    let committed = Some(ByteArray::new(commitment(recovery.public())));
    let found = namespace.documents.next(recovery.public());
    if let Ok((at, _)) = found
        && let Some(before) = namespace.documents.get(&at)
        && before.recovery == committed
    {
        return Ok(before);
    }
    if namespace
        .all()
        .any(|document| document.recovery == committed)
    {
        bail!(
            "this recovery key of {owner} was used already, and another one was told then: to use it again would kill the namespace"
        );
    }
    bail!("this is not the recovery key of {owner}, as far as is known here");
}

/// A new key, kept from now on. One that an earlier attempt left is not used: who knows who has read it.
async fn successor(
    keys: Keys,
    label: &Label,
    passphrase: Option<Passphrase>,
) -> anyhow::Result<(Keys, PrivateKey)> {
    keys.discard_successor(label)?;
    let label = label.clone();
    let making = move || {
        let key = keys.successor(&label, passphrase.as_ref());
        (keys, key)
    };
    let (keys, key) = spawn_blocking(making).await?;
    Ok((keys, key?))
}

/// Goes on where an earlier run was cut off, with the record that it signed.
async fn finish(
    envelope: Bytes,
    keys: &Keys,
    label: Label,
    old: Option<Identity>,
    namespace: &Namespace,
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let record = verified(envelope.clone(), namespace.network)?;
    let Body::Acl(document) = &record.content().body else {
        bail!("what an earlier run kept is no recovery record");
    };
    if record.content().owner != Some(namespace.owner) {
        bail!(
            "an earlier run is to be finished first, for another namespace: name it with --owner"
        );
    }
    let owner = namespace.owner;
    take(envelope, keys, label.clone(), old, owner, document, client).await?;
    tell(document, owner, &label, None, output)
}

/// Hands the record over, then puts the new key in its place.
async fn take(
    envelope: Bytes,
    keys: &Keys,
    label: Label,
    old: Option<Identity>,
    owner: OwnerId,
    document: &NamespaceDocument,
    client: &Client,
) -> anyhow::Result<()> {
    client.submit(&envelope).await?;
    let new = Identity {
        label: label.clone(),
        public: document.root,
        owner,
    };
    if keys.has_successor(&label) {
        keys.replace(&new, old.as_ref(), None)?;
    } else {
        keys.note(&new)?;
    }
    Ok(keys.kept_promise(&label)?)
}

fn tell(
    document: &NamespaceDocument,
    owner: OwnerId,
    label: &Label,
    next: Option<&PrivateKey>,
    output: Output,
) -> anyhow::Result<()> {
    let text = next.map(text_of).transpose()?;
    let kept = document.retired.iter();
    let done = Recovered {
        owner: owner.to_string(),
        label: label.to_string(),
        public: document.root.to_string(),
        kept: kept
            .map(|(key, last)| (key.to_string(), last.to_string()))
            .collect(),
        recovery: text.as_ref().map(|text| text.as_str()),
    };
    output.result(&done, |done| {
        let kept = match done.kept.len() {
            0 => "nothing that old keys wrote has an effect any more".to_owned(),
            _ => {
                let lines = done.kept.iter();
                let lines = lines.map(|(key, last)| format!("kept    {key}  up to {last}"));
                lines.collect::<Vec<_>>().join("\n")
            }
        };
        format!(
            "recovered {}\nroot    {}  as `{}`\n{kept}\n\
             every node that has this change follows the new key, whatever the old ones sign; \
             the recovery key that was read is used up\n{}",
            done.owner,
            done.public,
            done.label,
            match done.recovery {
                Some(next) => how_to_keep(next),
                None => "an earlier run told the next recovery key\n".to_owned(),
            }
        )
    })
}
