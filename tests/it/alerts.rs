//! The chart's alert rules in a real Prometheus that scrapes three real replicas: the alert for a fault fires, and no
//! other. The rules run on a faster clock here. `tests/alerts` has all other cases, with the real durations.

use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use warren_testkit::http;
use warren_testkit::process::Sandbox;
use warren_testkit::prometheus::{Prometheus, Sample, Target};
use warren_testkit::rabbitmq::{RabbitMq, unique};
use warren_testkit::replica::Replica;

/// Factor by which durations in the rules are divided.
const FASTER: u64 = 10;
/// Interval between scrapes.
const SCRAPE: &str = "500ms";
/// Times of canaries and messages. They are not divided by as much as those in the rules, because RabbitMQ is not
/// faster on a busy machine.
const SETTINGS: [(&str, &str); 2] = [("CANARY_INTERVAL", "2s"), ("PUBLISH_TIMEOUT", "2s")];
const PODS: [&str; 3] = ["warren-0", "warren-1", "warren-2"];
/// Number of firing alerts by name, and of those that have fired.
const FIRING: &str = "count by (alertname) (ALERTS{alertstate=\"firing\"})";
const FIRED: &str = "count by (alertname) (max_over_time(ALERTS{alertstate=\"firing\"}[1h]))";

/// The rules with their durations divided: `[5m]`, `for: 5m` and `interval: 15s`.
fn faster(rules: &str) -> String {
    let divide = |duration: &str| {
        let (number, unit) = duration.split_at(duration.len() - 1);
        let unit = match unit {
            "s" => 1000,
            "m" => 60_000,
            _ => panic!("a duration like {duration}"),
        };
        format!("{}ms", number.parse::<u64>().unwrap() * unit / FASTER)
    };
    let mut text = String::new();
    for line in rules.lines() {
        if let Some((name, duration)) = line.split_once(": ")
            && ["for", "interval"].contains(&name.trim())
        {
            text += &format!("{name}: {}\n", divide(duration));
            continue;
        }
        let mut parts = line.split('[');
        text += parts.next().unwrap_or_default();
        for part in parts {
            match part.split_once(']') {
                Some((duration, rest)) => text += &format!("[{}]{rest}", divide(duration)),
                None => panic!("a bracket in {line}"),
            }
        }
        text.push('\n');
    }
    text
}

/// Three replicas with clients and some traffic, and a Prometheus that watches them.
struct MonitoredReplicas {
    rabbitmq: RabbitMq,
    replicas: Vec<Replica>,
    prometheus: Prometheus,
    /// Subscribers and publishers.
    _traffic: JoinSet<()>,
    /// Folder of the rules.
    _sandbox: Arc<Sandbox>,
}

impl MonitoredReplicas {
    /// Starts everything, and waits until no alert fires and Prometheus has enough samples.
    async fn start() -> Self {
        let rabbitmq = RabbitMq::start().await;
        let (url, exchange) = (rabbitmq.url(), unique("messages"));
        let replicas =
            join_all(PODS.map(|pod| Replica::on_rabbitmq(pod, &url, &exchange, &SETTINGS))).await;
        let mut traffic = JoinSet::new();
        for replica in &replicas {
            for _ in 0..10 {
                let mut client = replica.client("").await;
                traffic.spawn(async move { while client.frame().await.is_ok() {} });
            }
            let addr = replica.addr;
            traffic.spawn(async move {
                loop {
                    // Failures are part of the test.
                    let _ = http::try_post(addr, "/messages", "{\"text\":\"hello\"}").await;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        let sandbox = Sandbox::new();
        let file = sandbox.dir().join("rules.yaml");
        let rules = format!("{}/charts/warren/rules/warren.yaml", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(&file, faster(&std::fs::read_to_string(rules).unwrap())).unwrap();
        let targets = PODS.iter().zip(&replicas);
        let targets: Vec<_> =
            targets.map(|(pod, replica)| Target::replica(pod, replica.admin)).collect();
        let prometheus = Prometheus::start(&targets, SCRAPE, &[&file]).await;
        let monitored =
            Self { rabbitmq, replicas, prometheus, _traffic: traffic, _sandbox: sandbox };
        // As long as most windows of the rules.
        let known = "count(count_over_time(warren_ready[15s]) >= 24)";
        monitored.prometheus.becomes(known, |found| found.iter().any(|it| it.value() == 3.0)).await;
        monitored.is_over(&[]).await;
        monitored
    }

    /// Waits until exactly these alerts fire.
    async fn fires(&self, alerts: &[(&str, usize)]) {
        self.prometheus.becomes(FIRING, |found| *alerts == numbers(found)).await;
    }

    /// Waits until no alert is firing or pending, and asserts that exactly these have fired.
    async fn is_over(&self, alerts: &[(&str, usize)]) {
        self.prometheus.becomes("ALERTS", <[_]>::is_empty).await;
        let fired = self.prometheus.query(FIRED).await.unwrap();
        assert_eq!(numbers(&fired), alerts);
    }
}

/// The alerts by name, each with its count.
fn numbers(found: &[Sample]) -> Vec<(&str, usize)> {
    let number = |it: &Sample| it.value() as usize;
    let mut alerts: Vec<_> =
        found.iter().map(|it| (it.labels["alertname"].as_str(), number(it))).collect();
    alerts.sort_unstable();
    alerts
}

#[tokio::test]
async fn rabbitmq_outage_fires_alert_and_killed_replica_does_not() {
    let mut monitored = MonitoredReplicas::start().await;
    let replica = &mut monitored.replicas[0];
    replica.kill();
    replica.start_again().await;
    replica.becomes_ready(true).await;

    monitored.rabbitmq.stop().await;
    monitored.fires(&[("WarrenNoRabbitMQ", 3)]).await;
    let alerts = monitored.prometheus.alerts().await;
    let alert = alerts.iter().find(|alert| alert.state == "firing").unwrap();
    let summary = format!("warren/{} has no connection to RabbitMQ", alert.labels["pod"]);
    assert_eq!(alert.annotations["summary"], summary);
    let both = [("WarrenNoRabbitMQ", 3), ("WarrenPublishFailures", 3)];
    monitored.fires(&both).await;
    monitored.rabbitmq.start_again().await;
    monitored.is_over(&both).await;
}

#[tokio::test]
async fn rabbitmq_alarm_fires_one_alert() {
    let mut monitored = MonitoredReplicas::start().await;
    monitored.rabbitmq.set_memory_watermark(0.000_000_1).await;
    monitored.fires(&[("WarrenRabbitMQAlarm", 1)]).await;
    let both = [("WarrenPublishFailures", 3), ("WarrenRabbitMQAlarm", 1)];
    monitored.fires(&both).await;
    monitored.rabbitmq.set_memory_watermark(0.4).await;
    monitored.is_over(&both).await;
}
