use super::*;
use crate::message::id_at;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

const LIMITS: Limits = Limits { hubs: 1, history: 1 << 20, backlog: 1 << 16 };

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn channel(name: &str) -> Channel {
    Channel::new(name).unwrap()
}

/// Appends message `position`, whose frame is its number.
fn say(hub: &mut Hub, name: &str, position: u64) {
    hub.append(Arc::new(Broadcast {
        id: id_at("o", position),
        position: Some(position),
        channel: channel(name),
        frame: Bytes::from(position.to_string()),
    }));
}

/// Reads all that waits for `reader`, by two at a time.
fn read(hub: &mut Hub, reader: ReaderId) -> Result<Vec<u64>, Overrun> {
    let mut all = Vec::new();
    loop {
        let mut some: Vec<u64> = Vec::new();
        hub.peek(reader, |frame| {
            some.push(String::from_utf8_lossy(frame).parse().unwrap());
            some.len() < 2
        })?;
        hub.advance(reader, some.len());
        if some.is_empty() {
            assert_eq!(hub.lag(reader), 0);
            return Ok(all);
        }
        all.extend(some);
    }
}

fn open(hub: &mut Hub, names: &[&str], start: Start<'_>) -> (ReaderId, bool) {
    let channels: Vec<_> = names.iter().map(|name| channel(name)).collect();
    hub.open(&channels, start)
}

#[test]
fn each_reader_gets_its_channels_in_the_order_of_all() {
    let mut hub = Hub::new(LIMITS);
    let (both, _) = open(&mut hub, &["a", "b"], Start::default());
    let (one, _) = open(&mut hub, &["b"], Start::default());
    for position in 0..10 {
        say(&mut hub, ["a", "b", "c"][position as usize % 3], position);
    }
    assert_eq!(read(&mut hub, both).unwrap(), [0, 1, 3, 4, 6, 7, 9]);
    assert_eq!(read(&mut hub, one).unwrap(), [1, 4, 7]);
    assert!(read(&mut hub, one).unwrap().is_empty());
}

#[test]
fn a_reader_is_woken_once_for_many_messages() {
    let mut hub = Hub::new(LIMITS);
    let count = Arc::new(Counter(AtomicUsize::new(0)));
    let (reader, _) = open(&mut hub, &["a", "b"], Start::default());
    hub.set_waker(reader, &count.clone().into());
    for position in 0..5 {
        say(&mut hub, "a", position);
        say(&mut hub, "b", position);
        say(&mut hub, "elsewhere", position);
    }
    hub.wake();
    hub.wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    hub.set_waker(reader, &count.clone().into());
    say(&mut hub, "elsewhere", 6);
    hub.wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    say(&mut hub, "b", 7);
    hub.wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[test]
fn history_is_the_last_messages_of_each_channel() {
    let mut hub = Hub::new(LIMITS);
    for position in 0..6 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let start = Start { history: 2, ..Start::default() };
    let (reader, recovered) = open(&mut hub, &["a", "b"], start);
    assert!(!recovered);
    assert_eq!(read(&mut hub, reader).unwrap(), [2, 3, 4, 5]);
}

#[test]
fn a_cursor_is_taken_up_whatever_channel_its_message_was_in() {
    let mut hub = Hub::new(LIMITS);
    for position in 0..6 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let id = id_at("o", 2);
    let start = Start { after: Some(&id), history: 1 };
    let (reader, recovered) = open(&mut hub, &["b"], start);
    assert!(recovered);
    assert_eq!(read(&mut hub, reader).unwrap(), [3, 5]);
}

#[test]
fn an_unknown_cursor_is_not_recovered_and_gets_history() {
    let mut hub = Hub::new(LIMITS);
    say(&mut hub, "a", 7);
    for id in ["", "o", "o-6", "o-8", "other-7", "o-zz", "-7", "o-7-7"] {
        let start = Start { after: Some(id), history: 9 };
        let (reader, recovered) = open(&mut hub, &["a"], start);
        assert!(!recovered, "{id}");
        assert_eq!(read(&mut hub, reader).unwrap(), [7], "{id}");
    }
}

#[test]
fn a_reader_too_far_behind_is_detached_and_costs_the_others_nothing() {
    let mut hub = Hub::new(Limits { hubs: 1, history: 0, backlog: 9 });
    let (slow, _) = open(&mut hub, &["a"], Start::default());
    let (quick, _) = open(&mut hub, &["a"], Start::default());
    for position in 0..9 {
        say(&mut hub, "a", position);
        hub.wake();
        assert_eq!(read(&mut hub, quick).unwrap(), [position]);
    }
    assert_eq!(hub.lag(slow), 9, "as much as it may have waiting");
    for position in 10..12 {
        say(&mut hub, "a", position);
        hub.wake();
    }
    assert_eq!(read(&mut hub, slow), Err(Overrun));
    assert_eq!(hub.lag(slow), 0);
    hub.close(slow);
}

#[test]
fn memory_is_bounded_and_idle_channels_are_forgotten() {
    let mut hub = Hub::new(Limits { hubs: 1, history: 80_000, backlog: 1 });
    for position in 0..1000 {
        say(&mut hub, &format!("channel-{position}"), position);
        hub.wake();
    }
    assert!(hub.kept <= 80_400 && hub.channels() < 600 && hub.logs.len() == hub.by_name.len());
    let (reader, _) = open(&mut hub, &["fresh"], Start::default());
    assert!(hub.by_name.contains_key(&channel("fresh")));
    hub.close(reader);
    assert!(!hub.by_name.contains_key(&channel("fresh")));
}

#[test]
fn an_evicted_cursor_is_not_recovered() {
    let mut hub = Hub::new(Limits { hubs: 1, history: 0, backlog: 1 });
    for position in 0..1000 {
        say(&mut hub, "a", position);
        hub.wake();
    }
    let id = id_at("o", 3);
    let (_, recovered) = open(&mut hub, &["a"], Start { after: Some(&id), history: 0 });
    assert!(!recovered);
}

#[test]
fn a_long_replay_does_not_make_a_reader_slow() {
    let mut hub = Hub::new(Limits { hubs: 1, history: 1 << 20, backlog: 9 });
    for position in 10..30 {
        say(&mut hub, "a", position);
    }
    let (reader, _) = open(&mut hub, &["a"], Start { after: None, history: 20 });
    say(&mut hub, "a", 30);
    hub.wake();
    assert_eq!(read(&mut hub, reader).unwrap().len(), 21);
    for position in 31..37 {
        say(&mut hub, "a", position);
        hub.wake();
    }
    assert_eq!(read(&mut hub, reader), Err(Overrun));
}

#[test]
fn a_burst_is_not_held_against_readers_that_had_no_chance_to_read_it() {
    let mut hub = Hub::new(Limits { hubs: 1, history: 0, backlog: 9 });
    let (reader, _) = open(&mut hub, &["a", "b"], Start::default());
    for position in 0..1000 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    hub.wake();
    assert_eq!(read(&mut hub, reader).unwrap().len(), 1000);
    say(&mut hub, "a", 1000);
    hub.wake();
    say(&mut hub, "b", 1001);
    hub.wake();
    assert_eq!(read(&mut hub, reader).unwrap(), [1000, 1001]);
}
