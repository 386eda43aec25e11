//! The variables as `warren --help` and docs/configuration.md show them.

use super::variables;
use std::fmt::Write;

/// Every variable with its default, meaning and accepted values, as `warren --help` prints them.
pub fn help() -> String {
    let mut text = String::new();
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
    text
}

/// The text of docs/configuration.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Made from crates/config/src/variables.rs by `make docs`. -->\n\n\
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
