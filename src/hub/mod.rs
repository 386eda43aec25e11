//! Who listens to which channel, what was said there lately, and how far each listener has read.
//!
//! One hub belongs to one worker thread: plain data, no lock, no I/O, no actix, no lapin. A broadcast
//! is appended once; each of its channel's readers holds a cursor and takes frames from there in its
//! own time. How far a cursor lags is the bound on a slow reader, and the tail of the logs is the
//! history that a new or returning reader gets.

mod log;
mod reader;
#[cfg(test)]
mod tests;

use crate::message::{self, Channel};
use bytes::Bytes;
use log::Log;
use reader::{Cursor, Reader};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

/// A message in the form that goes to clients, encoded once and shared by all workers.
#[derive(Debug)]
pub struct Broadcast {
    pub id: Arc<str>,
    /// Its place in the order shared by all replicas, where there is one; never falls.
    pub position: Option<u64>,
    pub channel: Channel,
    /// The WebSocket frame, header included.
    pub frame: Bytes,
}

/// History kept whatever the limits, beyond what readers may have waiting.
const LEAST_HISTORY: u64 = 64 << 10;

/// Names a reader of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderId(usize);

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start<'a> {
    /// Everything after the message of this id, if that message is still known.
    pub after: Option<&'a str>,
    /// Otherwise the last so many messages of each channel.
    pub history: usize,
}

/// The reader lagged further behind than it may; it is detached and gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// Limits of a hub, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
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
    limits: Limits,
    by_name: HashMap<Channel, usize>,
    logs: Slab<Log>,
    readers: Slab<Reader>,
    /// Every message in the logs, oldest first: the order over all channels, and of eviction.
    order: VecDeque<(usize, Arc<Broadcast>)>,
    /// Sequence number of the first in `order`.
    first: u64,
    /// Cost of what is kept, without what is fresh.
    kept: usize,
    /// Cost of what was appended since the readers were woken last, and where.
    fresh: usize,
    grown: Vec<usize>,
}

impl Hub {
    pub fn new(limits: Limits) -> Self {
        // What a reader may have waiting must not be evicted before it is too slow; frames are
        // accounted with more than their own bytes, small ones with a multiple.
        let least = limits.backlog.saturating_mul(4).saturating_add(LEAST_HISTORY) as usize;
        let history = limits.history.max(least);
        Self {
            limits: Limits { history, ..limits },
            by_name: HashMap::new(),
            logs: Slab::new(),
            readers: Slab::new(),
            order: VecDeque::new(),
            first: 0,
            kept: 0,
            fresh: 0,
            grown: Vec::new(),
        }
    }

    /// Adds a message to its channel's log. [`Hub::wake`] then tells the readers, once for many.
    pub fn append(&mut self, broadcast: Arc<Broadcast>) {
        let index = self.log(&broadcast.channel);
        let sequence = self.first + self.order.len() as u64;
        if self.logs[index].push(sequence, broadcast.clone()) {
            self.grown.push(index);
        }
        self.fresh += self.cost(&broadcast);
        self.order.push_back((index, broadcast));
    }

    /// Wakes each reader of each log that has grown, once, and detaches those too far behind. What
    /// was appended since the last call is neither held against anyone nor evicted: nobody had a
    /// chance to read it.
    pub fn wake(&mut self) {
        let grown = std::mem::take(&mut self.grown);
        for index in &grown {
            let listeners = self.logs.get(*index).map_or(0, |log| log.readers.len());
            // Detaching takes a reader off this list, so it is walked from its end.
            for place in (0..listeners).rev() {
                let id = self.logs[*index].readers[place];
                if self.overdue(id) > self.limits.backlog {
                    self.detach(id);
                    self.readers[id].overrun = true;
                }
                self.readers[id].wake();
            }
        }
        for index in grown {
            if let Some(log) = self.logs.get_mut(index) {
                log.settle();
            }
        }
        while self.kept > self.limits.history {
            self.evict();
        }
        self.kept += std::mem::take(&mut self.fresh);
    }

    /// Opens a reader of `channels`; whether everything after `start.after` will be read.
    pub fn open(&mut self, channels: &[Channel], start: Start<'_>) -> (ReaderId, bool) {
        let after = start.after.and_then(|id| self.find(id));
        let id = self.readers.insert(Reader::default());
        for channel in channels {
            let index = self.log(channel);
            let log = &mut self.logs[index];
            let next = match after {
                Some(sequence) => log.after(sequence),
                None => log.last(start.history),
            };
            let cursor = Cursor { log: index, next, read: log.bytes_before(next) };
            log.readers.push(id);
            self.readers[id].cursors.push(cursor);
        }
        self.readers[id].replay = self.lag(ReaderId(id));
        (ReaderId(id), after.is_some())
    }

    /// Forgets a reader.
    pub fn close(&mut self, reader: ReaderId) {
        self.detach(reader.0);
        self.readers.remove(reader.0);
    }

    /// Has `waker` woken when there is more to read, and at [`Hub::wake_reader`].
    pub fn set_waker(&mut self, reader: ReaderId, waker: &Waker) {
        self.readers[reader.0].set_waker(waker);
    }

    /// Wakes a reader for another cause than a message.
    pub fn wake_reader(&mut self, reader: ReaderId) {
        self.readers[reader.0].wake();
    }

