use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use warren_protocol::message::id_at;

const LIMITS: HubLimits = HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 16 };

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
    hub.append(EncodedMessage::of_frame(position, channel(name), &position.to_string()));
}

/// Reads all that waits for `reader`, by two at a time.
fn read(hub: &mut Hub, reader: SubscriberId) -> Result<Vec<u64>, Overrun> {
    let mut all = Vec::new();
    loop {
        let mut some: Vec<u64> = Vec::new();
        hub.peek(reader, |frame| {
            some.push(String::from_utf8_lossy(&frame.frame).parse().unwrap());
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

fn open(hub: &mut Hub, names: &[&str], start: ReadFrom) -> SubscriberId {
    let reader = hub.open();
    for name in names {
        hub.subscribe(reader, &channel(name), start);
    }
    reader
}

const NOW: ReadFrom = ReadFrom::Last(0);

#[test]
fn each_reader_gets_its_channels_in_the_order_of_all() {
    let mut hub = Hub::new(LIMITS);
    let both = open(&mut hub, &["a", "b"], NOW);
    let one = open(&mut hub, &["b"], NOW);
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
    let reader = open(&mut hub, &["a", "b"], NOW);
    hub.set_waker(reader, &count.clone().into());
    for position in 0..5 {
        say(&mut hub, "a", position);
        say(&mut hub, "b", position);
        say(&mut hub, "elsewhere", position);
    }
    let wake_due = |hub: &mut Hub| {
        hub.commit();
        while let Some(due) = hub.next_runnable() {
            assert_eq!(due, reader);
            hub.wake(due);
        }
        count.0.load(Ordering::Relaxed)
    };
    assert_eq!(wake_due(&mut hub), 1);
    assert_eq!(wake_due(&mut hub), 1);
    say(&mut hub, "a", 5);
    assert_eq!(wake_due(&mut hub), 1, "it has not come since");
    hub.set_waker(reader, &count.clone().into());
    say(&mut hub, "elsewhere", 6);
    assert_eq!(wake_due(&mut hub), 1);
    say(&mut hub, "b", 7);
    assert_eq!(wake_due(&mut hub), 2);
}

#[test]
fn history_is_the_last_messages_of_each_channel() {
    let mut hub = Hub::new(LIMITS);
    for position in 0..6 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let reader = open(&mut hub, &["a", "b"], ReadFrom::Last(2));
    assert_eq!(read(&mut hub, reader).unwrap(), [2, 3, 4, 5]);
}

#[test]
fn a_cursor_is_taken_up_whatever_channel_its_message_was_in() {
    let mut hub = Hub::new(LIMITS);
    hub.reset_epoch(0);
    for position in 0..6 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let place = hub.find(&id_at(2, EncodedMessage::CHECK)).unwrap();
    let reader = open(&mut hub, &["b"], ReadFrom::At(place));
    assert_eq!(read(&mut hub, reader).unwrap(), [3, 5]);
    assert_eq!(hub.newest(), Some(&id_at(5, EncodedMessage::CHECK)));
}

#[test]
fn an_unknown_cursor_is_not_found() {
    let mut hub = Hub::new(LIMITS);
    let check = EncodedMessage::CHECK;
    let [seven, eight, nine] = [7, 8, 9].map(|position| id_at(position, check));
    say(&mut hub, "a", 7);
    assert_eq!(hub.find(&seven), None, "there is no order");
    hub.reset_epoch(8);
    assert_eq!((hub.find(&seven), hub.newest()), (None, None), "it is of another order");
    say(&mut hub, "a", 8);
    let other = id_at(8, &check.replace('0', "1"));
    let most = id_at(u64::MAX, check);
    let more = format!("{eight}-8");
    for id in ["", check, &seven, &nine, &other, &more, &most, "8", "8-", &eight[..9]] {
        assert_eq!(hub.find(id), None, "{id}");
    }
    for id in [format!("zz-{check}"), format!("+8-{check}"), format!("{}-{check}", "f".repeat(17))]
    {
        assert_eq!(hub.find(&id), None, "{id}");
    }
    assert!(hub.find(&eight).is_some());
}

#[test]
fn a_replay_joins_where_everything_is_kept_from() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 1 });
    assert_eq!(hub.join(0), None);
    hub.reset_epoch(5);
    assert!(hub.join(4).is_none() && hub.join(5).is_some());
    // The order has holes: canaries, and what could not be delivered.
    for position in (5..2000).step_by(5) {
        say(&mut hub, "a", position);
        hub.commit();
    }
    let from = hub.kept_from().unwrap();
    assert!(from > 100 && from % 5 == 1, "{from}");
    assert_eq!(hub.join(from - 1), None);
    for next in [from, from + 1, from + 4] {
        let start = ReadFrom::At(hub.join(next).unwrap());
        let reader = open(&mut hub, &["a"], start);
        assert_eq!(read(&mut hub, reader).unwrap()[0], (from + 4), "{next}");
        hub.close(reader);
    }
}

#[test]
fn what_was_said_before_is_kept_but_not_told() {
    let mut hub = Hub::new(LIMITS);
    let early = open(&mut hub, &["a"], NOW);
    hub.reset_epoch(1);
    for position in [1, 2] {
        hub.backfill(EncodedMessage::of_frame(position, channel("a"), &position.to_string()));
    }
    let place = hub.find(&id_at(2, EncodedMessage::CHECK)).unwrap();
    let returned = open(&mut hub, &["a"], ReadFrom::At(place));
    hub.backfill(EncodedMessage::of_frame(3, channel("a"), "3"));
    say(&mut hub, "a", 4);
    hub.commit();
    assert_eq!(read(&mut hub, early).unwrap(), [4]);
    assert_eq!(read(&mut hub, returned).unwrap(), [3, 4]);
    let late = open(&mut hub, &["a"], ReadFrom::Last(2));
    assert_eq!(read(&mut hub, late).unwrap(), [3, 4]);
}

#[test]
fn a_reader_can_leave_and_come_to_channels() {
    let mut hub = Hub::new(LIMITS);
    let reader = open(&mut hub, &["a", "b"], NOW);
    for (position, name) in ["a", "b", "a"].into_iter().enumerate() {
        say(&mut hub, name, position as u64);
    }
    hub.unsubscribe(reader, &channel("a"));
    hub.unsubscribe(reader, &channel("elsewhere"));
    assert_eq!(read(&mut hub, reader).unwrap(), [1]);
    hub.subscribe(reader, &channel("a"), ReadFrom::Last(1));
    say(&mut hub, "a", 3);
    assert_eq!(read(&mut hub, reader).unwrap(), [2, 3]);
    hub.close(reader);
    assert!(hub.logs.iter().all(|(_, log)| log.readers.is_empty()));
}

#[test]
fn who_waits_for_a_position_is_woken_when_it_is_reached() {
    let mut hub = Hub::new(LIMITS);
    hub.reset_epoch(0);
    let count = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = count.clone().into();
    assert!(hub.wait_for_position(2, &waker).is_some());
    let given_up = hub.wait_for_position(3, &waker).unwrap();
    say(&mut hub, "a", 1);
    hub.commit();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    hub.cancel_wait(given_up);
    say(&mut hub, "a", 3);
    hub.commit();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(hub.wait_for_position(2, &waker).is_none() && hub.arrivals.is_empty());
}

#[test]
fn a_reader_too_far_behind_is_detached_and_costs_the_others_nothing() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 9 });
    let slow = open(&mut hub, &["a"], NOW);
    let quick = open(&mut hub, &["a"], NOW);
    for position in 0..9 {
        say(&mut hub, "a", position);
        hub.commit();
        assert_eq!(read(&mut hub, quick).unwrap(), [position]);
    }
    assert_eq!(hub.lag(slow), 9, "as much as it may have waiting");
    for position in 10..12 {
        say(&mut hub, "a", position);
        hub.commit();
    }
    assert_eq!(read(&mut hub, slow), Err(Overrun));
    assert_eq!(hub.lag(slow), 0);
    hub.close(slow);
}

