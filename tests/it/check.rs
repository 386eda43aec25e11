//! `warren check`.

use std::process::Command;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::time::timeout;
use warren_testkit::LIMIT;
use warren_testkit::fake_server::FakeServer;
use warren_testkit::ports::free_port;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{Replica, warren};

/// Runs the check without variables of Warren's. Returns its exit code and its output.
async fn check(arguments: &[&str]) -> (i32, String) {
    let mut check = started(arguments);
    let status = check.ended(LIMIT).await;
    let output = check.output();
    assert!(!output.contains("panicked"), "{output}");
    (status.code().expect("an exit code"), output)
}

fn started(arguments: &[&str]) -> Process {
    let mut command = Command::new(warren());
    command.env_clear().arg("check").args(arguments);
    Process::spawn(command)
}

/// Two replicas on one RabbitMQ and these exchanges, and their addresses.
async fn two(exchanges: [&str; 2], more: &[(&str, &str)]) -> ([Replica; 2], [String; 2]) {
    let url = shared().url();
    let a = Replica::on_rabbitmq("check-a", &url, exchanges[0], more).await;
    let b = Replica::on_rabbitmq("check-b", &url, exchanges[1], more).await;
    let addresses = [&a, &b].map(|replica| replica.addr.to_string());
    ([a, b], addresses)
}

#[tokio::test]
async fn joined_replicas_pass() {
    for delivery in ["log", "live"] {
        let exchange = unique("check");
        let more = [("DELIVERY", delivery)];
        let (_replicas, [a, b]) = two([&exchange, &exchange], &more).await;
        let (code, output) = check(&[&a, &b, "--replicas", "2"]).await;
        assert_eq!(code, 0, "{output}");
        for line in
            [format!("check-a ({a}): received 2 of 2"), format!("check-b ({b}): received 2 of 2")]
        {
            assert!(output.lines().any(|printed| printed == line), "{line} in:\n{output}");
        }
    }
}

#[tokio::test]
async fn separate_replicas_fail_by_name() {
    let exchanges = [unique("check"), unique("check")];
    let (_replicas, [a, b]) = two([&exchanges[0], &exchanges[1]], &[]).await;
    let (code, output) = check(&[&a, &b, "--timeout", "5s"]).await;
    assert_eq!(code, 1, "{output}");
    for line in [
        format!("check-a ({a}): received 1 of 2"),
        format!("published through check-a ({a}), missing at check-b ({b})"),
        format!("published through check-b ({b}), missing at check-a ({a})"),
    ] {
        assert!(output.lines().any(|printed| printed == line), "{line} in:\n{output}");
    }
    assert_eq!(output.matches("missing at").count(), 2, "each receives its own message:\n{output}");
}

#[tokio::test]
async fn missing_replica_is_named_or_waited_for() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let began = Instant::now();
    let (code, output) = check(&[&address]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains(&format!("{address}: cannot be reached: ")), "{output}");
    assert!(output.contains("0 of 1 replicas answered"), "{output}");
    assert!(began.elapsed() < Duration::from_secs(20), "it did not wait");
    let (code, output) = check(&["no-such-name.invalid:80"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("no-such-name.invalid:80: no address: "), "{output}");

    // A second connection shows that the check tries again.
    let closing = TcpListener::bind(&address).await.unwrap();
    let mut waiting = started(&[&address, "--replicas", "1", "--timeout", "60s"]);
    for _ in 0..2 {
        drop(timeout(LIMIT, closing.accept()).await.expect("a connection in time"));
    }
    drop(closing);
    assert_eq!(waiting.exited(), None, "{}", waiting.output());
    let _replica = Replica::ready(&[("LISTEN", &address)]).await;
    assert_eq!(waiting.ended(LIMIT).await.code(), Some(0), "{}", waiting.output());
}

#[tokio::test]
async fn one_replica_at_two_addresses_counts_once() {
    let replica = Replica::ready(&[("LISTEN", "0.0.0.0:0")]).await;
    let port = replica.addr.port();
    let [one, other] = [1, 2].map(|last| format!("127.0.0.{last}:{port}"));
    let (code, output) = check(&[&one, &other]).await;
    assert_eq!(code, 0, "{output}");
    let (code, output) = check(&[&one, &other, "--replicas", "2", "--timeout", "1s"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("1 of 2 replicas answered"), "{output}");
}

#[tokio::test]
async fn duplicate_or_refused_message_fails() {
    let twice = FakeServer::start("202 Accepted", 2).await;
    let (code, output) = check(&[&twice.address]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("received 2 times at fake ("), "{output}");
    let refusing = FakeServer::start("418 I'm a teapot", 1).await;
    let (code, output) = check(&[&refusing.address]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("publishing through fake ("), "{output}");
    assert!(output.contains("answered 418: "), "{output}");
    let never = FakeServer::start("503 Service Unavailable", 0).await;
    let (code, output) = check(&[&never.address, "--timeout", "2s"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("was not confirmed in time"), "{output}");
    // The same key each time.
    assert!(never.published() > 1 && never.keys() == 1);
}

#[tokio::test]
async fn invalid_answer_fails() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let ready = |name: &str| format!("{stream}event: ready\ndata: {{\"replica\":\"{name}\"}}\n\n");
    for (answer, endless, says) in [
        ("\0\u{1b}\u{7}nonsense\r\n\r\n".to_owned(), false, "cannot be reached: "),
        (String::new(), false, "cannot be reached: "),
        (format!("HTTP/1.1 404 No\r\n\r\n{}", "\u{1b}é\0".repeat(500)), false, "answered 404: "),
        ("HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\n\r\n".to_owned(), false, "302"),
        (stream.to_owned(), false, "ended the event stream"),
        (stream.to_owned(), true, "does not answer as a replica of Warren does"),
        (format!("{stream}event: ready\ndata: {{\"replica\":[]}}\n\n"), false, "ended the event"),
        (format!("{}\n\n", ready("\\u001b[2J\\n")), false, "ended the event stream"),
        (ready("x"), true, "does not answer as a replica of Warren does"),
    ] {
        let fake = FakeServer::babbling(answer, endless).await;
        let (code, output) = check(&[&fake.address, "--timeout", "5s"]).await;
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(says), "{says} in:\n{output}");
        assert!(output.len() < 2000 && !output.contains(['\u{1b}', '\0']), "{output:?}");
    }
}

#[tokio::test]
async fn invalid_arguments_are_refused() {
    for (arguments, says) in [
        (&[][..], "HOST:PORT"),
        (&["http://user:hunter2@host:80"], "no scheme"),
        (&["host:80", "--replicas", "none"], "--replicas"),
        (&["host:80", "--timeout", "30"], "30s"),
        (&["host:80", "--fast"], "unexpected argument '--fast'"),
    ] {
        let (code, output) = check(arguments).await;
        assert_eq!(code, 64, "{output}");
        assert!(output.contains(says) && !output.contains("hunter2"), "{output}");
    }
}
