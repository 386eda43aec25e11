//! The subscriptions of one client: first what it missed, then new messages.

use super::replay::{Replay, ReplayError, ReplayItem};
use super::resume::{ResumeFailure, Resumed, resume};
use crate::connection::{ConnectionHandle, HubSource, KeepAlive};
use crate::worker::Worker;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use warren_broker::LogError;
use warren_hub::ReadFrom;
use warren_hub::SubscriberId;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::{Channel, is_vague};
use warren_protocol::websocket::CloseReason;

/// Channels that one client may be subscribed to.
pub const MAX_CHANNELS: usize = 64;

/// A request for channels, and where to start in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub channels: Vec<Channel>,
    /// Cursor: id of the last message that the client has.
    pub after: Option<String>,
    /// Recent messages of each channel to start with, if the client does not resume.
    pub history: usize,
}

impl SubscribeRequest {
    /// The request with the default channel, if it names none.
    pub fn or_default_channel(mut self) -> Self {
        if self.channels.is_empty() {
            self.channels.push(Channel::default());
        }
        self
    }
}

/// The result of a request.
#[derive(Debug, Default)]
pub struct SubscribeResult {
    /// The client resumed and misses nothing.
    pub recovered: bool,
    /// Why the client could not resume.
    pub reason: Option<ResumeFailure>,
    /// Cursor to resume from until the first message arrives.
    pub cursor: Option<String>,
}

/// The first notice to a client.
#[derive(Serialize)]
struct Ready<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    recovered: bool,
    replica: &'a str,
    version: &'a str,
}

impl SubscribeResult {
    fn recovered() -> Self {
        Self { recovered: true, reason: None, cursor: None }
    }

    /// The reason in the form that clients receive.
    pub fn reason_code(&self) -> Option<&'static str> {
        self.reason.map(ResumeFailure::code)
    }

    /// The first notice to a client, as JSON: the replica that serves it, and this result.
    pub fn ready_json(&self, replica: &str) -> String {
        let ready = Ready {
            cursor: self.cursor.as_deref(),
            reason: self.reason_code(),
            recovered: self.recovered,
            replica,
            version: env!("CARGO_PKG_VERSION"),
        };
        // Serializing to memory cannot fail.
        serde_json::to_string(&ready).unwrap_or_default()
    }
}

/// The next thing to send to a client. `T` identifies a request.
#[derive(Debug)]
pub enum SubscriptionEvent<T> {
    /// A request is answered.
    Subscribed(T, SubscribeResult),
    /// A message that the client missed.
    Message(Arc<EncodedMessage>),
    /// The client cannot continue: the connection must be closed.
    Failed(CloseReason),
}

/// The subscriptions of one client. Opens a subscriber of the worker's hub and closes it when dropped.
///
/// The fields of a direct write come first, as in [`Connection`](crate::connection::Connection).
#[repr(C)]
pub struct Subscriptions<T> {
    worker: Rc<Worker>,
    subscriber: SubscriberId,
    handle: Rc<ConnectionHandle>,
    /// Channels that are subscribed, or requested.
    channels: Vec<Channel>,
    /// Requests in progress. The first one is worked on, the others wait for it.
    requests: VecDeque<PendingRequest<T>>,
}

/// A request in progress.
struct PendingRequest<T> {
    tag: T,
    request: SubscribeRequest,
    stage: RequestStage,
}

enum RequestStage {
    New,
    Resuming(LocalBoxFuture<'static, Result<Resumed, LogError>>),
    /// Answered. The hub takes over where the replay ends.
    Replaying(Replay),
}

impl<T> std::fmt::Debug for Subscriptions<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriptions").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl<T: Clone> Subscriptions<T> {
    /// A new client of this worker, without subscriptions.
    pub fn new(worker: &Rc<Worker>, keep_alive: KeepAlive) -> Self {
        let (subscriber, handle) = worker.open(keep_alive);
        let (channels, requests) = (Vec::new(), VecDeque::new());
        Self { worker: worker.clone(), subscriber, handle, channels, requests }
    }

    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub fn subscriber(&self) -> SubscriberId {
        self.subscriber
    }

    pub fn handle(&self) -> &Rc<ConnectionHandle> {
        &self.handle
    }

