//! permessage-deflate (RFC 7692): negotiation, which messages are compressed, and violations. The client uses zlib.

use crate::replica::Replica;
use serde_json::{Value, json};
use warren_testkit::http;
use warren_testkit::raw::{HANDSHAKE, Raw, frame};
use warren_testkit::zlib;

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const INPUT: &str = "warren_compression_input_bytes_total";
const OUTPUT: &str = "warren_compression_output_bytes_total";
/// The bit of the first frame of a compressed message.
const RSV1: u8 = 0x40;

/// A handshake with these header lines.
fn handshake(query: &str, headers: &str) -> String {
    HANDSHAKE
        .replace("/ws", &format!("/ws{query}"))
        .replace("Host: x", &format!("Host: x{headers}"))
}

/// A client that sends these offers, and the answer. Its ready frame has been read.
async fn offering_client(replica: &Replica, query: &str, offers: &[&str]) -> (Raw, Option<String>) {
    let headers: String =
        offers.iter().map(|offer| format!("\r\nSec-WebSocket-Extensions: {offer}")).collect();
    let mut raw = Raw::send_first(replica.addr, handshake(query, &headers).as_bytes()).await;
    let head = raw.head().await;
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values =
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"));
    let answer = values.next().map(|(_, value)| value.to_owned());
    assert_eq!(values.next(), None);
    assert!(
        raw.frame().await.expect("the ready frame, not compressed").1.starts_with(b"{\"ready\"")
    );
    (raw, answer)
}

/// A client that accepts compressed messages.
async fn compressing_client(replica: &Replica, query: &str) -> Raw {
    let (raw, answer) = offering_client(replica, query, &[OFFER]).await;
    assert_eq!(answer.as_deref(), Some(ANSWER));
    raw
}

/// The next frame: true if it was compressed, its payload as received, and its message.
async fn next(raw: &mut Raw, window_bits: u8) -> (bool, Vec<u8>, Value) {
    let (first, payload) = raw.any_frame().await.expect("a frame");
    let compressed = first & RSV1 != 0;
    assert_eq!(first & !RSV1, 0x81, "a whole text");
    let text = if compressed { zlib::inflate(&payload, window_bits) } else { payload.clone() };
    (compressed, payload, serde_json::from_slice(&text).unwrap())
}

/// A text that compresses well.
fn text(length: usize) -> String {
    let mut text = (0..).map(|n| format!("line {n}, ")).take(length / 8).collect::<String>();
    text.truncate(length);
    text
}

