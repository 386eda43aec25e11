//! The writing side: publishes what was accepted, with confirmations, over and over until it is out.

use crate::publisher::PublishReceiver;
use crate::rabbitmq::connection::{self, Connector, SET_UP_TIMEOUT};
use crate::rabbitmq::control::{self, KEY, MESSAGE, REPEATED, REPLICA};
use crate::rabbitmq::entry;
use crate::rabbitmq::publish::queue::{BrokerAnswer, Ids, PendingPublish, PublishQueue};
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::shared_state::SharedState;
use crate::rabbitmq::topology::Topology;
use crate::{Roster, raised};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use warren_config::{Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText, TraceField};
use warren_observe::traces::Messaging;
use warren_protocol::trace_context;

/// Messages published and not yet confirmed.
const WINDOW: usize = 1000;
/// How long the farewell may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(crate) struct Publisher {
    pub(crate) connector: Connector,
    pub(crate) shared: Arc<SharedState>,
    pub(crate) config: Config,
    pub(crate) roster: Arc<Roster>,
    pub(crate) messaging: Messaging,
    pub(crate) control: mpsc::Receiver<control::Canary>,
    pub(crate) inputs: PublisherInputs,
}

/// Where accepted messages come from, and news of them.
pub(crate) struct PublisherInputs {
    pub(crate) submissions: PublishReceiver,
    /// Our own messages that came back from the log.
    pub(crate) read_backs: mpsc::UnboundedReceiver<ReadBack>,
    pub(crate) closing: watch::Receiver<bool>,
}

/// A message of ours, by its number, and the id under which clients get it.
pub(crate) type ReadBack = (u64, Option<Arc<str>>);

