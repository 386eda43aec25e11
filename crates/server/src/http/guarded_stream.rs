//! The socket of an HTTP client: how far it is read, and for how long without an answer.
//!
//! Requests may follow each other without waiting. actix-http reads on while answers cannot be written,
//! and keeps without a bound what it has parsed, and answers without a body. So whoever takes no answers is
//! read no further, nobody is read far ahead of the request that is being answered, and what is read is
//! parsed before more is.
//!
//! actix limits how long the first head of a connection may take, but none behind it: who begins one and
//! says no more, or sends it in small pieces for ever, does not keep the socket either.

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

/// Bytes read before what they are is looked at: so many requests are parsed at once.
const SLICE: usize = 2 << 10;
/// The same of a body, whose pieces are less.
const BODY_SLICE: usize = 8 << 10;
/// Bytes read behind a request that is being answered. With 128 KiB of them actix-http would try again
/// and again. A head that nothing is before it refuses itself when it is as long.
const AHEAD: usize = 96 << 10;

/// What those who answer requests have to do with the socket that they come from.
#[derive(Debug, Default)]
pub struct RequestPacing {
    /// Bytes read since the request that is being answered was begun; nothing while there is none.
    ahead: Cell<Option<usize>>,
    /// Requests that were begun.
    begun: Cell<u64>,
    /// The request that is being answered has a body, which is read for as long as it is wanted.
    body: Cell<bool>,
    /// The client has nothing more to say.
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl RequestPacing {
    /// The line that a request came over.
    pub fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// A request is begun to be answered.
    pub fn begin(&self) {
        self.begun.set(self.begun.get() + 1);
        self.ahead.set(Some(0));
        self.wake();
    }

    /// It is answered.
    pub fn end(&self) {
        self.ahead.set(None);
        self.wake();
    }

    /// Whether the body of a request is wanted.
    pub fn want_body(&self, wanted: bool) {
        self.body.set(wanted);
        self.wake();
    }

    /// Whether the client has hung up, or at least will say no more.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct GuardedStream<S = TcpStream> {
    io: S,
    line: Rc<RequestPacing>,
    /// The last write found no room, and wakes the task when there is.
    blocked: bool,
    /// Bytes of this slice.
    slice: usize,
    /// Until when a head that has begun is to be there, and how many requests were begun before.
    head: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<S> GuardedStream<S> {
    pub fn new(io: S) -> Self {
        Self { io, line: Rc::default(), blocked: false, slice: 0, head: None }
    }

    pub fn line(&self) -> &Rc<RequestPacing> {
        &self.line
    }

    pub fn into_inner(self) -> S {
        self.io
    }

    /// Notes what a write came to. If there is room again, reading goes on as well.
    fn note<T>(&mut self, written: &Poll<T>, context: &Context<'_>) {
        let was = std::mem::replace(&mut self.blocked, written.is_pending());
        if was && !self.blocked {
            context.waker().wake_by_ref();
        }
    }

    /// Whether the head of a later request has taken too long.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let begun = self.line.begun.get();
        self.head.take_if(|(_, before)| *before != begun);
        self.head.as_mut().is_some_and(|(end, _)| end.as_mut().poll(context).is_ready())
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
        if self.is_late(context) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let body = self.line.body.get();
        let ahead = self.line.ahead.get();
        if !body && ahead.is_some_and(|ahead| ahead >= AHEAD) {
            self.line.waker.replace(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let slice = if body { BODY_SLICE } else { SLICE };
        if self.slice >= slice {
            self.slice = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = buffer.remaining().min(slice - self.slice);
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.io).poll_read(context, &mut some);
        let size = some.filled().len();
        match read {
            Poll::Ready(Ok(())) => {
                self.line.ended.set(size == 0);
                if !body {
                    self.line.ahead.set(ahead.map(|ahead| ahead + size));
                }
                self.slice += size;
                buffer.advance(size);
                let begun = self.line.begun.get();
                if ahead.is_none() && begun > 0 {
                    let end = || (Box::pin(sleep(REQUEST_TIMEOUT)), begun);
                    self.head.get_or_insert_with(end);
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
        self.note(&written, context);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.note(&written, context);
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
