//! The catalogue of metrics, and the figures behind it.
//!
//! `table` is the one declaration: name, help, type, unit, labels and their values. The handles that
//! count and docs/metrics.md follow from it, and `naming_rules` checks it. `worker_counters` has what
//! workers count for themselves, and `process` what the kernel counts.

mod declare;
mod handle;
#[cfg(test)]
mod naming_rules;
pub(crate) mod process;
mod table;
pub(crate) mod worker_counters;

pub use declare::{Declaration, Kind, Labels, MAIN, Section, WORKER};
pub use handle::BUCKETS;
pub use table::SECTIONS;
pub(crate) use table::Table;
pub use worker_counters::{WorkerCounters, WorkerSnapshot};
