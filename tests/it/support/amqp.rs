//! A program of somebody else's on the same exchange.

use super::LIMIT;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::time::timeout;

pub struct Peer {
    _connection: Connection,
    pub channel: Channel,
    pub exchange: String,
    consumer: Consumer,
}

impl Peer {
    /// Connects, declares the exchange as the Node server does, and listens.
    pub async fn connect(url: &str, exchange: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let none = FieldTable::default;
        channel
            .exchange_declare(
                exchange.into(),
                ExchangeKind::Fanout,
                ExchangeDeclareOptions::default(),
                none(),
            )
            .await
            .unwrap();
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, none()).await.unwrap();
        channel
            .queue_bind(
                queue.name().clone(),
                exchange.into(),
                "".into(),
                QueueBindOptions::default(),
                none(),
            )
            .await
            .unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(queue.name().clone(), "".into(), options, none()).await.unwrap();
        Self { _connection: connection, channel, exchange: exchange.to_owned(), consumer }
    }

    pub async fn publish(&self, key: &str, body: &[u8], properties: BasicProperties) {
        self.channel
            .basic_publish(
                self.exchange.as_str().into(),
                key.into(),
                BasicPublishOptions::default(),
                body,
                properties,
            )
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// The next message that is for clients.
    pub async fn message(&mut self) -> Delivery {
        loop {
            let next = timeout(LIMIT, self.consumer.next()).await.expect("a message in time");
            let delivery = next.expect("a consumer").expect("a delivery");
            let kind = delivery.properties.kind().as_ref().map(ToString::to_string);
            if kind.as_deref() != Some("warren.replica") {
                return delivery;
            }
        }
    }
}
