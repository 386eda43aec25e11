//! Fault tests with a message ledger: `make chaos`.
//!
//! Three RabbitMQ nodes serve two sets of three replicas, one set for each delivery mode, each behind a load
//! balancer. Publishers and followers use every transport, and record in a ledger what they send and receive.
//! Faults are injected one after another, then at random from a printed seed. After each, everything must
//! recover, and the ledger is checked for confirmed messages that are lost, duplicated or out of order.
//!
//! `make test` runs a selection. `cargo test --release --test chaos -- all seed=7` runs all faults, and can be
//! repeated with its seed. `--list` lists the faults; parts of their names select some.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

mod arguments;
mod environment;
mod faults;
mod followers;
mod ledger;
mod managed_replica;
mod publishers;
mod replica_set;
mod report;
mod rounds;
mod subscriber;

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
    let violations = LocalSet::new().block_on(&runtime, rounds::run(&arguments));
    for violation in &violations {
        eprintln!("violation: {violation}");
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
