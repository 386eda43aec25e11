//! Traces of messages, by OpenTelemetry.
//!
//! [`Traces`] exports spans, as the `OTEL_*` variables configure it. [`Tracer`] creates spans, and is
//! passed down to all code that does. [`Messaging`] creates the spans of RabbitMQ, by the semantic
//! conventions. There are no spans of single clients, and no span contains the text of a message.

mod broadcast_span;
mod export;
mod export_client;
mod messaging;
mod settings;
mod span;
mod tracer;
mod variables;

pub use broadcast_span::BroadcastSpan;
pub use messaging::{Consumed, Messaging};
pub use settings::TraceSettings;
pub use span::Span;
pub use tracer::{Tracer, Traces};
