//! Reading `live`: from a queue that lives as long as its reader.

use crate::BrokerEvent;
use crate::rabbitmq::connection::SET_UP_TIMEOUT;
use crate::rabbitmq::consume::delivery_handler::DeliveryHandler;
use crate::rabbitmq::entry::EntryReader;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::stream::PREFETCH;
use crate::rabbitmq::topology::Topology;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Deliveries acknowledged at once; each on its own costs a third of the rate.
const ACK_EVERY: u64 = 50;
/// The longest that a delivery waits for its acknowledgement when few come.
const ACK_AFTER: Duration = Duration::from_millis(200);

pub(crate) struct Live {
    pub(crate) topology: Topology,
    pub(crate) entries: EntryReader,
}

impl Live {
    /// Declares, binds and reads, until something ends it.
    pub(crate) async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
    ) -> Result<(), SessionError> {
        let opening = self.open(connection);
        let (channel, mut consumer) = timeout(SET_UP_TIMEOUT, opening).await??;
        handler.reading();
        // Whoever is connected may have missed something, be it the first session or not.
        handler.deliver(BrokerEvent::Gap).await;

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
            let delivery = delivery.ok_or(SessionError::Cancelled)??;
            last_tag = delivery.delivery_tag;
            unacknowledged += 1;
            let entry = self.entries.read(&delivery, None, None);
            handler.take(entry, &delivery, false).await;
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

/// Acknowledges everything up to `tag`.
async fn acknowledge(channel: &Channel, tag: u64) -> lapin::Result<()> {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
}
