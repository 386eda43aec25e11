//! Publishes at a pace, through the publishers in turn.

use super::Plan;
use super::frames::{TEXT, masked};
use super::meter::Meter;
use super::pace::Pace;
use super::shared::Shared;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

/// How long a message that does not reach everyone keeps the next one waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often what is too late is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// Messages that are made before others get their turn.
const BATCH: usize = 64;

pub(super) struct Press<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    outlets: Vec<mpsc::Sender<Vec<u8>>>,
    /// Messages that were due.
    count: u64,
    pub(super) held_back: u64,
    pub(super) meter: Meter,
}

impl<'a> Press<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        outlets: Vec<mpsc::Sender<Vec<u8>>>,
    ) -> Self {
        Self { plan, shared, outlets, count: 0, held_back: 0, meter: Meter::begin() }
    }

    /// Publishes for the time of the plan, or until there is no publisher any more.
    pub(super) async fn run(&mut self) {
        let (begin, mut looked) = (self.shared.now(), Duration::ZERO);
        self.meter = Meter::begin();
        loop {
            let now = self.shared.now() - begin;
            if now >= self.plan.duration || self.outlets.iter().all(mpsc::Sender::is_closed) {
                return;
            }
            if now >= looked + LOOK {
                looked = now;
                let limit = (begin + now).saturating_sub(PATIENCE);
                self.shared.books.borrow_mut().ledger.give_up(limit);
                self.meter.look();
            }
            if self.publish_due(begin, now) {
                yield_now().await;
                continue;
            }
            tokio::select! {
                () = sleep(self.plan.pace.pause(now, self.count)) => {}
                () = self.shared.due.notified() => {}
            }
        }
    }

    /// Publishes what is due; whether there may be more.
    fn publish_due(&mut self, begin: Duration, now: Duration) -> bool {
        for _ in 0..BATCH {
            let outstanding = self.shared.books.borrow().ledger.outstanding();
            let Some(due) = self.plan.pace.due(now, self.count, outstanding) else { return false };
            let published = self.publish(begin + due);
            if !published && matches!(self.plan.pace, Pace::Outstanding(_)) {
                return false;
            }
            self.count += 1;
            self.held_back += u64::from(!published);
        }
        true
    }

    /// Hands a message to the next publisher that takes one; false if none does.
    fn publish(&self, due: Duration) -> bool {
        let publishers = self.outlets.len();
        for publisher in (0..publishers).map(|turn| (self.count as usize + turn) % publishers) {
            if let Ok(place) = self.outlets[publisher].try_reserve() {
                let sequence = self.shared.books.borrow_mut().ledger.send(publisher, due);
                let command = self.shared.mark.publish(publisher, sequence, self.plan.size);
                place.send(masked(TEXT, command.as_bytes()));
                return true;
            }
        }
        false
    }
}
