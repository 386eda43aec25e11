//! The reading side: sessions, one after the other, rebuilt whenever they end.

use crate::rabbitmq::connection::{self, Connector};
use crate::rabbitmq::consume::delivery_handler::DeliveryHandler;
use crate::rabbitmq::consume::live::Live;
use crate::rabbitmq::consume::log::Log;
use crate::rabbitmq::session_error::SessionError;
use crate::raised;
use lapin::Connection;
use tokio::sync::watch;
use warren_observe::events::{Event, SanitizedText};

pub(crate) struct Consumer {
    pub(crate) connector: Connector,
    pub(crate) exchange: String,
    pub(crate) source: Source,
    pub(crate) handler: DeliveryHandler,
}

/// What is read from.
pub(crate) enum Source {
    Log(Box<Log>),
    Live(Box<Live>),
}

impl Consumer {
    /// Reads until it is finished with.
    pub(crate) async fn run(mut self, mut finished: watch::Receiver<bool>) {
        let shared = self.handler.shared.clone();
        loop {
            // Asked for before connecting, so that no request is missed.
            let mut rebuilds = shared.rebuilds();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = raised(&mut finished) => return,
            };
            shared
                .reporter
                .emit(Event::ConsumingStarted { exchange: SanitizedText::of(&self.exchange) });
            let session = self.source.session(&connection, &mut self.handler, &mut rebuilds);
            let ended = tokio::select! {
                ended = session => ended,
                () = raised(&mut finished) => return connection::close(connection).await,
            };
            if shared.status().consuming {
                self.connector.succeeded();
            }
            let problem = ended.map_or_else(|ended| ended.to_string(), |()| "done".to_owned());
            shared.reporter.emit(Event::ConsumingStopped { problem: SanitizedText::of(&problem) });
            shared.update(|status| {
                status.consuming = false;
                status.problem = Some(problem.into());
            });
            tokio::select! {
                () = async {
                    connection::close(connection).await;
                    self.connector.pause().await;
                } => {}
                () = raised(&mut finished) => return,
            }
        }
    }
}

impl Source {
    async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
        rebuilds: &mut watch::Receiver<u64>,
    ) -> Result<(), SessionError> {
        match self {
            // What it has taken it hands on, whatever is asked for.
            Self::Log(log) => log.session(connection, handler, rebuilds).await,
            Self::Live(live) => tokio::select! {
                ended = live.session(connection, handler) => ended,
                _ = rebuilds.changed() => Err(SessionError::Rebuild),
            },
        }
    }
}
