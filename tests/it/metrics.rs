//! The metrics of a replica on RabbitMQ, and of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use warren_observe::metrics::{Declaration, MAIN, SECTIONS, WORKER};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::rabbitmq::{RabbitMq, shared, unique};
use warren_testkit::replica::{LIVE, Replica};

fn declared() -> impl Iterator<Item = &'static Declaration> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

async fn scrape(replica: &Replica) -> String {
    http::get(replica.admin, "/metrics").await.body
}

/// The labels of a sample.
fn labels(sample: &str) -> BTreeMap<&str, &str> {
    let Some((_, rest)) = sample.split_once('{') else { return BTreeMap::new() };
    let (labels, _) = rest.rsplit_once('}').unwrap();
    labels
        .split(',')
        .map(|label| {
            let (name, value) = label.split_once('=').unwrap();
            (name, value.trim_matches('"'))
        })
        .collect()
}

#[tokio::test]
async fn scrape_has_exactly_declared_metrics() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[]).await;
    let mut client = replica.client("").await;
    let mut events = replica.events("").await;
    client.send("hello").await;
    assert_eq!((client.text().await, events.text().await), ("hello".into(), "hello".into()));
    let text = scrape(&replica).await;

    let mut types = BTreeMap::new();
    let mut helps = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            types.insert(name, kind);
        } else if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|it| it.split_once(' '))
        {
            helps.insert(name, help);
        }
    }
    let kinds = declared().map(|metric| (metric.name, metric.kind.name()));
    assert_eq!(types, kinds.collect());
    assert_eq!(helps, declared().map(|metric| (metric.name, metric.help)).collect());

    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let stem = stem.filter(|stem| types.get(stem) == Some(&"histogram")).unwrap_or(name);
        let metric = declared().find(|metric| metric.name == stem).expect("it is declared");
        let mut labels = labels(sample);
        labels.remove("le");
        let names: BTreeSet<_> = labels.keys().copied().collect();
        assert_eq!(names, metric.labels.names.iter().copied().collect(), "{line}");
        match metric.labels.names {
            [] => {}
            [WORKER] => assert!([MAIN, "0", "1"].contains(&labels[WORKER]), "{line}"),
            names => {
                let values: Vec<_> = names.iter().map(|name| labels[name]).collect();
                assert!(metric.labels.values().contains(&values), "{line}");
            }
        }
    }
    promtool_is_content(&text);
}

/// Checks an exposition with Prometheus' own tool.
fn promtool_is_content(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool: run `make setup`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && says.is_empty() && output.stdout.is_empty(), "{says}");
}

#[tokio::test]
async fn embedded_broker_has_no_amqp_metrics() {
    let replica = Replica::ready(&[]).await;
    let text = scrape(&replica).await;
    assert!(!text.contains("warren_amqp_up"), "{text}");
    assert_eq!(replica.metric("warren_hearing").await, 1.0);
    promtool_is_content(&text);
}

#[tokio::test]
async fn thread_and_process_metrics_are_reported() {
    let replica = Replica::ready(&[]).await;
    for worker in [MAIN, "0", "1"] {
        let series = |name: &str| format!("warren_{name}{{worker=\"{worker}\"}}");
        replica.metric_becomes(&series("event_loop_lag_seconds_count"), |n| n >= 3.0).await;
        assert!(replica.metric(&series("runtime_busy_seconds_total")).await > 0.0);
        assert!(replica.metric(&series("runtime_parks_total")).await > 0.0);
        assert!(replica.metric(&series("runtime_tasks")).await > 0.0);
    }
    assert!(replica.metric("process_cpu_seconds_total").await > 0.0);
    assert!(replica.metric("process_open_fds").await > 10.0);
    assert!(replica.metric("process_threads").await >= 3.0);
    let resident = replica.metric("process_resident_memory_bytes").await;
    let known = replica.memory() as f64;
    assert!((resident - known).abs() < known / 4.0, "{resident} {known}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - replica.metric("process_start_time_seconds").await;
    assert!((0.0..120.0).contains(&age), "{age}");
}

#[tokio::test]
async fn foreign_messages_are_counted() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let peer = AmqpPeer::live(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    let properties = lapin::BasicProperties::default();
    let body = b"{\"text\":\"from afar\"}";
    peer.publish("", body, properties).await;
    assert_eq!(client.text().await, "from afar");
    // The age of a foreign message is unknown, with or without a date.
    let body = b"{\"text\":\"of old\",\"date\":\"0001-01-01T00:00:00.5Z\"}";
    peer.publish("", body, lapin::BasicProperties::default()).await;
    assert_eq!(client.text().await, "of old");
    assert_eq!(replica.metric("warren_publish_to_broadcast_seconds_count").await, 0.0);
    client.send("ours").await;
    assert_eq!(client.text().await, "ours");
    assert_eq!(replica.metric("warren_messages_foreign_total").await, 2.0);
    replica.metric_becomes("warren_publish_to_broadcast_seconds_count", |n| n == 1.0).await;
}

#[tokio::test]
async fn returned_message_is_counted_and_published_again() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    // No canary comes before the message.
    let settings = [("CANARY_INTERVAL", "60s")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let mut client = replica.client("").await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &unique("elsewhere")).await;
    assert_eq!(replica.metric("warren_messages_returned_total").await, 0.0);
    peer.unbind(&format!("{exchange}.log"), &exchange).await.unwrap();
    client.send("unbound").await;
    assert_eq!(client.text().await, "unbound");
    assert_eq!(replica.metric("warren_messages_returned_total").await, 1.0);
    let confirmed = "warren_messages_published_total{outcome=\"confirmed\"}";
    replica.metric_becomes(confirmed, |count| count == 1.0).await;
}

#[tokio::test]
async fn blocked_publishing_shows_duration_and_backlog() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    let replica =
        Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[("PUBLISH_TIMEOUT", "60s")])
            .await;
    let mut client = replica.client("").await;
    assert_eq!(replica.metric("warren_amqp_blocked_seconds_total").await, 0.0);
    rabbitmq.set_memory_watermark(0.000_000_1).await;
    client.send("held back").await;
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 1.0).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 1.0).await;
    assert!(replica.metric("warren_publish_buffer_bytes").await > 256.0);
    // The counter rises while the block lasts.
    replica.metric_becomes("warren_amqp_blocked_seconds_total", |time| time > 1.0).await;
    rabbitmq.set_memory_watermark(0.4).await;
    assert_eq!(client.text().await, "held back");
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 0.0).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 0.0).await;
    let took = replica.metric("warren_publish_confirm_seconds_sum").await;
    assert!(took > 1.0, "{took}");
    let time = replica.metric("warren_amqp_blocked_seconds_total").await;
    assert_eq!(replica.metric("warren_amqp_blocked_seconds_total").await, time, "no longer");
}

#[tokio::test]
async fn drain_shows_in_phase_metric() {
    let mut replica = Replica::ready(&[("DRAIN_DELAY", "1s"), ("DRAIN_PERIOD", "2s")]).await;
    let phase = |phase| format!("warren_phase{{phase=\"{phase}\"}}");
    assert_eq!(replica.metric(&phase("running")).await, 1.0);
    let client = replica.client("").await;
    replica.process.signal("TERM");
    replica.metric_becomes(&phase("unready"), |is| is == 1.0).await;
    assert_eq!(replica.metric(&phase("running")).await, 0.0);
    replica.metric_becomes(&phase("draining"), |is| is == 1.0).await;
    drop(client);
}
