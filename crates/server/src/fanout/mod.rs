//! From the broker to the workers: each message is encoded once, compressed at most once, and posted
//! once to each worker.

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

/// Posts that may wait for a worker; beyond it the broker is read no further.
const INBOX: usize = 256;
/// Deliveries taken at once.
const BATCH: usize = 128;

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum WorkerMessage {
    /// With its span, if it is recorded.
    Broadcast(Arc<EncodedMessage>, Option<Arc<BroadcastSpan>>),
    /// For the memory only: it was said before anyone who listens came.
    Backfill(Arc<EncodedMessage>),
    /// Messages may be missing before what follows; clients are told.
    Gap,
    /// From this position on nothing is missing, and nothing before it is of the same order.
    EpochStart(u64),
    /// Close all connections, evenly over this time.
    Drain(Duration),
}

impl WorkerMessage {
    /// Bytes of the frame that it brings.
    pub fn size(&self) -> usize {
        match self {
            Self::Broadcast(broadcast, _) | Self::Backfill(broadcast) => broadcast.frame.len(),
            Self::Gap | Self::EpochStart(_) | Self::Drain(_) => 0,
        }
    }
}

/// The ways to all workers.
#[derive(Debug, Default)]
pub struct WorkerSenders(watch::Sender<Vec<mpsc::Sender<WorkerMessage>>>);

impl WorkerSenders {
    /// Opens the inbox of a worker that begins.
    pub fn open(&self) -> mpsc::Receiver<WorkerMessage> {
        let (sender, inbox) = mpsc::channel(INBOX);
        self.0.send_modify(|senders| {
            senders.retain(|sender| !sender.is_closed());
            senders.push(sender);
        });
        inbox
    }

    /// Posts to every worker; waits for those that are behind. Whether all took it.
    pub async fn post(&self, post: &WorkerMessage) -> bool {
        let senders = self.0.borrow().clone();
        let mut all = true;
        for sender in senders {
            all &= sender.send(post.clone()).await.is_ok();
        }
        all
    }

    /// Resolves when so many workers have begun.
    async fn opened(&self, workers: usize) {
        let _ = self.0.subscribe().wait_for(|senders| senders.len() >= workers).await;
    }
}

/// Posts everything that the broker delivers. It begins when all workers have, so that each has the
/// same history, and ends when the broker delivers no more, or when a worker takes no more: its clients
/// would be deaf, and nothing else would show it.
pub async fn run(
    mut deliveries: mpsc::Receiver<BrokerEvent>,
    workers: Arc<WorkerSenders>,
    worker_count: usize,
    mut compressor: Compressor,
    reporter: Arc<Reporter>,
    tracer: Tracer,
) {
    workers.opened(worker_count).await;
    let mut batch = Vec::with_capacity(BATCH);
    while deliveries.recv_many(&mut batch, BATCH).await > 0 {
        for delivery in batch.drain(..) {
            let post = match &delivery {
                BrokerEvent::Message(message) => {
                    let broadcast = Arc::new(compressor.compress(EncodedMessage::new(message)));
                    if broadcast.is_compressed() {
                        // That took a while, and RabbitMQ waits on the same thread.
                        yield_now().await;
                    }
                    let tally = tracer.broadcast(message.trace.as_ref(), broadcast.frame.len());
                    WorkerMessage::Broadcast(broadcast, tally)
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
            if !workers.post(&post).await {
                return;
            }
            if let BrokerEvent::Message(message) = &delivery {
                reporter.broadcast(message);
            }
        }
    }
}
