//! The phases of a replica, in their order.

/// Where a replica is on its way from start to end; it only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    #[default]
    Running,
    /// Serving, but load balancers are told to send nobody any more.
    Unready,
    /// No new connections; those that are open are closed one after the other.
    Draining,
    /// All clients are gone; what they were promised is being settled with the broker.
    Closed,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Running, Self::Unready, Self::Draining, Self::Closed];

    /// Value of the metric label `phase`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}
