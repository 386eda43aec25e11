//! Clients: the only code that knows actix.
//!
//! actix-web routes requests and makes the handshake. Once a WebSocket is agreed on, its socket is
//! taken from actix and owned by one lean task (`ws::Connection`) on the worker that accepted it.

mod answer;
pub mod compression;
mod connections;
mod error;
mod events;
pub mod fanout;
mod gate;
pub mod health;
mod history;
mod listener;
mod messages;
mod origin;
mod page;
mod query;
pub mod replays;
mod replicas;
mod resume;
mod server;
mod unread;
mod upgrade;
mod worker;
pub mod ws;

pub use connections::Connections;
pub use server::{listen, serve};

use crate::fanout::WorkerSenders;
use crate::replays::ReplayCache;
use std::sync::Arc;
use tokio::sync::watch;
use warren_broker::{Publisher, Roster};
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::phase::Phase;
use warren_observe::reporter::Reporter;
use warren_observe::telemetry::Tracer;

/// What all workers share.
#[derive(Debug)]
pub struct AppState {
    pub config: Config,
    pub reporter: Arc<Reporter>,
    pub tracer: Tracer,
    pub publisher: Publisher,
    pub status: watch::Receiver<BrokerStatus>,
    /// What was said before, where that is kept outside this process.
    pub replays: Option<Arc<ReplayCache>>,
    pub roster: Arc<Roster>,
    pub workers: Arc<WorkerSenders>,
    pub connections: Arc<Connections>,
    pub phase: watch::Receiver<Phase>,
}
