//! The programs in examples/, run as their README says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
/// The interpreter of the virtual environment that scripts/setup makes.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/venv/bin/python");
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program of examples/python to its end, and returns its output.
async fn python(arguments: &[&str]) -> String {
    assert!(Path::new(PYTHON).exists(), "{PYTHON} is missing: run `make setup`");
    let mut command = Command::new(PYTHON);
    command.arg(format!("{EXAMPLES}/python/{}", arguments[0])).args(&arguments[1..]);
    let mut program = Process::spawn(command);
    let status = program.ended(LIMIT).await;
    assert!(status.success(), "{}", program.output());
    program.output()
}

#[tokio::test]
async fn messages_of_both_backends_reach_the_node_client() {
    let modules = format!("{EXAMPLES}/node/node_modules");
    assert!(Path::new(&modules).exists(), "{modules} is missing: run `make setup`");
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let mut command = Command::new("node");
    command.arg(format!("{EXAMPLES}/node/follow.mjs"));
    command.args([format!("ws://{}/ws", replica.addr), "orders".to_owned()]);
    let mut follower = Process::spawn(command);
    follower.line(LIMIT, |line| line == "open").await;

    let http = format!("http://{}", replica.addr);
    let id = python(&["publish_http.py", &http, "orders", r#"{"by": "HTTP"}"#]).await;
    let line = follower.line(LIMIT, |line| line.contains("HTTP")).await;
    assert_eq!(line, format!(r#"{} {{"by":"HTTP"}}"#, id.trim()));

    python(&["publish_amqp.py", &rabbitmq.url(), "orders", r#"{"by": "AMQP"}"#, &exchange]).await;
    follower.line(LIMIT, |line| line.ends_with(r#" {"by":"AMQP"}"#)).await;

    follower.signal("TERM");
    assert!(follower.ended(LIMIT).await.success(), "{}", follower.output());
}
