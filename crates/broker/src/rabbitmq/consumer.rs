//! The reading side: sessions, one after the other, rebuilt whenever they end.

use super::connection::{self, Connector};
use super::ended::Ended;
use super::live::Live;
use super::log::Log;
use super::reception::Reception;
use crate::raised;
use lapin::Connection;
use tokio::sync::watch;
use warren_observe::events::{Event, SanitizedText};

pub(super) struct Consumer {
    pub(super) connector: Connector,
    pub(super) exchange: String,
    pub(super) source: Source,
    pub(super) reception: Reception,
}

/// What is read from.
pub(super) enum Source {
    Log(Box<Log>),
    Live(Box<Live>),
}

impl Consumer {
    /// Reads until it is finished with.
    pub(super) async fn run(mut self, mut finished: watch::Receiver<bool>) {
        let link = self.reception.link.clone();
        loop {
            // Asked for before connecting, so that no request is missed.
            let mut rebuilds = link.rebuilds();
            let connection = tokio::select! {
                connection = self.connector.connect() => connection,
                () = raised(&mut finished) => return,
            };
            link.reporter
                .emit(Event::ConsumingStarted { exchange: SanitizedText::of(&self.exchange) });
            let session = self.source.session(&connection, &mut self.reception, &mut rebuilds);
            let ended = tokio::select! {
                ended = session => ended,
                () = raised(&mut finished) => return connection::close(connection).await,
            };
            if link.status().consuming {
                self.connector.succeeded();
            }
            let problem = ended.map_or_else(|ended| ended.to_string(), |()| "done".to_owned());
            link.reporter.emit(Event::ConsumingStopped { problem: SanitizedText::of(&problem) });
            link.update(|status| {
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
        reception: &mut Reception,
        rebuilds: &mut watch::Receiver<u64>,
    ) -> Result<(), Ended> {
        match self {
            // What it has taken it hands on, whatever is asked for.
            Self::Log(log) => log.session(connection, reception, rebuilds).await,
            Self::Live(live) => tokio::select! {
                ended = live.session(connection, reception) => ended,
                _ = rebuilds.changed() => Err(Ended::Rebuild),
            },
        }
    }
}
