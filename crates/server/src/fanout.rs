//! From the broker to the workers: each message is encoded once, compressed at most once, and posted
//! once to each worker.

use crate::compression::Compressor;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use warren_broker::Delivery;
use warren_observe::events::Event;
use warren_observe::metrics::Metrics;
use warren_observe::telemetry::{Tally, Tracer};
use warren_protocol::encoded::Broadcast;

/// Posts that may wait for a worker; beyond it the broker is read no further.
const INBOX: usize = 256;
/// Deliveries taken at once.
const BATCH: usize = 128;

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum Post {
    /// With its span, if it is recorded.
    Broadcast(Arc<Broadcast>, Option<Arc<Tally>>),
    /// For the memory only: it was said before anyone who listens came.
    Past(Arc<Broadcast>),
    /// Messages may be missing before what follows; clients are told.
    Gap,
    /// From this position on nothing is missing, and nothing before it is of the same order.
    From(u64),
    /// Close all connections, evenly over this time.
    Drain(Duration),
}

impl Post {
    /// Bytes of the frame that it brings.
    pub fn size(&self) -> usize {
        match self {
            Self::Broadcast(broadcast, _) | Self::Past(broadcast) => broadcast.frame.len(),
            Self::Gap | Self::From(_) | Self::Drain(_) => 0,
        }
    }
}

/// The ways to all workers.
#[derive(Debug, Default)]
pub struct Inboxes(watch::Sender<Vec<mpsc::Sender<Post>>>);

impl Inboxes {
    /// Opens the inbox of a worker that begins.
    pub fn open(&self) -> mpsc::Receiver<Post> {
        let (sender, inbox) = mpsc::channel(INBOX);
        self.0.send_modify(|senders| {
            senders.retain(|sender| !sender.is_closed());
            senders.push(sender);
        });
        inbox
    }

    /// Posts to every worker; waits for those that are behind. Whether all took it.
    pub async fn post(&self, post: &Post) -> bool {
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
    mut deliveries: mpsc::Receiver<Delivery>,
    inboxes: Arc<Inboxes>,
    workers: usize,
    mut compressor: Compressor,
    metrics: Arc<Metrics>,
    tracer: Tracer,
) {
    inboxes.opened(workers).await;
    let mut batch = Vec::with_capacity(BATCH);
    while deliveries.recv_many(&mut batch, BATCH).await > 0 {
        for delivery in batch.drain(..) {
            let post = match &delivery {
                Delivery::Message(message) => {
                    let broadcast = Arc::new(compressor.compress(Broadcast::new(message)));
                    if broadcast.is_compressed() {
                        // That took a while, and RabbitMQ waits on the same thread.
                        yield_now().await;
                    }
                    let tally = tracer.broadcast(message.trace.as_ref(), broadcast.frame.len());
                    Post::Broadcast(broadcast, tally)
                }
                Delivery::Past(message) => Post::Past(Arc::new(Broadcast::new(message))),
                Delivery::From(position) => Post::From(*position),
                Delivery::Gap => {
                    metrics.tell(Event::Gap);
                    Post::Gap
                }
            };
            if !inboxes.post(&post).await {
                return;
            }
            if let Delivery::Message(message) = &delivery {
                metrics.broadcast(message);
            }
        }
    }
}
