//! Logs on standard error, as text or JSON lines.

use std::io::IsTerminal;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use warren_config::{Config, LogFormat};

/// Libraries that log what Warren says itself, or that is no concern of an operator.
const QUIET: &str = "lapin=off,async_rs=off,actix_server=warn,actix_http=off,mio=off,\
                     hyper=off,hyper_util=off,reqwest=off,rustls=off";

/// Begins to log. Once in a process; later calls change nothing.
pub fn start(config: &Config) {
    let ansi = std::io::stderr().is_terminal();
    let _ = set_global_default(subscriber(config.log_format, &config.log.0, ansi, std::io::stderr));
}

/// What writes lines. The target is for filters only: `event` says what it is.
pub(crate) fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(writer);
    match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}
