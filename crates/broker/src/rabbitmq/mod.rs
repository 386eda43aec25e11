//! RabbitMQ: a fanout exchange, and a stream that all replicas read, or for each a queue of its own.
//!
//! Publishing and consuming have a connection each, since an alarm of the broker blocks the former.
//! Whatever goes wrong on either ends in the same way: its session is dropped and built anew, topology
//! included, for as long as it takes. `shared` is what the parts tell each other, and `canary` proves
//! that the whole works. `entry` says what a message on the exchange is; `log` and `live` read them for
//! everybody, `readers` again for clients that come back.

mod canary;
mod connection;
mod consume;
mod content_ids;
mod control;
mod entry;
mod message_ids;
mod progress;
mod publish;
mod replay;
mod session_error;
mod shared_state;
mod stream;
mod topology;

pub use replay::ReplayConsumers;

use super::BrokerPorts;
use super::deduplicator::WINDOW;
use canary::Canary;
use connection::Connector;
use consume::consumer::{Consumer, Source};
use consume::delivery_handler::DeliveryHandler;
use consume::live::Live;
use consume::log::{self, Log};
use entry::EntryReader;
use progress::Progress;
use publish::publisher::{Publisher, PublisherInputs};
use shared_state::SharedState;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use topology::Topology;
use warren_config::{AmqpUrls, Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::labels::ConnectionRole;
use warren_observe::traces::Messaging;

/// Control messages that may wait to be published.
const CONTROL: usize = 4;
/// Seconds by which clocks may differ.
const CLOCKS: u64 = 30;

/// Starts all of it on the current runtime; the log to be read again, if there is one, and the task
/// that ends when everything is finished.
pub(crate) fn start(
    ports: BrokerPorts,
    config: &Config,
    urls: &AmqpUrls,
) -> (Option<Arc<ReplayConsumers>>, JoinHandle<()>) {
    let nodes: Vec<_> = urls.0.iter().map(ToString::to_string).collect();
    ports.reporter.emit(Event::Connecting {
        nodes: SanitizedText::of(nodes.join(",")),
        exchange: SanitizedText::of(&config.exchange.0),
    });
    connection::prepare();
    let shared =
        Arc::new(SharedState::new(ports.status, ports.reporter.clone(), &config.replica.0));
    let (control_tx, control) = mpsc::channel(CONTROL);
    let (heard_tx, heard) = mpsc::channel(CONTROL);
    let (echo_tx, read_backs) = mpsc::unbounded_channel();
    let connector = |role| Connector::new(urls, config, role, &shared);

    let topology = Topology::new(config, &ports.reporter);
    let messaging = Messaging::new(&ports.tracer, &config.exchange.0, topology.stream());
    let max_message = config.max_message.0;
    let (readers, source) = match config.delivery {
        DeliveryMode::Live => {
            let entries = EntryReader::live(max_message, &shared.clock, &config.replica.0);
            (None, Source::Live(Box::new(Live { topology, entries })))
        }
        DeliveryMode::Log => {
            let progress = Arc::new(Progress::new());
            // A message that timed out is not published again.
            let window = WINDOW.max(config.publish_timeout.0.as_secs()) + CLOCKS;
            let readers = ReplayConsumers::new(
                topology.stream(),
                connector(ConnectionRole::Replay),
                progress.clone(),
                shared.clone(),
                window,
                max_message,
            );
            let log = Log {
                topology,
                entries: EntryReader::log(max_message, &shared.clock),
                progress,
                memory: config.history_bytes.0 as u64,
                window,
                max_message,
                clock: shared.clock.clone(),
                proven: !config.canary_interval.is_zero(),
                nodes: urls.0.len(),
                marks: VecDeque::new(),
                state: log::State::default(),
            };
            (Some(Arc::new(readers)), Source::Log(Box::new(log)))
        }
    };
    let consumer = Consumer {
        connector: connector(ConnectionRole::Consume),
        exchange: config.exchange.0.clone(),
        source,
        handler: DeliveryHandler {
            shared: shared.clone(),
            deliveries: ports.deliveries,
            heard: heard_tx,
            read_backs: echo_tx,
            roster: ports.roster.clone(),
            messaging: messaging.clone(),
        },
    };
    let canary = Canary::new(config, shared.clone(), ports.roster.clone(), control_tx, heard);
    let publisher = Publisher {
        connector: connector(ConnectionRole::Publish),
        shared,
        config: config.clone(),
        roster: ports.roster,
        messaging,
        control,
        inputs: PublisherInputs {
            submissions: ports.submissions,
            read_backs,
            closing: ports.closing,
        },
    };
    let task = tokio::spawn(run(consumer, canary, publisher, readers.clone()));
    (readers, task)
}

async fn run(
    consumer: Consumer,
    canary: Canary,
    mut publisher: Publisher,
    readers: Option<Arc<ReplayConsumers>>,
) {
    let (finish, finished) = watch::channel(false);
    let mut consuming = tokio::spawn(consumer.run(finished));
    let mut proving = tokio::spawn(canary.run());
    let sweeping = readers.map(|readers| tokio::spawn(readers.sweep()));
    tokio::select! {
        () = publisher.run() => {}
        // Neither ends by itself, unless there is a fault in it; then all is to end.
        _ = &mut consuming => return,
        _ = &mut proving => return,
    }
    // What was accepted is settled, so nothing needs to be heard any more.
    proving.abort();
    if let Some(sweeping) = sweeping {
        sweeping.abort();
    }
    let _ = finish.send(true);
    let _ = consuming.await;
}
