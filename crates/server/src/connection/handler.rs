//! The interface between a connection and the meaning of its messages.

use super::handle::ConnectionHandle;
use super::write_queue::{HubSource, WriteQueue, WriteStats};
use std::borrow::Cow;
use std::task::Context;
use std::time::Duration;
use warren_protocol::websocket::{CloseReason, ReadLimits};

/// Gives a meaning to the messages of one connection. Answers go into its write queue.
pub trait MessageHandler {
    /// The state shared with the worker, which sends commands through it.
    fn handle(&self) -> &ConnectionHandle;

    /// Limits of the messages that are read. The inflater is used only if compression was agreed on.
    fn read_limits(&self) -> ReadLimits<'_>;

    /// Called whenever the connection's task runs, before it reads and before it writes. The task must
    /// be woken for the next command and for the next message in the hub.
    ///
    /// # Errors
    /// The reason to close the connection.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        queue: &mut WriteQueue,
    ) -> Result<(), CloseReason>;

    /// Handles a text message.
    fn text(&mut self, text: Cow<'_, str>, queue: &mut WriteQueue);

    /// Refuses a text message that came after the server began to close the connection.
    fn refuse_text(&mut self, _text: Cow<'_, str>, _queue: &mut WriteQueue) {}

    /// Handles a binary message, if the limits allow them.
    fn binary(&mut self, _data: Cow<'_, [u8]>, _queue: &mut WriteQueue) {}

    /// The client must not be read for now.
    fn is_busy(&self) -> bool {
        false
    }

    /// There is more to write than the write queue had room for.
    fn has_more(&self) -> bool {
        false
    }

    /// Releases what is buffered for the client, because its socket takes no more for now.
    fn release_buffers(&mut self) {}

    /// Every accepted message was answered, so that a drained connection can be closed.
    fn is_settled(&self) -> bool {
        true
    }

    /// Longest time until [`MessageHandler::is_settled`] holds.
    fn settle_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// The hub to write messages from.
    fn source(&self) -> Option<HubSource<'_>> {
        None
    }

    /// Counts what was written.
    fn written(&mut self, _stats: WriteStats) {}

    /// Called once the connection is over; without a reason if the socket was lost.
    fn closed(&mut self, _reason: Option<CloseReason>) {}
}
