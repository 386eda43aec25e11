//! Consumes from RabbitMQ, in one session after the other.

use crate::ports::wait_until_set;
use crate::rabbitmq::connection::{self, Connector};
use crate::rabbitmq::consume::delivery_handler::DeliveryHandler;
use crate::rabbitmq::consume::live::LiveSource;
use crate::rabbitmq::consume::log::LogSource;
use crate::rabbitmq::session_error::SessionError;
use lapin::Connection;
use std::convert::Infallible;
use tokio::sync::watch;
use warren_observe::events::{Event, SanitizedText};

/// The consuming side of a replica.
pub(crate) struct RabbitConsumer {
    pub(crate) connector: Connector,
    pub(crate) exchange: String,
    pub(crate) source: Source,
    pub(crate) handler: DeliveryHandler,
}

/// Source of entries, by delivery mode.
pub(crate) enum Source {
    Log(Box<LogSource>),
    Live(Box<LiveSource>),
}

impl RabbitConsumer {
    /// Consumes until `stop` is set.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let shared = self.handler.shared.clone();
        loop {
            // Subscribed before connecting, so that no request is missed.
            let mut rebuild_requests = shared.rebuild_requests();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = wait_until_set(&mut stop) => return,
            };
            let exchange = SanitizedText::of(&self.exchange);
            shared.reporter.emit(Event::ConsumingStarted { exchange });
            let session =
                self.source.session(&connection, &mut self.handler, &mut rebuild_requests);
            let Err(error) = tokio::select! {
                ended = session => ended,
                () = wait_until_set(&mut stop) => return connection::close(connection).await,
            };
            if shared.status().consuming {
                self.connector.reset_pause();
            }
            let problem = error.to_string();
            shared.reporter.emit(Event::ConsumingStopped { problem: SanitizedText::of(&problem) });
            shared.update_status(|status| {
                status.consuming = false;
                status.problem = Some(problem.into());
            });
            tokio::select! {
                () = async {
                    connection::close(connection).await;
                    self.connector.pause().await;
                } => {}
                () = wait_until_set(&mut stop) => return,
            }
        }
    }
}

impl Source {
    async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
        rebuild_requests: &mut watch::Receiver<u64>,
    ) -> Result<Infallible, SessionError> {
        match self {
            // It checks for requests between entries, so that each entry read is also delivered.
            Self::Log(log) => log.session(connection, handler, rebuild_requests).await,
            Self::Live(live) => tokio::select! {
                ended = live.session(connection, handler) => ended,
                _ = rebuild_requests.changed() => Err(SessionError::Rebuild),
            },
        }
    }
}
