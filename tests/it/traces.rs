//! Traces from the publisher through RabbitMQ to the broadcast of every replica.

use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use tokio::process::Command;
use tokio::time::Instant;
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::otlp_collector::{Collector, Span};
use warren_testkit::ports::free_port;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{LIVE, Replica, command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A short export interval, for tests that wait for spans.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Shutdown without delay.
const QUICK: [(&str, &str); 2] = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "0s")];

/// A `traceparent` of the caller, sampled or not.
fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

async fn replica(name: &str, exchange: &str, more: &[(&str, &str)]) -> Replica {
    let url = shared().url();
    Replica::on_rabbitmq(name, &url, exchange, &[&[SOON], more].concat()).await
}

async fn three(exchange: &str, more: &[(&str, &str)]) -> Vec<Replica> {
    join_all(["a", "b", "c"].map(|name| replica(name, exchange, more))).await
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// Publishes with amqplib, in Node, to channel `news`.
async fn amqplib(exchange: &str, traceparent: &str, text: &str) {
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipe/publish.mjs"))
        .arg(text)
        .env("AMQP_URL", shared().url())
        .env("EXCHANGE", exchange)
        .env("ROUTING_KEY", "news")
        .env("TRACEPARENT", traceparent);
    let output = node.output().await.expect("node runs; `make setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts that each of the three replicas has consumed the message, linked to `creation`, and broadcast it.
fn reached_all(spans: &[Span], exchange: &str, creation: &str, channel: &str) {
    let consumed = named(spans, &format!("consume {exchange}"));
    let broadcast = named(spans, "broadcast");
    for replica in ["a", "b", "c"] {
        let of = |spans: &[&Span]| {
            let mut of: Vec<_> = spans.iter().filter(|span| span.replica == replica).collect();
            assert_eq!(of.len(), 1, "of {replica}: {of:?}");
            of.pop().copied().cloned().unwrap()
        };
        let (consume, broadcast) = (of(&consumed), of(&broadcast));
        assert_eq!((consume.kind, consume.parent.as_str()), (5, creation), "{consume:#?}");
        assert_eq!(consume.links, [(TRACE.to_owned(), creation.to_owned())]);
        for (key, value) in [
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", "consume"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", &format!("{exchange}:{channel}:{exchange}.log")),
            ("messaging.destination.template", exchange),
            ("messaging.rabbitmq.destination.routing_key", channel),
        ] {
            assert_eq!(consume.attributes[key], value, "{key}");
        }
        assert!(consume.attributes.contains_key("messaging.rabbitmq.message.delivery_tag"));
        assert!(!consume.attributes.contains_key("messaging.destination.anonymous"));
        assert_eq!((broadcast.kind, &broadcast.parent), (1, &consume.id));
        assert!(broadcast.links.is_empty());
    }
}

#[tokio::test]
async fn http_publish_and_all_broadcasts_share_a_trace() {
    let (collector, exchange) = (Collector::start().await, unique("messages"));
    let settings = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_SERVICE_NAME", "burrow".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=te%20st".to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let replicas = three(&exchange, &settings).await;
    let mut clients = join_all(replicas.iter().map(|it| it.client("?channel=news"))).await;
    clients.push(replicas[0].client("?channel=news").await);
    clients.push(replicas[0].client("?channel=other").await);

    let headers = format!("traceparent: {}\r\ntracestate: vendor=1\r\n", parent("01"));
    let response = replicas[0].post_with(&headers, "news", "unspeakable").await;
    let id = response.json()["id"].as_str().unwrap().to_owned();
    let mut frame = String::new();
    for client in &mut clients[..4] {
        let message = client.message().await;
        assert_eq!(message["id"], id);
        frame = message.to_string();
    }
    let spans = collector.trace(TRACE, 8).await;
    assert_eq!(spans.len(), 8, "one each, however many clients: {spans:#?}");

    let [request] = named(&spans, "POST /messages")[..] else { panic!("{spans:#?}") };
    assert_eq!((request.kind, request.parent.as_str(), &*request.replica), (2, CALLER, "a"));
    assert_eq!(request.attributes["http.response.status_code"], "202");
    assert_eq!(request.attributes["http.route"], "/messages");
    assert_eq!(request.attributes["warren.message.id"], id);
    let [publish] = named(&spans, &format!("publish {exchange}"))[..] else { panic!("{spans:#?}") };
    assert_eq!((publish.kind, &publish.parent, &*publish.replica), (4, &request.id, "a"));
    for (key, value) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", &format!("{exchange}:news")),
        ("messaging.rabbitmq.destination.routing_key", "news"),
    ] {
        assert_eq!(publish.attributes[key], value, "{key}");
    }
    reached_all(&spans, &exchange, &publish.id, "news");
    let consumed = named(&spans, &format!("consume {exchange}"));
    for span in &consumed {
        let message_id = "messaging.message.id";
        assert_eq!(span.attributes[message_id], publish.attributes[message_id]);
        assert_eq!(span.attributes["warren.message.id"], id);
    }
    for span in named(&spans, "broadcast") {
        let clients = if span.replica == "a" { 2 } else { 1 };
        assert_eq!(span.attributes["warren.broadcast.clients"], clients.to_string());
        let workers: usize = span.attributes["warren.broadcast.workers"].parse().unwrap();
        assert!((1..=clients).contains(&workers), "{span:#?}");
        let bytes: usize = span.attributes["warren.broadcast.bytes"].parse().unwrap();
        let (most, least) = (frame.len() + 10, frame.len());
        assert!((clients * least..=clients * most).contains(&bytes), "{bytes} of {frame}");
    }
    for span in &spans {
        assert_eq!((span.service.as_str(), span.state.as_str()), ("burrow", "vendor=1"));
        assert_eq!(span.resource["deployment.environment.name"], "te st");
        let shown = format!("{span:?}");
        for secret in ["unspeakable", "hunter2", "guest"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    assert!(collector.head().to_ascii_lowercase().contains("authorization: bearer hunter2"));
    let log = replicas[0].process.output();
    assert!(log.contains("\"sampling\":\"parentbased_always_on\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn traceparent_header_of_amqp_message_is_continued() {
    let (collector, exchange) = (Collector::start().await, unique("messages"));
    let replicas = three(&exchange, &[(ENDPOINT, &collector.endpoint())]).await;
    let mut client = replicas[2].client("?channel=news").await;
    amqplib(&exchange, &parent("01"), "from afar").await;
    assert_eq!(client.text().await, "from afar");
    let spans = collector.trace(TRACE, 6).await;
    assert_eq!(spans.len(), 6, "{spans:#?}");
    reached_all(&spans, &exchange, CALLER, "news");
    assert!(spans.iter().all(|span| span.service == "warren"));

    // A message that cannot be delivered is a failed span.
    let peer = AmqpPeer::connect(&shared().url(), &exchange).await;
    let mut headers = FieldTable::default();
    let other = TRACE.replace('0', "1");
    let parent = format!("00-{other}-{CALLER}-01");
    headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
    peer.publish("news", b"\xff", BasicProperties::default().with_headers(headers)).await;
    let spans = collector.trace(&other, 3).await;
    assert!(spans.iter().all(|span| span.failed && span.attributes["error.type"] == "not_utf8"));
}

#[tokio::test]
async fn message_without_trace_gets_same_trace_on_all_replicas() {
    let (collector, exchange) = (Collector::start().await, unique("messages"));
    let endpoint = collector.endpoint();
    let settings = [
        (ENDPOINT, endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ];
    let _replicas = three(&exchange, &settings).await;
    let peer = AmqpPeer::connect(&shared().url(), &exchange).await;
    for n in 0..40 {
        peer.publish("news", n.to_string().as_bytes(), BasicProperties::default()).await;
    }
    let consumed = |span: &Span| span.name.starts_with("consume");
    // Each replica exports its spans in their order: those of a sampled message come last.
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(parent("01").into()));
    peer.publish("news", b"last", BasicProperties::default().with_headers(headers)).await;
    collector.such(|span| consumed(span) && span.trace == TRACE, 3).await;
    let mut traces = BTreeMap::<_, Vec<_>>::new();
    // Fewer than five of forty are as good as impossible.
    for span in collector.such(|span| consumed(span) && span.trace != TRACE, 3 * 5).await {
        assert!(span.parent.is_empty() && span.links.is_empty(), "{span:#?}");
        traces.entry(span.trace).or_default().push(span.replica);
    }
    assert!((5..=35).contains(&traces.len()), "{traces:?}");
    for (trace, mut replicas) in traces {
        replicas.sort();
        assert_eq!(replicas, ["a", "b", "c"], "{trace}");
    }
}

#[tokio::test]
async fn unsampled_trace_is_propagated_and_not_exported() {
    let (collector, exchange) = (Collector::start().await, unique("messages"));
    let endpoint = collector.endpoint();
    let settings = [LIVE, (ENDPOINT, &endpoint), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let replica = replica("quiet", &exchange, &[&settings[..], &QUICK].concat()).await;
    let mut peer = AmqpPeer::live(&shared().url(), &exchange).await;
    let mut client = replica.v1("?channel=news").await;

    let state = format!("traceparent: {}\r\ntracestate: vendor=1\r\n", parent("00"));
    assert_eq!(replica.post_with(&state, "news", "one").await.status, 202);
    assert_eq!(client.text().await, "one");
    let delivery = peer.message().await;
    let headers = delivery.properties.headers().as_ref().unwrap().inner().clone();
    let header = |name: &str| match headers.get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    let passed = header("traceparent");
    assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-00"), "{passed}");
    assert_eq!(header("tracestate"), "vendor=1");

    // Without a caller's trace the message gets one, so that all replicas sample alike.
    let command = serde_json::json!({ "publish": { "ref": 1, "channel": "news", "text": "two" } });
    client.send(command.to_string()).await;
    let delivery = peer.message().await;
    let headers = delivery.properties.headers().as_ref().unwrap().inner().clone();
    let Some(AMQPValue::LongString(text)) = headers.get("traceparent") else { panic!() };
    assert!(text.to_string().ends_with("-00") && !text.to_string().contains(TRACE));

    // A sampled trace is exported, and nothing else was.
    let sampled = format!("traceparent: {}\r\n", parent("01"));
    assert_eq!(replica.post_with(&sampled, "news", "three").await.status, 202);
    let spans = collector.trace(TRACE, 4).await;
    let [consume] = named(&spans, &format!("consume {exchange}"))[..] else { panic!("{spans:#?}") };
    for key in ["messaging.destination.anonymous", "messaging.destination.temporary"] {
        assert_eq!(consume.attributes[key], "true", "the queue has no name of its own");
    }
    drop(client);
    assert!(replica.terminate().await.success());
    let spans = collector.spans();
    assert!(spans.len() == 4 && spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let first = named(&spans, "POST /messages");
    assert!(first.len() == 1 && first[0].parent == CALLER);
}

#[tokio::test]
async fn shutdown_exports_last_spans_of_client_trace() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [(ENDPOINT, endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let replica = Replica::ready(&[&settings[..], &QUICK].concat()).await;
    let mut client = replica.client("").await;
    client.send("hello").await;
    assert_eq!(client.text().await, "hello");
    drop(client);
    assert_eq!(collector.spans().len(), 0, "not before they are due");
    assert!(replica.terminate().await.success());
    let spans = collector.spans();
    let [publish] = named(&spans, "WebSocket publish")[..] else { panic!("{spans:#?}") };
    assert!(publish.parent.is_empty() && publish.attributes.contains_key("warren.message.id"));
    // The embedded broker adds no span.
    let [broadcast] = named(&spans, "broadcast")[..] else { panic!("{spans:#?}") };
    assert_eq!((&broadcast.parent, &broadcast.trace), (&publish.id, &publish.trace));
    assert_eq!(spans.len(), 2);
}

#[tokio::test]
async fn unreachable_collector_does_not_delay_messages() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let settings = [(ENDPOINT, endpoint.as_str()), SOON, ("OTEL_BSP_MAX_QUEUE_SIZE", "16")];
    let replica = Replica::ready(&[&settings[..], &QUICK].concat()).await;
    let mut client = replica.client("").await;
    for n in 0..100 {
        replica.publish("lobby", n).await;
        assert_eq!(client.text().await, n);
    }
    for cause in ["queue_full", "not_exported"] {
        let series = format!("warren_spans_dropped_total{{cause=\"{cause}\"}}");
        replica.metric_becomes(&series, |count| count > 0.0).await;
    }
    replica
        .metric_becomes("warren_spans_dropped_total{cause=\"not_exported\"}", |n| n > 16.0)
        .await;
    let log = replica.process.output();
    assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
    assert!(log.contains("refused") && !log.contains("ERROR"), "{log}");
    drop(client);
    let start = Instant::now();
    assert!(replica.terminate().await.success());
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
}

#[tokio::test]
async fn client_error_is_not_a_failed_span() {
    let collector = Collector::start().await;
    let replica = Replica::ready(&[(ENDPOINT, &collector.endpoint()), SOON]).await;
    let header = format!("traceparent: {}\r\n", parent("01"));
    assert_eq!(replica.post_with(&header, "", "nowhere").await.status, 400);
    let spans = collector.trace(TRACE, 1).await;
    assert!(!spans[0].failed && !spans[0].attributes.contains_key("error.type"), "{spans:#?}");
    assert_eq!(spans[0].attributes["http.response.status_code"], "400");
}

const LOST: &str = "warren_spans_dropped_total{cause=\"not_exported\"}";

#[tokio::test]
async fn partially_accepted_export_is_counted_and_not_repeated() {
    let collector = Collector::start().await;
    let replica = Replica::ready(&[(ENDPOINT, &collector.endpoint()), SOON]).await;
    let header = format!("traceparent: {}\r\n", parent("01"));
    collector.answer("200 OK\r\nContent-Length: 100\r\n\r\ncut off");
    assert_eq!(replica.post_with(&header, "lobby", "one").await.status, 202);
    collector.trace(TRACE, 2).await;

    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans: 1,
        error_message: "too\nmany".to_owned(),
    });
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let head = format!("200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    collector.answer([head.as_bytes(), &body].concat());
    assert_eq!(replica.post_with(&header, "lobby", "two").await.status, 202);
    replica.metric_becomes(LOST, |lost| lost == 1.0).await;
    let log = replica.process.output();
    assert!(log.contains("the collector refuses some: too many"), "{log}");
    assert_eq!((collector.times().len(), collector.spans().len()), (2, 4));
    assert_eq!(replica.metric("warren_spans_exported_total").await, 3.0);
}

#[tokio::test]
async fn export_is_retried_after_attempt_timeout() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [(ENDPOINT, endpoint.as_str()), SOON, ("OTEL_EXPORTER_OTLP_TIMEOUT", "250")];
    let replica = Replica::ready(&settings).await;
    for _ in 0..3 {
        collector.answer("503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    }
    replica.publish("lobby", "hello").await;
    collector.such(|_| true, 2).await;
    assert_eq!(replica.metric(LOST).await, 0.0);
}

#[tokio::test]
async fn retry_after_of_collector_is_respected() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [(ENDPOINT, endpoint.as_str()), SOON, ("OTEL_BSP_EXPORT_TIMEOUT", "500")];
    let replica = Replica::ready(&settings).await;
    collector.answer("429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n");
    replica.publish("lobby", "one").await;
    replica.metric_becomes(LOST, |lost| lost > 0.0).await;
    replica.publish("lobby", "two").await;
    collector.such(|_| true, 2).await;
    let times = collector.times();
    assert!((times[1] - times[0]).as_millis() >= 1900, "{times:?}");
}

#[tokio::test]
async fn collector_certificate_is_verified() {
    let (collector, certificate) = Collector::secure().await;
    let file = format!("{}/{}.pem", env!("CARGO_TARGET_TMPDIR"), unique("collector"));
    fs::write(&file, certificate).unwrap();
    let endpoint = collector.endpoint();
    let settings = [(ENDPOINT, endpoint.as_str()), SOON];
    let trusting = [&settings[..], &[("OTEL_SERVICE_NAME", "trusting"), ("SSL_CERT_FILE", &file)]];
    let trusting = Replica::ready(&trusting.concat()).await;
    fs::remove_file(&file).unwrap();
    let stranger = Replica::ready(&settings).await;
    stranger.publish("lobby", "to nobody").await;
    stranger
        .metric_becomes("warren_spans_dropped_total{cause=\"not_exported\"}", |n| n > 0.0)
        .await;
    let log = stranger.process.output();
    assert!(log.contains("certificate"), "{log}");
    assert_eq!(collector.spans().len(), 0);

    let header = format!("traceparent: {}\r\n", parent("01"));
    assert_eq!(trusting.post_with(&header, "lobby", "hello").await.status, 202);
    let spans = collector.trace(TRACE, 2).await;
    assert!(spans.iter().all(|span| span.service == "trusting"), "{spans:#?}");
}

#[tokio::test]
async fn hanging_collector_does_not_delay_shutdown() {
    // The collector accepts the connection and does nothing else.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hole.local_addr().unwrap());
    let settings = [(ENDPOINT, endpoint.as_str()), SOON];
    let mut replica = Replica::ready(&[&settings[..], &QUICK].concat()).await;
    replica.publish("lobby", "hello").await;
    let start = Instant::now();
    replica.process.signal("TERM");
    assert!(replica.process.ended(LIMIT).await.success());
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
    let log = replica.process.output();
    let left = log.lines().find(|line| line.contains("\"spans_abandoned\"")).expect(&log);
    assert!(left.contains("\"count\":2"), "{left}");
}

#[tokio::test]
async fn exports_log_only_declared_events() {
    let collector = Collector::start().await;
    let settings = [(ENDPOINT, &*collector.endpoint()), SOON, ("LOG", "trace")];
    let replica = Replica::ready(&settings).await;
    replica.publish("lobby", "hello").await;
    collector.such(|_| true, 2).await;
    let log = replica.process.output();
    for line in log.lines().filter(|line| line.contains(&collector.endpoint()[7..])) {
        assert!(line.contains("exporting_traces"), "{line}");
    }
    assert!(!log.contains("idle connection"), "{log}");
}

#[tokio::test]
async fn no_endpoint_disables_tracing() {
    let threads = |replica: &Replica| {
        let tasks = fs::read_dir(format!("/proc/{}/task", replica.process.id())).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap();
        tasks.map(|task| name(task.unwrap()).trim().to_owned()).collect::<Vec<_>>()
    };
    let replica = Replica::ready(&[]).await;
    assert!(!threads(&replica).contains(&"traces".to_owned()));
    assert_eq!(replica.metric("warren_spans_dropped_total{cause=\"queue_full\"}").await, 0.0);
    let collector = Collector::start().await;
    let replica = Replica::ready(&[(ENDPOINT, &collector.endpoint())]).await;
    assert!(threads(&replica).contains(&"traces".to_owned()), "{:?}", threads(&replica));
    let replica =
        Replica::ready(&[(ENDPOINT, &collector.endpoint()), ("OTEL_SDK_DISABLED", "true")]).await;
    assert!(!threads(&replica).contains(&"traces".to_owned()));
    assert_eq!(http::get(replica.addr, "/replicas").await.status, 200);
}

#[test]
fn unsupported_otlp_protocol_is_refused_at_start() {
    let output = command(&[
        (ENDPOINT, "http://user:hunter2@localhost:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("PING_INTERVAL", "often"),
    ])
    .output()
    .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("OTEL_EXPORTER_OTLP_ENDPOINT: ").contains("OTEL_EXPORTER_OTLP_HEADERS"), "{text}");
    assert!(line("OTEL_EXPORTER_OTLP_PROTOCOL: ").contains("http/protobuf"), "{text}");
    assert!(line("WARREN_PING_INTERVAL: ").contains("30s") && !text.contains("hunter2"), "{text}");
}
