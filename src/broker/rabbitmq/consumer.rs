//! The reading side: a queue of its own, read in batches, rebuilt whenever it ends.

use super::connection::{self, Connector, SET_UP_TIMEOUT};
use super::control::{self, Kind};
use super::ended::Ended;
use super::link::Link;
use super::recent::{Names, Recent};
use super::topology;
use crate::broker::body::{self, Malformed, Properties};
use crate::broker::publisher::now;
use crate::broker::{Delivery, Roster, raised};
use crate::burst::Burst;
use crate::config::Config;
use futures_util::StreamExt;
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer as AmqpConsumer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Messages in flight from the broker.
const PREFETCH: u16 = 500;
/// Deliveries acknowledged at once; each on its own costs a third of the rate.
const ACK_EVERY: u64 = 50;
/// The longest that a delivery waits for its acknowledgement when few come.
const ACK_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Consumer {
    pub(super) connector: Connector,
    pub(super) link: Arc<Link>,
    pub(super) config: Config,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    /// Told of our own canaries.
    pub(super) heard: mpsc::Sender<()>,
    pub(super) roster: Arc<Roster>,
}

/// What lasts from session to session.
struct Reading {
    recent: Recent,
    malformed: Burst<Malformed>,
    /// For messages that came without an id.
    names: Names,
}

impl Consumer {
    /// Reads until it is finished with.
    pub(super) async fn run(mut self, mut finished: watch::Receiver<bool>) {
        let mut reading = Reading {
            recent: Recent::default(),
            malformed: Burst::default(),
            names: Names::new(&self.config.replica.0),
        };
        loop {
            // Asked for before connecting, so that no request is missed.
            let mut rebuilds = self.link.rebuilds();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = raised(&mut finished) => return,
            };
            let ended = tokio::select! {
                ended = self.session(&connection, &mut reading) => ended,
                _ = rebuilds.changed() => Err(Ended::Rebuild),
                () = raised(&mut finished) => return connection::close(connection).await,
            };
            let problem = ended.err().map(|ended| ended.to_string());
            self.link.update(|status| {
                status.consuming = false;
                status.problem = problem.as_deref().map(Into::into);
            });
            warn!(problem, "no longer reading from RabbitMQ");
            tokio::select! {
                () = async {
                    connection::close(connection).await;
                    self.connector.failed().await;
                } => {}
                () = raised(&mut finished) => return,
            }
        }
    }

    /// Declares, binds and reads, until something ends it.
    async fn session(
        &mut self,
        connection: &Connection,
        reading: &mut Reading,
    ) -> Result<(), Ended> {
        let opening = open(connection, &self.config.exchange.0);
        let (channel, mut consumer) = timeout(SET_UP_TIMEOUT, opening).await??;
        self.connector.succeeded();
        self.link.update(|status| {
            status.consuming = true;
            status.problem = None;
        });
        info!(exchange = self.config.exchange.0, "reading from RabbitMQ");
        // Whoever is connected may have missed something, be it the first session or not.
        let _ = self.deliveries.send(Delivery::Gap).await;

        let mut unacknowledged = 0;
        let mut last_tag = 0;
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = consumer.next() => delivery,
                () = sleep(ACK_AFTER), if unacknowledged > 0 => {
                    acknowledge(&channel, last_tag).await?;
                    unacknowledged = 0;
                    continue;
                }
            };
            let delivery = delivery.ok_or(Ended::Cancelled)??;
            last_tag = delivery.delivery_tag;
            unacknowledged += 1;
            self.deliver(delivery, reading).await;
            if unacknowledged == ACK_EVERY {
                acknowledge(&channel, last_tag).await?;
                unacknowledged = 0;
            }
        }
    }

    /// Hands one message on, or says why not. Nothing that comes from the exchange ends a session.
    async fn deliver(&self, delivery: AmqpDelivery, reading: &mut Reading) {
        self.link.metrics.consumed();
        let malformed = match Kind::of(&delivery.properties) {
            Kind::ForClients => match self.decode(&delivery, reading) {
                Ok(message) => {
                    let repeated = delivery
                        .properties
                        .headers()
                        .as_ref()
                        .is_some_and(|headers| headers.inner().contains_key(control::REPEATED));
                    if reading.recent.insert(&message.id) || !repeated {
                        let _ = self.deliveries.send(Delivery::Message(message)).await;
                    }
                    return;
                }
                Err(malformed) => malformed,
            },
            Kind::Canary => match serde_json::from_slice::<control::Canary>(&delivery.data) {
                Ok(canary) => return self.canary(canary),
                Err(_) => Malformed::Control,
            },
            Kind::UnknownControl => Malformed::Control,
        };
        self.link.metrics.malformed(malformed.label());
        if let Some(count) = reading.malformed.count(malformed) {
            warn!(count, reason = %malformed, "messages on the exchange that cannot be delivered");
        }
    }

    fn decode(
        &self,
        delivery: &AmqpDelivery,
        reading: &mut Reading,
    ) -> Result<crate::message::Message, Malformed> {
        let properties = Properties {
            routing_key: delivery.routing_key.as_str(),
            message_id: delivery.properties.message_id().as_ref().map(|id| id.as_str()),
            timestamp: *delivery.properties.timestamp(),
        };
        body::decode(&delivery.data, properties, self.config.max_message.0, now, |dated| {
            reading.names.name(dated, properties.routing_key, &delivery.data)
        })
    }

    fn canary(&self, canary: control::Canary) {
        if canary.instance == self.link.instance {
            // If some wait already, one more says nothing new.
            let _ = self.heard.try_send(());
        }
        if canary.leaving {
            self.roster.left(&canary.peer.name);
        } else {
            self.roster.heard(canary.peer);
        }
    }
}

/// Declares, binds, and begins to read.
async fn open(connection: &Connection, exchange: &str) -> Result<(Channel, AmqpConsumer), Ended> {
    let channel = connection.create_channel().await?;
    topology::declare_exchange(&channel, exchange).await?;
    let queue = topology::declare_queue(&channel, exchange).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    Ok((channel, consumer))
}

/// Acknowledges everything up to `tag`.
async fn acknowledge(channel: &Channel, tag: u64) -> lapin::Result<()> {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
}
