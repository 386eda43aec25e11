//! Who listens to which channel, what was said there lately, and how far each listener has read.
//!
//! One hub belongs to one worker thread: plain data, no lock, no I/O, no actix, no lapin. A broadcast
//! is appended once; each of its channel's readers holds a cursor and takes frames from there in its
//! own time. How far a cursor lags is the bound on a slow reader, and the tail of the logs is the
//! history that a new or returning reader gets.

mod arrivals;
mod log;
mod order;
mod reader;
mod reading;
#[cfg(test)]
mod tests;

use arrivals::PositionWaiters;
pub use arrivals::WaiterId;
use log::ChannelLog;
use reader::{Cursor, Subscriber};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// History kept whatever the limits, beyond what readers may have waiting.
const LEAST_HISTORY: u64 = 64 << 10;

/// Names a reader of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberId(usize);

impl SubscriberId {
    /// A small number that no other reader has at the time.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A place in the order over all channels of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(u64);

/// Where a reader begins to listen to a channel.
#[derive(Clone, Copy, Debug)]
pub enum ReadFrom {
    /// With the last so many messages of it.
    Last(usize),
    At(Sequence),
}

/// The reader lagged further behind than it may; it is detached and gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// Limits of a hub, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Memory for recent messages, over all channels, of this hub and those that share its frames.
    pub history: usize,
    /// Hubs that keep the same messages: one of each worker.
    pub hubs: usize,
    /// Frames that a reader may have waiting.
    pub backlog: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    limits: HubLimits,
    by_name: HashMap<Channel, usize>,
    logs: Slab<ChannelLog>,
    readers: Slab<Subscriber>,
    /// Cursors of all readers together.
    subscriptions: usize,
    /// Every message in the logs, oldest first: the order over all channels, and of eviction.
    order: VecDeque<(usize, Arc<EncodedMessage>)>,
    /// Sequence number of the first in `order`.
    first: u64,
    /// How many orders have begun, and the sequence number from which on positions are of the present.
    epoch: u64,
    beginning: u64,
    /// Every message of the present order with this position or a higher one was appended and is
    /// kept. `None` where there is no such order.
    kept_from: Option<u64>,
    /// Who waits for a position to be reached.
    arrivals: PositionWaiters,
    /// Cost of what is kept, without what is fresh.
    kept: usize,
    /// Cost of what was appended and not announced, and where.
    uncommitted_bytes: usize,
    dirty_channels: Vec<usize>,
    /// Who has something to read that was announced.
    runnable: Vec<SubscriberId>,
}

impl Hub {
    pub fn new(limits: HubLimits) -> Self {
        // What a reader may have waiting must not be evicted before it is too slow; frames are
        // accounted with more than their own bytes, small ones with a multiple.
        let least = limits.backlog.saturating_mul(4).saturating_add(LEAST_HISTORY) as usize;
        let history = limits.history.max(least);
        Self {
            limits: HubLimits { history, ..limits },
            by_name: HashMap::new(),
            logs: Slab::new(),
            readers: Slab::new(),
            subscriptions: 0,
            order: VecDeque::new(),
            first: 0,
            epoch: 0,
            beginning: 0,
            kept_from: None,
            arrivals: PositionWaiters::default(),
            kept: 0,
            uncommitted_bytes: 0,
            dirty_channels: Vec::new(),
            runnable: Vec::new(),
        }
    }

    /// Adds a message to its channel's log. [`Hub::announce`] then makes it due, once for many.
    pub fn append(&mut self, broadcast: Arc<EncodedMessage>) {
        let index = self.log(&broadcast.channel);
        let sequence = self.next_sequence();
        if self.logs[index].is_empty() {
            self.uncommitted_bytes += self.cost_of(&broadcast.channel);
        }
        if self.logs[index].push(sequence, broadcast.clone()) {
            self.dirty_channels.push(index);
        }
        self.uncommitted_bytes += self.cost(&broadcast);
        self.order.push_back((index, broadcast));
    }

