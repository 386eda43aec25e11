//! The number of files that a process may open.

use crate::Outcome;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft file limit to the hard limit.
pub fn raise_file_limit() -> Outcome {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
