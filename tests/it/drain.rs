//! Shutdown by SIGTERM or SIGINT, under load.

use futures_util::future::join_all;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use warren_testkit::client::Ended;
use warren_testkit::http;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::Raw;
use warren_testkit::replica::{Replica, command};
use warren_testkit::{LIMIT, process::Process};

const CLIENTS: usize = 300;

#[tokio::test]
async fn drain_spreads_closes_and_delivers_accepted_messages() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("DRAIN_DELAY", "1s"), ("DRAIN_PERIOD", "3s"), ("CLIENT_RATE", "10000/s")];
    let mut leaving = Replica::on_rabbitmq("leaving", &rabbitmq.url(), &exchange, &settings).await;
    let staying = Replica::on_rabbitmq("staying", &rabbitmq.url(), &exchange, &[]).await;
    let mut witness = staying.client("?channel=work").await;
    let clients = join_all((0..CLIENTS).map(|_| leaving.client("?channel=quiet"))).await;
    let mut worker = leaving.client("?channel=work").await;

    leaving.process.signal("TERM");
    leaving.becomes_ready(false).await;
    // An unready replica serves until load balancers have noticed.
    let reason = http::get(leaving.admin, "/readyz").await.body;
    assert!(reason.contains("shutting down"), "{reason}");
    let latecomer = leaving.client("?channel=quiet").await;

    // One client publishes until it is closed. All messages that were accepted must be delivered, also the last
    // one, whose echo it did not get.
    let publishing = tokio::spawn(async move {
        let mut sent = 0;
        loop {
            worker.send(format!("{sent}")).await;
            sent += 1;
            match worker.frame().await {
                Ok(frame) => assert_eq!(frame["text"], format!("{}", sent - 1)),
                Err(ended) => return (sent, ended),
            }
        }
    });
    let ended = join_all(clients.into_iter().chain([latecomer]).map(async |mut client| {
        let ended = client.ended().await;
        (Instant::now(), ended)
    }))
    .await;
    let (sent, worker_ended) = publishing.await.unwrap();
    for heard in 0..sent - 1 {
        assert_eq!(witness.text().await, heard.to_string());
    }

    let mut hints = Vec::new();
    let reasons = ended.iter().map(|(_, ended)| ended).chain([&worker_ended]);
    for ended in reasons {
        let Ended::Closed(1012, reason) = ended else { panic!("{ended:?}") };
        let hint = reason.strip_prefix("restart; retry in ").unwrap().strip_suffix("ms").unwrap();
        hints.push(hint.parse::<u32>().unwrap());
    }
    hints.sort_unstable();
    hints.dedup();
    assert!(hints.len() > CLIENTS / 4, "returns are spread: {hints:?}");

    let mut times: Vec<_> = ended.iter().map(|(at, _)| *at).collect();
    times.sort_unstable();
    let span = times[CLIENTS] - times[0];
    let quarter = times.iter().filter(|at| **at - times[0] < span / 4).count();
    assert!(span >= Duration::from_secs(2), "over the drain period, not {span:?}");
    assert!((CLIENTS / 8..CLIENTS / 2).contains(&quarter), "{quarter} in the first quarter");

    let status = leaving.process.ended(LIMIT).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn draining_replica_refuses_new_connections() {
    let settings = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "60s")];
    let mut replica = Replica::ready(&settings).await;
    // Of two clients, at least one is closed in the second half of the period.
    let _clients = (replica.client("").await, replica.client("").await);
    replica.process.signal("TERM");
    replica.process.line(LIMIT, |line| line.contains("draining")).await;
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(replica.addr).await.is_ok() {
        assert!(Instant::now() < deadline, "still accepted");
    }
    // A second signal ends the process at once.
    replica.process.signal("TERM");
    assert_eq!(replica.process.ended(LIMIT).await.code(), Some(143));
}

#[tokio::test]
async fn sigint_shuts_down_like_sigterm() {
    let settings = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "0s")];
    let mut process = Process::spawn(command(&settings));
    process.line(LIMIT, |line| line.contains("\"serving:")).await;
    process.signal("INT");
    assert_eq!(process.ended(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn unread_event_stream_does_not_delay_shutdown() {
    // With the small limit the stream is closed as slow before the drain.
    for backlog in ["64KiB", "64MiB"] {
        let settings = [
            ("DRAIN_DELAY", "0s"),
            ("DRAIN_PERIOD", "1s"),
            ("PUBLISH_TIMEOUT", "10m"),
            ("CLIENT_BACKLOG", backlog),
            ("WORKERS", "1"),
        ];
        let mut replica = Replica::ready(&settings).await;
        let request = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
        let _unread = Raw::send_first_narrow(replica.addr, request).await;
        replica.metric_becomes("warren_connections{transport=\"sse\"}", |open| open == 1.0).await;
        let mut witness = replica.client("").await;
        // Far more than the kernel and actix buffer.
        for _ in 0..50 {
            replica.publish("lobby", "x".repeat(60_000)).await;
            witness.message().await;
        }
        replica.process.signal("TERM");
        let status = replica.process.ended(LIMIT / 2).await;
        assert_eq!(status.code(), Some(0), "{backlog}");
        assert!(replica.process.output().contains("\"stopped\""), "it ended in order");
    }
}
