//! What a message on the exchange is: for clients, for replicas, or unfit; and what it is called.

use crate::deduplicator::{DedupKeys, Deduplicator, Verdict};
use crate::publisher;
use crate::rabbitmq::content_ids::ContentIds;
use crate::rabbitmq::control::{self, Kind};
use crate::rabbitmq::message_ids::origin_of;
use crate::slewed_clock::SlewedClock;
use fnv::FnvHasher;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use opentelemetry::trace::SpanContext;
use std::hash::Hasher;
use std::sync::Arc;
use warren_protocol::body::{self, Decoded, Malformed, Properties};
use warren_protocol::message::{MAX_KEY, Message, id_at};
use warren_protocol::trace_context;

/// How far before a message that says nothing of its own may be the one that tells it from others.
pub(crate) const ANCHOR_REACH: u64 = 1 << 14;
/// Seconds by which the clocks of publishers may be ahead.
const MAX_CLOCK_AHEAD: u64 = 3600;

/// What an entry turned out to be.
#[derive(Debug)]
pub(crate) enum Entry {
    Message(Message),
    /// A second copy, of the message with this id if that is known.
    Second(Option<Arc<str>>),
    Canary(control::Canary),
    Malformed(Malformed),
}

/// How ids are given.
#[derive(Debug)]
enum Naming {
    /// By publishers; what comes without is named by its content.
    Live(ContentIds),
    /// By the place in the log, and a check of what stands there.
    Log {
        /// The last entry that says something of its own: its offset and check.
        anchor: Option<(u64, u64)>,
    },
}

/// Reads the entries of a queue or stream, in order.
#[derive(Debug)]
pub(crate) struct EntryReader {
    max_message: usize,
    clock: Arc<SlewedClock>,
    naming: Naming,
    once: Deduplicator,
    /// When the newest entry that says so was published.
    stamp: u64,
    /// What is read now was said long ago.
    pub(crate) past: bool,
    /// What was read last from the log.
    pub(crate) last: Option<EntryFingerprint>,
}

/// What stands at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryFingerprint {
    pub(crate) offset: u64,
    /// `None` if it could not be read.
    pub(crate) check: Option<u64>,
}

impl EntryReader {
    pub(crate) fn live(max_message: usize, clock: &Arc<SlewedClock>, replica: &str) -> Self {
        Self::new(max_message, clock, Naming::Live(ContentIds::new(replica)))
    }

    pub(crate) fn log(max_message: usize, clock: &Arc<SlewedClock>) -> Self {
        Self::new(max_message, clock, Naming::Log { anchor: None })
    }

    /// When the newest entry that says so was published, in seconds since 1970.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether something was read that tells others apart.
    pub(crate) fn is_anchored(&self) -> bool {
        matches!(self.naming, Naming::Log { anchor: Some(_) })
    }

    fn new(max_message: usize, clock: &Arc<SlewedClock>, naming: Naming) -> Self {
        let (once, clock) = (Deduplicator::default(), clock.clone());
        Self { max_message, clock, naming, once, stamp: 0, past: false, last: None }
    }

    /// Reads the next entry. `offset` is its place in the log, if that is what is read; `second` tells
    /// whether it is a second copy, where that is known already.
    pub(crate) fn read(
        &mut self,
        delivery: &Delivery,
        offset: Option<u64>,
        second: Option<bool>,
    ) -> Entry {
        if let Some(stamp) = stamp(delivery, &self.clock) {
            self.stamp = stamp;
        }
        let id = offset.map(|offset| self.place(delivery, offset));
        match Kind::of(&delivery.properties) {
            Kind::ForClients => {}
            Kind::Canary => {
                return match serde_json::from_slice(&delivery.data) {
                    Ok(canary) => Entry::Canary(canary),
                    Err(_) => Entry::Malformed(Malformed::Control),
                };
            }
            Kind::UnknownControl => return Entry::Malformed(Malformed::Control),
        }
        let properties = Properties {
            routing_key: delivery.routing_key.as_str(),
            timestamp: *delivery.properties.timestamp(),
        };
        let decoded = match body::decode(&delivery.data, properties, self.max_message) {
            Ok(decoded) => decoded,
            Err(malformed) => return Entry::Malformed(malformed),
        };
        let id = id.unwrap_or_else(|| self.name(delivery, &decoded));
        let marks = DedupKeys {
            key: key(delivery),
            origin: origin(delivery),
            repeated: header(delivery, control::REPEATED).is_some(),
            stamp: self.stamp,
        };
        let verdict = self.once.judge(&decoded.channel, marks, &id);
        match (second, verdict) {
            (Some(false), _) | (None, Verdict::First) => {
                let past = self.past.then(|| date_of(self.stamp)).flatten();
                Entry::Message(decoded.message(id, offset, || past.unwrap_or_else(publisher::now)))
            }
            (Some(true), Verdict::First) => Entry::Second(None),
            (_, Verdict::Second(first)) => Entry::Second(first),
        }
    }

