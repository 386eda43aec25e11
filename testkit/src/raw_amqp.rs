//! An AMQP client that sends bytes where libraries send text: routing keys, ids and types that are not UTF-8.

use super::LIMIT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;

/// Class and method, at the beginning of a method frame.
type Method = [u8; 4];
const START: Method = [0, 10, 0, 10];
const START_OK: Method = [0, 10, 0, 11];
const TUNE: Method = [0, 10, 0, 30];
const TUNE_OK: Method = [0, 10, 0, 31];
const OPEN: Method = [0, 10, 0, 40];
const OPEN_OK: Method = [0, 10, 0, 41];
const CHANNEL_OPEN: Method = [0, 20, 0, 10];
const CHANNEL_OPEN_OK: Method = [0, 20, 0, 11];
const PUBLISH: Method = [0, 60, 0, 40];
const ACK: Method = [0, 60, 0, 80];
const CONFIRM_SELECT: Method = [0, 85, 0, 10];
const CONFIRM_SELECT_OK: Method = [0, 85, 0, 11];

/// Properties that are short strings, as bytes.
#[derive(Clone, Copy, Default)]
pub struct RawProperties<'a> {
    pub routing_key: &'a [u8],
    pub content_type: &'a [u8],
    pub message_id: &'a [u8],
    pub kind: &'a [u8],
    pub app_id: &'a [u8],
    /// Name of a header with the value `true`.
    pub header: &'a [u8],
}

pub struct RawAmqp {
    stream: TcpStream,
}

impl RawAmqp {
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut raw = Self { stream };
        raw.stream.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
        raw.expect(START).await;
        // No properties, PLAIN, its response, a locale.
        let response = [&[0; 4], &short(b"PLAIN")[..], &long(b"\0guest\0guest"), &short(b"en_US")];
        raw.method(0, START_OK, &response.concat()).await;
        raw.expect(TUNE).await;
        // One channel, frames of 128 KiB, no heartbeats.
        raw.method(0, TUNE_OK, &[0, 1, 0, 2, 0, 0, 0, 0]).await;
        raw.method(0, OPEN, &[&short(b"/")[..], &[0, 0]].concat()).await;
        raw.expect(OPEN_OK).await;
        raw.method(1, CHANNEL_OPEN, &[0]).await;
        raw.expect(CHANNEL_OPEN_OK).await;
        raw.method(1, CONFIRM_SELECT, &[0]).await;
        raw.expect(CONFIRM_SELECT_OK).await;
        raw
    }

    /// Publishes and awaits the confirm.
    pub async fn publish(&mut self, exchange: &str, body: &[u8], properties: RawProperties<'_>) {
        let names =
            [&[0, 0], &short(exchange.as_bytes())[..], &short(properties.routing_key), &[0]];
        self.method(1, PUBLISH, &names.concat()).await;
        // One bit for each property, the highest for the first property.
        let (mut flags, mut list) = (0u16, Vec::new());
        let mut property = |bit: u16, value: &[u8]| {
            flags |= 1 << bit;
            list.extend_from_slice(value);
        };
        if !properties.content_type.is_empty() {
            property(15, &short(properties.content_type));
        }
        if !properties.header.is_empty() {
            property(13, &long(&[&short(properties.header)[..], b"t\x01"].concat()));
        }
        for (bit, value) in
            [(7, properties.message_id), (5, properties.kind), (3, properties.app_id)]
        {
            if !value.is_empty() {
                property(bit, &short(value));
            }
        }
        let size = body.len() as u64;
        let header = [&[0, 60, 0, 0], &size.to_be_bytes()[..], &flags.to_be_bytes(), &list];
        self.frame(HEADER, 1, &header.concat()).await;
        for part in body.chunks(64 << 10) {
            self.frame(BODY, 1, part).await;
        }
        self.expect(ACK).await;
    }

    async fn method(&mut self, channel: u16, method: Method, arguments: &[u8]) {
        self.frame(METHOD, channel, &[&method, arguments].concat()).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut frame = vec![kind];
        frame.extend_from_slice(&channel.to_be_bytes());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(payload);
        frame.push(FRAME_END);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Awaits this method as the next frame.
    async fn expect(&mut self, method: Method) {
        let read = async {
            let mut head = [0; 7];
            self.stream
                .read_exact(&mut head)
                .await
                .unwrap_or_else(|error| panic!("{method:?}: {error}"));
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let mut rest = vec![0; size + 1];
            self.stream.read_exact(&mut rest).await.unwrap();
            rest
        };
        let frame = timeout(LIMIT, read).await.expect("an answer in time");
        assert!(frame.starts_with(&method), "not {method:?}: {}", String::from_utf8_lossy(&frame));
    }
}

fn short(value: &[u8]) -> Vec<u8> {
    [&[value.len() as u8], value].concat()
}

fn long(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u32).to_be_bytes(), value].concat()
}
