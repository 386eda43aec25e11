//! One worker thread: its hub, its connections, and the tasks that keep them going.

mod core;

pub use core::Worker;
