//! Handles each entry that was read: delivers messages, counts duplicates, and passes canaries on.

use crate::ports::BrokerEvent;
use crate::rabbitmq::consume::entry::Entry;
use crate::rabbitmq::control::{self, CanaryMessage};
use crate::rabbitmq::message_ids::ReadBack;
use crate::rabbitmq::properties;
use crate::rabbitmq::shared_state::SharedState;
use crate::roster::Roster;
use lapin::message::Delivery;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use warren_observe::events::{Event, TraceField};
use warren_observe::traces::{Consumed, Messaging, Span};
use warren_protocol::body::Malformed;

pub(crate) struct DeliveryHandler {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) events: mpsc::Sender<BrokerEvent>,
    /// Receives an item for each canary of this process.
    pub(crate) returned_canaries: mpsc::Sender<()>,
    /// Receives each message of this process.
    pub(crate) read_backs: mpsc::UnboundedSender<ReadBack>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) messaging: Messaging,
}

/// Event as which a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliverAs {
    Message,
    /// For messages published before this replica started.
    Backfill,
}

impl DeliveryHandler {
    /// Sets the status to consuming.
    pub(crate) fn mark_consuming(&self) {
        self.shared.update_status(|status| {
            status.consuming = true;
            status.problem = None;
        });
    }

    /// Sends an event to the fan-out. It is dropped if the fan-out has ended.
    pub(crate) async fn send(&self, event: BrokerEvent) {
        let _ = self.events.send(event).await;
    }

    /// Handles an entry. Malformed entries are reported and skipped; no entry ends a session.
    pub(crate) async fn handle(
        &mut self,
        entry: Entry,
        delivery: &Delivery,
        deliver_as: DeliverAs,
    ) {
        self.shared.reporter.consumed();
        if control::is_foreign(&delivery.properties) {
            self.shared.reporter.foreign();
        }
        self.shared.entries_read.fetch_add(1, Ordering::Relaxed);
        // The span ends when the message has been handed over.
        let mut span = match deliver_as {
            DeliverAs::Message => self.span(&entry, delivery),
            DeliverAs::Backfill => None,
        };
        match entry {
            Entry::Message(mut message) => {
                self.report_read_back(delivery, Some(&message.id));
                if let Some(span) = &mut span {
                    span.set("warren.message.id", message.id.clone());
                    message.trace = Some(span.context().clone());
                }
                self.send(match deliver_as {
                    DeliverAs::Message => BrokerEvent::Message(message),
                    DeliverAs::Backfill => BrokerEvent::Backfill(message),
                })
                .await;
            }
            Entry::Duplicate { first } => {
                self.shared.reporter.duplicate();
                if let Some(span) = &mut span {
                    span.set("warren.duplicate", true);
                }
                self.report_read_back(delivery, first.as_ref());
            }
            Entry::Canary(canary) => self.handle_canary(canary, deliver_as),
            Entry::Malformed(malformed) => {
                if let Some(span) = &mut span {
                    span.fail(malformed.label());
                }
                let trace_id = TraceField::of(properties::trace(delivery).as_ref());
                self.report_malformed(malformed, trace_id);
            }
        }
    }

    /// Starts a message's span, if traces are recorded. Malformed messages have one, too; canaries have
    /// none.
    fn span(&self, entry: &Entry, delivery: &Delivery) -> Option<Span> {
        if !self.messaging.is_on() || matches!(entry, Entry::Canary(_)) {
            return None;
        }
        let consumed = Consumed {
            id: match entry {
                Entry::Message(message) => Some(&message.id),
                Entry::Duplicate { first } => first.as_deref(),
                Entry::Canary(_) | Entry::Malformed(_) => None,
            },
            routing_key: delivery.routing_key.as_str(),
            message_id: properties::message_id(delivery),
            delivery_tag: delivery.delivery_tag,
        };
        self.messaging.consume(properties::trace(delivery), consumed)
    }

    pub(crate) fn report_malformed(&self, malformed: Malformed, trace_id: TraceField) {
        self.shared.reporter.emit(Event::MessageMalformed { reason: malformed.into(), trace_id });
    }

    /// Reports a message to the publisher, if it is of this process.
    fn report_read_back(&self, delivery: &Delivery, id: Option<&Arc<str>>) {
        if let Some((origin, number)) = properties::origin(delivery)
            && *origin == *self.shared.origin
        {
            let _ = self.read_backs.send(ReadBack { number, id: id.cloned() });
        }
    }

    fn handle_canary(&self, canary: CanaryMessage, deliver_as: DeliverAs) {
        if canary.instance == self.shared.instance {
            // If the channel is full, the items in it say the same.
            let _ = self.returned_canaries.try_send(());
        }
        if canary.leaving {
            self.roster.left(&canary.peer.name);
        } else if deliver_as == DeliverAs::Message {
            self.roster.heard(canary.peer);
        }
    }
}
