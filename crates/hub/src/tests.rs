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

/// Appends a message whose frame is its position.
fn append(hub: &mut Hub, name: &str, position: u64) {
    hub.append(EncodedMessage::of_frame(position, channel(name), &position.to_string()));
}

/// Reads everything that waits for a subscriber, two messages at a time.
fn read(hub: &mut Hub, subscriber: SubscriberId) -> Result<Vec<u64>, Overrun> {
    let mut all = Vec::new();
    loop {
        let mut some: Vec<u64> = Vec::new();
        hub.peek(subscriber, |frame| {
            some.push(String::from_utf8_lossy(&frame.frame).parse().unwrap());
            some.len() < 2
        })?;
        hub.advance(subscriber, some.len());
        if some.is_empty() {
            assert_eq!(hub.lag(subscriber), 0);
            return Ok(all);
        }
        all.extend(some);
    }
}

fn open(hub: &mut Hub, names: &[&str], start: ReadFrom) -> SubscriberId {
    let subscriber = hub.open();
    for name in names {
        hub.subscribe(subscriber, &channel(name), start);
    }
    subscriber
}

const NEW_ONLY: ReadFrom = ReadFrom::Last(0);

#[test]
fn subscriber_reads_its_channels_in_hub_order() {
    let mut hub = Hub::new(LIMITS);
    let both = open(&mut hub, &["a", "b"], NEW_ONLY);
    let one = open(&mut hub, &["b"], NEW_ONLY);
    for position in 0..10 {
        append(&mut hub, ["a", "b", "c"][position as usize % 3], position);
    }
    assert_eq!(read(&mut hub, both).unwrap(), [0, 1, 3, 4, 6, 7, 9]);
    assert_eq!(read(&mut hub, one).unwrap(), [1, 4, 7]);
    assert!(read(&mut hub, one).unwrap().is_empty());
}

#[test]
fn many_messages_wake_a_subscriber_once() {
    let mut hub = Hub::new(LIMITS);
    let count = Arc::new(Counter(AtomicUsize::new(0)));
    let subscriber = open(&mut hub, &["a", "b"], NEW_ONLY);
    hub.set_waker(subscriber, &count.clone().into());
    for position in 0..5 {
        append(&mut hub, "a", position);
        append(&mut hub, "b", position);
        append(&mut hub, "elsewhere", position);
    }
    let wake_due = |hub: &mut Hub| {
        hub.commit();
        while let Some(due) = hub.next_runnable() {
            assert_eq!(due, subscriber);
            hub.wake(due);
        }
        count.0.load(Ordering::Relaxed)
    };
    assert_eq!(wake_due(&mut hub), 1);
    assert_eq!(wake_due(&mut hub), 1);
    append(&mut hub, "a", 5);
    assert_eq!(wake_due(&mut hub), 1, "not woken again before it registers its waker");
    hub.set_waker(subscriber, &count.clone().into());
    append(&mut hub, "elsewhere", 6);
    assert_eq!(wake_due(&mut hub), 1);
    append(&mut hub, "b", 7);
    assert_eq!(wake_due(&mut hub), 2);
}

