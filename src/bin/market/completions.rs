//! `market completions`: what a shell needs to complete this command's words.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::Cli;
use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(
    about = "Prints what a shell needs to complete the words of this command",
    after_help = "Example: market completions bash > ~/.local/share/bash-completion/completions/market"
)]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "market", &mut script);
    output.raw(&String::from_utf8(script)?)
}
