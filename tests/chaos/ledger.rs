//! What was said in one house, what became of it, and who heard it. Plain data, no I/O.
//!
//! Publishers say numbers. Who said one knows whether it was confirmed, refused, or that nobody can
//! tell. Followers say which numbers they heard, and when they were told that something may be missing.
//! A chapter is the time of one fault; when everybody is whole again it is settled: every number that
//! was confirmed in it must be with every follower.

use crate::report::Chapter;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long before a message was sent a follower may have been told that it will be missing: the word
/// may overtake messages that wait.
const EARLY: Duration = Duration::from_secs(5);
/// How long after a message was sent a follower may be told that it is missing.
const LATE: Duration = Duration::from_secs(60);

/// How a house reads from RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Log,
    Live,
}

pub struct Ledger {
    pub delivery: Delivery,
    inner: RefCell<Inner>,
    /// Followers stay, and publishers go on: what is missing now comes now.
    calm: Cell<bool>,
    /// Numbers confirmed, ever.
    confirmed: watch::Sender<usize>,
}

#[derive(Default)]
struct Inner {
    numbers: Vec<Number>,
    /// Confirmed in this chapter.
    unsettled: Vec<usize>,
    followers: Vec<Record>,
    /// What publishers and followers were refused with, and how often, in this chapter.
    refusals: BTreeMap<String, usize>,
    /// Followers that came, by the second of the chapter.
    arrivals: HashMap<u64, usize>,
    began: Option<Instant>,
    confirmed_at: Option<Instant>,
    longest_stall: Duration,
    /// Nobody knows whether they got out.
    unknown: usize,
}

struct Number {
    sent: Instant,
    /// The id under which it was heard first.
    id: Option<Box<str>>,
}

#[derive(Default)]
struct Record {
    heard: HashSet<usize>,
    /// Where in the log the last one was.
    place: Option<u64>,
    /// When it was told that something may be missing, ever.
    told: Vec<Instant>,
    /// How often by the end of the last chapter.
    told_before: usize,
    heard_at: Option<Instant>,
    longest_silence: Duration,
    /// In this chapter.
    twice: usize,
    disorder: usize,
    first_wrong: Option<String>,
}

