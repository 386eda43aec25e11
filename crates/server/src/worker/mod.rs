//! One worker thread: its hub, its connections, and the tasks that serve them.
//!
//! - `core`: state shared by the connections of the thread.
//! - `slots`: the connections as the worker sees them.
//! - `inbox`: takes messages from the fan-out, and has them delivered.
//! - `sweep`: pings, deadlines and metrics, at intervals.
//! - `drain`: closes the connections before the replica stops.

mod core;
mod drain;
mod inbox;
mod slots;
mod sweep;

pub use core::Worker;

use crate::state::AppState;
use std::rc::Rc;
use std::sync::Arc;

/// Starts a worker on the current thread.
pub fn start(state: Arc<AppState>) -> Rc<Worker> {
    let inbox = state.workers.open();
    let worker = Rc::new(Worker::new(state));
    actix_rt::spawn(inbox::run(worker.clone(), inbox));
    actix_rt::spawn(sweep::run(worker.clone()));
    let counters = worker.counters.clone();
    actix_rt::spawn(async move { counters.measure().await });
    worker
}
