//! What was said in one house, what became of it, and who heard it. Plain data, no I/O.
//!
//! Publishers say numbers. Who said one knows whether it was confirmed, refused, or that nobody can
//! tell. Followers say which numbers they heard, and when they were told that something may be missing.
//! A chapter is the time of one fault; when everybody is whole again it is settled: every number that
//! was confirmed in it must be with every follower.
//!
//! What a follower hears between two times at which it is told that something may be missing is a
//! stretch. Within one nothing may be missing: what was sent after it began, and was confirmed before
//! the last that was heard in it was sent, stands between the two, in whatever order others came.

use crate::report::Chapter;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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
    calm: watch::Sender<bool>,
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
    /// What publishers were told, and is not so.
    wrong: Option<String>,
}

struct Number {
    sent: Instant,
    confirmed: Option<Instant>,
    /// It was heard by its publisher, which shows that one replica has it.
    echoed: bool,
    /// The id under which it was confirmed, or heard first.
    id: Option<Box<str>>,
}

/// Between two times at which a follower is told that something may be missing.
struct Stretch {
    began: Instant,
    /// When the latest of what was heard in it was sent.
    reached: Option<Instant>,
}

impl Stretch {
    /// Whether a number stands between others in it.
    fn spans(&self, number: &Number) -> bool {
        let before = |confirmed: Instant| self.reached.is_some_and(|reached| confirmed < reached);
        self.began < number.sent && number.confirmed.is_some_and(before)
    }
}

#[derive(Default)]
struct Record {
    /// In which stretch each number was heard last.
    heard: HashMap<usize, usize>,
    stretches: Vec<Stretch>,
    /// Where in the log the last one was.
    place: Option<u64>,
    /// How often it was told that something may be missing, in this chapter.
    told: usize,
    heard_at: Option<Instant>,
    longest_silence: Duration,
    /// In this chapter; heard again in another stretch is no fault.
    twice: usize,
    again: usize,
    disorder: usize,
    first_wrong: Option<String>,
}

impl Ledger {
    pub fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            inner: RefCell::default(),
            calm: watch::Sender::new(false),
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
        numbers.push(Number { sent: Instant::now(), confirmed: None, echoed: false, id: None });
        numbers.len() - 1
    }

    /// A number is out, and under this id if that was said.
    pub fn confirmed(&self, number: usize, id: Option<&str>) {
        let inner = &mut *self.inner.borrow_mut();
        let now = Instant::now();
        let said = &mut inner.numbers[number];
        said.confirmed = Some(now);
        // With the log it has one id only.
        if let Some(id) = id.filter(|_| self.delivery == Delivery::Log)
            && **said.id.get_or_insert_with(|| id.into()) != *id
        {
            inner.wrong.get_or_insert(format!("{number} is confirmed as {id}, not {:?}", said.id));
        }
        let since = inner.confirmed_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        inner.longest_stall = inner.longest_stall.max(since);
        inner.unsettled.push(number);
        self.confirmed.send_modify(|count| *count += 1);
    }

    /// A number came back. With `live`, what is sent now may be ahead of it elsewhere: RabbitMQ keeps the
    /// order of one publisher, and has put in all queues only what it confirmed.
    pub fn echoed(&self, number: usize, id: Option<&str>) {
        self.inner.borrow_mut().numbers[number].echoed = true;
        self.confirmed(number, id);
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
    pub fn arrived(&self, follower: usize) {
        let mut inner = self.inner.borrow_mut();
        let second = inner.began.map_or(0, |began| began.elapsed().as_secs());
        *inner.arrivals.entry(second).or_default() += 1;
        let record = &mut inner.followers[follower];
        if record.stretches.is_empty() {
            record.begin();
        }
    }

    /// A follower was told that messages may be missing.
    pub fn told(&self, follower: usize) {
        let record = &mut self.inner.borrow_mut().followers[follower];
        record.told += 1;
        record.begin();
    }

    pub fn heard(&self, follower: usize, number: usize, id: &str) {
        let Inner { numbers, followers, .. } = &mut *self.inner.borrow_mut();
        let (record, now) = (&mut followers[follower], Instant::now());
        let since = record.heard_at.replace(now).map_or(Duration::ZERO, |at| now - at);
        record.longest_silence = record.longest_silence.max(since);
        let Some(said) = numbers.get_mut(number) else { return };
        let here = record.stretches.len() - 1;
        let stretch = &mut record.stretches[here];
        match record.heard.insert(number, here) {
            Some(before) if before == here => {
                record.twice += 1;
                record.first_wrong.get_or_insert_with(|| format!("{number} twice, now as {id}"));
            }
            Some(_) => record.again += 1,
            None if self.delivery == Delivery::Live && !said.echoed && stretch.spans(said) => {
                record.disorder += 1;
                record.first_wrong.get_or_insert_with(|| format!("{number} is late"));
            }
            None => {}
        }
        stretch.reached = stretch.reached.max(Some(said.sent));
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
        self.inner.borrow().followers[follower].heard.contains_key(&number)
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
        *self.calm.borrow()
    }

    /// Waits until it is calm.
    pub async fn calms_down(&self) {
        let _ = self.calm.subscribe().wait_for(|calm| *calm).await;
    }

    pub fn set_calm(&self, calm: bool) {
        self.calm.send_replace(calm);
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
        chapter.wrong = inner.wrong.take();
        for (n, record) in inner.followers.iter_mut().enumerate() {
            for number in confirmed.iter().filter(|number| !record.heard.contains_key(number)) {
                if record.stretches.iter().any(|stretch| stretch.spans(&inner.numbers[*number])) {
                    chapter.lost += 1;
                    chapter.wrong.get_or_insert_with(|| format!("client {n} misses {number}"));
                } else {
                    chapter.told += 1;
                }
            }
            chapter.twice += record.twice;
            chapter.again += record.again;
            chapter.disorder += record.disorder;
            if let Some(wrong) = record.first_wrong.take() {
                chapter.wrong.get_or_insert_with(|| format!("client {n}: {wrong}"));
            }
            if record.told > 0 {
                chapter.gaps += 1;
            } else {
                chapter.untold += 1;
            }
            chapter.silence = chapter.silence.max(record.longest_silence);
            (record.told, record.twice, record.again, record.disorder) = (0, 0, 0, 0);
        }
        chapter
    }
}

impl Record {
    /// Begins a stretch.
    fn begin(&mut self) {
        self.stretches.push(Stretch { began: Instant::now(), reached: None });
        self.place = None;
    }
}
