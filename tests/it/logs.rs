//! The log output: lines and counters agree, and secrets and client input are not logged.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use std::collections::BTreeMap;
use warren_client::websocket::Message;
use warren_observe::events::{Declaration, SECTIONS, Series};
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::http::{self, Response};
use warren_testkit::otlp_collector::Collector;
use warren_testkit::ports::free_port;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{RabbitMq, shared, unique};
use warren_testkit::raw::{Raw, frame};
use warren_testkit::replica::{Replica, command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// An unsampled trace of the caller.
const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
/// Shutdown without delay.
const QUICK: [(&str, &str); 2] = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "0s")];

fn declared() -> impl Iterator<Item = &'static Declaration> {
    SECTIONS.iter().flat_map(|section| section.events)
}

/// The events of a log in JSON lines. Anything else in it is a failure.
fn events(log: &str) -> Vec<(&'static Declaration, Value)> {
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let event = declared().find(|event| line["event"] == event.name);
        let event = event.unwrap_or_else(|| panic!("not declared: {line}"));
        assert_eq!(line["level"], event.level.to_string());
        for key in line.as_object().unwrap().keys().map(String::as_str) {
            let always = ["timestamp", "level", "message", "event"].contains(&key);
            let count = key == "count" && event.quiet.is_some();
            assert!(always || count || event.fields.contains(&key), "{key}: {line}");
        }
        (event, line)
    };
    log.lines().map(event).collect()
}

/// Number of events by the series that counts them, according to the lines.
fn sums(log: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (event, line) in events(log) {
        let metric = event.metric();
        let value = match event.series {
            None => event.counter.is_none().then_some(event.name),
            Some(Series::Value(value)) => Some(value),
            Some(Series::Field(field)) => Some(line[field].as_str().unwrap()),
        };
        let series = match value {
            None => metric.name.to_owned(),
            // The last label is the kind of event.
            Some(value) => {
                format!("{} {}={value:?}", metric.name, metric.labels.names.last().unwrap())
            }
        };
        *sums.entry(series).or_default() += line["count"].as_u64().unwrap_or(1);
    }
    sums
}

/// Number of events according to a scrape: the series of metrics that count events and are not 0.
async fn counted(replica: &Replica) -> BTreeMap<String, u64> {
    // Counted without an event.
    const USUAL: [&str; 6] = ["confirmed", "by_client", "restart", "gone", "memory", "log"];
    let text = http::get(replica.admin, "/metrics").await.body;
    let mut counted = BTreeMap::new();
    for (series, count) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let label = labels.rsplit(',').next().unwrap();
        let usual = USUAL.iter().any(|value| label.ends_with(&format!("=\"{value}\"")));
        if !usual && count != "0" && declared().any(|event| event.metric().name == name) {
            let series = format!("{name} {label}").trim_end().to_owned();
            counted.insert(series, count.parse().unwrap());
        }
    }
    counted
}

/// Shuts the replica down and returns its log.
async fn end(replica: &mut Replica) -> String {
    replica.process.signal("TERM");
    assert!(replica.process.ended(LIMIT).await.success());
    replica.process.output()
}

/// All lines of an event.
fn lines<'a>(events: &'a [(&Declaration, Value)], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|(event, _)| event.name == name).map(|(_, line)| line).collect()
}

#[tokio::test]
async fn burst_is_summarized_without_a_further_event() {
    let mut replica = Replica::ready(&[("CLIENT_RATE", "1/m")]).await;
    let mut eager = Raw::connect(replica.addr).await;
    // The first message is within the rate.
    eager.write(&frame(0x81, b"again").repeat(501)).await;
    let series = "warren_messages_rejected_total{cause=\"rate_limited\"}";
    replica.metric_becomes(series, |count| count == 500.0).await;
    let rejected = |line: &str| line.contains("\"message_rejected\"");
    replica.process.line(LIMIT, rejected).await;
    // The summary comes by itself when it is due.
    replica.process.line(LIMIT, rejected).await;
    let log = replica.process.output();
    assert_eq!(sums(&log)["warren_messages_rejected_total cause=\"rate_limited\""], 500);
    assert_eq!(lines(&events(&log), "message_rejected").len(), 2, "{log}");
}

