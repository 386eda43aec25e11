//! Looking after the connections of a worker at intervals: pings, deadlines, and metrics.

use super::core::Worker;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};
use warren_observe::metrics::WorkerSnapshot;

/// Sends each connection the command that is due, and updates the worker's metrics, for ever.
pub async fn run(worker: Rc<Worker>) {
    let ping_interval = worker.state.config.ping_interval.0;
    let period = (ping_interval / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        worker.slots.for_each(|subscriber, handle| {
            if let Some(command) = handle.due_command(now, ping_interval) {
                worker.command(subscriber, handle, command);
            }
        });
        update_metrics(&worker);
    }
}

fn update_metrics(worker: &Worker) {
    let hub = worker.hub.borrow();
    let mut snapshot = WorkerSnapshot {
        channels: hub.channels(),
        subscriptions: hub.subscriptions(),
        history: hub.history_bytes(),
        ..WorkerSnapshot::default()
    };
    let slow_backlog = worker.state.config.client_backlog.0 as u64 / 2;
    worker.slots.for_each(|subscriber, _| {
        let backlog = hub.live_lag(subscriber);
        snapshot.backlog = snapshot.backlog.max(backlog);
        snapshot.slow += usize::from(backlog > slow_backlog);
    });
    worker.counters.set_snapshot(snapshot);
}