    /// Adds a message that was said before this replica was: those who listen do not get it, unless
    /// they go on from one before it.
    pub fn backfill(&mut self, broadcast: Arc<EncodedMessage>) {
        let index = self.log(&broadcast.channel);
        let (end, size) = (self.logs[index].end(), broadcast.frame.len() as u64);
        self.append(broadcast);
        for id in &self.logs[index].readers {
            let cursors = &mut self.readers[*id].cursors;
            // Who has not read to the end was here before another order began.
            let early = |it: &&mut Cursor| it.log() == index && it.next == end && !it.resumed;
            for cursor in cursors.iter_mut().filter(early) {
                cursor.next += 1;
                cursor.read += size;
            }
        }
    }

    /// What is appended from now on has positions of an order of its own, and from this one on nothing
    /// of it is missing.
    pub fn reset_epoch(&mut self, position: u64) {
        self.epoch += 1;
        self.beginning = self.next_sequence();
        self.kept_from = Some(position);
        self.arrivals.reached(u64::MAX);
    }

    /// Makes each reader of each log that has grown due, and detaches those too far behind, whose tasks
    /// are woken. What was appended since the last call is neither held against anyone nor evicted:
    /// nobody had a chance to read it.
    pub fn commit(&mut self) {
        let dirty_channels = std::mem::take(&mut self.dirty_channels);
        for index in &dirty_channels {
            let listeners = self.logs.get(*index).map_or(0, |log| log.readers.len());
            // Detaching takes a reader off this list, so it is walked from its end.
            for place in (0..listeners).rev() {
                let id = self.logs[*index].readers[place];
                if self.live_lag(SubscriberId(id)) > self.limits.backlog {
                    self.detach(id);
                    self.readers[id].overrun = true;
                    self.readers[id].wake();
                } else {
                    self.runnable.push(SubscriberId(id));
                }
            }
        }
        for index in dirty_channels {
            if let Some(log) = self.logs.get_mut(index) {
                log.commit();
            }
        }
        while self.kept > self.limits.history {
            self.evict();
        }
        self.kept += std::mem::take(&mut self.uncommitted_bytes);
        if !self.arrivals.is_empty()
            && let Some(newest) = self.newest_position()
        {
            self.arrivals.reached(newest);
        }
    }

    /// The next who is due and has not been woken: whoever has been will read it all.
    pub fn next_runnable(&mut self) -> Option<SubscriberId> {
        while let Some(reader) = self.runnable.pop() {
            if self.readers.get(reader.0).is_some_and(|reader| !reader.is_woken()) {
                return Some(reader);
            }
        }
        None
    }

    /// How many listen to a channel.
    pub fn subscribers_of(&self, channel: &Channel) -> usize {
        self.by_name.get(channel).map_or(0, |index| self.logs[*index].readers.len())
    }

    /// Opens a reader that listens to nothing yet.
    pub fn open(&mut self) -> SubscriberId {
        SubscriberId(self.readers.insert(Subscriber::default()))
    }

    /// Has `reader` listen to a channel that it does not listen to.
    pub fn subscribe(&mut self, reader: SubscriberId, channel: &Channel, start: ReadFrom) {
        let index = self.log(channel);
        let log = &mut self.logs[index];
        let next = match start {
            ReadFrom::At(Sequence(sequence)) => log.since(sequence),
            ReadFrom::Last(count) => log.last(count),
        };
        let resumed = matches!(start, ReadFrom::At(_));
        let read = log.bytes_before(next);
        let index_in_channel = log.readers.len() as u32;
        let cursor = Cursor { log: index as u32, index_in_channel, resumed, next, read };
        log.readers.push(reader.0);
        self.subscriptions += 1;
        let behind = log.bytes() - cursor.read;
        let reader = &mut self.readers[reader.0];
        reader.replay += behind;
        reader.cursors.push(cursor);
    }

