//! The phases of a replica's end, in their order.

use std::sync::Arc;
use tokio::sync::watch;
use warren_observe::events::Event;
use warren_observe::metrics::Metrics;
use warren_observe::phase::Phase;

/// Moves the phase on.
#[derive(Debug)]
pub struct Phases {
    phase: watch::Sender<Phase>,
    metrics: Arc<Metrics>,
}

impl Phases {
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        Self { phase: watch::Sender::default(), metrics: metrics.clone() }
    }

    pub fn enter(&self, phase: Phase) {
        self.metrics.emit(Event::Shutdown { phase });
        self.phase.send_replace(phase);
    }

    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}
