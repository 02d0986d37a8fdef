//! What the system tells of this process. Names as Prometheus' own libraries give them.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::gauge;
use crate::metrics::Family;

/// Memory, open files and age; what this system does not tell is left out.
pub(super) fn families(uptime: Duration) -> Vec<Family> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let started = since_1970.map(|now| now.saturating_sub(uptime).as_secs_f64());
    let limit = getrlimit(Resource::Nofile).current;
    let found = [
        (
            "process_resident_memory_bytes",
            "Memory in use.",
            resident_bytes(),
        ),
        ("process_open_fds", "Open files and sockets.", open_files()),
        (
            "process_max_fds",
            "How many files and sockets may be open.",
            limit.map(|limit| limit as f64),
        ),
        (
            "process_start_time_seconds",
            "When the node started, in seconds since 1970.",
            started.ok(),
        ),
        (
            "market_uptime_seconds",
            "How long the node has been running.",
            Some(uptime.as_secs_f64()),
        ),
    ];
    let known = found.into_iter();
    known
        .filter_map(|(name, help, value)| Some(gauge(name, help, value?)))
        .collect()
}

fn resident_bytes() -> Option<f64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS:` of proc_pid_status(5), in kibibytes there.
fn resident(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn open_files() -> Option<f64> {
    // The one that lists them is not counted.
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(open.saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_system_tells() {
        let status = "Name:\tmarket\nVmHWM:\t   99 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(resident(status), Some(12288.0));
        assert_eq!(resident("Name:\tmarket\n"), None);
    }
}
