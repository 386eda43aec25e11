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

/// How often it is looked what is left of bursts.
const LOOK: Duration = Duration::from_secs(1);
/// Seconds that the date of a message may be off. One further off is of something else, and would spoil
/// every mean that it is part of.
const CREDIBLE: f64 = 3600.0;

/// See the module.
#[derive(Debug)]
pub struct Reporter {
    registry: Registry,
    table: Table,
    /// The threads of which the figures are put together at a scrape.
    threads: Mutex<Vec<Arc<WorkerCounters>>>,
    /// Until when the time was counted that RabbitMQ takes no messages.
    blocked: Mutex<Option<Instant>>,
    log: LogRateLimiter,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// All that is declared, with the series that are known beforehand at zero.
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

    /// Counts an event, and writes its line, or has it summed for one.
    pub fn emit(&self, event: Event) {
        self.emit_times(1, event);
    }

    /// The same, for something that happened so many times at once.
    pub fn emit_times(&self, times: u64, event: Event) {
        count::count(&event, &self.table, times);
        self.log.emit(event, times);
    }

    /// Writes for ever what is left of bursts, when it is due.
    pub async fn sum_up(&self) {
        loop {
            sleep(LOOK).await;
            self.log.write_due();
        }
    }

    /// Writes what is left of bursts, due or not: the end is near.
    pub fn flush_log(&self) {
        self.log.write_rest();
    }

    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        worker_counters::update(&self.table, self.threads().iter().map(|thread| &**thread));
        process::update(&self.table);
        self.count_blocked(self.table.amqp_blocked.get() == 1);
        let mut text = Vec::new();
        // Writing to memory fails only for a family without series, which is then left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// The present thread, which speaks to RabbitMQ.
    pub fn main_thread(&self) -> Arc<WorkerCounters> {
        self.thread(|_| MAIN.to_owned())
    }

    /// The present thread, which is a worker.
    pub fn worker(&self) -> Arc<WorkerCounters> {
        self.thread(|before| before.to_string())
    }

    /// The name is told how many workers there are.
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

    /// The limits that figures are held against.
    pub fn limits(&self, config: &Config) {
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.table.publish_buffer_limit.set(bytes(config.publish_buffer.0));
        self.table.backlog_limit.set(bytes(config.client_backlog.0));
    }

    pub fn connection_opened(&self, transport: Transport) {
        self.table.connections.at(transport).inc();
        self.table.opened.at(transport).inc();
    }

    /// `None`: the client vanished without a word.
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

    /// The sender of a message was told that it is out.
    pub fn published(&self) {
        self.table.published.at(PublishOutcome::Confirmed).inc();
    }

    pub fn consumed(&self) {
        self.table.consumed.inc();
    }

    pub fn duplicate(&self) {
        self.table.duplicates.inc();
    }

    /// A client goes on where it was, with what is in `memory` or in the `log`.
    pub fn resumed(&self, outcome: ResumeOutcome) {
        self.table.resumes.at(outcome).inc();
    }

    pub fn replay_consumers(&self, change: i64) {
        self.table.replay_consumers.add(change);
    }

    pub fn replay_page(&self) {
        self.table.replay_pages.inc();
    }

    /// The collector has taken so many spans.
    pub fn spans_exported(&self, spans: u64) {
        self.table.spans_exported.inc_by(spans);
    }

    /// A message was published somewhere, and has now been handed to the workers.
    pub fn broadcast(&self, message: &Message) {
        // Whole seconds would tell a latency that is off by up to one.
        if message.dated
            && message.date.contains('.')
            && let Ok(date) = message.date.parse::<Timestamp>()
        {
            let took = Timestamp::now().duration_since(date).as_secs_f64();
            if took.abs() <= CREDIBLE {
                self.table.broadcast_latency.observe(took.max(0.0));
            }
        }
    }

    /// A message was compressed, from so many bytes to so many.
    pub fn compressed(&self, from: usize, to: usize) {
        self.table.compression_input.inc_by(from as u64);
        self.table.compression_output.inc_by(to as u64);
    }

    pub fn broker_status(&self, status: &BrokerStatus) {
        self.table.amqp_up.at(SessionRole::Publish).set(status.publishing.into());
        self.table.amqp_up.at(SessionRole::Consume).set(status.consuming.into());
        self.count_blocked(status.blocked);
        self.table.amqp_blocked.set(status.blocked.into());
        self.hearing(status.hearing);
    }

    /// There is no RabbitMQ to be joined to.
    pub fn embedded(&self) {
        self.table.amqp_up.clear();
        self.hearing(true);
    }

    /// Counts the time up to now in which RabbitMQ took no messages. `blocked`: it takes none now.
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

    pub fn canary_round_trip(&self, took: Duration) {
        self.table.canary_round_trip.observe(took.as_secs_f64());
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

    pub fn phase(&self, present: Phase) {
        for phase in Phase::ALL {
            self.table.phase.at(*phase).set((*phase == present).into());
        }
    }

    /// A message of another program was read.
    pub fn foreign(&self) {
        self.table.foreign.inc();
    }

    /// A message waits to be confirmed, and takes so much of the buffer.
    pub fn submitted(&self, bytes: usize) {
        self.table.unconfirmed.inc();
        self.table.publish_buffer.add(bytes as i64);
    }

    /// It waits no longer.
    pub fn settled(&self, bytes: usize) {
        self.table.unconfirmed.dec();
        self.table.publish_buffer.sub(bytes as i64);
    }

    /// So long after it was accepted, a message was confirmed.
    pub fn confirmed(&self, took: Duration) {
        self.table.confirm_latency.observe(took.as_secs_f64());
    }
}
