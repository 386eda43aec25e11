//! RabbitMQ: wiring of the publisher, the consumer, the replays and the canary.
//!
//! Publishing, consuming and replays have one connection each, because an alarm blocks connections that
//! publish. Every failure is handled in the same way: the session is dropped and built anew, including
//! the topology, until it works.

mod canary;
mod connection;
mod consume;
mod control;
mod message_ids;
mod properties;
mod publish;
mod replay;
mod session_error;
mod shared_state;
mod topology;

pub use replay::consumers::ReplayConsumers;

use crate::deduplicator::DEDUP_WINDOW;
use crate::ports::BrokerPorts;
use canary::Canary;
use connection::Connector;
use consume::consumer::{RabbitConsumer, Source};
use consume::delivery_handler::DeliveryHandler;
use consume::entry::EntryReader;
use consume::live::LiveSource;
use consume::log::{LogSource, ReadState};
use consume::log_identity::LogIdentity;
use consume::progress::Progress;
use publish::inputs::PublisherInputs;
use publish::publisher::RabbitPublisher;
use shared_state::SharedState;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use topology::Topology;
use warren_config::{AmqpUrls, Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::labels::ConnectionRole;
use warren_observe::traces::Messaging;

/// Limit of canaries that wait to be published, or of their returns that wait to be counted.
const CANARY_CAPACITY: usize = 4;
/// Seconds added to the window in which duplicates are searched, because clocks may differ.
const DEDUP_MARGIN: u64 = 30;

/// Starts all parts on the current runtime. Returns access to the log, if there is one, and the task that
/// exits when the broker is closed.
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
    connection::prepare_runtime();
    let shared =
        Arc::new(SharedState::new(ports.status, ports.reporter.clone(), &config.replica.0));
    let (canary_tx, canaries) = mpsc::channel(CANARY_CAPACITY);
    let (returned_tx, returned_canaries) = mpsc::channel(CANARY_CAPACITY);
    let (read_back_tx, read_backs) = mpsc::unbounded_channel();
    let connector = |role| Connector::new(urls, config, role, &shared);

    let topology = Topology::new(config, &ports.reporter);
    let messaging = Messaging::new(&ports.tracer, &config.exchange.0, topology.stream());
    let (replays, source) = match config.delivery {
        DeliveryMode::Live => (None, live_source(topology, config, &shared)),
        DeliveryMode::Log => {
            let connector = connector(ConnectionRole::Replay);
            let (replays, source) = log_source(topology, config, urls, &shared, connector);
            (Some(Arc::new(replays)), source)
        }
    };
    let consumer = RabbitConsumer {
        connector: connector(ConnectionRole::Consume),
        exchange: config.exchange.0.clone(),
        source,
        handler: DeliveryHandler {
            shared: shared.clone(),
            events: ports.events,
            returned_canaries: returned_tx,
            read_backs: read_back_tx,
            roster: ports.roster.clone(),
            messaging: messaging.clone(),
        },
    };
    let roster = ports.roster;
    let canary = Canary::new(config, shared.clone(), roster.clone(), canary_tx, returned_canaries);
    let publisher = RabbitPublisher {
        connector: connector(ConnectionRole::Publish),
        shared,
        config: config.clone(),
        roster,
        messaging,
        canaries,
        inputs: PublisherInputs { accepted: ports.accepted, read_backs, closing: ports.closing },
    };
    let task = tokio::spawn(run(consumer, canary, publisher, replays.clone()));
    (replays, task)
}

fn live_source(topology: Topology, config: &Config, shared: &SharedState) -> Source {
    let entries = EntryReader::live(config.max_message.0, &shared.clock, &config.replica.0);
    Source::Live(Box::new(LiveSource { topology, entries }))
}

fn log_source(
    topology: Topology,
    config: &Config,
    urls: &AmqpUrls,
    shared: &Arc<SharedState>,
    replay_connector: Connector,
) -> (ReplayConsumers, Source) {
    let max_message = config.max_message.0;
    let progress = Arc::new(Progress::new());
    // A message is not published again after its timeout.
    let window = DEDUP_WINDOW.max(config.publish_timeout.0.as_secs()) + DEDUP_MARGIN;
    let replays = ReplayConsumers::new(
        topology.stream(),
        replay_connector,
        progress.clone(),
        shared.clone(),
        window,
        max_message,
    );
    let log = LogSource {
        topology,
        entries: EntryReader::log(max_message, &shared.clock),
        progress,
        identity: LogIdentity::new(urls.0.len()),
        history_bytes: config.history_bytes.0 as u64,
        window,
        max_message,
        clock: shared.clock.clone(),
        has_canaries: !config.canary_interval.is_zero(),
        state: ReadState::default(),
    };
    (replays, Source::Log(Box::new(log)))
}

async fn run(
    consumer: RabbitConsumer,
    canary: Canary,
    mut publisher: RabbitPublisher,
    replays: Option<Arc<ReplayConsumers>>,
) {
    let (stop_tx, stop) = watch::channel(false);
    let mut consuming = tokio::spawn(consumer.run(stop));
    let mut canary = tokio::spawn(canary.run());
    let closing_idle = replays.map(|replays| tokio::spawn(replays.close_idle()));
    tokio::select! {
        () = publisher.run() => {}
        // Only a bug can make one of these exit; then the broker exits, too.
        _ = &mut consuming => return,
        _ = &mut canary => return,
    }
    // All accepted messages have an outcome, so nothing needs to be read back any more.
    canary.abort();
    if let Some(closing_idle) = closing_idle {
        closing_idle.abort();
    }
    let _ = stop_tx.send(true);
    let _ = consuming.await;
}
