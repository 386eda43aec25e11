//! The socket of an HTTP client, with limits on what is read from it and on the time that it takes.
//!
//! Requests may be pipelined. actix-http reads on while responses cannot be written, and keeps without a
//! bound the requests that it has parsed and the responses without a body. Hence three rules: a client
//! that does not read its responses is not read; nobody is read far ahead of the request that is being
//! answered; and what is read is parsed before more is read.
//!
//! actix limits the time of the first head of a connection, but not of later ones. Here they are limited
//! too, so that a client cannot keep a socket by starting a request and not finishing it.

use actix_rt::net::TcpStream;
use actix_web::HttpRequest;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time within which a client must send the head of its request, and again its body.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read before they are parsed. It bounds the requests that are parsed at once.
const SLICE: usize = 2 << 10;
/// Bytes of a body read before they are handed on.
const BODY_SLICE: usize = 8 << 10;
/// Bytes read beyond the request that is being answered. At 128 KiB actix-http would try to read again
/// and again. It refuses a head of that length itself, if no request is before it.
const MAX_AHEAD: usize = 96 << 10;

/// Limits on reading one socket, set by the request that is being answered.
#[derive(Debug, Default)]
pub struct RequestPacing {
    /// Bytes read since the current request was begun. `None` between requests.
    ahead: Cell<Option<usize>>,
    /// Requests begun so far.
    begun: Cell<u64>,
    /// The body of the current request is being read.
    reading_body: Cell<bool>,
    /// The client has shut down its side of the socket.
    input_ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl RequestPacing {
    /// The pacing of the socket that a request came from.
    pub fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// Begins to answer a request.
    pub fn begin_request(&self) {
        self.begun.set(self.begun.get() + 1);
        self.ahead.set(Some(0));
        self.wake();
    }

    /// Notes that the current request is answered.
    pub fn end_request(&self) {
        self.ahead.set(None);
        self.wake();
    }

    /// Begins to read the body of the current request, at its own pace.
    pub fn begin_body(&self) {
        self.reading_body.set(true);
        self.wake();
    }

    /// Notes that no more of the body is wanted.
    pub fn end_body(&self) {
        self.reading_body.set(false);
        self.wake();
    }

    /// True once the client has shut down its side of the socket.
    pub fn input_ended(&self) -> bool {
        self.input_ended.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The socket of an HTTP client, with limits on reading.
#[derive(Debug)]
pub struct GuardedStream<S = TcpStream> {
    io: S,
    pacing: Rc<RequestPacing>,
    /// The last write found the socket full. The task is woken when it is not.
    blocked: bool,
    /// Bytes read in the current slice.
    slice: usize,
    /// Deadline of a head that has begun, and the requests begun before it.
    head_deadline: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<S> GuardedStream<S> {
    pub fn new(io: S) -> Self {
        Self { io, pacing: Rc::default(), blocked: false, slice: 0, head_deadline: None }
    }

    pub fn pacing(&self) -> &Rc<RequestPacing> {
        &self.pacing
    }

    pub fn into_inner(self) -> S {
        self.io
    }

    /// Notes the result of a write. When there is room again, reading goes on as well.
    fn note_write<T>(&mut self, written: &Poll<T>, context: &Context<'_>) {
        let was_blocked = std::mem::replace(&mut self.blocked, written.is_pending());
        if was_blocked && !self.blocked {
            context.waker().wake_by_ref();
        }
    }

    /// True if the deadline of a head has passed.
    fn head_timed_out(&mut self, context: &mut Context<'_>) -> bool {
        let begun = self.pacing.begun.get();
        self.head_deadline.take_if(|(_, before)| *before != begun);
        let deadline = self.head_deadline.as_mut();
        deadline.is_some_and(|(deadline, _)| deadline.as_mut().poll(context).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.blocked {
            return Poll::Pending;
        }
        if self.head_timed_out(context) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let reading_body = self.pacing.reading_body.get();
        let ahead = self.pacing.ahead.get();
        if !reading_body && ahead.is_some_and(|ahead| ahead >= MAX_AHEAD) {
            self.pacing.waker.replace(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let slice = if reading_body { BODY_SLICE } else { SLICE };
        if self.slice >= slice {
            self.slice = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = buffer.remaining().min(slice - self.slice);
        let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.io).poll_read(context, &mut limited);
        let size = limited.filled().len();
        match read {
            Poll::Ready(Ok(())) => {
                self.pacing.input_ended.set(size == 0);
                if !reading_body {
                    self.pacing.ahead.set(ahead.map(|ahead| ahead + size));
                }
                self.slice += size;
                buffer.advance(size);
                let begun = self.pacing.begun.get();
                if ahead.is_none() && begun > 0 {
                    let deadline = || (Box::pin(sleep(REQUEST_TIMEOUT)), begun);
                    self.head_deadline.get_or_insert_with(deadline);
                }
            }
            _ => self.slice = 0,
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, data);
        self.note_write(&written, context);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.note_write(&written, context);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
