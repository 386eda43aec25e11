//! What the program tells of itself beside its metrics: logs, and traces by OpenTelemetry.
//!
//! [`Traces`] is configured by the variables that the OpenTelemetry specification names, and exports;
//! [`Tracer`] is passed down to whoever makes spans; [`Messaging`] makes those of RabbitMQ, by the
//! semantic conventions. There are no spans of single clients, and none holds what was said.

mod client;
mod export;
mod messaging;
mod settings;
mod span;
mod tally;
mod tracer;
mod variables;

pub use messaging::{Consumed, Messaging};
pub use settings::TraceSettings;
pub use span::Span;
pub use tally::BroadcastSpan;
pub use tracer::{Tracer, Traces};
