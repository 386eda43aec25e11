//! Reads entries of the stream or queue: decodes each, assigns its id, and recognizes duplicates.

use crate::deduplicator::{DedupKeys, Deduplicator, Verdict};
use crate::publisher::rfc3339_now;
use crate::rabbitmq::consume::content_ids::ContentIds;
use crate::rabbitmq::control::{CanaryMessage, MessageType};
use crate::rabbitmq::properties;
use crate::slewed_clock::SlewedClock;
use fnv::FnvHasher;
use lapin::message::Delivery;
use std::hash::Hasher;
use std::sync::Arc;
use warren_protocol::body::{self, Decoded, Malformed, Properties};
use warren_protocol::message::{Message, id_at};

/// Longest distance, in offsets, between an entry without distinguishing properties and its anchor.
pub(crate) const ANCHOR_REACH: u64 = 1 << 14;

/// A decoded entry.
#[derive(Debug)]
pub(crate) enum Entry {
    Message(Message),
    /// A duplicate, with the id of the first message if that is known.
    Duplicate {
        first: Option<Arc<str>>,
    },
    Canary(CanaryMessage),
    Malformed(Malformed),
}

/// Offset of an entry in the log, and a hash by which it is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryFingerprint {
    pub(crate) offset: u64,
    /// `None` if the entry cannot be read.
    pub(crate) hash: Option<u64>,
}

/// Source of the date of messages that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateSource {
    /// The current time, for messages that were just published.
    Clock,
    /// The newest timestamp among the entries before, for older messages.
    EntriesBefore,
}

/// Assignment of message ids, by delivery mode.
#[derive(Debug)]
enum IdAssignment {
    /// The AMQP message id, or the content if there is none.
    Live(ContentIds),
    /// The position in the log and a fingerprint.
    Log {
        /// Offset and hash of the last entry with distinguishing properties.
        anchor: Option<(u64, u64)>,
    },
}

/// Reads the entries of a queue or stream, in order.
#[derive(Debug)]
pub(crate) struct EntryReader {
    max_message: usize,
    clock: Arc<SlewedClock>,
    ids: IdAssignment,
    deduplicator: Deduplicator,
    /// Timestamp of the newest entry that has one, in seconds since the Unix epoch.
    newest_timestamp: u64,
    pub(crate) date_source: DateSource,
    /// Last entry that was read from the log.
    pub(crate) last: Option<EntryFingerprint>,
}

impl EntryReader {
    pub(crate) fn live(max_message: usize, clock: &Arc<SlewedClock>, replica: &str) -> Self {
        Self::new(max_message, clock, IdAssignment::Live(ContentIds::new(replica)))
    }

    pub(crate) fn log(max_message: usize, clock: &Arc<SlewedClock>) -> Self {
        Self::new(max_message, clock, IdAssignment::Log { anchor: None })
    }

    fn new(max_message: usize, clock: &Arc<SlewedClock>, ids: IdAssignment) -> Self {
        Self {
            max_message,
            clock: clock.clone(),
            ids,
            deduplicator: Deduplicator::default(),
            newest_timestamp: 0,
            date_source: DateSource::Clock,
            last: None,
        }
    }

    /// Timestamp of the newest entry that has one, in seconds since the Unix epoch.
    pub(crate) fn newest_timestamp(&self) -> u64 {
        self.newest_timestamp
    }

    /// True if an entry with distinguishing properties has been read.
    pub(crate) fn is_anchored(&self) -> bool {
        matches!(self.ids, IdAssignment::Log { anchor: Some(_) })
    }

    /// Reads the next delivery of a queue.
    pub(crate) fn read_live(&mut self, delivery: &Delivery) -> Entry {
        self.read(delivery, None, None)
    }

    /// Reads the next entry of the log.
    pub(crate) fn read_log(&mut self, delivery: &Delivery, offset: u64) -> Entry {
        self.read(delivery, Some(offset), None)
    }

    /// Reads the next entry of the log for a replay. `is_duplicate` is the verdict of the first reading,
    /// if that is known.
    pub(crate) fn reread_log(
        &mut self,
        delivery: &Delivery,
        offset: u64,
        is_duplicate: Option<bool>,
    ) -> Entry {
        self.read(delivery, Some(offset), is_duplicate)
    }

