//! The way in: what is submitted, how much of it may wait, and what its sender is told.

use opentelemetry::trace::SpanContext;
use serde_json::value::RawValue;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use warren_config::Config;
use warren_observe::events::{Event, TraceField};
use warren_observe::reporter::Reporter;
use warren_protocol::error::PublishError;
use warren_protocol::message::{Channel, Key, Message};
use warren_protocol::trace_context;

/// What a client wants said.
#[derive(Debug)]
pub struct PublishRequest {
    pub channel: Channel,
    pub text: Box<RawValue>,
    /// Its sender's name for it: a second one with the same is not delivered.
    pub key: Option<Key>,
    /// The trace that its sender is in, and what follows is to be part of.
    pub trace: Option<SpanContext>,
}

/// The way in for everyone in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    sender: mpsc::UnboundedSender<QueuedPublish>,
    budget: Arc<Budget>,
    timeout: Duration,
    reporter: Arc<Reporter>,
}

/// The other end: accepted messages in their order.
pub(super) type PublishReceiver = mpsc::UnboundedReceiver<QueuedPublish>;

/// What a sender is told: the id of the message, or `None` where it is out, but has not been read back
/// from where ids are given.
type PublishOutcome = Result<Option<Arc<str>>, PublishError>;

/// Bytes of accepted messages that are neither confirmed nor refused.
#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// An accepted message, until its sender is told.
#[derive(Debug)]
pub(super) struct QueuedPublish {
    pub(super) draft: PublishRequest,
    /// RFC 3339: when it was accepted.
    pub(super) date: String,
    /// When its sender is told that it timed out.
    pub(super) deadline: Instant,
    accepted: Instant,
    /// It was confirmed.
    confirmed: bool,
    reply: Option<oneshot::Sender<PublishOutcome>>,
    budget: Arc<Budget>,
    cost: usize,
    reporter: Arc<Reporter>,
}

pub(super) fn channel(config: &Config, reporter: &Arc<Reporter>) -> (Publisher, PublishReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let budget = Budget { used: AtomicUsize::new(0), limit: config.publish_buffer.0 };
    let publisher = Publisher {
        sender,
        budget: Arc::new(budget),
        timeout: config.publish_timeout.0,
        reporter: reporter.clone(),
    };
    (publisher, receiver)
}

impl Publisher {
    /// Hands a message in. Messages submitted one after the other are published in that order.
    ///
    /// # Errors
    /// At once when too much is waiting; all else comes through the [`PublishAck`].
    pub fn submit(&self, draft: PublishRequest) -> Result<PublishAck, PublishError> {
        const BOOKKEEPING: usize = 256;
        let key = draft.key.as_ref().map_or(0, |key| key.as_str().len());
        let state =
            draft.trace.as_ref().and_then(trace_context::tracestate).map_or(0, |it| it.len());
        let cost =
            draft.text.get().len() + draft.channel.as_str().len() + key + state + BOOKKEEPING;
        let used = self.budget.used.fetch_add(cost, Ordering::Relaxed);
        let (reply, receiver) = oneshot::channel();
        self.reporter.submitted(cost);
        let accepted = Instant::now();
        let submission = QueuedPublish {
            draft,
            date: now(),
            deadline: accepted + self.timeout,
            accepted,
            confirmed: false,
            reply: Some(reply),
            budget: self.budget.clone(),
            cost,
            reporter: self.reporter.clone(),
        };
        // A submission that is dropped gives its bytes back.
        if used + cost > self.budget.limit {
            submission.refuse(PublishError::BufferFull);
            return Err(PublishError::BufferFull);
        }
        match self.sender.send(submission) {
            Ok(()) => Ok(PublishAck(receiver)),
            Err(mpsc::error::SendError(submission)) => {
                submission.refuse(PublishError::Closing);
                Err(PublishError::Closing)
            }
        }
    }
}

impl QueuedPublish {
    /// Tells the sender that the message is out, and under which id if that is known.
    pub(super) fn confirm(mut self, id: Option<Arc<str>>) {
        self.mark_confirmed();
        self.reporter.published();
        self.settle(Ok(id));
    }

    /// The message is out, whether or not its sender can be told yet.
    pub(super) fn mark_confirmed(&mut self) {
        if !std::mem::replace(&mut self.confirmed, true) {
            self.reporter.confirmed(self.accepted.elapsed());
        }
    }

    /// Tells the sender that the message is not known to be out.
    pub(super) fn refuse(mut self, error: PublishError) {
        self.fail(error);
    }

    fn fail(&mut self, error: PublishError) {
        let trace_id = TraceField::of(self.draft.trace.as_ref());
        self.reporter.emit(Event::PublishFailed { outcome: error.into(), trace_id });
        self.settle(Err(error));
    }

    fn settle(&mut self, outcome: PublishOutcome) {
        if let Some(reply) = self.reply.take() {
            // The sender may have gone.
            let _ = reply.send(outcome);
        }
    }

    /// The message as it goes out.
    pub(super) fn message(&self, id: Arc<str>, position: Option<u64>) -> Message {
        Message {
            id,
            position,
            channel: self.draft.channel.clone(),
            text: self.draft.text.clone(),
            date: self.date.clone(),
            dated: true,
            trace: self.draft.trace.clone().filter(SpanContext::is_sampled),
        }
    }
}

impl Drop for QueuedPublish {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.cost, Ordering::Relaxed);
        self.reporter.settled(self.cost);
        // Nobody is left without an answer.
        if self.reply.is_some() {
            self.fail(PublishError::Closing);
        }
    }
}

/// What became of a submitted message: it is out, perhaps with its id; or why that is not known.
#[derive(Debug)]
pub struct PublishAck(oneshot::Receiver<PublishOutcome>);

impl Future for PublishAck {
    type Output = PublishOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(outcome.unwrap_or(Err(PublishError::Closing)))
    }
}

/// The present, as RFC 3339 with milliseconds.
pub(super) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_with_a_message_takes_room_too() {
        let (publisher, _submissions) =
            channel(&Config::from_vars([]).unwrap(), &Arc::new(Reporter::new()));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cost = |state: &str| {
            let before = publisher.budget.used.load(Ordering::Relaxed);
            let text = serde_json::value::to_raw_value("hello").unwrap();
            let trace = trace_context::parse(parent, Some(state));
            let draft = PublishRequest { channel: Channel::default(), text, key: None, trace };
            drop(publisher.submit(draft).unwrap());
            publisher.budget.used.load(Ordering::Relaxed) - before
        };
        assert_eq!(cost("vendor=1") - cost(""), "vendor=1".len());
    }
}
