//! The embedded broker: joins the clients of one process, without RabbitMQ and without other replicas.

use crate::deduplicator::{DedupKeys, Deduplicator, Verdict};
use crate::ports::{BrokerEvent, BrokerPorts, wait_until_set};
use std::time::Instant;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::Event;
use warren_protocol::message::{Key, id_at};

pub(crate) async fn run(mut ports: BrokerPorts) {
    ports.reporter.emit(Event::EmbeddedBroker);
    let working = BrokerStatus {
        publishing: true,
        consuming: true,
        hearing: true,
        ..BrokerStatus::default()
    };
    ports.reporter.embedded();
    ports.status.send_replace(working);
    // Random for each process: ids of an earlier process must not match ids of this one.
    let fingerprint = format!("{:016x}", fastrand::u64(..));
    let mut position = 0;
    let mut deduplicator = Deduplicator::default();
    let start = Instant::now();
    let _ = ports.events.send(BrokerEvent::EpochStart(0)).await;
    loop {
        let publish = tokio::select! {
            biased;
            publish = ports.accepted.recv() => publish,
            () = wait_until_set(&mut ports.closing) => {
                ports.accepted.close();
                ports.accepted.recv().await
            }
        };
        let Some(publish) = publish else { return };
        let id = id_at(position, &fingerprint);
        let keys = DedupKeys {
            key: publish.request.key.as_ref().map(Key::as_str),
            published_at: start.elapsed().as_secs(),
            ..DedupKeys::default()
        };
        match deduplicator.judge(&publish.request.channel, keys, &id) {
            Verdict::New => {
                let message = publish.message(id.clone(), Some(position));
                // During shutdown the receiver is gone. The message was accepted and is confirmed anyway.
                let _ = ports.events.send(BrokerEvent::Message(message)).await;
                position += 1;
                publish.confirm(Some(id));
            }
            Verdict::Duplicate { first } => {
                ports.reporter.duplicate();
                publish.confirm(first);
            }
        }
    }
}
