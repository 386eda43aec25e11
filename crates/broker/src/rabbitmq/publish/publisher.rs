//! Publishes accepted messages with publisher confirms, in one session after the other, until each is
//! confirmed or has timed out.

use crate::ports::wait_until_set;
use crate::rabbitmq::connection::{self, Connector, SET_UP_TIMEOUT};
use crate::rabbitmq::control::{CanaryMessage, MessageType};
use crate::rabbitmq::properties;
use crate::rabbitmq::publish::amqp_message::{AmqpEncoder, AmqpMessage};
use crate::rabbitmq::publish::inputs::{PublisherInputs, sleep_until_some};
use crate::rabbitmq::publish::queue::{Confirm, IdSource, PublishQueue};
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::shared_state::SharedState;
use crate::rabbitmq::topology::Topology;
use crate::roster::Roster;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use warren_config::{Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText, TraceField};
use warren_observe::traces::Messaging;

/// Limit of messages that are published and not yet confirmed.
const CONFIRM_WINDOW: usize = 1000;
/// Limit of control messages that are published and not yet confirmed.
const MAX_CONTROLS: usize = 4;
/// Time limit for the confirm of the last canary.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// The publishing side of a replica.
pub(crate) struct RabbitPublisher {
    pub(crate) connector: Connector,
    pub(crate) shared: Arc<SharedState>,
    pub(crate) config: Config,
    pub(crate) roster: Arc<Roster>,
    pub(crate) messaging: Messaging,
    pub(crate) canaries: mpsc::Receiver<CanaryMessage>,
    pub(crate) inputs: PublisherInputs,
}

