//! The ledger of one replica set: the published numbers, the result of each, and the followers that received
//! it. Plain data, no I/O.
//!
//! Publishers send numbers, and record for each whether it was confirmed, refused, or is unknown. Followers
//! record the numbers that they receive, and the gaps that are reported to them. A round is the time of one
//! fault. After everything has recovered, the ledger is checked: every follower must have received every
//! number that was confirmed in the round.
//!
//! The numbers that a follower receives between two reported gaps are a segment, in which nothing may be
//! missing. A number belongs in a segment if it was sent after the segment began, and was confirmed before
//! the last number received in the segment was sent, in whatever order other numbers arrived.

use crate::report::SetReport;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The way in which replicas read from RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    Log,
    Live,
}

pub struct Ledger {
    pub delivery_mode: DeliveryMode,
    state: RefCell<State>,
    /// Set during recovery: followers do not disconnect by themselves, so that missing numbers arrive now.
    stay_connected: watch::Sender<bool>,
    /// Numbers confirmed since the start.
    confirmed: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    numbers: Vec<PublishedNumber>,
    /// Numbers confirmed, and not yet checked at the end of a round.
    unchecked: Vec<usize>,
    followers: Vec<FollowerRecord>,
    /// Errors of publishers and followers in this round, with their counts.
    errors: BTreeMap<String, usize>,
    /// Followers that connected, by the second of the round.
    connects: HashMap<u64, usize>,
    round_began: Option<Instant>,
    last_confirmed_at: Option<Instant>,
    longest_stall: Duration,
    /// Numbers whose publisher gave up, in this round.
    abandoned: usize,
    /// The first confirmation that contradicts another one.
    violation: Option<String>,
}

struct PublishedNumber {
    sent_at: Instant,
    confirmed_at: Option<Instant>,
    /// Received by its publisher, which shows only that one replica has it.
    echoed: bool,
    /// The id under which it was confirmed or first received.
    id: Option<Box<str>>,
}

/// The time between two gaps reported to a follower.
struct Segment {
    began: Instant,
    /// Time at which the latest of its numbers was sent.
    latest_sent_at: Option<Instant>,
}

impl Segment {
    /// True if a number that is missing in the segment is lost.
    fn must_contain(&self, number: &PublishedNumber) -> bool {
        let before_latest =
            |confirmed: Instant| self.latest_sent_at.is_some_and(|latest| confirmed < latest);
        self.began < number.sent_at && number.confirmed_at.is_some_and(before_latest)
    }
}

#[derive(Default)]
struct FollowerRecord {
    /// For each number, the index of the segment in which it was last received.
    received: HashMap<usize, usize>,
    segments: Vec<Segment>,
    /// Position of the last number in the log.
    position: Option<u64>,
    /// Gaps reported in this round.
    gaps: usize,
    last_received_at: Option<Instant>,
    longest_silence: Duration,
    /// Numbers received twice in one segment, in this round.
    duplicates: usize,
    /// Numbers received again in a later segment, in this round. That is permitted.
    repeated_after_gap: usize,
    /// Numbers received out of order, in this round.
    out_of_order: usize,
    violation: Option<String>,
}

impl Ledger {
    pub fn new(delivery_mode: DeliveryMode) -> Self {
        Self {
            delivery_mode,
            state: RefCell::default(),
            stay_connected: watch::Sender::new(false),
            confirmed: watch::Sender::new(0),
        }
    }

    /// Adds a follower and returns its index.
    pub fn add_follower(&self) -> usize {
        let followers = &mut self.state.borrow_mut().followers;
        followers.push(FollowerRecord::default());
        followers.len() - 1
    }

    /// Adds a number that is sent now, and returns it.
    pub fn add_number(&self) -> usize {
        let numbers = &mut self.state.borrow_mut().numbers;
        let number = PublishedNumber {
            sent_at: Instant::now(),
            confirmed_at: None,
            echoed: false,
            id: None,
        };
        numbers.push(number);
        numbers.len() - 1
    }

    /// Records that a number is confirmed, with its id if the confirmation has one.
    pub fn record_confirmed(&self, number: usize, id: Option<&str>) {
        let state = &mut *self.state.borrow_mut();
        let now = Instant::now();
        let published = &mut state.numbers[number];
        published.confirmed_at = Some(now);
        // With `log`, a message has the same id everywhere.
        if let Some(id) = id.filter(|_| self.delivery_mode == DeliveryMode::Log)
            && **published.id.get_or_insert_with(|| id.into()) != *id
        {
            let first = &published.id;
            state.violation.get_or_insert(format!("{number} is confirmed as {id}, not {first:?}"));
        }
        let since = state.last_confirmed_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        state.longest_stall = state.longest_stall.max(since);
        state.unchecked.push(number);
        self.confirmed.send_modify(|count| *count += 1);
    }

    /// Records that a publisher received its own number. With `live`, a number that is sent now may arrive
    /// before it at another replica: RabbitMQ keeps the order of one publisher, and only a message that it
    /// confirmed is in all queues.
    pub fn record_echoed(&self, number: usize, id: Option<&str>) {
        self.state.borrow_mut().numbers[number].echoed = true;
        self.record_confirmed(number, id);
    }

    /// Records an error that a publisher or a follower received.
    pub fn record_error(&self, error: &str) {
        *self.state.borrow_mut().errors.entry(error.to_owned()).or_default() += 1;
    }

    /// Records that a publisher gave up on a number, which may be published or not.
    pub fn record_abandoned(&self) {
        self.state.borrow_mut().abandoned += 1;
    }

    pub fn record_connected(&self, follower: usize) {
        let mut state = self.state.borrow_mut();
        let second = state.round_began.map_or(0, |began| began.elapsed().as_secs());
        *state.connects.entry(second).or_default() += 1;
        let record = &mut state.followers[follower];
        if record.segments.is_empty() {
            record.begin_segment();
        }
    }

