//! The channels, recent messages and subscribers of one worker.
//!
//! One hub belongs to one worker thread. It is plain data: no lock, no I/O, no task. A message is
//! appended once, to the log of its channel. Each subscription is a cursor into one channel log, and
//! subscribers read from there at their own pace. The lag of a cursor is the measure of a slow
//! subscriber; the tail of the logs is the history that new and resuming subscribers get.
//!
//! - [`Hub::append`], [`Hub::commit`]: messages in (this file), once for a batch.
//! - `subscribe`: subscribers and their subscriptions; `subscriber` is the state of one.
//! - `read`: messages out, and lag.
//! - `position`: cursors and positions; `position_waiters` wakes tasks that wait for one.
//! - `channel_log`: the messages and subscribers of one channel.

mod channel_log;
mod position;
mod position_waiters;
mod read;
mod subscribe;
mod subscriber;
#[cfg(test)]
mod tests;

pub use position_waiters::WaiterId;

use channel_log::ChannelLog;
use position_waiters::PositionWaiters;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use subscriber::Subscriber;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// Bytes of history kept beyond four times the backlog limit, whatever is configured.
const MIN_HISTORY: u64 = 64 << 10;

/// Identifies a subscriber of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberId(usize);

impl SubscriberId {
    /// Small number, unique among the current subscribers.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Sequence number of a message among all channels of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(u64);

/// Start of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum ReadFrom {
    /// The last `n` messages of the channel, then new ones.
    Last(usize),
    /// The first message of the channel at this sequence or after it: the subscriber resumes.
    At(Sequence),
}

/// A subscriber lagged beyond the backlog limit. It was detached and receives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// Limits of a hub. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Memory for recent messages, over all channels, of all hubs that share them.
    pub history: usize,
    /// Number of hubs that share the same encoded messages: one for each worker.
    pub hubs: usize,
    /// Bytes of frames that may wait for one subscriber.
    pub backlog: u64,
}

/// The channels, recent messages and subscribers of one worker.
#[derive(Debug)]
pub struct Hub {
    limits: HubLimits,
    logs: Slab<ChannelLog>,
    /// Key of each channel's log in `logs`.
    keys: HashMap<Channel, usize>,
    subscribers: Slab<Subscriber>,
    /// Subscriptions of all subscribers together.
    subscriptions: usize,
    /// Every message in memory with the key of its log, oldest first: the order of eviction.
    messages: VecDeque<(usize, Arc<EncodedMessage>)>,
    /// Sequence number of the first entry of `messages`.
    first: u64,
    epoch: u64,
    /// Sequence number at which the current epoch started.
    epoch_start: u64,
    /// First position from which every message of the current epoch is in memory. `None` before the
    /// first epoch.
    complete_from: Option<u64>,
    position_waiters: PositionWaiters,
    /// Accounted memory of the committed messages.
    history_bytes: usize,
    /// Accounted memory of the messages appended since the last commit.
    uncommitted_bytes: usize,
    /// Keys of the logs appended to since the last commit.
    dirty_channels: Vec<usize>,
    /// Subscribers with committed messages to read.
    runnable: Vec<SubscriberId>,
}

impl Hub {
    pub fn new(limits: HubLimits) -> Self {
        // A subscriber must count as slow before messages it has not read are evicted. Small messages
        // are accounted with a multiple of their frames, hence the factor.
        let min = limits.backlog.saturating_mul(4).saturating_add(MIN_HISTORY) as usize;
        let history = limits.history.max(min);
        Self {
            limits: HubLimits { history, ..limits },
            logs: Slab::new(),
            keys: HashMap::new(),
            subscribers: Slab::new(),
            subscriptions: 0,
            messages: VecDeque::new(),
            first: 0,
            epoch: 0,
            epoch_start: 0,
            complete_from: None,
            position_waiters: PositionWaiters::default(),
            history_bytes: 0,
            uncommitted_bytes: 0,
            dirty_channels: Vec::new(),
            runnable: Vec::new(),
        }
    }

    /// Appends a message to its channel's log. Subscribers are not told before [`Hub::commit`].
    pub fn append(&mut self, message: Arc<EncodedMessage>) {
        let key = self.log_key(&message.channel);
        let sequence = self.next_sequence();
        if self.logs[key].is_empty() {
            self.uncommitted_bytes += self.channel_cost(&message.channel);
        }
        if self.logs[key].push(sequence, message.clone()) {
            self.dirty_channels.push(key);
        }
        self.uncommitted_bytes += self.message_cost(&message);
        self.messages.push_back((key, message));
    }

