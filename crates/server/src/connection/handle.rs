//! The state that a connection and its worker share.

use std::cell::Cell;
use std::time::{Duration, Instant};
use warren_protocol::websocket::CloseReason;

/// A command of the worker to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionCommand {
    Ping,
    /// Close at once.
    Close(CloseReason),
    /// Answer what was accepted, then close with [`CloseReason::Restart`].
    Drain {
        /// Pause before the client reconnects.
        retry_hint_ms: u32,
    },
    /// Drop the socket: the deadline for an orderly close has passed.
    Abort,
}

/// Means of keeping an idle connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Pings that the client must answer.
    Pings,
    /// Heartbeats, which a client cannot answer.
    Heartbeats,
}

/// The state that a connection and its worker share.
#[derive(Debug)]
pub struct ConnectionHandle {
    /// When the client last sent something.
    last_seen: Cell<Instant>,
    /// A ping is unanswered.
    ping_pending: Cell<bool>,
    /// When the connection is aborted.
    deadline: Cell<Option<Instant>>,
    /// Messages may be missing, and the client was not told yet.
    gap_pending: Cell<bool>,
    keep_alive: KeepAlive,
    command: Cell<Option<ConnectionCommand>>,
}

impl ConnectionHandle {
    pub fn new(keep_alive: KeepAlive) -> Self {
        Self {
            last_seen: Cell::new(Instant::now()),
            ping_pending: Cell::new(false),
            deadline: Cell::new(None),
            gap_pending: Cell::new(false),
            keep_alive,
            command: Cell::new(None),
        }
    }

    /// Sets the next command. A pending command other than a ping is replaced by an abort only.
    pub fn set_command(&self, command: ConnectionCommand) {
        let replaceable =
            self.command.get().is_none_or(|pending| pending == ConnectionCommand::Ping);
        if replaceable || command == ConnectionCommand::Abort {
            self.command.set(Some(command));
        }
    }

    pub fn take_command(&self) -> Option<ConnectionCommand> {
        self.command.take()
    }

    /// Has the connection aborted at `deadline`.
    pub fn set_deadline(&self, deadline: Instant) {
        self.deadline.set(Some(deadline));
    }

    /// Notes that the client is alive.
    pub fn mark_seen(&self) {
        self.last_seen.set(Instant::now());
        self.ping_pending.set(false);
    }

    /// Notes that messages may be missing.
    pub fn mark_gap(&self) {
        self.gap_pending.set(true);
    }

    /// True if the client must be told of a gap. Resets it.
    pub fn take_gap(&self) -> bool {
        self.gap_pending.take()
    }

    /// The command that is due at `now`, if any.
    pub fn due_command(&self, now: Instant, ping_interval: Duration) -> Option<ConnectionCommand> {
        if let Some(deadline) = self.deadline.get() {
            return (deadline <= now).then_some(ConnectionCommand::Abort);
        }
        let silence = now.saturating_duration_since(self.last_seen.get());
        let ping_due = silence >= ping_interval;
        match self.keep_alive {
            KeepAlive::Heartbeats => {
                if ping_due {
                    self.last_seen.set(now);
                }
                ping_due.then_some(ConnectionCommand::Ping)
            }
            KeepAlive::Pings if silence >= ping_interval * 2 => {
                Some(ConnectionCommand::Close(CloseReason::NoPong))
            }
            KeepAlive::Pings => {
                (ping_due && !self.ping_pending.replace(true)).then_some(ConnectionCommand::Ping)
            }
        }
    }
}
