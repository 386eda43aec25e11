//! Who has got what; plain data. Times are counted from the beginning of the run.

use super::latency::Latency;
use super::reasons;
use super::seen::{Seen, Sight};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// With these codes a message may have got out all the same (docs/protocol.md).
const UNCERTAIN: [&str; 3] = ["publish_timeout", "publish_refused", "shutting_down"];

/// What is to be reported of messages. A delivery is one message to one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) confirmed: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) delivered: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// Of confirmed messages, to clients that were connected all the time.
    pub(super) lost: u64,
    /// The same, to clients whose connection had ended.
    pub(super) lost_to_closed: u64,
}

/// Every message that is not settled, and the sums of those that are.
#[derive(Debug)]
pub(super) struct Ledger {
    publishers: Vec<Publisher>,
    seen: Seen,
    /// By client.
    connected: Vec<bool>,
    listening: u32,
    outstanding: usize,
    totals: Totals,
    latency: Latency,
}

/// The messages of one publisher, in the order of their sequence numbers.
#[derive(Debug, Default)]
struct Publisher {
    /// The first of them has this number; those before it are settled.
    base: u32,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    sent: Duration,
    /// Clients that are connected and do not have it.
    missing: u32,
    /// Clients whose connection has ended, and that do not have it.
    closed: u32,
    fate: Fate,
    /// Whether the next one waits for it.
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Confirmed,
    Refused,
    /// Refused or not answered, and yet it may be out.
    Uncertain,
}

impl Ledger {
    /// For so many publishers, and no clients yet.
    pub(super) fn new(publishers: usize) -> Self {
        Self {
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
            seen: Seen::new(publishers),
            connected: Vec::new(),
            listening: 0,
            outstanding: 0,
            totals: Totals::default(),
            latency: Latency::default(),
        }
    }

    /// Enters a client, before the first message; its number.
    pub(super) fn join(&mut self) -> usize {
        self.seen.join();
        self.connected.push(true);
        self.listening += 1;
        self.connected.len() - 1
    }

    /// Clients that have joined, whatever became of them.
    pub(super) fn clients(&self) -> usize {
        self.connected.len()
    }

    /// Enters a message, and says which number it has among those of its publisher.
    pub(super) fn send(&mut self, publisher: usize, now: Duration) -> u32 {
        self.totals.sent += 1;
        self.outstanding += 1;
        let closed = self.connected.len() as u32 - self.listening;
        let message =
            Message { sent: now, missing: self.listening, closed, fate: Fate::Pending, open: true };
        let Publisher { base, messages } = &mut self.publishers[publisher];
        messages.push_back(message);
        *base + messages.len() as u32 - 1
    }

    /// The broker has it.
    pub(super) fn confirm(&mut self, publisher: usize, sequence: u32) {
        let Some(message) = self.publishers[publisher].pending(sequence) else { return };
        message.fate = Fate::Confirmed;
        self.totals.confirmed += 1;
        self.settle(publisher);
    }

    /// It was not published, or is not known to be.
    pub(super) fn refuse(&mut self, publisher: usize, sequence: u32, code: &str) {
        let Some(message) = self.publishers[publisher].pending(sequence) else { return };
        message.fate = if UNCERTAIN.contains(&code) { Fate::Uncertain } else { Fate::Refused };
        reasons::count(&mut self.totals.refused, code);
        self.settle(publisher);
    }

    /// A client has got a message, perhaps again. False: nobody has sent it.
    pub(super) fn deliver(
        &mut self,
        client: usize,
        publisher: usize,
        sequence: u32,
        now: Duration,
    ) -> bool {
        let Some(Publisher { base, messages }) = self.publishers.get_mut(publisher) else {
            return false;
        };
        if sequence >= *base + messages.len() as u32 {
            return false;
        }
        match self.seen.see(client, publisher, sequence) {
            Sight::Again => {
                self.totals.duplicated += 1;
                return true;
            }
            Sight::Late => self.totals.out_of_order += 1,
            Sight::Next => {}
        }
        self.totals.delivered += 1;
        let message = sequence.checked_sub(*base).and_then(|at| messages.get_mut(at as usize));
        if let Some(message) = message {
            self.latency.record(now.saturating_sub(message.sent));
            // A client that is closed is not waited for, and hears nothing more.
            message.missing = message.missing.saturating_sub(1);
            if message.missing == 0 {
                self.outstanding -= usize::from(std::mem::take(&mut message.open));
                self.settle(publisher);
            }
        }
        true
    }

