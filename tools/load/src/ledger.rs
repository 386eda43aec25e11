//! The state of each message at each client; plain data. Times count from the beginning of the run.

use crate::latency::Latency;
use crate::reasons;
use crate::sequence_tracker::{Receipt, SequenceTracker};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Error codes after which a message may still be delivered (docs/protocol.md).
const UNCERTAIN: [&str; 3] = ["publish_timeout", "publish_refused", "shutting_down"];

/// The sums for the report. A delivery is one message to one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// Missing deliveries of confirmed messages to clients that stayed connected.
    pub(crate) lost: u64,
    /// Missing deliveries of confirmed messages to clients whose connection had ended.
    pub(crate) lost_to_closed: u64,
}

/// Each message that is not settled, and the sums of those that are.
#[derive(Debug)]
pub(crate) struct Ledger {
    publishers: Vec<Publisher>,
    received: SequenceTracker,
    /// By client number.
    connected: Vec<bool>,
    connected_count: u32,
    outstanding: usize,
    totals: Totals,
    latency: Latency,
}

/// The messages of one publisher, in the order of their sequence numbers.
#[derive(Debug, Default)]
struct Publisher {
    /// The sequence number of the first message here. Those before it are settled.
    base: u32,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    sent: Duration,
    /// Connected clients that do not have it.
    missing: u32,
    /// Clients that did not have it when their connection ended.
    closed: u32,
    answer: Answer,
    /// Whether it counts as outstanding, so that the next message waits for it.
    outstanding: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pending,
    Confirmed,
    Refused,
    /// An error after which the message may still be delivered, or none because the connection ended.
    Uncertain,
}

impl Ledger {
    /// A ledger for a number of publishers, without clients.
    pub(crate) fn new(publishers: usize) -> Self {
        Self {
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
            received: SequenceTracker::new(publishers),
            connected: Vec::new(),
            connected_count: 0,
            outstanding: 0,
            totals: Totals::default(),
            latency: Latency::default(),
        }
    }

    /// Adds a client, before the first message; returns its number.
    pub(crate) fn add_client(&mut self) -> usize {
        self.received.add_client();
        self.connected.push(true);
        self.connected_count += 1;
        self.connected.len() - 1
    }

    /// All clients that were added, connected or not.
    pub(crate) fn clients(&self) -> usize {
        self.connected.len()
    }

    /// Records a message that is sent; returns its sequence number.
    pub(crate) fn send(&mut self, publisher: usize, now: Duration) -> u32 {
        self.totals.sent += 1;
        self.outstanding += 1;
        let closed = self.connected.len() as u32 - self.connected_count;
        let message = Message {
            sent: now,
            missing: self.connected_count,
            closed,
            answer: Answer::Pending,
            outstanding: true,
        };
        let Publisher { base, messages } = &mut self.publishers[publisher];
        messages.push_back(message);
        *base + messages.len() as u32 - 1
    }

    /// Records that the broker has a message.
    pub(crate) fn confirm(&mut self, publisher: usize, sequence: u32) {
        let Some(message) = self.publishers[publisher].pending(sequence) else { return };
        message.answer = Answer::Confirmed;
        self.totals.confirmed += 1;
        self.drop_settled(publisher);
    }

    /// Records the error code that answered a message.
    pub(crate) fn refuse(&mut self, publisher: usize, sequence: u32, code: &str) {
        let Some(message) = self.publishers[publisher].pending(sequence) else { return };
        message.answer =
            if UNCERTAIN.contains(&code) { Answer::Uncertain } else { Answer::Refused };
        reasons::count(&mut self.totals.refused, code);
        self.drop_settled(publisher);
    }

    /// Records a message that a client received; false if it was never sent.
    pub(crate) fn deliver(
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
        match self.received.receive(client, publisher, sequence) {
            Receipt::Duplicate => {
                self.totals.duplicated += 1;
                return true;
            }
            Receipt::OutOfOrder => self.totals.out_of_order += 1,
            Receipt::Next => {}
        }
        self.totals.delivered += 1;
        let message = sequence.checked_sub(*base).and_then(|at| messages.get_mut(at as usize));
        if let Some(message) = message {
            self.latency.record(now.saturating_sub(message.sent));
            // Closed clients are not counted as missing, and receive nothing more.
            message.missing = message.missing.saturating_sub(1);
            if message.missing == 0 {
                self.outstanding -= usize::from(std::mem::take(&mut message.outstanding));
                self.drop_settled(publisher);
            }
        }
        true
    }