    /// Shows the frames that wait for `reader`, in order, until `take` returns false.
    ///
    /// # Errors
    /// [`Overrun`] when it has lagged too far behind to be served on.
    pub fn peek<'a>(
        &'a self,
        reader: ReaderId,
        mut take: impl FnMut(&'a Bytes) -> bool,
    ) -> Result<(), Overrun> {
        let reader = &self.readers[reader.0];
        if reader.overrun {
            return Err(Overrun);
        }
        match &reader.cursors[..] {
            [] => {}
            [cursor] => {
                let log = &self.logs[cursor.log];
                for (_, broadcast) in log.from(cursor.next).ok_or(Overrun)? {
                    if !take(&broadcast.frame) {
                        break;
                    }
                }
            }
            cursors => {
                let mut cursors = cursors.to_vec();
                while let Some(place) = self.earliest(&cursors)? {
                    let cursor = &mut cursors[place];
                    let Some((_, broadcast)) = self.logs[cursor.log].get(cursor.next) else {
                        break;
                    };
                    cursor.next += 1;
                    if !take(&broadcast.frame) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves `reader` on by `frames` that it was shown and has dealt with.
    pub fn advance(&mut self, reader: ReaderId, frames: usize) {
        for _ in 0..frames {
            let cursors = &self.readers[reader.0].cursors;
            let place =
                if cursors.len() == 1 { Some(0) } else { self.earliest(cursors).ok().flatten() };
            let Some(place) = place else { return };
            let cursor = &mut self.readers[reader.0].cursors[place];
            if let Some((_, broadcast)) = self.logs[cursor.log].get(cursor.next) {
                cursor.next += 1;
                let size = broadcast.frame.len() as u64;
                cursor.read += size;
                let reader = &mut self.readers[reader.0];
                reader.replay = reader.replay.saturating_sub(size);
            }
        }
    }

    /// Bytes of frames that wait for `reader`.
    pub fn lag(&self, reader: ReaderId) -> u64 {
        let cursors = &self.readers[reader.0].cursors;
        cursors.iter().map(|cursor| self.logs[cursor.log].bytes() - cursor.read).sum()
    }

    /// Bytes that a reader was woken for and has not taken. What it asked to have replayed is not
    /// held against it.
    fn overdue(&self, id: usize) -> u64 {
        let reader = &self.readers[id];
        let waiting = reader
            .cursors
            .iter()
            .map(|cursor| self.logs[cursor.log].announced().saturating_sub(cursor.read));
        waiting.sum::<u64>().saturating_sub(reader.replay)
    }

    /// Channels known: with readers, or with messages kept.
    pub fn channels(&self) -> usize {
        self.logs.len()
    }

    /// The cursor whose next message comes first in the order over all channels.
    fn earliest(&self, cursors: &[Cursor]) -> Result<Option<usize>, Overrun> {
        let mut earliest = None;
        for (place, cursor) in cursors.iter().enumerate() {
            let log = &self.logs[cursor.log];
            if log.from(cursor.next).is_none() {
                return Err(Overrun);
            }
            if let Some((sequence, _)) = log.get(cursor.next)
                && earliest.is_none_or(|(least, _)| *sequence < least)
            {
                earliest = Some((*sequence, place));
            }
        }
        Ok(earliest.map(|(_, place)| place))
    }

    /// Sequence number of the message with this id, if it is still kept.
    fn find(&self, id: &str) -> Option<u64> {
        let position = message::position_of(id)?;
        let place = self.order.partition_point(|(_, kept)| kept.position < Some(position));
        let (_, found) = self.order.get(place)?;
        (&*found.id == id).then_some(self.first + place as u64)
    }

    /// The log of a channel, made if need be.
    fn log(&mut self, channel: &Channel) -> usize {
        match self.by_name.get(channel) {
            Some(index) => *index,
            None => {
                let index = self.logs.insert(Log::new(channel.clone()));
                self.by_name.insert(channel.clone(), index);
                index
            }
        }
    }

    /// Memory that a message is accounted with: its frame, once, and what each hub keeps it with.
    fn cost(&self, broadcast: &Broadcast) -> usize {
        const SHARED: usize = 160;
        const OF_A_HUB: usize = 120;
        broadcast.frame.len() + broadcast.id.len() + SHARED + OF_A_HUB * self.limits.hubs
    }

    /// Drops the oldest message.
    fn evict(&mut self) {
        let Some((index, broadcast)) = self.order.pop_front() else { return };
        self.first += 1;
        self.kept -= self.cost(&broadcast);
        self.logs[index].pop();
        self.forget_if_idle(index);
    }

    /// Takes a reader off its channels.
    fn detach(&mut self, id: usize) {
        for cursor in std::mem::take(&mut self.readers[id].cursors) {
            let log = &mut self.logs[cursor.log];
            if let Some(place) = log.readers.iter().position(|reader| *reader == id) {
                log.readers.swap_remove(place);
            }
            self.forget_if_idle(cursor.log);
        }
    }

    fn forget_if_idle(&mut self, index: usize) {
        if self.logs[index].is_idle() {
            let log = self.logs.remove(index);
            self.by_name.remove(&log.channel);
        }
    }
}
