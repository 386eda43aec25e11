//! Fault tests that count messages: `make chaos`.
//!
//! The system has three RabbitMQ nodes, and for each delivery mode three replicas behind a load balancer. Publishers
//! and subscribers over every transport record messages in a ledger. Faults come one after another, then at random
//! from a seed that is printed. After each, the system must recover, and the ledger shows messages that were confirmed
//! and lost, duplicated, or delivered out of order.
//!
//! `make test` runs a selection. `cargo test --release --test chaos -- all seed=7` is a complete run that can be
//! repeated. `--list` lists the faults, and parts of their names select some.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

mod arguments;
mod connection;
mod faults;
mod ledger;
mod publishers;
mod replica_slot;
mod report;
mod run;
mod subscribers;
mod system;

use arguments::{Arguments, TestList};
use std::env;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(64);
        }
    };
    if let Some(list) = arguments.list_tests {
        if list == TestList::All {
            println!("{}: test", arguments::TEST);
        }
        return ExitCode::SUCCESS;
    }
    if arguments.list {
        for fault in faults::FAULTS {
            println!("{}{}", fault.name, if fault.selected { " (selected)" } else { "" });
        }
        return ExitCode::SUCCESS;
    }
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let broken = LocalSet::new().block_on(&runtime, run::run(&arguments));
    for broken in &broken {
        eprintln!("broken: {broken}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
