//! What becomes of what was read, whichever way.

use crate::rabbitmq::control::{self, Canary};
use crate::rabbitmq::entry::{self, Entry, origin};
use crate::rabbitmq::publish::publisher::ReadBack;
use crate::rabbitmq::shared_state::SharedState;
use crate::{BrokerEvent, Roster};
use lapin::message::Delivery as AmqpDelivery;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use warren_observe::events::{Event, TraceField};
use warren_observe::traces::{Consumed, Messaging, Span};
use warren_protocol::body::Malformed;

pub(crate) struct DeliveryHandler {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) deliveries: mpsc::Sender<BrokerEvent>,
    /// Told of our own canaries.
    pub(crate) heard: mpsc::Sender<()>,
    /// Told of our own messages.
    pub(crate) read_backs: mpsc::UnboundedSender<ReadBack>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) messaging: Messaging,
}

impl DeliveryHandler {
    /// Deliveries follow. A replica reads once this was said.
    pub(crate) fn reading(&self) {
        self.shared.update(|status| {
            status.consuming = true;
            status.problem = None;
        });
    }

    /// Hands an event to the fan-out, unless it has ended.
    pub(crate) async fn deliver(&self, event: BrokerEvent) {
        let _ = self.deliveries.send(event).await;
    }

    /// Hands an entry on, or says why not. Nothing that comes from the exchange ends a session. `past`:
    /// it was there before this replica was.
    pub(crate) async fn take(&mut self, entry: Entry, delivery: &AmqpDelivery, past: bool) {
        self.shared.reporter.consumed();
        if control::is_foreign(&delivery.properties) {
            self.shared.reporter.foreign();
        }
        self.shared.read.fetch_add(1, Ordering::Relaxed);
        // It ends when the message was handed on.
        let mut span = if past { None } else { self.span(&entry, delivery) };
        match entry {
            Entry::Message(mut message) => {
                self.report_read_back(delivery, Some(&message.id));
                if let Some(span) = &mut span {
                    span.set("warren.message.id", message.id.clone());
                    message.trace = Some(span.context().clone());
                }
                self.deliver(if past {
                    BrokerEvent::Backfill(message)
                } else {
                    BrokerEvent::Message(message)
                })
                .await;
            }
            Entry::Second(first) => {
                self.shared.reporter.duplicate();
                if let Some(span) = &mut span {
                    span.set("warren.duplicate", true);
                }
                self.report_read_back(delivery, first.as_ref());
            }
            Entry::Canary(canary) => self.canary(canary, past),
            Entry::Malformed(malformed) => {
                if let Some(span) = &mut span {
                    span.fail(malformed.label());
                }
                self.refuse(malformed, TraceField::of(entry::trace(delivery).as_ref()));
            }
        }
    }

    /// Begins the span of a message, be it fit for clients or not, if it is recorded. What replicas
    /// tell each other is nobody's message.
    fn span(&self, entry: &Entry, delivery: &AmqpDelivery) -> Option<Span> {
        if !self.messaging.is_on() || matches!(entry, Entry::Canary(_)) {
            return None;
        }
        let consumed = Consumed {
            id: match entry {
                Entry::Message(message) => Some(&message.id),
                Entry::Second(first) => first.as_deref(),
                Entry::Canary(_) | Entry::Malformed(_) => None,
            },
            routing_key: delivery.routing_key.as_str(),
            message_id: entry::message_id(delivery),
            delivery_tag: delivery.delivery_tag,
        };
        self.messaging.consume(entry::trace(delivery), consumed)
    }

    /// Passes over what cannot be delivered.
    pub(crate) fn refuse(&self, malformed: Malformed, trace_id: TraceField) {
        self.shared.reporter.emit(Event::MessageMalformed { reason: malformed.into(), trace_id });
    }

    /// Tells the publisher of a message of its own.
    fn report_read_back(&self, delivery: &AmqpDelivery, id: Option<&Arc<str>>) {
        if let Some((origin, number)) = origin(delivery)
            && *origin == *self.shared.origin
        {
            let _ = self.read_backs.send((number, id.cloned()));
        }
    }

    fn canary(&self, canary: Canary, past: bool) {
        if canary.instance == self.shared.instance {
            // If some wait already, one more says nothing new.
            let _ = self.heard.try_send(());
        }
        if canary.leaving {
            self.roster.left(&canary.peer.name);
        } else if !past {
            self.roster.heard(canary.peer);
        }
    }
}
