//! Spans of messages on their way through RabbitMQ, by OpenTelemetry's conventions for messaging.

use super::{Span, Tracer};
use opentelemetry::trace::{SpanContext, SpanKind};
use std::sync::Arc;
use warren_protocol::trace_context;

/// Makes the spans of one exchange.
#[derive(Clone, Debug)]
pub struct Messaging {
    tracer: Tracer,
    exchange: Arc<str>,
    /// What is read from, if it has a name of its own.
    queue: Arc<str>,
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub struct Consumed<'a> {
    /// What it is called towards clients, if it is for them.
    pub id: Option<&'a str>,
    pub routing_key: &'a str,
    pub message_id: Option<&'a str>,
    pub delivery_tag: u64,
}

impl Messaging {
    /// `queue`: the name of what is read from, empty if it is made up by the broker.
    pub fn new(tracer: &Tracer, exchange: &str, queue: &str) -> Self {
        Self { tracer: tracer.clone(), exchange: exchange.into(), queue: queue.into() }
    }

    /// Whether there are traces at all.
    pub fn is_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// Begins to publish a message, if the trace that it belongs to is recorded. The context of this
    /// span is the message's creation context.
    pub fn publish(
        &self,
        parent: Option<&SpanContext>,
        routing_key: &str,
        message_id: &str,
        size: usize,
    ) -> Option<Span> {
        let mut span = self.tracer.child(parent?, "publish", SpanKind::Producer)?;
        self.describe(&mut span, "publish", "send", routing_key, &[routing_key]);
        span.set("messaging.message.id", message_id.to_owned());
        span.set("messaging.message.body.size", size as i64);
        Some(span)
    }

    /// Begins to process a message that was read: below its creation context, and linked to it. Without
    /// one, its trace follows from its id.
    pub fn consume(&self, creation: Option<SpanContext>, consumed: Consumed<'_>) -> Option<Span> {
        let Consumed { id, routing_key, message_id, delivery_tag } = consumed;
        let link = creation.clone();
        let root = if creation.is_none() { id.map(trace_context::of_message) } else { None };
        let mut span = self.tracer.enter(creation, root, "consume", SpanKind::Consumer).0?;
        self.describe(&mut span, "consume", "process", routing_key, &[routing_key, &self.queue]);
        if self.queue.is_empty() {
            span.set("messaging.destination.anonymous", true);
            span.set("messaging.destination.temporary", true);
        }
        if let Some(id) = message_id {
            span.set("messaging.message.id", id.to_owned());
        }
        let tag = i64::try_from(delivery_tag).unwrap_or(i64::MAX);
        span.set("messaging.rabbitmq.message.delivery_tag", tag);
        if let Some(creation) = link {
            span.link(creation);
        }
        Some(span)
    }

    /// What both have. A destination is the exchange and what is `behind` it, as far as it has a name;
    /// the name of the span is of the exchange alone, as there may be any number of channels.
    fn describe(
        &self,
        span: &mut Span,
        name: &'static str,
        kind: &'static str,
        routing_key: &str,
        behind: &[&str],
    ) {
        let mut destination = self.exchange.to_string();
        for part in behind.iter().filter(|part| !part.is_empty()) {
            destination.push(':');
            destination.push_str(part);
        }
        span.rename(format!("{name} {}", self.exchange));
        span.set("messaging.system", "rabbitmq");
        span.set("messaging.operation.name", name);
        span.set("messaging.operation.type", kind);
        span.set("messaging.destination.name", destination);
        span.set("messaging.destination.template", self.exchange.clone());
        if !routing_key.is_empty() {
            span.set("messaging.rabbitmq.destination.routing_key", routing_key.to_owned());
        }
    }
}