#[tokio::test]
async fn lines_match_counters_for_client_events() {
    let settings = [("MAX_CONNECTIONS", "3"), ("CLIENT_RATE", "1/m"), ("MAX_MESSAGE", "1KiB")];
    let mut replica = Replica::ready(&[&settings[..], &QUICK].concat()).await;
    replica.publish("lobby", "something to come back to").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(replica.client("").await);
    }
    for _ in 0..7 {
        assert_eq!(http::get(replica.addr, "/ws").await.status, 426);
        assert_eq!(http::get(replica.addr, "/ws?channel=").await.status, 400);
        assert_eq!(http::get(replica.addr, "/messages?after=nonsense").await.status, 200);
        assert_eq!(http::get(replica.addr, "/messages?after=0-0000000000000000").await.status, 200);
        assert_eq!(http::post(replica.addr, "/messages", "{}").await.status, 400);
        assert_eq!(replica.post("lobby", "x".repeat(2000)).await.status, 413);
        assert!(Client::try_connect(replica.addr, "").await.is_err(), "there are three");
    }
    for client in &mut clients[1..] {
        client.send("within the rate").await;
        client.send("beyond it").await;
        client.send_raw(Message::binary("not served")).await;
        client.ended().await;
    }
    replica.metric_becomes("warren_connections{transport=\"websocket\"}", |open| open == 1.0).await;
    let counted = counted(&replica).await;
    drop(clients);
    let mut sums = sums(&end(&mut replica).await);
    for series in ["shutdown_requested", "phase_changed", "stopped"] {
        sums.remove(&format!("warren_events_total event=\"{series}\"")).unwrap();
    }
    assert_eq!(sums, counted);
    for (series, count) in [
        ("warren_handshakes_refused_total cause=\"bad_request\"", 7),
        ("warren_handshakes_refused_total cause=\"no_websocket\"", 7),
        ("warren_handshakes_refused_total cause=\"too_many_connections\"", 7),
        ("warren_messages_rejected_total cause=\"bad_request\"", 7),
        ("warren_messages_rejected_total cause=\"rate_limited\"", 2),
        ("warren_messages_rejected_total cause=\"too_large\"", 7),
        ("warren_connections_closed_total reason=\"binary_data\"", 2),
        ("warren_resumes_total outcome=\"malformed\"", 7),
        ("warren_resumes_total outcome=\"unknown\"", 7),
    ] {
        assert_eq!(sums.get(series), Some(&count), "{series}");
    }
}

#[tokio::test]
async fn lines_match_counters_for_rabbitmq_events() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    // Canaries would be missed during the last scrape.
    let more = [("CANARY_INTERVAL", "0s"), ("PUBLISH_TIMEOUT", "300ms")];
    let settings = [&more[..], &QUICK].concat();
    let mut replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    for _ in 0..300 {
        peer.publish("", b"\xff", BasicProperties::default()).await;
    }
    let series = "warren_messages_malformed_total{reason=\"not_utf8\"}";
    replica.metric_becomes(series, |count| count == 300.0).await;

    rabbitmq.kill();
    replica.becomes_ready(false).await;
    for _ in 0..5 {
        let response = replica.post("lobby", "lost").await;
        assert_eq!((response.status, response.error().as_str()), (503, "publish_timeout"));
    }
    let series = "warren_amqp_reconnects_total{role=\"publish\"}";
    replica.metric_becomes(series, |count| count >= 3.0).await;
    rabbitmq.start_again().await;
    replica.becomes_ready(true).await;

    let peer = AmqpPeer::connect(&rabbitmq.url(), &unique("elsewhere")).await;
    peer.unbind(&format!("{exchange}.log"), &exchange).await.unwrap();
    // The publish may take longer than its sender waits, and succeeds all the same.
    let _ = replica.post("lobby", "unbound").await;
    replica.metric_becomes("warren_messages_returned_total", |count| count >= 1.0).await;
    replica.becomes_ready(true).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 0.0).await;

    let counted = counted(&replica).await;
    let mut sums = sums(&end(&mut replica).await);
    for series in ["shutdown_requested", "phase_changed", "stopped"] {
        sums.remove(&format!("warren_events_total event=\"{series}\"")).unwrap();
    }
    assert_eq!(sums, counted);
    assert_eq!(sums["warren_messages_malformed_total reason=\"not_utf8\""], 300);
    assert!(sums["warren_messages_published_total outcome=\"publish_timeout\""] >= 5);
    for series in
        ["warren_amqp_reconnects_total role=\"consume\"", "warren_messages_returned_total"]
    {
        assert!(sums[series] >= 1, "{series}");
    }
}

/// Posts a message that cannot be published, with or without a trace.
async fn fails(replica: &Replica, headers: &str) {
    let response: Response = replica.post_with(headers, "lobby", "unspeakable").await;
    assert_eq!((response.status, response.error().as_str()), (503, "publish_timeout"));
}

#[tokio::test]
async fn failed_publish_is_logged_with_trace_id() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    for traces in [false, true] {
        let mut settings = vec![("AMQP_URL", url.as_str()), ("PUBLISH_TIMEOUT", "200ms")];
        settings.extend(QUICK);
        if traces {
            settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
        }
        let mut replica = Replica::start(&settings).await;
        fails(&replica, PARENT).await;
        // The two are summarized in one line, which has the trace of the last.
        fails(&replica, &PARENT.replace(TRACE, &TRACE.replace('0', "1"))).await;
        let events = events(&end(&mut replica).await);
        let logged: Vec<_> = lines(&events, "publish_failed")
            .into_iter()
            .map(|line| (line["count"].as_u64(), line["trace_id"].as_str(), &line["outcome"]))
            .collect();
        let other = TRACE.replace('0', "1");
        let outcome = Value::from("publish_timeout");
        let expected = [(Some(1), Some(TRACE), &outcome), (Some(1), Some(&*other), &outcome)];
        assert_eq!(logged, expected, "traces: {traces}");
        assert!(lines(&events, "message_rejected").is_empty(), "once is enough");
    }
    // Without a trace there is no trace id.
    let mut replica = Replica::start(
        &[&[("AMQP_URL", url.as_str()), ("PUBLISH_TIMEOUT", "200ms")], &QUICK[..]].concat(),
    )
    .await;
    fails(&replica, "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n")
        .await;
    let events = events(&end(&mut replica).await);
    let [line] = lines(&events, "publish_failed")[..] else { panic!("{events:?}") };
    assert!(line.get("trace_id").is_none(), "{line}");
}

