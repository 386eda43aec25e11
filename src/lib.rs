//! Warren: WebSocket fan-out for Kubernetes, its replicas joined by RabbitMQ.
//!
//! # Layout
//!
//! ```text
//! client frame ─▶ transport ─▶ broker.publish ─▶ RabbitMQ exchange
//!                                                      │
//! client frames ◀─ connection ◀─ hub ◀─ fanout ◀─ broker.consume
//! ```
//!
//! - [`app`]: builds all of it from a configuration, runs it, and ends it in order.
//! - [`config`]: every environment variable, declared once.
//! - [`message`]: the one type that crosses the house.
//! - [`broker`]: RabbitMQ, or the embedded broker; alone knows lapin.
//! - [`fanout`]: encodes each message once ([`broadcast`]) and posts it to every worker.
//! - [`compression`]: which messages are compressed; each of them once, too.
//! - [`replays`]: stretches of the log, read again once for all clients that come back.
//! - [`hub`]: channels, logs and cursors of one worker; plain data.
//! - [`wire`]: WebSocket frames; plain data.
//! - [`transport`]: handshakes, connections, HTTP, the chat page; alone knows actix.
//! - `outbound`: whom this program trusts where it is a client, and its requests over HTTP.
//! - [`check`]: `warren check`, a client of all replicas that proves that they are joined.
//! - [`load`]: `warren load`, many clients at once, and what came of it.
//! - [`health`], [`metrics`], [`events`], [`telemetry`], [`trace`], [`shutdown`]: what an operator sees.

pub mod app;
pub mod check;
pub mod load;
pub mod shutdown;
