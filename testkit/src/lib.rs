//! Programs, clients and brokers that the tests and benches share.

#![allow(missing_debug_implementations, clippy::len_without_is_empty)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod amqp_peer;
pub mod chart_queries;
pub mod client;
pub mod cluster;
pub mod delivery_ledger;
pub mod disks;
pub mod endpoints;
pub mod events;
pub mod fake_server;
pub mod follower;
pub mod haproxy;
pub mod heavy;
pub mod http;
pub mod open_files;
pub mod otlp_collector;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod proxy;
pub mod rabbitmq;
pub mod rabbitmq_node;
pub mod rabbitmq_release;
pub mod raw;
pub mod raw_amqp;
pub mod refusing_broker;
pub mod replica;
pub mod subscriber;
pub mod tls;
pub mod zlib;

use std::time::Duration;

/// Longest time that tests wait for anything. It is generous, because only failures reach it.
pub const LIMIT: Duration = Duration::from_secs(60);
