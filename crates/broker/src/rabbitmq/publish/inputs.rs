//! Inputs of the publisher's queue: accepted messages, messages read back, and the signal to close.

use crate::ports::wait_until_set;
use crate::publisher::PublishReceiver;
use crate::rabbitmq::message_ids::ReadBack;
use crate::rabbitmq::publish::queue::PublishQueue;
use std::future::pending;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

pub(crate) struct PublisherInputs {
    pub(crate) accepted: PublishReceiver,
    pub(crate) read_backs: mpsc::UnboundedReceiver<ReadBack>,
    pub(crate) closing: watch::Receiver<bool>,
}

impl PublisherInputs {
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// True if every accepted message has an outcome.
    pub(crate) fn all_settled(&self, queue: &PublishQueue) -> bool {
        queue.is_empty() && self.accepted.is_empty()
    }

    /// Accepts and expires messages while there is no connection. Returns when the broker closes and
    /// every accepted message has an outcome.
    pub(crate) async fn serve_disconnected(&mut self, queue: &mut PublishQueue) {
        loop {
            let closing = self.is_closing();
            if closing && self.all_settled(queue) {
                return;
            }
            tokio::select! {
                Some(read_back) = self.read_backs.recv() => queue.read_back(read_back),
                Some(publish) = self.accepted.recv() => queue.push(publish),
                () = sleep_until_some(queue.next_deadline()) => queue.expire(Instant::now()),
                () = wait_until_set(&mut self.closing), if !closing => self.accepted.close(),
            }
        }
    }
}

/// Sleeps until a deadline, or for ever if there is none.
pub(crate) async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
