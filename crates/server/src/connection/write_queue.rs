//! What waits to be written to one socket, and the writing of it.
//!
//! A connection's own frames wait here; the shared ones stay in the hub, and are written from there
//! without a copy. Of either, what a full socket cut in two is kept until it is whole.

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

/// Where shared frames come from.
pub type Source<'a> = (&'a RefCell<Hub>, SubscriberId);

/// See the module.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// The rest of a frame whose beginning is written.
    torn: Bytes,
    own: VecDeque<QueuedFrame>,
    finished: bool,
    /// Which form of a shared frame the client takes.
    window: Window,
}

/// A frame that waits here.
#[derive(Debug)]
struct QueuedFrame {
    frame: Bytes,
    /// A message that others get, too.
    shared: bool,
}

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket takes no more; the task is woken when it does.
    Blocked,
    /// The shared frames were not read in time and are gone.
    Overrun,
}

/// Sums of what was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub writes: usize,
    pub bytes: usize,
    /// Shared frames.
    pub deliveries: usize,
}

impl WriteQueue {
    /// For a client with this window.
    pub fn new(window: Window) -> Self {
        Self { window, ..Self::default() }
    }

    /// Adds a frame of this connection alone. They precede shared frames, in their order.
    pub fn push(&mut self, frame: Bytes) {
        self.add(frame, false);
    }

    /// Adds a frame that others get, too, and that is not in the hub any more.
    pub fn push_shared(&mut self, broadcast: &EncodedMessage) {
        self.add(broadcast.frame_for(self.window).clone(), true);
    }

    fn add(&mut self, frame: Bytes, shared: bool) {
        if !self.finished {
            self.own.push_back(QueuedFrame { frame, shared });
        }
    }

    /// Adds the close frame: what is added later comes too late (RFC 6455, 5.5.1), and is dropped.
    pub fn finish(&mut self, frame: Bytes) {
        self.push(frame);
        self.finished = true;
    }

    /// The close frame is in line, or written.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Frames of this connection alone that wait.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// What they have together.
    pub fn bytes(&self) -> usize {
        self.own.iter().map(|own| own.frame.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.torn.is_empty()
    }

    /// Writes as much as the socket takes. `write` hands it so many frames in one call.
    ///
    /// # Errors
    /// The socket's own, when it is lost.
    pub fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        source: Option<Source<'_>>,
        written: &mut Written,
    ) -> io::Result<Flushed> {
        loop {
            let taken = match self.write(&mut write, source)? {
                Ok(Some(taken)) => taken,
                Ok(None) => return Ok(Flushed::All),
                Err(stopped) => return Ok(stopped),
            };
            written.writes += 1;
            written.bytes += taken.bytes;
            written.deliveries += taken.shared;
            if taken.torn_was_finished {
                self.torn = Bytes::new();
            }
            written.deliveries += self.own.drain(..taken.own).filter(|own| own.shared).count();
            if self.own.is_empty() {
                // Most of the time a connection has none.
                self.own = VecDeque::new();
            }
            if let Some(torn) = taken.torn {
                self.torn = torn;
            }
            if let Some((hub, reader)) = source {
                hub.borrow_mut().advance(reader, taken.shared);
            }
            if taken.all {
                return Ok(Flushed::All);
            }
        }
    }

