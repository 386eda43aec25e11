//! The task that owns a WebSocket after its handshake: reads, writes, and ends it properly.
//!
//! It knows frames and the order of an ending. What is said over them is its dialogue's.

use super::handle::ConnectionCommand;
use super::write_queue::{Flushed, Source, WriteQueue, Written};
use actix_rt::net::TcpStream;
use bytes::{Buf, BytesMut};
use socket2::SockRef;
use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use warren_protocol::websocket::{
    CloseReason, FrameDecoder, FrameEvent, ProtocolViolation, ReadLimits, close_frame, ping_frame,
    pong_frame,
};

/// Bytes read, and of messages that came of them, before others get their turn.
const TURN: usize = 512 << 10;
/// What a message counts as at least.
const LEAST: usize = 1 << 10;
/// QueuedFrame frames that may wait before the client is read no further.
const MAX_OWN: usize = 64;
/// How long a client may take to end its side, once ours is ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The other half of a connection: what is made of messages.
pub trait MessageHandler {
    /// Which messages are let through.
    fn accept(&self) -> ReadLimits<'_>;

    /// The connection's task runs; it is to be woken for the next order or shared frame.
    fn poll(&mut self, context: &mut Context<'_>, output: &mut WriteQueue);

    /// It has more to say than there was room for.
    fn has_more(&self) -> bool {
        false
    }

    /// The client takes no more for now. What it has to say is not to be held meanwhile.
    fn rest(&mut self) {}

    /// A message came.
    fn text(&mut self, text: Cow<'_, str>, output: &mut WriteQueue);

    /// A message came, but the connection is about to end: it is not accepted.
    fn too_late(&mut self, _text: Cow<'_, str>, _output: &mut WriteQueue) {}

    /// A binary message came; only if they are accepted.
    fn binary(&mut self, _data: Cow<'_, [u8]>, _output: &mut WriteQueue) {}

    /// Bytes came, whatever they are.
    fn heard(&mut self) {}

    /// The client is to be read no further for now.
    fn busy(&self) -> bool {
        false
    }

    /// Everything that the client was promised is done.
    fn settled(&self) -> bool {
        true
    }

    /// Where shared frames come from.
    fn source(&self) -> Option<Source<'_>> {
        None
    }

    /// What the outside wants of this connection.
    fn take_order(&mut self) -> Option<ConnectionCommand> {
        None
    }

    /// The connection is to be aborted at `deadline`.
    fn set_deadline(&mut self, _deadline: Instant) {}

    /// Something was written.
    fn wrote(&mut self, _written: Written) {}

    /// The connection is over; `None` if it broke off.
    fn ended(&mut self, _close: Option<CloseReason>) {}

    /// How long promises may take to be kept when the connection is to end.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// What messages can be written to without its task.
pub trait DirectWrite {
    /// As [`Connection::deliver`].
    fn deliver(&self) -> bool;
}

impl<D: MessageHandler> DirectWrite for RefCell<Connection<TcpStream, D>> {
    fn deliver(&self) -> bool {
        self.try_borrow_mut().is_ok_and(|mut connection| connection.deliver())
    }
}

/// How far the ending of a connection is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Open,
    /// It will be closed once promises are kept and shared frames written.
    Settling {
        hint: Option<u32>,
    },
    /// The close frame waits to be written, the last that is.
    Sealed,
    /// The close frame is written; the client's is awaited.
    AwaitingClose,
    /// Both directions are done with; what still comes is thrown away until the client hangs up, so
    /// that the kernel does not reset what it has not read yet.
    Lingering,
}

/// The socket is lost.
struct Disconnected;

/// See the module. What a delivery needs comes first and side by side: between two of them, others have
/// had the cache.
#[derive(Debug)]
#[repr(C)]
pub struct Connection<S, D: MessageHandler> {
    io: S,
    output: WriteQueue,
    stage: Stage,
    /// The socket is full, and wakes the task when it is not.
    blocked: bool,
    close: Option<CloseReason>,
    dialogue: D,
    input: FrameDecoder,
    /// Lent by the worker: a connection has no buffer of its own.
    scratch: Rc<RefCell<Vec<u8>>>,
    /// What was read and has to wait: what came along with the handshake, and what is left of a turn.
    early: BytesMut,
}

impl<D: MessageHandler> Connection<TcpStream, D> {
    /// Writes the shared frames that wait, without the task; whether there was nothing else to do.
    /// Otherwise the task is to be woken.
    pub fn deliver(&mut self) -> bool {
        if self.blocked {
            return true;
        }
        // The kernel is asked, not tokio, which keeps what it knows of the socket elsewhere in memory.
        // Where the socket takes no more it is the task that finds out and waits for it.
        let send = |io: &mut TcpStream, slices: &[IoSlice<'_>]| {
            let io = SockRef::from(&*io);
            let sent = match slices {
                [one] => io.send(one),
                many => io.send_vectored(many),
            };
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                sent => Poll::Ready(sent),
            }
        };
        let open = matches!(self.stage, Stage::Open) && !self.dialogue.has_more();
        open && matches!(self.flush(send), Ok(Flushed::All))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: MessageHandler> Connection<S, D> {
    /// Takes over a socket whose handshake is done. `early` is what was read behind it, and `output`
    /// what is to be said first.
    pub fn new(
        io: S,
        scratch: Rc<RefCell<Vec<u8>>>,
        early: BytesMut,
        output: WriteQueue,
        dialogue: D,
    ) -> Self {
        Self {
            io,
            scratch,
            early,
            input: FrameDecoder::default(),
            output,
            stage: Stage::Open,
            blocked: false,
            close: None,
            dialogue,
        }
    }

    fn step(&mut self, context: &mut Context<'_>) -> Result<(), Disconnected> {
        self.dialogue.poll(context, &mut self.output);
        match self.dialogue.take_order() {
            Some(ConnectionCommand::Ping) => self.output.push(ping_frame()),
            Some(ConnectionCommand::Close(close, hint)) => self.end(close, hint),
            Some(ConnectionCommand::Abort) => return Err(Disconnected),
            None => {}
        }
        let paused = self.read(context)?;
        // What was just read may have settled, or asked for something.
        self.dialogue.poll(context, &mut self.output);
        self.blocked = self.write(context)? == Flushed::Blocked;
        if self.blocked {
            self.dialogue.rest();
        }
        let room = self.dialogue.has_more() && self.output.is_empty();
        if room || (paused && !self.is_full()) {
            // The socket was not asked for more, so it wakes nobody. This comes behind those whose
            // sockets have something: a task that wakes itself would be run many times before.
            let _ = pin!(yield_now()).poll(context);
        }
        Ok(())
    }

    /// The client has enough to wait for, and is read no further.
    fn is_full(&self) -> bool {
        let ending = !matches!(self.stage, Stage::Open | Stage::Settling { .. });
        (self.dialogue.busy() && !ending) || self.output.len() > MAX_OWN
    }

    /// Reads what has come; whether there may be more that was left for later.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, Disconnected> {
        let mut turn = TURN;
        // With the buffer that it is in.
        let mut early = mem::take(&mut self.early);
        let left = self.take(&mut early, &mut turn)?;
        if left > 0 {
            early.advance(early.len() - left);
            self.early = early;
            return Ok(true);
        }
        drop(early);
        let scratch = self.scratch.clone();
        let mut scratch = scratch.borrow_mut();
        while turn > 0 && !self.is_full() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(Disconnected),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(Disconnected),
                Poll::Ready(Ok(())) => {
                    self.dialogue.heard();
                    let data = buffer.filled_mut();
                    turn = turn.saturating_sub(data.len());
                    let left = self.take(data, &mut turn)?;
                    if left > 0 {
                        self.early = data[data.len() - left..].into();
                        return Ok(true);
                    }
                }
            }
        }
        // After the others had their turn.
        Ok(true)
    }

    /// Makes sense of bytes that came, as far as the turn goes and the client has not enough to wait for:
    /// how many are left.
    fn take(&mut self, mut data: &mut [u8], turn: &mut usize) -> Result<usize, Disconnected> {
        while !matches!(self.stage, Stage::Lingering) {
            if *turn == 0 || self.is_full() {
                return Ok(data.len());
            }
            match self.input.next(&mut data, self.dialogue.accept()) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    let inflater = self.dialogue.accept().inflater;
                    let inflated = inflater.map_or(0, |inflater| inflater.borrow_mut().take_cost());
                    *turn = turn.saturating_sub(event.size().max(LEAST) + inflated);
                    self.event(event)?;
                }
                Err(ProtocolViolation(close)) => {
                    self.seal(close, None, None);
                    self.stage = match self.stage {
                        // Ours is written already, and nothing better can be said.
                        Stage::AwaitingClose => return Err(Disconnected),
                        stage => stage,
                    };
                    break;
                }
            }
        }
        Ok(0)
    }

    fn event(&mut self, event: FrameEvent<'_>) -> Result<(), Disconnected> {
        let open = matches!(self.stage, Stage::Open);
        match event {
            FrameEvent::Text(text) if open => self.dialogue.text(text, &mut self.output),
            FrameEvent::Text(text) if matches!(self.stage, Stage::Settling { .. }) => {
                self.dialogue.too_late(text, &mut self.output);
            }
            FrameEvent::Binary(data) if open => self.dialogue.binary(data, &mut self.output),
            FrameEvent::Ping(payload) => self.output.push(pong_frame(&payload)),
            FrameEvent::Close(_) if matches!(self.stage, Stage::AwaitingClose) => {
                return Err(Disconnected);
            }
            FrameEvent::Close(code) => self.seal(CloseReason::ByClient, code, None),
            _ => {}
        }
        Ok(())
    }

    /// Begins the ending that the server wants.
    fn end(&mut self, close: CloseReason, hint: Option<u32>) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        if close == CloseReason::Restart {
            self.close = Some(close);
            self.stage = Stage::Settling { hint };
            let patience = self.dialogue.patience() + CLOSE_TIMEOUT;
            self.dialogue.set_deadline(Instant::now() + patience);
        } else {
            self.seal(close, None, hint);
        }
    }

    /// Puts the close frame in line: the last thing that is said.
    fn seal(&mut self, close: CloseReason, code: Option<u16>, hint: Option<u32>) {
        if !matches!(self.stage, Stage::Open | Stage::Settling { .. }) {
            return;
        }
        self.close = Some(close);
        self.output.finish(close_frame(close, code, hint));
        self.stage = Stage::Sealed;
        self.dialogue.set_deadline(Instant::now() + CLOSE_TIMEOUT);
    }

    /// Writes what waits, in this way.
    fn flush(
        &mut self,
        mut write: impl FnMut(&mut S, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Result<Flushed, Disconnected> {
        let source = match self.stage {
            Stage::Open | Stage::Settling { .. } => self.dialogue.source(),
            _ => None,
        };
        let mut written = Written::default();
        let write = |slices: &[IoSlice<'_>]| write(&mut self.io, slices);
        let flushed = self.output.flush(write, source, &mut written);
        if written.writes > 0 {
            self.dialogue.wrote(written);
        }
        flushed.map_err(|_| Disconnected)
    }

    /// Writes what waits, and goes on with the ending when all is written.
    fn write(&mut self, context: &mut Context<'_>) -> Result<Flushed, Disconnected> {
        loop {
            let flushed = self.flush(|io, slices| match slices {
                [one] => Pin::new(io).poll_write(context, one),
                many => Pin::new(io).poll_write_vectored(context, many),
            });
            match (flushed?, self.stage) {
                (Flushed::Overrun, _) => self.seal(CloseReason::TooSlow, None, None),
                // What was read is answered first.
                (Flushed::All, Stage::Settling { hint })
                    if self.dialogue.settled() && self.early.is_empty() =>
                {
                    self.seal(CloseReason::Restart, None, hint);
                }
                (Flushed::All, Stage::Sealed) => self.sealed_and_written(context)?,
                (flushed, _) => return Ok(flushed),
            }
        }
    }

    /// The close frame is out.
    fn sealed_and_written(&mut self, context: &mut Context<'_>) -> Result<(), Disconnected> {
        if !self.input.is_over() {
            self.stage = Stage::AwaitingClose;
            return Ok(());
        }
        self.stage = Stage::Lingering;
        match Pin::new(&mut self.io).poll_shutdown(context) {
            Poll::Ready(Err(_)) => Err(Disconnected),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: MessageHandler + Unpin> Future for Connection<S, D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.step(context) {
            Ok(()) => Poll::Pending,
            Err(Disconnected) => Poll::Ready(()),
        }
    }
}

impl<S, D: MessageHandler> Drop for Connection<S, D> {
    fn drop(&mut self) {
        self.dialogue.ended(self.close);
    }
}

#[cfg(test)]
mod tests;
