//! How many clients there are, and how many there may be.

use crate::fanout::compression::DeflateClientCount;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use warren_broker::Roster;
use warren_observe::events::Event;
use warren_observe::labels::Transport;
use warren_observe::reporter::Reporter;

/// One in so many files may be an event stream, unless WebSockets are to have it.
const STREAMS: usize = 8;

/// Counts open WebSockets and event streams up to a limit.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    limit: usize,
    /// Those of them that are event streams, and how many these may be.
    streams: AtomicUsize,
    most_streams: usize,
    /// File descriptors kept for handshakes, plain HTTP, RabbitMQ and the rest.
    reserve: usize,
    changed: Notify,
    roster: Arc<Roster>,
    deflate_clients: Arc<DeflateClientCount>,
    reporter: Arc<Reporter>,
}

/// Leave for one connection; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    stream: bool,
    /// It takes compressed messages.
    compressed: bool,
}

impl Connections {
    /// `configured` connections, or as many as the file limit allows if it is 0. The soft file limit
    /// is raised to the hard one first.
    pub fn new(
        configured: usize,
        roster: Arc<Roster>,
        deflate_clients: Arc<DeflateClientCount>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let files = raise_file_limit();
        let reserve = (files / 20).clamp(256, 8192);
        let (allowed, share) = (files.saturating_sub(reserve).max(1), files / STREAMS);
        if configured > allowed {
            reporter.emit(Event::ConnectionsLimited { configured, allowed });
        }
        let limit = match configured {
            0 => allowed.saturating_sub(share).max(1),
            configured => configured.min(allowed),
        };
        // They count where plain HTTP does, so that both together never use up all files.
        let most_streams = share.min(allowed - limit).max(16).min(limit);
        reporter.connections_limit(limit);
        Self {
            open: AtomicUsize::new(0),
            limit,
            streams: AtomicUsize::new(0),
            most_streams,
            reserve,
            changed: Notify::new(),
            roster,
            deflate_clients,
            reporter,
        }
    }

    /// Leave for one more, if there is room.
    pub fn acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.permit(false)
    }

    /// Leave for one more event stream, if there is room.
    pub fn acquire_stream(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.permit(true)
    }

    fn permit(self: &Arc<Self>, stream: bool) -> Option<ConnectionPermit> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let streams = self.streams.fetch_add(stream.into(), Ordering::Relaxed);
        let permit = ConnectionPermit { connections: self.clone(), stream, compressed: false };
        // Counts again when dropped.
        (before < self.limit && !(stream && streams >= self.most_streams)).then_some(permit)
    }

    /// Sockets that actix may hold at a time: plain HTTP, handshakes and event streams.
    pub fn plain(&self) -> usize {
        self.reserve * 3 / 4 + self.most_streams
    }

    /// Resolves when nobody is connected.
    pub async fn empty(&self) {
        self.at_most(|| 0).await;
    }

    /// Resolves when there are only event streams.
    pub async fn no_sockets(&self) {
        self.at_most(|| self.streams.load(Ordering::Acquire)).await;
    }

    async fn at_most(&self, rest: impl Fn() -> usize) {
        loop {
            let changed = self.changed.notified();
            if self.open.load(Ordering::Acquire) <= rest() {
                return;
            }
            changed.await;
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

impl ConnectionPermit {
    /// For a client that takes compressed messages.
    pub fn take_compressed(&mut self) {
        if !std::mem::replace(&mut self.compressed, true) {
            self.connections.deflate_clients.enter();
        }
    }

    /// The handshake is done: from now on this is a connection.
    pub fn opened(&self) {
        let connections = &self.connections;
        connections.reporter.connection_opened(if self.stream {
            Transport::Sse
        } else {
            Transport::WebSocket
        });
        connections.roster.set_connections(connections.open());
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let connections = &self.connections;
        if self.compressed {
            connections.deflate_clients.leave();
        }
        connections.streams.fetch_sub(self.stream.into(), Ordering::Relaxed);
        let before = connections.open.fetch_sub(1, Ordering::AcqRel);
        connections.changed.notify_waiters();
        connections.roster.set_connections(before - 1);
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
