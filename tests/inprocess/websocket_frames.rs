//! WebSocket frames on a raw socket: violations, limits, and unusual but valid input.

use crate::replica::Replica;
use warren_testkit::http;
use warren_testkit::raw::{HANDSHAKE, Raw, frame};

#[tokio::test]
async fn violation_closes_only_its_connection_with_its_code() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "1KiB")]).await;
    let mut other = replica.client("").await;
    let large = vec![b'x'; 1025];
    let cases: [(&str, Vec<u8>, u16); 8] = [
        ("binary", frame(0x82, b"\x01"), 1003),
        ("not UTF-8", frame(0x81, b"\xc3\x28"), 1007),
        ("too big", frame(0x81, &large), 1009),
        (
            "too big in parts",
            [frame(0x01, &large[..600]), frame(0x80, &large[..600])].concat(),
            1009,
        ),
        ("unmasked", b"\x81\x01x".to_vec(), 1002),
        ("reserved bits", frame(0xf1, b"x"), 1002),
        ("unknown opcode", frame(0x8b, b"x"), 1002),
        ("stray continuation", frame(0x80, b"x"), 1002),
    ];
    for (name, bytes, code) in cases {
        let mut raw = Raw::connect(replica.addr).await;
        // The valid message before the violation is published.
        raw.write(&[frame(0x81, name.as_bytes()), bytes].concat()).await;
        assert_eq!(other.text().await, name);
        let (closed, reason) = raw.closed().await;
        assert_eq!(closed, code, "{name}");
        assert!(!reason.is_empty(), "{name}");
    }
    other.send("still here").await;
    assert_eq!(other.text().await, "still here");
}

#[tokio::test]
async fn bytes_sent_singly_and_frames_sent_with_handshake_are_read() {
    let replica = Replica::ready(&[]).await;
    let mut early =
        Raw::send_first(replica.addr, &[HANDSHAKE.as_bytes(), &frame(0x81, b"early")].concat())
            .await;
    early.switched().await;
    assert_eq!(early.json().await["text"], "early");

    let mut slow = Raw::connect(replica.addr).await;
    for byte in [frame(0x01, b"piece"), frame(0x89, b"beat"), frame(0x80, b"meal")].concat() {
        slow.write(&[byte]).await;
    }
    assert_eq!(slow.frame().await.unwrap(), (0xA, b"beat".to_vec()));
    assert_eq!(slow.json().await["text"], "piecemeal");
}

#[tokio::test]
async fn close_frame_is_echoed_and_socket_ends() {
    let replica = Replica::ready(&[]).await;
    for (payload, code) in [(&b"\x03\xe8bye"[..], 1000), (b"\x0f\xa1", 4001), (b"", 1000)] {
        let mut raw = Raw::connect(replica.addr).await;
        raw.write(&frame(0x88, payload)).await;
        assert_eq!(raw.closed().await.0, code);
    }
}

#[tokio::test]
async fn invalid_handshake_gets_its_error() {
    let replica = Replica::ready(&[]).await;
    let refused = async |path: &str, header: (&str, &str)| {
        let request = HANDSHAKE.replace("/ws", path).replace(header.0, header.1);
        http::send(replica.addr, &request).await
    };
    let origin = ("Host: x", "Host: x\r\nOrigin: https://evil.example");
    for (path, header, status, code) in [
        ("/ws", origin, 403, "origin_not_allowed"),
        ("/ws?channel=", ("", ""), 400, "bad_request"),
        ("/ws?history=all", ("", ""), 400, "bad_request"),
        ("/nowhere", ("", ""), 404, "not_found"),
        ("/ws", ("Version: 13", "Version: 7"), 426, "no_websocket"),
        ("/ws", ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 426, "no_websocket"),
    ] {
        let response = refused(path, header).await;
        assert_eq!(
            (response.status, response.error().as_str()),
            (status, code),
            "{path} {header:?}"
        );
    }
    let plain = http::get(replica.addr, "/ws").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
    let refused = replica.metric("warren_handshakes_refused_total{cause=\"origin_not_allowed\"}");
    assert_eq!(refused.await, 1.0);
}
