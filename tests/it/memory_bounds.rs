//! The memory that one hostile client can take, within the bounds of docs/operations.md.

use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use warren_testkit::raw::{HANDSHAKE, Raw, frame};
use warren_testkit::replica::Replica;
use warren_testkit::zlib;

const MESSAGE: usize = 64 << 10;
/// Time without progress after which the replica is taken to read no further.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bound for one hostile client.
const CLIENT: usize = 16 * MESSAGE;
/// Memory of the process itself, whatever its clients do: first uses, and what its allocator keeps.
const SLACK: usize = 2 << 20;

const TEXT: u8 = 0x81;
const BEGINNING: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const PING: u8 = 0x89;

/// A replica that has served a client of each kind, and its memory before the test.
struct MeasuredReplica {
    replica: Replica,
    before: usize,
}

impl MeasuredReplica {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let replica = Replica::ready(settings).await;
        let mut client = replica.v1("?channel=lobby").await;
        let publish = json!({ "publish": { "ref": 1, "text": "x".repeat(60_000) } });
        for _ in 0..4 {
            client.ask(&publish).await;
        }
        client.close().await;
        replica.events("").await;
        replica.page("").await;
        replica.reset_peak_memory();
        let before = replica.memory();
        Self { replica, before }
    }

    /// Asserts that the replica still serves, and has not grown by more than this.
    async fn grew_by_less_than(&self, bound: usize) {
        let mut other = self.replica.client("?channel=other").await;
        other.send("unharmed").await;
        assert_eq!(other.text().await, "unharmed");
        let grown = self.replica.peak_memory().saturating_sub(self.before);
        eprintln!("grew by {} KiB of {} KiB", grown >> 10, bound >> 10);
        assert!(grown < bound, "grew by {grown} bytes, more than {bound}");
    }
}

/// Sends these bytes so many times and reads nothing, until the replica reads no further.
async fn send_repeatedly(raw: &mut Raw, bytes: &[u8], times: usize) {
    for _ in 0..times {
        match timeout(PATIENCE, raw.stream.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// A client of `warren.v1` that reads nothing.
async fn v1(replica: &Replica, query: &str) -> Raw {
    let v1 = HANDSHAKE
        .replace("/ws", &format!("/ws{query}"))
        .replace("Host: x", "Host: x\r\nSec-WebSocket-Protocol: warren.v1");
    Raw::send_first_narrow(replica.addr, v1.as_bytes()).await
}

fn command(command: &serde_json::Value) -> Vec<u8> {
    frame(TEXT, command.to_string().as_bytes())
}

#[tokio::test]
async fn unread_errors_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    // Errors name the mistake without repeating all of it.
    for mistake in [
        json!({ "x".repeat(60_000): 1 }),
        json!({ "publish": "\u{200b}".repeat(20_000) }),
        json!({ "subscribe": { "ref": 1, "channel": "x".repeat(60_000) } }),
        json!({ "publish": { "ref": 1, "text": 1, "y".repeat(60_000): 1 } }),
    ] {
        let mut raw = v1(&measured.replica, "").await;
        send_repeatedly(&mut raw, &command(&mistake), 200).await;
        measured.grew_by_less_than(CLIENT + SLACK).await;
    }
}

#[tokio::test]
async fn unread_command_answers_stay_bounded() {
    let measured = MeasuredReplica::new(&[("CLIENT_RATE", "1000000/s")]).await;
    let name = "\"".repeat(255);
    for commands in [
        vec![
            json!({ "subscribe": { "ref": "r".repeat(60), "channel": name } }),
            json!({ "unsubscribe": { "ref": "r".repeat(60), "channel": name } }),
        ],
        vec![json!({ "subscribe": { "ref": 1, "channel": name } })],
        vec![json!({ "publish": { "ref": "r".repeat(60), "text": "x", "channel": "c" } })],
        vec![
            json!({ "subscribe": { "ref": 1, "channel": name, "after": "0-0123456789abcdef" } }),
            json!({ "unsubscribe": { "ref": 1, "channel": name } }),
        ],
    ] {
        let mut raw = v1(&measured.replica, "").await;
        let commands: Vec<u8> = commands.iter().flat_map(command).collect();
        send_repeatedly(&mut raw, &commands.repeat(100), 400).await;
        measured.grew_by_less_than(CLIENT + SLACK).await;
    }
}

#[tokio::test]
async fn unread_pongs_and_garbage_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let mut raw = Raw::send_first_narrow(measured.replica.addr, HANDSHAKE.as_bytes()).await;
    send_repeatedly(&mut raw, &frame(PING, &[b'p'; 125]).repeat(400), 400).await;
    measured.grew_by_less_than(CLIENT + SLACK).await;
    let mut rng = fastrand::Rng::with_seed(7);
    for opening in ["", HANDSHAKE] {
        let mut raw = Raw::send_first_narrow(measured.replica.addr, opening.as_bytes()).await;
        let garbage: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(1 << 20).collect();
        send_repeatedly(&mut raw, &garbage, 20).await;
        measured.grew_by_less_than(CLIENT + SLACK).await;
    }
}

#[tokio::test]
async fn endless_messages_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let half = frame(TEXT, &[b'x'; MESSAGE]);
    let mut raw = Raw::connect(measured.replica.addr).await;
    send_repeatedly(&mut raw, &half[..half.len() - 1], 1).await;
    measured.grew_by_less_than(CLIENT + SLACK).await;

    let mut fragments = v1(&measured.replica, "").await;
    send_repeatedly(&mut fragments, &frame(BEGINNING, b"\""), 1).await;
    send_repeatedly(&mut fragments, &frame(CONTINUATION, b"x").repeat(1000), 300).await;
    measured.grew_by_less_than(CLIENT + SLACK).await;

    // Frames without payload.
    let mut empty = Raw::connect(measured.replica.addr).await;
    send_repeatedly(&mut empty, &frame(BEGINNING, b""), 1).await;
    send_repeatedly(&mut empty, &frame(CONTINUATION, b"").repeat(1000), 1000).await;
    measured.grew_by_less_than(CLIENT + SLACK).await;
}

