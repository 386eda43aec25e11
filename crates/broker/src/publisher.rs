//! Publishing for this process: acceptance of messages, the limit on those that wait, and their outcome.

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

/// A message that a client asks to publish.
#[derive(Debug)]
pub struct PublishRequest {
    pub channel: Channel,
    pub text: Box<RawValue>,
    pub key: Option<Key>,
    /// Trace context of the request. The message's spans become part of that trace.
    pub trace: Option<SpanContext>,
}

impl PublishRequest {
    /// Bytes that the request counts against the limit of waiting messages.
    fn cost(&self) -> usize {
        const BOOKKEEPING: usize = 256;
        let key = self.key.as_ref().map_or(0, |key| key.as_str().len());
        let state = self.trace.as_ref().and_then(trace_context::tracestate);
        let state = state.map_or(0, |state| state.len());
        self.text.get().len() + self.channel.as_str().len() + key + state + BOOKKEEPING
    }
}

/// Entry point for all publishers in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    sender: mpsc::UnboundedSender<QueuedPublish>,
    budget: Arc<Budget>,
    timeout: Duration,
    reporter: Arc<Reporter>,
}

/// Receiver of accepted messages, in the order of acceptance.
pub(crate) type PublishReceiver = mpsc::UnboundedReceiver<QueuedPublish>;

/// Outcome of an accepted message: its id, `None` if it was confirmed but its id is not known, or the
/// reason why it may not be published.
type PublishOutcome = Result<Option<Arc<str>>, PublishError>;

/// Bytes of accepted messages that are neither confirmed nor refused.
#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// An accepted message, until its publisher has an outcome.
#[derive(Debug)]
pub(crate) struct QueuedPublish {
    pub(crate) request: PublishRequest,
    /// Time of acceptance, RFC 3339.
    pub(crate) date: String,
    /// Time at which the publisher gets a timeout.
    pub(crate) deadline: Instant,
    accepted_at: Instant,
    confirmed: bool,
    /// `None` once the publisher has an outcome.
    outcome: Option<oneshot::Sender<PublishOutcome>>,
    budget: Arc<Budget>,
    cost: usize,
    reporter: Arc<Reporter>,
}

pub(crate) fn channel(config: &Config, reporter: &Arc<Reporter>) -> (Publisher, PublishReceiver) {
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
    /// Accepts a message for publishing. Messages are published in the order of these calls.
    ///
    /// # Errors
    /// If too many bytes wait or the broker closes. Any other failure comes with the [`PublishAck`].
    pub fn submit(&self, request: PublishRequest) -> Result<PublishAck, PublishError> {
        let cost = request.cost();
        let used = self.budget.used.fetch_add(cost, Ordering::Relaxed);
        let (outcome, receiver) = oneshot::channel();
        self.reporter.submitted(cost);
        let accepted_at = Instant::now();
        let publish = QueuedPublish {
            request,
            date: rfc3339_now(),
            deadline: accepted_at + self.timeout,
            accepted_at,
            confirmed: false,
            outcome: Some(outcome),
            budget: self.budget.clone(),
            cost,
            reporter: self.reporter.clone(),
        };
        // Dropping `publish` returns its bytes to the budget.
        if used + cost > self.budget.limit {
            publish.refuse(PublishError::BufferFull);
            return Err(PublishError::BufferFull);
        }
        match self.sender.send(publish) {
            Ok(()) => Ok(PublishAck(receiver)),
            Err(mpsc::error::SendError(publish)) => {
                publish.refuse(PublishError::Closing);
                Err(PublishError::Closing)
            }
        }
    }
}

impl QueuedPublish {
    /// Tells the publisher that the message is published, with its id if that is known.
    pub(crate) fn confirm(mut self, id: Option<Arc<str>>) {
        self.mark_confirmed();
        self.reporter.published();
        self.settle(Ok(id));
    }

    /// Records that the message is published. The publisher may have to wait for its id.
    pub(crate) fn mark_confirmed(&mut self) {
        if !std::mem::replace(&mut self.confirmed, true) {
            self.reporter.confirmed(self.accepted_at.elapsed());
        }
    }

    /// Tells the publisher that the message may not be published.
    pub(crate) fn refuse(mut self, error: PublishError) {
        self.fail(error);
    }

    fn fail(&mut self, error: PublishError) {
        let trace_id = TraceField::of(self.request.trace.as_ref());
        self.reporter.emit(Event::PublishFailed { outcome: error.into(), trace_id });
        self.settle(Err(error));
    }

    fn settle(&mut self, outcome: PublishOutcome) {
        if let Some(sender) = self.outcome.take() {
            // The publisher may be gone.
            let _ = sender.send(outcome);
        }
    }

    /// The message that subscribers receive.
    pub(crate) fn message(&self, id: Arc<str>, position: Option<u64>) -> Message {
        Message {
            id,
            position,
            channel: self.request.channel.clone(),
            text: self.request.text.clone(),
            date: self.date.clone(),
            dated: true,
            trace: self.request.trace.clone().filter(SpanContext::is_sampled),
        }
    }
}

impl Drop for QueuedPublish {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.cost, Ordering::Relaxed);
        self.reporter.settled(self.cost);
        // Every publisher gets an outcome.
        if self.outcome.is_some() {
            self.fail(PublishError::Closing);
        }
    }
}

/// A future that resolves to the outcome of an accepted message.
#[derive(Debug)]
pub struct PublishAck(oneshot::Receiver<PublishOutcome>);

impl Future for PublishAck {
    type Output = PublishOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(outcome.unwrap_or(Err(PublishError::Closing)))
    }
}

/// Current time, RFC 3339 with milliseconds.
pub(crate) fn rfc3339_now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_state_counts_against_the_budget() {
        let (publisher, _accepted) =
            channel(&Config::from_vars([]).unwrap(), &Arc::new(Reporter::new()));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cost = |state: &str| {
            let before = publisher.budget.used.load(Ordering::Relaxed);
            let text = serde_json::value::to_raw_value("hello").unwrap();
            let trace = trace_context::parse(parent, Some(state));
            let request = PublishRequest { channel: Channel::default(), text, key: None, trace };
            drop(publisher.submit(request).unwrap());
            publisher.budget.used.load(Ordering::Relaxed) - before
        };
        assert_eq!(cost("vendor=1") - cost(""), "vendor=1".len());
    }
}
