//! Reading: which messages wait for a subscriber, and how far it lags behind.

use super::subscriber::Subscription;
use super::{Hub, Overrun, SubscriberId};
use std::sync::Arc;
use warren_protocol::encoded::EncodedMessage;

impl Hub {
    /// Passes the messages that wait for a subscriber to `take`, in order, until `take` returns false.
    /// [`Hub::advance`] then moves the subscriber past those that were written.
    ///
    /// # Errors
    /// [`Overrun`] if the subscriber lagged too far behind and was detached.
    pub fn peek<'a>(
        &'a self,
        subscriber: SubscriberId,
        mut take: impl FnMut(&'a Arc<EncodedMessage>) -> bool,
    ) -> Result<(), Overrun> {
        let subscriber = &self.subscribers[subscriber.0];
        if subscriber.overrun {
            return Err(Overrun);
        }
        match &subscriber.subscriptions[..] {
            [] => {}
            [subscription] => {
                let log = &self.logs[subscription.log()];
                for (_, message) in log.from(subscription.next).ok_or(Overrun)? {
                    if !take(message) {
                        break;
                    }
                }
            }
            subscriptions => {
                let mut subscriptions = subscriptions.to_vec();
                while let Some(index) = self.earliest(&subscriptions)? {
                    let subscription = &mut subscriptions[index];
                    let Some((_, message)) = self.logs[subscription.log()].get(subscription.next)
                    else {
                        break;
                    };
                    subscription.next += 1;
                    if !take(message) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves a subscriber past the next `count` messages that [`Hub::peek`] showed.
    pub fn advance(&mut self, subscriber: SubscriberId, count: usize) {
        for _ in 0..count {
            let subscriptions = &self.subscribers[subscriber.0].subscriptions;
            let index = if subscriptions.len() == 1 {
                Some(0)
            } else {
                self.earliest(subscriptions).ok().flatten()
            };
            let Some(index) = index else { return };
            let subscription = &mut self.subscribers[subscriber.0].subscriptions[index];
            if let Some((_, message)) = self.logs[subscription.log()].get(subscription.next) {
                subscription.next += 1;
                let size = message.frame.len() as u64;
                subscription.bytes_read += size;
                let subscriber = &mut self.subscribers[subscriber.0];
                subscriber.replay_bytes = subscriber.replay_bytes.saturating_sub(size);
            }
        }
    }

    /// Frame bytes that wait for a subscriber.
    pub fn lag(&self, subscriber: SubscriberId) -> u64 {
        let subscriptions = self.subscribers[subscriber.0].subscriptions.iter();
        subscriptions.map(|it| self.logs[it.log()].bytes() - it.bytes_read).sum()
    }

    /// Committed frame bytes that a subscriber has not read, without the history or replay that it
    /// asked for. Above the backlog limit it counts as slow.
    pub fn live_lag(&self, subscriber: SubscriberId) -> u64 {
        let subscriber = &self.subscribers[subscriber.0];
        let subscriptions = subscriber.subscriptions.iter();
        let waiting = subscriptions
            .map(|it| self.logs[it.log()].committed_bytes().saturating_sub(it.bytes_read));
        waiting.sum::<u64>().saturating_sub(subscriber.replay_bytes)
    }

    /// Index of the subscription whose next message has the lowest sequence number.
    fn earliest(&self, subscriptions: &[Subscription]) -> Result<Option<usize>, Overrun> {
        let mut earliest = None;
        for (index, subscription) in subscriptions.iter().enumerate() {
            let log = &self.logs[subscription.log()];
            if log.from(subscription.next).is_none() {
                return Err(Overrun);
            }
            if let Some((sequence, _)) = log.get(subscription.next)
                && earliest.is_none_or(|(least, _)| *sequence < least)
            {
                earliest = Some((*sequence, index));
            }
        }
        Ok(earliest.map(|(_, index)| index))
    }
}
