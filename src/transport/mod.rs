//! Clients: the only code that knows actix.
//!
//! actix-web routes requests and makes the handshake. Once a WebSocket is agreed on, its socket is
//! taken from actix and owned by one lean task (`ws::Connection`) on the worker that accepted it.

mod answer;
mod connections;
mod error;
mod events;
mod gate;
mod history;
mod listener;
mod messages;
mod origin;
mod page;
mod query;
mod replicas;
mod resume;
mod server;
mod unread;
mod upgrade;
mod worker;
pub mod ws;

pub use connections::Connections;
pub use server::{listen, serve};

use crate::broker::{Publisher, Roster, Status};
use crate::config::Config;
use crate::fanout::Inboxes;
use crate::metrics::Metrics;
use crate::replays::Replays;
use crate::shutdown::Phase;
use crate::telemetry::Tracer;
use std::sync::Arc;
use tokio::sync::watch;

/// What all workers share.
#[derive(Debug)]
pub struct House {
    pub config: Config,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub publisher: Publisher,
    pub status: watch::Receiver<Status>,
    /// What was said before, where that is kept outside this process.
    pub replays: Option<Arc<Replays>>,
    pub roster: Arc<Roster>,
    pub inboxes: Arc<Inboxes>,
    pub connections: Arc<Connections>,
    pub phase: watch::Receiver<Phase>,
}
