//! The command `market`: reads the command line, does one thing, ends with its exit code.

mod access;
mod behind;
mod bind;
mod cargo_config;
mod cargo_credential;
mod completions;
mod demo;
mod deprecate;
mod doctor;
mod evidence;
mod fetch;
mod info;
mod init;
mod key;
mod log;
mod namespace;
mod output;
mod owner;
mod passphrase;
mod peers;
mod pins;
mod prepare;
mod publish;
mod recover;
mod search;
mod service;
mod sign;
mod status;
mod token;
mod trust;
mod up;
mod update;
mod use_;
mod verify;
mod versions;
mod yank;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use ggen_marketplace::assemble::Layout;
use rustix::process::{Resource, Rlimit, setrlimit};

use output::Output;
use up::Interrupts;

/// A package registry without a server.
#[derive(Debug, Parser)]
#[command(name = "market", version, max_term_width = 100)]
struct Cli {
    /// Directory with everything that this node keeps [default: the platform's data directory]
    #[arg(long, global = true, env = "MARKET_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Prints JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the keys of a home and founds its namespace
    Init(init::Args),
    /// Makes, lists, moves, unlocks and replaces keys
    #[command(subcommand)]
    Key(key::Command),
    /// Tells and changes who may publish in a namespace
    #[command(subcommand)]
    Owner(owner::Command),
    /// Takes a namespace back with its recovery key, read from standard input
    Recover(recover::Args),
    /// Runs a node until it is interrupted
    Up(up::Args),
    /// Shows the whole story with three nodes on this machine
    Demo(demo::Args),
    /// Signs packages and gives them to the swarm
    Publish(publish::Args),
    /// Finds packages by words
    Search(search::Args),
    /// Tells of a package and its versions
    Info(info::Args),
    Versions(versions::Args),
    /// Brings a package here and checks it
    Fetch(fetch::Args),
    /// Hides a version from search and from requirements
    Yank(yank::Args),
    /// Takes a yank back
    Unyank(yank::UnyankArgs),
    Update(Box<update::Args>),
    Deprecate(deprecate::Args),
    Use(use_::Args),
    Trust(trust::Args),
    Evidence(evidence::Args),
    /// Tells what cargo's configuration needs to use this node
    CargoConfig(cargo_config::Args),
    /// Signs what cargo publishes and yanks: a credential provider for its configuration
    CargoCredential(cargo_credential::Args),
    /// Makes, lists and ends tokens, with which programs publish over HTTP
    #[command(subcommand)]
    Token(token::Command),
    /// Lists the peers that the running node is connected to
    Peers,
    /// Tells how the node is doing
    Status,
    /// Checks everything on disk
    Verify,
    Doctor(doctor::Args),
    Completions(completions::Args),
}

/// A command that was given wrongly: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A command that has said itself what went wrong: exit code 1, nothing more to print.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
struct Told;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match std::env::args_os().nth(1) {
        Some(first) if first == cargo_credential::PLUGIN => match of_cargo() {
            Ok(Some(cli)) => cli,
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) => {
                Output::new(false).error(&error);
                return ExitCode::from(FAILED);
            }
        },
        _ => match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => return wrong_usage(&error),
        },
    };
    // What is in memory may be a key: no crash leaves it on a disk.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where that is not allowed, the system's own setting stands.
    setrlimit(Resource::Core, none).unwrap_or_default();
    start_log(&cli.command);
    let output = Output::new(cli.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(cli, output));
            // What still runs here only waits for a disk or a peer; what was acknowledged is durable.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the runtime")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Told>() || output::is_broken_pipe(&error) => {
            ExitCode::from(FAILED)
        }
        Err(error) => {
            output.error(&error);
            let usage = error.is::<Usage>() || up::is_usage(&error);
            ExitCode::from(if usage { USAGE } else { FAILED })
        }
    }
}

