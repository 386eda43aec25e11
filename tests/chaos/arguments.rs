//! `cargo test --test chaos -- [all | NAME...] [seed=N] [random=N] [write=FILE] [--list]`

use crate::faults::Fault;
use std::path::PathBuf;

/// Random faults of a complete run.
const RANDOM: usize = 12;

/// The one test that the selected faults are to runners such as nextest.
pub const TEST: &str = "selected_faults";

/// Tests that a runner asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestList {
    All,
    Ignored,
}

#[derive(Debug)]
pub struct Arguments {
    /// All faults.
    all: bool,
    /// Parts of names: only faults that match run. Without `all` and names, the selected faults run.
    names: Vec<String>,
    /// Seed of all random choices.
    pub seed: u64,
    /// Number of random faults at the end.
    pub random: usize,
    /// Document whose tables are replaced.
    pub write: Option<PathBuf>,
    /// Only list the faults.
    pub list: bool,
    /// Only list the tests, as runners that start a process for each test ask for: the selected faults are one.
    pub list_tests: Option<TestList>,
}

impl Arguments {
    /// # Errors
    /// An argument that is not understood.
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
            random.unwrap_or(if parsed.names.is_empty() && parsed.all { RANDOM } else { 0 });
        Ok(parsed)
    }

    /// True for a fault that runs.
    pub fn choose(&self, fault: &Fault) -> bool {
        match &self.names[..] {
            [] => self.all || fault.selected,
            names => names.iter().any(|name| fault.name.contains(name)),
        }
    }
}
