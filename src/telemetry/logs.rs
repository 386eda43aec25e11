//! Logs on standard error, as text or JSON lines.

use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Libraries that log what Warren says itself, or that is no concern of an operator.
const QUIET: &str = "lapin=off,async_rs=off,actix_server=warn,actix_http=off,mio=off";

/// Begins to log. Once in a process; later calls change nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log.0));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_default())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let _ = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