    /// The messages that wait in the hub.
    pub fn source(&self) -> HubSource<'_> {
        HubSource { hub: &self.worker.hub, subscriber: self.subscriber }
    }

    /// Channels that are subscribed, or requested.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Requests channels that are not subscribed yet. Requests are answered in order.
    pub fn subscribe(&mut self, tag: T, request: SubscribeRequest) {
        // Most clients have one channel and one request: allocate exactly that.
        self.channels.reserve_exact(request.channels.len());
        self.channels.extend(request.channels.iter().cloned());
        self.requests.reserve_exact(1);
        self.requests.push_back(PendingRequest { tag, request, stage: RequestStage::New });
    }

    /// Cancels the subscription of a channel. Returns the tag of its request, if that had no other
    /// channels and was not answered yet.
    pub fn unsubscribe(&mut self, channel: &Channel) -> Option<T> {
        self.channels.retain(|known| known != channel);
        self.worker.hub.borrow_mut().unsubscribe(self.subscriber, channel);
        let names = |pending: &PendingRequest<T>| pending.request.channels.contains(channel);
        let index = self.requests.iter().position(names)?;
        let request = &mut self.requests[index].request;
        request.channels.retain(|known| known != channel);
        if !request.channels.is_empty() {
            return None;
        }
        let PendingRequest { tag, stage, .. } = self.requests.remove(index)?;
        if matches!(stage, RequestStage::Replaying(_)) { None } else { Some(tag) }
    }

    /// The next thing to send before the messages in the hub. If pending, the task is woken when there
    /// is more.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<SubscriptionEvent<T>> {
        let event = self.poll_request(context);
        if let Poll::Ready(SubscriptionEvent::Failed(_)) = event {
            self.requests.clear();
        }
        event
    }

    /// Releases what is buffered, because the client takes no more for now.
    pub fn release_buffers(&mut self) {
        if let Some(PendingRequest { stage: RequestStage::Replaying(replay), .. }) =
            self.requests.front_mut()
        {
            replay.release_buffers();
        }
    }

    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<SubscriptionEvent<T>> {
        while let Some(PendingRequest { tag, request, stage }) = self.requests.front_mut() {
            match stage {
                // Without channels there is nothing to resume.
                RequestStage::New => {
                    match request.after.take().filter(|_| !request.channels.is_empty()) {
                        Some(id) => {
                            let worker = self.worker.clone();
                            let resuming = async move { resume(worker, &id).await };
                            *stage = RequestStage::Resuming(Box::pin(resuming));
                        }
                        None => {
                            let from = ReadFrom::Last(request.history);
                            return Poll::Ready(self.answer(from, None));
                        }
                    }
                }
                RequestStage::Resuming(resuming) => {
                    let Poll::Ready(resumed) = Pin::new(resuming).poll(context) else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(match resumed {
                        Ok(Resumed::Memory(sequence)) => self.answer(ReadFrom::At(sequence), None),
                        Ok(Resumed::Failed(failure)) => {
                            let history = request.history;
                            self.answer(ReadFrom::Last(history), Some(failure))
                        }
                        Ok(Resumed::Log(replay)) => {
                            *stage = RequestStage::Replaying(replay);
                            SubscriptionEvent::Subscribed(tag.clone(), SubscribeResult::recovered())
                        }
                        Err(_) => SubscriptionEvent::Failed(CloseReason::LogUnreadable),
                    });
                }
                RequestStage::Replaying(replay) => {
                    match replay.poll(&self.worker, &request.channels, context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(ReplayItem::Message(message))) => {
                            return Poll::Ready(SubscriptionEvent::Message(message));
                        }
                        Poll::Ready(Ok(ReplayItem::Joined(sequence))) => {
                            drop(self.hand_to_hub(ReadFrom::At(sequence)));
                        }
                        Poll::Ready(Err(ReplayError::Expired)) => {
                            return Poll::Ready(SubscriptionEvent::Failed(
                                CloseReason::ReplayExpired,
                            ));
                        }
                        Poll::Ready(Err(ReplayError::Unreadable(_))) => {
                            return Poll::Ready(SubscriptionEvent::Failed(
                                CloseReason::LogUnreadable,
                            ));
                        }
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Answers the first request, whose messages all come from the hub.
    fn answer(&mut self, from: ReadFrom, reason: Option<ResumeFailure>) -> SubscriptionEvent<T> {
        let recovered = matches!(from, ReadFrom::At(_));
        let newest = self.worker.hub.borrow().newest_id().map(ToString::to_string);
        let cursor = newest.filter(|newest| !recovered && !is_vague(newest));
        match self.hand_to_hub(from) {
            Some(tag) => {
                SubscriptionEvent::Subscribed(tag, SubscribeResult { recovered, reason, cursor })
            }
            // Not reached: the caller has just seen the request.
            None => SubscriptionEvent::Failed(CloseReason::Restart),
        }
    }

    /// Completes the first request: subscribes its channels in the hub. Returns its tag.
    fn hand_to_hub(&mut self, from: ReadFrom) -> Option<T> {
        let PendingRequest { tag, request, .. } = self.requests.pop_front()?;
        self.requests.shrink_to_fit();
        let mut hub = self.worker.hub.borrow_mut();
        for channel in &request.channels {
            hub.subscribe(self.subscriber, channel, from);
        }
        Some(tag)
    }
}

impl<T> Drop for Subscriptions<T> {
    fn drop(&mut self) {
        self.worker.close(self.subscriber);
    }
}
