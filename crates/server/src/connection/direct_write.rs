//! Direct writes: messages written to a socket from the worker's loop, without waking the connection's
//! task.
//!
//! Most deliveries find an idle connection whose socket has room. A trip through the scheduler would
//! cost such a delivery more than its system call. Everything else is left to the task. Invariants:
//!
//! 1. *One writer at a time.* The worker's loop and the connection's task run on one thread, and the
//!    connection is in a `RefCell`. Where it is borrowed already, the task is woken instead.
//! 2. *Only open connections.* A connection that is closing, or whose handler has more to write than
//!    the hub has, is written by its task alone, which knows the order.
//! 3. *A blocked socket is left alone.* Its task has registered for the socket to become writable, and
//!    reads everything from the hub then. Nothing is lost: messages stay in the hub, as lag.
//! 4. *The kernel is asked, not tokio.* Tokio's record of the socket's readiness is elsewhere in memory.
//!    A direct write that finds the socket full therefore registers nothing: the task must be woken, and
//!    finds out for itself.
//! 5. *Frames stay whole.* Both ways of writing go through [`WriteQueue::flush`], which keeps the rest
//!    of a frame that a full socket cut in two. Either way of writing begins with that rest.
//! 6. *Errors are the task's.* A lost socket is not handled here; the task meets the same error.
//! 7. *No allocation, no waker, no lock* on the way of a delivery. The fields that it needs are the
//!    first of [`Connection`] and of its handler.
//!
//! [`WriteQueue::flush`]: super::WriteQueue::flush

use super::handler::MessageHandler;
use super::task::Connection;
use super::write_queue::Flushed;
use actix_rt::net::TcpStream;
use socket2::SockRef;
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::Poll;
use tokio::task::yield_now;
use warren_hub::{Hub, SubscriberId};

/// Direct writes before the other tasks of the worker get their turn.
const WRITES_PER_TURN: usize = 64;

/// Result of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWriteResult {
    /// Everything is written, or the task is waiting for the socket already.
    Done,
    /// The task must be woken.
    TaskNeeded,
}

/// A connection that can be written to without its task.
pub trait DirectWrite {
    fn write_directly(&self) -> DirectWriteResult;
}

impl<H: MessageHandler> DirectWrite for RefCell<Connection<TcpStream, H>> {
    fn write_directly(&self) -> DirectWriteResult {
        match self.try_borrow_mut() {
            Ok(mut connection) => connection.write_directly(),
            Err(_) => DirectWriteResult::TaskNeeded,
        }
    }
}

impl<H: MessageHandler> Connection<TcpStream, H> {
    /// Writes the messages that wait in the hub.
    pub fn write_directly(&mut self) -> DirectWriteResult {
        if self.blocked {
            return DirectWriteResult::Done;
        }
        if !self.is_open() || self.handler.has_more() {
            return DirectWriteResult::TaskNeeded;
        }
        match self.flush(send) {
            Ok(Flushed::All) => DirectWriteResult::Done,
            _ => DirectWriteResult::TaskNeeded,
        }
    }
}

/// Hands frames to the kernel, in one system call.
fn send(io: &mut TcpStream, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    let io = SockRef::from(&*io);
    let sent = match slices {
        [one] => io.send(one),
        many => io.send_vectored(many),
    };
    match sent {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        sent => Poll::Ready(sent),
    }
}

/// Writes to every runnable subscriber of a hub, and wakes the tasks of those that need it. `writer`
/// finds a subscriber's connection, if that can be written to directly.
pub async fn write_to_runnable(
    hub: &RefCell<Hub>,
    writer: impl Fn(SubscriberId) -> Option<Rc<dyn DirectWrite>>,
) {
    let mut count = 0;
    loop {
        // The hub must not be borrowed during a write, which borrows it itself.
        let runnable = hub.borrow_mut().next_runnable();
        let Some(subscriber) = runnable else { return };
        let result = writer(subscriber).map(|writer| writer.write_directly());
        if result != Some(DirectWriteResult::Done) {
            hub.borrow_mut().wake(subscriber);
        }
        count += 1;
        if count % WRITES_PER_TURN == 0 {
            yield_now().await;
        }
    }
}
