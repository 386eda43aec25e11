//! Three replicas behind HAProxy serve clients as one.

use futures_util::future::join_all;
use std::collections::BTreeMap;
use warren_testkit::client::Client;
use warren_testkit::haproxy::HaProxy;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;

const CLIENTS: usize = 300;
/// One client of so many publishes.
const PUBLISHERS: usize = 10;
const MESSAGES: usize = 50;

#[tokio::test]
async fn each_client_gets_each_message_once_in_publisher_order() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let start = |name| {
        let (url, exchange) = (rabbitmq.url(), exchange.clone());
        async move { Replica::on_rabbitmq(name, &url, &exchange, &[]).await }
    };
    let replicas = join_all(["one", "two", "three"].map(start)).await;
    let backends: Vec<_> = replicas.iter().map(|replica| (replica.addr, replica.admin)).collect();
    let haproxy = HaProxy::start(&backends).await;
    let mut clients = join_all((0..CLIENTS).map(|_| Client::connect(haproxy.addr(), ""))).await;

    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for client in &clients {
        *served.entry(client.ready["replica"].to_string()).or_default() += 1;
    }
    assert_eq!(served.len(), 3, "all replicas serve: {served:?}");
    assert!(served.values().all(|count| *count >= CLIENTS / 6), "about evenly: {served:?}");

    for n in 0..MESSAGES {
        for (publisher, client) in clients.iter_mut().step_by(CLIENTS / PUBLISHERS).enumerate() {
            client.send(format!("{publisher} {n}")).await;
        }
    }
    let orders = join_all(clients.iter_mut().map(async |client| {
        let mut next = [0; PUBLISHERS];
        let mut ids = Vec::new();
        for _ in 0..PUBLISHERS * MESSAGES {
            let message = client.message().await;
            let (publisher, n) = message["text"].as_str().unwrap().split_once(' ').unwrap();
            let publisher: usize = publisher.parse().unwrap();
            assert_eq!(n.parse::<usize>().unwrap(), next[publisher], "of publisher {publisher}");
            next[publisher] += 1;
            ids.push(message["id"].to_string());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), PUBLISHERS * MESSAGES);
        ids
    }))
    .await;
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "the same messages for everyone");

    // Nothing more comes: the next message is the one that is published next.
    clients[0].send("the end").await;
    for message in join_all(clients.iter_mut().map(|client| client.text())).await {
        assert_eq!(message, "the end");
    }
}
