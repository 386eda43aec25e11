//! The command line: `cargo test --test chaos -- [all | NAME...] [seed=N] [random=N] [write=FILE] [--list]`.

use crate::faults::Fault;
use std::path::PathBuf;

/// Number of random faults in a complete run.
const RANDOM_FAULTS: usize = 12;

/// Name under which test runners such as nextest see the selected faults, as one test.
pub const TEST: &str = "selected_faults";

/// The tests that a test runner asks to have listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestList {
    All,
    Ignored,
}

#[derive(Debug)]
pub struct Arguments {
    /// Run all faults.
    all: bool,
    /// Parts of the names of the faults to run. Without names and without `all`, the selected faults run.
    names: Vec<String>,
    /// Seed of all random choices.
    pub seed: u64,
    /// Number of random faults that follow.
    pub random: usize,
    /// Document whose tables are replaced.
    pub write: Option<PathBuf>,
    /// List the faults and exit.
    pub list: bool,
    /// List the tests and exit, for test runners that start one process for each test.
    pub list_tests: Option<TestList>,
}

impl Arguments {
    /// Parses the arguments.
    ///
    /// # Errors
    /// An argument is invalid.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            all: false,
            names: Vec::new(),
            seed: fastrand::u64(..1 << 32),
            random: 0,
            write: None,
            list: false,
            list_tests: None,
        };
        let mut random = None;
        let arguments: Vec<_> = arguments.collect();
        let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
        if has("--list") && has("--format") {
            parsed.list_tests =
                Some(if has("--ignored") { TestList::Ignored } else { TestList::All });
            return Ok(parsed);
        }
        for argument in arguments {
            let number = |_| format!("{argument}: expected a number");
            match argument.split_once('=') {
                Some(("seed", value)) => parsed.seed = value.parse().map_err(number)?,
                Some(("random", value)) => random = Some(value.parse().map_err(number)?),
                Some(("write", value)) => parsed.write = Some(value.into()),
                _ if argument == "all" => parsed.all = true,
                _ if argument == "--list" => parsed.list = true,
                _ if argument == TEST => {}
                // Options of other test programs, which `cargo test` passes to all.
                _ if argument.starts_with("--") => {}
                _ => parsed.names.push(argument),
            }
        }
        parsed.random =
            random.unwrap_or(if parsed.names.is_empty() && parsed.all { RANDOM_FAULTS } else { 0 });
        Ok(parsed)
    }

    /// True if the arguments select a fault.
    pub fn selects(&self, fault: &Fault) -> bool {
        match &self.names[..] {
            [] => self.all || fault.selected,
            names => names.iter().any(|name| fault.name.contains(name)),
        }
    }
}
