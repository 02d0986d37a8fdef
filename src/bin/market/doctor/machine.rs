//! What the machine gives a node: room, files, the time, a way to itself, cargo.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ggen_marketplace::assemble::Layout;
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use tokio::process::Command;
use tokio::time::timeout;

use super::Check;
use crate::output::bytes;

/// Free bytes below which writing soon fails, and below which it is time to think of it.
const FREE_BYTES: [u64; 2] = [200 << 20, 2 << 30];
/// Free inodes, likewise: a blob takes up to three files.
const FREE_INODES: [u64; 2] = [1_000, 20_000];
/// Files and sockets: a node takes up to 512 connections of HTTP, 144 of peers, and its databases.
const HANDLES: [u64; 2] = [512, 1_024];
/// 2026-01-01 in seconds since 1970: this software is not older.
const BUILT: u64 = 1_767_225_600;
/// How far a clock may go back; records dated later than that after it are refused, too.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(600);
/// Where cargo and what it is built on look for a proxy of `http:` addresses.
const PROXIES: &[&str] = &[
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
];
/// The first cargo that is not vulnerable to what a registry can send it (CVE-2026-5222, CVE-2026-5223).
const CARGO_SAFE: (u64, u64) = (1, 96);
/// How long cargo may take to tell its version.
const CARGO_TIME_MAX: Duration = Duration::from_secs(10);

/// Free space and inodes where the home is, or will be.
pub(super) fn space(dir: &Path) -> Vec<Check> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    match statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            // File systems that make inodes as they need them tell zero of zero.
            let inodes = (stat.f_files > 0).then_some(stat.f_favail);
            space_of(free, inodes)
        }
        Err(error) => {
            let found = format!("{}: {error}", there.display());
            vec![Check::warning("disk", found, "look at it with: df -h")]
        }
    }
}

fn space_of(free: u64, inodes: Option<u64>) -> Vec<Check> {
    let fix = "make room, keep less (`market up --mirror-limit`), or move the home (--home)";
    let mut checks = vec![enough(
        "disk",
        free,
        FREE_BYTES,
        format!("{} free", bytes(free)),
        fix,
    )];
    if let Some(inodes) = inodes {
        let found = format!("{inodes} files can still be made");
        checks.push(enough("inodes", inodes, FREE_INODES, found, fix));
    }
    checks
}

/// Judges a number by the one below which it is a problem and the one below which it is worth a warning.
fn enough(name: &'static str, has: u64, bounds: [u64; 2], found: String, fix: &str) -> Check {
    let [problem, warning] = bounds;
    match has {
        has if has < problem => Check::problem(name, found, fix),
        has if has < warning => Check::warning(name, found, fix),
        _ => Check::ok(name, found),
    }
}

/// How many files and sockets a process may open.
pub(super) fn handles() -> Check {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let found = match limit {
        u64::MAX => "no limit".to_owned(),
        limit => format!("{limit} files and sockets at a time"),
    };
    let fix = "ulimit -n 4096, or LimitNOFILE=4096 in its systemd unit";
    enough("open files", limit, HANDLES, found, fix)
}

/// Whether the time can be right: after this software was made, and after the home was last written.
pub(super) fn clock(layout: &Layout) -> Check {
    let written = std::fs::metadata(layout.catalogue()).and_then(|file| file.modified());
    clock_of(SystemTime::now(), written.ok())
}

fn clock_of(now: SystemTime, written: Option<SystemTime>) -> Check {
    let fix = "set the clock and keep it set: timedatectl set-ntp true";
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since_1970.as_secs() < BUILT {
        let found =
            "it is before this software was made: records of others look dated in the future";
        return Check::problem("clock", found, fix);
    }
    match written.map(|written| written.duration_since(now)) {
        Some(Ok(ahead)) if ahead > CLOCK_BACK_MAX => {
            let found = format!("the home was written {} s after now", ahead.as_secs());
            Check::problem("clock", found, fix)
        }
        _ => Check::ok("clock", "plausible"),
    }
}

