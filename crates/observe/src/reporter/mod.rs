//! The reporter: counts what happens, and for each event counts it and writes its line.

mod count;
#[cfg(test)]
mod tests;

use crate::broker_status::BrokerStatus;
use crate::events::{Event, LogRateLimiter};
use crate::labels::{
    ConnectionEnd, Label, PublishOutcome, PublishTransport, ResumeOutcome, SessionRole, Transport,
    Version,
};
use crate::metrics::{MAIN, Table, WorkerCounters, process, worker_counters};
use crate::phase::Phase;
use jiff::Timestamp;
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use warren_config::Config;
use warren_protocol::message::Message;
use warren_protocol::websocket::CloseReason;

/// Interval at which lines that are due are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum difference in seconds between the date of a message and now. A larger one has another cause, and
/// would distort every mean.
const MAX_DATE_OFFSET: f64 = 3600.0;

/// Counts what happens. An event also gets a line in the log output.
#[derive(Debug)]
pub struct Reporter {
    registry: Registry,
    table: Table,
    /// The threads whose counters a scrape adds up.
    threads: Mutex<Vec<Arc<WorkerCounters>>>,
    /// Time up to which the blocking of publishers is counted. `None` while RabbitMQ does not block.
    blocked: Mutex<Option<Instant>>,
    log: LogRateLimiter,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// A reporter with all declared series at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let table = Table::new(&registry);
        table.build_info.at(Version::Current).set(1);
        process::begin(&table);
        Self {
            registry,
            table,
            threads: Mutex::default(),
            blocked: Mutex::default(),
            log: LogRateLimiter::default(),
        }
    }

    /// Counts an event and writes its line, or adds it to the sum of a later line.
    pub fn emit(&self, event: Event) {
        self.emit_times(1, event);
    }

    /// Does the same for a number of like events at once.
    pub fn emit_times(&self, times: u64, event: Event) {
        count::count(&event, &self.table, times);
        self.log.emit(event, times);
    }

    /// Writes the lines of summed events when they are due, and never returns.
    pub async fn write_due_lines(&self) {
        loop {
            sleep(WRITE_INTERVAL).await;
            self.log.write_due();
        }
    }

    /// Writes the lines of all summed events, before the program exits.
    pub fn flush_log(&self) {
        self.log.write_rest();
    }

    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        worker_counters::update(&self.table, self.threads().iter().map(|thread| &**thread));
        process::update(&self.table);
        self.count_blocked(self.table.amqp_blocked.get() == 1);
        let mut text = Vec::new();
        // Writing to memory fails only for a metric without series, which is then omitted.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Registers the current thread as the main thread, which communicates with RabbitMQ.
    pub fn main_thread(&self) -> Arc<WorkerCounters> {
        self.thread(|_| MAIN.to_owned())
    }

    /// Registers the current thread as a worker.
    pub fn worker(&self) -> Arc<WorkerCounters> {
        self.thread(|before| before.to_string())
    }

    /// Registers the current thread. `name` gets the number of workers so far.
    fn thread(&self, name: impl FnOnce(usize) -> String) -> Arc<WorkerCounters> {
        let mut threads = self.threads();
        let workers = threads.iter().filter(|thread| !thread.is_main()).count();
        let thread = Arc::new(WorkerCounters::new(&self.table, &name(workers)));
        threads.push(thread.clone());
        thread
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Arc<WorkerCounters>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the gauges of configured limits.
    pub fn limits(&self, config: &Config) {
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.table.publish_buffer_limit.set(bytes(config.publish_buffer.0));
        self.table.backlog_limit.set(bytes(config.client_backlog.0));
    }

    pub fn connection_opened(&self, transport: Transport) {
        self.table.connections.at(transport).inc();
        self.table.opened.at(transport).inc();
    }

    /// Counts the end of a connection. `None`: without a close frame.
    pub fn connection_closed(&self, transport: Transport, close: Option<CloseReason>) {
        self.table.connections.at(transport).dec();
        let reason = close.map_or(ConnectionEnd::Gone, ConnectionEnd::Closed);
        match close {
            None | Some(CloseReason::ByClient | CloseReason::Restart) => {
                self.table.closed.at(reason).inc();
            }
            Some(_) => self.emit(Event::ClientClosed { reason }),
        }
    }

    pub fn received(&self, transport: PublishTransport) {
        self.table.received.at(transport).inc();
    }

    /// Counts a confirmed message.
    pub fn published(&self) {
        self.table.published.at(PublishOutcome::Confirmed).inc();
    }

    pub fn consumed(&self) {
        self.table.consumed.inc();
    }

    pub fn duplicate(&self) {
        self.table.duplicates.inc();
    }

    /// Counts a client that recovered from memory or from the log.
    pub fn resumed(&self, outcome: ResumeOutcome) {
        self.table.resumes.at(outcome).inc();
    }

    pub fn replay_consumers(&self, change: i64) {
        self.table.replay_consumers.add(change);
    }

    pub fn replay_page(&self) {
        self.table.replay_pages.inc();
    }

    /// Counts spans that the collector accepted.
    pub fn spans_exported(&self, spans: u64) {
        self.table.spans_exported.inc_by(spans);
    }

    /// Observes the latency of a message that has just been handed to the workers.
    pub fn broadcast(&self, message: &Message) {
        // A date in whole seconds would make the latency wrong by up to a second.
        if message.dated
            && message.date.contains('.')
            && let Ok(date) = message.date.parse::<Timestamp>()
        {
            let latency = Timestamp::now().duration_since(date).as_secs_f64();
            if latency.abs() <= MAX_DATE_OFFSET {
                self.table.broadcast_latency.observe(latency.max(0.0));
            }
        }
    }

    /// Counts the size of a message before and after its compression.
    pub fn compressed(&self, before: usize, after: usize) {
        self.table.compression_input.inc_by(before as u64);
        self.table.compression_output.inc_by(after as u64);
    }

    pub fn broker_status(&self, status: &BrokerStatus) {
        self.table.amqp_up.at(SessionRole::Publish).set(status.publishing.into());
        self.table.amqp_up.at(SessionRole::Consume).set(status.consuming.into());
        self.count_blocked(status.blocked);
        self.table.amqp_blocked.set(status.blocked.into());
        self.hearing(status.hearing);
    }

    /// Sets the metrics of a replica without RabbitMQ.
    pub fn embedded(&self) {
        self.table.amqp_up.clear();
        self.hearing(true);
    }

    /// Counts the time up to now in which RabbitMQ blocked publishers. `blocked`: it blocks them now.
    fn count_blocked(&self, blocked: bool) {
        let mut since = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(since) = since.take() {
            let time = now.saturating_duration_since(since);
            self.table.amqp_blocked_time.inc_by(time.as_secs_f64());
        }
        *since = blocked.then_some(now);
    }

    pub fn hearing(&self, hearing: bool) {
        self.table.hearing.set(hearing.into());
    }

    pub fn canary_round_trip(&self, time: Duration) {
        self.table.canary_round_trip.observe(time.as_secs_f64());
    }

    pub fn replicas(&self, replicas: usize) {
        self.table.replicas.set(replicas as i64);
    }

    pub fn ready(&self, ready: bool) {
        self.table.ready.set(ready.into());
    }

    pub fn connections_limit(&self, limit: usize) {
        self.table.connections_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    pub fn phase(&self, current: Phase) {
        for phase in Phase::ALL {
            self.table.phase.at(*phase).set((*phase == current).into());
        }
    }

    /// Counts a message of another program.
    pub fn foreign(&self) {
        self.table.foreign.inc();
    }

    /// Adds an unconfirmed message, with its size in the publish buffer.
    pub fn submitted(&self, bytes: usize) {
        self.table.unconfirmed.inc();
        self.table.publish_buffer.add(bytes as i64);
    }

    /// Removes an unconfirmed message.
    pub fn settled(&self, bytes: usize) {
        self.table.unconfirmed.dec();
        self.table.publish_buffer.sub(bytes as i64);
    }

    /// Observes the time from the acceptance of a message to its confirm.
    pub fn confirmed(&self, latency: Duration) {
        self.table.confirm_latency.observe(latency.as_secs_f64());
    }
}
