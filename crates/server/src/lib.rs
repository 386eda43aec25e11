//! Clients: the only code that knows actix.
//!
//! actix-web routes requests and makes the handshake. Once a WebSocket is agreed on, its socket is
//! taken from actix and owned by one lean task ([`connection::Connection`]) on the worker that accepted it.

pub mod admin;
pub mod connection;
mod connections;
mod endpoints;
pub mod fanout;
mod http;
pub mod replay_cache;
mod server;
mod session;
mod sse;
mod state;
mod upgrade;
mod worker;
mod ws;

pub use connections::Connections;
pub use server::{listen, serve};
pub use state::AppState;
