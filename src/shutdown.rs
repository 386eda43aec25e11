//! Moves a replica through its phases.

use std::sync::Arc;
use tokio::sync::watch;
use warren_observe::events::Event;
use warren_observe::phase::Phase;
use warren_observe::reporter::Reporter;

/// The current phase of the replica. Each change is an event.
#[derive(Debug)]
pub struct Phases {
    phase: watch::Sender<Phase>,
    reporter: Arc<Reporter>,
}

impl Phases {
    pub fn new(reporter: &Arc<Reporter>) -> Self {
        Self { phase: watch::Sender::default(), reporter: reporter.clone() }
    }

    pub fn enter(&self, phase: Phase) {
        self.reporter.emit(Event::PhaseChanged { phase });
        self.phase.send_replace(phase);
    }

    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}
