//! One connection to one of the nodes, tried in turn, for ever.

use super::link::Link;
use crate::config::{AmqpUrl, AmqpUrls, Config};
use crate::events::{Event, Text};
use lapin::{Connection, ConnectionProperties};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Seconds between heartbeats, unless the address says otherwise: a dead peer is noticed in two.
const HEARTBEAT: u16 = 5;
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to declare what is needed. A cluster without a quorum may take for ever.
pub(super) const SET_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What reads the log again: that it cannot is no reason to be unready.
pub(super) const REPLAY: &str = "replay";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Builds connections for one purpose.
#[derive(Debug)]
pub(super) struct Connector {
    urls: Vec<AmqpUrl>,
    /// The node to try next.
    next: usize,
    /// As the management page shows it.
    name: String,
    /// `publish`, `consume` or `replay`, for logs and metrics.
    role: &'static str,
    pause: Duration,
    link: Arc<Link>,
}

impl Connector {
    pub(super) fn new(
        urls: &AmqpUrls,
        config: &Config,
        role: &'static str,
        link: &Arc<Link>,
    ) -> Self {
        Self {
            // Replicas spread over the nodes of a cluster.
            next: fastrand::usize(..urls.0.len()),
            urls: urls.0.clone(),
            name: format!("warren {} {role}", config.replica.0),
            role,
            pause: FIRST_PAUSE,
            link: link.clone(),
        }
    }

    /// The next connection. Returns only with one; pauses between attempts, longer each time.
    pub(super) async fn connect(&mut self) -> Connection {
        loop {
            let url = &self.urls[self.next % self.urls.len()];
            self.next = self.next.wrapping_add(1);
            let (role, metrics) = (self.role, &self.link.metrics);
            match self.attempt(url).await {
                Ok(connection) => {
                    metrics.tell(Event::Connected { role, node: Text::of(url) });
                    return connection;
                }
                Err(problem) => {
                    let problem = format!("{url}: {problem}");
                    metrics.tell(Event::Unconnected { role, problem: Text::of(&problem) });
                    if role != REPLAY {
                        self.link.update(|status| status.problem = Some(problem.as_str().into()));
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
        match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// A session could not be begun or was lost: pause before the next attempt.
    pub(super) async fn pause(&mut self) {
        // Jittered, so that replicas do not return all at once.
        sleep(self.pause.mul_f32(0.5 + fastrand::f32())).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// A session works: the next interruption is a new one.
    pub(super) fn succeeded(&mut self) {
        self.pause = FIRST_PAUSE;
    }
}

/// Says goodbye, but not for long: the other side may be gone.
pub(super) async fn close(connection: Connection) {
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
}
