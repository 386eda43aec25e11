//! The state that all clients of a run share. All of them run on one thread.

use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::protocol::{RunId, ServerFrame};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) results: RefCell<Results>,
    /// Notified when the next message may be due.
    pub(crate) due: Notify,
    /// Notified when all clients are to close their connections.
    pub(crate) leave: Notify,
    /// The number of outstanding messages that the pace asks for; 0 at a rate.
    target_outstanding: usize,
    start: Instant,
}

/// The results so far.
pub(crate) struct Results {
    pub(crate) ledger: Ledger,
    /// Connections that the server ended or that broke, by close code.
    pub(crate) closes: BTreeMap<u16, u64>,
    pub(crate) gaps: u64,
}

impl Run {
    pub(crate) fn new(id: RunId, publishers: usize, pace: Pace) -> Self {
        let results = Results { ledger: Ledger::new(publishers), closes: BTreeMap::new(), gaps: 0 };
        let target_outstanding = match pace {
            Pace::Outstanding(target) => target,
            Pace::Rate(_) => 0,
        };
        Self {
            id,
            results: RefCell::new(results),
            due: Notify::new(),
            leave: Notify::new(),
            target_outstanding,
            start: Instant::now(),
        }
    }

    /// Time since the beginning of the run.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Records a frame that a client received.
    pub(crate) fn frame_received(&self, client: usize, frame: &[u8], now: Duration) {
        let mut results = self.results.borrow_mut();
        match self.id.parse(frame) {
            ServerFrame::Message { publisher, sequence } => {
                results.ledger.deliver(client, publisher, sequence, now);
            }
            // Publishers are the first clients: a client's number is its publisher's, too.
            ServerFrame::Published(sequence) => results.ledger.confirm(client, sequence),
            ServerFrame::Refused(sequence, code) => results.ledger.refuse(client, sequence, &code),
            ServerFrame::Gap => results.gaps += 1,
            ServerFrame::Ready(_) | ServerFrame::Other => {}
        }
        if results.ledger.outstanding() < self.target_outstanding {
            self.due.notify_one();
        }
    }

    /// Records a connection that the server ended or that broke.
    pub(crate) fn connection_closed(&self, client: usize, code: u16) {
        let mut results = self.results.borrow_mut();
        *results.closes.entry(code).or_default() += 1;
        results.ledger.close_client(client);
        self.due.notify_one();
    }
}
