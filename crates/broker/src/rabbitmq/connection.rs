//! One connection to one of the nodes, tried in turn, for ever.

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

/// Seconds between heartbeats, unless the address says otherwise: a dead peer is noticed in two.
const HEARTBEAT: u16 = 5;
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to declare what is needed. A cluster without a quorum may take for ever.
pub(crate) const SET_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What reads the log again: that it cannot is no reason to be unready.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Builds connections for one purpose.
#[derive(Debug)]
pub(crate) struct Connector {
    urls: Vec<AmqpUrl>,
    /// The node to try next.
    next: usize,
    /// As the management page shows it.
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
            // Replicas spread over the nodes of a cluster.
            next: fastrand::usize(..urls.0.len()),
            urls: urls.0.clone(),
            name: format!("warren {} {role}", config.replica.0),
            role,
            pause: FIRST_PAUSE,
            shared: shared.clone(),
        }
    }

    /// The next connection. Returns only with one; pauses between attempts, longer each time.
    pub(crate) async fn connect(&mut self) -> Connection {
        loop {
            let url = &self.urls[self.next % self.urls.len()];
            self.next = self.next.wrapping_add(1);
            let (role, reporter) = (self.role, &self.shared.reporter);
            match self.attempt(url).await {
                Ok(connection) => {
                    reporter.emit(Event::Connected { role, node: SanitizedText::of(url) });
                    return connection;
                }
                Err(problem) => {
                    let problem = format!("{url}: {problem}");
                    reporter
                        .emit(Event::ConnectFailed { role, problem: SanitizedText::of(&problem) });
                    if role != ConnectionRole::Replay {
                        self.shared.update(|status| status.problem = Some(problem.as_str().into()));
                    }
                    self.pause().await;
                }
            }
        }
    }

    async fn attempt(&self, url: &AmqpUrl) -> Result<Connection, String> {
        let mut uri = url.uri().clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let properties = ConnectionProperties::default()
            .with_connection_name(self.name.as_str().into())
            .with_client_property("product".into(), "warren".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let hold = Arc::new(SocketGuard::default());
        let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
        let (_trying, given_up) = watch::channel(());
        let attempt = Attempt(hold.clone());
        // Only here is the type of the runtime known.
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri: AMQPUri, runtime| {
                let AMQPAuthority { host, port, .. } = &uri.authority;
                let open = async {
                    let addrs: Vec<_> = lookup_host((host.as_str(), *port)).await?.collect();
                    let stream = AsyncTcpStream::connect(&runtime, addrs).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        hold.take(stream.get_ref())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => stream.into_tls(host, TLSConfig::default()).await,
                    }
                };
                let mut given_up = given_up.clone();
                tokio::select! {
                    biased;
                    _ = given_up.changed() => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                    opened = open => Ok(opened?),
                }
            },
            properties,
        );
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => {
                attempt.0.let_go();
                Ok(connection)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// A session could not be begun or was lost: pause before the next attempt.
    pub(crate) async fn pause(&mut self) {
        // Jittered, so that replicas do not return all at once.
        sleep(self.pause.mul_f32(0.5 + fastrand::f32())).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// A session works: the next interruption is a new one.
    pub(crate) fn succeeded(&mut self) {
        self.pause = FIRST_PAUSE;
    }
}

/// An attempt to connect. Where it comes to nothing its socket is shut down: lapin's own thread would
/// read from it for as long as the other side keeps it open, and a node that hangs cost a thread each time.
struct Attempt(Arc<SocketGuard>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(socket) = self.0.let_go() {
            let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
        }
    }
}

/// The socket of an attempt, while it lasts.
#[derive(Debug, Default)]
struct SocketGuard(Mutex<HeldSocket>);

#[derive(Debug, Default)]
struct HeldSocket {
    socket: Option<OwnedFd>,
    is_over: bool,
}

impl SocketGuard {
    /// Holds a socket, unless the attempt is over.
    fn take(&self, socket: &TcpStream) -> io::Result<()> {
        let mut held = self.held();
        if held.is_over {
            return Err(io::ErrorKind::TimedOut.into());
        }
        held.socket = Some(socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// The attempt is over.
    fn let_go(&self) -> Option<OwnedFd> {
        let mut held = self.held();
        held.is_over = true;
        held.socket.take()
    }

    fn held(&self) -> MutexGuard<'_, HeldSocket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has async-compat make the runtime in which lapin's threads drop their sockets. It makes it once, when it
/// is first needed, and panics where there is no file for it: then, and whenever it is needed again.
pub(crate) fn prepare() {
    // It takes the runtime that it is in, where there is one.
    let made = thread::Builder::new().spawn(|| drop(Compat::new(())));
    let _ = made.map(thread::JoinHandle::join);
}

/// Says goodbye, but not for long: the other side may be gone.
pub(crate) async fn close(connection: Connection) {
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
}
