//! What an operator is shown: docs/metrics.md, a scrape, and that the figures are true.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use warren_observe::metrics::{Declaration, Labels, MAIN, SECTIONS, WORKER, markdown};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::rabbitmq::{RabbitMq, shared, unique};
use warren_testkit::raw::Raw;
use warren_testkit::replica::{LIVE, Replica};

fn declared() -> impl Iterator<Item = &'static Declaration> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

async fn scrape(replica: &Replica) -> String {
    http::get(replica.admin, "/metrics").await.body
}

#[test]
fn the_metrics_document_is_up_to_date() {
    assert!(document("metrics.md") == markdown(), "docs/metrics.md: run `make docs`");
}

#[test]
fn every_alert_of_the_runbook_reads_a_metric_and_no_other_alert_does() {
    let operations = document("operations.md");
    let headings = operations.lines().filter_map(|line| line.strip_prefix("### Warren"));
    let runbook: BTreeSet<_> = headings.map(|name| format!("Warren{name}")).collect();
    let read = declared().flat_map(|metric| metric.alerts).map(|alert| (*alert).to_owned());
    assert_eq!(read.collect::<BTreeSet<_>>(), runbook);
}

/// The metrics in an expression, as they are declared.
fn metrics_of(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    words
        .filter(|word| word.starts_with("warren_") || word.starts_with("process_"))
        .map(|word| {
            ["_seconds_bucket", "_seconds_sum", "_seconds_count"]
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .map_or(word, |stem| &word[..stem.len() + "_seconds".len()])
        })
        .collect()
}

#[test]
fn alerts_read_the_metrics_that_are_declared_as_theirs() {
    let rules = document("../charts/warren/rules/warren.yaml");
    let mut read = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let (name, rest) = rule.split_once('\n').unwrap();
        let (expression, _) = rest.split_once("labels:").unwrap();
        read.insert(name, metrics_of(expression));
    }
    let mut declared_as = BTreeMap::<_, BTreeSet<_>>::new();
    for metric in declared() {
        for alert in metric.alerts {
            declared_as.entry(*alert).or_default().insert(metric.name);
        }
    }
    assert_eq!(read, declared_as, "rules, and crates/observe/src/metrics/table.rs");
}

#[test]
fn documents_name_metrics_that_there_are() {
    let names: BTreeSet<_> = declared().map(|metric| metric.name).collect();
    for name in ["operations.md", "protocol.md", "../README.md"] {
        let text = document(name);
        let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        for word in words.filter(|word| word.starts_with("warren_")) {
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            // A prefix of several names, as in a pattern.
            let prefix = ["warren_", "warren_rabbitmq"].contains(&word);
            assert!(prefix || names.contains(stem.unwrap_or(word)), "{word} in {name}");
        }
    }
}

/// The labels of a sample, as the exposition has them.
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
async fn a_scrape_has_what_is_declared_and_nothing_else() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &[]).await;
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
        assert_eq!(names, metric.labels.names().into_iter().collect(), "{line}");
        match metric.labels {
            Labels::None => {}
            Labels::One(name, values) => assert!(values.contains(&labels[name]), "{line}"),
            Labels::Two([one, two], pairs) => {
                assert!(pairs.contains(&(labels[one], labels[two])), "{line}");
            }
            Labels::Worker => assert!([MAIN, "0", "1"].contains(&labels[WORKER]), "{line}"),
        }
    }
    promtool_is_content(&text);
}

/// Has Prometheus' own tool check an exposition.
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
async fn the_embedded_broker_has_no_connection_that_could_be_down() {
    let replica = Replica::ready(&[]).await;
    let text = scrape(&replica).await;
    assert!(!text.contains("warren_amqp_up"), "{text}");
    assert_eq!(replica.metric("warren_hearing").await, 1.0);
    promtool_is_content(&text);
}