#[test]
fn memory_is_bounded_and_idle_channels_are_forgotten() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 80_000, backlog: 1 });
    for position in 0..1000 {
        say(&mut hub, &format!("channel-{position}"), position);
        hub.commit();
    }
    assert!(hub.kept <= 80_800 && hub.channels() < 600 && hub.logs.len() == hub.by_name.len());
    let reader = open(&mut hub, &["fresh"], NOW);
    assert!(hub.by_name.contains_key(&channel("fresh")));
    hub.close(reader);
    assert!(!hub.by_name.contains_key(&channel("fresh")));
}

#[test]
fn a_long_replay_does_not_make_a_reader_slow() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 9 });
    for position in 10..30 {
        say(&mut hub, "a", position);
    }
    let reader = open(&mut hub, &["a"], ReadFrom::Last(20));
    say(&mut hub, "a", 30);
    hub.commit();
    assert_eq!(read(&mut hub, reader).unwrap().len(), 21);
    for position in 31..37 {
        say(&mut hub, "a", position);
        hub.commit();
    }
    assert_eq!(read(&mut hub, reader), Err(Overrun));
}

#[test]
fn a_burst_is_not_held_against_readers_that_had_no_chance_to_read_it() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 9 });
    let reader = open(&mut hub, &["a", "b"], NOW);
    for position in 0..1000 {
        say(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    hub.commit();
    assert_eq!(read(&mut hub, reader).unwrap().len(), 1000);
    say(&mut hub, "a", 1000);
    hub.commit();
    say(&mut hub, "b", 1001);
    hub.commit();
    assert_eq!(read(&mut hub, reader).unwrap(), [1000, 1001]);
}

#[test]
fn readers_come_and_go_in_any_order_and_each_keeps_its_seat() {
    let mut hub = Hub::new(LIMITS);
    let names = ["a", "b", "c", "d"];
    let mut rng = fastrand::Rng::with_seed(5);
    let mut readers: Vec<_> = (0..50).map(|_| open(&mut hub, &names, NOW)).collect();
    for _ in 0..2000 {
        let reader = readers[rng.usize(..readers.len())];
        let channel = channel(names[rng.usize(..names.len())]);
        let listens = |hub: &Hub| {
            let index = hub.by_name.get(&channel).copied();
            index.is_some_and(|index| hub.logs[index].readers.contains(&reader.0))
        };
        match rng.u8(..10) {
            0 => {
                hub.close(reader);
                readers.retain(|known| *known != reader);
                readers.push(open(&mut hub, &names, NOW));
            }
            _ if listens(&hub) => hub.unsubscribe(reader, &channel),
            _ => hub.subscribe(reader, &channel, NOW),
        }
        for (id, reader) in &hub.readers {
            for cursor in &reader.cursors {
                assert_eq!(hub.logs[cursor.log()].readers[cursor.index_in_channel as usize], id);
            }
        }
        let seats: usize = hub.logs.iter().map(|(_, log)| log.readers.len()).sum();
        assert_eq!(seats, hub.subscriptions());
    }
}

#[test]
fn channels_count_for_as_long_as_something_of_them_is_kept() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 200_000, backlog: 1 });
    let kept_of = |hub: &mut Hub, name: &dyn Fn(u64) -> String, from| {
        for position in from..from + 10_000 {
            hub.append(EncodedMessage::of_frame(position, channel(&name(position)), "x"));
            hub.commit();
        }
        assert!(hub.kept() <= 201_000, "{}", hub.kept());
        hub.order.len()
    };
    let one = kept_of(&mut hub, &|_| "one".to_owned(), 0);
    let many = kept_of(&mut hub, &|n| format!("{n:0255}"), 10_000);
    assert!(many * 5 / 2 < one, "{many} messages of a channel each, {one} of one");
    let again = kept_of(&mut hub, &|_| "one".to_owned(), 20_000);
    assert_eq!((hub.channels(), again), (1, one));
}
