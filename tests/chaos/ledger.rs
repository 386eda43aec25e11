//! The numbers published in one deployment, their outcomes, and the subscribers that received them. Plain data, no I/O.
//!
//! Publishers record whether a number was confirmed, refused, or abandoned. Subscribers record the numbers that they
//! receive, and the gaps. After a fault, once the system has recovered, every number confirmed meanwhile must have
//! reached every subscriber.
//!
//! The time between two gaps of a subscriber is an interval. Within an interval no number may be missing that was sent
//! after its beginning, and confirmed before the last number that the subscriber received in it was sent.

use crate::report::DeploymentReport;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Delivery mode of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    Log,
    Live,
}

pub struct Ledger {
    pub delivery_mode: DeliveryMode,
    inner: RefCell<Inner>,
    /// While true, subscribers stay connected and publishers continue, so that missing numbers arrive.
    calm: watch::Sender<bool>,
    /// Count of confirmed numbers.
    confirmed: watch::Sender<usize>,
}

#[derive(Default)]
struct Inner {
    numbers: Vec<Number>,
    /// Numbers confirmed since the last fault ended.
    unsettled: Vec<usize>,
    subscribers: Vec<SubscriberRecord>,
    /// Refusals by reason, since the fault began.
    refusals: BTreeMap<String, usize>,
    /// Subscribers that connected, by the second of the fault.
    arrivals: HashMap<u64, usize>,
    began: Option<Instant>,
    confirmed_at: Option<Instant>,
    longest_stall: Duration,
    /// Numbers that may or may not have been published.
    abandoned: usize,
    /// First contradiction in the answers to publishers.
    wrong: Option<String>,
}

struct Number {
    sent: Instant,
    confirmed: Option<Instant>,
    /// True once its publisher received it, which shows that one replica has it.
    echoed: bool,
    /// Id in its confirm, or in its first delivery.
    id: Option<Box<str>>,
}

/// Time of a subscriber between two gaps.
struct Interval {
    began: Instant,
    /// Latest time at which a number received in it was sent.
    reached: Option<Instant>,
}

impl Interval {
    /// True if a number must be in it.
    fn spans(&self, number: &Number) -> bool {
        let before = |confirmed: Instant| self.reached.is_some_and(|reached| confirmed < reached);
        self.began < number.sent && number.confirmed.is_some_and(before)
    }
}

#[derive(Default)]
struct SubscriberRecord {
    /// Interval in which each number was received last.
    received: HashMap<usize, usize>,
    intervals: Vec<Interval>,
    /// Position of the last number in the log.
    place: Option<u64>,
    /// Gaps since the fault began.
    gaps: usize,
    received_at: Option<Instant>,
    longest_silence: Duration,
    /// Duplicates since the fault began. A duplicate in another interval is allowed.
    duplicates: usize,
    again: usize,
    out_of_order: usize,
    first_wrong: Option<String>,
}

impl Ledger {
    pub fn new(delivery_mode: DeliveryMode) -> Self {
        Self {
            delivery_mode,
            inner: RefCell::default(),
            calm: watch::Sender::new(false),
            confirmed: watch::Sender::new(0),
        }
    }

    /// Adds a subscriber.
    pub fn subscriber(&self) -> usize {
        let subscribers = &mut self.inner.borrow_mut().subscribers;
        subscribers.push(SubscriberRecord::default());
        subscribers.len() - 1
    }

    /// The next number to publish.
    pub fn next_number(&self) -> usize {
        let numbers = &mut self.inner.borrow_mut().numbers;
        numbers.push(Number { sent: Instant::now(), confirmed: None, echoed: false, id: None });
        numbers.len() - 1
    }

    /// Records that a number was confirmed, under this id if the answer has one.
    pub fn confirmed(&self, number: usize, id: Option<&str>) {
        let inner = &mut *self.inner.borrow_mut();
        let now = Instant::now();
        let recorded = &mut inner.numbers[number];
        recorded.confirmed = Some(now);
        // With the log a number has only one id.
        if let Some(id) = id.filter(|_| self.delivery_mode == DeliveryMode::Log)
            && **recorded.id.get_or_insert_with(|| id.into()) != *id
        {
            inner
                .wrong
                .get_or_insert(format!("{number} is confirmed as {id}, not {:?}", recorded.id));
        }
        let since = inner.confirmed_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        inner.longest_stall = inner.longest_stall.max(since);
        inner.unsettled.push(number);
        self.confirmed.send_modify(|count| *count += 1);
    }

    /// Records that a publisher received its number. With `live`, numbers sent from now on may precede it elsewhere:
    /// RabbitMQ keeps the order of one publisher, and only confirmed messages are in all queues.
    pub fn echoed(&self, number: usize, id: Option<&str>) {
        self.inner.borrow_mut().numbers[number].echoed = true;
        self.confirmed(number, id);
    }

    /// Records a refusal.
    pub fn refused(&self, with: &str) {
        *self.inner.borrow_mut().refusals.entry(with.to_owned()).or_default() += 1;
    }

    /// Records that a publisher gave up a number, which may or may not have been published.
    pub fn abandoned(&self) {
        self.inner.borrow_mut().abandoned += 1;
    }

    /// Records that a subscriber connected.
    pub fn arrived(&self, subscriber: usize) {
        let mut inner = self.inner.borrow_mut();
        let second = inner.began.map_or(0, |began| began.elapsed().as_secs());
        *inner.arrivals.entry(second).or_default() += 1;
        let record = &mut inner.subscribers[subscriber];
        if record.intervals.is_empty() {
            record.begin();
        }
    }

