//! From the broker to the workers: each message is encoded once, compressed at most once, and sent once
//! to each worker.

pub mod compression;

use self::compression::Compressor;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use warren_broker::BrokerEvent;
use warren_observe::events::Event;
use warren_observe::reporter::Reporter;
use warren_observe::traces::{BroadcastSpan, Tracer};
use warren_protocol::encoded::EncodedMessage;

/// Messages that may wait for a worker. Beyond that the broker is not read.
const INBOX_LEN: usize = 256;
/// Broker events taken at once.
const BATCH: usize = 128;

/// A message of the replica to its workers.
#[derive(Clone, Debug)]
pub enum WorkerMessage {
    /// A new message, with its span if it is recorded.
    Broadcast(Arc<EncodedMessage>, Option<Arc<BroadcastSpan>>),
    /// A message published before this replica started: for the history, and for subscribers that
    /// resumed.
    Backfill(Arc<EncodedMessage>),
    /// Messages may be missing here. Clients are told.
    Gap,
    /// An epoch starts: nothing is missing from this position on, and earlier positions belong to
    /// another order.
    EpochStart(u64),
    /// Drain all connections, spread evenly over this period.
    Drain(Duration),
}

impl WorkerMessage {
    /// Bytes of the frame in it.
    pub fn size(&self) -> usize {
        match self {
            Self::Broadcast(message, _) | Self::Backfill(message) => message.frame.len(),
            Self::Gap | Self::EpochStart(_) | Self::Drain(_) => 0,
        }
    }
}

/// A worker has stopped and takes no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerGone;

/// The inboxes of all workers.
#[derive(Debug, Default)]
pub struct WorkerSenders(watch::Sender<Vec<mpsc::Sender<WorkerMessage>>>);

impl WorkerSenders {
    /// Opens the inbox of a worker that starts.
    pub fn open(&self) -> mpsc::Receiver<WorkerMessage> {
        let (sender, inbox) = mpsc::channel(INBOX_LEN);
        self.0.send_modify(|senders| {
            senders.retain(|sender| !sender.is_closed());
            senders.push(sender);
        });
        inbox
    }

    /// Sends a message to every worker, and waits for those that are behind.
    ///
    /// # Errors
    /// [`WorkerGone`], when a worker has stopped. The others get the message.
    pub async fn broadcast(&self, message: &WorkerMessage) -> Result<(), WorkerGone> {
        let senders = self.0.borrow().clone();
        let mut result = Ok(());
        for sender in senders {
            if sender.send(message.clone()).await.is_err() {
                result = Err(WorkerGone);
            }
        }
        result
    }

    /// Resolves when this many workers have started.
    async fn started(&self, workers: usize) {
        let _ = self.0.subscribe().wait_for(|senders| senders.len() >= workers).await;
    }
}

/// Sends everything that the broker delivers to the workers. Starts when all workers have started, so
/// that they have the same history. Ends when the broker ends, or when a worker has stopped: its clients
/// would receive nothing, and nothing else would show it.
pub async fn run(
    mut events: mpsc::Receiver<BrokerEvent>,
    workers: Arc<WorkerSenders>,
    worker_count: usize,
    mut compressor: Compressor,
    reporter: Arc<Reporter>,
    tracer: Tracer,
) {
    workers.started(worker_count).await;
    let mut batch = Vec::with_capacity(BATCH);
    while events.recv_many(&mut batch, BATCH).await > 0 {
        for event in batch.drain(..) {
            let worker_message = match &event {
                BrokerEvent::Message(message) => {
                    let encoded = Arc::new(compressor.compress(EncodedMessage::new(message)));
                    if encoded.is_compressed() {
                        // Compression took a while, and RabbitMQ's tasks wait on the same thread.
                        yield_now().await;
                    }
                    let span = tracer.broadcast(message.trace.as_ref(), encoded.frame.len());
                    WorkerMessage::Broadcast(encoded, span)
                }
                BrokerEvent::Backfill(message) => {
                    WorkerMessage::Backfill(Arc::new(EncodedMessage::new(message)))
                }
                BrokerEvent::EpochStart(position) => WorkerMessage::EpochStart(*position),
                BrokerEvent::Gap => {
                    reporter.emit(Event::Gap);
                    WorkerMessage::Gap
                }
            };
            if workers.broadcast(&worker_message).await.is_err() {
                return;
            }
            if let BrokerEvent::Message(message) = &event {
                reporter.broadcast(message);
            }
        }
    }
}
