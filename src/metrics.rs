//! Every metric, registered on one registry and passed down; no globals.
//!
//! Names begin with `warren_`, carry their unit, and counters end in `_total`. Label sets are bounded:
//! their values come from this program, never from a client or a message.

use crate::broker::Status;
use crate::wire::{CLOSES, Close};
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: IntGauge,
    opened: IntCounter,
    closed: IntCounterVec,
    refused: IntCounterVec,
    received: IntCounterVec,
    rejected: IntCounterVec,
    published: IntCounterVec,
    consumed: IntCounter,
    malformed: IntCounterVec,
    duplicates: IntCounter,
    gaps: IntCounter,
    resumes: IntCounterVec,
    log_readers: IntGauge,
    log_stretches: IntCounter,
    deliveries: IntCounter,
    delivered_bytes: IntCounter,
    writes: IntCounter,
    channels: IntGauge,
    amqp_up: IntGaugeVec,
    amqp_blocked: IntGauge,
    amqp_reconnects: IntCounterVec,
    hearing: IntGauge,
    canary_misses: IntCounter,
    deaf: IntCounter,
    canary_round_trip: Histogram,
    replicas: IntGauge,
    ready: IntGauge,
    max_connections: Gauge,
}

/// Registers what is declared. A name that is declared twice is a mistake of the program, found by
/// the first test that builds the metrics.
struct Declare<'a>(&'a Registry);

