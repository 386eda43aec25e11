//! The program `with-rabbitmq`.

use std::net::TcpStream;
use std::process::Command;
use warren_testkit::rabbitmq::SHARED_NODE;

fn with_rabbitmq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-rabbitmq"));
    command.env_remove(SHARED_NODE).args(arguments);
    command
}

#[test]
fn node_serves_during_command_and_ends_with_it() {
    let script = format!("echo \"${SHARED_NODE}\"; exit 7");
    let output = with_rabbitmq(&["sh", "-c", &script]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let address: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an address");
    let port = address["port"].as_u64().expect("a port") as u16;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the node is gone");
    let home = address["home"].as_str().expect("a folder");
    assert!(!std::path::Path::new(home).exists(), "its folder is gone");
}

#[test]
fn outer_node_is_used_by_inner_command() {
    let script = format!("echo \"${SHARED_NODE}\"");
    let mut command = with_rabbitmq(&["sh", "-c", &script]);
    let output = command.env(SHARED_NODE, "outer").output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "outer", "{output:?}");
}

#[test]
fn missing_command_is_refused() {
    assert_eq!(with_rabbitmq(&[]).output().expect("it starts").status.code(), Some(64));
}
