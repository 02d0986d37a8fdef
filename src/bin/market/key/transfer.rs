//! `market key import` and `export`: keys from and for elsewhere.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::crypto::Key;
use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::protocols::id::{Label, OwnerId};
use serde::Serialize;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::output::Output;
use crate::passphrase;
use crate::sign::identity;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key import ~/.ssh/id_ed25519 --label ssh")]
pub(crate) struct Import {
    /// PKCS#8 PEM or OpenSSH; `-` reads standard input
    file: PathBuf,
    /// What this home calls the key [default: identity]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Namespace that it writes in [default: the key's own]
    #[arg(long, value_name = "OWNER")]
    owner: Option<OwnerId>,
    /// Stores the key without a passphrase
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: market key export --public --openssh")]
pub(crate) struct Export {
    /// Which key [default: the first]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Writes the public half only
    #[arg(long)]
    public: bool,
    /// Writes the form of OpenSSH instead of PKCS#8
    #[arg(long)]
    openssh: bool,
    /// Writes the private key without a passphrase
    #[arg(long, conflicts_with = "public")]
    plain: bool,
    /// Writes a new file for you only, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Exported<'a> {
    label: String,
    public: String,
    file: Option<String>,
    /// Nothing if it went to a file.
    text: Option<&'a str>,
}

pub(crate) async fn import(args: Import, layout: &Layout, output: Output) -> anyhow::Result<()> {
    layout.init(None)?;
    let label = args.label.unwrap_or_else(Identity::first);
    let text = read(&args.file)?;
    let shown = args.file.display().to_string();
    let from = || format!("cannot take a key from {shown}");
    let what = format!("the key in {shown}");
    let was_locked = pem::is_locked(&text).with_context(from)?;
    let opened_by = match was_locked {
        true => Some(passphrase::to_open(&what, output).await?),
        false => None,
    };
    let given = opened_by.clone();
    let key = spawn_blocking(move || pem::import(&text, given.as_ref())).await?;
    let Key::Private(key) = key.with_context(from)? else {
        bail!("{shown} holds a public key: to let it publish, run `market owner add`");
    };
    let what = format!("the key `{label}`");
    let passphrase = match (args.plain, opened_by) {
        (true, _) => None,
        (false, Some(passphrase)) => Some(passphrase),
        (false, None) if layout.identity(&label)?.is_some() => None,
        (false, None) => passphrase::for_new_key(false, &what, output).await?,
    };
    let made = super::add(layout, label, args.owner, key, passphrase).await?;
    output.result(&made, |made| super::told("imported", made))
}

pub(crate) async fn export(args: Export, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let identity = identity(layout, args.label.as_ref())?;
    let what = format!("the key `{}`", identity.label);
    let (key, passphrase) = if args.public {
        (Key::Public(identity.public), None)
    } else {
        let (key, opened_by) = passphrase::open(layout, &identity, output).await?;
        let passphrase = match (args.plain, opened_by) {
            (true, _) => None,
            (false, Some(passphrase)) => Some(passphrase),
            (false, None) => Some(passphrase::for_export(&what, output).await?),
        };
        (Key::Private(key), passphrase)
    };
    let form = match (args.openssh, args.public) {
        (true, _) => Form::OpenSsh,
        (false, true) => Form::Spki,
        (false, false) => Form::Pkcs8,
    };
    let text = spawn_blocking(move || pem::export(&key, form, passphrase.as_ref())).await??;
    if let Some(path) = &args.output {
        write_new(path, text.as_bytes())?;
    }
    let file = args.output.as_ref().map(|path| path.display().to_string());
    let done = Exported {
        label: identity.label.to_string(),
        public: identity.public.to_string(),
        text: file.is_none().then_some(text.as_str()),
        file,
    };
    output.result(&done, |done| match (&done.file, done.text) {
        (Some(file), _) => {
            format!("wrote {what} to {file}\nwhoever can open that file can publish as you\n")
        }
        (None, text) => {
            let text = text.unwrap_or_default();
            format!("{}\n", text.trim_end())
        }
    })
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(pem::TEXT_BYTES_MAX + 1));
    let bound = pem::TEXT_BYTES_MAX as u64 + 1;
    let read = match path == Path::new("-") {
        true => io::stdin().lock().take(bound).read_to_string(&mut text),
        false => fs::File::open(path).and_then(|file| file.take(bound).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// Writes a new file that only this user can read.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let cannot = || format!("cannot write {}", path.display());
    let mut file = opened.with_context(cannot)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(cannot)
}
