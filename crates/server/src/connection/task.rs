//! The task that owns a WebSocket after its handshake: reads, writes, and closes it in order.

use super::handle::ConnectionCommand;
use super::handler::MessageHandler;
use super::write_queue::{Flushed, WriteQueue, WriteStats};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
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

/// Bytes read, and of the messages decoded from them, before other connections get their turn.
const READ_BUDGET: usize = 512 << 10;
/// Least cost of a message in that budget.
const MIN_MESSAGE_COST: usize = 1 << 10;
/// Queued frames at which the client is not read any more.
const MAX_QUEUED_FRAMES: usize = 64;
/// Time that a client has to close its side after ours.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Progress of the close.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Open,
    /// Drained: closes once accepted messages are answered and messages in the hub are written.
    DrainingPublishes {
        retry_hint_ms: u32,
    },
    /// The close frame is queued.
    CloseQueued,
    /// The close frame is written, and the client's is awaited.
    AwaitingClose,
    /// Both close frames are through. Input is discarded until the client hangs up: the kernel resets a
    /// socket that is closed with unread input, and the client would lose what it has not read.
    Lingering,
}

/// The socket is lost.
pub(super) struct Disconnected;

/// Result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadOutcome {
    /// Everything was read. The task is woken when more comes.
    Drained,
    /// There may be more, and nothing wakes the task for it.
    Paused,
}

/// A WebSocket after its handshake. As a future, it resolves when the connection is over.
///
/// The fields of a direct write come first and side by side: between two deliveries to a connection,
/// others have used the cache.
#[derive(Debug)]
#[repr(C)]
pub struct Connection<S, H: MessageHandler> {
    io: S,
    queue: WriteQueue,
    stage: Stage,
    /// The socket is full, and the task is woken when it is not.
    pub(super) blocked: bool,
    close_reason: Option<CloseReason>,
    pub(super) handler: H,
    decoder: FrameDecoder,
    /// Lent by the worker: a connection has no buffer of its own.
    read_buffer: Rc<RefCell<Vec<u8>>>,
    /// Input read and not decoded: what followed the handshake, or was beyond the budget.
    read_ahead: BytesMut,
}

