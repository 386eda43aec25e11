//! One client's way through what it listens to: what it missed first, then what is said from now on.
//! The same for WebSockets and event streams.

use super::resume::{Replay, ReplayError, ReplayItem, ResumeFailure, Resumed, resume};
use crate::connection::ConnectionHandle;
use crate::worker::Worker;
use futures_util::future::LocalBoxFuture;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use warren_broker::LogError;
use warren_hub::ReadFrom;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::{Channel, is_vague};
use warren_protocol::websocket::CloseReason;

/// Channels that one client may listen to.
pub const MAX_CHANNELS: usize = 64;

/// What is to be listened to, and from where on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub channels: Vec<Channel>,
    /// Id of the last message that the client has.
    pub after: Option<String>,
    /// How many recent messages of each channel it wants, if what it missed is not known.
    pub history: usize,
}

/// How a wish was met.
#[derive(Debug, Default)]
pub struct SubscribeResult {
    pub recovered: bool,
    pub reason: Option<&'static str>,
    /// Where to come back to before a message has arrived.
    pub cursor: Option<String>,
}

/// What a client is to be told next. `T` names the wish that is answered.
#[derive(Debug)]
pub enum SubscriptionEvent<T> {
    SubscribeResult(T, SubscribeResult),
    Message(Arc<EncodedMessage>),
    /// It cannot go on.
    Failed(CloseReason),
}

/// See the module.
pub struct Subscriptions<T> {
    worker: Rc<Worker>,
    pub client: Rc<ConnectionHandle>,
    channels: Vec<Channel>,
    /// Wishes that are being met, one after the other.
    wishes: VecDeque<(T, SubscribeRequest, Stage)>,
}

enum Stage {
    Begin,
    Asking(LocalBoxFuture<'static, Result<Resumed, LogError>>),
    Replaying(Replay),
}

impl<T> std::fmt::Debug for Subscriptions<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriptions").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl<T: Clone> Subscriptions<T> {
    /// A client of this worker that listens to nothing yet. `answers`: it can show that it lives.
    pub fn new(worker: &Rc<Worker>, answers: bool) -> Self {
        let client = Rc::new(ConnectionHandle::new(worker.hub.borrow_mut().open(), answers));
        worker.enter(&client);
        let (channels, wishes) = (Vec::new(), VecDeque::new());
        Self { worker: worker.clone(), client, channels, wishes }
    }

    /// What is listened to, or will be.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Meets a wish for channels that are not listened to, after those before it.
    pub fn wish(&mut self, name: T, wish: SubscribeRequest) {
        // Most have one channel and one wish: room for no more is made.
        self.channels.reserve_exact(wish.channels.len());
        self.channels.extend(wish.channels.iter().cloned());
        self.wishes.reserve_exact(1);
        self.wishes.push_back((name, wish, Stage::Begin));
    }

    /// Listens to a channel no longer. The name of the wish for it, if it was to be answered yet and
    /// was for nothing else.
    pub fn leave(&mut self, channel: &Channel) -> Option<T> {
        self.channels.retain(|known| known != channel);
        self.worker.hub.borrow_mut().unsubscribe(self.client.reader, channel);
        let place = self.wishes.iter().position(|(_, wish, _)| wish.channels.contains(channel))?;
        let wish = &mut self.wishes[place].1;
        wish.channels.retain(|known| known != channel);
        if !wish.channels.is_empty() {
            return None;
        }
        let (name, _, stage) = self.wishes.remove(place)?;
        if matches!(stage, Stage::Replaying(_)) { None } else { Some(name) }
    }

    /// What is to be told before anything that waits in the hub. The task is woken when there is more.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<SubscriptionEvent<T>> {
        let said = self.step(context);
        if let Poll::Ready(SubscriptionEvent::Failed(_)) = said {
            self.wishes.clear();
        }
        said
    }

    /// There is no room for more, for now.
    pub fn rest(&mut self) {
        if let Some((.., Stage::Replaying(replay))) = self.wishes.front_mut() {
            replay.rest();
        }
    }

    fn step(&mut self, context: &mut Context<'_>) -> Poll<SubscriptionEvent<T>> {
        while let Some((name, wish, stage)) = self.wishes.front_mut() {
            match stage {
                // Without channels nothing was missed.
                Stage::Begin => match wish.after.take().filter(|_| !wish.channels.is_empty()) {
                    Some(id) => {
                        let worker = self.worker.clone();
                        let asking = async move { resume(worker, &id).await };
                        *stage = Stage::Asking(Box::pin(asking));
                    }
                    None => {
                        let start = ReadFrom::Last(wish.history);
                        return Poll::Ready(self.met(start, None));
                    }
                },
                Stage::Asking(asking) => {
                    let Poll::Ready(resumed) = Pin::new(asking).poll(context) else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(match resumed {
                        Ok(Resumed::Memory(place)) => self.met(ReadFrom::At(place), None),
                        Ok(Resumed::Failed(lost)) => {
                            let history = wish.history;
                            self.met(ReadFrom::Last(history), Some(lost))
                        }
                        Ok(Resumed::Log(replay)) => {
                            *stage = Stage::Replaying(replay);
                            SubscriptionEvent::SubscribeResult(
                                name.clone(),
                                SubscribeResult::recovered(),
                            )
                        }
                        Err(_) => SubscriptionEvent::Failed(CloseReason::LogUnreadable),
                    });
                }
                Stage::Replaying(replay) => {
                    match replay.poll(&self.worker, &wish.channels, context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(ReplayItem::Message(message))) => {
                            return Poll::Ready(SubscriptionEvent::Message(message));
                        }
                        Poll::Ready(Ok(ReplayItem::Joined(place))) => {
                            drop(self.listen(ReadFrom::At(place)))
                        }
                        Poll::Ready(Err(ReplayError::Overtaken)) => {
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

    /// The first wish is met from memory.
    fn met(&mut self, start: ReadFrom, lost: Option<ResumeFailure>) -> SubscriptionEvent<T> {
        let recovered = matches!(start, ReadFrom::At(_));
        let newest = self.worker.hub.borrow().newest_id().map(ToString::to_string);
        let cursor = newest.filter(|newest| !recovered && !is_vague(newest));
        match self.listen(start) {
            Some(name) => SubscriptionEvent::SubscribeResult(
                name,
                SubscribeResult { recovered, reason: lost.map(ResumeFailure::code), cursor },
            ),
            // It was there when this was called.
            None => SubscriptionEvent::Failed(CloseReason::Restart),
        }
    }

    /// Has the hub do the rest for the first wish.
    fn listen(&mut self, start: ReadFrom) -> Option<T> {
        let (name, wish, _) = self.wishes.pop_front()?;
        self.wishes.shrink_to_fit();
        let mut hub = self.worker.hub.borrow_mut();
        for channel in &wish.channels {
            hub.subscribe(self.client.reader, channel, start);
        }
        Some(name)
    }
}

impl SubscribeResult {
    fn recovered() -> Self {
        Self { recovered: true, reason: None, cursor: None }
    }
}

impl<T> Drop for Subscriptions<T> {
    fn drop(&mut self) {
        self.worker.hub.borrow_mut().close(self.client.reader);
        self.worker.leave(self.client.reader);
    }
}