    fn read(
        &mut self,
        delivery: &Delivery,
        offset: Option<u64>,
        is_duplicate: Option<bool>,
    ) -> Entry {
        if let Some(timestamp) = properties::published_at(delivery, &self.clock) {
            self.newest_timestamp = timestamp;
        }
        // For every entry, because control messages also serve as anchors.
        let log_id = offset.map(|offset| self.log_id(delivery, offset));
        match MessageType::of(&delivery.properties) {
            MessageType::ForClients => {}
            MessageType::Canary => {
                return match serde_json::from_slice(&delivery.data) {
                    Ok(canary) => Entry::Canary(canary),
                    Err(_) => Entry::Malformed(Malformed::Control),
                };
            }
            MessageType::UnknownControl => return Entry::Malformed(Malformed::Control),
        }
        let properties = Properties {
            routing_key: delivery.routing_key.as_str(),
            timestamp: *delivery.properties.timestamp(),
        };
        let decoded = match body::decode(&delivery.data, properties, self.max_message) {
            Ok(decoded) => decoded,
            Err(malformed) => return Entry::Malformed(malformed),
        };
        let id = log_id.unwrap_or_else(|| self.live_id(delivery, &decoded));
        let keys = DedupKeys {
            key: properties::key(delivery),
            origin: properties::origin(delivery),
            repeated: properties::is_repeated(delivery),
            published_at: self.newest_timestamp,
        };
        let verdict = self.deduplicator.judge(&decoded.channel, keys, &id);
        match (is_duplicate, verdict) {
            (Some(false), _) | (None, Verdict::New) => {
                Entry::Message(decoded.message(id, offset, || self.fallback_date()))
            }
            (Some(true), Verdict::New) => Entry::Duplicate { first: None },
            (_, Verdict::Duplicate { first }) => Entry::Duplicate { first },
        }
    }

    /// Id of the log's entry at `offset`. An entry without distinguishing properties takes the
    /// fingerprint of the last one that has some, so that ids of a recreated stream never match.
    fn log_id(&mut self, delivery: &Delivery, offset: u64) -> Arc<str> {
        let hash = entry_hash(delivery);
        self.last = Some(EntryFingerprint { offset, hash: Some(hash) });
        let IdAssignment::Log { anchor } = &mut self.ids else { return "".into() };
        if has_distinguishing_properties(delivery) {
            *anchor = Some((offset, hash));
            return id_at(offset, &format!("{hash:016x}"));
        }
        match anchor.filter(|(at, _)| offset - at <= ANCHOR_REACH) {
            Some((at, anchor_hash)) => {
                let hash = hash.rotate_left(1) ^ anchor_hash;
                id_at(offset, &format!("{hash:016x}-{:x}", offset - at))
            }
            None => id_at(offset, &format!("{hash:016x}-0")),
        }
    }

    /// Id of a message with delivery mode `live`.
    fn live_id(&mut self, delivery: &Delivery, decoded: &Decoded) -> Arc<str> {
        let IdAssignment::Live(content_ids) = &mut self.ids else { return "".into() };
        match properties::message_id(delivery) {
            Some(id) => id.into(),
            None if decoded.date.is_some() => {
                content_ids.dated(delivery.routing_key.as_str(), &delivery.data)
            }
            None => content_ids.undated(),
        }
    }

    /// Date for a message that has none.
    fn fallback_date(&self) -> String {
        let date = match self.date_source {
            DateSource::Clock => None,
            DateSource::EntriesBefore => rfc3339(self.newest_timestamp),
        };
        date.unwrap_or_else(rfc3339_now)
    }
}

/// Hash of message id, routing key, timestamp and body, the same on every replica and in every version.
pub(crate) fn entry_hash(delivery: &Delivery) -> u64 {
    let mut hasher = FnvHasher::default();
    let routing_key = delivery.routing_key.as_str();
    for text in [properties::message_id(delivery).unwrap_or_default(), routing_key] {
        hasher.write(text.as_bytes());
        hasher.write(&[0xff]);
    }
    hasher.write(&delivery.properties.timestamp().unwrap_or_default().to_be_bytes());
    hasher.write(&delivery.data);
    hasher.finish()
}

/// True if a message id or a timestamp distinguishes an entry from others with the same body.
pub(crate) fn has_distinguishing_properties(delivery: &Delivery) -> bool {
    properties::message_id(delivery).is_some() || delivery.properties.timestamp().is_some()
}

fn rfc3339(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    jiff::Timestamp::from_second(seconds).ok().map(|timestamp| timestamp.to_string())
}
