//! The span of one broadcast, which all workers share.

use super::Span;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the workers that a message is posted to. The span ends when the last worker drops it: when
/// every connection with a subscriber has had its turn to write.
#[derive(Debug)]
pub struct BroadcastSpan {
    span: Span,
    /// Size of the frame in bytes.
    size: u64,
    clients: AtomicU64,
    workers: AtomicU64,
}

impl BroadcastSpan {
    pub(super) fn new(span: Span, size: usize) -> Self {
        let (clients, workers) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { span, size: size as u64, clients, workers }
    }

    /// Adds the subscribers of one worker.
    pub fn add(&self, subscribers: usize) {
        self.clients.fetch_add(subscribers as u64, Ordering::Relaxed);
        self.workers.fetch_add(u64::from(subscribers > 0), Ordering::Relaxed);
    }
}

impl Drop for BroadcastSpan {
    fn drop(&mut self) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let clients = *self.clients.get_mut();
        self.span.set("warren.broadcast.clients", number(clients));
        self.span.set("warren.broadcast.workers", number(*self.workers.get_mut()));
        self.span.set("warren.broadcast.bytes", number(clients.saturating_mul(self.size)));
    }
}