    /// Appends a message published before this replica started. Only subscribers that resumed from an
    /// earlier message receive it.
    pub fn backfill(&mut self, message: Arc<EncodedMessage>) {
        let key = self.log_key(&message.channel);
        let (end, size) = (self.logs[key].end(), message.frame.len() as u64);
        self.append(message);
        for id in &self.logs[key].subscribers {
            for subscription in &mut self.subscribers[*id].subscriptions {
                // A subscriber that has read to the end skips the message. One that has not is still
                // reading an earlier epoch, and gets this message after it.
                if subscription.log() == key && subscription.next == end && !subscription.resumed {
                    subscription.next += 1;
                    subscription.bytes_read += size;
                }
            }
        }
    }

    /// Starts an epoch: positions of messages appended from now on belong to a new order, of which
    /// nothing is missing from `position` on.
    pub fn reset_epoch(&mut self, position: u64) {
        self.epoch += 1;
        self.epoch_start = self.next_sequence();
        self.complete_from = Some(position);
        self.position_waiters.wake_up_to(u64::MAX);
    }

    /// Makes appended messages visible: their subscribers become runnable, and those beyond the
    /// backlog limit are detached and woken. Messages appended since the last commit count neither as
    /// lag nor for eviction, since nobody had a chance to read them.
    pub fn commit(&mut self) {
        let dirty_channels = std::mem::take(&mut self.dirty_channels);
        for key in &dirty_channels {
            let count = self.logs.get(*key).map_or(0, |log| log.subscribers.len());
            // Detaching removes a subscriber from this list by moving the last one: walk from the end.
            for index in (0..count).rev() {
                let id = self.logs[*key].subscribers[index];
                if self.live_lag(SubscriberId(id)) > self.limits.backlog {
                    self.detach(id);
                    self.subscribers[id].overrun = true;
                    self.subscribers[id].wake();
                } else {
                    self.runnable.push(SubscriberId(id));
                }
            }
        }
        for key in dirty_channels {
            if let Some(log) = self.logs.get_mut(key) {
                log.commit();
            }
        }
        while self.history_bytes > self.limits.history {
            self.evict();
        }
        self.history_bytes += std::mem::take(&mut self.uncommitted_bytes);
        if !self.position_waiters.is_empty()
            && let Some(newest) = self.newest_position()
        {
            self.position_waiters.wake_up_to(newest);
        }
    }

    /// Channels with subscribers or messages.
    pub fn channels(&self) -> usize {
        self.logs.len()
    }

    /// Accounted memory of the messages in memory, in bytes, for all hubs that share them.
    pub fn history_bytes(&self) -> usize {
        self.history_bytes + self.uncommitted_bytes
    }

    /// Key of a channel's log, which is created if needed.
    fn log_key(&mut self, channel: &Channel) -> usize {
        match self.keys.get(channel) {
            Some(key) => *key,
            None => {
                let key = self.logs.insert(ChannelLog::new(channel.clone()));
                self.keys.insert(channel.clone(), key);
                key
            }
        }
    }

    /// Accounted memory of a message: its frames once, and the bookkeeping of each hub.
    fn message_cost(&self, message: &EncodedMessage) -> usize {
        const SHARED: usize = 192;
        const PER_HUB: usize = 120;
        message.size() + message.id.len() + SHARED + PER_HUB * self.limits.hubs
    }

    /// Accounted memory of a channel that has messages: its name once, and the bookkeeping of each hub.
    fn channel_cost(&self, channel: &Channel) -> usize {
        const SHARED: usize = 32;
        const PER_HUB: usize = 256;
        channel.as_str().len() + SHARED + PER_HUB * self.limits.hubs
    }

    /// Drops the oldest message.
    fn evict(&mut self) {
        let Some((key, message)) = self.messages.pop_front() else { return };
        if self.first >= self.epoch_start
            && let (Some(from), Some(position)) = (&mut self.complete_from, message.position)
        {
            *from = position + 1;
        }
        self.first += 1;
        self.history_bytes -= self.message_cost(&message);
        self.logs[key].pop();
        if self.logs[key].is_empty() {
            self.history_bytes -= self.channel_cost(&message.channel);
        }
        self.forget_if_idle(key);
    }

    fn forget_if_idle(&mut self, key: usize) {
        if self.logs[key].is_idle() {
            let log = self.logs.remove(key);
            self.keys.remove(&log.channel);
        }
    }
}
