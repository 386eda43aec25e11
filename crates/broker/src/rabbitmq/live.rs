//! Reading `live`: from a queue that lives as long as its reader.

use super::connection::SET_UP_TIMEOUT;
use super::ended::Ended;
use super::entry::Entries;
use super::reception::Reception;
use super::stream::PREFETCH;
use super::topology::Topology;
use crate::BrokerEvent;
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

pub(super) struct Live {
    pub(super) topology: Topology,
    pub(super) entries: Entries,
}

impl Live {
    /// Declares, binds and reads, until something ends it.
    pub(super) async fn session(
        &mut self,
        connection: &Connection,
        reception: &mut Reception,
    ) -> Result<(), Ended> {
        let opening = self.open(connection);
        let (channel, mut consumer) = timeout(SET_UP_TIMEOUT, opening).await??;
        reception.reading();
        // Whoever is connected may have missed something, be it the first session or not.
        reception.deliver(BrokerEvent::Gap).await;

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
            let entry = self.entries.read(&delivery, None, None);
            reception.take(entry, &delivery, false).await;
            if unacknowledged == ACK_EVERY {
                acknowledge(&channel, last_tag).await?;
                unacknowledged = 0;
            }
        }
    }

    async fn open(&self, connection: &Connection) -> Result<(Channel, Consumer), Ended> {
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
