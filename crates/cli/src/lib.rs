//! The command line of Warren's programs: clap, without argument values in errors, and exit codes.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Error, Parser};
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use warren_config::EnvValue;

/// The exit code for an invalid argument or variable (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// The place of a value in clap's text, once the value is gone. No argument contains NUL.
const HIDDEN: &str = "\0";

/// The text with which a program ends before it has begun, and its exit code.
///
/// It has no values of arguments: they may hold secrets, and output ends up in logs.
#[derive(Debug)]
pub struct Exit {
    pub text: String,
    /// Zero after `--help` and `--version`.
    pub code: u8,
}

impl Exit {
    /// An error about arguments that clap accepts one by one.
    pub fn usage<T: Parser>(message: impl fmt::Display) -> Self {
        T::command().error(ErrorKind::ValueValidation, message).into()
    }

    /// Prints the text, an error to standard error; returns the exit code.
    pub fn print(&self) -> ExitCode {
        if self.code == 0 {
            print!("{}", self.text);
        } else {
            eprint!("{}", self.text);
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Exit {
    fn from(mut error: Error) -> Self {
        let value = error.get(ContextKind::InvalidValue);
        // An empty one makes clap say that a value is missing.
        if value.is_some_and(|value| !value.to_string().is_empty()) {
            error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
        }
        let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
        Self { text: error.to_string().replace(&format!(" '{HIDDEN}'"), ""), code }
    }
}

/// Parses arguments, of which the first is the name of the program.
///
/// # Errors
/// An [`Exit`] for an invalid argument, and for `--help` and `--version`.
pub fn parse<T: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<T, Exit> {
    Ok(T::try_parse_from(arguments)?)
}

/// Parses a value as the variables of Warren are written, such as `30s` or `64KiB`.
///
/// # Errors
/// A description of accepted values.
pub fn setting<T: EnvValue>(value: &str) -> Result<T, String> {
    T::parse(value).ok_or_else(|| format!("expected {}", T::ACCEPTS))
}

/// Parses a whole number from 1 to `MAX`.
///
/// # Errors
/// A description of accepted values.
pub fn count<const MAX: usize>(value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| (1..=MAX).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_config::ByteSize;

    #[derive(Debug, Parser)]
    #[command(name = "burrow", version = "1.2.3")]
    struct Arguments {
        #[arg(long, value_parser = setting::<ByteSize>)]
        size: Option<ByteSize>,
        #[arg(long, value_parser = count::<5>, default_value = "2")]
        rabbits: usize,
    }

    fn exit(arguments: &[&str]) -> Exit {
        parse::<Arguments>([&["burrow"], arguments].concat()).unwrap_err()
    }

    #[test]
    fn values_are_read_as_variables_are() {
        let arguments: Arguments = parse(["burrow", "--size=1KiB", "--rabbits", "5"]).unwrap();
        assert_eq!((arguments.size, arguments.rabbits), (Some(ByteSize(1024)), 5));
    }

    #[test]
    fn errors_say_what_is_accepted_and_hide_the_value() {
        for (arguments, says) in [
            (
                &["--size", "hunter2"][..],
                "error: invalid value for '--size <SIZE>': expected a size",
            ),
            (&["--rabbits", "6"], "expected a number from 1 to 5"),
            (&["--rabbits"], "a value is required for '--rabbits <RABBITS>'"),
            (&["--rabits=2"], "a similar argument exists: '--rabbits'"),
        ] {
            let Exit { text, code } = exit(arguments);
            assert_eq!(code, EXIT_USAGE);
            assert!(text.contains(says) && !text.contains(HIDDEN), "{text}");
            assert!(!text.contains("hunter2") && text.contains("--help"), "{text}");
        }
    }

    #[test]
    fn help_and_version_succeed() {
        assert_eq!(
            (exit(&["--version"]).text.as_str(), exit(&["--help"]).code),
            ("burrow 1.2.3\n", 0)
        );
    }

    #[test]
    fn errors_of_the_caller_look_like_those_of_clap() {
        let Exit { text, code } = Exit::usage::<Arguments>("too many rabbits");
        assert!(text.starts_with("error: too many rabbits\n\nUsage: burrow"), "{text}");
        assert_eq!(code, EXIT_USAGE);
    }
}
