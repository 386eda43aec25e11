//! A WebSocket as bytes, for input that no library sends.

use super::LIMIT;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub struct Raw {
    pub stream: TcpStream,
}

/// A masked client frame; `first` is FIN, reserved bits and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[1, 2, 3, 4]);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ (i as u8 % 4 + 1)));
    frame
}

impl Raw {
    /// Connects, and sends `bytes` at once.
    pub async fn send_first(addr: SocketAddr, bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(bytes).await.unwrap();
        Self { stream }
    }

    /// Connects, and reads the handshake's answer and the ready frame.
    pub async fn connect(addr: SocketAddr) -> Self {
        let mut raw = Self::send_first(addr, HANDSHAKE.as_bytes()).await;
        raw.switched().await;
        raw
    }

    /// Connects with the smallest receive buffer that the kernel allows.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let mut raw = Self::send_first_narrow(addr, HANDSHAKE.as_bytes()).await;
        raw.switched().await;
        raw
    }

    /// Connects with the smallest receive buffer, sends `bytes` and reads nothing.
    pub async fn send_first_narrow(addr: SocketAddr, bytes: &[u8]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut raw = Self { stream: socket.connect(addr).await.unwrap() };
        raw.write(bytes).await;
        raw
    }

    /// Reads the head of an answer.
    pub async fn any_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads so many bytes.
    pub async fn skip(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.byte().await.unwrap();
        }
    }

    /// Reads the handshake's answer.
    pub async fn head(&mut self) -> String {
        let head = self.any_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head
    }

    /// Reads the handshake's answer and the ready frame.
    pub async fn switched(&mut self) {
        self.head().await;
        let (opcode, payload) = self.frame().await.unwrap();
        assert!(opcode == 1 && payload.starts_with(b"{\"ready\""));
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn byte(&mut self) -> Option<u8> {
        timeout(LIMIT, self.stream.read_u8()).await.expect("a byte in time").ok()
    }

    /// The next frame's opcode and payload; `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, payload) = self.any_frame().await?;
        assert_eq!(first & 0xf0, 0x80, "final, and no reserved bits");
        Some((first & 0x0f, payload))
    }

    /// The next frame's first byte and payload.
    pub async fn any_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.byte().await?;
        let length = match self.byte().await? {
            126 => u64::from(timeout(LIMIT, self.stream.read_u16()).await.unwrap().ok()?),
            127 => timeout(LIMIT, self.stream.read_u64()).await.unwrap().ok()?,
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        timeout(LIMIT, self.stream.read_exact(&mut payload)).await.unwrap().ok()?;
        Some((first, payload))
    }

    /// Sends a close frame, and reads until the server closes the connection.
    pub async fn bye(mut self) {
        self.write(&frame(0x88, &[])).await;
        while self.any_frame().await.is_some() {}
    }

    /// The next text frame as JSON.
    pub async fn json(&mut self) -> serde_json::Value {
        loop {
            let (opcode, payload) = self.frame().await.expect("a frame");
            if opcode == 1 {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// Reads up to the close frame and returns its code and reason. Asserts that the connection ends then.
    pub async fn closed(mut self) -> (u16, String) {
        let closed = loop {
            let (opcode, payload) = self.frame().await.expect("a close frame");
            if opcode == 8 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                break (code, String::from_utf8(payload[2..].to_vec()).unwrap());
            }
        };
        // Answers the close frame.
        let _ = self.stream.write_all(&frame(0x88, &[])).await;
        let mut rest = Vec::new();
        let _ = timeout(LIMIT, self.stream.read_to_end(&mut rest)).await.expect("the end in time");
        assert!(rest.is_empty(), "nothing follows a close frame");
        closed
    }
}
