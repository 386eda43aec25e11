//! Accepted messages on their way out: which wait, which are unconfirmed, which have timed out.
//!
//! Plain data. Messages are kept in their order; the first `sent` of them have been handed to the
//! present connection, whose confirmations come in any order. Where ids are given by the log, a
//! message is read back from it about when it is confirmed; whichever comes first shows that it is out.

use crate::publisher::QueuedPublish;
use crate::rabbitmq::message_ids::message_id;
use opentelemetry::trace::SpanContext;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use warren_observe::traces::{Messaging, Span};
use warren_protocol::error::PublishError;
use warren_protocol::message::Key;

/// How long a confirmed message is waited for to be read back, before its sender is told without an id.
const READ_BACK: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct PublishQueue {
    waiting: VecDeque<QueueEntry>,
    /// How many of them the present connection has.
    sent: usize,
    /// Confirmed and not read back yet; until when that is waited for.
    confirmed: VecDeque<(u64, QueuedPublish, Instant)>,
    ids: Ids,
    messaging: Messaging,
    /// What our message ids begin with.
    origin: Arc<str>,
    next: u64,
}

/// Who gives a message the id that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    Publisher,
    Log,
}

#[derive(Debug)]
struct QueueEntry {
    number: u64,
    /// `None` once its sender has been told.
    submission: Option<QueuedPublish>,
    /// An earlier connection had it, and may have got it out.
    repeated: bool,
    /// From when a connection first had it to the answer, if that is recorded.
    span: Option<Span>,
}

/// What the broker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokerAnswer {
    Confirmed,
    Refused,
}

/// A message to be published now.
#[derive(Debug)]
pub(crate) struct PendingPublish {
    pub(crate) number: u64,
    pub(crate) message_id: String,
    pub(crate) routing_key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) key: Option<Key>,
    pub(crate) trace: Option<SpanContext>,
    pub(crate) repeated: bool,
}

