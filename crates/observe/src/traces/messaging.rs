//! Spans of messages that pass through RabbitMQ, by OpenTelemetry's conventions for messaging.

use super::{Span, Tracer};
use opentelemetry::trace::{SpanContext, SpanKind};
use std::sync::Arc;
use warren_protocol::trace_context;

/// Creates the spans of one exchange.
#[derive(Clone, Debug)]
pub struct Messaging {
    tracer: Tracer,
    exchange: Arc<str>,
    /// Name of the queue or stream; empty if the broker chose it.
    queue: Arc<str>,
}

/// A consumed message.
#[derive(Clone, Copy, Debug)]
pub struct Consumed<'a> {
    /// Id for clients, if the message is for them.
    pub id: Option<&'a str>,
    pub routing_key: &'a str,
    pub message_id: Option<&'a str>,
    pub delivery_tag: u64,
}

impl Messaging {
    /// `queue`: name of the queue or stream, empty if the broker chose it.
    pub fn new(tracer: &Tracer, exchange: &str, queue: &str) -> Self {
        Self { tracer: tracer.clone(), exchange: exchange.into(), queue: queue.into() }
    }

    /// Returns true if traces are exported.
    pub fn is_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// Begins the span of a publish, if the trace of the message is recorded. Its context is the creation
    /// context of the message.
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

    /// Begins the span of a consumed message, as a child of its creation context and linked to it. Without a
    /// creation context, the trace id follows from the message id.
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

    /// Sets the attributes that both spans have. A destination is the exchange followed by the names in
    /// `parts`. The span is named after the exchange alone, because there may be any number of channels.
    fn describe(
        &self,
        span: &mut Span,
        name: &'static str,
        kind: &'static str,
        routing_key: &str,
        parts: &[&str],
    ) {
        let mut destination = self.exchange.to_string();
        for part in parts.iter().filter(|part| !part.is_empty()) {
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
