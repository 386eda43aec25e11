//! The Warren service: WebSocket fan-out for Kubernetes, with replicas joined by RabbitMQ.
//!
//! This package assembles the parts in `crates/`. ARCHITECTURE.md shows the way of a message and the
//! borders between the crates.
//!
//! - [`app`]: binds the ports of a replica, and runs it.
//! - `replica`: the parts of a serving replica, started together and stopped in order.
//! - [`check`]: `warren check`, a client that verifies that replicas are joined.
//! - [`shutdown`]: moves a replica through its phases.

pub mod app;
pub mod check;
mod replica;
pub mod shutdown;
