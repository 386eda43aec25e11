//! A WebSocket echo server: what serves Warren's clients, with nothing behind it.
//!
//! It is what the conformance tests talk to: `cargo run --example echo -- 9001`.

use actix_http::ws::hash_key;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Sleep, sleep_until};
use warren_protocol::websocket::{
    Deflater, Inflater, ReadLimits, Window, binary_frame, deflated, negotiate, text_frame,
};
use warren_server::connection::{Connection, ConnectionCommand, MessageHandler, WriteQueue};

/// Says what it hears, compressed if it may be.
struct Echo {
    window: Window,
    tools: Rc<Tools>,
    deadline: Option<Pin<Box<Sleep>>>,
    late: bool,
}

/// What all connections share.
#[derive(Default)]
struct Tools {
    scratch: Rc<RefCell<Vec<u8>>>,
    deflater: RefCell<Deflater>,
    inflater: RefCell<Inflater>,
}

impl Echo {
    fn deflated(&self, frame: Bytes) -> Bytes {
        if !self.window.holds(frame.len()) {
            return frame;
        }
        deflated(&frame, &mut self.tools.deflater.borrow_mut()).unwrap_or(frame)
    }
}

impl MessageHandler for Echo {
    fn accept(&self) -> ReadLimits<'_> {
        let inflater = Some(&self.tools.inflater).filter(|_| self.window != Window::NONE);
        ReadLimits { max_message: 16 << 20, binary: true, inflater }
    }

    fn poll(&mut self, context: &mut Context<'_>, _: &mut WriteQueue) {
        self.late |= self.deadline.as_mut().is_some_and(|d| d.as_mut().poll(context).is_ready());
    }

    fn text(&mut self, text: Cow<'_, str>, output: &mut WriteQueue) {
        output.push(self.deflated(text_frame(&text)));
    }

    fn binary(&mut self, data: Cow<'_, [u8]>, output: &mut WriteQueue) {
        output.push(self.deflated(binary_frame(&data)));
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(Box::pin(sleep_until(deadline.into())));
    }

    fn take_order(&mut self) -> Option<ConnectionCommand> {
        self.late.then_some(ConnectionCommand::Abort)
    }
}

/// Answers a handshake, if it is one: what was agreed on, and what was read behind it.
async fn handshake(io: &mut TcpStream) -> Result<(Window, BytesMut), Box<dyn Error>> {
    let mut read = BytesMut::with_capacity(8192);
    let end = loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() == read.capacity() || io.read_buf(&mut read).await? == 0 {
            return Err("no request".into());
        }
    };
    let head = read.split_to(end);
    let head = std::str::from_utf8(&head)?;
    let values = |name: &'static str| {
        let headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.filter(move |header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1)
    };
    let key = values("sec-websocket-key").next().ok_or("no WebSocket handshake")?;
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
    let scratch = Rc::new(RefCell::new(vec![0; 64 << 10]));
    let tools = Rc::new(Tools { scratch, ..Tools::default() });
    loop {
        let (mut io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let tools = tools.clone();
        spawn_local(async move {
            if let Ok((window, early)) = handshake(&mut io).await {
                let scratch = tools.scratch.clone();
                let echo = Echo { window, tools, deadline: None, late: false };
                Connection::new(io, scratch, early, WriteQueue::new(window), echo).await;
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    LocalSet::new().run_until(serve(port)).await
}