#[test]
fn history_returns_the_last_messages_of_each_channel() {
    let mut hub = Hub::new(LIMITS);
    for position in 0..6 {
        append(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let subscriber = open(&mut hub, &["a", "b"], ReadFrom::Last(2));
    assert_eq!(read(&mut hub, subscriber).unwrap(), [2, 3, 4, 5]);
}

#[test]
fn cursor_of_another_channel_resumes() {
    let mut hub = Hub::new(LIMITS);
    hub.reset_epoch(0);
    for position in 0..6 {
        append(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    let sequence = hub.find(&id_at(2, EncodedMessage::CHECK)).unwrap();
    let subscriber = open(&mut hub, &["b"], ReadFrom::At(sequence));
    assert_eq!(read(&mut hub, subscriber).unwrap(), [3, 5]);
    assert_eq!(hub.newest_id(), Some(&id_at(5, EncodedMessage::CHECK)));
}

#[test]
fn unknown_cursor_is_not_found() {
    let mut hub = Hub::new(LIMITS);
    let check = EncodedMessage::CHECK;
    let [seven, eight, nine] = [7, 8, 9].map(|position| id_at(position, check));
    append(&mut hub, "a", 7);
    assert_eq!(hub.find(&seven), None, "before the first epoch");
    hub.reset_epoch(8);
    assert_eq!((hub.find(&seven), hub.newest_id()), (None, None), "of an earlier epoch");
    append(&mut hub, "a", 8);
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
fn replay_joins_only_where_memory_is_complete() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 1 });
    assert_eq!(hub.join(0), None);
    hub.reset_epoch(5);
    assert!(hub.join(4).is_none() && hub.join(5).is_some());
    // Positions have gaps: control messages, and messages that cannot be delivered.
    for position in (5..2000).step_by(5) {
        append(&mut hub, "a", position);
        hub.commit();
    }
    let from = hub.complete_from().unwrap();
    assert!(from > 100 && from % 5 == 1, "{from}");
    assert_eq!(hub.join(from - 1), None);
    for next in [from, from + 1, from + 4] {
        let start = ReadFrom::At(hub.join(next).unwrap());
        let subscriber = open(&mut hub, &["a"], start);
        assert_eq!(read(&mut hub, subscriber).unwrap()[0], (from + 4), "{next}");
        hub.close(subscriber);
    }
}

#[test]
fn backfilled_message_reaches_resumed_subscribers_only() {
    let mut hub = Hub::new(LIMITS);
    let early = open(&mut hub, &["a"], NEW_ONLY);
    hub.reset_epoch(1);
    for position in [1, 2] {
        hub.backfill(EncodedMessage::of_frame(position, channel("a"), &position.to_string()));
    }
    let sequence = hub.find(&id_at(2, EncodedMessage::CHECK)).unwrap();
    let returned = open(&mut hub, &["a"], ReadFrom::At(sequence));
    hub.backfill(EncodedMessage::of_frame(3, channel("a"), "3"));
    append(&mut hub, "a", 4);
    hub.commit();
    assert_eq!(read(&mut hub, early).unwrap(), [4]);
    assert_eq!(read(&mut hub, returned).unwrap(), [3, 4]);
    let late = open(&mut hub, &["a"], ReadFrom::Last(2));
    assert_eq!(read(&mut hub, late).unwrap(), [3, 4]);
}

#[test]
fn subscriber_unsubscribes_and_subscribes_again() {
    let mut hub = Hub::new(LIMITS);
    let subscriber = open(&mut hub, &["a", "b"], NEW_ONLY);
    for (position, name) in ["a", "b", "a"].into_iter().enumerate() {
        append(&mut hub, name, position as u64);
    }
    hub.unsubscribe(subscriber, &channel("a"));
    hub.unsubscribe(subscriber, &channel("elsewhere"));
    assert_eq!(read(&mut hub, subscriber).unwrap(), [1]);
    hub.subscribe(subscriber, &channel("a"), ReadFrom::Last(1));
    append(&mut hub, "a", 3);
    assert_eq!(read(&mut hub, subscriber).unwrap(), [2, 3]);
    hub.close(subscriber);
    assert!(hub.logs.iter().all(|(_, log)| log.subscribers.is_empty()));
}

#[test]
fn committed_position_wakes_its_waiter() {
    let mut hub = Hub::new(LIMITS);
    hub.reset_epoch(0);
    let count = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = count.clone().into();
    assert!(hub.wait_for_position(2, &waker).is_some());
    let given_up = hub.wait_for_position(3, &waker).unwrap();
    append(&mut hub, "a", 1);
    hub.commit();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    hub.cancel_wait(given_up);
    append(&mut hub, "a", 3);
    hub.commit();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(hub.wait_for_position(2, &waker).is_none() && hub.position_waiters.is_empty());
}

#[test]
fn subscriber_beyond_backlog_limit_is_detached_alone() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 9 });
    let slow = open(&mut hub, &["a"], NEW_ONLY);
    let quick = open(&mut hub, &["a"], NEW_ONLY);
    for position in 0..9 {
        append(&mut hub, "a", position);
        hub.commit();
        assert_eq!(read(&mut hub, quick).unwrap(), [position]);
    }
    assert_eq!(hub.lag(slow), 9, "exactly the limit");
    for position in 10..12 {
        append(&mut hub, "a", position);
        hub.commit();
    }
    assert_eq!(read(&mut hub, slow), Err(Overrun));
    assert_eq!(hub.lag(slow), 0);
    hub.close(slow);
}

