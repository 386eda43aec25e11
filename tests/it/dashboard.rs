//! Every query of the dashboard and every expression of the alerts returns data, in a real Prometheus that scrapes
//! real replicas and a real RabbitMQ.

use serde_json::json;
use std::convert::Infallible;
use std::fs;
use tokio::time::{Instant, sleep};
use warren_testkit::LIMIT;
use warren_testkit::chart_queries::{Query, of_alerts, of_dashboard};
use warren_testkit::http;
use warren_testkit::process::{POLL, Sandbox};
use warren_testkit::prometheus::{NAMESPACE, Prometheus, Target};
use warren_testkit::proxy::{Proxy, Traffic};
use warren_testkit::rabbitmq::{RabbitMq, unique};
use warren_testkit::raw::Raw;
use warren_testkit::replica::Replica;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/warren/rules/warren.yaml");
const INTERVAL: &str = "1s";
/// Interval for rates: four scrapes, as Grafana chooses it.
const RATE_INTERVAL: &str = "4s";

#[tokio::test]
async fn dashboard_and_alert_queries_return_data() {
    let (rabbitmq, exchange) = (RabbitMq::with_metrics().await, unique("messages"));
    let way = Proxy::to(rabbitmq.port()).await;
    let ways = [rabbitmq.port(), rabbitmq.port(), way.addr.port()];
    let [a, b, c] = ["warren-a", "warren-b", "warren-c"];
    let join = |pod, port| joined(pod, port, &exchange);
    let (one, two, three) = tokio::join!(join(a, ways[0]), join(b, ways[1]), join(c, ways[2]));
    let targets = [
        Target::replica(a, one.admin),
        Target::replica(b, two.admin),
        Target::replica(c, three.admin),
        Target::rabbitmq("warren-rabbitmq-0", rabbitmq.metrics()),
    ];
    let (start, sandbox) = (Instant::now(), Sandbox::new());
    let firing = sandbox.dir().join("firing.json");
    fs::write(&firing, a_rule_that_fires()).unwrap();
    let prometheus = Prometheus::start(&targets, INTERVAL, &[RULES.as_ref(), &firing]).await;
    prometheus.becomes("sum(up)", |it| it.first().is_some_and(|it| it.value() == 4.0)).await;

    let questions = async {
        let mut queries = of_alerts(&prometheus).await;
        queries.extend(of_dashboard(&prometheus, RATE_INTERVAL).await);
        leave_without_rabbitmq(three, &way, &prometheus).await;
        have_data(&prometheus, queries, start).await;
    };
    tokio::select! {
        () = questions => {}
        _ = life(&one, &two) => {}
    }
    are_evaluated(&prometheus).await;
}

async fn joined(pod: &str, port: u16, exchange: &str) -> Replica {
    let settings = [
        ("CANARY_INTERVAL", "1s"),
        ("CLIENT_BACKLOG", "256KiB"),
        ("CLIENT_RATE", "5/s"),
        ("DRAIN_DELAY", "0s"),
        ("DRAIN_PERIOD", "3s"),
    ];
    Replica::on_rabbitmq(pod, &format!("amqp://guest:guest@127.0.0.1:{port}"), exchange, &settings)
        .await
}

/// An alert rule for the dashboard's list of alerts.
fn a_rule_that_fires() -> String {
    let rule = json!({ "alert": "WarrenIsTested", "expr": "vector(1)", "labels": { "namespace": NAMESPACE } });
    json!({ "groups": [{ "name": "tests", "rules": [rule] }] }).to_string()
}

/// Makes a replica deaf, cuts it off from RabbitMQ, and shuts it down.
async fn leave_without_rabbitmq(replica: Replica, way: &Proxy, prometheus: &Prometheus) {
    let _client = replica.client("").await;
    way.set_traffic(Traffic::Nothing);
    prometheus.becomes("min(warren_amqp_up)", |it| it[0].value() == 0.0).await;
    replica.terminate().await;
}

/// Clients of all kinds, until the test ends.
async fn life(one: &Replica, two: &Replica) -> Infallible {
    let mut events = two.events("").await;
    let mut slow = Vec::new();
    loop {
        let mut eager = one.client("").await;
        for _ in 0..20 {
            eager.send("more than one may").await;
        }
        let id = one.publish("lobby", "x".repeat(32 << 10)).await;
        while events.message().await["id"] != id {}
        eager.close().await;
        two.client(&format!("?after={id}")).await.close().await;
        assert_eq!(http::get(one.addr, "/ws").await.status, 426);
        // The first clients stay, and never read.
        slow.push(Raw::connect_narrow(two.addr).await);
        slow.truncate(3);
    }
}

/// Waits until Prometheus has evaluated all rules.
async fn are_evaluated(prometheus: &Prometheus) {
    let deadline = Instant::now() + LIMIT;
    for name in prometheus.rules().await.into_iter().map(|rule| rule.name) {
        loop {
            let rules = prometheus.rules().await;
            let rule = rules.iter().find(|rule| rule.name == name).unwrap();
            if rule.health == "ok" {
                break;
            }
            assert!(rule.health == "unknown" && Instant::now() < deadline, "{rule:?}");
            sleep(POLL).await;
        }
    }
}

/// Repeats the queries until all return data.
async fn have_data(prometheus: &Prometheus, mut queries: Vec<Query>, start: Instant) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut empty = Vec::new();
        for query in queries {
            if !has_data(prometheus, &query, start).await {
                empty.push(query);
            }
        }
        if empty.is_empty() {
            return;
        }
        let list: String =
            empty.iter().map(|it| format!("\n{}: {}", it.place, it.expression)).collect();
        assert!(Instant::now() < deadline, "these have no data:{list}");
        queries = empty;
        sleep(POLL).await;
    }
}

/// True if a query returns a number, now or at any time since the start. All series must have the labels of the
/// legend.
async fn has_data(prometheus: &Prometheus, query: &Query, start: Instant) -> bool {
    let answer = query.ask(prometheus, start.elapsed().as_secs_f64()).await;
    let Query { place, expression, legend, .. } = query;
    let series = answer.unwrap_or_else(|error| panic!("{place}: {error}: {expression}"));
    for label in legend.split("{{").skip(1).filter_map(|it| it.split("}}").next()) {
        let shown = series.iter().all(|(labels, _)| labels.contains_key(label));
        assert!(shown, "{place}: no {label} in {series:?}");
    }
    series.iter().flat_map(|(_, values)| values).any(|value| value.is_finite())
}
