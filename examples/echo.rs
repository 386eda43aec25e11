//! A WebSocket echo server on the connection code of Warren's server.
//!
//! The conformance tests run against it: `cargo run --example echo -- 9001`.

use actix_http::ws::hash_key;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use warren_protocol::websocket::{
    CloseReason, Deflater, Inflater, ReadLimits, Window, binary_frame, deflated, negotiate,
    text_frame,
};
use warren_server::connection::{
    Connection, ConnectionCommand, ConnectionHandle, KeepAlive, MessageHandler, WriteQueue,
};

/// Answers every message with the same message, compressed if that was negotiated.
struct Echo {
    handle: Rc<ConnectionHandle>,
    window: Window,
    shared: Rc<Shared>,
}

/// State shared by all connections.
#[derive(Default)]
struct Shared {
    read_buffer: Rc<RefCell<Vec<u8>>>,
    deflater: RefCell<Deflater>,
    inflater: RefCell<Inflater>,
}

impl Echo {
    fn deflated(&self, frame: Bytes) -> Bytes {
        if !self.window.holds(frame.len()) {
            return frame;
        }
        deflated(&frame, &mut self.shared.deflater.borrow_mut()).unwrap_or(frame)
    }
}

impl MessageHandler for Echo {
    fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }

    fn read_limits(&self) -> ReadLimits<'_> {
        let inflater = Some(&self.shared.inflater);
        ReadLimits { max_message: 16 << 20, binary: true, inflater }
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut WriteQueue) -> Result<(), CloseReason> {
        Ok(())
    }

    fn text(&mut self, text: Cow<'_, str>, queue: &mut WriteQueue) {
        queue.push(self.deflated(text_frame(&text)));
    }

    fn binary(&mut self, data: Cow<'_, [u8]>, queue: &mut WriteQueue) {
        queue.push(self.deflated(binary_frame(&data)));
    }
}

/// Resolves when a connection must be aborted.
async fn abort_due(handle: &ConnectionHandle) {
    loop {
        sleep(Duration::from_secs(1)).await;
        // The interval disables pings, so that only the deadline of a close can be due.
        let due = handle.due_command(Instant::now(), Duration::MAX / 2);
        if due == Some(ConnectionCommand::Abort) {
            return;
        }
    }
}

/// Answers a handshake. Returns the negotiated deflate window, and the input after the handshake.
async fn handshake(io: &mut TcpStream) -> Result<(Window, BytesMut), Box<dyn Error>> {
    let mut read = BytesMut::with_capacity(8192);
    let end = loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() == read.capacity() || io.read_buf(&mut read).await? == 0 {
            return Err("incomplete request".into());
        }
    };
    let head = read.split_to(end);
    let head = std::str::from_utf8(&head)?;
    let values = |name: &'static str| {
        let headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.filter(move |header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1)
    };
    let key = values("sec-websocket-key").next().ok_or("not a WebSocket handshake")?;
    let agreed = negotiate(values("sec-websocket-extensions"));
    io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n").await?;
    io.write_all(b"Connection: Upgrade\r\nSec-WebSocket-Accept: ").await?;
    io.write_all(&hash_key(key.trim().as_bytes())).await?;
    if let Some(agreed) = &agreed {
        io.write_all(b"\r\nSec-WebSocket-Extensions: ").await?;
        io.write_all(agreed.answer.as_bytes()).await?;
    }
    io.write_all(b"\r\n\r\n").await?;
    Ok((agreed.map_or(Window::NONE, |agreed| agreed.window), read))
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ws://{}", listener.local_addr()?);
    let read_buffer = Rc::new(RefCell::new(vec![0; 64 << 10]));
    let shared = Rc::new(Shared { read_buffer, ..Shared::default() });
    loop {
        let (mut io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let shared = shared.clone();
        spawn_local(async move {
            if let Ok((window, read_ahead)) = handshake(&mut io).await {
                let handle = Rc::new(ConnectionHandle::new(KeepAlive::Pings));
                let read_buffer = shared.read_buffer.clone();
                let echo = Echo { handle: handle.clone(), window, shared };
                let queue = WriteQueue::new(window);
                tokio::select! {
                    () = Connection::new(io, read_buffer, read_ahead, queue, echo) => {}
                    () = abort_due(&handle) => {}
                }
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    LocalSet::new().run_until(serve(port)).await
}