#[tokio::test]
async fn endless_requests_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let post = "POST /messages HTTP/1.1\r\nHost: x\r\n";
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).into_bytes();
    for (head, body) in [
        (format!("{post}Content-Length: 1000000000000\r\n\r\n"), vec![b' '; 1 << 20]),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n"), chunk.repeat(32)),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n"), b"1\r\n \r\n".repeat(100_000)),
        (format!("{post}X: "), vec![b'x'; 1 << 20]),
        (post.to_owned(), b"X: y\r\n".repeat(100_000)),
        ("GET /".to_owned(), vec![b'x'; 1 << 20]),
    ] {
        let mut raw = Raw::send_first_narrow(measured.replica.addr, head.as_bytes()).await;
        send_repeatedly(&mut raw, &body, 64).await;
        measured.grew_by_less_than(CLIENT + SLACK).await;
    }
}

#[tokio::test]
async fn unread_responses_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let page = warren_testkit::http::get(measured.replica.addr, "/app.js").await;
    let known = format!("If-None-Match: {}\r\n", page.header("etag"));
    let bad = format!("/messages?limit={}", "x".repeat(8000));
    for (path, header) in [
        ("/app.js", known.as_str()),
        ("/app.js", ""),
        ("/nowhere", ""),
        ("/messages", ""),
        (&bad, ""),
        ("/messages", "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello\r\n"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        let mut raw = Raw::send_first_narrow(measured.replica.addr, b"").await;
        let times = (4 << 20) / request.len() / 16;
        send_repeatedly(&mut raw, &request.as_bytes().repeat(16), times).await;
        eprintln!("{:.30} {header:?}", path);
        measured.grew_by_less_than(CLIENT + SLACK).await;
    }
}

#[tokio::test]
async fn pipelined_requests_behind_pending_one_cost_nothing() {
    let measured = MeasuredReplica::new(&[]).await;
    let requests = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000);
    let stream = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut raws = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::send_first(measured.replica.addr, stream.as_bytes()).await;
        send_repeatedly(&mut raw, requests.as_bytes(), 10).await;
        raws.push(raw);
    }
    let (before, start) = (measured.replica.cpu(), Instant::now());
    tokio::time::sleep(2 * PATIENCE).await;
    let busy = (measured.replica.cpu() - before) / start.elapsed().as_secs_f64();
    assert!(busy < 0.5, "{busy} of a core");
    measured.grew_by_less_than(2 * CLIENT + SLACK).await;
}

#[tokio::test]
async fn unread_pages_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let text = "x".repeat(60_000);
    for _ in 0..100 {
        assert_eq!(measured.replica.post("lobby", text.as_str()).await.status, 202);
    }
    let filled = 100 * MESSAGE;
    let request = "GET /messages?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut raw = Raw::send_first_narrow(measured.replica.addr, b"").await;
    send_repeatedly(&mut raw, &request.as_bytes().repeat(1000), 100).await;
    measured.grew_by_less_than(filled + CLIENT + SLACK).await;
}

#[tokio::test]
async fn repeated_subscriptions_stay_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    let name = |n: usize| format!("{n:0255}");
    let channels: String = (0..64).map(|n| format!("&channel={}", name(n))).collect();
    for after in ["", "after=0-0123456789abcdef", "after=fffff-0123456789abcdef", "after=x"] {
        for _ in 0..3 {
            let mut raw = v1(&measured.replica, &format!("?{after}{channels}")).await;
            let commands = (0..64).map(|n| {
                let unsubscribe = json!({ "unsubscribe": { "ref": n, "channel": name(n) } });
                let after = after.strip_prefix("after=");
                let subscribe = json!({ "ref": n, "channel": name(n), "after": after });
                [command(&unsubscribe), command(&json!({ "subscribe": subscribe }))].concat()
            });
            let commands = commands.collect::<Vec<_>>().concat();
            send_repeatedly(&mut raw, &commands, 1).await;
            drop(raw);
            let open = "warren_connections{transport=\"websocket\"}";
            measured.replica.metric_becomes(open, |open| open == 0.0).await;
        }
    }
    measured.grew_by_less_than(CLIENT + SLACK).await;
    measured.replica.metric_becomes("warren_channels", |channels| channels < 5.0).await;
}

