//! Frames and handshakes that arrive in pieces, or ahead of time, have the same meaning.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::client::Client;
use warren_testkit::raw::{HANDSHAKE, Raw, frame};

/// A character of each length that UTF-8 has.
const TEXT: &str = "aβ語🐇";
/// First bytes of frames. All are final but for `BEGINNING`.
const BEGINNING: u8 = 0x01;
const REST: u8 = 0x80;
const WHOLE: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// A replica whose clients all share one worker.
async fn replica() -> Replica {
    Replica::ready(&[("WORKERS", "1"), ("CLIENT_RATE", "1000/s")]).await
}

/// A client whose pieces are read one at a time.
struct FragmentingClient {
    raw: Raw,
    other: Raw,
}

impl FragmentingClient {
    /// Connects and sends a first piece, at least the beginning of its handshake.
    async fn begin(replica: &Replica, piece: &[u8]) -> Self {
        let elsewhere = HANDSHAKE.replace("/ws", "/ws?channel=elsewhere");
        let mut other = Raw::send_first(replica.addr, elsewhere.as_bytes()).await;
        other.switched().await;
        let mut client = Self { raw: Raw::send_first(replica.addr, piece).await, other };
        client.read().await;
        client
    }

    async fn connect(replica: &Replica) -> Self {
        let mut client = Self::begin(replica, HANDSHAKE.as_bytes()).await;
        client.raw.switched().await;
        client
    }

    async fn send(&mut self, piece: &[u8]) {
        self.raw.write(piece).await;
        self.read().await;
    }

    /// Waits until the server has read the last piece: the worker serves its sockets in turn, so when it has
    /// answered another client twice, it has read this one.
    async fn read(&mut self) {
        for _ in 0..2 {
            self.other.write(&frame(PING, b"?")).await;
            assert_eq!(self.other.frame().await.unwrap(), (0xA, b"?".to_vec()));
        }
    }

    async fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]).await;
        }
    }

    /// Awaits a message of this text as the next frame, and the same message at another client.
    async fn receives(&mut self, listener: &mut Client, text: &str) {
        let (own, others) = (self.raw.json().await, listener.message().await);
        assert_eq!((&own, own["text"].as_str()), (&others, Some(text)));
    }
}

#[tokio::test]
async fn frames_sent_byte_by_byte_are_read() {
    let replica = replica().await;
    let mut listener = replica.client("").await;
    let mut client = FragmentingClient::begin(&replica, b"").await;
    for piece in HANDSHAKE.as_bytes().chunks(16) {
        client.send(piece).await;
    }
    client.raw.switched().await;

    client.send_bytewise(&frame(WHOLE, TEXT.as_bytes())).await;
    client.receives(&mut listener, TEXT).await;

    // The cut is within a character.
    let (begun, rest) = TEXT.as_bytes().split_at(8);
    client.send_bytewise(&frame(BEGINNING, begun)).await;
    client.send_bytewise(&frame(PING, b"beat")).await;
    assert_eq!(client.raw.frame().await.unwrap(), (0xA, b"beat".to_vec()));
    let rest = frame(REST, rest);
    client.send_bytewise(&rest[..7]).await;
    listener.send("meanwhile").await;
    client.receives(&mut listener, "meanwhile").await;
    client.send_bytewise(&rest[7..]).await;
    client.receives(&mut listener, TEXT).await;

    client.send_bytewise(&frame(PONG, b"unasked")).await;
    client.send_bytewise(&frame(WHOLE, b"")).await;
    client.receives(&mut listener, "").await;
    let long = TEXT.repeat(13);
    client.send_bytewise(&frame(WHOLE, long.as_bytes())).await;
    client.receives(&mut listener, &long).await;

    client.send_bytewise(&frame(CLOSE, "\u{f}\u{21}bye 🐇".as_bytes())).await;
    assert_eq!(client.raw.closed().await.0, 0x0f21);
    listener.send("the last").await;
    assert_eq!(listener.text().await, "the last", "no message was published twice");
}

#[tokio::test]
async fn commands_sent_byte_by_byte_are_answered() {
    let replica = replica().await;
    let mut listener = replica.client("?channel=news").await;
    let v1 = HANDSHAKE.replace("Host: x", "Host: x\r\nSec-WebSocket-Protocol: warren.v1");
    let mut client = FragmentingClient::begin(&replica, v1.as_bytes()).await;
    client.raw.switched().await;

    let subscribe = json!({ "subscribe": { "ref": 1, "channel": "news" } });
    client.send_bytewise(&frame(WHOLE, subscribe.to_string().as_bytes())).await;
    assert_eq!(client.raw.json().await["subscribed"]["ref"], 1);
    let publish = json!({ "publish": { "ref": "🐇", "channel": "news", "text": TEXT } });
    client.send_bytewise(&frame(WHOLE, publish.to_string().as_bytes())).await;
    let heard = listener.message().await;
    // Answer and message may come in either order.
    let mut got = [client.raw.json().await, client.raw.json().await];
    got.sort_by_key(|frame| frame["published"].is_null());
    assert_eq!(got, [json!({ "published": { "ref": "🐇", "id": heard["id"] } }), heard.clone()]);
}

