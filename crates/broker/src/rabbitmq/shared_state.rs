//! State that the publisher, the consumer and the canary of a replica share.

use crate::rabbitmq::message_ids::new_origin;
use crate::slewed_clock::SlewedClock;
use lapin::Event as ConnectionEvent;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::{Event, SanitizedText};
use warren_observe::reporter::Reporter;

#[derive(Debug)]
pub(crate) struct SharedState {
    status: watch::Sender<BrokerStatus>,
    /// Increases with each request to rebuild all sessions.
    generation: watch::Sender<u64>,
    pub(crate) reporter: Arc<Reporter>,
    /// Distinguishes canaries of this process from those of another process with the same name.
    pub(crate) instance: u64,
    /// Entries that the consumer has read.
    pub(crate) entries_read: AtomicU64,
    /// Control messages that RabbitMQ has confirmed.
    pub(crate) controls_confirmed: AtomicU64,
    /// Source of the timestamps of published messages.
    pub(crate) clock: Arc<SlewedClock>,
    /// First part of this process's AMQP message ids.
    pub(crate) origin: Arc<str>,
}

impl SharedState {
    pub(crate) fn new(
        status: watch::Sender<BrokerStatus>,
        reporter: Arc<Reporter>,
        replica: &str,
    ) -> Self {
        Self {
            status,
            generation: watch::Sender::new(0),
            reporter,
            instance: fastrand::u64(..),
            entries_read: AtomicU64::new(0),
            controls_confirmed: AtomicU64::new(0),
            clock: Arc::new(SlewedClock::new()),
            origin: new_origin(replica),
        }
    }

    pub(crate) fn status(&self) -> BrokerStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn watch_status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    /// Changes the status, and the metrics with it.
    pub(crate) fn update_status(&self, change: impl FnOnce(&mut BrokerStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            // A replica that does not consume cannot hear its canaries.
            status.hearing &= status.consuming;
            self.reporter.broker_status(status);
            *status != before
        });
    }

    /// Handles an event of the publishing connection.
    ///
    /// # Errors
    /// The error of a lost connection.
    pub(crate) fn handle_connection_event(
        &self,
        event: ConnectionEvent,
    ) -> Result<(), lapin::Error> {
        match event {
            ConnectionEvent::ConnectionBlocked(reason) => {
                self.reporter.emit(Event::AlarmRaised { reason: SanitizedText::of(reason) });
                self.update_status(|status| status.blocked = true);
            }
            ConnectionEvent::ConnectionUnblocked => {
                self.reporter.emit(Event::AlarmCleared);
                self.update_status(|status| status.blocked = false);
            }
            ConnectionEvent::Error(error) => return Err(error),
            _ => {}
        }
        Ok(())
    }

    /// Requests that all sessions are dropped and built anew, including the topology.
    pub(crate) fn request_rebuild(&self) {
        self.update_status(|status| status.consuming = false);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Receiver that changes at the next [`SharedState::request_rebuild`] after this call.
    pub(crate) fn rebuild_requests(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
