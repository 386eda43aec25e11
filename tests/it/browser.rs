//! The chat page and the client module in Chromium, on two replicas. The tests themselves are in tests/browser.

use std::process::Command;
use std::time::Duration;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");

#[tokio::test]
async fn page_and_client_module_work_in_browser() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let mut node = Command::new("node");
    node.arg("--test")
        .args(["client", "types", "chat"].map(|name| format!("{TESTS}/{name}.test.mjs")))
        .env("WARREN_A", format!("http://{}", one.addr))
        .env("WARREN_B", format!("http://{}", two.addr));
    let mut node = Process::spawn(node);
    let status = node.ended(Duration::from_secs(180)).await;
    assert!(status.success(), "{}", node.output());
}