#[tokio::test]
async fn offered_parameters_are_negotiated() {
    let replica = Replica::ready(&[]).await;
    let asked = |bits| Some(format!("{ANSWER}; server_max_window_bits={bits}"));
    let plain = Some(ANSWER.to_owned());
    for (offers, answer) in [
        (&[][..], None),
        (&[OFFER][..], plain.clone()),
        (&["permessage-deflate; server_max_window_bits=8"], asked(8)),
        (
            &["permessage-deflate; client_max_window_bits=9; server_max_window_bits=\"12\""],
            asked(12),
        ),
        (&["permessage-deflate; surprise, permessage-deflate; server_max_window_bits=9"], asked(9)),
        (&["mux", "permessage-deflate; server_max_window_bits=7", "permessage-deflate"], plain),
        // None of these makes the handshake fail.
        (&["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], None),
        (&["permessage-deflate; client_max_window_bits=08"], None),
        (&["permessage-deflate=\"; ,,;=\\"], None),
        (&["\u{fc}permessage-deflate"], None),
    ] {
        assert_eq!(offering_client(&replica, "", offers).await.1, answer, "{offers:?}");
    }
    let (mut raw, _) = offering_client(&replica, "", &["permessage-deflate; surprise"]).await;
    raw.write(&frame(0x81 | RSV1, &zlib::deflate(b"not agreed on"))).await;
    assert_eq!(raw.closed().await.0, 1002);

    let off = Replica::ready(&[("COMPRESSION", "off")]).await;
    assert_eq!(offering_client(&off, "", &[OFFER]).await.1, None);
}

#[tokio::test]
async fn message_is_compressed_once_for_all_clients_that_accept_it() {
    let replica = Replica::ready(&[]).await;
    let (mut other, mut events) = (replica.client("").await, replica.events("").await);
    let text = text(4000);
    // While no client accepts compression, nothing is compressed.
    replica.publish("lobby", text.as_str()).await;
    assert_eq!((other.text().await, events.text().await), (json!(text), json!(text)));
    assert_eq!(replica.metric(INPUT).await, 0.0);

    let mut takers = Vec::new();
    for _ in 0..10 {
        takers.push(compressing_client(&replica, "").await);
    }
    let id = replica.publish("lobby", text.as_str()).await;
    let (compressed, payload, message) = next(&mut takers[0], 15).await;
    assert!(compressed && payload.len() < 2000, "{} bytes", payload.len());
    assert_eq!((&message["id"], &message["text"]), (&json!(id), &json!(text)));
    for compressing_client in &mut takers[1..] {
        assert_eq!(compressing_client.any_frame().await, Some((0x81 | RSV1, payload.clone())));
    }
    assert_eq!((other.text().await, events.text().await), (json!(text), json!(text)));
    // Includes the headers of their frames, 4 bytes each.
    let size = message.to_string().len() + 4;
    assert_eq!(replica.metric(INPUT).await, size as f64);
    assert_eq!(replica.metric(OUTPUT).await, payload.len() as f64 + 4.0);

    // History keeps messages as they were sent.
    let mut late = compressing_client(&replica, "?history=2").await;
    assert!(!next(&mut late, 15).await.0);
    assert_eq!(late.any_frame().await, Some((0x81 | RSV1, payload)));
    assert_eq!(replica.metric(INPUT).await, size as f64);

    // The last client that accepts compression is gone.
    takers.push(late);
    for compressing_client in takers {
        compressing_client.bye().await;
    }
    replica.metric_becomes("warren_connections{transport=\"websocket\"}", |open| open == 1.0).await;
    replica.publish("lobby", text.as_str()).await;
    assert_eq!(other.text().await, json!(text));
    assert_eq!(replica.metric(INPUT).await, size as f64);
}

#[tokio::test]
async fn small_or_incompressible_message_is_sent_uncompressed() {
    let noise: String = {
        let mut random = fastrand::Rng::with_seed(1);
        (0..4000).map(|_| random.char('\u{4e00}'..'\u{9fa5}')).collect()
    };
    let small = text(500);
    for (setting, least) in [("1KiB", false), ("400B", true), ("on", true)] {
        let replica = Replica::ready(&[("COMPRESSION", setting)]).await;
        let mut client = compressing_client(&replica, "").await;
        replica.publish("lobby", small.as_str()).await;
        let (compressed, _, message) = next(&mut client, 15).await;
        assert_eq!((compressed, &message["text"]), (least, &json!(small)), "{setting}");
        replica.publish("lobby", "tiny").await;
        let (compressed, _, message) = next(&mut client, 15).await;
        assert_eq!((compressed, &message["text"]), (setting == "on", &json!("tiny")), "{setting}");
        // Answers and errors are never compressed.
        client.write(&frame(0x89, small.as_bytes().get(..125).unwrap())).await;
        assert_eq!(client.frame().await.unwrap().0, 0xA);
        drop(client);
    }
    let replica = Replica::ready(&[("COMPRESSION", "on")]).await;
    let mut client = compressing_client(&replica, "").await;
    let id = replica.publish("lobby", noise.as_str()).await;
    let (_, _, message) = next(&mut client, 15).await;
    assert_eq!((&message["id"], &message["text"]), (&json!(id), &json!(noise)));
}

#[tokio::test]
async fn agreed_window_is_never_exceeded() {
    let replica = Replica::ready(&[("COMPRESSION", "on")]).await;
    let noise: String = {
        let mut random = fastrand::Rng::with_seed(2);
        std::iter::repeat_with(|| random.alphanumeric()).take(40).collect()
    };
    for bits in 8..=15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let (mut narrow, _) = offering_client(&replica, "", &[&offer]).await;
        let mut wide = compressing_client(&replica, "").await;
        // The end repeats the beginning, at the distance of the window. The rest of the frame takes 94 bytes.
        for (length, fits) in [((1 << bits) - 110, true), (1 << bits, bits == 15)] {
            let message = format!("{noise}{}{noise}", text(length - 2 * noise.len()));
            replica.publish("lobby", message.as_str()).await;
            let (compressed, _, got) = next(&mut narrow, bits).await;
            assert_eq!((compressed, &got["text"]), (fits, &json!(message)), "{bits}");
            let (compressed, _, got) = next(&mut wide, 15).await;
            assert_eq!((compressed, &got["text"]), (true, &json!(message)));
        }
    }
}

#[tokio::test]
async fn compressed_message_from_client_is_accepted() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "64KiB")]).await;
    let mut other = replica.client("").await;
    let mut client = compressing_client(&replica, "").await;
    let long = text(64 << 10);
    for message in ["", "short", "\u{1F407}", &long] {
        let payload = zlib::deflate(message.as_bytes());
        client.write(&frame(0x81 | RSV1, &payload)).await;
        assert_eq!(other.text().await, message);
        client.write(&frame(0x81 | RSV1, &zlib::deflate_last(message.as_bytes()))).await;
        assert_eq!(other.text().await, message);
        // In fragments that cut characters.
        let middle = payload.len() / 2;
        client.write(&frame(0x01 | RSV1, &payload[..middle])).await;
        client.write(&frame(0x00, b"")).await;
        client.write(&frame(0x80, &payload[middle..])).await;
        assert_eq!(other.text().await, message);
    }
    // An incompressible message of the maximum size still fits.
    let mut random = fastrand::Rng::with_seed(3);
    let noise: String = (0..64 << 10).map(|_| char::from(random.u8(b' '..=b'~'))).collect();
    let flushed: Vec<u8> = noise.as_bytes().chunks(100).flat_map(stored).chain([0]).collect();
    client.write(&frame(0x81 | RSV1, &flushed)).await;
    assert_eq!(other.text().await, noise);
}

