//! Limits of clients: backlog, pings, number of connections, rate.

use crate::replica::Replica;
use warren_client::websocket::Message;
use warren_testkit::client::Ended;
use warren_testkit::http;
use warren_testkit::raw::{HANDSHAKE, Raw};

#[tokio::test]
async fn slow_client_that_reads_on_gets_close_reason() {
    let settings = [("CLIENT_BACKLOG", "64KiB"), ("CLIENT_RATE", "100000/s")];
    let replica = Replica::ready(&settings).await;
    let slow = Raw::connect_narrow(replica.addr).await;
    let mut quick = replica.client("?channel=other").await;
    // More than the backlog and the kernel's buffers. Then the client reads.
    let text = "x".repeat(16 << 10);
    for _ in 0..100 {
        assert_eq!(replica.post("lobby", text.as_str()).await.status, 202);
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 1013);
    assert!(reason.contains("WARREN_CLIENT_BACKLOG"), "{reason}");
    quick.send("unharmed").await;
    assert_eq!(quick.text().await, "unharmed");
}

#[tokio::test]
async fn silent_client_is_pinged_and_closed_without_answer() {
    let replica = Replica::ready(&[("PING_INTERVAL", "500ms")]).await;
    let mut answering = replica.client("").await;
    let mut silent = Raw::connect(replica.addr).await;
    assert_eq!(silent.frame().await.unwrap().0, 0x9, "a ping");
    // Both read. The library of the other client answers pings while it reads.
    let closed = tokio::select! {
        closed = silent.closed() => closed,
        frame = answering.frame() => panic!("the client that answers pings gets {frame:?}"),
    };
    assert_eq!(closed, (1013, "no answer to pings".to_owned()));
    answering.send("still connected").await;
    assert_eq!(answering.text().await, "still connected");
}

#[tokio::test]
async fn handshake_above_limit_gets_503_until_connection_closes() {
    let replica = Replica::ready(&[("MAX_CONNECTIONS", "2")]).await;
    let one = replica.client("").await;
    let _two = replica.client("").await;
    let refused = http::send(replica.addr, HANDSHAKE).await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "too_many_connections"));
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    one.close().await;
    replica.metric_becomes("warren_connections{transport=\"websocket\"}", |open| open == 1.0).await;
    replica.client("").await;
}

#[tokio::test]
async fn client_above_rate_gets_error_and_stays_connected() {
    // With one worker, a client that connects later cannot receive an earlier message.
    let replica = Replica::ready(&[("CLIENT_RATE", "5/m"), ("WORKERS", "1")]).await;
    let mut eager = replica.client("").await;
    let mut frames = Vec::new();
    for n in 0..3 {
        eager.send(n.to_string()).await;
        frames.push(eager.frame().await.unwrap());
    }
    assert_eq!(frames[0]["text"], "0");
    assert_eq!(frames[1]["error"]["code"], "rate_limited");
    assert_eq!(frames[2]["error"]["code"], "rate_limited");
    // Each client has a rate of its own.
    let mut other = replica.client("").await;
    other.send("mine").await;
    assert_eq!(other.text().await, "mine");
    assert_eq!(eager.text().await, "mine");
}

#[tokio::test]
async fn binary_message_closes_only_its_sender() {
    let replica = Replica::ready(&[]).await;
    let mut bad = replica.client("").await;
    bad.send_raw(Message::binary(vec![1, 2, 3])).await;
    let ended = bad.ended().await;
    assert_eq!(ended, Ended::Closed(1003, "only text messages are served".to_owned()));
}
