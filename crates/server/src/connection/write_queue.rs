//! Frames that wait to be written to one socket, and the writing of them.
//!
//! The frames of one connection alone wait here. Messages stay in the hub, and are written from there
//! without a copy. Of either kind, the rest of a frame that a full socket cut in two is kept here.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use warren_hub::{Hub, Overrun, SubscriberId};
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::websocket::Window;

/// Frames handed to the kernel in one call.
const SLICES: usize = 64;

/// The hub that messages are written from, and the subscriber that they are for.
#[derive(Clone, Copy, Debug)]
pub struct HubSource<'a> {
    pub hub: &'a RefCell<Hub>,
    pub subscriber: SubscriberId,
}

/// Frames that wait to be written to one socket.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// The rest of a frame that is written in part.
    partial_frame: Bytes,
    frames: VecDeque<QueuedFrame>,
    finished: bool,
    /// Deflate window of the client, which selects the form of a message.
    window: Window,
}

/// A frame in the queue.
#[derive(Debug)]
struct QueuedFrame {
    frame: Bytes,
    /// A message, counted as a delivery.
    is_message: bool,
}

/// Result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left to write.
    All,
    /// The socket takes no more. The task is woken when it does.
    Blocked,
    /// The subscriber lagged too far behind, and its messages are gone.
    Overrun,
}

/// Totals of one flush.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteStats {
    /// System calls.
    pub writes: usize,
    pub bytes: usize,
    /// Messages.
    pub deliveries: usize,
}

impl WriteQueue {
    /// A queue for a client with this deflate window.
    pub fn new(window: Window) -> Self {
        Self { window, ..Self::default() }
    }

    /// True if the client agreed on compression.
    pub fn is_compressed(&self) -> bool {
        self.window != Window::NONE
    }

    /// Queues a frame. Queued frames are written in order, before the messages in the hub.
    pub fn push(&mut self, frame: Bytes) {
        self.add(QueuedFrame { frame, is_message: false });
    }

    /// Queues a message that the hub no longer has.
    pub fn push_message(&mut self, message: &EncodedMessage) {
        self.add(QueuedFrame { frame: message.frame_for(self.window).clone(), is_message: true });
    }

    /// Queues the close frame. Later frames are dropped (RFC 6455, 5.5.1).
    pub fn push_close(&mut self, frame: Bytes) {
        self.push(frame);
        self.finished = true;
    }

    fn add(&mut self, frame: QueuedFrame) {
        if !self.finished {
            self.frames.push_back(frame);
        }
    }

    /// True once the close frame was queued.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Frames in the queue.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of the frames in the queue.
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|queued| queued.frame.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.partial_frame.is_empty()
    }

    /// Writes as much as the socket takes: queued frames first, then messages of `source`. `write` hands
    /// frames to the socket in one call.
    ///
    /// # Errors
    /// The socket's own, when it is lost.
    pub fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        source: Option<HubSource<'_>>,
        stats: &mut WriteStats,
    ) -> io::Result<Flushed> {
        loop {
            let progress = match self.write_once(&mut write, source)? {
                Ok(Some(progress)) => progress,
                Ok(None) => return Ok(Flushed::All),
                Err(stopped) => return Ok(stopped),
            };
            stats.writes += 1;
            stats.bytes += progress.bytes;
            stats.deliveries += progress.messages;
            if progress.partial_frame_done {
                self.partial_frame = Bytes::new();
            }
            let queued = self.frames.drain(..progress.queued);
            stats.deliveries += queued.filter(|queued| queued.is_message).count();
            if self.frames.is_empty() {
                // Most connections have no queued frames most of the time.
                self.frames = VecDeque::new();
            }
            if let Some(rest) = progress.partial_frame {
                self.partial_frame = rest;
            }
            if let Some(HubSource { hub, subscriber }) = source {
                hub.borrow_mut().advance(subscriber, progress.messages);
            }
            if progress.all {
                return Ok(Flushed::All);
            }
        }
    }

    /// Makes one call to the kernel. `None` if there is nothing to write.
    fn write_once(
        &self,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        source: Option<HubSource<'_>>,
    ) -> io::Result<Result<Option<WriteProgress>, Flushed>> {
        let hub = source.map(|source| (source.hub.borrow(), source.subscriber));
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let partial = (!self.partial_frame.is_empty()).then_some(&self.partial_frame);
        let waiting = || partial.into_iter().chain(self.frames.iter().map(|queued| &queued.frame));
        for frame in waiting().take(SLICES) {
            slices[count] = IoSlice::new(frame);
            count += 1;
        }
        let own = count;
        if let Some((hub, subscriber)) = &hub {
            let peeked = hub.peek(*subscriber, |message| {
                if count < SLICES {
                    slices[count] = IoSlice::new(message.frame_for(self.window));
                    count += 1;
                }
                count < SLICES
            });
            if peeked == Err(Overrun) {
                return Ok(Err(Flushed::Overrun));
            }
        }
        if count == 0 {
            return Ok(Ok(None));
        }
        let bytes = match write(&slices[..count]) {
            Poll::Pending => return Ok(Err(Flushed::Blocked)),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => result?,
        };

        // Frames taken whole, and bytes taken of the next one.
        let mut left = bytes;
        let whole = slices[..count].iter().take_while(|slice| {
            let whole = slice.len() <= left;
            left -= if whole { slice.len() } else { 0 };
            whole
        });
        let whole = whole.count();
        let rest = match whole.checked_sub(own) {
            _ if left == 0 => None,
            None => waiting().nth(whole).map(|frame| frame.slice(left..)),
            Some(index) => hub.as_ref().and_then(|(hub, subscriber)| {
                let message = nth_message(hub, *subscriber, index)?;
                Some(message.frame_for(self.window).slice(left..))
            }),
        };
        let started = whole + usize::from(rest.is_some());
        let partial_frame_done = partial.is_some() && started > 0;
        Ok(Ok(Some(WriteProgress {
            bytes,
            all: whole == count && count < SLICES,
            partial_frame_done,
            queued: started.min(own) - usize::from(partial_frame_done),
            messages: started.saturating_sub(own),
            partial_frame: rest,
        })))
    }
}

