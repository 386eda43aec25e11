//! The memory that all clients of a replica take together when none of them reads, within the bounds of
//! docs/operations.md.

use serde_json::json;
use tokio::time::{Instant, sleep};
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::heavy::heavy;
use warren_testkit::open_files::allow_open_files;
use warren_testkit::process::POLL;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::{HANDSHAKE, Raw};
use warren_testkit::replica::Replica;

const CLIENTS: usize = 500;
const MESSAGE: usize = 60_000;
const HISTORY: usize = 8 << 20;
const SETTINGS: [(&str, &str); 3] =
    [("HISTORY_BYTES", "8MiB"), ("CLIENT_BACKLOG", "1MiB"), ("PING_INTERVAL", "10m")];
/// Memory of a WebSocket that is not read, beyond the kernel's buffers: a partially written message.
const WEBSOCKET: usize = MESSAGE;
/// Memory of an event stream that is not read: buffers of actix-http, and two messages.
const EVENTS: usize = (64 << 10) + 2 * MESSAGE;
/// Size of a missed message, and memory of the clients that resume.
const PIECE: usize = 16_000;
const WEBSOCKET_PIECES: usize = (64 << 10) + PIECE;
const EVENTS_PIECES: usize = (64 << 10) + 2 * PIECE;
const PAGE: usize = (1 << 20) + 2 * PIECE;
/// Memory of replays: cached pages, and four that are being read.
const LOG: usize = (32 << 20) + 4 * 256 * PIECE;
/// Messages that each client missed beyond those of the client before it.
const APART: usize = 32;
const SLACK: usize = 4 << 20;

/// MemoryGrowth of a replica's memory.
struct MemoryGrowth<'a> {
    replica: &'a Replica,
    before: usize,
}

impl<'a> MemoryGrowth<'a> {
    fn begin(replica: &'a Replica) -> Self {
        replica.reset_peak_memory();
        let before = replica.memory();
        Self { replica, before }
    }

    fn is_less_than(&self, bound: usize) {
        let grown = self.replica.peak_memory().saturating_sub(self.before);
        eprintln!("grew by {} KiB of {} KiB", grown >> 10, bound >> 10);
        assert!(grown < bound, "grew by {grown} bytes, more than {bound}");
    }
}

/// Clients that send these requests and read nothing.
async fn unread_clients(replica: &Replica, requests: impl Iterator<Item = String>) -> Vec<Raw> {
    let mut clients = Vec::new();
    for request in requests {
        clients.push(Raw::send_first_narrow(replica.addr, request.as_bytes()).await);
    }
    clients
}

/// Waits until all replays have ended, however long a busy machine takes, as long as they read pages.
async fn replays_end(replica: &Replica) {
    let (mut pages, mut deadline) = (0.0, Instant::now() + LIMIT);
    while replica.metric("warren_replay_consumers").await > 0.0 {
        let read = replica.metric("warren_replay_pages_total").await;
        if read > pages {
            (pages, deadline) = (read, Instant::now() + LIMIT);
        }
        assert!(Instant::now() < deadline, "replays read nothing after {pages} pages");
        sleep(POLL).await;
    }
}

fn handshake(query: &str) -> String {
    HANDSHAKE.replace("/ws", &format!("/ws{query}"))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn unread_connections_stay_bounded_under_publishing() {
    let _heavy = heavy().await;
    allow_open_files(4096);
    for (transport, of_each) in [("websocket", WEBSOCKET), ("sse", EVENTS)] {
        let replica = Replica::ready(&SETTINGS).await;
        replica.publish("elsewhere", "x".repeat(MESSAGE)).await;
        let growth = MemoryGrowth::begin(&replica);
        let request = if transport == "sse" { get("/events") } else { handshake("") };
        let clients = unread_clients(&replica, std::iter::repeat_n(request, CLIENTS)).await;
        let open = format!("warren_connections{{transport=\"{transport}\"}}");
        replica.metric_becomes(&open, |open| open == CLIENTS as f64).await;
        // More than the kernel's buffers and the backlogs.
        let mut quick = replica.client("").await;
        for n in 0..60 {
            replica.publish("lobby", format!("{n}{}", "x".repeat(MESSAGE - 10))).await;
            quick.text().await;
        }
        growth.is_less_than(HISTORY + CLIENTS * of_each + SLACK);
        drop(clients);
    }
}

#[tokio::test]
async fn unread_connections_stay_bounded_during_replays() {
    let _heavy = heavy().await;
    allow_open_files(4096);
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica =
        Replica::on_rabbitmq("unread_clients", &rabbitmq.url(), &exchange, &SETTINGS).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let first = replica.publish("lobby", 0).await;
    let text = "x".repeat(PIECE - 100);
    let body = |n| json!({ "text": format!("{n}{text}"), "date": "2026-01-02T03:04:05Z" });
    peer.publish_all("", (0..CLIENTS / 2 * APART).map(|n| body(n).to_string())).await;
    let last = replica.publish("lobby", "last").await;
    let mut ids = Vec::new();
    let mut after = first;
    while after != last {
        let page = replica.page(&format!("?limit=1000&after={after}")).await;
        let messages = page["messages"].as_array().unwrap().iter();
        ids.extend(messages.map(|message| message["id"].as_str().unwrap().to_owned()));
        after = ids.last().unwrap().clone();
    }
    // Without the newest, which are in memory.
    let cursors = || ids.iter().step_by(APART).take(CLIENTS / 2 - 30);
    let resumed = "warren_resumes_total{outcome=\"log\"}";
    let mut clients = Vec::new();
    let mut before = replica.metric(resumed).await;
    for (path, of_each) in
        [("/ws", WEBSOCKET_PIECES), ("/events", EVENTS_PIECES), ("/messages", PAGE)]
    {
        let growth = MemoryGrowth::begin(&replica);
        let requests = cursors().map(|id| match path {
            "/ws" => handshake(&format!("?after={id}")),
            path => get(&format!("{path}?limit=1000&after={id}")),
        });
        clients.push(unread_clients(&replica, requests).await);
        // All clients resume from the log, wherever their page begins.
        let most = before + cursors().count() as f64;
        before = replica.metric_becomes(resumed, |resumes| resumes >= most).await;
        replays_end(&replica).await;
        // Waiting clients share the memory of messages.
        let shared = ids.len() * PIECE + cursors().count() * EVENTS_PIECES;
        growth.is_less_than(LOG + shared.min(cursors().count() * of_each) + SLACK);
    }
}
