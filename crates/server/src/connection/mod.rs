//! One WebSocket after its handshake: its socket, its frames and its close. The meaning of messages is
//! left to a [`MessageHandler`].
//!
//! - `task`: the task that owns the socket, reads and writes it, and closes it in order.
//! - `write_queue`: frames that wait to be written.
//! - `direct_write`: writes to the socket from the worker's loop, without the task.
//! - `handler`: the interface to the meaning of messages.
//! - `handle`: the state shared with the worker.

mod direct_write;
mod handle;
mod handler;
mod task;
mod write_queue;

pub use direct_write::{DirectWrite, write_to_runnable};
pub use handle::{ConnectionCommand, ConnectionHandle, KeepAlive};
pub use handler::MessageHandler;
pub use task::Connection;
pub use write_queue::{HubSource, WriteQueue, WriteStats};
