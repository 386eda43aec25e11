//! Delivery mode `live`: reads from an exclusive queue, which exists as long as its consumer.

use crate::ports::BrokerEvent;
use crate::rabbitmq::connection::SET_UP_TIMEOUT;
use crate::rabbitmq::consume::delivery_handler::{DeliverAs, DeliveryHandler};
use crate::rabbitmq::consume::entry::EntryReader;
use crate::rabbitmq::consume::stream::PREFETCH;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::topology::Topology;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Deliveries that are acknowledged together. Acknowledging each separately reduces the rate by a third.
const ACK_EVERY: u64 = 50;
/// Longest time before a delivery is acknowledged when few arrive.
const ACK_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct LiveSource {
    pub(crate) topology: Topology,
    pub(crate) entries: EntryReader,
}

impl LiveSource {
    /// Declares and binds a queue, and reads until the session fails.
    pub(crate) async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
    ) -> Result<Infallible, SessionError> {
        let opening = self.open(connection);
        let (channel, mut consumer) = timeout(SET_UP_TIMEOUT, opening).await??;
        handler.mark_consuming();
        // Connected clients may have missed messages, even before the first session.
        handler.send(BrokerEvent::Gap).await;

        let mut unacknowledged = 0;
        let mut last_tag = 0;
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = consumer.next() => delivery,
                () = sleep(ACK_INTERVAL), if unacknowledged > 0 => {
                    acknowledge(&channel, last_tag).await?;
                    unacknowledged = 0;
                    continue;
                }
            };
            let delivery = delivery.ok_or(SessionError::Cancelled)??;
            last_tag = delivery.delivery_tag;
            unacknowledged += 1;
            let entry = self.entries.read_live(&delivery);
            handler.handle(entry, &delivery, DeliverAs::Message).await;
            if unacknowledged == ACK_EVERY {
                acknowledge(&channel, last_tag).await?;
                unacknowledged = 0;
            }
        }
    }

    async fn open(&self, connection: &Connection) -> Result<(Channel, Consumer), SessionError> {
        let channel = self.topology.declare(connection).await?;
        let queue = self.topology.declare_queue(&channel).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(queue.into(), "".into(), options, none).await?;
        Ok((channel, consumer))
    }
}

/// Acknowledges all deliveries up to `tag`.
async fn acknowledge(channel: &Channel, tag: u64) -> lapin::Result<()> {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
}