    /// A client's connection has ended: what it does not have, it will not get.
    pub(super) fn close(&mut self, client: usize) {
        if !std::mem::take(&mut self.connected[client]) {
            return;
        }
        self.listening -= 1;
        // What it has published will not be answered any more. Publishers are the first clients.
        let own = self.publishers.get_mut(client).into_iter().flat_map(|own| &mut own.messages);
        for message in own.filter(|message| message.fate == Fate::Pending) {
            message.fate = Fate::Uncertain;
        }
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            for (message, sequence) in publisher.messages.iter_mut().zip(publisher.base..) {
                if !self.seen.has(client, number, sequence) {
                    message.missing = message.missing.saturating_sub(1);
                    message.closed += 1;
                    if message.missing == 0 {
                        self.outstanding -= usize::from(std::mem::take(&mut message.open));
                    }
                }
            }
        }
        (0..self.publishers.len()).for_each(|publisher| self.settle(publisher));
    }

    /// Messages that are on their way, as far as the next ones wait for them.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// No longer waits for what was refused, nor for what was sent before `limit`.
    pub(super) fn give_up(&mut self, limit: Duration) {
        for message in self.publishers.iter_mut().flat_map(|publisher| &mut publisher.messages) {
            if message.sent < limit || matches!(message.fate, Fate::Refused | Fate::Uncertain) {
                self.outstanding -= usize::from(std::mem::take(&mut message.open));
            }
        }
        (0..self.publishers.len()).for_each(|publisher| self.settle(publisher));
    }

    /// Whether every message is answered, and everyone has what was confirmed.
    pub(super) fn is_settled(&self) -> bool {
        let mut messages = self.publishers.iter().flat_map(|publisher| &publisher.messages);
        messages.all(|message| match message.fate {
            Fate::Pending => false,
            Fate::Confirmed => message.missing == 0,
            Fate::Refused | Fate::Uncertain => true,
        })
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// The sums, as if nothing more would come.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.totals.clone();
        for message in self.publishers.iter().flat_map(|publisher| &publisher.messages) {
            if message.fate == Fate::Confirmed {
                totals.lost += u64::from(message.missing);
                totals.lost_to_closed += u64::from(message.closed);
            }
        }
        totals
    }

    /// Leaves off, at the beginning, messages of which nothing more is to be expected.
    fn settle(&mut self, publisher: usize) {
        let Publisher { base, messages } = &mut self.publishers[publisher];
        while let Some(message) = messages.front()
            && !message.open
        {
            match message.fate {
                Fate::Confirmed if message.missing == 0 => {
                    self.totals.lost_to_closed += u64::from(message.closed);
                }
                Fate::Refused => {}
                _ => return,
            }
            messages.pop_front();
            *base += 1;
        }
    }
}

