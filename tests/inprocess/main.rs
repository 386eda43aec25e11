//! The tests in process: [`warren::app::Application`] on a free port with the embedded broker, in the test's
//! own process. They need no RabbitMQ and no other service, and run in parallel: `make test-fast`.
//!
//! A test belongs into `tests/it` instead when it needs a program: RabbitMQ, a load balancer, a browser,
//! or the `warren` program itself, for its memory, open files, log output, signals or environment.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod chat;
mod coalesce;
mod compression;
mod documents;
mod events;
mod injection;
mod limits;
mod metrics;
mod pages;
mod patience;
mod protocol;
mod replica;
mod resume;
mod surface;
mod v1;
mod wire;
