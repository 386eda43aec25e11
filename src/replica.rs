//! A serving replica: its parts, started together and stopped in order.

use crate::shutdown::Phases;
use socket2::SockRef;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
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
use warren_server::{AppState, Connections, Server, ServerHandle};

/// Time that the acceptor takes at most to pause.
const PAUSE_TIME: Duration = Duration::from_millis(100);
/// Time for event streams to end after the last WebSocket has.
const STREAM_SLACK: Duration = Duration::from_secs(2);
/// Time for the last connections to end, beyond the drain period and the publish timeout.
const DRAIN_SLACK: Duration = Duration::from_secs(10);

/// The parts of a serving replica.
pub(crate) struct Replica {
    config: Config,
    reporter: Arc<Reporter>,
    phases: Phases,
    traces: Traces,
    broker: Broker,
    fanout: JoinHandle<()>,
    workers: Arc<WorkerSenders>,
    connections: Arc<Connections>,
    /// The listener of the client port, to refuse new clients during the drain.
    listener: TcpListener,
    clients: Port,
    admin: Port,
    /// Tasks that measure the event loop and write due lines of the log output.
    upkeep: [JoinHandle<()>; 2],
}

/// The server of one port.
struct Port {
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Port {
    fn serve(server: Server) -> Self {
        Self { handle: server.handle(), task: tokio::spawn(server) }
    }
}

impl Replica {
    /// Starts all parts on the current runtime. RabbitMQ need not be reachable.
    ///
    /// # Errors
    /// When a listener cannot be used, or the export of traces cannot start.
    pub(crate) fn start(
        config: Config,
        reporter: Arc<Reporter>,
        traces: Option<TraceSettings>,
        clients: TcpListener,
        admin: TcpListener,
    ) -> io::Result<Self> {
        reporter.limits(&config);
        let thread = reporter.main_thread();
        let lag_task = tokio::spawn(async move { thread.measure().await });
        let writer = reporter.clone();
        let log_task = tokio::spawn(async move { writer.write_due_lines().await });
        let traces = Traces::start(traces.as_ref(), &config.replica.0, &reporter)?;
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
        let listener = clients.try_clone()?;
        let clients = Port::serve(warren_server::serve(clients, state)?);
        let admin = Port::serve(admin::serve(admin, health)?);
        let fanout = tokio::spawn(fanout::run(
            broker.take_events(),
            workers.clone(),
            config.workers.0,
            compressor,
            reporter.clone(),
            tracer,
        ));
        let upkeep = [lag_task, log_task];
        Ok(Self {
            config,
            reporter,
            phases,
            traces,
            broker,
            fanout,
            workers,
            connections,
            listener,
            clients,
            admin,
            upkeep,
        })
    }

    /// Connections that this replica accepts at most.
    pub(crate) fn connection_limit(&self) -> usize {
        self.connections.limit()
    }

    /// Resolves to the name of a part that has exited, which none does before the shutdown. A replica of
    /// which one part has exited must exit as a whole.
    pub(crate) async fn exited(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.clients.task => "the server",
            _ = &mut self.fanout => "a worker",
            () = self.broker.exited() => "the RabbitMQ task",
        }
    }

    /// Shuts down phase by phase: unready, draining, closed.
    pub(crate) async fn shut_down(self) {
        self.phases.enter(Phase::Unready);
        sleep(self.config.drain_delay).await;

        self.phases.enter(Phase::Draining);
        self.drain().await;

        self.phases.enter(Phase::Closed);
        self.fanout.abort();
        self.upkeep.iter().for_each(JoinHandle::abort);
        self.broker.close().await;
        self.traces.close().await;
        self.admin.handle.stop(false).await;
        let _ = self.admin.task.await;
    }

    /// Refuses new clients, and closes the connections of all workers.
    async fn drain(&self) {
        self.clients.handle.pause().await;
        // A worker that has stopped has no connections to drain.
        let _ = self.workers.broadcast(&WorkerMessage::Drain(self.config.drain_period)).await;
        // While the acceptor only pauses, new clients would wait. A listener that is shut down refuses them,
        // so that they connect to another replica. The acceptor must have paused, or it reports an error.
        sleep(PAUSE_TIME).await;
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
            self.reporter.emit(Event::ListenerCloseFailed { problem: SanitizedText::of(error) });
        }
        let limit = self.config.drain_period + self.config.publish_timeout.0 + DRAIN_SLACK;
        if timeout(limit, self.connections.sockets_closed()).await.is_err() {
            let connections = self.connections.open();
            self.reporter.emit(Event::DrainTimedOut { connections });
        }
        // An event stream whose client does not read cannot end in order.
        let ended = timeout(STREAM_SLACK, self.connections.all_closed()).await.is_ok();
        self.clients.handle.stop(ended).await;
    }
}
