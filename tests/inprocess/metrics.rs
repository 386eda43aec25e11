//! The metrics of connections, deliveries and backlogs show what happened.

use crate::replica::Replica;
use warren_testkit::raw::Raw;

#[tokio::test]
async fn worker_counters_add_up_to_connections_and_deliveries() {
    let replica = Replica::ready(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(replica.client("?channel=a&channel=b").await);
    }
    let mut events = replica.events("?channel=a").await;
    let open = |transport| format!("warren_connections{{transport=\"{transport}\"}}");
    assert_eq!(replica.metric(&open("websocket")).await, 5.0);
    assert_eq!(replica.metric(&open("sse")).await, 1.0);
    replica.metric_becomes("warren_subscriptions", |listeners| listeners == 11.0).await;
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
    // One observation for each message.
    replica.metric_becomes("warren_publish_to_broadcast_seconds_count", |n| n == 10.0).await;
    replica.metric_becomes("warren_publish_confirm_seconds_count", |n| n == 10.0).await;
    replica.metric_becomes("warren_messages_unconfirmed", |count| count == 0.0).await;
    replica.metric_becomes("warren_publish_buffer_bytes", |bytes| bytes == 0.0).await;
    // Both workers share the memory of the messages.
    let kept = replica.metric_becomes("warren_history_bytes", |bytes| bytes > 0.0).await;
    assert!((10.0 * 400.0..10.0 * 800.0).contains(&kept), "{kept}");
    assert!(replica.metric("warren_channels").await >= 2.0, "one for each worker");

    for client in clients {
        client.close().await;
    }
    drop(events);
    replica.metric_becomes(&open("websocket"), |open| open == 0.0).await;
    replica.metric_becomes(&open("sse"), |open| open == 0.0).await;
    replica.metric_becomes("warren_subscriptions", |listeners| listeners == 0.0).await;
    let closed = |code, reason| {
        format!("warren_connections_closed_total{{code=\"{code}\",reason=\"{reason}\"}}")
    };
    assert_eq!(replica.metric(&closed("1000", "by_client")).await, 5.0);
    assert_eq!(replica.metric(&closed("1006", "gone")).await, 1.0);
}

#[tokio::test]
async fn largest_backlog_shows_slow_client() {
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