/// Frames that the kernel took in one call, including one that it took in part.
struct WriteProgress {
    bytes: usize,
    /// There was nothing else to write.
    all: bool,
    /// The rest of an earlier frame was taken.
    partial_frame_done: bool,
    /// Queued frames.
    queued: usize,
    /// Messages of the hub.
    messages: usize,
    /// The rest of the frame that was taken in part.
    partial_frame: Option<Bytes>,
}

/// The `index`-th message that waits for a subscriber.
fn nth_message(hub: &Hub, subscriber: SubscriberId, index: usize) -> Option<&Arc<EncodedMessage>> {
    let mut seen = 0;
    let mut found = None;
    let _ = hub.peek(subscriber, |message| {
        if seen == index {
            found = Some(message);
        }
        seen += 1;
        found.is_none()
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_hub::{HubLimits, ReadFrom};
    use warren_protocol::message::Channel;
    use warren_protocol::websocket::negotiate;

    /// Flushes to a socket that takes `width` bytes and then blocks. Returns whether all is written.
    fn step(
        queue: &mut WriteQueue,
        source: HubSource<'_>,
        width: usize,
        got: &mut Vec<u8>,
        stats: &mut WriteStats,
    ) -> bool {
        let mut open = true;
        let narrow = |slices: &[IoSlice<'_>]| {
            if !std::mem::replace(&mut open, false) {
                return Poll::Pending;
            }
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let size = all.len().min(width);
            got.extend_from_slice(&all[..size]);
            Poll::Ready(Ok(size))
        };
        queue.flush(narrow, Some(source), stats).unwrap() == Flushed::All
    }

    #[test]
    fn partial_frame_continues_in_the_form_it_started_in() {
        let plain = ["[one, not compressed]", "[two, not compressed]", "[three, never]"].concat();
        let compressed = ["[one]", "[two]", "[three, never]"].concat();
        // A window of eight bits holds all of these frames but the long one.
        let narrow = negotiate(["permessage-deflate; server_max_window_bits=8"]).unwrap().window;
        for (window, expected) in
            [(Window::NONE, &plain), (Window::FULL, &compressed), (narrow, &compressed)]
        {
            for width in 1..20 {
                let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
                let subscriber = hub.open();
                hub.subscribe(subscriber, &Channel::default(), ReadFrom::Last(0));
                let shared = |text| EncodedMessage::of_frame(0, Channel::default(), text);
                hub.append(shared("[one, not compressed]").or_compressed("[one]"));
                hub.append(shared("[two, not compressed]").or_compressed("[two]"));
                hub.append(shared("[three, never]"));
                let hub = RefCell::new(hub);
                let source = HubSource { hub: &hub, subscriber };
                let mut queue = WriteQueue::new(window);
                let (mut got, mut stats) = (Vec::new(), WriteStats::default());
                while !step(&mut queue, source, width, &mut got, &mut stats) {}
                assert_eq!(String::from_utf8(got).unwrap(), *expected, "width {width}");
                assert_eq!(hub.borrow().lag(subscriber), 0);
            }
        }
        let long = EncodedMessage::of_frame(0, Channel::default(), &"x".repeat(256));
        let long = long.or_compressed("x");
        assert_eq!(long.frame_for(narrow).len(), 256);
        assert_eq!(long.frame_for(Window::FULL).len(), 1);
    }

    #[test]
    fn frames_stay_whole_and_in_order_at_any_write_size() {
        for width in 1..40 {
            let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
            let subscriber = hub.open();
            hub.subscribe(subscriber, &Channel::default(), ReadFrom::Last(0));
            for text in ["[shared one]", "[shared two]", "[three]"] {
                hub.append(EncodedMessage::of_frame(0, Channel::default(), text));
            }
            let hub = RefCell::new(hub);
            let source = HubSource { hub: &hub, subscriber };
            let mut queue = WriteQueue::default();
            queue.push(Bytes::from_static(b"(own one)"));
            queue.push(Bytes::from_static(b"(own two)"));
            let (mut got, mut stats) = (Vec::new(), WriteStats::default());
            let mut late = false;
            while !step(&mut queue, source, width, &mut got, &mut stats) {
                if !late && got.len() > 25 {
                    // Must go between frames, never into one.
                    let third = EncodedMessage::of_frame(9, Channel::default(), "(own three)");
                    queue.push_message(&third);
                    late = true;
                }
            }
            let mut got = String::from_utf8(got).unwrap();
            assert_eq!(stats.bytes, got.len());
            assert_eq!(stats.deliveries, 3 + usize::from(late));
            if late {
                assert_eq!(got.matches("(own three)").count(), 1, "{got}");
                got = got.replace("(own three)", "");
            }
            assert_eq!(got, "(own one)(own two)[shared one][shared two][three]", "width {width}");
            assert!(queue.is_empty());
        }
    }
}
