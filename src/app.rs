//! The application: built from a configuration, then run until it is told to stop.

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

/// How long the acceptor may take to pause.
const PAUSE_TIME: Duration = Duration::from_millis(100);
/// What event streams may take to end, once all WebSockets have.
const STREAM_SLACK: Duration = Duration::from_secs(2);
/// What the last connections may take beyond the drain period and their publishes.
const DRAIN_SLACK: Duration = Duration::from_secs(10);

/// A replica whose ports are bound and which serves nobody yet.
#[derive(Debug)]
pub struct Application {
    config: Config,
    reporter: Arc<Reporter>,
    /// `None`: nothing is exported.
    traces: Option<TraceSettings>,
    clients: TcpListener,
    admin: TcpListener,
    addr: SocketAddr,
    admin_addr: SocketAddr,
}

/// Why a replica cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} ({variable}): {source}")]
    Listen { variable: &'static str, address: SocketAddr, source: io::Error },
    #[error("{0} ended by itself")]
    Ended(&'static str),
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

    /// With traces, if they are asked for.
    pub fn traces(self, traces: Option<TraceSettings>) -> Self {
        Self { traces, ..self }
    }

    /// Counting in the same place as its caller.
    pub fn reporter(self, reporter: Arc<Reporter>) -> Self {
        Self { reporter, ..self }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where health checks and metrics are served.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Serves until `shutdown` resolves and everything promised is kept.
    ///
    /// # Errors
    /// When serving cannot begin, or ends by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let config = self.config;
        let reporter = self.reporter;
        reporter.limits(&config);
        let thread = reporter.main_thread();
        let measuring = tokio::spawn(async move { thread.measure().await });
        let journal = reporter.clone();
        let summing = tokio::spawn(async move { journal.sum_up().await });
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
        let door = self.clients.try_clone()?;
        let clients = warren_server::serve(self.clients, state)?;
        let admin = admin::serve(self.admin, health)?;
        let (clients_handle, admin_handle) = (clients.handle(), admin.handle());
        let mut clients = tokio::spawn(clients);
        let admin = tokio::spawn(admin);
        let deliveries = broker.take_deliveries();
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

        // Nobody told these to end: a replica that is only half there must not look alive.
        tokio::select! {
            () = shutdown => {}
            _ = &mut clients => return Err(Error::Ended("the server")),
            _ = &mut fanout => return Err(Error::Ended("a worker")),
            () = broker.ended() => return Err(Error::Ended("the bond with RabbitMQ")),
        }

        phases.enter(Phase::Unready);
        sleep(config.drain_delay).await;

        phases.enter(Phase::Draining);
        clients_handle.pause().await;
        workers.post(&WorkerMessage::Drain(config.drain_period)).await;
        // Pausing alone would leave newcomers waiting; this has them refused, and go elsewhere. The
        // acceptor pauses in its own time, and would take it for an error before.
        sleep(PAUSE_TIME).await;
        if let Err(error) = SockRef::from(&door).shutdown(Shutdown::Both) {
            reporter.emit(Event::ListenerCloseFailed { problem: SanitizedText::of(error) });
        }
        let patience = config.drain_period + config.publish_timeout.0 + DRAIN_SLACK;
        if timeout(patience, connections.no_sockets()).await.is_err() {
            reporter.emit(Event::DrainTimedOut { connections: connections.open() });
        }
        // An event stream that is not read cannot be ended in order.
        let ended = timeout(STREAM_SLACK, connections.empty()).await.is_ok();
        clients_handle.stop(ended).await;

        phases.enter(Phase::Closed);
        fanout.abort();
        measuring.abort();
        summing.abort();
        broker.close().await;
        traces.close().await;
        admin_handle.stop(false).await;
        let _ = admin.await;
        Ok(())
    }
}
