use super::*;

const ACCEPT: ReadLimits<'_> = ReadLimits { max_message: 64, binary: false, inflater: None };
const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A masked client frame.
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

/// Everything that a reader says of `bytes` when it gets them in pieces of `size`. A violation stays.
fn read(bytes: &[u8], size: usize, accept: ReadLimits<'_>) -> (Vec<String>, Option<CloseReason>) {
    let mut reader = FrameDecoder::default();
    let mut said = Vec::new();
    for piece in bytes.to_vec().chunks_mut(size) {
        let mut data = piece;
        loop {
            match reader.next(&mut data, accept) {
                Ok(Some(event)) => said.push(format!("{event:?}")),
                Ok(None) => break,
                Err(violation) => {
                    let mut more = frame(0x81, b"more");
                    assert_eq!(reader.next(&mut &mut more[..], accept), Err(violation));
                    assert!(reader.is_over() && reader.gathered.capacity() == 0);
                    return (said, Some(violation.0));
                }
            }
        }
        assert!(data.is_empty());
    }
    (said, None)
}

/// The same, whatever the pieces.
fn read_any(bytes: &[u8]) -> (Vec<String>, Option<CloseReason>) {
    let at_once = read(bytes, bytes.len().max(1), ACCEPT);
    for size in 1..bytes.len().min(20) {
        assert_eq!(read(bytes, size, ACCEPT), at_once, "in pieces of {size}");
    }
    at_once
}

#[test]
fn a_conversation() {
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
fn violations_are_named_after_what_came_before_them_was_delivered() {
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
fn an_oversized_frame_is_refused_by_its_header_alone() {
    for announced in [65u64, 1 << 32, u64::MAX] {
        let mut header = vec![0x81, 0xff];
        header.extend_from_slice(&announced.to_be_bytes());
        header.extend_from_slice(&MASK);
        assert_eq!(read_any(&header).1, Some(CloseReason::TooBig), "{announced}");
    }
}

#[test]
fn fragments_are_bounded_together() {
    let mut bytes = frame(0x01, &[b'a'; 40]);
    bytes.extend(frame(0x00, &[b'b'; 24]));
    assert_eq!(read_any(&bytes).1, None);
    bytes.extend(frame(0x00, b"c"));
    assert_eq!(read_any(&bytes).1, Some(CloseReason::TooBig));
}

#[test]
fn gathering_takes_no_more_memory_than_the_largest_message() {
    for size in 1..=64 {
        let mut reader = FrameDecoder::default();
        let mut fragments = frame(0x01, b"");
        for fragment in [b'a'; 64].chunks(size) {
            fragments.extend(frame(0x00, fragment));
        }
        assert_eq!(reader.next(&mut &mut fragments[..], ACCEPT), Ok(None));
        assert_eq!(reader.gathered.len(), 64);
        assert!(reader.gathered.capacity() <= 64, "in fragments of {size}");
    }
}

#[test]
fn a_message_cannot_begin_inside_another() {
    let mut bytes = frame(0x01, b"");
    bytes.extend(frame(0x81, b"x"));
    assert_eq!(read_any(&bytes), (vec![], Some(CloseReason::ProtocolError)));
}

#[test]
fn bad_text_is_refused_before_its_frame_is_complete() {
    let bytes = frame(0x81, b"ab\xffcd");
    let (said, violation) = read(&bytes[..bytes.len() - 2], 1, ACCEPT);
    assert_eq!((said.len(), violation), (0, Some(CloseReason::InvalidUtf8)));
}

#[test]
fn an_idle_reader_owns_no_memory() {
    let mut reader = FrameDecoder::default();
    for piece in [frame(0x01, b"par"), frame(0x80, b"ts")] {
        for mut byte in piece {
            while reader.next(&mut std::slice::from_mut(&mut byte), ACCEPT).unwrap().is_some() {}
        }
    }
    assert_eq!(reader.gathered.capacity() + reader.control.capacity(), 0);
    assert!(size_of::<FrameDecoder>() <= 128);
}

#[test]
fn binary_passes_where_it_is_accepted() {
    let accept = ReadLimits { binary: true, ..ACCEPT };
    assert_eq!(read(&frame(0x82, &[0xff]), 3, accept), (vec!["Binary([255])".into()], None));
}

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// A frame with RSV1.
fn compressed(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first | RSV1, payload)
}

/// What is said of `bytes` where compression was agreed on, whatever the pieces.
fn inflated(bytes: &[u8]) -> (Vec<String>, Option<CloseReason>) {
    let inflater = RefCell::default();
    let accept = ReadLimits { inflater: Some(&inflater), binary: true, ..ACCEPT };
    let at_once = read(bytes, bytes.len().max(1), accept);
    for size in 1..bytes.len().min(20) {
        assert_eq!(read(bytes, size, accept), at_once, "in pieces of {size}");
    }
    at_once
}

#[test]
fn compressed_messages_among_others() {
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
fn what_is_not_compressed_as_it_should_be() {
    // Without compression; 65 times "a", as zlib has it.
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
        "not agreed on"
    );
}

#[test]
fn what_gathers_is_what_came_and_not_what_comes_of_it() {
    let inflater = RefCell::default();
    let accept = ReadLimits { inflater: Some(&inflater), ..ACCEPT };
    let mut header = vec![0xc1, 0xff];
    header.extend_from_slice(&(1u64 << 32).to_be_bytes());
    header.extend_from_slice(&MASK);
    assert_eq!(read(&header, 1, accept).1, Some(CloseReason::TooBig), "by its header");
    let mut reader = FrameDecoder::default();
    let mut parts = compressed(0x01, b"");
    for _ in 0..136 {
        parts.extend(frame(0x00, b"\0"));
    }
    assert_eq!(reader.next(&mut &mut parts[..], accept), Ok(None));
    assert_eq!(reader.gathered.len(), 136);
    assert!(reader.gathered.capacity() <= 136);
}
