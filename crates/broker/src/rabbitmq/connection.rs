//! Connections to RabbitMQ: one node after the other is tried until one accepts.

use crate::rabbitmq::shared_state::SharedState;
use async_compat::Compat;
use lapin::tcp::{AsyncTcpStream, TLSConfig};
use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use warren_config::{AmqpUrl, AmqpUrls, Config};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::labels::ConnectionRole;

/// Seconds between heartbeats, unless the URL sets them. A dead peer is detected after two.
const HEARTBEAT: u16 = 5;
/// Time limit for a node to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a node to declare the topology or attach a consumer. A cluster without a majority may
/// never answer.
pub(crate) const SET_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a node to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest and longest pause between attempts.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// Opens the connections of one role.
#[derive(Debug)]
pub(crate) struct Connector {
    urls: Vec<AmqpUrl>,
    /// Index of the node to try next.
    next: usize,
    /// Connection name in RabbitMQ's management UI.
    name: String,
    role: ConnectionRole,
    pause: Duration,
    shared: Arc<SharedState>,
}

impl Connector {
    pub(crate) fn new(
        urls: &AmqpUrls,
        config: &Config,
        role: ConnectionRole,
        shared: &Arc<SharedState>,
    ) -> Self {
        Self {
            // Random, so that replicas spread over the nodes of a cluster.
            next: fastrand::usize(..urls.0.len()),
            urls: urls.0.clone(),
            name: format!("warren {} {role}", config.replica.0),
            role,
            pause: MIN_PAUSE,
            shared: shared.clone(),
        }
    }

    /// Opens a connection. Tries until one is open, with pauses that grow.
    pub(crate) async fn connect(&mut self) -> Connection {
        loop {
            let url = &self.urls[self.next % self.urls.len()];
            self.next = self.next.wrapping_add(1);
            let (role, reporter) = (self.role, &self.shared.reporter);
            match self.try_connect(url).await {
                Ok(connection) => {
                    reporter.emit(Event::Connected { role, node: SanitizedText::of(url) });
                    return connection;
                }
                Err(problem) => {
                    let problem = format!("{url}: {problem}");
                    reporter
                        .emit(Event::ConnectFailed { role, problem: SanitizedText::of(&problem) });
                    // A replica without replays is still ready.
                    if role != ConnectionRole::Replay {
                        self.shared
                            .update_status(|status| status.problem = Some(problem.as_str().into()));
                    }
                    self.pause().await;
                }
            }
        }
    }

    async fn try_connect(&self, url: &AmqpUrl) -> Result<Connection, String> {
        let mut uri = url.uri().clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let properties = ConnectionProperties::default()
            .with_connection_name(self.name.as_str().into())
            .with_client_property("product".into(), "warren".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let socket = Arc::new(AttemptSocket::default());
        let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
        // Dropped at the end of this function, which cancels the closure below.
        let (_attempt, abandoned) = watch::channel(());
        let guard = SocketGuard(socket.clone());
        // A closure, because the type of lapin's runtime cannot be named.
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri: AMQPUri, runtime| {
                let AMQPAuthority { host, port, .. } = &uri.authority;
                let open = async {
                    let addrs: Vec<_> = lookup_host((host.as_str(), *port)).await?.collect();
                    let stream = AsyncTcpStream::connect(&runtime, addrs).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        socket.store(stream.get_ref())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => stream.into_tls(host, TLSConfig::default()).await,
                    }
                };
                let mut abandoned = abandoned.clone();
                tokio::select! {
                    biased;
                    _ = abandoned.changed() => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                    opened = open => Ok(opened?),
                }
            },
            properties,
        );
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => {
                guard.release();
                Ok(connection)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Pauses before the next attempt, after a session ended or could not start.
    pub(crate) async fn pause(&mut self) {
        // With jitter, so that replicas do not reconnect all at once.
        sleep(self.pause.mul_f32(0.5 + fastrand::f32())).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// Makes the next pause short again, once a session works.
    pub(crate) fn reset_pause(&mut self) {
        self.pause = MIN_PAUSE;
    }
}

/// Shuts down the socket of an attempt that fails. Otherwise lapin's own thread would read from it for as
/// long as the peer keeps it open: one thread for each attempt at a node that hangs.
struct SocketGuard(Arc<AttemptSocket>);

impl SocketGuard {
    /// Leaves the socket open, as the attempt has succeeded.
    fn release(&self) {
        self.0.end();
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        if let Some(socket) = self.0.end() {
            let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
        }
    }
}

/// Socket of an attempt to connect, while the attempt lasts.
#[derive(Debug, Default)]
struct AttemptSocket(Mutex<AttemptState>);

#[derive(Debug, Default)]
struct AttemptState {
    socket: Option<OwnedFd>,
    ended: bool,
}

impl AttemptSocket {
    /// Stores a duplicate of the socket.
    ///
    /// # Errors
    /// When the attempt has ended, or the socket cannot be duplicated.
    fn store(&self, socket: &TcpStream) -> io::Result<()> {
        let mut state = self.lock();
        if state.ended {
            return Err(io::ErrorKind::TimedOut.into());
        }
        state.socket = Some(socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// Ends the attempt. The first call returns the socket, if there is one.
    fn end(&self) -> Option<OwnedFd> {
        let mut state = self.lock();
        state.ended = true;
        state.socket.take()
    }

    fn lock(&self) -> MutexGuard<'_, AttemptState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes async-compat create its global runtime, in which lapin's threads drop their sockets. It does so
/// at first use, and panics then and at each later use if no file descriptor is left.
pub(crate) fn prepare_runtime() {
    // In a thread of its own, because inside a runtime async-compat would use that one.
    let spawned = thread::Builder::new().spawn(|| drop(Compat::new(())));
    let _ = spawned.map(thread::JoinHandle::join);
}

/// Closes a connection, with a time limit because the node may be gone.
pub(crate) async fn close(connection: Connection) {
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
}
