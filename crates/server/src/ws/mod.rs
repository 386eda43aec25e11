//! WebSockets: the handshake, and the session that gives a meaning to messages.

mod commands;
mod handshake;
mod limiter;
mod session;

pub use handshake::{AcceptedUpgrade, UpgradeMarker, handshake};
pub use session::spawn;
