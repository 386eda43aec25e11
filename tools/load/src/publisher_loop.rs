//! Publishing at a pace, through the publishers in turn.

use crate::arguments::Plan;
use crate::cpu_meter::CpuMeter;
use crate::pace::Pace;
use crate::run::Run;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Time after which a message that has not reached all clients no longer holds back the next one.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Interval between two searches for messages that have waited too long.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Messages sent before other tasks of the thread run.
const BATCH: usize = 64;

pub(crate) struct PublisherLoop<'a> {
    plan: &'a Plan,
    run: &'a Run,
    /// The command queue of each publisher.
    publishers: Vec<mpsc::Sender<String>>,
    /// Messages that were due.
    due: u64,
    /// Messages that were due and that no publisher's queue had room for.
    pub(crate) held_back: u64,
    pub(crate) cpu: CpuMeter,
}

impl<'a> PublisherLoop<'a> {
    pub(crate) fn new(plan: &'a Plan, run: &'a Run, publishers: Vec<mpsc::Sender<String>>) -> Self {
        Self { plan, run, publishers, due: 0, held_back: 0, cpu: CpuMeter::start() }
    }

    /// Publishes for the duration of the plan, or until no publisher is connected.
    pub(crate) async fn publish(&mut self) {
        let (start, mut checked) = (self.run.now(), Duration::ZERO);
        self.cpu = CpuMeter::start();
        loop {
            let now = self.run.now() - start;
            if now >= self.plan.duration || self.publishers.iter().all(mpsc::Sender::is_closed) {
                return;
            }
            if now >= checked + CHECK_INTERVAL {
                checked = now;
                let limit = (start + now).saturating_sub(MAX_WAIT);
                self.run.results.borrow_mut().ledger.give_up_before(limit);
                self.cpu.sample();
            }
            if self.publish_due(start, now) {
                yield_now().await;
                continue;
            }
            tokio::select! {
                () = sleep(self.plan.pace.pause(now, self.due)) => {}
                () = self.run.due.notified() => {}
            }
        }
    }

    /// Publishes a batch of the messages that are due; true if more may be.
    fn publish_due(&mut self, start: Duration, now: Duration) -> bool {
        for _ in 0..BATCH {
            let outstanding = self.run.results.borrow().ledger.outstanding();
            let Some(due) = self.plan.pace.due(now, self.due, outstanding) else { return false };
            let sent = self.send(start + due);
            if !sent && matches!(self.plan.pace, Pace::Outstanding(_)) {
                return false;
            }
            self.due += 1;
            self.held_back += u64::from(!sent);
        }
        true
    }

    /// Hands a message to the next publisher whose queue has room; false if none has.
    fn send(&self, due: Duration) -> bool {
        let publishers = self.publishers.len();
        for publisher in (0..publishers).map(|turn| (self.due as usize + turn) % publishers) {
            if let Ok(slot) = self.publishers[publisher].try_reserve() {
                let sequence = self.run.results.borrow_mut().ledger.send(publisher, due);
                slot.send(self.run.id.publish_command(publisher, sequence, self.plan.size));
                return true;
            }
        }
        false
    }
}
