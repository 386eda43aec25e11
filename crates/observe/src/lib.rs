//! Everything an operator sees of a replica: metrics, events of the log output, traces.

pub mod broker_status;
pub mod events;
pub mod labels;
pub mod metrics;
pub mod phase;
pub mod reporter;
pub mod telemetry;
