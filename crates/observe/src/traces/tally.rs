//! The span of one broadcast: what all workers did with it, in one.

use super::Span;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the workers that a message is posted to. The span ends when the last of them is done: when
/// every client that was listening has had its turn to write.
#[derive(Debug)]
pub struct BroadcastSpan {
    span: Span,
    /// Bytes of the frame.
    size: u64,
    clients: AtomicU64,
    workers: AtomicU64,
}

impl BroadcastSpan {
    pub(super) fn new(span: Span, size: usize) -> Self {
        let (clients, workers) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { span, size: size as u64, clients, workers }
    }

    /// One worker has so many listeners.
    pub fn add(&self, listeners: usize) {
        self.clients.fetch_add(listeners as u64, Ordering::Relaxed);
        self.workers.fetch_add(u64::from(listeners > 0), Ordering::Relaxed);
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
