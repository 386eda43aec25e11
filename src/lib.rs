//! Warren: WebSocket fan-out for Kubernetes, its replicas joined by RabbitMQ.

#![forbid(unsafe_code)]

pub mod broker;
mod burst;
pub mod config;
pub mod hub;
pub mod message;
pub mod metrics;
pub mod wire;
