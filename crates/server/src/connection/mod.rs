//! A WebSocket after its handshake: its socket, its frames and its close, without a meaning of messages.

mod handle;
mod task;
mod write_queue;

pub use handle::{ConnectionCommand, ConnectionHandle};
pub use task::{Connection, DirectWrite, MessageHandler};
pub use write_queue::{Source, WriteQueue, Written};
