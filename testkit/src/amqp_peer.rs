//! Another program on the same exchange.

use super::LIMIT;
use super::rabbitmq::unique;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind,
    PublisherConfirm,
};
use tokio::time::timeout;

pub struct AmqpPeer {
    _connection: Connection,
    pub channel: Channel,
    pub exchange: String,
    queue: String,
    durable: bool,
    consumer: Consumer,
}

impl AmqpPeer {
    /// Connects, declares the exchange as for delivery mode `log`, and consumes.
    pub async fn connect(url: &str, exchange: &str) -> Self {
        Self::join(url, exchange, true).await
    }

    /// Connects with the exchange of delivery mode `live` and of the Node server, which is not durable.
    pub async fn live(url: &str, exchange: &str) -> Self {
        Self::join(url, exchange, false).await
    }

    async fn join(url: &str, exchange: &str, durable: bool) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let none = FieldTable::default;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, none()).await.unwrap().name().clone();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(queue.clone(), "".into(), options, none()).await.unwrap();
        let (exchange, queue) = (exchange.to_owned(), queue.to_string());
        let peer = Self { _connection: connection, channel, exchange, queue, durable, consumer };
        peer.declare().await;
        peer
    }

    /// Declares the exchange, and binds this program's queue to it.
    async fn declare(&self) {
        let options = ExchangeDeclareOptions { durable: self.durable, ..Default::default() };
        let (exchange, none) = (self.exchange.as_str().into(), FieldTable::default());
        let declared = self.channel.exchange_declare(exchange, ExchangeKind::Fanout, options, none);
        declared.await.unwrap();
        self.bind(&self.queue).await.unwrap();
    }

    /// Deletes the exchange with all bindings, and declares it again.
    pub async fn remake_exchange(&self) {
        let exchange = self.exchange.as_str().into();
        self.channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
        self.declare().await;
    }

    pub async fn publish(&self, key: &str, body: &[u8], properties: BasicProperties) {
        self.try_publish(key, body, properties).await.unwrap();
    }

    /// Publishes where RabbitMQ may close the connection instead.
    pub async fn try_publish(
        &self,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<()> {
        self.send(key, body, properties).await?.await.map(|_| ())
    }

    /// Binds an existing queue of another program.
    pub async fn bind(&self, queue: &str) -> lapin::Result<()> {
        let (exchange, none) = (self.exchange.as_str().into(), FieldTable::default());
        let options = QueueBindOptions::default();
        self.channel.queue_bind(queue.into(), exchange, "".into(), options, none).await
    }

    /// Unbinds a queue of another program from an exchange.
    pub async fn unbind(&self, queue: &str, exchange: &str) -> lapin::Result<()> {
        let (exchange, none) = (exchange.into(), FieldTable::default());
        self.channel.queue_unbind(queue.into(), exchange, "".into(), none).await
    }

    /// Publishes all bodies and then awaits their confirms.
    pub async fn publish_all(&self, key: &str, bodies: impl IntoIterator<Item = String>) {
        let mut confirmations = Vec::new();
        for body in bodies {
            let id = unique("message");
            let properties = BasicProperties::default().with_message_id(id.into());
            confirmations.push(self.send(key, body.as_bytes(), properties).await.unwrap());
        }
        for confirmation in confirmations {
            confirmation.await.unwrap();
        }
    }

    /// Publishes without awaiting the confirm.
    pub async fn send(
        &self,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions::default();
        let exchange = self.exchange.as_str().into();
        self.channel.basic_publish(exchange, key.into(), options, body, properties).await
    }

    /// The next message for clients.
    pub async fn message(&mut self) -> Delivery {
        self.next(false).await
    }

    /// The next control message of a replica.
    pub async fn control(&mut self) -> Delivery {
        self.next(true).await
    }

    async fn next(&mut self, control: bool) -> Delivery {
        loop {
            let next = timeout(LIMIT, self.consumer.next()).await.expect("a message in time");
            let delivery = next.expect("a consumer").expect("a delivery");
            let kind = delivery.properties.kind().as_ref().map(ToString::to_string);
            if (kind.as_deref() == Some("warren.replica")) == control {
                return delivery;
            }
        }
    }
}
