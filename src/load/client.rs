//! One client, from its greeting to its end.

use super::frames::{CLOSE, Frames, Malformed, PING, PONG, TEXT, masked};
use super::open::Opened;
use super::shared::Shared;
use super::stream::Stream;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// The code of a connection that ends without a close frame, as browsers tell it.
const GONE: u16 = 1006;
/// The code of those who want to end it.
const BYE: [u8; 2] = 1000_u16.to_be_bytes();

/// What a client has to send: frames of a publisher; none comes for others.
pub(super) type Orders = mpsc::Receiver<Vec<u8>>;

struct Client<'a> {
    number: usize,
    stream: Stream,
    frames: Frames,
    orders: Option<Orders>,
    /// What is to be written and is not yet.
    out: Vec<u8>,
    /// Whether TLS may still hold some of what was written.
    flushing: bool,
    shared: &'a Shared,
}

/// Attends to a client until its connection ends, or until everyone is to leave.
pub(super) async fn attend(
    number: usize,
    opened: Opened,
    orders: Option<Orders>,
    shared: Rc<Shared>,
) {
    let Opened { stream, frames, replica: _ } = opened;
    let (out, flushing) = (Vec::new(), false);
    let mut client = Client { number, stream, frames, orders, out, flushing, shared: &shared };
    let mut leave = pin!(shared.leave.notified());
    let mut leaving = false;
    let code = poll_fn(|cx| {
        if !leaving && leave.as_mut().poll(cx).is_ready() {
            leaving = true;
            client.orders = None;
            client.out.extend(masked(CLOSE, &BYE));
        }
        client.poll(cx)
    });
    let code = code.await;
    if !leaving {
        shared.closed(number, code);
    }
}

impl Client<'_> {
    /// Ready when the connection has ended, with the code of that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u16> {
        loop {
            if self.write(cx).is_err() {
                return Poll::Ready(GONE);
            }
            if let Some(code) = ready!(self.read(cx)) {
                return Poll::Ready(code);
            }
        }
    }

    /// Writes what there is to write, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            if self.flushing {
                match stream.as_mut().poll_flush(cx) {
                    Poll::Ready(flushed) => flushed?,
                    Poll::Pending => return Ok(()),
                }
                self.flushing = false;
            }
            if self.out.is_empty() {
                let order = self.orders.as_mut().map(|orders| orders.poll_recv(cx));
                let Some(Poll::Ready(Some(frame))) = order else { return Ok(()) };
                self.out = frame;
            }
            while !self.out.is_empty() {
                match stream.as_mut().poll_write(cx, &self.out) {
                    Poll::Ready(size) => drop(self.out.drain(..size?)),
                    Poll::Pending => return Ok(()),
                }
            }
            self.out = Vec::new();
            self.flushing = true;
        }
    }

    /// Reads once; ready with a code when there will be nothing more.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<u16>> {
        let scratch = &mut *self.shared.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(scratch);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Some(GONE));
        }
        let now = self.shared.now();
        let (number, shared, out) = (self.number, self.shared, &mut self.out);
        let taken = self.frames.take(buffer.filled(), |kind, payload| {
            match kind {
                TEXT => shared.heard(number, payload, now),
                PING => out.extend(masked(PONG, payload)),
                CLOSE => return ControlFlow::Break(code(payload)),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        Poll::Ready(match taken {
            Ok(end) => end,
            Err(Malformed) => Some(GONE),
        })
    }
}

/// The code of a close frame; 1005 for one without, as browsers tell it.
fn code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}
