//! The integration tests with programs: the `warren` program, RabbitMQ, a load balancer, Prometheus, a browser.
//!
//! Tests of a replica alone, with the embedded broker, are in `tests/inprocess`. A program that is missing on
//! the machine fails its tests with a line that says how to install it.
//!
//! RabbitMQ comes in two ways. Tests that do not disturb it share the node that `scripts/with-rabbitmq` starts,
//! with exchanges of their own. Tests that stop, starve or cut off RabbitMQ start nodes of their own.
//!
//! Command line and configuration:
//! - `settings`, `check`, `secrets`
//!
//! Messages through RabbitMQ:
//! - `rabbitmq`: the exchange, shared with other programs
//! - `log`, `v1`, `cluster`: one order on all replicas
//! - `resume`, `cursors`, `pages`: replays, cursors and `GET /messages`
//! - `deduplication`: keys
//! - `malformed_messages`: AMQP messages that no library would send
//!
//! Failures:
//! - `faults`, `log_faults`, `unstable_binding`, `hanging_broker`: RabbitMQ stops, blocks, loses its topology, hangs
//! - `drain`: shutdown under load
//! - `exactly_once`: no message lost or repeated while replicas and nodes are killed
//! - `reconnect_storm`, `mass_resume`: thousands of clients return at once
//!
//! Limits and attacks, as in SECURITY.md:
//! - `memory_bounds`, `unread_connections`, `file_limit`: memory and files that clients can take
//! - `slow_requests`, `oversized_requests`, `request_smuggling`, `origins`, `injection`: hostile requests
//!
//! Observability:
//! - `metrics`, `logs`, `traces`, `alerts`, `dashboard`
//!
//! Documents and the page:
//! - `examples`: runs the examples of docs/protocol.md
//! - `browser`: the chat page and the client module in Chromium

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod alerts;
mod browser;
mod check;
mod cluster;
mod cursors;
mod dashboard;
mod deduplication;
mod drain;
mod exactly_once;
mod examples;
mod faults;
mod file_limit;
mod hanging_broker;
mod injection;
mod log;
mod log_faults;
mod logs;
mod malformed_messages;
mod mass_resume;
mod memory_bounds;
mod metrics;
mod origins;
mod oversized_requests;
mod pages;
mod rabbitmq;
mod reconnect_storm;
mod request_smuggling;
mod resume;
mod secrets;
mod settings;
mod slow_requests;
mod traces;
mod unread_connections;
mod unstable_binding;
mod v1;
