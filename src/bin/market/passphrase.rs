//! Passphrases: read from the file that `MARKET_PASSPHRASE_FILE` names, or asked on the terminal without showing
//! them.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::crypto::{Passphrase, PrivateKey};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::output::Output;

/// Names a file whose first line is the passphrase, guarded like a key.
const FILE: &str = "MARKET_PASSPHRASE_FILE";
/// Longest line that is read from a terminal, in bytes: a terminal gives no longer one.
const LINE_BYTES_MAX: usize = 4096;

/// What a new key is to be locked with; nothing for a plain one.
pub(crate) async fn for_new_key(
    plain: bool,
    what: &str,
    output: Output,
) -> anyhow::Result<Option<Passphrase>> {
    if plain {
        return Ok(None);
    }
    if let Some(passphrase) = from_file()? {
        return Ok(Some(passphrase));
    }
    if !is_terminal() {
        output.note(format_args!(
            "warning: {what} is stored without a passphrase: to lock it, run this on a terminal or set {FILE}"
        ));
        return Ok(None);
    }
    chosen(what, output).await.map(Some)
}

/// What a key that leaves this home is to be locked with.
pub(crate) async fn for_export(what: &str, output: Output) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = from_file()? {
        return Ok(passphrase);
    }
    if !is_terminal() {
        bail!(
            "{what} would be written without a passphrase: set {FILE}, or say --plain to mean it"
        );
    }
    chosen(what, output).await
}

/// What opens a locked key.
pub(crate) async fn to_open(what: &str, output: Output) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = from_file()? {
        return Ok(passphrase);
    }
    if !is_terminal() {
        bail!(
            "{what} is locked: unlock it in the running node with `market key unlock`, \
             set {FILE}, or run this on a terminal"
        );
    }
    let prompt = format!("passphrase of {what}: ");
    let text = ask(&prompt, Terminal::standard(output)?).await?;
    Ok(Passphrase::new(text)?)
}

/// Opens an identity key for a program that uses standard input and output itself.
pub(crate) async fn open_for_program(
    layout: &Layout,
    identity: &Identity,
) -> anyhow::Result<PrivateKey> {
    if !layout.is_locked(&identity.label)? {
        return Ok(layout.open_key(identity, None)?);
    }
    let passphrase = match from_file()? {
        Some(passphrase) => passphrase,
        None => {
            let Ok(terminal) = Terminal::controlling() else {
                bail!(
                    "the key `{}` is locked: unlock it in the running node with `market key unlock`, \
                     set {FILE}, or run this on a terminal",
                    identity.label
                );
            };
            let prompt = format!("passphrase of the key `{}`: ", identity.label);
            Passphrase::new(ask(&prompt, terminal).await?)?
        }
    };
    let (layout, identity) = (layout.clone(), identity.clone());
    Ok(spawn_blocking(move || layout.open_key(&identity, Some(&passphrase))).await??)
}

/// Opens an identity key, with its passphrase if it has one; returns that, too.
pub(crate) async fn open(
    layout: &Layout,
    identity: &Identity,
    output: Output,
) -> anyhow::Result<(PrivateKey, Option<Passphrase>)> {
    if !layout.is_locked(&identity.label)? {
        return Ok((layout.open_key(identity, None)?, None));
    }
    let what = format!("the key `{}`", identity.label);
    let passphrase = to_open(&what, output).await?;
    let (layout, identity, given) = (layout.clone(), identity.clone(), passphrase.clone());
    // Deriving the key from the passphrase takes a good part of a second.
    let opened = spawn_blocking(move || layout.open_key(&identity, Some(&given))).await?;
    Ok((opened?, Some(passphrase)))
}

#[allow(clippy::disallowed_methods)] // The command itself reads its environment.
fn from_file() -> anyhow::Result<Option<Passphrase>> {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else {
        return Ok(None);
    };
    let read = Passphrase::read_file(&path);
    Ok(Some(read.with_context(|| format!("cannot use {FILE}"))?))
}

/// Whether somebody is there to ask.
fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

async fn chosen(what: &str, output: Output) -> anyhow::Result<Passphrase> {
    let prompt = format!("passphrase for {what}: ");
    let first = ask(&prompt, Terminal::standard(output)?).await?;
    if first.is_empty() {
        bail!("the passphrase is empty: say --plain to store the key without one");
    }
    let passphrase = Passphrase::new(first.clone())?;
    let second = ask("the same again: ", Terminal::standard(output)?).await?;
    if first != second {
        bail!("the two passphrases differ: nothing was made; run this again");
    }
    Ok(passphrase)
}

/// Where somebody is asked.
struct Terminal {
    input: OwnedFd,
    /// Where to show the question; nothing for the input itself.
    output: Option<Output>,
}

impl Terminal {
    /// Standard input and standard error.
    fn standard(output: Output) -> io::Result<Self> {
        Ok(Self {
            input: io::stdin().as_fd().try_clone_to_owned()?,
            output: Some(output),
        })
    }

    /// The one that the process was started on, wherever its standard input leads.
    fn controlling() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        Ok(Self {
            input: terminal.into(),
            output: None,
        })
    }

    fn show(&self, text: &str) -> io::Result<()> {
        match self.output {
            Some(output) => output.prompt(text),
            None => {
                rustix::io::write(&self.input, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Asks for a line that is not shown.
async fn ask(prompt: &str, terminal: Terminal) -> anyhow::Result<Zeroizing<String>> {
    end_in_order()?;
    // Dropped with this future, so that an interruption does not leave the terminal mute.
    let quiet = Quiet::begin(terminal.input.try_clone()?).context("cannot hide what is typed")?;
    terminal.show(prompt)?;
    let input = terminal.input.try_clone()?;
    let line = spawn_blocking(move || read_line(&input)).await?;
    drop(quiet);
    terminal.show("\n")?;
    line.context("cannot read the passphrase")
}

/// Has what else a terminal, or its going away, may end a process by end this one as an interruption does. From the
/// first question on only: a command that asks nothing is left as its user started it, with `nohup` for example.
fn end_in_order() -> anyhow::Result<()> {
    static LISTENS: AtomicBool = AtomicBool::new(false);
    if LISTENS.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let cannot = "cannot listen for signals";
    let mut hangup = signal(SignalKind::hangup()).context(cannot)?;
    let mut quit = signal(SignalKind::quit()).context(cannot)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
        // Every command listens for this one.
        kill_process(getpid(), Signal::TERM)
    });
    Ok(())
}

/// Reads a line without going through a buffer that nobody clears.
fn read_line(input: &OwnedFd) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
    let mut piece = Zeroizing::new([0u8; LINE_BYTES_MAX]);
    while line.last() != Some(&b'\n') {
        let read = rustix::io::read(input, piece.as_mut_slice())?;
        if read == 0 {
            break;
        }
        if line.len() + read > LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the line is too long",
            ));
        }
        line.extend_from_slice(&piece[..read]);
    }
    let text = std::str::from_utf8(&line);
    let text = text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    Ok(Zeroizing::new(text.to_owned()))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(OwnedFd, Termios);

impl Quiet {
    fn begin(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self(terminal, before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal may be gone.
        tcsetattr(&self.0, OptionalActions::Now, &self.1).unwrap_or_default();
    }
}
