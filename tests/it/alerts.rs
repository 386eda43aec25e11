//! The chart's alert rules in a real Prometheus that scrapes three real replicas: what is the matter
//! fires, and nothing else. How long things take in truth, and all other cases, are in `tests/alerts`;
//! here time runs faster, for the rules alone.

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

/// How many times as fast the clock of the rules is.
const FASTER: u64 = 10;
/// How often replicas are scraped.
const SCRAPE: &str = "500ms";
/// What a replica's canaries and messages may take. Not as much faster as the rules: RabbitMQ is not,
/// on a machine that others keep busy.
const SETTINGS: [(&str, &str); 2] = [("CANARY_INTERVAL", "2s"), ("PUBLISH_TIMEOUT", "2s")];
const PODS: [&str; 3] = ["warren-0", "warren-1", "warren-2"];
/// How many of each alert fire, and have fired.
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
struct Release {
    rabbitmq: RabbitMq,
    replicas: Vec<Replica>,
    prometheus: Prometheus,
    /// Those who listen and those who publish.
    _traffic: JoinSet<()>,
    /// Where the rules are.
    _sandbox: Arc<Sandbox>,
}

impl Release {
    /// Starts it, and waits until nothing fires and Prometheus knows enough to tell.
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
                    // Refused or not: the replica counts it.
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
        let release = Self { rabbitmq, replicas, prometheus, _traffic: traffic, _sandbox: sandbox };
        // As long as most windows are.
        let known = "count(count_over_time(warren_ready[15s]) >= 24)";
        release.prometheus.becomes(known, |found| found.iter().any(|it| it.value() == 3.0)).await;
        release.is_over(&[]).await;
        release
    }

    /// Waits until these alerts fire, and no others.
    async fn fires(&self, alerts: &[(&str, usize)]) {
        self.prometheus.becomes(FIRING, |found| *alerts == numbers(found)).await;
    }

    /// Waits until no alert fires or is about to, and asserts that those were all that ever did.
    async fn is_over(&self, alerts: &[(&str, usize)]) {
        self.prometheus.becomes("ALERTS", <[_]>::is_empty).await;
        let fired = self.prometheus.query(FIRED).await.unwrap();
        assert_eq!(numbers(&fired), alerts);
    }
}

/// The alerts by their names, each with its number.
fn numbers(found: &[Sample]) -> Vec<(&str, usize)> {
    let number = |it: &Sample| it.value() as usize;
    let mut alerts: Vec<_> =
        found.iter().map(|it| (it.labels["alertname"].as_str(), number(it))).collect();
    alerts.sort_unstable();
    alerts
}

#[tokio::test]
async fn rabbitmq_outage_fires_alert_and_killed_replica_does_not() {
    let mut release = Release::start().await;
    let replica = &mut release.replicas[0];
    replica.kill();
    replica.start_again().await;
    replica.becomes_ready(true).await;

    release.rabbitmq.stop().await;
    release.fires(&[("WarrenNoRabbitMQ", 3)]).await;
    let alerts = release.prometheus.alerts().await;
    let alert = alerts.iter().find(|alert| alert.state == "firing").unwrap();
    let summary = format!("warren/{} has no connection to RabbitMQ", alert.labels["pod"]);
    assert_eq!(alert.annotations["summary"], summary);
    let both = [("WarrenNoRabbitMQ", 3), ("WarrenPublishFailures", 3)];
    release.fires(&both).await;
    release.rabbitmq.start_again().await;
    release.is_over(&both).await;
}

#[tokio::test]
async fn rabbitmq_alarm_fires_one_alert() {
    let mut release = Release::start().await;
    release.rabbitmq.set_memory_watermark(0.000_000_1).await;
    release.fires(&[("WarrenRabbitMQAlarm", 1)]).await;
    let both = [("WarrenPublishFailures", 3), ("WarrenRabbitMQAlarm", 1)];
    release.fires(&both).await;
    release.rabbitmq.set_memory_watermark(0.4).await;
    release.is_over(&both).await;
}