/// A stored block: deflate without compression.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
}

#[tokio::test]
async fn violation_closes_only_its_connection_with_its_code() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "1KiB")]).await;
    let mut other = replica.client("").await;
    let hello = zlib::deflate(b"hello");
    let cases = [
        ("too big", frame(0xc1, &zlib::deflate(&[b'x'; 1025])), 1009),
        ("announced as too big", frame(0xc1, &[0; 1024 + 128 + 65])[..8].to_vec(), 1009),
        ("corrupt", frame(0xc1, b"\xff\xff\xff"), 1007),
        ("not whole", frame(0xc1, &hello[..3]), 1007),
        ("not UTF-8", frame(0xc1, &zlib::deflate(b"caf\xe9")), 1007),
        ("binary", frame(0xc2, &hello), 1003),
        ("a ping", frame(0xc9, &hello), 1002),
        ("a continuation", [frame(0x41, &hello), frame(0xc0, &hello)].concat(), 1002),
        ("another bit", frame(0xa1, &hello), 1002),
    ];
    for (name, bytes, code) in cases {
        let mut client = compressing_client(&replica, "").await;
        // The valid message before the violation is published.
        client.write(&[frame(0xc1, &zlib::deflate(name.as_bytes())), bytes].concat()).await;
        assert_eq!(other.text().await, name);
        let (closed, reason) = client.closed().await;
        assert_eq!(closed, code, "{name}: {reason}");
    }
    let closed = "warren_connections_closed_total{code=\"1007\",reason=\"bad_deflate\"}";
    assert_eq!(replica.metric(closed).await, 2.0);
    replica.publish("lobby", "still here").await;
    assert_eq!(other.text().await, "still here");
}

#[tokio::test]
async fn slow_reader_gets_whole_frames() {
    let settings = [("CLIENT_BACKLOG", "64MiB")];
    let replica = Replica::ready(&settings).await;
    let headers = format!("\r\nSec-WebSocket-Extensions: {OFFER}");
    let mut narrow = Raw::send_first_narrow(replica.addr, handshake("", &headers).as_bytes()).await;
    narrow.switched().await;
    // Hex digits compress to half: far more than the kernel buffers.
    let mut random = fastrand::Rng::with_seed(4);
    let hex: String = (0..60_000).map(|_| random.digit(16)).collect();
    for n in 0..40 {
        let text = if n % 2 == 0 { format!("{n} {hex}") } else { n.to_string() };
        assert_eq!(replica.post("lobby", text).await.status, 202);
    }
    for n in 0..40 {
        let (compressed, _, message) = next(&mut narrow, 15).await;
        let text = if n % 2 == 0 { format!("{n} {hex}") } else { n.to_string() };
        assert!(compressed == (n % 2 == 0) && message["text"] == text, "{n}");
    }
}

#[tokio::test]
async fn refused_handshake_is_not_counted_as_deflate_client() {
    let replica = Replica::ready(&[("MAX_CONNECTIONS", "1")]).await;
    let mut other = replica.client("").await;
    let refused = handshake("", &format!("\r\nSec-WebSocket-Extensions: {OFFER}"));
    assert_eq!(http::send(replica.addr, &refused).await.status, 503);
    let text = text(4000);
    replica.publish("lobby", text.as_str()).await;
    assert_eq!(other.text().await, json!(text));
    assert_eq!(replica.metric(INPUT).await, 0.0);
}
