//! Everything that operators see of a replica: metrics, events of the log output, and traces.
//!
//! From bottom to top: `labels` has the values of metric labels; `events` and `metrics` are the
//! catalogues; `reporter` counts, and writes the line of an event; `traces` exports spans, and `logging`
//! formats lines. `docs` writes the documents of the catalogues.

pub mod broker_status;
pub mod docs;
pub mod events;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod phase;
pub mod reporter;
pub mod traces;
