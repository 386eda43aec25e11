//! The application: built from a configuration, and run until it is asked to stop.

use crate::replica::Replica;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use warren_config::Config;
use warren_observe::events::{Event, SanitizedText};
use warren_observe::reporter::Reporter;
use warren_observe::traces::TraceSettings;

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
        let Self { config, reporter, traces, clients, admin, addr, admin_addr } = self;
        let replica = config.replica.0.clone();
        let workers = config.workers.0;
        let mut serving = Replica::start(config, reporter.clone(), traces, clients, admin)?;
        reporter.emit(Event::Serving {
            address: addr,
            admin: admin_addr,
            replica: SanitizedText::of(replica),
            workers,
            connections: serving.connection_limit(),
            version: env!("CARGO_PKG_VERSION"),
        });
        tokio::select! {
            () = shutdown => {}
            part = serving.exited() => return Err(Error::Exited(part)),
        }
        serving.shut_down().await;
        Ok(())
    }
}