    /// Has `reader` no longer listen to a channel.
    pub fn unsubscribe(&mut self, reader: SubscriberId, channel: &Channel) {
        let Some(index) = self.by_name.get(channel).copied() else { return };
        let cursors = &mut self.readers[reader.0].cursors;
        let Some(place) = cursors.iter().position(|cursor| cursor.log() == index) else { return };
        let cursor = cursors.remove(place);
        let unread = self.logs[index].bytes() - cursor.read;
        let entry = &mut self.readers[reader.0];
        entry.replay = entry.replay.saturating_sub(unread);
        self.take_off(cursor);
    }

    /// Forgets a reader.
    pub fn close(&mut self, reader: SubscriberId) {
        self.detach(reader.0);
        self.readers.remove(reader.0);
    }

    /// Has `waker` woken at [`Hub::wake`]. The reader is about to read all that there is.
    pub fn set_waker(&mut self, reader: SubscriberId, waker: &Waker) {
        self.readers[reader.0].set_waker(waker);
    }

    /// Wakes a reader, if it was not since it came last.
    pub fn wake(&mut self, reader: SubscriberId) {
        self.readers[reader.0].wake();
    }

    /// Channels known: with readers, or with messages kept.
    pub fn channels(&self) -> usize {
        self.logs.len()
    }

    /// Channels listened to, of all readers together.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Memory that the messages kept are accounted with, for all hubs that keep the same.
    pub fn kept(&self) -> usize {
        self.kept + self.uncommitted_bytes
    }

    /// The log of a channel, made if need be.
    fn log(&mut self, channel: &Channel) -> usize {
        match self.by_name.get(channel) {
            Some(index) => *index,
            None => {
                let index = self.logs.insert(ChannelLog::new(channel.clone()));
                self.by_name.insert(channel.clone(), index);
                index
            }
        }
    }

    /// Memory that a message is accounted with: its frames, once, and what each hub keeps it with.
    fn cost(&self, broadcast: &EncodedMessage) -> usize {
        const SHARED: usize = 192;
        const OF_A_HUB: usize = 120;
        broadcast.size() + broadcast.id.len() + SHARED + OF_A_HUB * self.limits.hubs
    }

    /// Memory that a channel is accounted with while messages of it are kept: its name, once, and what each
    /// hub knows of it.
    fn cost_of(&self, channel: &Channel) -> usize {
        const SHARED: usize = 32;
        const OF_A_HUB: usize = 256;
        channel.as_str().len() + SHARED + OF_A_HUB * self.limits.hubs
    }

    /// Drops the oldest message.
    fn evict(&mut self) {
        let Some((index, broadcast)) = self.order.pop_front() else { return };
        if self.first >= self.beginning
            && let (Some(from), Some(position)) = (&mut self.kept_from, broadcast.position)
        {
            *from = position + 1;
        }
        self.first += 1;
        self.kept -= self.cost(&broadcast);
        self.logs[index].pop();
        if self.logs[index].is_empty() {
            self.kept -= self.cost_of(&broadcast.channel);
        }
        self.forget_if_idle(index);
    }

    /// Takes a reader off all its channels.
    fn detach(&mut self, id: usize) {
        for cursor in std::mem::take(&mut self.readers[id].cursors) {
            self.take_off(cursor);
        }
    }

    /// Takes off its log whose cursor this was. The last of the list takes that seat.
    fn take_off(&mut self, cursor: Cursor) {
        let readers = &mut self.logs[cursor.log()].readers;
        readers.swap_remove(cursor.index_in_channel as usize);
        self.subscriptions -= 1;
        if let Some(moved) = readers.get(cursor.index_in_channel as usize) {
            let mut cursors = self.readers[*moved].cursors.iter_mut();
            if let Some(its) = cursors.find(|its| its.log == cursor.log) {
                its.index_in_channel = cursor.index_in_channel;
            }
        }
        self.forget_if_idle(cursor.log());
    }

    fn forget_if_idle(&mut self, index: usize) {
        if self.logs[index].is_idle() {
            let log = self.logs.remove(index);
            self.by_name.remove(&log.channel);
        }
    }
}
