//! The application: built from a configuration, and run until it is asked to stop.

use crate::shutdown::Phases;
use socket2::SockRef;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use warren_broker::Broker;
use warren_config::Config;
use warren_observe::events::{Event, SanitizedText};
use warren_observe::phase::Phase;
use warren_observe::reporter::Reporter;
use warren_observe::traces::{TraceSettings, Traces};
use warren_server::admin::{self, Health};
use warren_server::fanout::compression::{Compressor, DeflateClientCount};
use warren_server::fanout::{self, WorkerMessage, WorkerSenders};
use warren_server::replay_cache::ReplayCache;
use warren_server::{AppState, Connections};

/// Time that the acceptor takes at most to pause.
const PAUSE_TIME: Duration = Duration::from_millis(100);
/// Time for event streams to end after the last WebSocket has.
const STREAM_SLACK: Duration = Duration::from_secs(2);
/// Time for the last connections to end, beyond the drain period and the publish timeout.
const DRAIN_SLACK: Duration = Duration::from_secs(10);

/// A replica with bound ports that does not serve yet.
#[derive(Debug)]
pub struct Application {
    config: Config,
    reporter: Arc<Reporter>,
    /// `None`: no traces are exported.
    traces: Option<TraceSettings>,
    clients: TcpListener,
    admin: TcpListener,
    addr: SocketAddr,
    admin_addr: SocketAddr,
}

/// Reason why a replica cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} ({variable}): {source}")]
    Listen { variable: &'static str, address: SocketAddr, source: io::Error },
    #[error("{0} exited unexpectedly")]
    Exited(&'static str),
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
}

impl Application {
    /// Binds both ports.
    ///
    /// # Errors
    /// When one of them cannot be bound.
    pub fn build(config: Config) -> Result<Self, Error> {
        let bind = |variable, address| {
            warren_server::listen(address).map_err(|source| Error::Listen {
                variable,
                address,
                source,
            })
        };
        let clients = bind("WARREN_LISTEN", config.listen)?;
        let admin = bind("WARREN_ADMIN_LISTEN", config.admin_listen)?;
        let (addr, admin_addr) = (clients.local_addr()?, admin.local_addr()?);
        let reporter = Arc::new(Reporter::new());
        Ok(Self { config, reporter, traces: None, clients, admin, addr, admin_addr })
    }

    /// Sets the export of traces.
    pub fn traces(self, traces: Option<TraceSettings>) -> Self {
        Self { traces, ..self }
    }

    /// Sets the reporter, which the caller also uses.
    pub fn reporter(self, reporter: Arc<Reporter>) -> Self {
        Self { reporter, ..self }
    }

    /// Address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Address for health checks and metrics.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Serves until `shutdown` resolves. Then drains, and publishes all accepted messages.
    ///
    /// # Errors
    /// When serving cannot begin, or a task that serves exits unexpectedly.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let config = self.config;
        let reporter = self.reporter;
        reporter.limits(&config);
        let thread = reporter.main_thread();
        let lag_task = tokio::spawn(async move { thread.measure().await });
        let writer = reporter.clone();
        let log_task = tokio::spawn(async move { writer.write_due_lines().await });
        let traces = Traces::start(self.traces.as_ref(), &config.replica.0, &reporter)?;
        let tracer = traces.tracer.clone();
        let phases = Phases::new(&reporter);
        let workers = Arc::new(WorkerSenders::default());
        let mut broker = Broker::start(&config, &reporter, &tracer);
        let deflate_clients = Arc::new(DeflateClientCount::default());
        let compressor =
            Compressor::new(config.compression, deflate_clients.clone(), reporter.clone());
        let connections = Arc::new(Connections::new(
            config.max_connections,
            broker.roster.clone(),
            deflate_clients,
            reporter.clone(),
        ));
        let state = Arc::new(AppState {
            config: config.clone(),
            reporter: reporter.clone(),
            tracer: tracer.clone(),
            publisher: broker.publisher.clone(),
            status: broker.status.clone(),
            replays: broker.log.clone().map(ReplayCache::new),
            roster: broker.roster.clone(),
            workers: workers.clone(),
            connections: connections.clone(),
            phase: phases.watch(),
        });
        let health = Health {
            phase: phases.watch(),
            status: broker.status.clone(),
            roster: broker.roster.clone(),
            reporter: reporter.clone(),
        };
        let listener = self.clients.try_clone()?;
        let clients = warren_server::serve(self.clients, state)?;
        let admin = admin::serve(self.admin, health)?;
        let (clients_handle, admin_handle) = (clients.handle(), admin.handle());
        let mut clients = tokio::spawn(clients);
        let admin = tokio::spawn(admin);
        let deliveries = broker.take_events();
        let mut fanout = tokio::spawn(fanout::run(
            deliveries,
            workers.clone(),
            config.workers.0,
            compressor,
            reporter.clone(),
            tracer,
        ));
        reporter.emit(Event::Serving {
            address: self.addr,
            admin: self.admin_addr,
            replica: SanitizedText::of(&config.replica.0),
            workers: config.workers.0,
            connections: connections.limit(),
            version: env!("CARGO_PKG_VERSION"),
        });

        // None of these ends before the shutdown. A replica of which one part has exited must exit as a whole.
        tokio::select! {
            () = shutdown => {}
            _ = &mut clients => return Err(Error::Exited("the server")),
            _ = &mut fanout => return Err(Error::Exited("a worker")),
            () = broker.exited() => return Err(Error::Exited("the RabbitMQ task")),
        }

        phases.enter(Phase::Unready);
        sleep(config.drain_delay).await;

        phases.enter(Phase::Draining);
        clients_handle.pause().await;
        // A worker that has stopped has no connections to drain.
        let _ = workers.broadcast(&WorkerMessage::Drain(config.drain_period)).await;
        // While the acceptor only pauses, new clients would wait. A listener that is shut down refuses them,
        // so that they connect to another replica. The acceptor must have paused, or it reports an error.
        sleep(PAUSE_TIME).await;
        if let Err(error) = SockRef::from(&listener).shutdown(Shutdown::Both) {
            reporter.emit(Event::ListenerCloseFailed { problem: SanitizedText::of(error) });
        }
        let limit = config.drain_period + config.publish_timeout.0 + DRAIN_SLACK;
        if timeout(limit, connections.sockets_closed()).await.is_err() {
            reporter.emit(Event::DrainTimedOut { connections: connections.open() });
        }
        // An event stream whose client does not read cannot end in order.
        let ended = timeout(STREAM_SLACK, connections.all_closed()).await.is_ok();
        clients_handle.stop(ended).await;

        phases.enter(Phase::Closed);
        fanout.abort();
        lag_task.abort();
        log_task.abort();
        broker.close().await;
        traces.close().await;
        admin_handle.stop(false).await;
        let _ = admin.await;
        Ok(())
    }
}
