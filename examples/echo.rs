//! A WebSocket echo server: what serves Warren's clients, with nothing behind it.
//!
//! It is what the conformance tests talk to: `cargo run --example echo -- 9001`.

use actix_http::ws::hash_key;
use bytes::BytesMut;
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
use warren::transport::ws::{Connection, Dialogue, Order, Output};
use warren::wire::{Accept, binary_frame, text_frame};

/// Says what it hears.
#[derive(Default)]
struct Echo {
    deadline: Option<Pin<Box<Sleep>>>,
    late: bool,
}

impl Dialogue for Echo {
    fn accept(&self) -> Accept {
        Accept { max_message: 16 << 20, binary: true }
    }

    fn poll(&mut self, context: &mut Context<'_>, _: &mut Output) {
        self.late |= self.deadline.as_mut().is_some_and(|d| d.as_mut().poll(context).is_ready());
    }

    fn text(&mut self, text: Cow<'_, str>, output: &mut Output) {
        output.push(text_frame(&text));
    }

    fn binary(&mut self, data: Cow<'_, [u8]>, output: &mut Output) {
        output.push(binary_frame(&data));
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(Box::pin(sleep_until(deadline.into())));
    }

    fn take_order(&mut self) -> Option<Order> {
        self.late.then_some(Order::Abort)
    }
}

/// Answers a handshake; what was read behind it, if it is one.
async fn handshake(io: &mut TcpStream) -> Result<BytesMut, Box<dyn Error>> {
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
    let key = std::str::from_utf8(&head)?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .ok_or("no WebSocket handshake")?
        .1;
    io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n").await?;
    io.write_all(b"Connection: Upgrade\r\nSec-WebSocket-Accept: ").await?;
    io.write_all(&hash_key(key.trim().as_bytes())).await?;
    io.write_all(b"\r\n\r\n").await?;
    Ok(read)
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ws://{}", listener.local_addr()?);
    let scratch = Rc::new(RefCell::new(vec![0; 64 << 10]));
    loop {
        let (mut io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let scratch = scratch.clone();
        spawn_local(async move {
            if let Ok(early) = handshake(&mut io).await {
                Connection::new(io, scratch, early, Output::default(), Echo::default()).await;
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    LocalSet::new().run_until(serve(port)).await
}
