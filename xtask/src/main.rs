//! Tasks of the repository: `cargo xtask docs` writes the documents that are generated from the code.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

const USAGE: &str = "usage: cargo xtask docs";
/// The exit code for misuse, from sysexits.h.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["docs"] => match write_documents() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write the documents: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(EX_USAGE)
        }
    }
}

/// Writes docs/configuration.md, docs/metrics.md and docs/logs.md.
fn write_documents() -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::write(docs.join("configuration.md"), warren_config::markdown())?;
    fs::write(docs.join("metrics.md"), warren_observe::docs::metrics())?;
    fs::write(docs.join("logs.md"), warren_observe::docs::logs())
}
