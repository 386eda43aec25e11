//! `cargo test --test chaos -- [all | NAME...] [seed=N] [random=N] [write=FILE] [--list]`

use crate::faults::Fault;
use std::path::PathBuf;

/// Random faults of a whole run.
const RANDOM: usize = 12;

#[derive(Debug)]
pub struct Arguments {
    /// Every fault there is.
    all: bool,
    /// Parts of the names of the only faults to be tried. With neither it is those that are selected.
    names: Vec<String>,
    /// Of everything that is chosen at random.
    pub seed: u64,
    /// How many faults follow at random.
    pub random: usize,
    /// The document whose table is to be written anew.
    pub write: Option<PathBuf>,
    /// Only say which faults there are.
    pub list: bool,
}

impl Arguments {
    /// # Errors
    /// What was not understood.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            all: false,
            names: Vec::new(),
            seed: fastrand::u64(..1 << 32),
            random: 0,
            write: None,
            list: false,
        };
        let mut random = None;
        for argument in arguments {
            let number = |_| format!("{argument}: expected a number");
            match argument.split_once('=') {
                Some(("seed", value)) => parsed.seed = value.parse().map_err(number)?,
                Some(("random", value)) => random = Some(value.parse().map_err(number)?),
                Some(("write", value)) => parsed.write = Some(value.into()),
                _ if argument == "all" => parsed.all = true,
                _ if argument == "--list" => parsed.list = true,
                // What `cargo test` is told for others.
                _ if argument.starts_with("--") => {}
                _ => parsed.names.push(argument),
            }
        }
        parsed.random =
            random.unwrap_or(if parsed.names.is_empty() && parsed.all { RANDOM } else { 0 });
        Ok(parsed)
    }

    /// Whether a fault is to be tried.
    pub fn choose(&self, fault: &Fault) -> bool {
        match &self.names[..] {
            [] => self.all || fault.selected,
            names => names.iter().any(|name| fault.name.contains(name)),
        }
    }
}
