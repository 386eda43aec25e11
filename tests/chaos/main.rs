//! Everything that can break is broken, while messages are counted: `make chaos`.
//!
//! Three RabbitMQ nodes, three replicas for each delivery, a load balancer in front of each three;
//! publishers and followers over every transport keep a ledger. Faults come one after another, then at
//! random from a seed that is printed. After each, everybody is to be whole again, and the ledger is
//! settled: what was confirmed and not heard, heard twice, or heard in another order.
//!
//! `make test` tries a selection. `cargo test --release --test chaos -- all seed=7` is a whole run that
//! can be repeated; `--list` says which faults there are, and parts of their names try some.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

mod arguments;
mod faults;
mod followers;
mod ledger;
mod reader;
mod report;
mod run;
mod say;
mod seat;
mod world;

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
