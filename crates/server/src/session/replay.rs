//! Replays: missed messages are read from the log until the memory has the rest.

use crate::replay_cache::{EncodedPage, ReplayCache};
use crate::worker::Worker;
use futures_util::future::LocalBoxFuture;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use warren_broker::LogError;
use warren_hub::{Sequence, WaiterId};
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// Waits until the memory of a worker has reached a position. Dropping it cancels the wait.
pub struct PositionWait {
    worker: Rc<Worker>,
    waiter: Option<WaiterId>,
}

impl PositionWait {
    pub fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: worker.clone(), waiter: None }
    }

    pub fn poll(&mut self, position: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut hub = self.worker.hub.borrow_mut();
        if let Some(waiter) = self.waiter.take() {
            hub.cancel_wait(waiter);
        }
        self.waiter = hub.wait_for_position(position, context.waker());
        if self.waiter.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for PositionWait {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.worker.hub.borrow_mut().cancel_wait(waiter);
        }
    }
}

/// A replay of the log from one position on, until the memory has what follows.
pub struct Replay {
    replays: Arc<ReplayCache>,
    /// Next position to read.
    next: u64,
    /// Epoch of the log that is read.
    log_epoch: u64,
    /// Epoch of the memory, once it has one.
    hub_epoch: Option<u64>,
    position_wait: PositionWait,
    /// The page that is read, and the index of the next message in it.
    page: Option<(Arc<EncodedPage>, usize)>,
    fetch: Option<LocalBoxFuture<'static, Result<Arc<EncodedPage>, LogError>>>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The next item of a replay.
#[derive(Debug)]
pub enum ReplayItem {
    Message(Arc<EncodedMessage>),
    /// The replay is complete: everything from this sequence on is in memory.
    Joined(Sequence),
}

/// The reason why a replay ends early.
#[derive(Debug)]
pub enum ReplayError {
    /// The log no longer has what follows.
    Expired,
    Unreadable(LogError),
}

impl Replay {
    /// A replay of the log of this epoch, from position `next` on.
    pub fn new(worker: &Rc<Worker>, replays: &Arc<ReplayCache>, next: u64, log_epoch: u64) -> Self {
        let hub = worker.hub.borrow();
        Self {
            replays: replays.clone(),
            next,
            log_epoch,
            hub_epoch: hub.complete_from().map(|_| hub.epoch()),
            position_wait: PositionWait::new(worker),
            page: None,
            fetch: None,
        }
    }

    /// The next item. Messages of other channels than these are skipped.
    pub fn poll(
        &mut self,
        worker: &Worker,
        channels: &[Channel],
        context: &mut Context<'_>,
    ) -> Poll<Result<ReplayItem, ReplayError>> {
        loop {
            let hub = worker.hub.borrow();
            // Messages that this worker has not appended yet will come from memory, and must not come
            // twice.
            let Some(end) = hub.next_position() else {
                drop(hub);
                ready!(self.position_wait.poll(u64::MAX, context));
                continue;
            };
            if *self.hub_epoch.get_or_insert(hub.epoch()) != hub.epoch() {
                // The client was told of the gap, and everything after it is in memory.
                return Poll::Ready(Ok(ReplayItem::Joined(hub.epoch_start())));
            }
            if self.next > end {
                drop(hub);
                ready!(self.position_wait.poll(self.next - 1, context));
                continue;
            }
            if let Some(sequence) = hub.join(self.next)
                && (self.next >= end || hub.is_safe_from_eviction(sequence))
            {
                return Poll::Ready(Ok(ReplayItem::Joined(sequence)));
            }
            drop(hub);
            let Some((page, index)) = &mut self.page else {
                if let Err(error) = ready!(self.poll_page(context)) {
                    return Poll::Ready(Err(error));
                }
                continue;
            };
            let message = page.messages.get(*index);
            let Some((message, next)) = message.and_then(|message| {
                let next = message.position? + 1;
                Some((message.clone(), next))
            }) else {
                self.next = page.to.min(end).max(self.next);
                self.page = None;
                // Many pages in a row may have nothing for this client: other tasks run in between.
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            if next > end {
                self.next = end;
                continue;
            }
            *index += 1;
            self.next = next;
            if channels.contains(&message.channel) {
                return Poll::Ready(Ok(ReplayItem::Message(message)));
            }
        }
    }

    /// Releases the page that is read, or being fetched, because the client takes no more for now.
    pub fn release_buffers(&mut self) {
        self.page = None;
        self.fetch = None;
    }

    /// Fetches the page that has what follows.
    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReplayError>> {
        let next = self.next;
        let fetch = self.fetch.get_or_insert_with(|| Box::pin(self.replays.clone().page(next)));
        let page = ready!(Pin::new(fetch).poll(context));
        self.fetch = None;
        let page = match page {
            Ok(page) if page.epoch == self.log_epoch => page,
            Ok(_) => return Poll::Ready(Err(ReplayError::Expired)),
            Err(error) => return Poll::Ready(Err(ReplayError::Unreadable(error))),
        };
        // A page without the next position would be fetched again and again.
        if page.from > next || page.to <= next {
            return Poll::Ready(Err(ReplayError::Expired));
        }
        let read = |message: &Arc<EncodedMessage>| message.position < Some(next);
        let index = page.messages.partition_point(read);
        self.page = Some((page, index));
        Poll::Ready(Ok(()))
    }
}