impl Declare<'_> {
    #[expect(clippy::expect_used, reason = "any test that starts finds it")]
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let collector = made.expect("a metric is declared as Prometheus wants it");
        self.0.register(Box::new(collector.clone())).expect("a metric is declared once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Declares everything, with the series that are known beforehand at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let declare = Declare(&registry);
        let info = declare.register(IntGauge::with_opts(
            Opts::new("warren_build_info", "Always 1; its labels tell what runs.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        ));
        info.set(1);
        let metrics = Self {
            connections: declare.gauge("warren_connections", "WebSockets that are open."),
            opened: declare.counter("warren_connections_opened_total", "WebSockets that were opened."),
            closed: declare.counters("warren_connections_closed_total",
                "WebSockets that ended, by the reason in the table of close codes; 'gone' without any.", "reason"),
            refused: declare.counters("warren_handshakes_refused_total",
                "Handshakes that were answered with an error.", "cause"),
            received: declare.counters("warren_messages_received_total",
                "Messages from clients that were accepted for publishing.", "transport"),
            rejected: declare.counters("warren_messages_rejected_total",
                "Messages from clients that were not accepted.", "cause"),
            published: declare.counters("warren_messages_published_total",
                "Messages by what became of them; a rise of anything but 'confirmed' means that senders got errors.", "outcome"),
            consumed: declare.counter("warren_messages_consumed_total", "Messages read from RabbitMQ, canaries included."),
            malformed: declare.counters("warren_messages_malformed_total",
                "Messages on the exchange that could not be delivered; another program sends them.", "reason"),
            gaps: declare.counter("warren_gaps_total",
                "Times that messages may have been missed while not reading from RabbitMQ."),
            duplicates: declare.counter("warren_duplicates_total",
                "Second copies of messages that were not delivered: senders or replicas had tried again."),
            resumes: declare.counters("warren_resumes_total",
                "Clients that came back with the id of a message: what followed was read from 'memory' or from the 'log'; anything else is why it could not be.", "outcome"),
            log_readers: declare.gauge("warren_log_readers", "Consumers that read the log again, for clients that come back."),
            log_stretches: declare.counter("warren_log_stretches_total", "Stretches that were read from the log again."),
            deliveries: declare.counter("warren_deliveries_total", "Messages written to clients."),
            delivered_bytes: declare.counter("warren_delivered_bytes_total", "Bytes written to WebSockets."),
            writes: declare.counter("warren_writes_total",
                "Writes to WebSockets; deliveries divided by it tells how well messages share a write."),
            channels: declare.gauge("warren_channels", "Channels with listeners or recent messages, in the first worker."),
            amqp_up: declare.gauges("warren_amqp_up", "1 while the connection to RabbitMQ works.", "role"),
            amqp_blocked: declare.gauge("warren_amqp_blocked", "1 while RabbitMQ takes no messages because of an alarm of its own."),
            amqp_reconnects: declare.counters("warren_amqp_reconnects_total",
                "Connections to RabbitMQ that were lost or could not be made.", "role"),
            hearing: declare.gauge("warren_hearing", "1 while what this replica publishes comes back to it."),
            canary_misses: declare.counter("warren_canary_misses_total", "Canaries that had not come back when the next was due."),
            deaf: declare.counter("warren_deaf_total",
                "Times that three canaries in a row were missing and everything was rebuilt."),
            canary_round_trip: declare.register(Histogram::with_opts(HistogramOpts::new(
                "warren_canary_round_trip_seconds", "From the publish of a canary to its return.")
                .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]))),
            replicas: declare.gauge("warren_replicas", "Replicas on the roster, this one included."),
            ready: declare.gauge("warren_ready", "1 while the replica is ready for clients."),
            max_connections: declare.register(Gauge::new("warren_connections_limit", "WebSockets above which handshakes are refused.")),
            registry,
        };
        for row in CLOSES {
            metrics.closed.with_label_values(&[row.label]);
        }
        metrics.closed.with_label_values(&["gone"]);
        for role in ["publish", "consume"] {
            metrics.amqp_reconnects.with_label_values(&[role]);
        }
        metrics.published.with_label_values(&["confirmed"]);
        #[cfg(target_os = "linux")]
        let _ = metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        metrics
    }

    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory fails only for a family without series, which is then left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    pub fn connection_opened(&self) {
        self.connections.inc();
        self.opened.inc();
    }

    /// `None`: the client vanished without a word.
    pub fn connection_closed(&self, close: Option<Close>) {
        self.connections.dec();
        let reason = close.map_or("gone", |close| close.row().label);
        self.closed.with_label_values(&[reason]).inc();
    }

    pub fn handshake_refused(&self, cause: &'static str) {
        self.refused.with_label_values(&[cause]).inc();
    }

    pub fn received(&self, transport: &'static str) {
        self.received.with_label_values(&[transport]).inc();
    }

    pub fn rejected(&self, cause: &'static str) {
        self.rejected.with_label_values(&[cause]).inc();
    }

    pub fn published(&self, outcome: &'static str) {
        self.published.with_label_values(&[outcome]).inc();
    }

    pub fn consumed(&self) {
        self.consumed.inc();
    }

    pub fn malformed(&self, reason: &'static str) {
        self.malformed.with_label_values(&[reason]).inc();
    }

    pub fn duplicate(&self) {
        self.duplicates.inc();
    }

    pub fn resumed(&self, outcome: &'static str) {
        self.resumes.with_label_values(&[outcome]).inc();
    }

    pub fn log_readers(&self, change: i64) {
        self.log_readers.add(change);
    }

    pub fn log_stretch(&self) {
        self.log_stretches.inc();
    }

    pub fn gap(&self) {
        self.gaps.inc();
    }

    /// So many writes that took so many messages, and bytes in all.
    pub fn written(&self, writes: usize, messages: usize, bytes: usize) {
        self.writes.inc_by(writes as u64);
        self.deliveries.inc_by(messages as u64);
        self.delivered_bytes.inc_by(bytes as u64);
    }

    pub fn channels(&self, channels: usize) {
        self.channels.set(channels as i64);
    }

    pub fn broker_status(&self, status: &Status) {
        self.amqp_up.with_label_values(&["publish"]).set(status.publishing.into());
        self.amqp_up.with_label_values(&["consume"]).set(status.consuming.into());
        self.amqp_blocked.set(status.blocked.into());
        self.hearing(status.hearing);
    }

    pub fn hearing(&self, hearing: bool) {
        self.hearing.set(hearing.into());
    }

    pub fn amqp_reconnect(&self, role: &'static str) {
        self.amqp_reconnects.with_label_values(&[role]).inc();
    }

    pub fn canary_missed(&self) {
        self.canary_misses.inc();
    }

    pub fn deaf(&self) {
        self.deaf.inc();
    }

    pub fn canary_round_trip(&self, took: Duration) {
        self.canary_round_trip.observe(took.as_secs_f64());
    }

    pub fn replicas(&self, replicas: usize) {
        self.replicas.set(replicas as i64);
    }

    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    pub fn connections_limit(&self, limit: usize) {
        self.max_connections.set(limit as f64);
    }
}
