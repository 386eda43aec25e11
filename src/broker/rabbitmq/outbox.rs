//! Accepted messages on their way out: which wait, which are unconfirmed, which have timed out.
//!
//! Plain data. Messages are kept in their order; the first `sent` of them have been handed to the
//! present connection, whose confirmations come in the same order.

use crate::broker::PublishError;
use crate::broker::publisher::Submission;
use crate::message::id_at;
use opentelemetry::trace::SpanContext;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// How many of them the present connection has.
    sent: usize,
    /// Confirmations to come for messages whose senders were told that they timed out.
    given_up: usize,
    /// What our ids begin with.
    origin: String,
    next_id: u64,
}

#[derive(Debug)]
struct Waiting {
    id: Arc<str>,
    submission: Submission,
    /// An earlier connection had it, and may have got it out.
    repeated: bool,
}

/// What the broker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Confirmed,
    Refused,
}

/// A message to be published now.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) id: Arc<str>,
    pub(super) routing_key: String,
    pub(super) body: Vec<u8>,
    pub(super) trace: Option<SpanContext>,
    pub(super) repeated: bool,
}

impl Outbox {
    pub(super) fn new(replica: &str) -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: 0,
            given_up: 0,
            // Another run of the same replica gives other ids.
            origin: format!("{replica}.{:08x}", fastrand::u32(..)),
            next_id: 0,
        }
    }

    pub(super) fn push(&mut self, submission: Submission) {
        self.next_id += 1;
        let id = id_at(&self.origin, self.next_id);
        self.waiting.push_back(Waiting { id, submission, repeated: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages handed to the present connection and not yet answered for.
    pub(super) fn unconfirmed(&self) -> usize {
        self.sent + self.given_up
    }

    /// The next message for the present connection.
    pub(super) fn next(&mut self) -> Option<Parcel> {
        let waiting = self.waiting.get(self.sent)?;
        self.sent += 1;
        let Waiting { id, submission, repeated } = waiting;
        Some(Parcel {
            id: id.clone(),
            routing_key: submission.draft.channel.routing_key().to_owned(),
            body: crate::broker::body::encode(&submission.draft.text, &submission.date),
            trace: submission.draft.trace.clone(),
            repeated: *repeated,
        })
    }

    /// Takes the answer for the oldest unanswered message.
    pub(super) fn answer(&mut self, answer: Answer) {
        if self.given_up > 0 {
            self.given_up -= 1;
            return;
        }
        if self.sent == 0 {
            return;
        }
        self.sent -= 1;
        if let Some(Waiting { id, submission, .. }) = self.waiting.pop_front() {
            match answer {
                Answer::Confirmed => submission.confirm(id),
                Answer::Refused => submission.refuse(PublishError::Refused),
            }
        }
    }

    /// When the oldest message times out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.submission.deadline)
    }

    /// Tells the senders of what has timed out.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            if self.sent > 0 {
                self.sent -= 1;
                self.given_up += 1;
            }
            if let Some(waiting) = self.waiting.pop_front() {
                waiting.submission.refuse(PublishError::TimedOut);
            }
        }
    }

    /// The connection is gone: what it had and did not answer for goes out again on the next.
    pub(super) fn disconnected(&mut self) {
        for waiting in self.waiting.range_mut(..self.sent) {
            waiting.repeated = true;
        }
        self.sent = 0;
        self.given_up = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::publisher::{self, Draft, Outcome, Publisher, Submissions};
    use crate::config::Config;
    use crate::message::Channel;
    use crate::metrics::Metrics;
    use std::time::Duration;

    struct Bench {
        publisher: Publisher,
        submissions: Submissions,
        outbox: Outbox,
    }

    fn bench() -> Bench {
        let config = Config::from_vars([]).unwrap();
        let (publisher, submissions) = publisher::channel(&config, &Arc::new(Metrics::new()));
        Bench { publisher, submissions, outbox: Outbox::new("r") }
    }

    impl Bench {
        fn push(&mut self) -> Outcome {
            let draft = Draft { channel: Channel::default(), text: Box::default(), trace: None };
            let outcome = self.publisher.submit(draft).unwrap();
            self.outbox.push(self.submissions.try_recv().unwrap());
            outcome
        }
    }

    fn now_of(outcome: Outcome) -> Result<Arc<str>, PublishError> {
        let mut outcome = std::pin::pin!(outcome);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match outcome.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("nobody was told"),
        }
    }

    #[tokio::test]
    async fn answers_go_to_their_senders_in_order() {
        let mut bench = bench();
        let outcomes = [bench.push(), bench.push(), bench.push()];
        let ids: Vec<_> =
            std::iter::from_fn(|| bench.outbox.next()).map(|parcel| parcel.id).collect();
        bench.outbox.answer(Answer::Confirmed);
        bench.outbox.answer(Answer::Refused);
        bench.outbox.answer(Answer::Confirmed);
        let told = outcomes.map(now_of);
        assert_eq!(told, [Ok(ids[0].clone()), Err(PublishError::Refused), Ok(ids[2].clone())]);
        assert!(bench.outbox.is_empty());
        // More answers than messages harm nothing.
        bench.outbox.answer(Answer::Confirmed);
    }

    #[tokio::test]
    async fn what_a_lost_connection_had_is_repeated_in_order_and_marked() {
        let mut bench = bench();
        let _outcomes = [bench.push(), bench.push(), bench.push()];
        let first = bench.outbox.next().unwrap();
        bench.outbox.next().unwrap();
        bench.outbox.answer(Answer::Confirmed);
        bench.outbox.disconnected();
        let again = bench.outbox.next().unwrap();
        assert!(again.id != first.id && again.repeated);
        assert!(!bench.outbox.next().unwrap().repeated);
        assert!(bench.outbox.next().is_none());
    }

    #[tokio::test]
    async fn a_late_answer_is_not_given_to_another_sender() {
        let mut bench = bench();
        let late = bench.push();
        bench.outbox.next().unwrap();
        bench.outbox.expire(Instant::now() + Duration::from_secs(60));
        assert_eq!(now_of(late), Err(PublishError::TimedOut));
        let next = bench.push();
        bench.outbox.next().unwrap();
        assert_eq!(bench.outbox.unconfirmed(), 2);
        bench.outbox.answer(Answer::Refused);
        bench.outbox.answer(Answer::Confirmed);
        assert!(now_of(next).is_ok());
    }

    #[tokio::test]
    async fn nobody_is_left_without_an_answer() {
        let mut bench = bench();
        let outcome = bench.push();
        drop(bench.outbox);
        assert_eq!(now_of(outcome), Err(PublishError::Closing));
    }
}
