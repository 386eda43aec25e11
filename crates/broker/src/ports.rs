//! The interface of a broker implementation: its inputs and outputs.

use crate::publisher::PublishReceiver;
use crate::roster::Roster;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use warren_observe::broker_status::BrokerStatus;
use warren_observe::reporter::Reporter;
use warren_observe::traces::Tracer;
use warren_protocol::message::Message;

/// Output of the broker, in the one order that all replicas share.
#[derive(Debug)]
pub enum BrokerEvent {
    Message(Message),
    /// A message published before this replica started. It goes into the history, and to subscribers
    /// that resumed from an earlier message.
    Backfill(Message),
    /// Messages may be missing between the previous event and the next one.
    Gap,
    /// Start of an epoch: nothing is missing from this position on, and earlier positions are not
    /// comparable.
    EpochStart(u64),
}

/// Inputs and outputs of a broker implementation.
pub(crate) struct BrokerPorts {
    pub(crate) accepted: PublishReceiver,
    pub(crate) events: mpsc::Sender<BrokerEvent>,
    pub(crate) status: watch::Sender<BrokerStatus>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) tracer: Tracer,
    /// Set when the broker should finish the accepted messages and exit.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Resolves when a flag is set, or when its sender is gone.
pub(crate) async fn wait_until_set(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}