/// Whether cargo would ask a proxy for what is on this machine: it does even for 127.0.0.1.
pub(super) fn proxy(variable: impl Fn(&str) -> Option<String>) -> Check {
    let is_set = |name: &&&str| variable(name).is_some_and(|value| !value.is_empty());
    let Some(name) = PROXIES.iter().find(is_set) else {
        return Check::ok("proxy", "none is set");
    };
    let spared = ["no_proxy", "NO_PROXY"].iter().any(|list| {
        let list = variable(list).unwrap_or_default();
        let mut hosts = list.split([',', ' ']).map(str::trim);
        hosts.any(|host| ["*", "127.0.0.1", "127.0.0.0/8"].contains(&host))
    });
    match spared {
        true => Check::ok("proxy", format!("{name} is set, and not for 127.0.0.1")),
        false => Check::problem(
            "proxy",
            format!("{name} is set: cargo asks that proxy for 127.0.0.1, too"),
            "export no_proxy=127.0.0.1,localhost",
        ),
    }
}

/// Which cargo there is.
pub(super) async fn cargo() -> Check {
    let mut command = Command::new("cargo");
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let told = match timeout(CARGO_TIME_MAX, command.output()).await {
        Ok(Ok(output)) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Err(_)) | Err(_) => None,
    };
    cargo_of(told.as_deref())
}

fn cargo_of(told: Option<&str>) -> Check {
    let version = told.and_then(|told| told.split_whitespace().nth(1));
    let number = version.and_then(|version| {
        let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
        Some((parts.next()??, parts.next()??))
    });
    match (version, number) {
        (Some(version), Some(number)) if number >= CARGO_SAFE => {
            Check::ok("cargo", version.to_owned())
        }
        (Some(version), Some(_)) => Check::warning(
            "cargo",
            format!("{version} is open to CVE-2026-5222 and CVE-2026-5223"),
            "rustup update; until then this node helps: it redirects to no other host, and serves only archives \
             that it has checked member by member",
        ),
        _ => Check::warning(
            "cargo",
            "it is not in PATH, or does not tell its version",
            "install Rust, if you want to build packages from here",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_proxy_is_a_problem_unless_it_spares_this_machine() {
        let check = |set: &'static [(&str, &str)]| {
            let found = |name: &str| {
                set.iter()
                    .find(|one| one.0 == name)
                    .map(|one| one.1.to_owned())
            };
            proxy(found).verdict
        };
        assert_eq!(check(&[]), Verdict::Ok);
        assert_eq!(check(&[("http_proxy", "")]), Verdict::Ok);
        assert_eq!(check(&[("http_proxy", "http://p:1")]), Verdict::Problem);
        let other = &[
            ("http_proxy", "http://p:1"),
            ("no_proxy", "localhost,10.0.0.1"),
        ];
        assert_eq!(check(other), Verdict::Problem);
        for spared in [
            &[
                ("http_proxy", "http://p:1"),
                ("no_proxy", "localhost, 127.0.0.1"),
            ],
            &[("ALL_PROXY", "http://p:1"), ("NO_PROXY", "*")],
        ] {
            assert_eq!(check(spared), Verdict::Ok, "{spared:?}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_is_found() {
        let now = UNIX_EPOCH + Duration::from_secs(BUILT + 1_000_000);
        let hour = Duration::from_secs(3600);
        assert_eq!(clock_of(now, None).verdict, Verdict::Ok);
        assert_eq!(clock_of(now, Some(now - hour)).verdict, Verdict::Ok);
        assert_eq!(clock_of(now, Some(now + hour)).verdict, Verdict::Problem);
        assert_eq!(clock_of(UNIX_EPOCH + hour, None).verdict, Verdict::Problem);
    }

    #[test]
    fn the_version_of_cargo_is_judged() {
        for (told, verdict) in [
            ("cargo 1.96.0 (abc 2026-01-01)", Verdict::Ok),
            ("cargo 2.0.0", Verdict::Ok),
            ("cargo 1.95.0 (abc 2026-01-01)", Verdict::Warning),
            ("cargo", Verdict::Warning),
            ("", Verdict::Warning),
        ] {
            assert_eq!(cargo_of(Some(told)).verdict, verdict, "{told}");
        }
        assert_eq!(cargo_of(None).verdict, Verdict::Warning);
    }

    #[test]
    fn room_is_judged_by_bytes_and_by_files() {
        let verdicts = |free, inodes| -> Vec<_> {
            let checks = space_of(free, inodes).into_iter();
            checks.map(|check| check.verdict).collect()
        };
        assert_eq!(verdicts(1 << 40, None), [Verdict::Ok]);
        assert_eq!(
            verdicts(1 << 30, Some(5)),
            [Verdict::Warning, Verdict::Problem]
        );
        assert_eq!(
            verdicts(1 << 20, Some(1 << 20)),
            [Verdict::Problem, Verdict::Ok]
        );
    }
}
