//! How many files this process and its children may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to `needed`, if it is lower. Replicas that are started afterwards inherit it.
pub fn allow_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), ..limit };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| panic!("`ulimit -Hn` must allow {needed} files: {error}"));
    }
}
