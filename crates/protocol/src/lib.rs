//! Plain data: messages, ids, WebSocket frames and trace context. No I/O.

pub mod body;
pub mod commands;
pub mod encoded;
pub mod error;
pub mod message;
pub mod trace_context;
pub mod websocket;
