//! Runs scenarios over many seeds; on a violation prints the command that replays it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use ggen_simulations::run::run;
use ggen_simulations::scenario::Scenario;

/// Runs peers of the real protocol on a virtual clock, with faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds each scenario runs with.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only the scenario of this name.
    #[arg(long)]
    scenario: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |scenario: &Scenario| {
        arguments
            .scenario
            .as_ref()
            .is_none_or(|name| *name == scenario.name)
    };
    let scenarios: Vec<_> = Scenario::all().into_iter().filter(wanted).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = Scenario::all()
            .into_iter()
            .map(|scenario| scenario.name)
            .collect();
        eprintln!("there is no such scenario; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut violations = 0;
    for scenario in &scenarios {
        let mut worst_ms = 0;
        let (mut questions, mut bytes, mut pulled) = (0, 0, 0);
        for seed in arguments.first..arguments.first + arguments.seeds {
            match run(scenario, seed) {
                Ok(report) => {
                    worst_ms = worst_ms.max(report.converged_ms);
                    questions += report.questions;
                    bytes += report.bytes;
                    pulled += report.pulled;
                }
                Err(violation) => {
                    violations += 1;
                    let name = &scenario.name;
                    println!(
                        "cargo run -p ggen-simulations -- --scenario {name} --first {seed} --seeds 1"
                    );
                    println!("  {violation}");
                }
            }
        }
        println!(
            "{:<16} {} seeds: equal at most {worst_ms} ms after it became calm; {questions} questions, {} KiB, {pulled} records pulled",
            scenario.name,
            arguments.seeds,
            bytes / 1024,
        );
    }
    if violations > 0 {
        eprintln!("{violations} violations");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
