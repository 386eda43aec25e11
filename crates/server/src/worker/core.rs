//! State shared by the connections of one worker thread.

use super::slots::ConnectionSlots;
use crate::connection::{ConnectionCommand, ConnectionHandle, KeepAlive};
use crate::state::AppState;
use actix_web::HttpRequest;
use bytes::Bytes;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use warren_hub::{Hub, HubLimits, SubscriberId};
use warren_observe::metrics::WorkerCounters;
use warren_protocol::websocket::{Inflater, text_frame};

/// Bytes read from a socket at a time. One buffer serves all connections of a worker.
const READ_BUFFER: usize = 64 << 10;
/// Message of the notice of a gap.
const GAP: &str = "this replica was away from RabbitMQ: messages may be missing here";

/// State shared by the connections of one worker thread. None of it is locked.
#[derive(Debug)]
pub struct Worker {
    pub state: Arc<AppState>,
    pub hub: RefCell<Hub>,
    /// Lent to the connection that reads.
    pub read_buffer: Rc<RefCell<Vec<u8>>>,
    /// Lent to the connection that reads, if compression is enabled.
    pub inflater: Option<RefCell<Inflater>>,
    pub slots: ConnectionSlots,
    pub draining: Cell<bool>,
    pub counters: Arc<WorkerCounters>,
    /// WebSocket frame that tells a client of a gap.
    pub gap_frame: Bytes,
}

impl Worker {
    /// A worker of the current thread, without connections.
    pub fn new(state: Arc<AppState>) -> Self {
        let config = &state.config;
        let limits = HubLimits {
            history: config.history_bytes.0,
            hubs: config.workers.0,
            backlog: config.client_backlog.0 as u64,
        };
        Self {
            hub: RefCell::new(Hub::new(limits)),
            read_buffer: Rc::new(RefCell::new(vec![0; READ_BUFFER])),
            inflater: config.compression.0.map(|_| RefCell::default()),
            slots: ConnectionSlots::default(),
            draining: Cell::new(false),
            counters: state.reporter.worker(),
            gap_frame: text_frame(&json!({ "gap": { "message": GAP } }).to_string()),
            state,
        }
    }

    /// The worker that serves a request.
    #[expect(clippy::expect_used, reason = "every app that is served is built with a worker")]
    pub fn of(request: &HttpRequest) -> Rc<Self> {
        let worker = request.app_data::<Rc<Self>>();
        worker.expect("the worker is part of every app that is served").clone()
    }

    /// Notice of a gap, as JSON.
    pub fn gap_json() -> String {
        json!({ "message": GAP }).to_string()
    }

    /// Opens a subscriber and the slot of its connection. [`Worker::close`] closes both.
    pub fn open(&self, keep_alive: KeepAlive) -> (SubscriberId, Rc<ConnectionHandle>) {
        let subscriber = self.hub.borrow_mut().open();
        let handle = Rc::new(ConnectionHandle::new(keep_alive));
        self.slots.insert(subscriber, handle.clone());
        if self.draining.get() {
            // Its handshake was done when draining began.
            self.command(subscriber, &handle, self.drain_command());
        }
        (subscriber, handle)
    }

    /// Closes a subscriber and its slot.
    pub fn close(&self, subscriber: SubscriberId) {
        self.hub.borrow_mut().close(subscriber);
        self.slots.remove(subscriber);
    }

    /// Sends a connection a command, and wakes its task.
    pub fn command(
        &self,
        subscriber: SubscriberId,
        handle: &ConnectionHandle,
        command: ConnectionCommand,
    ) {
        handle.set_command(command);
        self.hub.borrow_mut().wake(subscriber);
    }

    /// The command that drains a connection. Closing is spread over the drain period; if that is short,
    /// the hints spread the reconnects.
    pub fn drain_command(&self) -> ConnectionCommand {
        let spread = self.state.config.drain_period.as_millis().min(10_000) as u32;
        let spread = if spread < 1000 { 5000 } else { spread / 4 };
        ConnectionCommand::Drain { retry_hint_ms: fastrand::u32(100..100 + spread) }
    }
}
