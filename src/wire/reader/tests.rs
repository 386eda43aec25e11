use super::*;

const ACCEPT: Accept = Accept { max_message: 64, binary: false };
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
fn read(bytes: &[u8], size: usize, accept: Accept) -> (Vec<String>, Option<Close>) {
    let mut reader = Reader::default();
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
fn read_any(bytes: &[u8]) -> (Vec<String>, Option<Close>) {
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
    let cases: &[(&str, Vec<u8>, Close)] = &[
        ("reserved bit", frame(0xc1, b"a"), Close::ProtocolError),
        ("reserved opcode", frame(0x83, b"a"), Close::ProtocolError),
        ("unmasked", b"\x81\x01a".to_vec(), Close::ProtocolError),
        ("fragmented ping", frame(0x09, b"a"), Close::ProtocolError),
        ("long ping", frame(0x89, &[0; 126]), Close::ProtocolError),
        ("stray continuation", frame(0x80, b"a"), Close::ProtocolError),
        ("close of one byte", frame(0x88, b"\x03"), Close::ProtocolError),
        ("close with 1005", frame(0x88, b"\x03\xed"), Close::ProtocolError),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), Close::InvalidUtf8),
        ("binary", frame(0x82, b"a"), Close::BinaryData),
        ("latin-1", frame(0x81, b"caf\xe9"), Close::InvalidUtf8),
        ("bad middle", frame(0x01, b"a\xc0\x80"), Close::InvalidUtf8),
        ("cut character", frame(0x81, b"a\xe2\x82"), Close::InvalidUtf8),
        ("too big", frame(0x81, long.as_bytes()), Close::TooBig),
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
        assert_eq!(read_any(&header).1, Some(Close::TooBig), "{announced}");
    }
}

#[test]
fn fragments_are_bounded_together() {
    let mut bytes = frame(0x01, &[b'a'; 40]);
    bytes.extend(frame(0x00, &[b'b'; 24]));
    assert_eq!(read_any(&bytes).1, None);
    bytes.extend(frame(0x00, b"c"));
    assert_eq!(read_any(&bytes).1, Some(Close::TooBig));
}

#[test]
fn gathering_takes_no_more_memory_than_the_largest_message() {
    for size in 1..=64 {
        let mut reader = Reader::default();
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
    assert_eq!(read_any(&bytes), (vec![], Some(Close::ProtocolError)));
}

#[test]
fn bad_text_is_refused_before_its_frame_is_complete() {
    let bytes = frame(0x81, b"ab\xffcd");
    let (said, violation) = read(&bytes[..bytes.len() - 2], 1, ACCEPT);
    assert_eq!((said.len(), violation), (0, Some(Close::InvalidUtf8)));
}

#[test]
fn an_idle_reader_owns_no_memory() {
    let mut reader = Reader::default();
    for piece in [frame(0x01, b"par"), frame(0x80, b"ts")] {
        for mut byte in piece {
            while reader.next(&mut std::slice::from_mut(&mut byte), ACCEPT).unwrap().is_some() {}
        }
    }
    assert_eq!(reader.gathered.capacity() + reader.control.capacity(), 0);
    assert!(size_of::<Reader>() <= 128);
}

#[test]
fn binary_passes_where_it_is_accepted() {
    let accept = Accept { binary: true, ..ACCEPT };
    assert_eq!(read(&frame(0x82, &[0xff]), 3, accept), (vec!["Binary([255])".into()], None));
}
