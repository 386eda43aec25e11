//! Accepted messages in order: which wait, which are unconfirmed, and which have timed out.
//!
//! Plain data. The first `in_flight` entries have been handed to the current connection, whose confirms
//! come in any order. If the log assigns the ids, each message is read back from it at about the time of
//! its confirm. Whichever comes first shows that the message is published.

use crate::publisher::QueuedPublish;
use crate::rabbitmq::message_ids::{ReadBack, message_id};
use crate::rabbitmq::publish::amqp_message::{AmqpEncoder, AmqpMessage, Attempt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use warren_observe::traces::{Messaging, Span};
use warren_protocol::body;
use warren_protocol::error::PublishError;

/// Time that a confirmed message may take to be read back. After it, the publisher gets no id.
const READ_BACK_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct PublishQueue {
    entries: VecDeque<QueueEntry>,
    /// Number of entries, from the front, that the current connection has.
    in_flight: usize,
    /// Messages that are confirmed and not read back yet: number, message and time limit.
    confirmed: VecDeque<(u64, QueuedPublish, Instant)>,
    id_source: IdSource,
    messaging: Messaging,
    encoder: AmqpEncoder,
    /// First part of this process's message ids.
    origin: Arc<str>,
    next_number: u64,
}

/// Source of the ids that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdSource {
    /// The AMQP message id is the id.
    Publisher,
    /// The position in the log determines the id.
    Log,
}

/// RabbitMQ's answer to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    Ack,
    Nack,
}

#[derive(Debug)]
struct QueueEntry {
    number: u64,
    /// `None` once the publisher has an outcome.
    publish: Option<QueuedPublish>,
    attempt: Attempt,
    /// Span from the first attempt to the outcome, if the trace is recorded.
    span: Option<Span>,
}

impl PublishQueue {
    pub(crate) fn new(
        origin: &Arc<str>,
        id_source: IdSource,
        messaging: &Messaging,
        encoder: AmqpEncoder,
    ) -> Self {
        Self {
            entries: VecDeque::new(),
            in_flight: 0,
            confirmed: VecDeque::new(),
            id_source,
            messaging: messaging.clone(),
            encoder,
            origin: origin.clone(),
            next_number: 1,
        }
    }

    pub(crate) fn push(&mut self, publish: QueuedPublish) {
        let number = self.next_number;
        self.next_number += 1;
        self.entries.push_back(QueueEntry {
            number,
            publish: Some(publish),
            attempt: Attempt::First,
            span: None,
        });
    }

