//! Parse, build, run, and an exit code.

use futures_util::FutureExt;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use warren::app::Application;
use warren::check::{self, Plan};
use warren::load;
use warren_config::{Config, ConfigErrors};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::logging;
use warren_observe::reporter::Reporter;
use warren_observe::traces::TraceSettings;

/// A bad setting or argument (EX_USAGE of sysexits).
const USAGE: u8 = 64;
/// Serving failed (EX_SOFTWARE).
const FAILED: u8 = 70;
/// `warren check` could not prove what it was to prove, or `warren load` lost something.
const UNPROVED: u8 = 1;

const HELP: &str = "warren: WebSocket fan-out, replicas joined by RabbitMQ

Usage: warren [--help | --version]
       warren check HOST:PORT... [--help]
       warren load URL [--help]

The server is configured from the environment alone:
";
const EXIT_CODES: &str = "
Exit codes: 0 after a complete shutdown, a check that passed or a load that lost nothing, 1 after one
that failed or lost something, 64 for a bad setting or argument, 70 when serving failed.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().map(|argument| argument.to_string_lossy()).as_deref() {
        None => serve(),
        Some("check") => check(arguments.into_iter().skip(1)),
        Some("load") => load(arguments.into_iter().skip(1)),
        Some("--help" | "-h") => {
            print!("{HELP}{}{EXIT_CODES}", warren_config::help());
            ExitCode::SUCCESS
        }
        Some("--version" | "-V") => {
            println!("warren {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("warren: unknown argument {other:?}; warren --help tells what there is");
            ExitCode::from(USAGE)
        }
    }
}

fn check(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let plan = match Plan::from_arguments(arguments) {
        Ok(plan) => plan,
        Err(usage) => {
            eprintln!("warren check: {usage}");
            return ExitCode::from(USAGE);
        }
    };
    match prove(&plan) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(UNPROVED)
        }
    }
}

fn prove(plan: &Plan) -> Result<check::Report, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(check::run(plan));
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    Ok(report?)
}

fn load(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let plan = match load::Plan::from_arguments(arguments) {
        Ok(plan) => plan,
        Err(usage) => {
            eprintln!("warren load: {usage}");
            return ExitCode::from(USAGE);
        }
    };
    match put_load(&plan) {
        Ok(report) => {
            println!("{}", if plan.json { report.to_json() } else { report.to_string() });
            if report.passed { ExitCode::SUCCESS } else { ExitCode::from(UNPROVED) }
        }
        Err(failure) => {
            eprintln!("warren load: {failure}");
            ExitCode::from(UNPROVED)
        }
    }
}

fn put_load(plan: &load::Plan) -> Result<load::Report, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async {
            either(&mut interrupt, &mut terminate).await;
            // What is there so far comes soon. A second signal does not wait for it.
            tokio::spawn(async move {
                std::process::exit(either(&mut interrupt, &mut terminate).await);
            });
        };
        Ok::<_, Box<dyn std::error::Error>>(load::run(plan, stop).await?)
    });
    runtime.shutdown_background();
    report
}

fn serve() -> ExitCode {
    let config = Config::from_vars(std::env::vars_os());
    let traces = TraceSettings::from_vars(std::env::vars_os());
    let (config, traces) = match (config, traces) {
        (Ok(config), Ok(traces)) => (config, traces),
        (config, traces) => {
            let mistakes = config.err().into_iter().chain(traces.err()).flat_map(|it| it.0);
            eprintln!("{}", ConfigErrors(mistakes.collect()));
            return ExitCode::from(USAGE);
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
            ExitCode::from(FAILED)
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
