//! The chat page in Chromium, and the client module and its types in Node. The tests themselves are in tests/browser.

use std::process::Command;
use std::time::Duration;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");
/// Time limit of a file of tests.
const LIMIT: Duration = Duration::from_secs(180);

/// Node, with a file of tests.
fn tests(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg("--test").arg(format!("{TESTS}/{name}.test.mjs"));
    node
}

/// Runs tests, and asserts that they pass.
async fn pass(node: Command) {
    let mut node = Process::spawn(node);
    let status = node.ended(LIMIT).await;
    assert!(status.success(), "{}", node.output());
}

#[tokio::test]
async fn chat_page_works_on_two_replicas() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let mut node = tests("chat");
    node.env("WARREN_A", format!("http://{}", one.addr))
        .env("WARREN_B", format!("http://{}", two.addr));
    pass(node).await;
}

#[tokio::test]
async fn client_module_works_with_simulated_sockets() {
    pass(tests("client")).await;
}

#[tokio::test]
async fn client_types_match_usage() {
    pass(tests("types")).await;
}
