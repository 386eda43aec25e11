//! Subscribers and their subscriptions: who receives which channel, and who is to be woken.

use super::subscriber::{Subscriber, Subscription};
use super::{Hub, ReadFrom, Sequence, SubscriberId};
use std::mem;
use std::task::Waker;
use warren_protocol::message::Channel;

impl Hub {
    /// Adds a subscriber without subscriptions.
    pub fn open(&mut self) -> SubscriberId {
        SubscriberId(self.subscribers.insert(Subscriber::default()))
    }

    /// Removes a subscriber and its subscriptions.
    pub fn close(&mut self, subscriber: SubscriberId) {
        self.detach(subscriber.0);
        self.subscribers.remove(subscriber.0);
    }

    /// Subscribes to a channel that the subscriber is not subscribed to.
    pub fn subscribe(&mut self, subscriber: SubscriberId, channel: &Channel, from: ReadFrom) {
        let key = self.log_key(channel);
        let log = &mut self.logs[key];
        let (next, resumed) = match from {
            ReadFrom::At(Sequence(sequence)) => (log.index_at(sequence), true),
            ReadFrom::Last(count) => (log.index_of_last(count), false),
        };
        let bytes_read = log.bytes_before(next);
        let index_in_channel = log.subscribers.len() as u32;
        let subscription =
            Subscription { log: key as u32, index_in_channel, resumed, next, bytes_read };
        log.subscribers.push(subscriber.0);
        self.subscriptions += 1;
        let unread = log.bytes() - bytes_read;
        let subscriber = &mut self.subscribers[subscriber.0];
        subscriber.replay_bytes += unread;
        subscriber.subscriptions.push(subscription);
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&mut self, subscriber: SubscriberId, channel: &Channel) {
        let Some(key) = self.keys.get(channel).copied() else { return };
        let entry = &mut self.subscribers[subscriber.0];
        let Some(index) = entry.subscriptions.iter().position(|it| it.log() == key) else { return };
        let subscription = entry.subscriptions.remove(index);
        let unread = self.logs[key].bytes() - subscription.bytes_read;
        entry.replay_bytes = entry.replay_bytes.saturating_sub(unread);
        self.remove_from_channel(subscription);
    }

    /// Number of subscribers of a channel.
    pub fn subscribers_of(&self, channel: &Channel) -> usize {
        self.keys.get(channel).map_or(0, |key| self.logs[*key].subscribers.len())
    }

    /// Subscriptions of all subscribers together.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Takes a subscriber that has something to read and whose task was not woken: a woken task reads
    /// everything anyway.
    pub fn next_runnable(&mut self) -> Option<SubscriberId> {
        while let Some(id) = self.runnable.pop() {
            if self.subscribers.get(id.0).is_some_and(|subscriber| !subscriber.is_woken()) {
                return Some(id);
            }
        }
        None
    }

    /// Registers the waker of a subscriber's task. The task is about to read everything that waits.
    pub fn set_waker(&mut self, subscriber: SubscriberId, waker: &Waker) {
        self.subscribers[subscriber.0].set_waker(waker);
    }

    /// Wakes a subscriber's task, unless it was woken since it registered its waker.
    pub fn wake(&mut self, subscriber: SubscriberId) {
        self.subscribers[subscriber.0].wake();
    }

    /// Removes all subscriptions of a subscriber.
    pub(super) fn detach(&mut self, id: usize) {
        for subscription in mem::take(&mut self.subscribers[id].subscriptions) {
            self.remove_from_channel(subscription);
        }
    }

    /// Removes a subscription from its channel's list. The last of that list takes its index, so that
    /// the cost does not depend on the number of subscribers.
    fn remove_from_channel(&mut self, subscription: Subscription) {
        let key = subscription.log();
        let index = subscription.index_in_channel;
        let subscribers = &mut self.logs[key].subscribers;
        subscribers.swap_remove(index as usize);
        self.subscriptions -= 1;
        if let Some(moved) = subscribers.get(index as usize) {
            let mut subscriptions = self.subscribers[*moved].subscriptions.iter_mut();
            if let Some(moved) = subscriptions.find(|it| it.log() == key) {
                moved.index_in_channel = index;
            }
        }
        self.forget_if_idle(key);
    }
}
