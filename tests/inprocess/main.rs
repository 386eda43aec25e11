//! The tests in process: [`warren::app::Application`] on a free port with the embedded broker, in the test's
//! own process. They need no RabbitMQ and no other service, and run in parallel: `make test-fast`.
//!
//! A test belongs into `tests/it` instead when it needs a program: RabbitMQ, a load balancer, a browser,
//! or the `warren` program itself, for its memory, open files, log output, signals or environment.
//!
//! - `publish_subscribe`, `resume`, `pages`: messages over WebSocket and HTTP, history, cursors
//! - `v1`, `events`: the subprotocol `warren.v1`, and server-sent events
//! - `websocket_frames`, `fragmented_input`, `compression`, `coalescing`: bytes on the socket
//! - `limits`, `injection`, `surface`: limits of clients, hostile text, the attack surface
//! - `metrics`: the figures of clients and deliveries
//! - `protocol`, `documents`: documents agree with the code

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod coalescing;
mod compression;
mod documents;
mod events;
mod fragmented_input;
mod injection;
mod limits;
mod metrics;
mod pages;
mod protocol;
mod publish_subscribe;
mod replica;
mod resume;
mod surface;
mod v1;
mod websocket_frames;