#[tokio::test]
async fn ever_new_channels_stay_bounded() {
    const HISTORY: usize = 8 << 20;
    let settings = [("HISTORY_BYTES", "8MiB"), ("CLIENT_RATE", "1000000/s")];
    let measured = MeasuredReplica::new(&settings).await;
    // Several times the history.
    let mut raw = v1(&measured.replica, "").await;
    raw.switched().await;
    for n in (0..40_000).step_by(100) {
        let publish =
            |n| json!({ "publish": { "ref": 1, "channel": format!("{n:0255}"), "text": 1 } });
        let commands: Vec<u8> = (n..n + 100).map(publish).flat_map(|it| command(&it)).collect();
        raw.write(&commands).await;
        for _ in 0..100 {
            raw.json().await;
        }
    }
    measured.grew_by_less_than(HISTORY + CLIENT + SLACK).await;
}

#[tokio::test]
async fn reconnect_loop_stays_bounded() {
    let measured = MeasuredReplica::new(&[]).await;
    for n in 0..3000 {
        let mut raw = Raw::send_first(measured.replica.addr, HANDSHAKE.as_bytes()).await;
        if n % 2 == 0 {
            raw.switched().await;
        }
    }
    measured.grew_by_less_than(CLIENT + SLACK).await;
}

#[tokio::test]
async fn announced_4_gib_frame_is_refused_without_allocation() {
    let replica = Replica::ready(&[]).await;
    let before = replica.memory();
    for announced in [4u64 << 30, u64::MAX] {
        let mut raw = Raw::connect(replica.addr).await;
        let header = [&[0x81, 0xff][..], &announced.to_be_bytes(), &[1, 2, 3, 4]].concat();
        raw.write(&header).await;
        assert_eq!(raw.closed().await.0, 1009);
    }
    let grown = replica.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn client_that_never_reads_is_closed_and_others_are_served() {
    let backlog = 256 << 10;
    let settings =
        [("CLIENT_BACKLOG", "256KiB"), ("HISTORY_BYTES", "1MiB"), ("CLIENT_RATE", "100000/s")];
    let replica = Replica::ready(&settings).await;
    let slow = Raw::connect(replica.addr).await;
    let mut quick = replica.client("").await;
    let before = replica.memory();
    // Far more than the backlog and the kernel's buffers.
    let text = "x".repeat(32 << 10);
    for n in 0..600 {
        quick.send(format!("{n} {text}")).await;
        let got = quick.text().await;
        assert!(got.as_str().unwrap().starts_with(&format!("{n} ")));
    }
    replica
        .metric_becomes(
            "warren_connections_closed_total{code=\"1013\",reason=\"too_slow\"}",
            |count| count == 1.0,
        )
        .await;
    let grown = replica.memory().saturating_sub(before);
    assert!(grown < (8 << 20) + backlog, "grew by {grown} bytes");
    quick.send("unharmed").await;
    assert_eq!(quick.text().await, "unharmed");
    drop(slow);
}

#[tokio::test]
async fn ping_flood_is_answered_in_bounded_memory() {
    let replica = Replica::ready(&[]).await;
    let mut raw = Raw::connect(replica.addr).await;
    let before = replica.memory();
    let pings = frame(0x89, &[b'p'; 125]).repeat(4096);
    let (mut reading, mut writing) = raw.stream.split();
    let flood = async {
        use tokio::io::AsyncWriteExt;
        for _ in 0..20 {
            writing.write_all(&pings).await.unwrap();
        }
        writing.shutdown().await.unwrap();
    };
    let mut sink = tokio::io::sink();
    let (_, answered) = tokio::join!(flood, tokio::io::copy(&mut reading, &mut sink));
    assert!(answered.unwrap() > 0);
    let grown = replica.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn compressed_gibibyte_takes_memory_of_one_message() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "1MiB"), ("WORKERS", "1")]).await;
    let mut other = replica.client("").await;
    let bomb = zlib::zeros(1024);
    let offer = "Host: x\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let offer = HANDSHAKE.replace("Host: x", offer);
    assert!(bomb.len() < 1100 << 10, "{}", bomb.len());
    let before = replica.peak_memory();
    for _ in 0..3 {
        let mut client = Raw::send_first(replica.addr, offer.as_bytes()).await;
        assert!(client.head().await.contains("permessage-deflate"));
        // The first byte of a frame that is final, text and compressed.
        client.write(&frame(0xc1, &bomb)).await;
        assert_eq!(client.closed().await.0, 1009);
    }
    // The compressed bytes, and one message.
    let grown = replica.peak_memory() - before;
    assert!(grown < 4 << 20, "grew by {grown} bytes");
    other.send("still here").await;
    assert_eq!(other.text().await, "still here");
}