impl Ledger {
    pub fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            inner: RefCell::default(),
            calm: Cell::new(false),
            confirmed: watch::Sender::new(0),
        }
    }

    /// A new follower.
    pub fn follower(&self) -> usize {
        let followers = &mut self.inner.borrow_mut().followers;
        followers.push(Record::default());
        followers.len() - 1
    }

    /// A number to be said now.
    pub fn take(&self) -> usize {
        let numbers = &mut self.inner.borrow_mut().numbers;
        numbers.push(Number { sent: Instant::now(), id: None });
        numbers.len() - 1
    }

    pub fn confirmed(&self, number: usize) {
        let mut inner = self.inner.borrow_mut();
        let now = Instant::now();
        let since = inner.confirmed_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        inner.longest_stall = inner.longest_stall.max(since);
        inner.unsettled.push(number);
        self.confirmed.send_modify(|count| *count += 1);
    }

    /// Somebody was told no.
    pub fn refused(&self, with: &str) {
        *self.inner.borrow_mut().refusals.entry(with.to_owned()).or_default() += 1;
    }

    /// Its publisher gave up: it may be out or not.
    pub fn unknown(&self) {
        self.inner.borrow_mut().unknown += 1;
    }

    /// A follower is connected.
    pub fn arrived(&self) {
        let mut inner = self.inner.borrow_mut();
        let second = inner.began.map_or(0, |began| began.elapsed().as_secs());
        *inner.arrivals.entry(second).or_default() += 1;
    }

    /// A follower was told that messages may be missing.
    pub fn told(&self, follower: usize) {
        let record = &mut self.inner.borrow_mut().followers[follower];
        record.told.push(Instant::now());
        record.place = None;
    }

    pub fn heard(&self, follower: usize, number: usize, id: &str) {
        let Inner { numbers, followers, .. } = &mut *self.inner.borrow_mut();
        let (record, now) = (&mut followers[follower], Instant::now());
        let since = record.heard_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        record.longest_silence = record.longest_silence.max(since);
        let Some(said) = numbers.get_mut(number) else { return };
        if !record.heard.insert(number) {
            record.twice += 1;
            record.first_wrong.get_or_insert_with(|| format!("{number} twice, now as {id}"));
        }
        if self.delivery == Delivery::Live {
            return;
        }
        // With the log an id begins with the message's place in it, which is the same for all.
        let place = id.split('-').next().and_then(|place| u64::from_str_radix(place, 16).ok());
        let before = record.place.replace(place.expect("an id of the log"));
        let first = said.id.get_or_insert_with(|| id.into());
        if place <= before || **first != *id {
            record.disorder += 1;
            let wrong = || format!("{number} as {id} (first {first}) behind {before:x?}");
            record.first_wrong.get_or_insert_with(wrong);
        }
    }

    /// Whether a follower has a number.
    pub fn has(&self, follower: usize, number: usize) -> bool {
        self.inner.borrow().followers[follower].heard.contains(&number)
    }

    pub fn followers(&self) -> usize {
        self.inner.borrow().followers.len()
    }

    /// For a failure: followers, and for how long they heard nothing.
    pub fn who_hears_nothing(&self) -> String {
        let inner = self.inner.borrow();
        let silent = inner.followers.iter().enumerate().map(|(n, record)| {
            format!(
                "{:?} client {n}: {:?} ago; ",
                self.delivery,
                record.heard_at.map(|at| at.elapsed())
            )
        });
        silent.collect()
    }

    pub fn is_calm(&self) -> bool {
        self.calm.get()
    }

    pub fn set_calm(&self, calm: bool) {
        self.calm.set(calm);
    }

    /// Waits until so many more numbers are confirmed.
    pub async fn confirms(&self, count: usize) {
        let mut confirmed = self.confirmed.subscribe();
        let goal = *confirmed.borrow() + count;
        let _ = confirmed.wait_for(|confirmed| *confirmed >= goal).await;
    }

    /// What is confirmed by now and was not settled yet: whoever hears what is said after this should
    /// have heard all of it.
    pub fn close(&self) -> Vec<usize> {
        std::mem::take(&mut self.inner.borrow_mut().unsettled)
    }

    /// Begins a chapter.
    pub fn begin(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = Instant::now();
        inner.refusals.clear();
        inner.arrivals.clear();
        inner.unknown = 0;
        inner.began = Some(now);
        inner.confirmed_at = Some(now);
        inner.longest_stall = Duration::ZERO;
        for record in &mut inner.followers {
            record.heard_at = Some(now);
            record.longest_silence = Duration::ZERO;
        }
    }

    /// Ends it: what became of the numbers that were confirmed.
    pub fn settle(&self, confirmed: &[usize]) -> Chapter {
        let inner = &mut *self.inner.borrow_mut();
        let mut chapter = Chapter {
            confirmed: confirmed.len(),
            refusals: inner.refusals.clone(),
            unknown: inner.unknown,
            reconnects: inner.arrivals.values().copied().max().unwrap_or_default(),
            stall: inner.longest_stall,
            ..Chapter::default()
        };
        for (n, record) in inner.followers.iter_mut().enumerate() {
            for number in confirmed {
                if record.heard.contains(number) {
                    continue;
                }
                let sent = inner.numbers[*number].sent;
                let window = sent.checked_sub(EARLY).unwrap_or(sent)..sent + LATE;
                if record.told.iter().any(|told| window.contains(told)) {
                    chapter.told += 1;
                } else {
                    chapter.lost += 1;
                    chapter.wrong.get_or_insert_with(|| format!("client {n} misses {number}"));
                }
            }
            // A key is known for as long as the replica reads without a gap.
            if record.told.len() == record.told_before {
                chapter.twice += record.twice;
                chapter.disorder += record.disorder;
                if let Some(wrong) = &record.first_wrong {
                    chapter.wrong.get_or_insert_with(|| format!("client {n}: {wrong}"));
                }
            } else {
                chapter.gaps += 1;
                chapter.again += record.twice;
            }
            chapter.silence = chapter.silence.max(record.longest_silence);
            record.told_before = record.told.len();
            record.twice = 0;
            record.disorder = 0;
            record.first_wrong = None;
        }
        chapter
    }
}
