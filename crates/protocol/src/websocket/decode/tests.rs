use super::*;

const ACCEPT: ReadLimits<'_> = ReadLimits { max_message: 64, binary: false, inflater: None };
const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// Encodes a masked client frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    bytes
}

/// Decodes `bytes` in pieces of `size`: events, and the violation if any.
fn read(bytes: &[u8], size: usize, limits: ReadLimits<'_>) -> (Vec<String>, Option<CloseReason>) {
    let mut decoder = FrameDecoder::default();
    let mut said = Vec::new();
    for piece in bytes.to_vec().chunks_mut(size) {
        let mut data = piece;
        loop {
            match decoder.next(&mut data, limits) {
                Ok(Some(event)) => said.push(format!("{event:?}")),
                Ok(None) => break,
                Err(violation) => {
                    let mut more = frame(0x81, b"more");
                    assert_eq!(decoder.next(&mut &mut more[..], limits), Err(violation));
                    assert!(decoder.is_over() && decoder.payload.capacity() == 0);
                    return (said, Some(violation.0));
                }
            }
        }
        assert!(data.is_empty());
    }
    (said, None)
}

/// Decodes `bytes` in pieces of several sizes, with equal results.
fn read_any(bytes: &[u8]) -> (Vec<String>, Option<CloseReason>) {
    let at_once = read(bytes, bytes.len().max(1), ACCEPT);
    for size in 1..bytes.len().min(20) {
        assert_eq!(read(bytes, size, ACCEPT), at_once, "in pieces of {size}");
    }
    at_once
}

#[test]
fn frames_in_any_pieces_give_the_same_events() {
    let mut bytes = frame(0x81, b"hello");
    bytes.extend(frame(0x01, "kó".as_bytes()));
    bytes.extend(frame(0x89, b"beat"));
    bytes.extend(frame(0x80, "šmε".as_bytes()));
    bytes.extend(frame(0x81, b""));
    bytes.extend(frame(0x8a, b"pong"));
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    bytes.extend(frame(0x81, b"after the end"));
    let (said, violation) = read_any(&bytes);
    assert_eq!(violation, None);
    assert_eq!(
        said,
        [
            r#"Text("hello")"#,
            "Ping([98, 101, 97, 116])",
            r#"Text("kóšmε")"#,
            r#"Text("")"#,
            "Pong",
            "Close(Some(1000))",
        ]
    );
}

#[test]
fn violation_comes_after_the_events_before_it() {
    let long = "x".repeat(65);
    let cases: &[(&str, Vec<u8>, CloseReason)] = &[
        ("reserved bit", frame(0xc1, b"a"), CloseReason::ProtocolError),
        ("reserved opcode", frame(0x83, b"a"), CloseReason::ProtocolError),
        ("unmasked", b"\x81\x01a".to_vec(), CloseReason::ProtocolError),
        ("fragmented ping", frame(0x09, b"a"), CloseReason::ProtocolError),
        ("long ping", frame(0x89, &[0; 126]), CloseReason::ProtocolError),
        ("stray continuation", frame(0x80, b"a"), CloseReason::ProtocolError),
        ("close of one byte", frame(0x88, b"\x03"), CloseReason::ProtocolError),
        ("close with 1005", frame(0x88, b"\x03\xed"), CloseReason::ProtocolError),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), CloseReason::InvalidUtf8),
        ("binary", frame(0x82, b"a"), CloseReason::BinaryData),
        ("latin-1", frame(0x81, b"caf\xe9"), CloseReason::InvalidUtf8),
        ("bad middle", frame(0x01, b"a\xc0\x80"), CloseReason::InvalidUtf8),
        ("cut character", frame(0x81, b"a\xe2\x82"), CloseReason::InvalidUtf8),
        ("too big", frame(0x81, long.as_bytes()), CloseReason::TooBig),
    ];
    for (name, bad, close) in cases {
        let mut bytes = frame(0x81, b"valid");
        bytes.extend(bad);
        let (said, violation) = read_any(&bytes);
        assert_eq!(said, [r#"Text("valid")"#], "{name}");
        assert_eq!(violation, Some(*close), "{name}");
    }
}

#[test]
fn oversized_frame_is_refused_by_its_header() {
    for announced in [65u64, 1 << 32, u64::MAX] {
        let mut header = vec![0x81, 0xff];
        header.extend_from_slice(&announced.to_be_bytes());
        header.extend_from_slice(&MASK);
        assert_eq!(read_any(&header).1, Some(CloseReason::TooBig), "{announced}");
    }
}

#[test]
fn fragments_together_exceed_the_limit() {
    let mut bytes = frame(0x01, &[b'a'; 40]);
    bytes.extend(frame(0x00, &[b'b'; 24]));
    assert_eq!(read_any(&bytes).1, None);
    bytes.extend(frame(0x00, b"c"));
    assert_eq!(read_any(&bytes).1, Some(CloseReason::TooBig));
}

#[test]
fn fragments_take_no_more_memory_than_the_largest_message() {
    for size in 1..=64 {
        let mut decoder = FrameDecoder::default();
        let mut fragments = frame(0x01, b"");
        for fragment in [b'a'; 64].chunks(size) {
            fragments.extend(frame(0x00, fragment));
        }
        assert_eq!(decoder.next(&mut &mut fragments[..], ACCEPT), Ok(None));
        assert_eq!(decoder.payload.len(), 64);
        assert!(decoder.payload.capacity() <= 64, "in fragments of {size}");
    }
}

#[test]
fn message_inside_a_fragmented_message_is_refused() {
    let mut bytes = frame(0x01, b"");
    bytes.extend(frame(0x81, b"x"));
    assert_eq!(read_any(&bytes), (vec![], Some(CloseReason::ProtocolError)));
}

#[test]
fn invalid_text_is_refused_before_its_frame_is_complete() {
    let bytes = frame(0x81, b"ab\xffcd");
    let (said, violation) = read(&bytes[..bytes.len() - 2], 1, ACCEPT);
    assert_eq!((said.len(), violation), (0, Some(CloseReason::InvalidUtf8)));
}

#[test]
fn an_idle_reader_owns_no_memory() {
    let mut decoder = FrameDecoder::default();
    for piece in [frame(0x01, b"par"), frame(0x80, b"ts")] {
        for mut byte in piece {
            while decoder.next(&mut std::slice::from_mut(&mut byte), ACCEPT).unwrap().is_some() {}
        }
    }
    assert_eq!(decoder.payload.capacity() + decoder.control.capacity(), 0);
    assert!(size_of::<FrameDecoder>() <= 128);
}

#[test]
fn binary_is_accepted_if_enabled() {
    let limits = ReadLimits { binary: true, ..ACCEPT };
    assert_eq!(read(&frame(0x82, &[0xff]), 3, limits), (vec!["Binary([255])".into()], None));
}

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Encodes a masked client frame with RSV1.
fn compressed(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first | RSV1, payload)
}