impl Publisher {
    /// The message with this number, if it is not answered yet.
    fn pending(&mut self, sequence: u32) -> Option<&mut Message> {
        let message = self.messages.get_mut(sequence.checked_sub(self.base)? as usize)?;
        (message.fate == Fate::Pending).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(7);

    fn of(clients: usize, publishers: usize) -> Ledger {
        let mut ledger = Ledger::new(publishers);
        (0..clients).for_each(|number| assert_eq!(ledger.join(), number));
        ledger
    }

    /// Two clients, and two messages of the one publisher, confirmed.
    fn ledger() -> Ledger {
        let mut ledger = of(2, 1);
        for sequence in 0..2 {
            assert_eq!(ledger.send(0, Duration::ZERO), sequence);
            ledger.confirm(0, sequence);
        }
        ledger
    }

    #[test]
    fn nothing_is_lost_when_everyone_has_everything() {
        let mut ledger = ledger();
        for (client, sequence) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert!(!ledger.is_settled() && ledger.outstanding() > 0);
            assert!(ledger.deliver(client, 0, sequence, NOW));
        }
        assert!(ledger.is_settled() && ledger.outstanding() == 0);
        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.confirmed, totals.delivered), (2, 2, 4));
        assert_eq!((totals.lost, totals.duplicated, totals.out_of_order), (0, 0, 0));
        assert_eq!(ledger.latency().count(), 4);
        assert!(ledger.publishers[0].messages.is_empty(), "what is settled is not kept");
    }

    #[test]
    fn what_does_not_come_is_lost_whatever_comes_after_it() {
        let mut ledger = ledger();
        for (client, sequence) in [(0, 1), (1, 0), (1, 1)] {
            ledger.deliver(client, 0, sequence, NOW);
        }
        assert!(!ledger.is_settled());
        assert_eq!((ledger.totals().lost, ledger.totals().out_of_order), (1, 0));
        // It was only late.
        ledger.deliver(0, 0, 0, NOW);
        assert_eq!((ledger.totals().lost, ledger.totals().out_of_order), (0, 1));
        // And now it is there twice.
        ledger.deliver(0, 0, 0, NOW);
        assert_eq!((ledger.totals().delivered, ledger.totals().duplicated), (4, 1));
    }

    #[test]
    fn a_closed_client_gets_nothing_and_is_counted_apart() {
        let mut ledger = ledger();
        ledger.deliver(0, 0, 0, NOW);
        ledger.close(0);
        ledger.close(0);
        ledger.send(0, NOW);
        ledger.confirm(0, 2);
        (0..3).for_each(|sequence| assert!(ledger.deliver(1, 0, sequence, NOW)));
        assert!(ledger.is_settled() && ledger.outstanding() == 0);
        let totals = ledger.totals();
        assert_eq!((totals.delivered, totals.lost, totals.lost_to_closed), (4, 0, 2));
    }

    #[test]
    fn what_a_closed_publisher_waits_for_is_not_awaited() {
        let mut ledger = of(2, 1);
        ledger.send(0, NOW);
        assert!(!ledger.is_settled());
        ledger.close(0);
        assert!(ledger.is_settled());
        assert_eq!((ledger.totals().confirmed, ledger.totals().lost), (0, 0));
    }

    #[test]
    fn only_what_was_confirmed_is_expected() {
        let mut ledger = of(1, 2);
        for publisher in [0, 1, 1] {
            ledger.send(publisher, Duration::ZERO);
        }
        ledger.refuse(0, 0, "rate_limited");
        ledger.refuse(0, 0, "rate_limited");
        ledger.refuse(1, 0, "publish_timeout");
        assert!(!ledger.is_settled());
        ledger.confirm(1, 1);
        ledger.deliver(0, 1, 1, NOW);
        assert!(ledger.is_settled() && ledger.totals().lost == 0);
        assert_eq!(ledger.totals().refused["rate_limited"], 1);
        // It got out all the same.
        assert!(ledger.deliver(0, 1, 0, NOW));
        assert_eq!((ledger.totals().delivered, ledger.totals().duplicated), (2, 0));
        assert!(!ledger.deliver(0, 1, 2, NOW) && !ledger.deliver(0, 2, 0, NOW), "nobody sent it");
    }

    #[test]
    fn what_takes_too_long_is_not_waited_for() {
        let mut ledger = ledger();
        ledger.send(0, NOW);
        ledger.give_up(Duration::from_millis(1));
        assert_eq!(ledger.outstanding(), 1);
        ledger.refuse(0, 2, "rate_limited");
        assert_eq!(ledger.outstanding(), 1, "or the next would be refused at once");
        ledger.give_up(Duration::ZERO);
        assert_eq!((ledger.outstanding(), ledger.totals().lost), (0, 4));
    }
}
