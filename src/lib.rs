//! The Warren service: WebSocket fan-out for Kubernetes, with replicas joined by RabbitMQ.
//!
//! This package assembles the parts in `crates/`. ARCHITECTURE.md shows the way of a message and the
//! borders between the crates.
//!
//! - [`app`]: builds everything from a configuration, runs it, and stops it in order.
//! - [`check`]: `warren check`, a client that verifies that replicas are joined.
//! - [`shutdown`]: moves a replica through its phases.

pub mod app;
pub mod check;
pub mod shutdown;