#[tokio::test]
async fn clients_and_what_they_get_are_counted_by_the_workers_and_added_up() {
    let replica = Replica::ready(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(replica.client("?channel=a&channel=b").await);
    }
    let mut events = replica.events("?channel=a").await;
    let open = |transport| format!("warren_connections{{transport=\"{transport}\"}}");
    assert_eq!(replica.metric(&open("websocket")).await, 5.0);
    assert_eq!(replica.metric(&open("events")).await, 1.0);
    replica.metric_becomes("warren_listeners", |listeners| listeners == 11.0).await;
    for n in 0..10 {
        clients[0].send(n.to_string()).await;
    }
    for n in 0..10 {
        let text = n.to_string();
        for client in &mut clients {
            assert_eq!(client.text().await, text);
        }
        assert_eq!(events.text().await, text);
    }
    replica.metric_becomes("warren_deliveries_total", |count| count == 60.0).await;
    let writes = replica.metric("warren_writes_total").await;
    assert!((6.0..=70.0).contains(&writes), "{writes}");
    assert!(replica.metric("warren_delivered_bytes_total").await > 60.0 * 50.0);
    // Once for each message.
    replica.metric_becomes("warren_publish_broadcast_seconds_count", |n| n == 10.0).await;
    replica.metric_becomes("warren_publish_confirm_seconds_count", |n| n == 10.0).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 0.0).await;
    replica.metric_becomes("warren_publish_buffer_bytes", |bytes| bytes == 0.0).await;
    // Both workers keep them; it is the same memory.
    let kept = replica.metric_becomes("warren_history_bytes", |bytes| bytes > 0.0).await;
    assert!((10.0 * 400.0..10.0 * 800.0).contains(&kept), "{kept}");
    assert!(replica.metric("warren_channels").await >= 2.0, "one for each worker");

    for client in clients {
        client.close().await;
    }
    drop(events);
    replica.metric_becomes(&open("websocket"), |open| open == 0.0).await;
    replica.metric_becomes(&open("events"), |open| open == 0.0).await;
    replica.metric_becomes("warren_listeners", |listeners| listeners == 0.0).await;
    let closed = |code, reason| {
        format!("warren_connections_closed_total{{code=\"{code}\",reason=\"{reason}\"}}")
    };
    assert_eq!(replica.metric(&closed("1000", "by_client")).await, 5.0);
    assert_eq!(replica.metric(&closed("1006", "gone")).await, 1.0);
}

#[tokio::test]
async fn the_slowest_client_is_known_by_what_waits_for_it() {
    let settings = [("CLIENT_BACKLOG", "8MiB"), ("CLIENT_RATE", "100000/s")];
    let replica = Replica::ready(&settings).await;
    assert_eq!(replica.metric("warren_client_backlog_limit_bytes").await, 8.0 * 1048576.0);
    let slow = Raw::connect_narrow(replica.addr).await;
    let text = "x".repeat(32 << 10);
    for _ in 0..200 {
        assert_eq!(replica.post("lobby", text.as_str()).await.status, 202);
    }
    let half = 4.0 * 1048576.0;
    replica.metric_becomes("warren_client_backlog_max_bytes", |bytes| bytes > half).await;
    assert_eq!(replica.metric("warren_slow_clients").await, 1.0);
    drop(slow);
    replica.metric_becomes("warren_client_backlog_max_bytes", |bytes| bytes == 0.0).await;
    assert_eq!(replica.metric("warren_slow_clients").await, 0.0);
}

#[tokio::test]
async fn threads_and_the_process_tell_how_they_are() {
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
async fn messages_of_other_programs_are_counted() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let peer = AmqpPeer::live(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    let properties = lapin::BasicProperties::default();
    let body = b"{\"text\":\"from afar\"}";
    peer.publish("", body, properties).await;
    assert_eq!(client.text().await, "from afar");
    // Neither of something else's date, nor of none, can it be told how late a message is.
    let body = b"{\"text\":\"of old\",\"date\":\"0001-01-01T00:00:00.5Z\"}";
    peer.publish("", body, lapin::BasicProperties::default()).await;
    assert_eq!(client.text().await, "of old");
    assert_eq!(replica.metric("warren_publish_broadcast_seconds_count").await, 0.0);
    client.send("ours").await;
    assert_eq!(client.text().await, "ours");
    assert_eq!(replica.metric("warren_messages_foreign_total").await, 2.0);
    replica.metric_becomes("warren_publish_broadcast_seconds_count", |n| n == 1.0).await;
}

#[tokio::test]
async fn returned_messages_are_counted_and_get_out_all_the_same() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    // No canary comes first.
    let settings = [("CANARY_INTERVAL", "60s")];
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &settings).await;
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
async fn what_waits_for_rabbitmq_and_for_how_long_is_told() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    let replica =
        Replica::joined("host", &rabbitmq.url(), &exchange, &[("PUBLISH_TIMEOUT", "60s")]).await;
    let mut client = replica.client("").await;
    assert_eq!(replica.metric("warren_amqp_blocked_seconds_total").await, 0.0);
    rabbitmq.set_memory_watermark(0.000_000_1).await;
    client.send("held back").await;
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 1.0).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 1.0).await;
    assert!(replica.metric("warren_publish_buffer_bytes").await > 256.0);
    // It counts on while it lasts.
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
async fn a_drain_shows_in_the_phase() {
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
