//! Serves clients: WebSockets, event streams and HTTP. The only crate that knows actix.
//!
//! actix-web routes requests and answers handshakes. The socket of an accepted WebSocket is then taken
//! from actix, and owned by one small task on the worker that accepted it.
//!
//! From the client port down:
//!
//! - `server`, `routes`, `upgrade`: the port, its routes, and the way of a socket out of actix.
//! - `endpoints`, `sse`, `ws`: what clients ask for. `ws::session` gives WebSocket messages their meaning.
//! - `http`: guards of HTTP sockets and bodies, origins, queries, errors.
//! - `session`: subscriptions and how they resume, for WebSockets and event streams alike.
//! - `worker`: one thread, its hub and its connections.
//! - [`connection`]: one WebSocket; its socket, its frames, its close.
//! - [`fanout`], [`replay_cache`]: messages from the broker, new ones and those of the log.
//! - [`admin`]: the admin port.

pub mod admin;
pub mod connection;
mod connections;
mod endpoints;
pub mod fanout;
mod http;
pub mod replay_cache;
mod routes;
mod server;
mod session;
mod sse;
mod state;
mod upgrade;
mod worker;
mod ws;

pub use actix_server::{Server, ServerHandle};
pub use connections::Connections;
pub use server::{listen, serve};
pub use state::AppState;