    /// Records a gap of a subscriber.
    pub fn gap(&self, subscriber: usize) {
        let record = &mut self.inner.borrow_mut().subscribers[subscriber];
        record.gaps += 1;
        record.begin();
    }

    pub fn received(&self, subscriber: usize, number: usize, id: &str) {
        let Inner { numbers, subscribers, .. } = &mut *self.inner.borrow_mut();
        let (record, now) = (&mut subscribers[subscriber], Instant::now());
        let since = record.received_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        record.longest_silence = record.longest_silence.max(since);
        let Some(recorded) = numbers.get_mut(number) else { return };
        let here = record.intervals.len() - 1;
        let interval = &mut record.intervals[here];
        match record.received.insert(number, here) {
            Some(before) if before == here => {
                record.duplicates += 1;
                record.first_wrong.get_or_insert_with(|| format!("{number} twice, now as {id}"));
            }
            Some(_) => record.again += 1,
            None if self.delivery_mode == DeliveryMode::Live
                && !recorded.echoed
                && interval.spans(recorded) =>
            {
                record.out_of_order += 1;
                record.first_wrong.get_or_insert_with(|| format!("{number} is late"));
            }
            None => {}
        }
        interval.reached = interval.reached.max(Some(recorded.sent));
        if self.delivery_mode == DeliveryMode::Live {
            return;
        }
        // With the log an id begins with the position, which is the same for all subscribers.
        let place = id.split('-').next().and_then(|place| u64::from_str_radix(place, 16).ok());
        let before = record.place.replace(place.expect("an id of the log"));
        let first = recorded.id.get_or_insert_with(|| id.into());
        if place <= before || **first != *id {
            record.out_of_order += 1;
            let wrong = || format!("{number} as {id} (first {first}) behind {before:x?}");
            record.first_wrong.get_or_insert_with(wrong);
        }
    }

    /// True if a subscriber has a number.
    pub fn has(&self, subscriber: usize, number: usize) -> bool {
        self.inner.borrow().subscribers[subscriber].received.contains_key(&number)
    }

    pub fn subscribers(&self) -> usize {
        self.inner.borrow().subscribers.len()
    }

    /// For a failure: the time since each subscriber's last number.
    pub fn silence_report(&self) -> String {
        let inner = self.inner.borrow();
        let silent = inner.subscribers.iter().enumerate().map(|(n, record)| {
            format!(
                "{:?} client {n}: {:?} ago; ",
                self.delivery_mode,
                record.received_at.map(|at| at.elapsed())
            )
        });
        silent.collect()
    }

    pub fn is_calm(&self) -> bool {
        *self.calm.borrow()
    }

    /// Waits until subscribers must stay connected.
    pub async fn becomes_calm(&self) {
        let _ = self.calm.subscribe().wait_for(|calm| *calm).await;
    }

    pub fn set_calm(&self, calm: bool) {
        self.calm.send_replace(calm);
    }

    /// Waits for so many more confirms.
    pub async fn await_confirms(&self, count: usize) {
        let mut confirmed = self.confirmed.subscribe();
        let goal = *confirmed.borrow() + count;
        let _ = confirmed.wait_for(|confirmed| *confirmed >= goal).await;
    }

    /// Takes the numbers confirmed so far. A subscriber that receives a number published after this must have received
    /// all of them.
    pub fn take_confirmed(&self) -> Vec<usize> {
        std::mem::take(&mut self.inner.borrow_mut().unsettled)
    }

    /// Resets all counts at the beginning of a fault.
    pub fn begin_fault(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = Instant::now();
        inner.refusals.clear();
        inner.arrivals.clear();
        inner.abandoned = 0;
        inner.began = Some(now);
        inner.confirmed_at = Some(now);
        inner.longest_stall = Duration::ZERO;
        for record in &mut inner.subscribers {
            record.received_at = Some(now);
            record.longest_silence = Duration::ZERO;
        }
    }

    /// Compares the confirmed numbers with those that subscribers received.
    pub fn end_fault(&self, confirmed: &[usize]) -> DeploymentReport {
        let inner = &mut *self.inner.borrow_mut();
        let mut report = DeploymentReport {
            confirmed: confirmed.len(),
            refusals: inner.refusals.clone(),
            abandoned: inner.abandoned,
            reconnects: inner.arrivals.values().copied().max().unwrap_or_default(),
            stall: inner.longest_stall,
            ..DeploymentReport::default()
        };
        report.wrong = inner.wrong.take();
        for (n, record) in inner.subscribers.iter_mut().enumerate() {
            for number in confirmed.iter().filter(|number| !record.received.contains_key(number)) {
                if record.intervals.iter().any(|interval| interval.spans(&inner.numbers[*number])) {
                    report.lost += 1;
                    report.wrong.get_or_insert_with(|| format!("client {n} misses {number}"));
                } else {
                    report.lost_with_gap += 1;
                }
            }
            report.duplicates += record.duplicates;
            report.again += record.again;
            report.out_of_order += record.out_of_order;
            if let Some(wrong) = record.first_wrong.take() {
                report.wrong.get_or_insert_with(|| format!("client {n}: {wrong}"));
            }
            if record.gaps > 0 {
                report.gaps += 1;
            } else {
                report.without_gap += 1;
            }
            report.silence = report.silence.max(record.longest_silence);
            (record.gaps, record.duplicates, record.again, record.out_of_order) = (0, 0, 0, 0);
        }
        report
    }
}

impl SubscriberRecord {
    /// Begins an interval.
    fn begin(&mut self) {
        self.intervals.push(Interval { began: Instant::now(), reached: None });
        self.place = None;
    }
}