    /// One call to the kernel: what it took, or `None` if nothing waits.
    fn write(
        &self,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        source: Option<Source<'_>>,
    ) -> io::Result<Result<Option<Taken>, Flushed>> {
        let hub = source.map(|(hub, reader)| (hub.borrow(), reader));
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let torn = (!self.torn.is_empty()).then_some(&self.torn);
        let waiting = || torn.into_iter().chain(self.own.iter().map(|own| &own.frame));
        for frame in waiting().take(SLICES) {
            slices[count] = IoSlice::new(frame);
            count += 1;
        }
        let own = count;
        if let Some((hub, reader)) = &hub {
            let more = hub.peek(*reader, |broadcast| {
                if count < SLICES {
                    slices[count] = IoSlice::new(broadcast.frame_for(self.window));
                    count += 1;
                }
                count < SLICES
            });
            if more == Err(Overrun) {
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

        // Which frames were taken whole, and how much of the next one.
        let mut left = bytes;
        let whole = slices[..count].iter().take_while(|slice| {
            let whole = slice.len() <= left;
            left -= if whole { slice.len() } else { 0 };
            whole
        });
        let whole = whole.count();
        let torn_now = match whole.checked_sub(own) {
            _ if left == 0 => None,
            None => waiting().nth(whole).map(|frame| frame.slice(left..)),
            Some(place) => hub.as_ref().and_then(|(hub, reader)| {
                nth(hub, *reader, place).map(|it| it.frame_for(self.window).slice(left..))
            }),
        };
        let began = whole + usize::from(torn_now.is_some());
        let finished = torn.is_some() && began > 0;
        Ok(Ok(Some(Taken {
            bytes,
            all: whole == count && count < SLICES,
            torn_was_finished: finished,
            own: began.min(own) - usize::from(finished),
            shared: began.saturating_sub(own),
            torn: torn_now,
        })))
    }
}

/// What the kernel took in one call, a frame that it took in part included.
struct Taken {
    bytes: usize,
    /// There was nothing else.
    all: bool,
    torn_was_finished: bool,
    own: usize,
    shared: usize,
    /// The rest of the frame that it took in part.
    torn: Option<Bytes>,
}

/// The shared message at `place`.
fn nth(hub: &Hub, reader: SubscriberId, place: usize) -> Option<&Arc<EncodedMessage>> {
    let mut seen = 0;
    let mut found = None;
    let _ = hub.peek(reader, |broadcast| {
        if seen == place {
            found = Some(broadcast);
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

    /// Writes on to a socket that takes `width` bytes and then none; whether all is written.
    fn step(
        output: &mut WriteQueue,
        source: Source<'_>,
        width: usize,
        got: &mut Vec<u8>,
        written: &mut Written,
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
        output.flush(narrow, Some(source), written).unwrap() == Flushed::All
    }

    #[test]
    fn a_frame_goes_on_in_the_form_in_which_it_began() {
        let plain = ["[one, not compressed]", "[two, not compressed]", "[three, never]"].concat();
        let compressed = ["[one]", "[two]", "[three, never]"].concat();
        // Eight bits hold all of these, but one.
        let narrow = negotiate(["permessage-deflate; server_max_window_bits=8"]).unwrap().window;
        for (window, expected) in
            [(Window::NONE, &plain), (Window::FULL, &compressed), (narrow, &compressed)]
        {
            for width in 1..20 {
                let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
                let reader = hub.open();
                hub.subscribe(reader, &Channel::default(), ReadFrom::Last(0));
                let shared = |text| EncodedMessage::of_frame(0, Channel::default(), text);
                hub.append(shared("[one, not compressed]").or_compressed("[one]"));
                hub.append(shared("[two, not compressed]").or_compressed("[two]"));
                hub.append(shared("[three, never]"));
                let hub = RefCell::new(hub);
                let mut output = WriteQueue::new(window);
                let (mut got, mut written) = (Vec::new(), Written::default());
                while !step(&mut output, (&hub, reader), width, &mut got, &mut written) {}
                assert_eq!(String::from_utf8(got).unwrap(), *expected, "width {width}");
                assert_eq!(hub.borrow().lag(reader), 0);
            }
        }
        let long = EncodedMessage::of_frame(0, Channel::default(), &"x".repeat(256));
        let long = long.or_compressed("x");
        assert_eq!(long.frame_for(narrow).len(), 256);
        assert_eq!(long.frame_for(Window::FULL).len(), 1);
    }

    #[test]
    fn frames_stay_whole_and_in_order_however_little_the_socket_takes() {
        for width in 1..40 {
            let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
            let reader = hub.open();
            hub.subscribe(reader, &Channel::default(), ReadFrom::Last(0));
            for text in ["[shared one]", "[shared two]", "[three]"] {
                hub.append(EncodedMessage::of_frame(0, Channel::default(), text));
            }
            let hub = RefCell::new(hub);
            let mut output = WriteQueue::default();
            output.push(Bytes::from_static(b"(own one)"));
            output.push(Bytes::from_static(b"(own two)"));
            let (mut got, mut written) = (Vec::new(), Written::default());
            let mut late = false;
            while !step(&mut output, (&hub, reader), width, &mut got, &mut written) {
                if !late && got.len() > 25 {
                    // Goes between frames, never into one.
                    let third = EncodedMessage::of_frame(9, Channel::default(), "(own three)");
                    output.push_shared(&third);
                    late = true;
                }
            }
            let mut got = String::from_utf8(got).unwrap();
            assert_eq!(written.bytes, got.len());
            assert_eq!(written.deliveries, 3 + usize::from(late));
            if late {
                assert_eq!(got.matches("(own three)").count(), 1, "{got}");
                got = got.replace("(own three)", "");
            }
            assert_eq!(got, "(own one)(own two)[shared one][shared two][three]", "width {width}");
            assert!(output.is_empty());
        }
    }
}
