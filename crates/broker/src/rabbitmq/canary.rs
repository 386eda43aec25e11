//! The proof that this replica is not deaf: what it publishes comes back to it.

use crate::Roster;
use crate::rabbitmq::control;
use crate::rabbitmq::shared_state::SharedState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use warren_config::Config;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::Event;

/// Canaries in a row that are missing when a replica is deaf. The first may leave an interval after it
/// became so, and the last is waited for as long: it is noticed within three intervals.
const MISSES: u32 = 2;
/// How many times as long a replica may take that reads, but is behind.
const PATIENCE: u32 = 30;

pub(crate) struct Canary {
    shared: Arc<SharedState>,
    roster: Arc<Roster>,
    control: mpsc::Sender<control::Canary>,
    /// Our own canaries that came back.
    heard: mpsc::Receiver<()>,
    interval: Duration,
    sequence: u64,
    /// Entries that had been read at the last tick.
    read: u64,
    /// Canaries that had been confirmed when the oldest left that has not come back.
    taken: u64,
    /// When the oldest canary left that has not come back.
    awaited: Option<Instant>,
    /// Canaries sent since one came back.
    unheard: u32,
}

impl Canary {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<SharedState>,
        roster: Arc<Roster>,
        control: mpsc::Sender<control::Canary>,
        heard: mpsc::Receiver<()>,
    ) -> Self {
        Self {
            shared,
            roster,
            control,
            heard,
            interval: config.canary_interval,
            sequence: 0,
            read: 0,
            taken: 0,
            awaited: None,
            unheard: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut status = self.shared.watch();
        if self.interval.is_zero() {
            return self.believe(&mut status).await;
        }
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                Some(()) = self.heard.recv() => self.came_back(),
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = status.borrow_and_update().clone();
                    let both = now.consuming && now.publishing;
                    if both && !connected {
                        // Ready as soon as it is proven, not an interval later.
                        self.unheard = 0;
                        self.awaited = None;
                        ticks.reset_immediately();
                    }
                    connected = both;
                }
            }
        }
    }

    /// Without canaries, reading counts as hearing.
    async fn believe(&self, status: &mut watch::Receiver<BrokerStatus>) {
        loop {
            self.shared.update(|status| status.hearing = status.consuming);
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    fn tick(&mut self) {
        let status = self.shared.status();
        // A broker that blocks publishers cannot return what it does not take.
        if !status.consuming || !status.publishing || status.blocked {
            self.unheard = 0;
            self.awaited = None;
            return;
        }
        if self.unheard > 0 {
            self.shared.reporter.emit(Event::CanaryMissed);
        }
        if self.unheard >= MISSES {
            self.shared.update(|status| status.hearing = false);
            let read = self.shared.read.load(Ordering::Relaxed);
            let reads = std::mem::replace(&mut self.read, read) != read;
            let taken = self.shared.taken.load(Ordering::Relaxed) != self.taken;
            if reads && taken && self.unheard < MISSES * PATIENCE {
                // What is read now was published before the canaries: they are to come. One that RabbitMQ
                // has not confirmed may be on a way that leads nowhere.
                self.unheard += 1;
                return;
            }
            self.shared.reporter.emit(Event::Deaf { missing: self.unheard });
            self.unheard = 0;
            self.awaited = None;
            self.shared.rebuild();
            return;
        }
        self.read = self.shared.read.load(Ordering::Relaxed);
        if self.unheard == 0 {
            self.taken = self.shared.taken.load(Ordering::Relaxed);
        }
        self.sequence += 1;
        self.unheard += 1;
        self.awaited.get_or_insert_with(Instant::now);
        let canary = control::Canary {
            peer: self.roster.own(),
            instance: self.shared.instance,
            sequence: self.sequence,
            leaving: false,
        };
        // A publisher that does not take it is itself what the canary is to reveal.
        let _ = self.control.try_send(canary);
    }

    fn came_back(&mut self) {
        if let Some(sent) = self.awaited.take() {
            self.shared.reporter.canary_round_trip(sent.elapsed());
        }
        self.unheard = 0;
        if !self.shared.status().hearing {
            self.shared.reporter.emit(Event::Hearing);
            self.shared.update(|status| status.hearing = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_observe::reporter::Reporter;

    /// One that has sent as many canaries as may be missing, and whether it then asks for a rebuild
    /// though entries are read all the time.
    fn rebuilds(confirmed: bool) -> bool {
        let working = BrokerStatus {
            consuming: true,
            publishing: true,
            hearing: true,
            ..BrokerStatus::default()
        };
        let status = watch::Sender::new(working);
        let shared = Arc::new(SharedState::new(status, Arc::new(Reporter::new()), "one"));
        let asked = shared.rebuilds();
        let (control, mut sent) = mpsc::channel(8);
        let (_heard, heard) = mpsc::channel(1);
        let config = Config::from_vars([]).unwrap();
        let roster = Arc::new(Roster::new("one", config.canary_interval));
        let mut canary = Canary::new(&config, shared.clone(), roster, control, heard);
        for _ in 0..MISSES {
            canary.tick();
            sent.try_recv().unwrap();
            shared.read.fetch_add(1, Ordering::Relaxed);
            shared.taken.fetch_add(u64::from(confirmed), Ordering::Relaxed);
        }
        canary.tick();
        asked.has_changed().unwrap()
    }

    #[test]
    fn a_replica_that_is_behind_is_left_alone_unless_nothing_takes_what_it_publishes() {
        assert!(!rebuilds(true));
        assert!(rebuilds(false));
    }
}
