//! Plain WebSockets: the handshake, and the task that owns a socket afterwards.

mod chat;
mod client;
mod commands;
mod connection;
mod handshake;
mod limiter;
mod output;

pub use chat::{MAX_CHANNELS, spawn};
pub use client::{Client, Order};
pub use connection::{Connection, Dialogue, Line};
pub use handshake::{Admitted, handshake};
pub use output::{Output, Written};
