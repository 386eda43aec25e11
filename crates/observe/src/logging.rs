//! The format and filter of the log output, which is text or JSON lines on standard error.

use std::io::IsTerminal;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use warren_config::{Config, LogFormat};

/// Libraries whose lines repeat Warren's events or do not concern operators.
const LIBRARIES: &str = "lapin=off,async_rs=off,actix_server=warn,actix_http=off,mio=off,\
                     hyper=off,hyper_util=off,reqwest=off,rustls=off";

/// Starts the log output of the process. Later calls change nothing.
pub fn start(config: &Config) {
    let ansi = std::io::stderr().is_terminal();
    let _ = set_global_default(subscriber(config.log_format, &config.log.0, ansi, std::io::stderr));
}

/// Writes lines. The target is only for filters; the field `event` identifies an event.
pub(crate) fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(format!("{LIBRARIES},{filter}")).unwrap_or_default();
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
