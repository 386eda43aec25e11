//! The bond between replicas: messages go in at one, and come out at all.
//!
//! Two implementations behind one interface of two channels: submissions in, deliveries out.
//! `rabbitmq` is the real one, and the only code that knows lapin; `embedded` joins the clients of
//! this process alone. Neither knows clients, frames or actix.

mod deduplicator;
mod embedded;
mod log_page;
mod publisher;
mod rabbitmq;
mod roster;
mod slewed_clock;

pub use log_page::{LogError, LogPage, PAGE_LEN};
pub use publisher::{PublishAck, PublishRequest, Publisher};
pub use rabbitmq::ReplayConsumers;
pub use roster::{Peer, Roster};

use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::reporter::Reporter;
use warren_observe::traces::Tracer;
use warren_protocol::message::Message;

/// Deliveries that may wait between the broker and the workers.
const DELIVERIES: usize = 128;

/// What comes out of the broker.
#[derive(Debug)]
pub enum BrokerEvent {
    Message(Message),
    /// It was said before this replica began: for the memory, and for nobody who is connected.
    Backfill(Message),
    /// Messages may be missing between what came before and what follows.
    Gap,
    /// From this position on nothing is missing, and nothing before it is of the same order.
    EpochStart(u64),
}

/// How far the log has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Which log it is: another number when it was deleted and made anew.
    pub epoch: u64,
    /// Position of the last entry.
    pub position: u64,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    pub publisher: Publisher,
    deliveries: Option<mpsc::Receiver<BrokerEvent>>,
    pub status: watch::Receiver<BrokerStatus>,
    pub roster: Arc<Roster>,
    /// What was said before, where that is kept outside this process.
    pub log: Option<Arc<ReplayConsumers>>,
    task: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

/// What an implementation is given to work with.
struct BrokerPorts {
    submissions: publisher::PublishReceiver,
    deliveries: mpsc::Sender<BrokerEvent>,
    status: watch::Sender<BrokerStatus>,
    roster: Arc<Roster>,
    reporter: Arc<Reporter>,
    tracer: Tracer,
    /// Turns true when what was accepted is to be finished and nothing more will come.
    closing: watch::Receiver<bool>,
}

impl Broker {
    /// Starts the broker that `config` asks for, on the current runtime. It needs no broker to be up.
    pub fn start(config: &Config, reporter: &Arc<Reporter>, tracer: &Tracer) -> Self {
        let (publisher, submissions) = publisher::channel(config, reporter);
        let (delivery_tx, deliveries) = mpsc::channel(DELIVERIES);
        let (status_tx, status) = watch::channel(BrokerStatus::default());
        let (closing, closing_rx) = watch::channel(false);
        let roster = Arc::new(Roster::new(&config.replica.0, config.canary_interval));
        let ports = BrokerPorts {
            submissions,
            deliveries: delivery_tx,
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
        Self { publisher, deliveries: Some(deliveries), status, roster, log, task, closing }
    }

    /// Every message of every replica, this one included. To be taken once; it is empty afterwards.
    pub fn take_deliveries(&mut self) -> mpsc::Receiver<BrokerEvent> {
        self.deliveries.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Resolves if the broker ends by itself, which only a fault in it can bring about.
    pub async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// Finishes: all that was accepted is confirmed or refused first. Nobody has to take deliveries
    /// any more, but whoever holds them must have dropped them.
    pub async fn close(self) {
        let _ = self.closing.send(true);
        let _ = self.task.await;
    }
}

/// Resolves once a flag is raised, or can no longer be.
async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
