//! Runs a command beside a RabbitMQ node that its tests share: `with-rabbitmq COMMAND [ARGUMENT]...`
//!
//! The node gets free ports and a temporary directory, and the command finds its address in
//! `WARREN_TEST_RABBITMQ`. When the command ends, or this program is killed, the node ends, too. The exit
//! code is that of the command.

#![allow(clippy::expect_used, clippy::print_stderr)]

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use tokio::process::Child;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use warren_testkit::rabbitmq::{RabbitMq, SHARED_NODE};

/// A missing argument (EX_USAGE of sysexits).
const USAGE: u8 = 64;
/// The command cannot be started, as shells report it.
const NOT_STARTED: u8 = 127;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-rabbitmq COMMAND [ARGUMENT]...");
        return ExitCode::from(USAGE);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(command))
}

async fn run(mut command: Command) -> ExitCode {
    // From now on neither signal ends this program before the command, and the node.
    let interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    let terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    // An outer `with-rabbitmq` has a node already.
    let mut node = None;
    if env::var_os(SHARED_NODE).is_none() {
        let node = node.insert(RabbitMq::start().await);
        let address = serde_json::to_string(node.address()).expect("an address is JSON");
        command.env(SHARED_NODE, address);
    }
    let program = command.get_program().to_owned();
    match tokio::process::Command::from(command).spawn() {
        Ok(child) => code(ended(child, interrupt, terminate).await),
        Err(error) => {
            eprintln!("with-rabbitmq: cannot run {}: {error}", program.display());
            ExitCode::from(NOT_STARTED)
        }
    }
}

/// Waits for the command. A terminal sends SIGINT to the command itself; SIGTERM is passed on.
async fn ended(mut child: Child, mut interrupt: Signal, mut terminate: Signal) -> ExitStatus {
    loop {
        tokio::select! {
            status = child.wait() => return status.expect("our own child"),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(id) = child.id() {
                    let _ = Command::new("kill").arg(id.to_string()).status();
                }
            }
        }
    }
}

/// The exit code of a command, as shells report it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
