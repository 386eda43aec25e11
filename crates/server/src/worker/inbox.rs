//! The inbox of a worker: messages from the fan-out are appended to its hub and delivered.

use super::core::Worker;
use super::drain;
use crate::connection::write_to_runnable;
use crate::fanout::WorkerMessage;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use warren_observe::traces::BroadcastSpan;

/// Messages taken from the inbox at once.
const BATCH: usize = 256;
/// Frame bytes appended before they are delivered.
const BATCH_BYTES: usize = 256 << 10;

/// Delivers everything that arrives in `inbox`: once for a batch, but often enough that messages are
/// written before more of them come.
pub async fn run(worker: Rc<Worker>, mut inbox: mpsc::Receiver<WorkerMessage>) {
    let coalesce = worker.state.config.coalesce.0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut last_delivery = None;
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        if !coalesce.is_zero() {
            if let Some(last_delivery) = last_delivery {
                gather(&mut inbox, &mut batch, last_delivery + coalesce).await;
            }
            last_delivery = Some(Instant::now());
        }
        let mut messages = batch.drain(..).peekable();
        while messages.peek().is_some() {
            let spans = append(&worker, &mut messages);
            write_to_runnable(&worker.hub, |subscriber| worker.slots.writer(subscriber)).await;
            // Resumes after every task that was just woken.
            yield_now().await;
            // The woken tasks have written; the spans end.
            drop(spans);
        }
    }
}

/// Appends messages to the hub, up to [`BATCH_BYTES`], and commits them. Returns the spans of those that
/// are recorded.
fn append(
    worker: &Rc<Worker>,
    messages: &mut impl Iterator<Item = WorkerMessage>,
) -> Vec<Arc<BroadcastSpan>> {
    let mut spans = Vec::new();
    let mut hub = worker.hub.borrow_mut();
    let mut bytes = 0;
    while bytes < BATCH_BYTES
        && let Some(message) = messages.next()
    {
        bytes += message.size();
        match message {
            WorkerMessage::Broadcast(message, span) => {
                if let Some(span) = span {
                    span.add(hub.subscribers_of(&message.channel));
                    spans.push(span);
                }
                hub.append(message);
            }
            WorkerMessage::Backfill(message) => hub.backfill(message),
            WorkerMessage::EpochStart(position) => hub.reset_epoch(position),
            WorkerMessage::Gap => worker.slots.for_each(|subscriber, handle| {
                handle.mark_gap();
                hub.wake(subscriber);
            }),
            WorkerMessage::Drain(period) => {
                worker.draining.set(true);
                actix_rt::spawn(drain::run(worker.clone(), period));
            }
        }
    }
    hub.commit();
    spans
}

/// Adds to `batch` what arrives until `deadline`, up to [`BATCH_BYTES`].
async fn gather(
    inbox: &mut mpsc::Receiver<WorkerMessage>,
    batch: &mut Vec<WorkerMessage>,
    deadline: Instant,
) {
    let mut bytes: usize = batch.iter().map(WorkerMessage::size).sum();
    let mut count = batch.len();
    while bytes < BATCH_BYTES
        && timeout_at(deadline, inbox.recv_many(batch, BATCH)).await.is_ok_and(|more| more > 0)
    {
        bytes += batch[count..].iter().map(WorkerMessage::size).sum::<usize>();
        count = batch.len();
    }
}
