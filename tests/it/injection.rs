//! Names, reasons and texts that want to be more than that: lines of a log, headers, markup, commands to a
//! terminal. What clients choose is in no line at all: see `logs`.

use lapin::BasicProperties;
use serde_json::{Value, json};
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::ports::free_port;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::HANDSHAKE;
use warren_testkit::refusing_broker;
use warren_testkit::replica::{Replica, command};

/// Ends lines, steers terminals, closes quotes, turns the direction of text.
const FORGED: &str = "x\"}\r\n{\"level\":\"ERROR\",\"event\":\"done\"}\n\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{85}\
    \u{2028}\u{2029}\u{202e}\u{2066}\u{200f}</script><script>";

/// Has nothing in it but text.
fn is_plain(text: &str) -> bool {
    !text.contains(|sign: char| {
        sign.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}".contains(sign)
    })
}

#[tokio::test]
async fn what_a_broker_says_and_names_of_the_operator_stay_in_their_line() {
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
        // Lines end where `lines` says, and nowhere else.
        for line in log.split('\n').filter(|line| !line.is_empty()) {
            assert!(is_plain(line) && line.len() < 3000, "{line:?}");
            if format == "json" {
                let line: Value = serde_json::from_str(line).expect("a line is JSON");
                assert_ne!(line["level"], "ERROR");
            } else {
                assert!(line.starts_with("2") && !line.contains(" event=\"done\"}"), "{line:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_request_has_in_it_is_text_in_the_answer() {
    const HEADERS: [&str; 11] = [
        "allow",
        "access-control-allow-origin",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "transfer-encoding",
        "upgrade",
        "vary",
        "x-content-type-options",
    ];
    let replica = Replica::ready(&[("ALLOWED_ORIGINS", "*")]).await;
    let forged = "%0d%0aX-Forged:%20yes%0d%0a%0d%0a%3cscript%3e%00%1b%e2%80%a8";
    let field = json!({ FORGED: "x" }).to_string();
    let mut requests = vec![format!(
        "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{field}",
        field.len()
    )];
    for path in [
        "/",
        "/ws?channel=",
        "/ws?history=",
        "/events?channel=",
        "/messages?limit=",
        "/messages?after=",
        "/messages?",
        "/replicas/",
    ] {
        let origin = "Origin: http://x\", <script>, *";
        requests.push(format!(
            "GET {path}{forged} HTTP/1.1\r\nHost: x\r\n{origin}\r\nConnection: close\r\n\r\n"
        ));
    }
    requests.push(HANDSHAKE.replace("/ws", &format!("/ws?channel={forged}")));
    for request in requests {
        let response = http::send(replica.addr, &request).await;
        for line in response.head.lines().skip(1) {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            assert!(HEADERS.contains(&&*name), "{name} for {request}");
        }
        assert_eq!(response.header("content-type"), "application/json", "{request}");
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{request}");
        if response.status != 200 {
            let message = &response.json()["error"]["message"];
            assert!(message.as_str().unwrap().len() < 1000, "{request}: {message}");
        }
    }
    let offers = "Sec-WebSocket-Protocol: warren.v1, x\"<script>\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; x=\"y\r\n";
    let shake = HANDSHAKE.replace("Host: x\r\n", &format!("Host: x\r\n{offers}"));
    let head =
        warren_testkit::raw::Raw::send_first(replica.addr, shake.as_bytes()).await.head().await;
    assert!(head.contains("sec-websocket-protocol: warren.v1\r\n"), "{head}");
    assert!(!head.contains("script") && !head.contains("x="), "{head}");
}

#[tokio::test]
async fn names_of_other_programs_are_text_wherever_they_are_shown() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &[]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    // As a replica would call itself that can call itself so.
    let canary = json!({ "name": FORGED, "version": FORGED, "connections": 1, "instance": 1, "sequence": 1 });
    let kind = BasicProperties::default().with_type("warren.replica".into());
    peer.publish("", canary.to_string().as_bytes(), kind).await;
    // A channel has no controls, but may have all else.
    let channel: String = FORGED.chars().filter(|sign| !sign.is_control()).collect();
    let query: String = channel.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (mut client, mut events) = (
        replica.client(&format!("?channel={query}")).await,
        replica.events(&format!("?channel={query}")).await,
    );
    // White space of JSON, where an event has its lines.
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
    assert!(!metrics.contains("script") && metrics.lines().all(is_plain));
}
