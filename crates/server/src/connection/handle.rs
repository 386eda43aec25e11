//! A connection as the rest of its worker sees it.

use crate::worker::Worker;
use std::cell::Cell;
use std::time::{Duration, Instant};
use warren_hub::SubscriberId;
use warren_protocol::websocket::CloseReason;

/// What the worker wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionCommand {
    Ping,
    /// Close with this code, and a pause in milliseconds to ask the client for.
    Close(CloseReason, Option<u32>),
    /// End at once: the deadline for a clean end has passed.
    Abort,
}

/// Shared between a connection and its worker.
#[derive(Debug)]
pub struct ConnectionHandle {
    pub reader: SubscriberId,
    /// When the client was last heard of.
    pub heard: Cell<Instant>,
    /// A ping is unanswered.
    pub pinged: Cell<bool>,
    /// When the connection is to end, whatever is still to be said.
    pub deadline: Cell<Option<Instant>>,
    /// Messages may be missing, and the client is to be told.
    pub missed: Cell<bool>,
    /// It can show that it lives: it is closed if it does not.
    answers: bool,
    order: Cell<Option<ConnectionCommand>>,
}

impl ConnectionHandle {
    pub fn new(reader: SubscriberId, answers: bool) -> Self {
        Self {
            reader,
            heard: Cell::new(Instant::now()),
            pinged: Cell::new(false),
            deadline: Cell::new(None),
            missed: Cell::new(false),
            answers,
            order: Cell::new(None),
        }
    }

    /// Gives an order, and wakes the connection to carry it out. A harder one replaces a softer.
    pub fn give(&self, worker: &Worker, order: ConnectionCommand) {
        if self.order.get().is_none_or(|present| present == ConnectionCommand::Ping)
            || order == ConnectionCommand::Abort
        {
            self.order.set(Some(order));
        }
        worker.hub.borrow_mut().wake(self.reader);
    }

    pub fn take_order(&self) -> Option<ConnectionCommand> {
        self.order.take()
    }

    /// What is due for this client at `now`, if anything.
    pub fn due(&self, now: Instant, ping: Duration) -> Option<ConnectionCommand> {
        if let Some(deadline) = self.deadline.get() {
            return (deadline <= now).then_some(ConnectionCommand::Abort);
        }
        let silent = now.saturating_duration_since(self.heard.get());
        if !self.answers {
            let due = silent >= ping;
            if due {
                self.heard.set(now);
            }
            return due.then_some(ConnectionCommand::Ping);
        }
        if silent >= ping * 2 {
            Some(ConnectionCommand::Close(CloseReason::NoPong, None))
        } else if silent >= ping && !self.pinged.replace(true) {
            Some(ConnectionCommand::Ping)
        } else {
            None
        }
    }
}
