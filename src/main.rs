//! The command line: serving, `warren check`, and exit codes.

use clap::{Parser, Subcommand};
use futures_util::FutureExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use warren::app::Application;
use warren::check;
use warren_cli::EXIT_USAGE;
use warren_config::{Config, ConfigErrors};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::logging;
use warren_observe::reporter::Reporter;
use warren_observe::traces::TraceSettings;

/// The exit code if `warren check` fails.
const EXIT_CHECK_FAILED: u8 = 1;
/// The exit code if the service fails (`EX_SOFTWARE` of sysexits.h).
const EXIT_FAILED: u8 = 70;

const EXIT_CODES: &str = "Exit codes: 0 after a complete shutdown, 64 for an invalid variable or argument, \
    70 if the service fails.";

/// WebSocket fan-out: replicas joined by RabbitMQ.
///
/// Without a command it serves clients. Environment variables configure it.
#[derive(Debug, Parser)]
#[command(
    name = "warren",
    version,
    propagate_version = true,
    after_help = "The variables are in `warren --help`.",
    after_long_help = format!("{}\n{EXIT_CODES}", warren_config::help()),
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Plan),
}

fn main() -> ExitCode {
    match warren_cli::parse(std::env::args_os()) {
        Ok(Arguments { command: None }) => serve(),
        Ok(Arguments { command: Some(Command::Check(plan)) }) => check(&plan),
        Err(exit) => exit.print(),
    }
}

fn check(plan: &check::Plan) -> ExitCode {
    match run_check(plan) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(EXIT_CHECK_FAILED)
        }
    }
}

fn run_check(plan: &check::Plan) -> Result<check::Report, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(check::run(plan));
    // Does not wait for a name lookup that is still in progress.
    runtime.shutdown_background();
    Ok(report?)
}

fn serve() -> ExitCode {
    let config = Config::from_vars(std::env::vars_os());
    let traces = TraceSettings::from_vars(std::env::vars_os());
    let (config, traces) = match (config, traces) {
        (Ok(config), Ok(traces)) => (config, traces),
        (config, traces) => {
            let mistakes = config.err().into_iter().chain(traces.err()).flat_map(|it| it.0);
            eprintln!("{}", ConfigErrors(mistakes.collect()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    logging::start(&config);
    let reporter = Arc::new(Reporter::new());
    let ended = run(config, traces, &reporter);
    reporter.flush_log();
    match ended {
        Ok(()) => {
            reporter.emit(Event::Stopped);
            ExitCode::SUCCESS
        }
        Err(error) => {
            reporter.emit(Event::Failed { problem: SanitizedText::of(error) });
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(
    config: Config,
    traces: Option<TraceSettings>,
    reporter: &Arc<Reporter>,
) -> Result<(), warren::app::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(application(config, traces, reporter));
    // A name that is still being looked up is not waited for: that may take minutes.
    runtime.shutdown_background();
    ended
}

async fn application(
    config: Config,
    traces: Option<TraceSettings>,
    reporter: &Arc<Reporter>,
) -> Result<(), warren::app::Error> {
    let interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let application = Application::build(config)?.traces(traces).reporter(reporter.clone());
    application.run(asked_to_stop(interrupt, terminate, reporter.clone())).await
}

/// Resolves at the first SIGINT or SIGTERM; a second one ends the process at once.
async fn asked_to_stop(mut interrupt: Signal, mut terminate: Signal, reporter: Arc<Reporter>) {
    either(&mut interrupt, &mut terminate).await;
    // Some that send signals send them twice at once, to the process and to its group.
    sleep(Duration::from_millis(100)).await;
    while either(&mut interrupt, &mut terminate).now_or_never().is_some() {}
    reporter.emit(Event::ShutdownRequested);
    tokio::spawn(async move {
        let code = either(&mut interrupt, &mut terminate).await;
        reporter.flush_log();
        reporter.emit(Event::ForcedExit);
        std::process::exit(code);
    });
}

/// The exit code that shells give to a process ended by the signal that came.
async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}
