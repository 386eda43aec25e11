//! The connection and the consumers of replays: few at a time, and idle ones for a short while.

use crate::log_page::LogError;
use crate::rabbitmq::connection::{Connector, SET_UP_TIMEOUT};
use crate::rabbitmq::replay::page_reader::PageReader;
use crate::rabbitmq::session_error::SessionError;
use lapin::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Limit of consumers at a time.
const MAX_CONSUMERS: usize = 4;
/// Time without use after which the idle consumers and the connection are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct ConsumerPool {
    permits: Semaphore,
    connections: AsyncMutex<Connections>,
    idle: Mutex<Vec<PageReader>>,
    last_used: watch::Sender<Instant>,
}

struct Connections {
    connector: Connector,
    shared: Option<Arc<Connection>>,
}

impl ConsumerPool {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            permits: Semaphore::new(MAX_CONSUMERS),
            connections: AsyncMutex::new(Connections { connector, shared: None }),
            idle: Mutex::default(),
            last_used: watch::Sender::new(Instant::now()),
        }
    }

    /// Waits for permission to use a consumer.
    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, LogError> {
        self.last_used.send_replace(Instant::now());
        self.permits.acquire().await.map_err(|closed| LogError(closed.to_string()))
    }

    /// Takes the idle reader whose next entry is at `start`. If there is none, makes room for a new one.
    pub(crate) async fn take_idle(&self, start: u64, epoch: u64) -> Option<PageReader> {
        let reader = {
            let mut idle = self.lock_idle();
            let fits = |reader: &PageReader| reader.epoch == epoch && reader.next == start;
            idle.iter().position(fits).map(|index| idle.remove(index))
        };
        if reader.is_none() {
            self.make_room().await;
        }
        reader
    }

    /// Keeps a reader for the next page.
    pub(crate) fn keep(&self, reader: PageReader) {
        self.lock_idle().push(reader);
    }

    /// Closes idle readers until one more consumer is within the limit.
    pub(crate) async fn make_room(&self) {
        let surplus: Vec<_> = {
            let mut idle = self.lock_idle();
            let surplus = idle.len().saturating_sub(self.permits.available_permits());
            idle.drain(..surplus).collect()
        };
        for reader in surplus {
            // If the connection is lost, the consumer is gone already.
            let _ = timeout(SET_UP_TIMEOUT, reader.consumer.close()).await;
        }
    }

    /// The connection that all replays share.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, SessionError> {
        let mut connections = self.connections.lock().await;
        let Connections { connector, shared } = &mut *connections;
        if let Some(connection) =
            shared.as_ref().filter(|connection| connection.status().connected())
        {
            return Ok(connection.clone());
        }
        let connection = timeout(SET_UP_TIMEOUT, connector.connect()).await?;
        connector.reset_pause();
        Ok(shared.insert(Arc::new(connection)).clone())
    }

    /// A connection that is not shared, so that no other replay can make it fail.
    pub(crate) async fn separate_connection(&self) -> Result<Connection, SessionError> {
        let connecting = async { self.connections.lock().await.connector.connect().await };
        Ok(timeout(SET_UP_TIMEOUT, connecting).await?)
    }

    /// Closes idle consumers and the connection whenever they were not used for a while. Never returns.
    pub(crate) async fn close_idle(&self) {
        let mut last_used = self.last_used.subscribe();
        while last_used.changed().await.is_ok() {
            loop {
                let deadline = *last_used.borrow_and_update() + IDLE_TIMEOUT;
                sleep_until(deadline).await;
                if !last_used.has_changed().unwrap_or(false) {
                    break;
                }
            }
            let idle = std::mem::take(&mut *self.lock_idle());
            for reader in idle {
                let _ = timeout(SET_UP_TIMEOUT, reader.consumer.close()).await;
            }
            // Consumers in use hold the connection until they are done.
            self.connections.lock().await.shared = None;
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<PageReader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