impl<S, H: MessageHandler> Connection<S, H> {
    /// True until either side begins to close.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Writes queued frames and messages of the hub with `write`.
    pub(super) fn flush(
        &mut self,
        mut write: impl FnMut(&mut S, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Result<Flushed, Disconnected> {
        let source = match self.stage {
            Stage::Open | Stage::DrainingPublishes { .. } => self.handler.source(),
            _ => None,
        };
        let mut stats = WriteStats::default();
        let write = |slices: &[IoSlice<'_>]| write(&mut self.io, slices);
        let flushed = self.queue.flush(write, source, &mut stats);
        if stats.writes > 0 {
            self.handler.written(stats);
        }
        flushed.map_err(|_| Disconnected)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: MessageHandler> Connection<S, H> {
    /// Takes over a socket after its handshake. `read_ahead` is input that followed the handshake, and
    /// `queue` has what is written first.
    pub fn new(
        io: S,
        read_buffer: Rc<RefCell<Vec<u8>>>,
        read_ahead: BytesMut,
        queue: WriteQueue,
        handler: H,
    ) -> Self {
        Self {
            io,
            read_buffer,
            read_ahead,
            decoder: FrameDecoder::default(),
            queue,
            stage: Stage::Open,
            blocked: false,
            close_reason: None,
            handler,
        }
    }

    fn run(&mut self, context: &mut Context<'_>) -> Result<(), Disconnected> {
        self.poll_handler(context);
        match self.handler.handle().take_command() {
            Some(ConnectionCommand::Ping) => self.queue.push(ping_frame()),
            Some(ConnectionCommand::Close(reason)) => self.close(reason),
            Some(ConnectionCommand::Drain { retry_hint_ms }) => self.drain(retry_hint_ms),
            Some(ConnectionCommand::Abort) => return Err(Disconnected),
            None => {}
        }
        let read = self.read(context)?;
        // What was just read may be answered already.
        self.poll_handler(context);
        self.blocked = self.write(context)? == Flushed::Blocked;
        if self.blocked {
            self.handler.release_buffers();
        }
        let room_for_more = self.handler.has_more() && self.queue.is_empty();
        if room_for_more || (read == ReadOutcome::Paused && !self.is_full()) {
            // Nothing wakes the task for the rest. This yields behind tasks whose sockets are ready; a
            // task that wakes itself would run many times before them.
            let _ = pin!(yield_now()).poll(context);
        }
        Ok(())
    }

    fn poll_handler(&mut self, context: &mut Context<'_>) {
        if let Err(reason) = self.handler.poll(context, &mut self.queue) {
            self.close(reason);
        }
        if self.handler.is_busy() {
            // A client that is not read cannot show that it is alive.
            self.handler.handle().mark_seen();
        }
    }

    /// True if the client must not be read further, because enough waits for it.
    fn is_full(&self) -> bool {
        let closing = !matches!(self.stage, Stage::Open | Stage::DrainingPublishes { .. });
        (self.handler.is_busy() && !closing) || self.queue.len() > MAX_QUEUED_FRAMES
    }

    /// Reads and decodes input, within the budget of one turn.
    fn read(&mut self, context: &mut Context<'_>) -> Result<ReadOutcome, Disconnected> {
        let mut budget = READ_BUDGET;
        // Taken with its memory, which is freed once all of it is decoded.
        let mut read_ahead = mem::take(&mut self.read_ahead);
        let left = self.decode(&mut read_ahead, &mut budget)?;
        if left > 0 {
            read_ahead.advance(read_ahead.len() - left);
            self.read_ahead = read_ahead;
            return Ok(ReadOutcome::Paused);
        }
        drop(read_ahead);
        let read_buffer = self.read_buffer.clone();
        let mut read_buffer = read_buffer.borrow_mut();
        while budget > 0 && !self.is_full() {
            let mut buffer = ReadBuf::new(&mut read_buffer);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(ReadOutcome::Drained),
                Poll::Ready(Err(_)) => return Err(Disconnected),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(Disconnected),
                Poll::Ready(Ok(())) => {
                    self.handler.handle().mark_seen();
                    let data = buffer.filled_mut();
                    budget = budget.saturating_sub(data.len());
                    let left = self.decode(data, &mut budget)?;
                    if left > 0 {
                        self.read_ahead = data[data.len() - left..].into();
                        return Ok(ReadOutcome::Paused);
                    }
                }
            }
        }
        Ok(ReadOutcome::Paused)
    }

    /// Decodes input and handles its frames, within the budget. Returns how many bytes are left.
    fn decode(&mut self, mut data: &mut [u8], budget: &mut usize) -> Result<usize, Disconnected> {
        while !matches!(self.stage, Stage::Lingering) {
            if *budget == 0 || self.is_full() {
                return Ok(data.len());
            }
            let limits = self.handler.read_limits();
            let inflater = limits.inflater.filter(|_| self.queue.is_compressed());
            match self.decoder.next(&mut data, ReadLimits { inflater, ..limits }) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    let inflated = inflater.map_or(0, |inflater| inflater.borrow_mut().take_cost());
                    let cost = event.size().max(MIN_MESSAGE_COST) + inflated;
                    *budget = budget.saturating_sub(cost);
                    self.handle_event(event)?;
                }
                Err(ProtocolViolation(reason)) => {
                    self.queue_close(reason, None, None);
                    if matches!(self.stage, Stage::AwaitingClose) {
                        // Our close frame is written already, and nothing can follow it.
                        return Err(Disconnected);
                    }
                    break;
                }
            }
        }
        Ok(0)
    }

    fn handle_event(&mut self, event: FrameEvent<'_>) -> Result<(), Disconnected> {
        match (event, self.stage) {
            (FrameEvent::Text(text), Stage::Open) => self.handler.text(text, &mut self.queue),
            (FrameEvent::Text(text), Stage::DrainingPublishes { .. }) => {
                self.handler.refuse_text(text, &mut self.queue);
            }
            (FrameEvent::Binary(data), Stage::Open) => self.handler.binary(data, &mut self.queue),
            (FrameEvent::Ping(payload), _) => self.queue.push(pong_frame(&payload)),
            (FrameEvent::Close(_), Stage::AwaitingClose) => return Err(Disconnected),
            (FrameEvent::Close(code), _) => self.queue_close(CloseReason::ByClient, code, None),
            _ => {}
        }
        Ok(())
    }

    /// Begins to close the connection, unless it is closing already.
    fn close(&mut self, reason: CloseReason) {
        if self.is_open() {
            self.queue_close(reason, None, None);
        }
    }

    /// Begins to drain the connection, unless it is closing already.
    fn drain(&mut self, retry_hint_ms: u32) {
        if self.is_open() {
            self.close_reason = Some(CloseReason::Restart);
            self.stage = Stage::DrainingPublishes { retry_hint_ms };
            let timeout = self.handler.settle_timeout() + CLOSE_TIMEOUT;
            self.handler.handle().set_deadline(Instant::now() + timeout);
        }
    }

    /// Queues the close frame, unless it was queued before.
    fn queue_close(&mut self, reason: CloseReason, code: Option<u16>, retry_hint_ms: Option<u32>) {
        if !matches!(self.stage, Stage::Open | Stage::DrainingPublishes { .. }) {
            return;
        }
        self.close_reason = Some(reason);
        self.queue.push_close(close_frame(reason, code, retry_hint_ms));
        self.stage = Stage::CloseQueued;
        self.handler.handle().set_deadline(Instant::now() + CLOSE_TIMEOUT);
    }

    /// Writes, and goes on with the close once everything is written.
    fn write(&mut self, context: &mut Context<'_>) -> Result<Flushed, Disconnected> {
        loop {
            let flushed = self.flush(|io, slices| match slices {
                [one] => Pin::new(io).poll_write(context, one),
                many => Pin::new(io).poll_write_vectored(context, many),
            });
            match (flushed?, self.stage) {
                (Flushed::Overrun, _) => self.queue_close(CloseReason::TooSlow, None, None),
                // Everything that was read must be answered first.
                (Flushed::All, Stage::DrainingPublishes { retry_hint_ms })
                    if self.handler.is_settled() && self.read_ahead.is_empty() =>
                {
                    self.queue_close(CloseReason::Restart, None, Some(retry_hint_ms));
                }
                (Flushed::All, Stage::CloseQueued) => self.close_written(context)?,
                (flushed, _) => return Ok(flushed),
            }
        }
    }

    /// Goes on after the close frame was written.
    fn close_written(&mut self, context: &mut Context<'_>) -> Result<(), Disconnected> {
        if !self.decoder.is_over() {
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

impl<S: AsyncRead + AsyncWrite + Unpin, H: MessageHandler + Unpin> Future for Connection<S, H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.run(context) {
            Ok(()) => Poll::Pending,
            Err(Disconnected) => Poll::Ready(()),
        }
    }
}

impl<S, H: MessageHandler> Drop for Connection<S, H> {
    fn drop(&mut self) {
        self.handler.closed(self.close_reason);
    }
}

#[cfg(test)]
mod tests;
