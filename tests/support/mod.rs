//! What the tests stand on.

#![allow(dead_code, missing_debug_implementations)]

pub mod amqp;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod disks;
pub mod events;
pub mod expression;
pub mod fake;
pub mod files;
pub mod follower;
pub mod haproxy;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod listener;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod queries;
pub mod rabbitmq;
pub mod raw;
pub mod raw_amqp;
pub mod release;
pub mod replica;
pub mod tls;
pub mod zlib;

use std::time::Duration;

/// The longest that anything may take that is awaited. Generous: it is only reached by a failure.
pub const LIMIT: Duration = Duration::from_secs(60);
