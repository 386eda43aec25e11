//! Closing the connections of a worker before the replica stops.

use super::core::Worker;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Drains all connections in random order, spread evenly over `period`. Connections opened later are
/// drained at once.
pub async fn run(worker: Rc<Worker>, period: Duration) {
    let mut connections = Vec::new();
    worker.slots.for_each(|subscriber, handle| {
        connections.push((subscriber, Rc::downgrade(handle)));
    });
    fastrand::shuffle(&mut connections);
    let start = Instant::now();
    let slice = period.div_f64(connections.len().max(1) as f64);
    for (index, (subscriber, handle)) in connections.iter().enumerate() {
        sleep_until(start + slice.mul_f64(index as f64 + fastrand::f64())).await;
        // A subscriber's id is used again, a handle is not.
        if let Some(handle) = handle.upgrade() {
            worker.command(*subscriber, &handle, worker.drain_command());
        }
    }
}
