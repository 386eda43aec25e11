//! Clients: HTTP, server-sent events (SSE) and WebSocket.
//!
//! Used by the exporter of traces, `warren check`, `warren-load`, the tests and the benchmarks. Nothing here
//! knows the protocol of Warren.
//!
//! - [`http`]: the configuration of reqwest and TLS.
//! - [`sse`]: an SSE stream over an HTTP response (feature `sse`).
//! - [`websocket`]: a handshake, and the WebSocket it opens (feature `websocket`).

pub mod http;
#[cfg(feature = "sse")]
pub mod sse;
mod text;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use text::one_line;