    /// Records that a client's connection has ended: no message will be delivered to it.
    pub(crate) fn close_client(&mut self, client: usize) {
        if !std::mem::take(&mut self.connected[client]) {
            return;
        }
        self.connected_count -= 1;
        // Its own messages will not be answered any more. Publishers are the first clients.
        let own = self.publishers.get_mut(client).into_iter().flat_map(|own| &mut own.messages);
        for message in own.filter(|message| message.answer == Answer::Pending) {
            message.answer = Answer::Uncertain;
        }
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            for (message, sequence) in publisher.messages.iter_mut().zip(publisher.base..) {
                if !self.received.has(client, number, sequence) {
                    message.missing = message.missing.saturating_sub(1);
                    message.closed += 1;
                    if message.missing == 0 {
                        self.outstanding -= usize::from(std::mem::take(&mut message.outstanding));
                    }
                }
            }
        }
        (0..self.publishers.len()).for_each(|publisher| self.drop_settled(publisher));
    }

    /// Messages that the next one waits for.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Stops waiting for messages that were refused, and for those sent before `limit`.
    pub(crate) fn give_up_before(&mut self, limit: Duration) {
        for message in self.publishers.iter_mut().flat_map(|publisher| &mut publisher.messages) {
            if message.sent < limit || matches!(message.answer, Answer::Refused | Answer::Uncertain)
            {
                self.outstanding -= usize::from(std::mem::take(&mut message.outstanding));
            }
        }
        (0..self.publishers.len()).for_each(|publisher| self.drop_settled(publisher));
    }

    /// Returns whether each message is answered, and each confirmed one delivered to all clients.
    pub(crate) fn is_settled(&self) -> bool {
        let mut messages = self.publishers.iter().flat_map(|publisher| &publisher.messages);
        messages.all(|message| match message.answer {
            Answer::Pending => false,
            Answer::Confirmed => message.missing == 0,
            Answer::Refused | Answer::Uncertain => true,
        })
    }

    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// The sums, as if nothing more would arrive.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.totals.clone();
        for message in self.publishers.iter().flat_map(|publisher| &publisher.messages) {
            if message.answer == Answer::Confirmed {
                totals.lost += u64::from(message.missing);
                totals.lost_to_closed += u64::from(message.closed);
            }
        }
        totals
    }

    /// Drops messages from the front as long as nothing more can happen to them.
    fn drop_settled(&mut self, publisher: usize) {
        let Publisher { base, messages } = &mut self.publishers[publisher];
        while let Some(message) = messages.front()
            && !message.outstanding
        {
            match message.answer {
                Answer::Confirmed if message.missing == 0 => {
                    self.totals.lost_to_closed += u64::from(message.closed);
                }
                Answer::Refused => {}
                _ => return,
            }
            messages.pop_front();
            *base += 1;
        }
    }
}

impl Publisher {
    /// The message with this sequence number, unless it is answered.
    fn pending(&mut self, sequence: u32) -> Option<&mut Message> {
        let message = self.messages.get_mut(sequence.checked_sub(self.base)? as usize)?;
        (message.answer == Answer::Pending).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(7);

    fn ledger_of(clients: usize, publishers: usize) -> Ledger {
        let mut ledger = Ledger::new(publishers);
        (0..clients).for_each(|number| assert_eq!(ledger.add_client(), number));
        ledger
    }

    /// Two clients, and two confirmed messages of the one publisher.
    fn ledger() -> Ledger {
        let mut ledger = ledger_of(2, 1);
        for sequence in 0..2 {
            assert_eq!(ledger.send(0, Duration::ZERO), sequence);
            ledger.confirm(0, sequence);
        }
        ledger
    }

    #[test]
    fn no_message_is_lost_if_all_clients_have_all() {
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
        assert!(ledger.publishers[0].messages.is_empty(), "settled messages are dropped");
    }

    #[test]
    fn missing_message_is_lost_even_if_later_ones_arrive() {
        let mut ledger = ledger();
        for (client, sequence) in [(0, 1), (1, 0), (1, 1)] {
            ledger.deliver(client, 0, sequence, NOW);
        }
        assert!(!ledger.is_settled());
        assert_eq!((ledger.totals().lost, ledger.totals().out_of_order), (1, 0));
        // Late, but not lost.
        ledger.deliver(0, 0, 0, NOW);
        assert_eq!((ledger.totals().lost, ledger.totals().out_of_order), (0, 1));
        // A second copy.
        ledger.deliver(0, 0, 0, NOW);
        assert_eq!((ledger.totals().delivered, ledger.totals().duplicated), (4, 1));
    }

    #[test]
    fn deliveries_missing_at_a_closed_client_are_counted_apart() {
        let mut ledger = ledger();
        ledger.deliver(0, 0, 0, NOW);
        ledger.close_client(0);
        ledger.close_client(0);
        ledger.send(0, NOW);
        ledger.confirm(0, 2);
        (0..3).for_each(|sequence| assert!(ledger.deliver(1, 0, sequence, NOW)));
        assert!(ledger.is_settled() && ledger.outstanding() == 0);
        let totals = ledger.totals();
        assert_eq!((totals.delivered, totals.lost, totals.lost_to_closed), (4, 0, 2));
    }

    #[test]
    fn answers_of_a_closed_publisher_are_not_awaited() {
        let mut ledger = ledger_of(2, 1);
        ledger.send(0, NOW);
        assert!(!ledger.is_settled());
        ledger.close_client(0);
        assert!(ledger.is_settled());
        assert_eq!((ledger.totals().confirmed, ledger.totals().lost), (0, 0));
    }

    #[test]
    fn only_confirmed_messages_are_expected() {
        let mut ledger = ledger_of(1, 2);
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
        // Delivered in spite of the error.
        assert!(ledger.deliver(0, 1, 0, NOW));
        assert_eq!((ledger.totals().delivered, ledger.totals().duplicated), (2, 0));
        assert!(!ledger.deliver(0, 1, 2, NOW) && !ledger.deliver(0, 2, 0, NOW), "never sent");
    }

    #[test]
    fn messages_that_take_too_long_are_not_awaited() {
        let mut ledger = ledger();
        ledger.send(0, NOW);
        ledger.give_up_before(Duration::from_millis(1));
        assert_eq!(ledger.outstanding(), 1);
        ledger.refuse(0, 2, "rate_limited");
        assert_eq!(ledger.outstanding(), 1, "otherwise the next would be refused at once");
        ledger.give_up_before(Duration::ZERO);
        assert_eq!((ledger.outstanding(), ledger.totals().lost), (0, 4));
    }
}