#[tokio::test]
async fn invalid_foreign_message_is_logged_with_trace_id() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let mut replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut headers = FieldTable::default();
    let parent = PARENT.trim_end().trim_start_matches("traceparent: ");
    headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
    peer.publish("", b"\xff", BasicProperties::default().with_headers(headers)).await;
    let line = replica.process.line(LIMIT, |line| line.contains("\"message_malformed\"")).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["reason"], &line["trace_id"]), (&"not_utf8".into(), &TRACE.into()));
}

#[tokio::test]
async fn text_format_has_fields_of_json_format() {
    let (address, url) = (
        format!("127.0.0.1:{}", free_port()),
        format!("amqp://guest:guest@127.0.0.1:{}", free_port()),
    );
    let mut process = Process::spawn(command(&[
        ("LOG_FORMAT", "text"),
        ("LISTEN", &address),
        ("AMQP_URL", &url),
        ("PUBLISH_TIMEOUT", "200ms"),
    ]));
    process.line(LIMIT, |line| line.contains(&format!("serving: open http://{address}"))).await;
    let request = format!(
        "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{PARENT}Content-Length: 10\r\n\r\n{{\"text\":1}}"
    );
    assert_eq!(http::send(address.parse().unwrap(), &request).await.status, 503);
    let line = process.line(LIMIT, |line| line.contains("not published")).await;
    let fields = format!(
        "WARN a message was not published event=\"publish_failed\" count=1 \
         outcome=\"publish_timeout\" trace_id={TRACE}"
    );
    assert!(line.ends_with(&fields), "{line}");
}

#[tokio::test]
async fn messages_client_input_and_secrets_are_not_logged() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let url = rabbitmq.url().replace("guest:guest", "guest:hunter2");
    let settings = [
        ("AMQP_URL", url.as_str()),
        ("EXCHANGE", &exchange),
        ("PUBLISH_TIMEOUT", "200ms"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9/hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let mut refused = Replica::start(&[&settings[..], &QUICK].concat()).await;
    fails(&refused, "").await;
    refused.process.line(LIMIT, |line| line.contains("ACCESS_REFUSED")).await;
    refused.process.line(LIMIT, |line| line.contains("spans_not_exported")).await;

    let mut replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &QUICK).await;
    let forged = "unspeakable%0A%1B%5B31m%22%7D";
    for path in ["/ws", "/messages"] {
        for query in ["channel", "after", "history", "unspeakable"] {
            http::get(replica.addr, &format!("{path}?{query}={forged}")).await;
        }
    }
    for (headers, body) in [
        ("Origin: http://unspeakable\r\n", "{\"text\":\"unspeakable\"}"),
        ("", "{\"text\":\"unspeakable\",\"key\":\"\"}"),
        ("", "{\"text\":\"unspeakable\",\"channel\":\"unspeakable\\n\"}"),
        ("", "{\"unspeakable\":\"unspeakable\"}"),
        ("", "unspeakable"),
    ] {
        let request = format!(
            "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_ne!(http::send(replica.addr, &request).await.status, 202, "{headers}{body}");
    }
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    for (key, body, kind) in [
        ("unspeakable\n", "{\"text\":\"unspeakable\"}", ""),
        ("", "unspeakable", "warren.unspeakable"),
        ("", "{\"unspeakable\":1}", "warren.replica"),
    ] {
        let properties =
            BasicProperties::default().with_type(kind.into()).with_app_id("unspeakable".into());
        peer.publish(key, body.as_bytes(), properties).await;
    }
    let series = "warren_messages_malformed_total{reason=\"control\"}";
    replica.metric_becomes(series, |count| count == 2.0).await;
    for replica in [&mut refused, &mut replica] {
        let log = end(replica).await;
        assert!(events(&log).len() > 5);
        assert!(!log.contains("hunter2") && !log.contains("unspeakable"), "{log}");
    }
}

#[tokio::test]
async fn filtered_event_is_counted() {
    let settings = [("LOG", "info,warren::handshake_refused=off")];
    let mut replica = Replica::ready(&[&settings[..], &QUICK].concat()).await;
    assert_eq!(http::get(replica.addr, "/ws").await.status, 426);
    let series = "warren_handshakes_refused_total{cause=\"no_websocket\"}";
    assert_eq!(replica.metric(series).await, 1.0);
    let log = end(&mut replica).await;
    assert!(log.contains("\"stopped\"") && !log.contains("handshake"), "{log}");
}
