//! Messages as they are published: routing key, properties and body.

use crate::publisher::QueuedPublish;
use crate::rabbitmq::control::{CanaryMessage, KEY, MESSAGE, REPEATED, REPLICA};
use crate::slewed_clock::SlewedClock;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use opentelemetry::trace::SpanContext;
use std::sync::Arc;
use warren_protocol::trace_context;

#[derive(Debug)]
pub(crate) struct AmqpMessage {
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

/// Encodes the messages of one replica.
#[derive(Clone, Debug)]
pub(crate) struct AmqpEncoder {
    pub(crate) replica: String,
    pub(crate) clock: Arc<SlewedClock>,
}

/// An attempt to publish a message: the first, or one after its connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    Repeated,
}

impl AmqpEncoder {
    /// Encodes a message for clients.
    pub(crate) fn message(
        &self,
        publish: &QueuedPublish,
        message_id: &str,
        attempt: Attempt,
        trace: Option<&SpanContext>,
        body: Vec<u8>,
    ) -> AmqpMessage {
        let mut headers = FieldTable::default();
        let mut header = |name: &str, value: String| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        if let Some(context) = trace {
            header(trace_context::TRACEPARENT, trace_context::traceparent(context));
            if let Some(state) = trace_context::tracestate(context) {
                header(trace_context::TRACESTATE, state);
            }
        }
        if let Some(key) = &publish.request.key {
            header(KEY, key.as_str().to_owned());
        }
        if attempt == Attempt::Repeated {
            header(REPEATED, "1".to_owned());
        }
        let properties =
            self.properties(MESSAGE).with_headers(headers).with_message_id(message_id.into());
        let routing_key = publish.request.channel.routing_key().to_owned();
        AmqpMessage { routing_key, properties, body }
    }

    /// Encodes a canary.
    pub(crate) fn canary(&self, canary: &CanaryMessage) -> AmqpMessage {
        AmqpMessage {
            routing_key: String::new(),
            properties: self.properties(REPLICA),
            body: serde_json::to_vec(canary).unwrap_or_default(),
        }
    }

    fn properties(&self, kind: &str) -> BasicProperties {
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_app_id(self.replica.as_str().into())
            .with_type(kind.into())
            .with_timestamp(self.clock.now())
    }
}