    /// True if every publisher has an outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.entries.iter().all(|entry| entry.publish.is_none())
    }

    /// Number of messages that the current connection has not confirmed yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands out the next message for the current connection, with its number.
    pub(crate) fn next(&mut self) -> Option<(u64, AmqpMessage)> {
        // An entry that expired before it was handed out has been removed, so `publish` is always there.
        let QueueEntry { number, publish: Some(publish), attempt, span } =
            self.entries.get_mut(self.in_flight)?
        else {
            return None;
        };
        self.in_flight += 1;
        let message_id = message_id(&self.origin, *number);
        let body = body::encode(&publish.request.text, &publish.date);
        let trace = publish.request.trace.as_ref();
        if span.is_none() {
            let routing_key = publish.request.channel.routing_key();
            *span = self.messaging.publish(trace, routing_key, &message_id, body.len());
        } else if let Some(span) = span {
            span.set("warren.repeated", true);
        }
        let trace = span.as_ref().map(Span::context).or(trace);
        let message = self.encoder.message(publish, &message_id, *attempt, trace, body);
        Some((*number, message))
    }

    /// Handles the confirm of a message that the current connection has.
    pub(crate) fn confirm(&mut self, number: u64, confirm: Confirm) {
        let Some(index) = self.index_of(number).filter(|index| *index < self.in_flight) else {
            return;
        };
        let Some(QueueEntry { publish, mut span, .. }) = self.entries.remove(index) else {
            return;
        };
        self.in_flight -= 1;
        if let (Confirm::Nack, Some(span)) = (confirm, &mut span) {
            span.fail(PublishError::Refused.code());
        }
        drop(span);
        let Some(mut publish) = publish else { return };
        if confirm == Confirm::Ack {
            publish.mark_confirmed();
        }
        match (confirm, self.id_source) {
            (Confirm::Nack, _) => publish.refuse(PublishError::Refused),
            (Confirm::Ack, IdSource::Publisher) if publish.request.key.is_none() => {
                publish.confirm(Some(message_id(&self.origin, number).into()));
            }
            // The id comes from the log. Or the message has a key: if it is a duplicate, its id is that
            // of the first message.
            (Confirm::Ack, _) => {
                let index = self.confirmed.partition_point(|(other, ..)| *other < number);
                let until = Instant::now() + READ_BACK_TIMEOUT;
                self.confirmed.insert(index, (number, publish, until));
            }
        }
    }

    /// Handles a message of this process that the consumer has read, which shows that it is published.
    pub(crate) fn read_back(&mut self, ReadBack { number, id }: ReadBack) {
        let confirmed = self.confirmed.binary_search_by_key(&number, |(number, ..)| *number);
        if let Some((_, publish, _)) = confirmed.ok().and_then(|at| self.confirmed.remove(at)) {
            return publish.confirm(id);
        }
        let Some(index) = self.index_of(number) else { return };
        if let Some(publish) = self.entries[index].publish.take() {
            publish.confirm(id);
        }
        // An earlier connection has published it.
        if index >= self.in_flight {
            self.entries.remove(index);
        }
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// Time at which [`PublishQueue::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let unconfirmed = self.entries.iter().find_map(|entry| entry.publish.as_ref());
        let unconfirmed = unconfirmed.map(|publish| publish.deadline);
        let not_read_back = self.confirmed.front().map(|(.., until)| *until);
        unconfirmed.into_iter().chain(not_read_back).min()
    }

    /// Gives an outcome to the publishers of messages whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.confirmed.front().is_some_and(|(.., until)| *until <= now) {
            if let Some((_, publish, _)) = self.confirmed.pop_front() {
                publish.confirm(None);
            }
        }
        let mut index = 0;
        while let Some(entry) = self.entries.get_mut(index) {
            let expired = |publish: &mut QueuedPublish| publish.deadline <= now;
            match (entry.publish.take_if(expired), &entry.publish) {
                (Some(publish), _) => {
                    if let Some(mut span) = entry.span.take() {
                        span.fail(PublishError::TimedOut.code());
                    }
                    publish.refuse(PublishError::TimedOut);
                }
                (None, Some(_)) => return,
                (None, None) => {}
            }
            // Entries in flight stay, because their confirms refer to them.
            if index < self.in_flight {
                index += 1;
            } else {
                self.entries.remove(index);
            }
        }
    }

    /// Handles the loss of the connection: its unconfirmed messages are handed out again for the next
    /// one.
    pub(crate) fn disconnected(&mut self) {
        for entry in self.entries.range_mut(..self.in_flight) {
            entry.attempt = Attempt::Repeated;
        }
        self.in_flight = 0;
        self.entries.retain(|entry| entry.publish.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::{self, PublishAck, PublishReceiver, PublishRequest, Publisher};
    use crate::rabbitmq::control::REPEATED;
    use crate::rabbitmq::message_ids::new_origin;
    use crate::slewed_clock::SlewedClock;
    use warren_config::Config;
    use warren_observe::reporter::Reporter;
    use warren_observe::traces::Tracer;
    use warren_protocol::message::Channel;

    /// A queue with the publisher that fills it.
    struct Fixture {
        publisher: Publisher,
        accepted: PublishReceiver,
        queue: PublishQueue,
    }

    impl Fixture {
        fn new(id_source: IdSource) -> Self {
            let config = Config::from_vars([]).unwrap();
            let (publisher, accepted) = publisher::channel(&config, &Arc::new(Reporter::new()));
            let messaging = Messaging::new(&Tracer::default(), "messages", "");
            let clock = Arc::new(SlewedClock::new());
            let encoder = AmqpEncoder { replica: "r".into(), clock };
            let queue = PublishQueue::new(&new_origin("r"), id_source, &messaging, encoder);
            Self { publisher, accepted, queue }
        }

        fn push(&mut self) -> PublishAck {
            let request = PublishRequest {
                channel: Channel::default(),
                text: Box::default(),
                key: None,
                trace: None,
            };
            let ack = self.publisher.submit(request).unwrap();
            self.queue.push(self.accepted.try_recv().unwrap());
            ack
        }

        fn read_back(&mut self, number: u64, id: &str) {
            self.queue.read_back(ReadBack { number, id: Some(id.into()) });
        }
    }

    fn message_id(message: &AmqpMessage) -> String {
        message.properties.message_id().as_ref().unwrap().to_string()
    }

    fn is_repeated(message: &AmqpMessage) -> bool {
        message.properties.headers().as_ref().unwrap().inner().contains_key(REPEATED)
    }

    fn outcome(ack: PublishAck) -> Result<Option<Arc<str>>, PublishError> {
        let mut ack = std::pin::pin!(ack);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match ack.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => outcome,
            std::task::Poll::Pending => panic!("the publisher has no outcome"),
        }
    }

    #[tokio::test]
    async fn confirms_in_any_order_reach_their_publishers() {
        let mut fixture = Fixture::new(IdSource::Publisher);
        let acks = [fixture.push(), fixture.push(), fixture.push()];
        let ids: Vec<_> = std::iter::from_fn(|| fixture.queue.next())
            .map(|(_, message)| message_id(&message))
            .collect();
        fixture.queue.confirm(2, Confirm::Nack);
        fixture.queue.confirm(3, Confirm::Ack);
        fixture.queue.confirm(1, Confirm::Ack);
        let outcomes = acks.map(outcome);
        let id = |index: usize| Ok(Some(ids[index].as_str().into()));
        assert_eq!(outcomes, [id(0), Err(PublishError::Refused), id(2)]);
        assert!(fixture.queue.is_empty());
        // A second confirm is ignored.
        fixture.queue.confirm(3, Confirm::Ack);
    }

    #[tokio::test]
    async fn unconfirmed_messages_of_a_lost_connection_are_repeated_in_order_and_marked() {
        let mut fixture = Fixture::new(IdSource::Publisher);
        let _acks = [fixture.push(), fixture.push(), fixture.push()];
        let (_, first) = fixture.queue.next().unwrap();
        fixture.queue.next().unwrap();
        fixture.queue.confirm(1, Confirm::Ack);
        fixture.queue.disconnected();
        let (_, again) = fixture.queue.next().unwrap();
        assert!(message_id(&again) != message_id(&first) && is_repeated(&again));
        assert!(!is_repeated(&fixture.queue.next().unwrap().1));
        assert!(fixture.queue.next().is_none());
    }

    #[tokio::test]
    async fn late_confirm_does_not_reach_another_publisher() {
        let mut fixture = Fixture::new(IdSource::Publisher);
        let late = fixture.push();
        fixture.queue.next().unwrap();
        fixture.queue.expire(Instant::now() + Duration::from_secs(60));
        assert_eq!(outcome(late), Err(PublishError::TimedOut));
        let next = fixture.push();
        fixture.queue.next().unwrap();
        assert_eq!(fixture.queue.in_flight(), 2);
        fixture.queue.confirm(1, Confirm::Nack);
        fixture.queue.confirm(2, Confirm::Ack);
        assert!(outcome(next).is_ok());
    }

    #[tokio::test]
    async fn dropped_queue_gives_every_publisher_an_outcome() {
        let mut fixture = Fixture::new(IdSource::Publisher);
        let ack = fixture.push();
        drop(fixture.queue);
        assert_eq!(outcome(ack), Err(PublishError::Closing));
    }

    #[tokio::test]
    async fn message_read_back_from_the_log_is_published_and_has_its_id() {
        let mut fixture = Fixture::new(IdSource::Log);
        let [one, two, three, four] = [(); 4].map(|()| fixture.push());
        for _ in 0..3 {
            fixture.queue.next().unwrap();
        }
        let id = |id: &str| Some(Arc::from(id));
        // Read back before the confirm, and after it.
        fixture.read_back(1, "a");
        assert_eq!(outcome(one), Ok(id("a")));
        fixture.queue.confirm(1, Confirm::Ack);
        fixture.queue.confirm(2, Confirm::Ack);
        fixture.read_back(2, "b");
        assert_eq!(outcome(two), Ok(id("b")));
        // A message that is read back after its connection was lost is not published again.
        fixture.queue.disconnected();
        fixture.read_back(3, "c");
        assert_eq!(outcome(three), Ok(id("c")));
        let (_, last) = fixture.queue.next().unwrap();
        assert!(message_id(&last).ends_with("-4") && !is_repeated(&last));
        // Confirmed, but not read back in time.
        fixture.queue.confirm(4, Confirm::Ack);
        assert!(!fixture.queue.is_empty());
        fixture.queue.expire(fixture.queue.next_deadline().unwrap());
        assert_eq!(outcome(four), Ok(None));
        assert!(fixture.queue.is_empty() && fixture.queue.next_deadline().is_none());
    }
}
