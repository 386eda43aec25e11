//! The open connections of a replica, and their limit.

use crate::fanout::compression::DeflateClientCount;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use warren_broker::Roster;
use warren_observe::events::Event;
use warren_observe::labels::Transport;
use warren_observe::reporter::Reporter;

/// Event streams may use the `1 / n`-th of all files, as far as WebSockets leave it.
const STREAM_SHARE: usize = 8;

/// The open WebSockets and event streams of a replica, and their limit.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    limit: usize,
    /// The event streams among the open connections.
    streams: AtomicUsize,
    max_streams: usize,
    /// File descriptors reserved for handshakes, plain HTTP, RabbitMQ and the rest.
    reserve: usize,
    changed: Notify,
    roster: Arc<Roster>,
    deflate_clients: Arc<DeflateClientCount>,
    reporter: Arc<Reporter>,
}

/// One connection within the limit. It is given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    transport: Transport,
    /// Counted as a client that receives compressed messages.
    is_deflate_client: bool,
}

impl Connections {
    /// A limit of `configured` connections, or of as many as the file limit allows if it is 0. Raises
    /// the soft file limit to the hard one first.
    pub fn new(
        configured: usize,
        roster: Arc<Roster>,
        deflate_clients: Arc<DeflateClientCount>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let files = raise_file_limit();
        let reserve = (files / 20).clamp(256, 8192);
        let (allowed, share) = (files.saturating_sub(reserve).max(1), files / STREAM_SHARE);
        if configured > allowed {
            reporter.emit(Event::ConnectionsLimited { configured, allowed });
        }
        let limit = match configured {
            0 => allowed.saturating_sub(share).max(1),
            configured => configured.min(allowed),
        };
        // Event streams count as plain HTTP as well: both together must leave files free.
        let max_streams = share.min(allowed - limit).max(16).min(limit);
        reporter.connections_limit(limit);
        Self {
            open: AtomicUsize::new(0),
            limit,
            streams: AtomicUsize::new(0),
            max_streams,
            reserve,
            changed: Notify::new(),
            roster,
            deflate_clients,
            reporter,
        }
    }

    /// A permit for one more WebSocket, if the limit allows it.
    pub fn acquire_socket(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.acquire(Transport::WebSocket)
    }

    /// A permit for one more event stream, if the limits allow it.
    pub fn acquire_stream(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.acquire(Transport::Sse)
    }

    fn acquire(self: &Arc<Self>, transport: Transport) -> Option<ConnectionPermit> {
        let stream = usize::from(is_stream(transport));
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let streams = self.streams.fetch_add(stream, Ordering::Relaxed);
        let permit =
            ConnectionPermit { connections: self.clone(), transport, is_deflate_client: false };
        let allowed = before < self.limit && (stream == 0 || streams < self.max_streams);
        // A permit that is not returned is dropped here, and given back.
        allowed.then_some(permit)
    }

    /// Sockets that actix may hold at once: plain HTTP, handshakes and event streams.
    pub fn plain(&self) -> usize {
        self.reserve * 3 / 4 + self.max_streams
    }

    /// Resolves when no connection is open.
    pub async fn all_closed(&self) {
        self.at_most(|| 0).await;
    }

    /// Resolves when no WebSocket is open.
    pub async fn sockets_closed(&self) {
        self.at_most(|| self.streams.load(Ordering::Acquire)).await;
    }

    async fn at_most(&self, allowed: impl Fn() -> usize) {
        loop {
            let changed = self.changed.notified();
            if self.open.load(Ordering::Acquire) <= allowed() {
                return;
            }
            changed.await;
        }
    }

    /// Connections that may be open at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl ConnectionPermit {
    /// Counts the client as one that receives compressed messages.
    pub fn count_deflate_client(&mut self) {
        if !std::mem::replace(&mut self.is_deflate_client, true) {
            self.connections.deflate_clients.enter();
        }
    }

    /// Reports the connection as opened, once its handshake is done.
    pub fn opened(&self) {
        let connections = &self.connections;
        connections.reporter.connection_opened(self.transport);
        connections.roster.set_connections(connections.open());
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let connections = &self.connections;
        if self.is_deflate_client {
            connections.deflate_clients.leave();
        }
        connections.streams.fetch_sub(is_stream(self.transport).into(), Ordering::Relaxed);
        let before = connections.open.fetch_sub(1, Ordering::AcqRel);
        connections.changed.notify_waiters();
        connections.roster.set_connections(before - 1);
    }
}

fn is_stream(transport: Transport) -> bool {
    matches!(transport, Transport::Sse)
}

/// Raises the soft file limit to the hard one. Returns the files that may be open.
fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    let raised = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { soft };
    // Without a limit the kernel still has one, by default a million.
    raised.map_or(1 << 20, |files| files.min(1 << 30) as usize)
}
