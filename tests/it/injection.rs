//! Hostile names, reasons and texts of other programs stay text: they become neither log lines, headers, markup nor
//! terminal control sequences. Values chosen by clients are not logged at all, as `logs` tests.

use lapin::BasicProperties;
use serde_json::{Value, json};
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::ports::free_port;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::refusing_broker;
use warren_testkit::replica::{Replica, command};

/// Line ends, terminal control sequences, quotes, marks of text direction, markup.
const FORGED: &str = "x\"}\r\n{\"level\":\"ERROR\",\"event\":\"stopped\"}\n\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{85}\
    \u{2028}\u{2029}\u{202e}\u{2066}\u{200f}</script><script>";

/// True for text without control characters or direction marks.
fn is_plain(text: &str) -> bool {
    !text.contains(|sign: char| {
        sign.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}".contains(sign)
    })
}

#[tokio::test]
async fn hostile_broker_text_stays_in_its_log_line() {
    let url = refusing_broker::start(&FORGED.repeat(3)[..250]).await;
    let exchange = format!("e\"\u{2028}\u{202e}{}", "x".repeat(90));
    for format in ["json", "text"] {
        let (address, admin) = (free_port(), free_port());
        let mut process = Process::spawn(command(&[
            ("LISTEN", &format!("127.0.0.1:{address}")),
            ("ADMIN_LISTEN", &format!("127.0.0.1:{admin}")),
            ("AMQP_URL", &url),
            ("EXCHANGE", &exchange),
            ("LOG_FORMAT", format),
            ("DRAIN_DELAY", "0s"),
            ("DRAIN_PERIOD", "0s"),
        ]));
        process.line(LIMIT, |line| line.contains("cannot connect to RabbitMQ")).await;
        let admin = ([127, 0, 0, 1], admin).into();
        let ready = http::get(admin, "/readyz").await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("<script>") && is_plain(ready.body.trim_end()), "{ready:?}");
        process.signal("TERM");
        assert!(process.ended(LIMIT).await.success());
        let log = process.output();
        assert!(log.matches("cannot connect to RabbitMQ").count() > 1 && !log.contains("hunter2"));
        // No other line separator is in it.
        for line in log.split('\n').filter(|line| !line.is_empty()) {
            assert!(is_plain(line) && line.len() < 3000, "{line:?}");
            if format == "json" {
                let line: Value = serde_json::from_str(line).expect("a line is JSON");
                assert_ne!(line["level"], "ERROR");
            } else {
                assert!(line.starts_with("2") && !line.contains(" event=\"stopped\"}"), "{line:?}");
            }
        }
    }
}

#[tokio::test]
async fn hostile_replica_name_stays_text_everywhere() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    // A canary of a replica with a hostile name.
    let canary = json!({ "name": FORGED, "version": FORGED, "connections": 1, "instance": 1, "sequence": 1 });
    let kind = BasicProperties::default().with_type("warren.replica".into());
    peer.publish("", canary.to_string().as_bytes(), kind).await;
    // A channel has no control characters, but may have all else.
    let channel: String = FORGED.chars().filter(|sign| !sign.is_control()).collect();
    let query: String = channel.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (mut client, mut events) = (
        replica.client(&format!("?channel={query}")).await,
        replica.events(&format!("?channel={query}")).await,
    );
    // JSON white space that is a line end in an event stream.
    let body = json!({ "text": [FORGED], "date": FORGED }).to_string().replace("[\"", "[\r\n\n\"");
    let strange = BasicProperties::default()
        .with_message_id("event: gap".into())
        .with_app_id("\r\n\r\n\u{1b}".into())
        .with_content_type("text/html".into());
    peer.publish(&channel, body.as_bytes(), strange).await;
    for message in [client.message().await, events.message().await] {
        assert_eq!(message["channel"], channel.as_str());
        assert_eq!(message["text"][0], FORGED);
    }
    let replicas = http::get(replica.addr, "/replicas").await;
    assert_eq!(replicas.header("x-content-type-options"), "nosniff");
    let names = replicas.json().to_string();
    assert!(names.contains(&json!(FORGED).to_string()), "{names}");
    let metrics = http::get(replica.admin, "/metrics").await.body;
    assert!(!metrics.contains("<script") && metrics.lines().all(is_plain));
}
