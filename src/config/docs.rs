//! The variables as `warren --help` and docs/configuration.md show them.

use super::variables;
use crate::{check, load};
use std::fmt::Write;

/// The text of `warren --help`.
pub fn help() -> String {
    let mut text = format!(
        "warren: WebSocket fan-out, replicas joined by RabbitMQ\n\n\
         Usage: warren [--help | --version]\n       {}\n       {}\n\n\
         check proves that what is said at one replica is heard at all of them. It asks all the\n\
         addresses of HOST. With --replicas it waits, within the timeout, until so many answer.\n\n\
         load opens many WebSockets, publishes through some of them, and says what was accepted, confirmed,\n\
         delivered and lost, and how long it took. It speaks in a channel of its own.\n\n\
         The server is configured from the environment alone:\n",
        check::USAGE,
        load::USAGE
    );
    for variable in variables::all() {
        let _ = write!(text, "\n{}  (default: {})\n", variable.name, variable.default);
        for line in wrap(variable.meaning, 92) {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "    Accepts {}.", variable.accepts);
    }
    text.push_str(
        "\nTraces are exported to OTEL_EXPORTER_OTLP_ENDPOINT, by the variables that OpenTelemetry names.\n",
    );
    text.push_str(
        "\nExit codes: 0 after a complete shutdown, a check that passed or a load that lost nothing, 1 after one\n\
         that failed or lost something, 64 for a bad setting or argument, 70 when serving failed.\n",
    );
    text
}

/// The text of docs/configuration.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Made from src/config/variables.rs by `make docs`. -->\n\n\
         All of it comes from environment variables, read before a port is bound. A bad value or an \
         unknown `WARREN_*` variable ends the program with exit code 64 and one line for each mistake.\n\n\
         | variable | default | meaning | accepts |\n| --- | --- | --- | --- |\n",
    );
    for variable in variables::all() {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            variable.name, variable.default, variable.meaning, variable.accepts
        );
    }
    text.push_str(
        "\nTraces are configured by the `OTEL_*` variables of OpenTelemetry: [tracing.md](tracing.md).\n",
    );
    text
}

/// Breaks a text into lines of at most `width` characters, at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.len() - 1;
        if !lines[line].is_empty() && lines[line].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            let space = if lines[line].is_empty() { "" } else { " " };
            lines[line] += &format!("{space}{word}");
        }
    }
    lines
}
