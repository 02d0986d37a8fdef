//! `market doctor`: looks at everything that this node needs, and says how to mend what is wrong.

mod home;
mod machine;
mod node;

use std::net::SocketAddr;

use ggen_marketplace::assemble::Layout;
use serde::Serialize;

use crate::Told;
use crate::access::Access;
use crate::output::{Output, Shown, table};

#[derive(Debug, clap::Args)]
#[command(
    about = "Looks for what is wrong, and says how to mend it",
    after_help = "Ends with 0 if nothing is wrong and with 1 if something is; warnings are not wrong.\n\
                  Example: market doctor --json"
)]
pub(crate) struct Args {
    /// Where a node would answer HTTP, while none runs that says so itself
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7878")]
    http: SocketAddr,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it; nothing where nothing is to be done.
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warning,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn problem(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(name, found, fix)
        }
    }
}

/// What all the checks gave.
#[derive(Debug, Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    checks: Vec<Check>,
}

impl Report {
    fn of(checks: Vec<Check>) -> Self {
        let count = |verdict| checks.iter().filter(|one| one.verdict == verdict).count();
        Self {
            problems: count(Verdict::Problem),
            warnings: count(Verdict::Warning),
            checks,
        }
    }
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let mut checks = home::files(layout);
    checks.extend(machine::space(layout.dir()));
    checks.push(machine::handles());
    checks.push(machine::clock(layout));
    checks.push(machine::proxy(variable));
    checks.push(machine::cargo().await);
    if layout.is_home() {
        match Access::open(layout).await {
            Ok(access) => {
                let runs = matches!(access, Access::Running(_));
                let seen = node::look(&access, layout, &args, runs).await;
                access.close().await?;
                checks.extend(seen);
            }
            Err(error) => checks.push(Check::problem(
                "node",
                format!("{error:#}"),
                "do what it says; `market verify` checks everything on disk",
            )),
        }
    } else {
        checks.push(node::port_without_node(args.http).await);
    }
    let report = Report::of(checks);
    output.result(&report, shown)?;
    match report.problems {
        0 => Ok(()),
        _ => Err(Told.into()),
    }
}

/// A variable of the environment; nothing if it is not set, or no text.
#[allow(clippy::disallowed_methods)] // This is the command.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn shown(report: &Report) -> String {
    let mut rows = Vec::new();
    for check in &report.checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        let found = Shown::whole(&check.found).to_string();
        rows.push(vec![mark.to_owned(), check.name.to_owned(), found]);
        if let Some(fix) = &check.fix {
            let fix = format!("-> {}", Shown::whole(fix));
            rows.push(vec![String::new(), String::new(), fix]);
        }
    }
    let sum = match (report.problems, report.warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        (problems, warnings) => format!("{problems} problems, {warnings} warnings"),
    };
    format!("{}{sum}\n", table(&rows))
}
