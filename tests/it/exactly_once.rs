//! Every message is delivered once and in one order while replicas and RabbitMQ nodes are killed.

use fastrand::Rng;
use futures_util::future::join_all;
use warren_testkit::cluster::Cluster;
use warren_testkit::delivery_ledger::DeliveryLedger;
use warren_testkit::open_files::allow_open_files;
use warren_testkit::rabbitmq::{RabbitMq, unique};
use warren_testkit::replica::Replica;

/// Settings with so little history that clients which were away for long need the log.
const SETTINGS: [(&str, &str); 5] = [
    ("HISTORY_BYTES", "64KiB"),
    ("CLIENT_BACKLOG", "128KiB"),
    ("CLIENT_RATE", "1000000/s"),
    ("PING_INTERVAL", "10m"),
    ("CANARY_INTERVAL", "1s"),
];

/// Runs publishers, subscribers and faults, and then asserts that nothing is missing.
async fn run(
    mut replicas: Vec<Replica>,
    clients: usize,
    messages: usize,
    faults: impl AsyncFnOnce(&DeliveryLedger, &mut [Replica]),
) {
    let addrs = replicas.iter().map(|replica| replica.addr).collect();
    let start = replicas[0].publish("lobby", "start").await;
    let ledger = DeliveryLedger::new(addrs, start, messages);
    let over_http = messages / 20;
    let following = (0..clients).map(|n| ledger.follow(n % 4 == 0, Rng::with_seed(n as u64)));
    tokio::join!(
        join_all(following),
        ledger.command(0..messages - over_http, Rng::with_seed(1000)),
        ledger.post(messages - over_http..messages, Rng::with_seed(1001)),
        async {
            faults(&ledger, &mut replicas).await;
            ledger.end().await;
        },
    );
    ledger.balance();
    // Some clients resumed from the log.
    let mut replays = 0.0;
    for replica in &replicas {
        replays += replica.metric("warren_resumes_total{outcome=\"log\"}").await;
    }
    assert!(replays > 0.0);
}

#[tokio::test]
async fn killed_replicas_and_rabbitmq_lose_and_repeat_nothing() {
    allow_open_files(4096);
    let mut rabbitmq = RabbitMq::start().await;
    let (url, exchange) = (rabbitmq.url(), unique("messages"));
    let replicas = ["one", "two", "three"];
    let replicas = replicas.map(|name| Replica::on_rabbitmq(name, &url, &exchange, &SETTINGS));
    run(join_all(replicas).await, 200, 20_000, async |ledger, replicas| {
        ledger.reaches(1_000).await;
        rabbitmq.stop().await;
        rabbitmq.start_again().await;
        for (replica, count) in replicas.iter_mut().zip([4_000, 8_000, 12_000]) {
            ledger.reaches(count).await;
            replica.kill();
            replica.start_again().await;
            replica.becomes_ready(true).await;
        }
        ledger.reaches(16_000).await;
        rabbitmq.kill();
        rabbitmq.start_again().await;
    })
    .await;
}

#[tokio::test]
async fn killed_cluster_nodes_lose_and_repeat_nothing() {
    allow_open_files(4096);
    let mut cluster = Cluster::start().await;
    let exchange = unique("messages");
    let stream = format!("{exchange}.log");
    let urls = [0, 1, 2].map(|first| cluster.urls(first));
    let replicas = ["one", "two", "three"].iter().zip(&urls);
    let replicas =
        replicas.map(|(name, urls)| Replica::on_rabbitmq(name, urls, &exchange, &SETTINGS));
    let replicas = join_all(replicas).await;
    cluster.has_all_members(&stream).await;
    run(replicas, 30, 3_000, async |ledger, _| {
        ledger.reaches(300).await;
        let node = cluster.node_of("warren one consume").await;
        cluster.nodes[node].kill();
        // Two of three nodes are a quorum.
        ledger.reaches(900).await;
        cluster.nodes[node].start_again().await;
        cluster.has_all_members(&stream).await;

        let leader = cluster.leader_of(&stream).await;
        cluster.nodes[leader].kill();
        ledger.reaches(2_000).await;
        cluster.nodes[leader].start_again().await;
        cluster.has_all_members(&stream).await;
        let now = cluster.leader_of(&stream).await;
        assert_ne!(now, leader, "another one leads");
    })
    .await;
}