/// The command line of a credential provider: cargo tells it when it is greeted. Nothing if it asks nothing, or has
/// been told what is wrong with it.
fn of_cargo() -> anyhow::Result<Option<Cli>> {
    let output = Output::new(false);
    let Some(request) = cargo_credential::greeted(output)? else {
        return Ok(None);
    };
    let words = request.args().iter().map(String::as_str);
    let why = match Cli::try_parse_from(std::iter::once("market").chain(words)) {
        Ok(Cli {
            home,
            json,
            command: Command::CargoCredential(args),
        }) => {
            let command = Command::CargoCredential(args.with(request));
            return Ok(Some(Cli {
                home,
                json,
                command,
            }));
        }
        Ok(_) => "it is no provider".to_owned(),
        Err(error) => error.to_string(),
    };
    let advice = "cargo's configuration names a command that answers nothing: \
                  credential-provider = [\"market\", \"cargo-credential\"]";
    cargo_credential::refuse(&format!("{advice}; {why}"), output)?;
    Ok(None)
}

async fn run(cli: Cli, output: Output) -> anyhow::Result<()> {
    let layout = match &cli.home {
        Some(dir) => Layout::at(dir)?,
        None => Layout::of_platform()?,
    };
    // These two end in order when they are interrupted.
    match cli.command {
        Command::Up(args) => return up::run(args, &layout, output).await,
        Command::Demo(args) => return demo::run(args, output).await,
        _ => {}
    }
    // Taken before anything is asked: a signal that comes earlier would leave a terminal mute.
    let mut interrupts = Interrupts::new()?;
    tokio::select! {
        done = once(cli.command, &layout, output) => done,
        () = interrupts.next() => Err(anyhow::anyhow!("interrupted")),
    }
}

async fn once(command: Command, layout: &Layout, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init::run(args, layout, output).await,
        Command::Key(command) => key::run(command, layout, output).await,
        Command::Owner(command) => owner::run(command, layout, output).await,
        Command::Recover(args) => recover::run(args, layout, output).await,
        Command::Publish(args) => publish::run(args, layout, output).await,
        Command::Search(args) => search::run(args, layout, output).await,
        Command::Info(args) => info::run(args, layout, output).await,
        Command::Versions(args) => versions::run(args, layout, output).await,
        Command::Fetch(args) => fetch::run(args, layout, output).await,
        Command::Yank(args) => yank::run(args.into(), layout, output).await,
        Command::Unyank(args) => yank::run(args.into(), layout, output).await,
        Command::Update(args) => update::run(*args, layout, output).await,
        Command::Deprecate(args) => deprecate::run(args, layout, output).await,
        Command::Use(args) => use_::run(args, layout, output).await,
        Command::Trust(args) => trust::run(args, layout, output).await,
        Command::Evidence(args) => evidence::run(args, layout, output).await,
        Command::CargoConfig(args) => cargo_config::run(args, layout, output).await,
        Command::CargoCredential(args) => cargo_credential::run(args, layout, output).await,
        Command::Token(command) => token::run(command, layout, output).await,
        Command::Peers => peers::run(layout, output).await,
        Command::Status => status::run(layout, output).await,
        Command::Verify => verify::run(layout, output).await,
        Command::Doctor(args) => doctor::run(args, layout, output).await,
        Command::Completions(args) => completions::run(&args, output),
        Command::Up(_) | Command::Demo(_) => unreachable!("the caller runs these itself"),
    }
}

/// Prints what is wrong with the command line: a value out of its grammar in one line, anything else with the
/// usage.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::ValueValidation {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        Output::new(false).error(&anyhow::anyhow!("{line}"));
        return ExitCode::from(USAGE);
    }
    error.exit()
}

/// How much is logged unless the user says otherwise.
fn start_log(command: &Command) {
    // The blob store's crate calls it an error that it was closed while it waited; what really fails comes
    // back to us.
    let default = match command {
        Command::Up(_) => "error,iroh_blobs=off,ggen_marketplace=info",
        // That a node stops and others miss it is part of the story.
        Command::Demo(_) => "off",
        _ => "off,ggen_marketplace=warn",
    };
    log::start(default);
}
