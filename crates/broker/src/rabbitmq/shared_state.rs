//! What the parts of the bond tell each other, and the house.

use crate::rabbitmq::message_ids::new_origin;
use crate::slewed_clock::SlewedClock;
use lapin::Event;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::{self, SanitizedText};
use warren_observe::reporter::Reporter;

/// Shared by publisher, consumer and canary.
#[derive(Debug)]
pub(crate) struct SharedState {
    status: watch::Sender<BrokerStatus>,
    /// Raised when everything is to be built anew.
    generation: watch::Sender<u64>,
    pub(crate) reporter: Arc<Reporter>,
    /// Tells this process's canaries from those of another with the same name.
    pub(crate) instance: u64,
    /// Entries that were read.
    pub(crate) read: AtomicU64,
    /// Canaries that RabbitMQ has confirmed.
    pub(crate) taken: AtomicU64,
    /// By which messages are dated for those who read them.
    pub(crate) clock: Arc<SlewedClock>,
    /// What the message ids of this process begin with.
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
            read: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            clock: Arc::new(SlewedClock::new()),
            origin: new_origin(replica),
        }
    }

    pub(crate) fn status(&self) -> BrokerStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    /// Changes the status; the metrics follow it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut BrokerStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            // A replica that does not read cannot hear itself.
            status.hearing &= status.consuming;
            self.reporter.broker_status(status);
            *status != before
        });
    }

    /// Takes news of the publishing connection.
    ///
    /// # Errors
    /// The connection's own, when it is lost.
    pub(crate) fn hear(&self, event: Event) -> Result<(), lapin::Error> {
        match event {
            Event::ConnectionBlocked(reason) => {
                self.reporter
                    .emit(events::Event::AlarmRaised { reason: SanitizedText::of(reason) });
                self.update(|status| status.blocked = true);
            }
            Event::ConnectionUnblocked => {
                self.reporter.emit(events::Event::AlarmCleared);
                self.update(|status| status.blocked = false);
            }
            Event::Error(error) => return Err(error),
            _ => {}
        }
        Ok(())
    }

    /// Has all sessions dropped and built anew, with their topology.
    pub(crate) fn rebuild(&self) {
        self.update(|status| status.consuming = false);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Resolves at the next [`SharedState::rebuild`] after this call.
    pub(crate) fn rebuilds(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