impl PublishQueue {
    pub(crate) fn new(origin: &Arc<str>, ids: Ids, messaging: &Messaging) -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: 0,
            confirmed: VecDeque::new(),
            ids,
            messaging: messaging.clone(),
            origin: origin.clone(),
            next: 1,
        }
    }

    pub(crate) fn push(&mut self, submission: QueuedPublish) {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(QueueEntry {
            number,
            submission: Some(submission),
            repeated: false,
            span: None,
        });
    }

    /// Every sender has been told.
    pub(crate) fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.waiting.iter().all(|waiting| waiting.submission.is_none())
    }

    /// Messages handed to the present connection and not yet answered for.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.sent
    }

    /// The next message for the present connection.
    pub(crate) fn next(&mut self) -> Option<PendingPublish> {
        // What the sender was told of before it was sent is not here any more.
        let QueueEntry { number, submission: Some(submission), repeated, span } =
            self.waiting.get_mut(self.sent)?
        else {
            return None;
        };
        self.sent += 1;
        let message_id = message_id(&self.origin, *number);
        let routing_key = submission.draft.channel.routing_key().to_owned();
        let body = warren_protocol::body::encode(&submission.draft.text, &submission.date);
        let trace = submission.draft.trace.as_ref();
        if span.is_none() {
            *span = self.messaging.publish(trace, &routing_key, &message_id, body.len());
        } else if let Some(span) = span {
            span.set("warren.repeated", true);
        }
        Some(PendingPublish {
            number: *number,
            message_id,
            routing_key,
            body,
            key: submission.draft.key.clone(),
            trace: span.as_ref().map(Span::context).or(trace).cloned(),
            repeated: *repeated,
        })
    }

    /// Takes the answer for a message that the present connection has.
    pub(crate) fn answer(&mut self, number: u64, answer: BrokerAnswer) {
        let Some(place) = self.place(number).filter(|place| *place < self.sent) else { return };
        let Some(QueueEntry { submission, mut span, .. }) = self.waiting.remove(place) else {
            return;
        };
        self.sent -= 1;
        if let (BrokerAnswer::Refused, Some(span)) = (answer, &mut span) {
            span.fail(PublishError::Refused.code());
        }
        drop(span);
        let Some(mut submission) = submission else { return };
        if answer == BrokerAnswer::Confirmed {
            submission.mark_confirmed();
        }
        match (answer, self.ids) {
            (BrokerAnswer::Refused, _) => submission.refuse(PublishError::Refused),
            (BrokerAnswer::Confirmed, Ids::Publisher) if submission.draft.key.is_none() => {
                submission.confirm(Some(message_id(&self.origin, number).into()));
            }
            // The log gives the id; or it may be a second copy, and the id is the first one's.
            (BrokerAnswer::Confirmed, _) => {
                let place = self.confirmed.partition_point(|(other, ..)| *other < number);
                let until = Instant::now() + READ_BACK;
                self.confirmed.insert(place, (number, submission, until));
            }
        }
    }

    /// A message of ours was read, under this id: it is out.
    pub(crate) fn read_back(&mut self, number: u64, id: Option<Arc<str>>) {
        let confirmed = self.confirmed.binary_search_by_key(&number, |(number, ..)| *number);
        if let Some((_, submission, _)) = confirmed.ok().and_then(|at| self.confirmed.remove(at)) {
            return submission.confirm(id);
        }
        let Some(place) = self.place(number) else { return };
        if let Some(submission) = self.waiting[place].submission.take() {
            submission.confirm(id);
        }
        // An earlier connection got it out.
        if place >= self.sent {
            self.waiting.remove(place);
        }
    }

    /// Where a message is that waits.
    fn place(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()
    }

    /// When the next sender is to be told of what did not happen.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let unconfirmed = self.waiting.iter().find_map(|waiting| waiting.submission.as_ref());
        let unconfirmed = unconfirmed.map(|submission| submission.deadline);
        let unread = self.confirmed.front().map(|(.., until)| *until);
        unconfirmed.into_iter().chain(unread).min()
    }

    /// Tells the senders of what has timed out.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.confirmed.front().is_some_and(|(.., until)| *until <= now) {
            if let Some((_, submission, _)) = self.confirmed.pop_front() {
                submission.confirm(None);
            }
        }
        let mut place = 0;
        while let Some(waiting) = self.waiting.get_mut(place) {
            let late = |submission: &mut QueuedPublish| submission.deadline <= now;
            match (waiting.submission.take_if(late), &waiting.submission) {
                (Some(submission), _) => {
                    if let Some(mut span) = waiting.span.take() {
                        span.fail(PublishError::TimedOut.code());
                    }
                    submission.refuse(PublishError::TimedOut);
                }
                (None, Some(_)) => return,
                (None, None) => {}
            }
            if place < self.sent {
                place += 1;
            } else {
                self.waiting.remove(place);
            }
        }
    }

    /// The connection is gone: what it had and did not answer for goes out again on the next.
    pub(crate) fn disconnected(&mut self) {
        for waiting in self.waiting.range_mut(..self.sent) {
            waiting.repeated = true;
        }
        self.sent = 0;
        self.waiting.retain(|waiting| waiting.submission.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::{self, PublishAck, PublishReceiver, PublishRequest, Publisher};
    use crate::rabbitmq::message_ids::new_origin;
    use std::time::Duration;
    use warren_config::Config;
    use warren_observe::reporter::Reporter;
    use warren_observe::traces::Tracer;
    use warren_protocol::message::Channel;

    struct Bench {
        publisher: Publisher,
        submissions: PublishReceiver,
        queue: PublishQueue,
    }

    fn bench(ids: Ids) -> Bench {
        let config = Config::from_vars([]).unwrap();
        let (publisher, submissions) = publisher::channel(&config, &Arc::new(Reporter::new()));
        let messaging = Messaging::new(&Tracer::default(), "messages", "");
        let queue = PublishQueue::new(&new_origin("r"), ids, &messaging);
        Bench { publisher, submissions, queue }
    }

    impl Bench {
        fn push(&mut self) -> PublishAck {
            let draft = PublishRequest {
                channel: Channel::default(),
                text: Box::default(),
                key: None,
                trace: None,
            };
            let outcome = self.publisher.submit(draft).unwrap();
            self.queue.push(self.submissions.try_recv().unwrap());
            outcome
        }
    }

    fn now_of(outcome: PublishAck) -> Result<Option<Arc<str>>, PublishError> {
        let mut outcome = std::pin::pin!(outcome);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match outcome.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("nobody was told"),
        }
    }

    #[tokio::test]
    async fn answers_go_to_their_senders() {
        let mut bench = bench(Ids::Publisher);
        let outcomes = [bench.push(), bench.push(), bench.push()];
        let ids: Vec<_> =
            std::iter::from_fn(|| bench.queue.next()).map(|pending| pending.message_id).collect();
        // They may come in any order.
        bench.queue.answer(2, BrokerAnswer::Refused);
        bench.queue.answer(3, BrokerAnswer::Confirmed);
        bench.queue.answer(1, BrokerAnswer::Confirmed);
        let told = outcomes.map(now_of);
        let id = |place: usize| Ok(Some(ids[place].as_str().into()));
        assert_eq!(told, [id(0), Err(PublishError::Refused), id(2)]);
        assert!(bench.queue.is_empty());
        // More answers than messages harm nothing.
        bench.queue.answer(3, BrokerAnswer::Confirmed);
    }

    #[tokio::test]
    async fn what_a_lost_connection_had_is_repeated_in_order_and_marked() {
        let mut bench = bench(Ids::Publisher);
        let _outcomes = [bench.push(), bench.push(), bench.push()];
        let first = bench.queue.next().unwrap();
        bench.queue.next().unwrap();
        bench.queue.answer(1, BrokerAnswer::Confirmed);
        bench.queue.disconnected();
        let again = bench.queue.next().unwrap();
        assert!(again.message_id != first.message_id && again.repeated);
        assert!(!bench.queue.next().unwrap().repeated);
        assert!(bench.queue.next().is_none());
    }

    #[tokio::test]
    async fn a_late_answer_is_not_given_to_another_sender() {
        let mut bench = bench(Ids::Publisher);
        let late = bench.push();
        bench.queue.next().unwrap();
        bench.queue.expire(Instant::now() + Duration::from_secs(60));
        assert_eq!(now_of(late), Err(PublishError::TimedOut));
        let next = bench.push();
        bench.queue.next().unwrap();
        assert_eq!(bench.queue.unconfirmed(), 2);
        bench.queue.answer(1, BrokerAnswer::Refused);
        bench.queue.answer(2, BrokerAnswer::Confirmed);
        assert!(now_of(next).is_ok());
    }

    #[tokio::test]
    async fn nobody_is_left_without_an_answer() {
        let mut bench = bench(Ids::Publisher);
        let outcome = bench.push();
        drop(bench.queue);
        assert_eq!(now_of(outcome), Err(PublishError::Closing));
    }

    #[tokio::test]
    async fn the_log_gives_the_ids_and_what_it_has_is_out() {
        let mut bench = bench(Ids::Log);
        let [one, two, three, four] = [(); 4].map(|()| bench.push());
        for _ in 0..3 {
            bench.queue.next().unwrap();
        }
        let id = |id: &str| Some(Arc::from(id));
        // Read back before the confirmation comes, and after it.
        bench.queue.read_back(1, id("a"));
        assert_eq!(now_of(one), Ok(id("a")));
        bench.queue.answer(1, BrokerAnswer::Confirmed);
        bench.queue.answer(2, BrokerAnswer::Confirmed);
        bench.queue.read_back(2, id("b"));
        assert_eq!(now_of(two), Ok(id("b")));
        // The connection is lost: what turns out to have got through is not published again.
        bench.queue.disconnected();
        bench.queue.read_back(3, id("c"));
        assert_eq!(now_of(three), Ok(id("c")));
        let last = bench.queue.next().unwrap();
        assert!(last.message_id.ends_with("-4") && !last.repeated);
        // Confirmed, but not read for long.
        bench.queue.answer(4, BrokerAnswer::Confirmed);
        assert!(!bench.queue.is_empty());
        bench.queue.expire(bench.queue.deadline().unwrap());
        assert_eq!(now_of(four), Ok(None));
        assert!(bench.queue.is_empty() && bench.queue.deadline().is_none());
    }
}
