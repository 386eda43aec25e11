//! The usual metrics of a process, from the kernel.

use super::table::Table;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sets the start time to now.
pub(crate) fn begin(table: &Table) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    table.process_start.set(now.as_secs() as i64);
}

/// Updates all of them. A value that cannot be read stays the same.
pub(crate) fn update(table: &Table) {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let used = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    table.process_cpu.inc_by((used - table.process_cpu.get()).max(0.0));
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        table.process_max_fds.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    if let Some(open) = open_files() {
        table.process_fds.set(open);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Some(Ok(value)) = value.split_whitespace().next().map(str::parse::<i64>) else {
            continue;
        };
        match name {
            "VmRSS" => table.process_resident.set(value << 10),
            "VmSize" => table.process_virtual.set(value << 10),
            "Threads" => table.process_threads.set(value),
            _ => {}
        }
    }
}

/// Number of open files. Linux 6.2 and later provide it; on older kernels it is counted.
fn open_files() -> Option<i64> {
    const FILES: &str = "/proc/self/fd";
    let count = match fs::metadata(FILES).ok()?.len() {
        0 => fs::read_dir(FILES).ok()?.count() as u64,
        count => count,
    };
    i64::try_from(count).ok()
}
