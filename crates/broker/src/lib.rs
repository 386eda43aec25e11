//! The broker that joins replicas: a message published at one replica is read by all.
//!
//! Two implementations share one interface, `BrokerPorts`: accepted messages in, events out.
//! `rabbitmq` is the real one, and the only code that uses lapin; `embedded` joins the clients of one
//! process. Neither knows clients, frames or actix.

mod deduplicator;
mod embedded;
mod log_page;
mod ports;
mod publisher;
mod rabbitmq;
mod roster;
mod slewed_clock;

pub use log_page::{LogError, LogHead, LogPage, PAGE_LEN};
pub use ports::BrokerEvent;
pub use publisher::{PublishAck, PublishRequest, Publisher};
pub use rabbitmq::ReplayConsumers;
pub use roster::{Peer, Roster};

use ports::BrokerPorts;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::reporter::Reporter;
use warren_observe::traces::Tracer;

/// Limit of events that wait between the broker and the workers.
const EVENT_CAPACITY: usize = 128;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    pub publisher: Publisher,
    events: Option<mpsc::Receiver<BrokerEvent>>,
    pub status: watch::Receiver<BrokerStatus>,
    pub roster: Arc<Roster>,
    /// Access to the log for replays; `None` if messages are not kept outside this process.
    pub log: Option<Arc<ReplayConsumers>>,
    task: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

impl Broker {
    /// Starts the broker that `config` selects, on the current runtime. RabbitMQ need not be reachable.
    pub fn start(config: &Config, reporter: &Arc<Reporter>, tracer: &Tracer) -> Self {
        let (publisher, accepted) = publisher::channel(config, reporter);
        let (event_tx, events) = mpsc::channel(EVENT_CAPACITY);
        let (status_tx, status) = watch::channel(BrokerStatus::default());
        let (closing, closing_rx) = watch::channel(false);
        let roster = Arc::new(Roster::new(&config.replica.0, config.canary_interval));
        let ports = BrokerPorts {
            accepted,
            events: event_tx,
            status: status_tx,
            roster: roster.clone(),
            reporter: reporter.clone(),
            tracer: tracer.clone(),
            closing: closing_rx,
        };
        let (log, task) = match &config.amqp_url {
            Some(urls) => rabbitmq::start(ports, config, urls),
            None => (None, tokio::spawn(embedded::run(ports))),
        };
        Self { publisher, events: Some(events), status, roster, log, task, closing }
    }

    /// Receiver for the messages of all replicas, including this one. Only the first call returns it;
    /// later calls return a closed receiver.
    pub fn take_events(&mut self) -> mpsc::Receiver<BrokerEvent> {
        self.events.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Resolves when the broker's task exits without [`Broker::close`], which only a bug can cause.
    pub async fn exited(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// Closes the broker after every accepted message has been confirmed or refused. The receiver of
    /// events must have been dropped before.
    pub async fn close(self) {
        let _ = self.closing.send(true);
        let _ = self.task.await;
    }
}
