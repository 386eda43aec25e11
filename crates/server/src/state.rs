//! The state that all workers share.

use crate::connections::Connections;
use crate::fanout::WorkerSenders;
use crate::replay_cache::ReplayCache;
use std::sync::Arc;
use tokio::sync::watch;
use warren_broker::{Publisher, Roster};
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::phase::Phase;
use warren_observe::reporter::Reporter;
use warren_observe::traces::Tracer;

/// The state that all workers share.
#[derive(Debug)]
pub struct AppState {
    pub config: Config,
    pub reporter: Arc<Reporter>,
    pub tracer: Tracer,
    pub publisher: Publisher,
    pub status: watch::Receiver<BrokerStatus>,
    /// The log, if messages are kept outside of this process.
    pub replays: Option<Arc<ReplayCache>>,
    pub roster: Arc<Roster>,
    pub workers: Arc<WorkerSenders>,
    pub connections: Arc<Connections>,
    pub phase: watch::Receiver<Phase>,
}