impl RabbitPublisher {
    /// Publishes until the broker closes and every accepted message has an outcome.
    pub(crate) async fn run(&mut self) {
        let id_source = match self.config.delivery {
            DeliveryMode::Log => IdSource::Log,
            DeliveryMode::Live => IdSource::Publisher,
        };
        let encoder = self.encoder();
        let mut queue = PublishQueue::new(&self.shared.origin, id_source, &self.messaging, encoder);
        let topology = Topology::new(&self.config, &self.shared.reporter);
        loop {
            let mut rebuild_requests = self.shared.rebuild_requests();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = self.inputs.serve_disconnected(&mut queue) => return,
            };
            let opened = tokio::select! {
                opened = open(&connection, &topology) => opened,
                () = self.inputs.serve_disconnected(&mut queue) => Err(SessionError::Closed),
            };
            let error = match opened {
                Err(error) => error,
                Ok(channel) => tokio::select! {
                    Err(error) = self.session(&connection, channel, &mut queue) => error,
                    _ = rebuild_requests.changed() => SessionError::Rebuild,
                },
            };
            queue.disconnected();
            let problem = error.to_string();
            self.shared.update_status(|status| {
                status.publishing = false;
                status.blocked = false;
                status.problem = Some(problem.into());
            });
            if matches!(error, SessionError::Closed) {
                connection::close(connection).await;
                return;
            }
            let problem = SanitizedText::of(&error);
            self.shared.reporter.emit(Event::PublishingStopped { problem });
            if error.is_topology_gone() {
                self.shared.request_rebuild();
            }
            tokio::select! {
                () = async {
                    connection::close(connection).await;
                    self.connector.pause().await;
                } => {}
                () = self.inputs.serve_disconnected(&mut queue) => return,
            }
        }
    }

    async fn session(
        &mut self,
        connection: &Connection,
        channel: Channel,
        queue: &mut PublishQueue,
    ) -> Result<Infallible, SessionError> {
        let mut connection_events = connection.events_listener();
        self.connector.reset_pause();
        self.shared.update_status(|status| {
            status.publishing = true;
            if status.consuming {
                status.problem = None;
            }
        });
        let exchange = SanitizedText::of(&self.config.exchange.0);
        self.shared.reporter.emit(Event::PublishingStarted { exchange });

        let encoder = self.encoder();
        let exchange = self.config.exchange.0.clone();
        let send = |number, message| publish(channel.clone(), exchange.clone(), number, message);
        let mut status = self.shared.watch_status();
        // Confirms in the order of their arrival, with the message's number, or `None` for a control
        // message.
        let mut confirms = FuturesUnordered::new();
        let mut unconfirmed_controls = 0;
        // Set once the last canary is published, which removes this replica from the other rosters.
        let mut farewell_deadline: Option<Instant> = None;
        loop {
            let may_publish = {
                let status = status.borrow_and_update();
                // With `live`, a message published while this replica does not consume would be
                // confirmed, but never reach its own subscribers.
                (self.config.delivery == DeliveryMode::Log || status.consuming) && !status.blocked
            };
            while may_publish && queue.in_flight() < CONFIRM_WINDOW {
                let Some((number, message)) = queue.next() else { break };
                confirms.push(send(Some(number), message));
            }
            let closing = self.inputs.is_closing();
            if closing && self.inputs.all_settled(queue) {
                let sends_canaries = !self.config.canary_interval.is_zero();
                if sends_canaries && may_publish && farewell_deadline.is_none() {
                    farewell_deadline = Some(Instant::now() + FAREWELL_TIMEOUT);
                    unconfirmed_controls += 1;
                    confirms.push(send(None, encoder.canary(&self.farewell())));
                } else if unconfirmed_controls == 0 || !may_publish {
                    // Nobody relies on canaries, so an alarm that delays one does not delay the end.
                    return Err(SessionError::Closed);
                }
            }
            tokio::select! {
                biased;
                Some((number, confirmation)) = confirms.next() => {
                    let confirmation = confirmation?;
                    let confirm = match confirmation {
                        Confirmation::Nack(_) => Confirm::Nack,
                        _ => Confirm::Ack,
                    };
                    // lapin attaches a returned message to whichever confirm comes first, not to its own.
                    // Therefore no later confirm of this session can be trusted.
                    if let Some(returned) = confirmation.take_message()
                        && farewell_deadline.is_none()
                    {
                        self.report_returned(&returned.delivery);
                        return Err(SessionError::Unroutable);
                    }
                    if let Some(number) = number {
                        queue.confirm(number, confirm);
                    } else {
                        unconfirmed_controls -= 1;
                        self.shared.controls_confirmed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                () = sleep_until_some(farewell_deadline) => return Err(SessionError::Closed),
                Some(read_back) = self.inputs.read_backs.recv() => queue.read_back(read_back),
                Some(publish) = self.inputs.accepted.recv() => queue.push(publish),
                Some(canary) = self.canaries.recv(),
                    if may_publish && unconfirmed_controls < MAX_CONTROLS =>
                {
                    unconfirmed_controls += 1;
                    confirms.push(send(None, encoder.canary(&canary)));
                }
                Some(event) = connection_events.next() => {
                    self.shared.handle_connection_event(event)?;
                }
                () = sleep_until_some(queue.next_deadline()) => queue.expire(Instant::now()),
                Ok(()) = status.changed() => {}
                () = wait_until_set(&mut self.inputs.closing), if !closing => {
                    self.inputs.accepted.close();
                }
            }
        }
    }

    fn encoder(&self) -> AmqpEncoder {
        AmqpEncoder { replica: self.config.replica.0.clone(), clock: self.shared.clock.clone() }
    }

    /// The last canary.
    fn farewell(&self) -> CanaryMessage {
        CanaryMessage { peer: self.roster.own(), instance: 0, sequence: 0, leaving: true }
    }

    fn report_returned(&self, delivery: &Delivery) {
        if MessageType::of(&delivery.properties) == MessageType::ForClients {
            let trace_id = TraceField::of(properties::trace(delivery).as_ref());
            self.shared.reporter.emit(Event::MessageReturned { trace_id });
        }
    }
}

/// Declares the topology and opens a channel with publisher confirms.
async fn open(connection: &Connection, topology: &Topology) -> Result<Channel, SessionError> {
    timeout(SET_UP_TIMEOUT, async {
        let channel = topology.declare(connection).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    })
    .await?
}

/// Publishes a message when first polled. Resolves to RabbitMQ's confirm.
async fn publish(
    channel: Channel,
    exchange: String,
    number: Option<u64>,
    message: AmqpMessage,
) -> (Option<u64>, lapin::Result<Confirmation>) {
    let AmqpMessage { routing_key, properties, body } = message;
    // Without `mandatory`, a message would be confirmed and lost if no queue is bound.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let publishing =
        channel.basic_publish(exchange.into(), routing_key.into(), options, &body, properties);
    let confirmation = match publishing.await {
        Ok(confirmation) => confirmation.await,
        Err(error) => Err(error),
    };
    (number, confirmation)
}