    /// Records that a gap was reported to a follower.
    pub fn record_gap(&self, follower: usize) {
        let record = &mut self.state.borrow_mut().followers[follower];
        record.gaps += 1;
        record.begin_segment();
    }

    pub fn record_received(&self, follower: usize, number: usize, id: &str) {
        let State { numbers, followers, .. } = &mut *self.state.borrow_mut();
        let (record, now) = (&mut followers[follower], Instant::now());
        let since = record.last_received_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        record.longest_silence = record.longest_silence.max(since);
        let Some(published) = numbers.get_mut(number) else { return };
        let current = record.segments.len() - 1;
        let segment = &mut record.segments[current];
        match record.received.insert(number, current) {
            Some(before) if before == current => {
                record.duplicates += 1;
                record.violation.get_or_insert_with(|| format!("{number} twice, now as {id}"));
            }
            Some(_) => record.repeated_after_gap += 1,
            None if self.delivery_mode == DeliveryMode::Live
                && !published.echoed
                && segment.must_contain(published) =>
            {
                record.out_of_order += 1;
                record.violation.get_or_insert_with(|| format!("{number} is out of order"));
            }
            None => {}
        }
        segment.latest_sent_at = segment.latest_sent_at.max(Some(published.sent_at));
        if self.delivery_mode == DeliveryMode::Live {
            return;
        }
        // With `log`, an id begins with the position, which is the same for all followers.
        let position = id.split('-').next().and_then(|part| u64::from_str_radix(part, 16).ok());
        let before = record.position.replace(position.expect("an id with a position"));
        let first = published.id.get_or_insert_with(|| id.into());
        if position <= before || **first != *id {
            record.out_of_order += 1;
            let violation =
                || format!("{number} as {id} (first {first}) after position {before:x?}");
            record.violation.get_or_insert_with(violation);
        }
    }

    pub fn has_received(&self, follower: usize, number: usize) -> bool {
        self.state.borrow().followers[follower].received.contains_key(&number)
    }

    /// The number of followers.
    pub fn followers(&self) -> usize {
        self.state.borrow().followers.len()
    }

    /// The time since each follower received something, for an error.
    pub fn describe_followers(&self) -> String {
        let state = self.state.borrow();
        let followers = state.followers.iter().enumerate().map(|(n, record)| {
            let since = record.last_received_at.map(|at| at.elapsed());
            format!("{:?} follower {n} last received a number {since:?} ago; ", self.delivery_mode)
        });
        followers.collect()
    }

    pub fn must_stay_connected(&self) -> bool {
        *self.stay_connected.borrow()
    }

    /// Waits until followers must be connected.
    pub async fn reconnect_requested(&self) {
        let _ = self.stay_connected.subscribe().wait_for(|stay| *stay).await;
    }

    pub fn set_stay_connected(&self, stay: bool) {
        self.stay_connected.send_replace(stay);
    }

    /// Waits until this many more numbers are confirmed.
    pub async fn confirms(&self, count: usize) {
        let mut confirmed = self.confirmed.subscribe();
        let goal = *confirmed.borrow() + count;
        let _ = confirmed.wait_for(|confirmed| *confirmed >= goal).await;
    }

    /// Takes the numbers that are confirmed and not yet checked. A follower that receives a number sent after
    /// this must have received all of them.
    pub fn take_confirmed(&self) -> Vec<usize> {
        std::mem::take(&mut self.state.borrow_mut().unchecked)
    }

    pub fn begin_round(&self) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        state.errors.clear();
        state.connects.clear();
        state.abandoned = 0;
        state.round_began = Some(now);
        state.last_confirmed_at = Some(now);
        state.longest_stall = Duration::ZERO;
        for record in &mut state.followers {
            record.last_received_at = Some(now);
            record.longest_silence = Duration::ZERO;
        }
    }

    /// Ends a round, and checks the numbers that were confirmed in it.
    pub fn end_round(&self, confirmed: &[usize]) -> SetReport {
        let state = &mut *self.state.borrow_mut();
        let mut report = SetReport {
            confirmed: confirmed.len(),
            errors: state.errors.clone(),
            abandoned: state.abandoned,
            resumes: state.connects.values().copied().max().unwrap_or_default(),
            stall: state.longest_stall,
            ..SetReport::default()
        };
        report.violation = state.violation.take();
        for (n, record) in state.followers.iter_mut().enumerate() {
            for number in confirmed.iter().filter(|number| !record.received.contains_key(number)) {
                let published = &state.numbers[*number];
                if record.segments.iter().any(|segment| segment.must_contain(published)) {
                    report.lost_silently += 1;
                    report
                        .violation
                        .get_or_insert_with(|| format!("follower {n} did not receive {number}"));
                } else {
                    report.lost_with_gap += 1;
                }
            }
            report.duplicates += record.duplicates;
            report.repeated_after_gap += record.repeated_after_gap;
            report.out_of_order += record.out_of_order;
            if let Some(violation) = record.violation.take() {
                report.violation.get_or_insert_with(|| format!("follower {n}: {violation}"));
            }
            if record.gaps > 0 {
                report.followers_with_gap += 1;
            } else {
                report.followers_without_gap += 1;
            }
            report.silence = report.silence.max(record.longest_silence);
            record.gaps = 0;
            record.duplicates = 0;
            record.repeated_after_gap = 0;
            record.out_of_order = 0;
        }
        report
    }
}

impl FollowerRecord {
    fn begin_segment(&mut self) {
        self.segments.push(Segment { began: Instant::now(), latest_sent_at: None });
        self.position = None;
    }
}
