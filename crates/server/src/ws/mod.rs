//! WebSockets: the handshake, and the session that gives messages their meaning.

mod handshake;
mod limiter;
mod session;

pub use handshake::{AcceptedUpgrade, UpgradeMarker, handshake};
pub use session::spawn;
