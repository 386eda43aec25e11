//! `cargo test --test chaos -- [all] [seed=N] [random=N] [only=NAME] [write=FILE] [list]`

use crate::faults::Fault;
use std::path::PathBuf;

/// Random faults of a whole run.
const RANDOM: usize = 12;

#[derive(Debug)]
pub struct Arguments {
    /// Every fault there is; otherwise those that are selected.
    pub all: bool,
    /// Of everything that is chosen at random.
    pub seed: u64,
    /// How many faults follow at random.
    pub random: usize,
    /// Parts, separated by commas, of the names of the only faults to be tried.
    pub only: Option<String>,
    /// The document whose table is to be written anew.
    pub write: Option<PathBuf>,
    /// Only say which faults there are.
    pub list: bool,
}

impl Arguments {
    /// Whether a fault is to be tried.
    pub fn choose(&self, fault: &Fault) -> bool {
        match &self.only {
            Some(only) => only.split(',').any(|only| fault.name.contains(only)),
            None => self.all || fault.selected,
        }
    }

    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            all: false,
            seed: fastrand::u64(..1 << 32),
            random: 0,
            only: None,
            write: None,
            list: false,
        };
        let mut random = None;
        for argument in arguments {
            let bad = || {
                format!("{argument}: expected all, seed=N, random=N, only=NAME, write=FILE or list")
            };
            match argument.split_once('=') {
                None if argument == "all" => parsed.all = true,
                None if argument == "list" => parsed.list = true,
                // What the test runner of others passes on.
                None if argument.starts_with("--") => {}
                Some(("seed", value)) => parsed.seed = value.parse().map_err(|_| bad())?,
                Some(("random", value)) => random = Some(value.parse().map_err(|_| bad())?),
                Some(("only", value)) => parsed.only = Some(value.to_owned()),
                Some(("write", value)) => parsed.write = Some(value.into()),
                _ => return Err(bad()),
            }
        }
        parsed.random = random.unwrap_or(if parsed.all { RANDOM } else { 0 });
        Ok(parsed)
    }
}