#[tokio::test]
async fn frame_cut_at_any_byte_is_read() {
    let replica = replica().await;
    let mut listener = replica.client("").await;
    let mut client = FragmentingClient::connect(&replica).await;
    // One text for each size of a header. The last has the maximum size of a message.
    let longest = TEXT.repeat(6553) + "......";
    for (text, cuts) in [(TEXT, 1..16), (&TEXT.repeat(13), 1..50), (&longest, 1..30)] {
        let frame = frame(WHOLE, text.as_bytes());
        for cut in cuts {
            let (begun, rest) = frame.split_at(cut);
            client.send(begun).await;
            client.send(rest).await;
            client.receives(&mut listener, text).await;
        }
    }
    for cut in 0..=TEXT.len() {
        let (begun, rest) = TEXT.as_bytes().split_at(cut);
        client.send(&frame(BEGINNING, begun)).await;
        client.send(&frame(REST, rest)).await;
        client.receives(&mut listener, TEXT).await;
    }
}

#[tokio::test]
async fn frames_sent_with_handshake_are_read() {
    let replica = replica().await;
    let mut listener = replica.client("").await;
    let frames = [frame(WHOLE, TEXT.as_bytes()), frame(PING, b"beat")].concat();
    let all = [HANDSHAKE.as_bytes(), &frames].concat();
    for cut in HANDSHAKE.len() - 5..=all.len() {
        let mut client = FragmentingClient::begin(&replica, &all[..cut]).await;
        client.send(&all[cut..]).await;
        client.raw.switched().await;
        // A pong may precede a message.
        let mut got = [client.raw.frame().await.unwrap(), client.raw.frame().await.unwrap()];
        got.sort_by_key(|(opcode, _)| *opcode);
        let [(_, message), pong] = got;
        assert_eq!(pong, (0xA, b"beat".to_vec()), "{cut}");
        let heard = listener.message().await;
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&message).unwrap(), heard);
        assert_eq!(heard["text"], TEXT);
    }
}

#[tokio::test]
async fn many_frames_sent_with_handshake_are_read() {
    let replica = replica().await;
    let mut listener = replica.client("").await;
    let text = |number: usize| format!("{number:03} {}", TEXT.repeat(100));
    let frames: Vec<u8> = (0..200).flat_map(|n| frame(WHOLE, text(n).as_bytes())).collect();
    let all = [HANDSHAKE.as_bytes(), &frames].concat();
    let mut raw = Raw::send_first(replica.addr, &all).await;
    raw.switched().await;
    for number in 0..200 {
        let (own, others) = (raw.json().await, listener.message().await);
        assert_eq!((&own, own["text"].as_str()), (&others, Some(&*text(number))));
    }
}

#[tokio::test]
async fn requests_pipelined_before_handshake_are_answered_first() {
    let replica = replica().await;
    let ask = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut raw = Raw::send_first(replica.addr, format!("{ask}{ask}{HANDSHAKE}").as_bytes()).await;
    for _ in 0..2 {
        let head = raw.any_head().await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        raw.skip(length.unwrap().parse().unwrap()).await;
    }
    raw.switched().await;
}

/// An id at a future position, for which a replica waits some time.
const LATER: &str = "ffff-0123456789abcdef";

#[tokio::test]
async fn ready_precedes_answers_to_frames_sent_with_handshake() {
    let replica = replica().await;
    let commands = [
        json!({ "publish": { "ref": 1, "text": TEXT } }),
        json!({ "unsubscribe": { "ref": 2, "channel": "lobby" } }),
        json!({ "dance": { "ref": 3 } }),
    ];
    let frames = commands.map(|command| frame(WHOLE, command.to_string().as_bytes())).concat();
    let v1 = HANDSHAKE.replace("Host: x", "Host: x\r\nSec-WebSocket-Protocol: warren.v1");
    for query in ["", "?channel=lobby&channel=news", "?channel=lobby"] {
        let after = if query.is_empty() { "?" } else { "&" };
        let v1 = v1.replace("/ws", &format!("/ws{query}{after}after={LATER}"));
        let mut raw = Raw::send_first(replica.addr, &[v1.as_bytes(), &frames].concat()).await;
        raw.switched().await;
    }
    let plain = HANDSHAKE.replace("/ws", &format!("/ws?after={LATER}"));
    let text = frame(WHOLE, TEXT.as_bytes());
    let mut raw = Raw::send_first(replica.addr, &[plain.as_bytes(), &text].concat()).await;
    raw.switched().await;
    assert_eq!(raw.json().await["text"], TEXT, "it receives its own message");
}

#[tokio::test]
async fn last_of_many_pings_is_answered() {
    let replica = replica().await;
    let mut raw = Raw::connect(replica.addr).await;
    let pings: Vec<u8> = (0..1000).flat_map(|n: u16| frame(PING, &n.to_be_bytes())).collect();
    raw.write(&pings).await;
    while raw.frame().await.unwrap() != (0xA, 999u16.to_be_bytes().to_vec()) {}
}

#[tokio::test]
async fn each_of_many_commands_is_answered() {
    const COMMANDS: usize = 1000;
    let replica = Replica::ready(&[("CLIENT_RATE", "1/m")]).await;
    let v1 = HANDSHAKE.replace("Host: x", "Host: x\r\nSec-WebSocket-Protocol: warren.v1");
    let commands: Vec<u8> = (0..COMMANDS)
        .map(|reference| json!({ "publish": { "ref": reference, "text": "x" } }).to_string())
        .flat_map(|command| frame(WHOLE, command.as_bytes()))
        .collect();
    let mut raw = Raw::send_first(replica.addr, v1.as_bytes()).await;
    raw.switched().await;
    raw.write(&commands).await;
    let mut answered = vec![false; COMMANDS];
    while answered.contains(&false) {
        let answer = raw.json().await;
        let (refused, published) = (&answer["error"]["ref"], &answer["published"]["ref"]);
        if let Some(reference) = refused.as_u64().or(published.as_u64()) {
            answered[reference as usize] = true;
        }
    }
}