impl Publisher {
    /// Publishes until it is to close and everything accepted was answered for.
    pub(crate) async fn run(&mut self) {
        let log = self.config.delivery == DeliveryMode::Log;
        let ids = if log { Ids::Log } else { Ids::Publisher };
        let mut queue = PublishQueue::new(&self.shared.origin, ids, &self.messaging);
        let topology = Topology::new(&self.config, &self.shared.reporter);
        loop {
            let mut rebuilds = self.shared.rebuilds();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = self.inputs.tend(&mut queue) => return,
            };
            let opened = tokio::select! {
                opened = open(&connection, &topology) => opened,
                () = self.inputs.tend(&mut queue) => Err(SessionError::Done),
            };
            let ended = match opened {
                Err(ended) => ended,
                Ok(channel) => tokio::select! {
                    Err(ended) = self.session(&connection, channel, &mut queue) => ended,
                    _ = rebuilds.changed() => SessionError::Rebuild,
                },
            };
            queue.disconnected();
            let problem = ended.to_string();
            self.shared.update(|status| {
                status.publishing = false;
                status.blocked = false;
                status.problem = Some(problem.into());
            });
            if matches!(ended, SessionError::Done) {
                connection::close(connection).await;
                return;
            }
            self.shared
                .reporter
                .emit(Event::PublishingStopped { problem: SanitizedText::of(&ended) });
            if ended.topology_is_gone() {
                self.shared.rebuild();
            }
            tokio::select! {
                () = async {
                    connection::close(connection).await;
                    self.connector.pause().await;
                } => {}
                () = self.inputs.tend(&mut queue) => return,
            }
        }
    }

    async fn session(
        &mut self,
        connection: &Connection,
        channel: Channel,
        queue: &mut PublishQueue,
    ) -> Result<(), SessionError> {
        let mut events = connection.events_listener();
        self.connector.succeeded();
        self.shared.update(|status| {
            status.publishing = true;
            if status.consuming {
                status.problem = None;
            }
        });
        let exchange = SanitizedText::of(&self.config.exchange.0);
        self.shared.reporter.emit(Event::PublishingStarted { exchange });

        let log = self.config.delivery == DeliveryMode::Log;
        let mut status = self.shared.watch();
        // In the order in which they come. Messages by their number; what has none is for replicas.
        let mut confirms = FuturesUnordered::new();
        let mut controls = 0;
        // When to wait no longer for the others to hear that this replica leaves.
        let mut goodbye: Option<Instant> = None;
        loop {
            let open = {
                let status = status.borrow_and_update();
                // What a live replica does not hear would be confirmed and yet missing here.
                (log || status.consuming) && !status.blocked
            };
            while open && queue.unconfirmed() < WINDOW {
                let Some(pending) = queue.next() else { break };
                let number = Some(pending.number);
                confirms.push(publish(channel.clone(), number, self.message_of(pending)));
            }
            let closing = *self.inputs.closing.borrow();
            if closing && queue.is_empty() && self.inputs.submissions.is_empty() {
                let announced = !self.config.canary_interval.is_zero();
                if announced && open && goodbye.is_none() {
                    goodbye = Some(Instant::now() + GOODBYE);
                    controls += 1;
                    confirms.push(publish(channel.clone(), None, self.farewell()));
                } else if controls == 0 || !open {
                    // A canary is no promise: one that an alarm holds back is not waited for.
                    return Err(SessionError::Done);
                }
            }
            tokio::select! {
                biased;
                Some((number, confirmation)) = confirms.next() => {
                    let confirmation = confirmation?;
                    let taken = !matches!(confirmation, Confirmation::Nack(_));
                    // lapin hands it to the first that is confirmed with it, whichever that is: nobody
                    // whose turn comes later may be taken for confirmed.
                    if let Some(returned) = confirmation.take_message() && goodbye.is_none() {
                        self.returned(&returned.delivery);
                        return Err(SessionError::Unroutable);
                    }
                    if let Some(number) = number {
                        let answer = if taken { BrokerAnswer::Confirmed } else { BrokerAnswer::Refused };
                        queue.answer(number, answer);
                    } else {
                        controls -= 1;
                        self.shared.taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
                () = until(goodbye) => return Err(SessionError::Done),
                Some((number, id)) = self.inputs.read_backs.recv() => queue.read_back(number, id),
                Some(submission) = self.inputs.submissions.recv() => queue.push(submission),
                Some(canary) = self.control.recv(), if open && controls < 4 => {
                    controls += 1;
                    confirms.push(publish(channel.clone(), None, self.announcement(&canary)));
                }
                Some(event) = events.next() => self.shared.hear(event)?,
                () = until(queue.deadline()) => queue.expire(Instant::now()),
                Ok(()) = status.changed() => {}
                () = raised(&mut self.inputs.closing), if !closing => self.inputs.submissions.close(),
            }
        }
    }
}

/// A message as AMQP has it.
struct AmqpMessage {
    exchange: String,
    routing_key: String,
    properties: BasicProperties,
    body: Vec<u8>,
}

impl Publisher {
    fn message_of(&self, pending: PendingPublish) -> AmqpMessage {
        let mut headers = FieldTable::default();
        let mut header = |name: &str, value: String| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        if let Some(context) = &pending.trace {
            header(trace_context::TRACEPARENT, trace_context::traceparent(context));
            if let Some(state) = trace_context::tracestate(context) {
                header(trace_context::TRACESTATE, state);
            }
        }
        if let Some(key) = &pending.key {
            header(KEY, key.as_str().to_owned());
        }
        if pending.repeated {
            header(REPEATED, "1".to_owned());
        }
        let properties = self
            .properties(MESSAGE)
            .with_headers(headers)
            .with_message_id(pending.message_id.as_str().into());
        AmqpMessage {
            exchange: self.config.exchange.0.clone(),
            routing_key: pending.routing_key,
            properties,
            body: pending.body,
        }
    }

    /// Tells of a message that nobody is bound to take.
    fn returned(&self, delivery: &Delivered) {
        if control::Kind::of(&delivery.properties) == control::Kind::ForClients {
            let trace_id = TraceField::of(entry::trace(delivery).as_ref());
            self.shared.reporter.emit(Event::MessageReturned { trace_id });
        }
    }

    fn announcement(&self, canary: &control::Canary) -> AmqpMessage {
        AmqpMessage {
            exchange: self.config.exchange.0.clone(),
            routing_key: String::new(),
            properties: self.properties(REPLICA),
            body: serde_json::to_vec(canary).unwrap_or_default(),
        }
    }

    /// Takes this replica off the others' rosters.
    fn farewell(&self) -> AmqpMessage {
        self.announcement(&control::Canary {
            peer: self.roster.own(),
            instance: 0,
            sequence: 0,
            leaving: true,
        })
    }

    fn properties(&self, kind: &str) -> BasicProperties {
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_app_id(self.config.replica.0.as_str().into())
            .with_type(kind.into())
            .with_timestamp(self.shared.clock.now())
    }
}

/// Makes a new connection ready for publishing.
async fn open(connection: &Connection, topology: &Topology) -> Result<Channel, SessionError> {
    timeout(SET_UP_TIMEOUT, async {
        let channel = topology.declare(connection).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    })
    .await?
}

/// Publishes when first polled; resolves to the broker's confirmation.
async fn publish(
    channel: Channel,
    number: Option<u64>,
    message_of: AmqpMessage,
) -> (Option<u64>, lapin::Result<Confirmation>) {
    let AmqpMessage { exchange, routing_key, properties, body } = message_of;
    // Returned if not even our own queue is bound, instead of confirmed and lost.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let publishing =
        channel.basic_publish(exchange.into(), routing_key.into(), options, &body, properties);
    let confirmation = match publishing.await {
        Ok(confirmation) => confirmation.await,
        Err(error) => Err(error),
    };
    (number, confirmation)
}

impl PublisherInputs {
    /// Accepts and expires messages while there is no connection. Returns once it is to close and
    /// everything accepted was answered for.
    async fn tend(&mut self, queue: &mut PublishQueue) {
        loop {
            let finishing = *self.closing.borrow();
            if finishing && queue.is_empty() && self.submissions.is_empty() {
                return;
            }
            tokio::select! {
                Some((number, id)) = self.read_backs.recv() => queue.read_back(number, id),
                Some(submission) = self.submissions.recv() => queue.push(submission),
                () = until(queue.deadline()) => queue.expire(Instant::now()),
                () = raised(&mut self.closing), if !finishing => self.submissions.close(),
            }
        }
    }
}

/// Sleeps to an instant, or for ever.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
