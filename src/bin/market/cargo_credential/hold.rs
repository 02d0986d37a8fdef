//! The process that stays behind a publish: holds the key, waits for the node to ask, signs one record, ends.
//!
//! It is this program again, started by the provider, which ends as soon as cargo has its answer. It learns what to
//! sign from its standard input: a line of JSON, then the key's seed unless the running node signs. It says `ready`
//! on its standard output when its offer stands.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::Stdio;

use anyhow::{Context, bail};
use ggen_marketplace::assemble::{Identity, Layout};
use ggen_marketplace::control::{Client, Failure, Promise, offer_id};
use ggen_marketplace::crypto::PrivateKey;
use ggen_marketplace::protocols::id::{OwnerId, PublicKey};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::open;
use crate::output::Output;
use crate::sign::{Pen, hand_over_genesis, tell_owners};

const READY: &str = "ready\n";
/// Longest task, in bytes.
const TASK_BYTES_MAX: u64 = 4 << 10;
/// Longest error that is passed on, in bytes.
const SAID_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    id: String,
    owner: String,
    key: String,
    promise: Promise,
    /// Whether the key's seed follows.
    has_seed: bool,
}

/// Starts such a process, and returns what cargo is to send once it is ready.
pub(super) async fn begin(
    promise: Promise,
    identity: &Identity,
    layout: &Layout,
    client: &Client,
) -> anyhow::Result<String> {
    let pen = open(layout, identity, client).await?;
    hand_over_genesis(layout, &identity.label, client).await?;
    tell_owners(layout, client).await?;
    let seed = match &pen {
        Pen::Key(key) => Some(key.seed()),
        Pen::Node(_) => None,
    };
    let task = Task {
        id: offer_id(),
        owner: identity.owner.to_string(),
        key: identity.public.to_string(),
        promise,
        has_seed: seed.is_some(),
    };
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut process = Command::new(program)
        .arg("--home")
        .arg(layout.dir())
        .args(["cargo-credential", "--hold"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the process that signs")?;
    let (Some(mut input), Some(output), Some(said)) = (
        process.stdin.take(),
        process.stdout.take(),
        process.stderr.take(),
    ) else {
        bail!("the process that signs has no standard input and output");
    };
    let line = Zeroizing::new(format!("{}\n", serde_json::to_string(&task)?));
    input.write_all(line.as_bytes()).await?;
    if let Some(seed) = seed {
        input.write_all(seed.as_ref()).await?;
    }
    drop(input);
    let mut line = String::new();
    let mut output = BufReader::new(output);
    output.read_line(&mut line).await?;
    if line != READY {
        let mut why = String::new();
        let mut said = said.take(SAID_BYTES_MAX);
        said.read_to_string(&mut why).await?;
        bail!("{}", why.trim().trim_start_matches("error: "));
    }
    Ok(format!("offer.{}", task.id))
}

/// Is that process.
pub(super) async fn run(layout: &Layout, output: Output) -> anyhow::Result<()> {
    // An interruption of cargo's whole group is no reason to leave the node without an answer.
    rustix::process::setsid().unwrap_or(rustix::process::getpid());
    let (task, key) = read()?;
    let client = Client::of_running(layout.dir()).await;
    let client = client.context("the running node is gone")?;
    let (owner, public): (OwnerId, PublicKey) = (task.owner.parse()?, task.key.parse()?);
    let network = layout.network()?.id();
    let mut offered = client.offer(&task.id, owner, public).await?;
    output.raw(READY)?;
    // From now on nobody hears what goes wrong here; the node says it.
    let Ok(Some(message)) = offered.asked().await else {
        return Ok(());
    };
    let signed = match task.promise.check(network, owner, public, &message) {
        Err(failure) => Err(failure),
        Ok(draft) => match &key {
            Some(key) => Ok(key.sign(&message)),
            None => client.sign(&draft).await.map_err(|error| Failure {
                message: error.to_string(),
                choices: Vec::new(),
                stale: false,
            }),
        },
    };
    drop(key);
    offered.answer(signed).await.unwrap_or_default();
    Ok(())
}

fn read() -> anyhow::Result<(Task, Option<PrivateKey>)> {
    // Not through the buffer of standard input, which nobody clears.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut line = Vec::new();
    let task_bytes = io::Read::take(&mut input, TASK_BYTES_MAX);
    for byte in io::Read::bytes(task_bytes) {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let task: Task = serde_json::from_slice(&line).context("nothing says what to sign")?;
    if !task.has_seed {
        return Ok((task, None));
    }
    let mut seed = Zeroizing::new([0; 32]);
    io::Read::read_exact(&mut input, seed.as_mut()).context("the key is missing")?;
    let key = PrivateKey::from_seed(*seed);
    if key.public().to_string() != task.key {
        bail!("the key is not the one that was promised");
    }
    Ok((task, Some(key)))
}
