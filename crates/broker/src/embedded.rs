//! The broker inside this process: no other replica, and no RabbitMQ needed.

use super::deduplicator::{DedupKeys, Deduplicator, Verdict};
use super::{BrokerEvent, BrokerPorts, raised};
use std::time::Instant;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::Event;
use warren_protocol::message::{Key, id_at};

pub(super) async fn run(mut ports: BrokerPorts) {
    ports.reporter.emit(Event::EmbeddedBroker);
    let works = BrokerStatus {
        publishing: true,
        consuming: true,
        hearing: true,
        ..BrokerStatus::default()
    };
    ports.reporter.embedded();
    ports.status.send_replace(works);
    // Ids of another run of the process must not be taken for this one's.
    let origin = format!("{:016x}", fastrand::u64(..));
    let mut position = 0;
    let mut once = Deduplicator::default();
    let start = Instant::now();
    let _ = ports.deliveries.send(BrokerEvent::EpochStart(0)).await;
    loop {
        let submission = tokio::select! {
            biased;
            submission = ports.submissions.recv() => submission,
            () = raised(&mut ports.closing) => {
                ports.submissions.close();
                ports.submissions.recv().await
            }
        };
        let Some(submission) = submission else { return };
        let id = id_at(position, &origin);
        let key = submission.draft.key.as_ref().map(Key::as_str);
        let marks = DedupKeys { key, stamp: start.elapsed().as_secs(), ..DedupKeys::default() };
        match once.judge(&submission.draft.channel, marks, &id) {
            Verdict::First => {
                let message = submission.message(id.clone(), Some(position));
                // At the end nobody takes deliveries any more; the message was accepted all the same.
                let _ = ports.deliveries.send(BrokerEvent::Message(message)).await;
                position += 1;
                submission.confirm(Some(id));
            }
            Verdict::Second(first) => {
                ports.reporter.duplicate();
                submission.confirm(first);
            }
        }
    }
}