/// Decodes `bytes` with compression negotiated, in pieces of several sizes.
fn inflated(bytes: &[u8]) -> (Vec<String>, Option<CloseReason>) {
    let inflater = RefCell::default();
    let limits = ReadLimits { inflater: Some(&inflater), binary: true, ..ACCEPT };
    let at_once = read(bytes, bytes.len().max(1), limits);
    for size in 1..bytes.len().min(20) {
        assert_eq!(read(bytes, size, limits), at_once, "in pieces of {size}");
    }
    at_once
}

#[test]
fn compressed_and_plain_messages_mix() {
    let mut bytes = frame(0x81, b"plain");
    bytes.extend(compressed(0x81, HELLO));
    bytes.extend(compressed(0x01, &HELLO[..3]));
    bytes.extend(frame(0x89, b"beat"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, &HELLO[3..]));
    bytes.extend(compressed(0x82, HELLO));
    bytes.extend(compressed(0x81, b"\0"));
    bytes.extend(frame(0x01, b"pla"));
    bytes.extend(frame(0x80, b"in"));
    let (said, violation) = inflated(&bytes);
    assert_eq!(violation, None);
    assert_eq!(
        said,
        [
            r#"Text("plain")"#,
            r#"Text("Hello")"#,
            "Ping([98, 101, 97, 116])",
            r#"Text("Hello")"#,
            "Binary([72, 101, 108, 108, 111])",
            r#"Text("")"#,
            r#"Text("plain")"#,
        ]
    );
}

#[test]
fn invalid_compression_is_refused() {
    // A stored block; 65 times "a" as zlib compresses it.
    let latin = b"\x00\x04\x00\xfb\xffcaf\xe9\x00";
    let many = [0x4a, 0x4c, 0xa4, 0x10, 0x00];
    let cases: &[(&str, Vec<u8>, CloseReason)] = &[
        ("a ping", compressed(0x89, HELLO), CloseReason::ProtocolError),
        ("a close frame", compressed(0x88, b"\x03\xe8"), CloseReason::ProtocolError),
        ("RSV2", frame(0xa1, HELLO), CloseReason::ProtocolError),
        ("RSV1 and RSV3", frame(0xd1, HELLO), CloseReason::ProtocolError),
        (
            "a continuation",
            [compressed(0x01, &HELLO[..3]), compressed(0x80, &HELLO[3..])].concat(),
            CloseReason::ProtocolError,
        ),
        (
            "a continuation of a plain message",
            [frame(0x01, b"a"), compressed(0x80, HELLO)].concat(),
            CloseReason::ProtocolError,
        ),
        ("corrupt", compressed(0x81, b"\xff\xff"), CloseReason::BadDeflate),
        ("cut", compressed(0x81, &HELLO[..4]), CloseReason::BadDeflate),
        ("latin-1", compressed(0x81, latin), CloseReason::InvalidUtf8),
        ("too big", compressed(0x81, &many), CloseReason::TooBig),
        ("too big before it is inflated", compressed(0x81, &[0; 137]), CloseReason::TooBig),
        (
            "the same in fragments",
            [compressed(0x01, &[0; 100]), frame(0x80, &[0; 37])].concat(),
            CloseReason::TooBig,
        ),
    ];
    for (name, bad, close) in cases {
        let bytes = [compressed(0x81, HELLO), bad.clone()].concat();
        let (said, violation) = inflated(&bytes);
        assert_eq!(said, [r#"Text("Hello")"#], "{name}");
        assert_eq!(violation, Some(*close), "{name}");
    }
    assert_eq!(
        read_any(&compressed(0x81, HELLO)).1,
        Some(CloseReason::ProtocolError),
        "not negotiated"
    );
}

#[test]
fn compressed_fragments_are_kept_compressed() {
    let inflater = RefCell::default();
    let limits = ReadLimits { inflater: Some(&inflater), ..ACCEPT };
    let mut header = vec![0xc1, 0xff];
    header.extend_from_slice(&(1u64 << 32).to_be_bytes());
    header.extend_from_slice(&MASK);
    assert_eq!(read(&header, 1, limits).1, Some(CloseReason::TooBig), "by its header");
    let mut decoder = FrameDecoder::default();
    let mut parts = compressed(0x01, b"");
    for _ in 0..136 {
        parts.extend(frame(0x00, b"\0"));
    }
    assert_eq!(decoder.next(&mut &mut parts[..], limits), Ok(None));
    assert_eq!(decoder.payload.len(), 136);
    assert!(decoder.payload.capacity() <= 136);
}
