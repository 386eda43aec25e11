//! The canary: verifies that this replica receives what it publishes.

use crate::rabbitmq::control::CanaryMessage;
use crate::rabbitmq::shared_state::SharedState;
use crate::roster::Roster;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::Event;

/// Consecutive canaries that must be missing before a replica counts as deaf. The first is sent up to one
/// interval after the failure, and the last is awaited for one, so that detection takes at most three.
const MISSED_LIMIT: u32 = 2;
/// Factor by which the limit grows for a replica that still reads entries, but is behind.
const LAG_FACTOR: u32 = 30;

/// Sends canaries, and rebuilds the sessions if they do not return.
pub(crate) struct Canary {
    shared: Arc<SharedState>,
    roster: Arc<Roster>,
    outgoing: mpsc::Sender<CanaryMessage>,
    /// One item for each canary of this process that the consumer has read.
    returned: mpsc::Receiver<()>,
    interval: Duration,
    sequence: u64,
    /// Entries read up to the last tick.
    entries_read: u64,
    /// Control messages confirmed up to the time at which the oldest missing canary was sent.
    controls_confirmed: u64,
    /// Time at which the oldest missing canary was sent.
    awaited_since: Option<Instant>,
    /// Canaries sent since the last one returned.
    missing: u32,
}

impl Canary {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<SharedState>,
        roster: Arc<Roster>,
        outgoing: mpsc::Sender<CanaryMessage>,
        returned: mpsc::Receiver<()>,
    ) -> Self {
        Self {
            shared,
            roster,
            outgoing,
            returned,
            interval: config.canary_interval,
            sequence: 0,
            entries_read: 0,
            controls_confirmed: 0,
            awaited_since: None,
            missing: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut status = self.shared.watch_status();
        if self.interval.is_zero() {
            return self.assume_hearing(&mut status).await;
        }
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_connected = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                Some(()) = self.returned.recv() => self.canary_returned(),
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = status.borrow_and_update().clone();
                    let connected = now.consuming && now.publishing;
                    if connected && !was_connected {
                        // The replica is ready when a canary returns, without waiting for an interval.
                        self.reset();
                        ticks.reset_immediately();
                    }
                    was_connected = connected;
                }
            }
        }
    }

    /// Without canaries, a replica that consumes counts as hearing.
    async fn assume_hearing(&self, status: &mut watch::Receiver<BrokerStatus>) {
        loop {
            self.shared.update_status(|status| status.hearing = status.consuming);
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    fn tick(&mut self) {
        let status = self.shared.status();
        // During an alarm RabbitMQ does not accept canaries, so none can return.
        if !status.consuming || !status.publishing || status.blocked {
            return self.reset();
        }
        if self.missing > 0 {
            self.shared.reporter.emit(Event::CanaryMissed);
        }
        if self.missing >= MISSED_LIMIT {
            self.limit_exceeded();
        } else {
            self.send();
        }
    }

    /// Waits longer if the replica is only behind; otherwise requests a rebuild.
    fn limit_exceeded(&mut self) {
        self.shared.update_status(|status| status.hearing = false);
        let entries_read = self.shared.entries_read.load(Ordering::Relaxed);
        let reads = std::mem::replace(&mut self.entries_read, entries_read) != entries_read;
        let confirmed =
            self.shared.controls_confirmed.load(Ordering::Relaxed) != self.controls_confirmed;
        if reads && confirmed && self.missing < MISSED_LIMIT * LAG_FACTOR {
            // The entries read now were published before the canaries, which will follow. An unconfirmed
            // canary, however, may be on a connection that leads nowhere.
            self.missing += 1;
            return;
        }
        self.shared.reporter.emit(Event::Deaf { missing: self.missing });
        self.reset();
        self.shared.request_rebuild();
    }

    fn send(&mut self) {
        self.entries_read = self.shared.entries_read.load(Ordering::Relaxed);
        if self.missing == 0 {
            self.controls_confirmed = self.shared.controls_confirmed.load(Ordering::Relaxed);
        }
        self.sequence += 1;
        self.missing += 1;
        self.awaited_since.get_or_insert_with(Instant::now);
        let canary = CanaryMessage {
            peer: self.roster.own(),
            instance: self.shared.instance,
            sequence: self.sequence,
            leaving: false,
        };
        // If the publisher does not take it, the canary does not return, which is what is to be detected.
        let _ = self.outgoing.try_send(canary);
    }

    fn canary_returned(&mut self) {
        if let Some(sent_at) = self.awaited_since.take() {
            self.shared.reporter.canary_round_trip(sent_at.elapsed());
        }
        self.missing = 0;
        if !self.shared.status().hearing {
            self.shared.reporter.emit(Event::Hearing);
            self.shared.update_status(|status| status.hearing = true);
        }
    }

    fn reset(&mut self) {
        self.missing = 0;
        self.awaited_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_observe::reporter::Reporter;

    #[derive(PartialEq)]
    enum Confirms {
        Arrive,
        Missing,
    }

    /// Lets as many canaries go missing as are allowed, while entries are read all the time. Returns true
    /// if a rebuild was requested.
    fn requests_rebuild(confirms: Confirms) -> bool {
        let working = BrokerStatus {
            consuming: true,
            publishing: true,
            hearing: true,
            ..BrokerStatus::default()
        };
        let status = watch::Sender::new(working);
        let shared = Arc::new(SharedState::new(status, Arc::new(Reporter::new()), "one"));
        let requests = shared.rebuild_requests();
        let (outgoing, mut sent) = mpsc::channel(8);
        let (_returned_tx, returned) = mpsc::channel(1);
        let config = Config::from_vars([]).unwrap();
        let roster = Arc::new(Roster::new("one", config.canary_interval));
        let mut canary = Canary::new(&config, shared.clone(), roster, outgoing, returned);
        let confirmed = u64::from(confirms == Confirms::Arrive);
        for _ in 0..MISSED_LIMIT {
            canary.tick();
            sent.try_recv().unwrap();
            shared.entries_read.fetch_add(1, Ordering::Relaxed);
            shared.controls_confirmed.fetch_add(confirmed, Ordering::Relaxed);
        }
        canary.tick();
        requests.has_changed().unwrap()
    }

    #[test]
    fn replica_that_is_behind_is_rebuilt_only_if_its_canaries_are_not_confirmed() {
        assert!(!requests_rebuild(Confirms::Arrive));
        assert!(requests_rebuild(Confirms::Missing));
    }
}
