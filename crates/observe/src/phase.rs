//! The phases of a replica, in their order.

use crate::labels::labels;

labels! {
    /// Phase of a replica between start and stop. Phases only move forward.
    #[derive(Default, PartialOrd, Ord)]
    Phase = "phase" {
        /// Serving.
        #[default]
        Running = "running",
        /// Serving, while readiness fails so that load balancers send no new clients.
        Unready = "unready",
        /// Refusing new connections and closing the open ones, spread over the drain period.
        Draining = "draining",
        /// All connections are closed; accepted messages are still being published.
        Closed = "closed",
    }
}