#[test]
fn history_is_bounded_and_idle_channels_are_forgotten() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 80_000, backlog: 1 });
    for position in 0..1000 {
        append(&mut hub, &format!("channel-{position}"), position);
        hub.commit();
    }
    assert!(
        hub.history_bytes <= 80_800 && hub.channels() < 600 && hub.logs.len() == hub.keys.len()
    );
    let subscriber = open(&mut hub, &["fresh"], NEW_ONLY);
    assert!(hub.keys.contains_key(&channel("fresh")));
    hub.close(subscriber);
    assert!(!hub.keys.contains_key(&channel("fresh")));
}

#[test]
fn requested_history_does_not_count_as_lag() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 9 });
    for position in 10..30 {
        append(&mut hub, "a", position);
    }
    let subscriber = open(&mut hub, &["a"], ReadFrom::Last(20));
    append(&mut hub, "a", 30);
    hub.commit();
    assert_eq!(read(&mut hub, subscriber).unwrap().len(), 21);
    for position in 31..37 {
        append(&mut hub, "a", position);
        hub.commit();
    }
    assert_eq!(read(&mut hub, subscriber), Err(Overrun));
}

#[test]
fn uncommitted_burst_does_not_count_as_lag() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 0, backlog: 9 });
    let subscriber = open(&mut hub, &["a", "b"], NEW_ONLY);
    for position in 0..1000 {
        append(&mut hub, ["a", "b"][position as usize % 2], position);
    }
    hub.commit();
    assert_eq!(read(&mut hub, subscriber).unwrap().len(), 1000);
    append(&mut hub, "a", 1000);
    hub.commit();
    append(&mut hub, "b", 1001);
    hub.commit();
    assert_eq!(read(&mut hub, subscriber).unwrap(), [1000, 1001]);
}

#[test]
fn random_subscribe_and_unsubscribe_keeps_indexes_consistent() {
    let mut hub = Hub::new(LIMITS);
    let names = ["a", "b", "c", "d"];
    let mut rng = fastrand::Rng::with_seed(5);
    let mut subscribers: Vec<_> = (0..50).map(|_| open(&mut hub, &names, NEW_ONLY)).collect();
    for _ in 0..2000 {
        let subscriber = subscribers[rng.usize(..subscribers.len())];
        let channel = channel(names[rng.usize(..names.len())]);
        let listens = |hub: &Hub| {
            let index = hub.keys.get(&channel).copied();
            index.is_some_and(|index| hub.logs[index].subscribers.contains(&subscriber.0))
        };
        match rng.u8(..10) {
            0 => {
                hub.close(subscriber);
                subscribers.retain(|known| *known != subscriber);
                subscribers.push(open(&mut hub, &names, NEW_ONLY));
            }
            _ if listens(&hub) => hub.unsubscribe(subscriber, &channel),
            _ => hub.subscribe(subscriber, &channel, NEW_ONLY),
        }
        for (id, subscriber) in &hub.subscribers {
            for subscription in &subscriber.subscriptions {
                assert_eq!(
                    hub.logs[subscription.log()].subscribers
                        [subscription.index_in_channel as usize],
                    id
                );
            }
        }
        let subscriptions: usize = hub.logs.iter().map(|(_, log)| log.subscribers.len()).sum();
        assert_eq!(subscriptions, hub.subscriptions());
    }
}

#[test]
fn channel_cost_counts_while_its_messages_are_kept() {
    let mut hub = Hub::new(HubLimits { hubs: 1, history: 200_000, backlog: 1 });
    let kept_of = |hub: &mut Hub, name: &dyn Fn(u64) -> String, from| {
        for position in from..from + 10_000 {
            hub.append(EncodedMessage::of_frame(position, channel(&name(position)), "x"));
            hub.commit();
        }
        assert!(hub.history_bytes() <= 201_000, "{}", hub.history_bytes());
        hub.messages.len()
    };
    let one = kept_of(&mut hub, &|_| "one".to_owned(), 0);
    let many = kept_of(&mut hub, &|n| format!("{n:0255}"), 10_000);
    assert!(many * 5 / 2 < one, "{many} messages of a channel each, {one} of one");
    let again = kept_of(&mut hub, &|_| "one".to_owned(), 20_000);
    assert_eq!((hub.channels(), again), (1, one));
}
