//! How many clients there are, and how many there may be.

use crate::broker::Roster;
use crate::metrics::Metrics;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts open WebSockets up to a limit.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    limit: usize,
    /// File descriptors kept for handshakes, plain HTTP, RabbitMQ and the rest.
    reserve: usize,
    emptied: Notify,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
}

/// Leave for one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Connections>);

impl Connections {
    /// `configured` connections, or as many as the file limit allows if it is 0. The soft file limit
    /// is raised to the hard one first.
    pub fn new(configured: usize, roster: Arc<Roster>, metrics: Arc<Metrics>) -> Self {
        let files = raise_file_limit();
        let reserve = (files / 20).clamp(64, 8192);
        let allowed = files.saturating_sub(reserve).max(1);
        if configured > allowed {
            tracing::warn!(
                configured,
                allowed,
                "WARREN_MAX_CONNECTIONS is more than the file limit allows; the lower counts"
            );
        }
        let limit = if configured == 0 { allowed } else { configured.min(allowed) };
        metrics.connections_limit(limit);
        Self { open: AtomicUsize::new(0), limit, reserve, emptied: Notify::new(), roster, metrics }
    }

    /// Leave for one more, if there is room.
    pub fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.clone());
        // Counts again when dropped.
        (before < self.limit).then_some(permit)
    }

    /// Sockets that may be open at a time without being a WebSocket.
    pub fn reserve(&self) -> usize {
        self.reserve
    }

    /// Resolves when nobody is connected.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Connections that may be open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// The handshake is done: from now on this is a connection.
    pub fn opened(&self) {
        self.0.metrics.connection_opened();
        self.0.roster.set_connections(self.0.open());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.roster.set_connections(before - 1);
        if before == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

/// The number of files that may be open, after raising it as far as is allowed.
fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    let raised = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { soft };
    // No limit at all still means one in the kernel; a million is what its default allows.
    raised.map_or(1 << 20, |files| files.min(1 << 30) as usize)
}
