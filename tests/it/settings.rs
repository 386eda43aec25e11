//! The command line, and configuration from the environment.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};
use warren_testkit::replica::{command, warren};

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn all_invalid_settings_are_reported_together_before_start() {
    // Another process has the port, so an attempt to bind it would fail with another error.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, stdout, stderr) = run(command(&[
        ("LISTEN", &taken.local_addr().unwrap().to_string()),
        ("ADMIN_LISTEN", ""),
        ("PING_INTERVAL", "often"),
        ("AMQP_URL", "http://user:hunter2@host"),
        ("SPEED", "high"),
        ("PORT", "tcp://10.0.0.7:8080"),
    ])
    .env("WARREN_REPLICA", OsStr::from_bytes(b"caf\xe9")));
    assert_eq!((code, stdout.as_str()), (Some(64), ""));
    for (name, says) in [
        ("WARREN_ADMIN_LISTEN", "empty"),
        ("WARREN_PING_INTERVAL", "250ms"),
        ("WARREN_AMQP_URL", "amqp://"),
        ("WARREN_SPEED", "no such variable"),
        ("WARREN_PORT", "enableServiceLinks: false"),
        ("WARREN_REPLICA", "UTF-8"),
    ] {
        let line = stderr.lines().find(|line| line.starts_with(&format!("{name}: ")));
        assert!(line.is_some_and(|line| line.contains(says)), "{name} in:\n{stderr}");
    }
    assert!(!stderr.contains("hunter2") && !stderr.contains("WARREN_LISTEN"), "{stderr}");
}

#[test]
fn help_and_version_are_printed() {
    let (code, help, _) = run(Command::new(warren()).arg("--help"));
    assert_eq!(code, Some(0));
    assert!(help.contains("WARREN_AMQP_URL") && help.contains("(default: 127.0.0.1:8080)"));
    assert!(help.contains("Usage: warren [COMMAND]") && help.contains("check"), "{help}");
    assert!(help.contains("Exit codes: 0 after"), "{help}");
    let (code, help, _) = run(Command::new(warren()).args(["check", "--help"]));
    assert_eq!(code, Some(0));
    assert!(help.contains("Usage: warren check [OPTIONS] <HOST:PORT>..."), "{help}");
    let (code, version, _) = run(Command::new(warren()).args(["check", "--version"]));
    let expected = concat!("warren-check ", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, version.trim()), (Some(0), expected));
    let (code, version, _) = run(Command::new(warren()).arg("--version"));
    assert_eq!((code, version.trim()), (Some(0), concat!("warren ", env!("CARGO_PKG_VERSION"))));
    let (code, _, stderr) = run(Command::new(warren()).arg("--verbose"));
    assert_eq!(code, Some(64));
    assert!(stderr.contains("--verbose"));
    let (code, _, stderr) = run(Command::new(warren()).arg("chek"));
    assert_eq!(code, Some(64));
    assert!(stderr.contains("a similar subcommand exists: 'check'"), "{stderr}");
}

#[test]
fn occupied_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&mut command(&[("LISTEN", &address)]));
    assert_eq!(code, Some(70));
    assert!(stderr.contains("WARREN_LISTEN") && stderr.contains(&address), "{stderr}");
}