    /// The id of what stands at `offset`. What says nothing that tells it from others like it is told
    /// by the last entry that does, so that a log made anew is not taken for the old one.
    fn place(&mut self, delivery: &Delivery, offset: u64) -> Arc<str> {
        let own = check(delivery);
        self.last = Some(EntryFingerprint { offset, check: Some(own) });
        let Naming::Log { anchor } = &mut self.naming else { return "".into() };
        if says_something(delivery) {
            *anchor = Some((offset, own));
            return id_at(offset, &format!("{own:016x}"));
        }
        match anchor.filter(|(at, _)| offset - at <= ANCHOR_REACH) {
            Some((at, check)) => {
                let check = own.rotate_left(1) ^ check;
                id_at(offset, &format!("{check:016x}-{:x}", offset - at))
            }
            None => id_at(offset, &format!("{own:016x}-0")),
        }
    }

    fn name(&mut self, delivery: &Delivery, decoded: &Decoded) -> Arc<str> {
        let Naming::Live(names) = &mut self.naming else { return "".into() };
        match message_id(delivery) {
            Some(id) => id.into(),
            None => {
                names.name(decoded.date.is_some(), delivery.routing_key.as_str(), &delivery.data)
            }
        }
    }
}

/// A hash of all that a delivery says, the same on every replica and in every version.
pub(crate) fn check(delivery: &Delivery) -> u64 {
    let mut hasher = FnvHasher::default();
    let key = delivery.routing_key.as_str();
    for text in [message_id(delivery).unwrap_or_default(), key] {
        hasher.write(text.as_bytes());
        hasher.write(&[0xff]);
    }
    hasher.write(&delivery.properties.timestamp().unwrap_or_default().to_be_bytes());
    hasher.write(&delivery.data);
    hasher.finish()
}

/// Whether a delivery is told from others by more than its body.
pub(crate) fn says_something(delivery: &Delivery) -> bool {
    message_id(delivery).is_some() || delivery.properties.timestamp().is_some()
}

/// Whether a delivery may be the second copy of something that was said before.
pub(crate) fn may_be_second(delivery: &Delivery) -> bool {
    header(delivery, control::KEY).is_some() || header(delivery, control::REPEATED).is_some()
}

/// When it was published, in seconds since 1970, if it says so credibly.
pub(crate) fn stamp(delivery: &Delivery, clock: &SlewedClock) -> Option<u64> {
    delivery.properties.timestamp().filter(|stamp| *stamp <= clock.now() + MAX_CLOCK_AHEAD)
}

fn date_of(stamp: u64) -> Option<String> {
    let seconds = i64::try_from(stamp).ok().filter(|seconds| *seconds > 0)?;
    jiff::Timestamp::from_second(seconds).ok().map(|timestamp| timestamp.to_string())
}

pub(crate) fn message_id(delivery: &Delivery) -> Option<&str> {
    let id = delivery.properties.message_id().as_ref().map(|id| id.as_str());
    id.filter(|id| !id.is_empty())
}

/// The process that published a message, and the number it gave it; only replicas do.
pub(crate) fn origin(delivery: &Delivery) -> Option<(&str, u64)> {
    let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str());
    if kind == Some(control::MESSAGE) { origin_of(message_id(delivery)?) } else { None }
}

/// The key that its sender gave it; what is no key is none.
fn key(delivery: &Delivery) -> Option<&str> {
    text(delivery, control::KEY).filter(|key| (1..=MAX_KEY).contains(&key.len()))
}

/// The trace that its publisher is in.
pub(crate) fn trace(delivery: &Delivery) -> Option<SpanContext> {
    trace_context::parse(
        text(delivery, trace_context::TRACEPARENT)?,
        text(delivery, trace_context::TRACESTATE),
    )
}

/// A header that is text.
fn text<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    match header(delivery, name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}
