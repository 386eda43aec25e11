//! What all clients of a run share; one thread.

use super::ledger::Ledger;
use super::pace::Pace;
use super::said::{Mark, Said};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What one read takes at most.
const SCRATCH: usize = 64 << 10;

pub(super) struct Shared {
    pub(super) books: RefCell<Books>,
    pub(super) mark: Mark,
    /// Each reads into it, and leaves nothing there: clients need no buffers of their own.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// The next message may be due.
    pub(super) due: Notify,
    /// Everyone is to leave.
    pub(super) leave: Notify,
    /// So many messages are to be on their way.
    wanted: usize,
    start: Instant,
}

/// What is known so far.
pub(super) struct Books {
    pub(super) ledger: Ledger,
    /// Connections that ended by themselves, by close code.
    pub(super) closes: BTreeMap<u16, u64>,
    pub(super) gaps: u64,
}

impl Shared {
    pub(super) fn new(mark: Mark, publishers: usize, pace: Pace) -> Self {
        let books = Books { ledger: Ledger::new(publishers), closes: BTreeMap::new(), gaps: 0 };
        let wanted = match pace {
            Pace::Outstanding(wanted) => wanted,
            Pace::Rate(_) => 0,
        };
        Self {
            books: RefCell::new(books),
            mark,
            scratch: RefCell::new(vec![0; SCRATCH]),
            due: Notify::new(),
            leave: Notify::new(),
            wanted,
            start: Instant::now(),
        }
    }

    /// Time since the beginning of the run.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A frame has come to a client.
    pub(super) fn heard(&self, client: usize, frame: &[u8], now: Duration) {
        let mut books = self.books.borrow_mut();
        match self.mark.read(frame) {
            Said::Message { publisher, sequence } => {
                books.ledger.deliver(client, publisher, sequence, now);
            }
            // Publishers are the first clients, so that a client's number is its publisher's.
            Said::Published(sequence) => books.ledger.confirm(client, sequence),
            Said::Refused(sequence, code) => books.ledger.refuse(client, sequence, &code),
            Said::Gap => books.gaps += 1,
            Said::Ready(_) | Said::Other => {}
        }
        if books.ledger.outstanding() < self.wanted {
            self.due.notify_one();
        }
    }

    /// A client's connection has ended by itself.
    pub(super) fn closed(&self, client: usize, code: u16) {
        let mut books = self.books.borrow_mut();
        *books.closes.entry(code).or_default() += 1;
        books.ledger.close(client);
        self.due.notify_one();
    }
}
