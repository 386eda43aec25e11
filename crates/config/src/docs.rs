//! The variables as `warren --help` and docs/configuration.md show them.

use super::variables::sections;
use std::fmt::Write;

/// Columns of the text in `warren --help`, beside the indentation.
const HELP_WIDTH: usize = 92;

/// Every variable by theme, with its default, meaning and accepted values, as `warren --help` prints them.
pub fn help() -> String {
    let mut text = String::new();
    for section in sections() {
        let _ = write!(text, "\n{}:\n", section.title);
        for variable in section.variables {
            let _ = writeln!(text, "\n  {}  (default: {})", variable.name, variable.default);
            for line in wrap(variable.meaning, HELP_WIDTH) {
                let _ = writeln!(text, "      {line}");
            }
            let _ = writeln!(text, "      Accepts {}.", variable.accepts.trim_end_matches('.'));
        }
    }
    text.push_str(
        "\nTraces are configured by the OTEL_* variables of OpenTelemetry, and exported to \
         OTEL_EXPORTER_OTLP_ENDPOINT.\n",
    );
    text
}

/// The text of docs/configuration.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from crates/config/src/variables.rs by `make docs`. -->\n\n\
         Warren is configured by environment variables only. It reads them before it binds a port. An \
         invalid value or an unknown `WARREN_*` variable ends the program with exit code 64 and one line \
         for each error.\n",
    );
    for section in sections() {
        let _ = write!(
            text,
            "\n## {}\n\n| variable | default | meaning | accepts |\n| --- | --- | --- | --- |\n",
            section.title
        );
        for variable in section.variables {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                variable.name, variable.default, variable.meaning, variable.accepts
            );
        }
    }
    text.push_str(
        "\n## Traces\n\nTraces are configured by the `OTEL_*` variables of OpenTelemetry: \
         [tracing.md](tracing.md).\n",
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
