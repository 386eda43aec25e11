//! The integration tests, in one binary: real processes, a real RabbitMQ, a real load balancer, a real
//! browser. What is missing on the machine fails with a line that says how to get it.
//!
//! - `settings`: the command line and the environment
//! - `check`, `load`: `warren check` and `warren load`
//! - `chat`: what clients see, over WebSocket and HTTP, with the embedded broker
//! - `wire`: bytes on a raw socket: limits, violations, odd but valid behaviour
//! - `coalesce`: messages that share a write
//! - `patience`: bytes that come one by one, cut anywhere, or before anyone asked for them
//! - `compression`: permessage-deflate
//! - `limits`: slow, silent, too many and too eager clients
//! - `rabbitmq`: the exchange shared with others, and what they put on it
//! - `faults`: RabbitMQ away, its topology deleted, its memory full
//! - `flapping`: a binding that comes and goes
//! - `hanging`: a RabbitMQ that accepts connections and never answers
//! - `log`, `log_faults`: delivery `log`, and what becomes of it when something is away
//! - `resume`, `cursors`, `pages`: coming back, and reading what was said
//! - `events`: server-sent events
//! - `v1`, `once`: the subprotocol `warren.v1`, and keys that keep a message from being said twice
//! - `silent`: all clients read nothing
//! - `programs`: the programs in examples/
//! - `poison`: messages that no library would write
//! - `crowd`: many clients that come back at once
//! - `full`: thousands of silent sockets, and no file for another one
//! - `herd`: a replica dies, and 5,000 clients return at once
//! - `ledger`: every message once and in one order, whatever is killed
//! - `cluster`: three replicas behind HAProxy
//! - `leaving`: SIGTERM under load
//! - `metrics`, `logs`: what is counted and what is told, as declared
//! - `alerts`: which alerts fire, in a real Prometheus
//! - `dashboard`: every query of the dashboard and of the alerts, in Prometheus
//! - `page`: the chat page in a browser
//! - `origins`, `smuggling`, `slow`, `oversized`, `injection`, `secrets`, `surface`: attacks; SECURITY.md
//!   says which are expected
//! - `traces`: OpenTelemetry, from the publisher to the broadcast of every replica
//! - `worst`: one client that does its worst, and what it may take
//! - `protocol`, `examples`: docs/protocol.md against the code, and its examples against a replica

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod alerts;
mod check;
mod cluster;
mod crowd;
mod cursors;
mod dashboard;
mod examples;
mod faults;
mod flapping;
mod full;
mod hanging;
mod herd;
mod injection;
mod leaving;
mod ledger;
mod load;
mod log;
mod log_faults;
mod logs;
mod metrics;
mod once;
mod origins;
mod oversized;
mod page;
mod pages;
mod poison;
mod programs;
mod rabbitmq;
mod resume;
mod secrets;
mod settings;
mod silent;
mod slow;
mod smuggling;
mod traces;
mod v1;
mod worst;
