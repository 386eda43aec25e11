//! Thousands of idle sockets, and an exhausted file limit: existing clients are served all the time, and new ones once
//! there are files again.

use futures_util::future::join_all;
use serde_json::Value;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use warren_testkit::heavy::heavy;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::{HANDSHAKE, Raw};
use warren_testkit::replica::Replica;
use warren_testkit::{LIMIT, open_files};

const SOCKETS: usize = 5_000;
/// Clients that connect while no file is left, and clients that leave to free files for them.
const NEWCOMERS: usize = 50;
/// Memory of an idle connection, and of the process itself, as in docs/operations.md.
const CONNECTION: usize = 18 << 10;
const SLACK: usize = 4 << 20;

/// Opens a connection and sends these bytes.
async fn open(addr: SocketAddr, beginning: &[u8]) -> Option<Raw> {
    // The kernel completes connections that the replica has not accepted yet, as long as its queue has room.
    let stream = timeout(Duration::from_secs(1), TcpStream::connect(addr)).await.ok()?.ok()?;
    let mut raw = Raw { stream };
    raw.write(beginning).await;
    Some(raw)
}

#[tokio::test]
async fn thousands_of_unfinished_requests_are_refused_and_others_served() {
    let _heavy = heavy().await;
    open_files::allow_open_files(3 * SOCKETS as u64);
    let replica = Replica::ready(&[]).await;
    let mut client = replica.client("").await;
    for beginning in ["", &HANDSHAKE[..HANDSHAKE.len() - 2]] {
        replica.reset_peak_memory();
        let before = replica.memory();
        let mut sockets = Vec::new();
        for n in 0..SOCKETS {
            sockets.extend(open(replica.addr, beginning.as_bytes()).await);
            if n % 500 == 0 {
                client.send(n.to_string()).await;
                assert_eq!(client.text().await, n.to_string());
            }
        }
        // Each is answered within the time limit of a head.
        for raw in &mut sockets {
            let mut answer = Vec::new();
            let ended = timeout(LIMIT, raw.stream.read_to_end(&mut answer)).await;
            let _ = ended.expect("it is sent away");
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
        }
        let grown = replica.peak_memory().saturating_sub(before);
        eprintln!("grew by {} KiB", grown >> 10);
        assert!(grown < SOCKETS * CONNECTION + SLACK, "grew by {grown} bytes");
        client.send("still here").await;
        assert_eq!(client.text().await, "still here");
        replica.client("?channel=new").await;
    }
}

#[tokio::test]
async fn exhausted_file_limit_keeps_existing_clients_and_recovers() {
    let _heavy = heavy().await;
    let replica = Replica::ready(&[("PING_INTERVAL", "10m")]).await;
    let mut client = replica.client("").await;
    let mut others = Vec::new();
    for _ in 0..NEWCOMERS {
        others.push(replica.client("?channel=others").await);
    }
    let files = open_files::allow_no_more(replica.process.id());

    let handshakes = (0..NEWCOMERS).map(|_| Raw::send_first(replica.addr, HANDSHAKE.as_bytes()));
    let mut newcomers = join_all(handshakes).await;
    let administrator = TcpStream::connect(replica.admin).await.unwrap();
    let (before, start) = (replica.cpu(), Instant::now());
    for n in 0..20 {
        client.send(n.to_string()).await;
        assert_eq!(client.text().await, n.to_string());
        sleep(Duration::from_millis(100)).await;
    }
    let busy = (replica.cpu() - before) / start.elapsed().as_secs_f64();
    assert!(busy < 0.5, "{busy} of a core, without accepting anyone");
    // Some got a file that an earlier request had freed.
    let answered = newcomers[NEWCOMERS - 1].stream.try_read(&mut [0; 16]);
    assert_eq!(
        answered.unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "{files} files of {}",
        open_files::open_files(replica.process.id())
    );

    drop((others, administrator));
    for newcomer in &mut newcomers {
        newcomer.switched().await;
    }
    client.send("recovered").await;
    for newcomer in &mut newcomers {
        while newcomer.json().await["text"] != "recovered" {}
    }
    // Requests for metrics need files, too.
    open_files::allow_again(replica.process.id());
    let open = "warren_connections{transport=\"websocket\"}";
    replica.metric_becomes(open, |open| open == 1.0 + NEWCOMERS as f64).await;
}

#[tokio::test]
async fn lost_rabbitmq_connection_recovers_with_no_file_left() {
    let _heavy = heavy().await;
    let (rabbitmq, name) = (shared(), unique("full"));
    let mut replica = Replica::on_rabbitmq(&name, &rabbitmq.url(), &name, &[]).await;
    let mut client = replica.client("").await;
    open_files::allow(replica.process.id(), Some(0));
    rabbitmq.close_connections(&name).await;
    replica.process.line(LIMIT, |line| line.contains("\"connect_failed\"")).await;
    open_files::allow_again(replica.process.id());
    replica.becomes_ready(true).await;
    client.send("recovered").await;
    while client.text().await != "recovered" {}
    for line in replica.process.output().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "no event: {line}");
    }
}
