//! Limits on the open files of processes.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::fs;

/// Raises the limit of this process to `needed`, if it is lower. Replicas started afterwards inherit it.
pub fn allow_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), ..limit };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| panic!("`ulimit -Hn` must allow {needed} files: {error}"));
    }
}

/// Number of files that a replica has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Limits a replica to the files that it has open, and returns their number.
pub fn allow_no_more(pid: u32) -> usize {
    let open = open_files(pid);
    allow(pid, Some(open as u64));
    open
}

/// Restores the limit of a replica, which raises its limit to the inherited maximum at its start.
pub fn allow_again(pid: u32) {
    allow(pid, getrlimit(Resource::Nofile).maximum);
}

/// Limits the open files of a replica. Files that it has open stay open.
pub fn allow(pid: u32, files: Option<u64>) {
    let limit = Rlimit { current: files, ..getrlimit(Resource::Nofile) };
    prlimit(Pid::from_raw(pid as i32), Resource::Nofile, limit).expect("it is ours");
}
