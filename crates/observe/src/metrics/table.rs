//! The one declaration of every metric: name, unit, labels, and the alerts that read it. The comment is
//! the help text; it says what a rise means.

use super::declare::{Declaration, Section, metrics};
use super::handle::{
    Counter, CounterVec, Gauge, GaugeVec, Handle, Histogram, HistogramVec, TimeCounter,
    TimeCounterVec, register,
};
use crate::events::EventName;
use crate::labels::{
    ConnectionEnd, ConnectionRole, HandshakeRefusal, MalformedReason, MessageRejection,
    PublishOutcome, PublishTransport, ResumeOutcome, SessionRole, SpanDropCause, Transport,
    Version, Worker,
};
use crate::phase::Phase;
use prometheus::Registry;

metrics! {
    "The replica" {
        /// Always 1; its label tells what runs.
        build_info: GaugeVec<Version> = "warren_build_info", "always 1", [];
        /// 1 while the replica is ready for clients. At 0 load balancers send it nobody.
        ready: Gauge = "warren_ready", "0 or 1", [];
        /// 1 for the phase that the replica is in. One that stays in draining or closed for longer than
        /// its periods add up to does not get rid of its clients, or of what it promised them.
        phase: GaugeVec<Phase> = "warren_phase", "0 or 1", [WarrenDrainStuck];
        /// Replicas on the roster, this one included. Fewer than run: some do not hear each other.
        replicas: Gauge = "warren_replicas", "replicas", [];
    }
    "Connections" {
        /// Clients that are connected.
        connections: GaugeVec<Transport> = "warren_connections", "connections",
            [WarrenSlowClients, WarrenConnectionsNearLimit, WarrenReconnectStorm, WarrenUnevenConnections,
            WarrenDrainStuck];
        /// Connections above which handshakes are refused.
        connections_limit: Gauge = "warren_connections_limit", "connections",
            [WarrenConnectionsNearLimit];
        /// Connections that were opened. Far more than usual: something closes them, and they come back.
        opened: CounterVec<Transport> = "warren_connections_opened_total", "connections",
            [WarrenReconnectStorm, WarrenUnevenConnections];
        /// Connections that ended, by the table of close codes; 'gone' without a word. A rise of too_slow
        /// means clients that do not read, of no_pong and gone a network that breaks.
        closed: CounterVec<ConnectionEnd> = "warren_connections_closed_total", "connections",
            [WarrenSlowClients, WarrenReconnectStorm];
        /// Handshakes that were answered with an error. A rise of too_many_connections means that
        /// replicas are to be added, of the others that a client does it wrong.
        refused: CounterVec<HandshakeRefusal> = "warren_handshakes_refused_total", "handshakes", [];
        /// Clients that came back with the id of a message: what followed was read from 'memory' or from
        /// the 'log'; anything else is why it could not be. A rise means many interruptions.
        resumes: CounterVec<ResumeOutcome> = "warren_resumes_total", "resumes", [];
    }
    "Messages in" {
        /// Messages from clients that were accepted for publishing.
        received: CounterVec<PublishTransport> = "warren_messages_received_total", "messages", [];
        /// Messages from clients that were not even tried to publish, and answered with an error. A rise is
        /// the senders' doing; of shutting_down it is usual in an update.
        rejected: CounterVec<MessageRejection> = "warren_messages_rejected_total", "messages", [];
        /// Messages by what became of them. A rise of anything but confirmed means that senders got errors.
        published: CounterVec<PublishOutcome> = "warren_messages_published_total", "messages",
            [WarrenPublishFailures];
        /// Messages that RabbitMQ returned, since nothing was bound to the exchange; they are published
        /// again. A rise means that somebody deletes queues or bindings.
        returned: Counter = "warren_messages_returned_total", "messages", [];
        /// Messages that were accepted and are neither confirmed nor refused. A rise means that RabbitMQ
        /// does not keep up, or is away.
        unconfirmed: Gauge = "warren_messages_unconfirmed", "messages", [];
        /// What these take of the buffer. At its limit senders get errors.
        publish_buffer: Gauge = "warren_publish_buffer_bytes", "bytes", [];
        /// The most that it may hold, WARREN_PUBLISH_BUFFER.
        publish_buffer_limit: Gauge = "warren_publish_buffer_limit_bytes", "bytes", [];
        /// From the acceptance of a message to RabbitMQ's confirmation. A rise means that senders wait,
        /// and that RabbitMQ is slow.
        confirm_latency: Histogram = "warren_publish_confirm_seconds", "seconds",
            [WarrenConfirmLatency];
    }
    "Messages out" {
        /// Messages read from RabbitMQ, canaries included. It stands still on a deaf replica, and rises
        /// fast on one that is behind.
        consumed: Counter = "warren_messages_consumed_total", "messages", [WarrenNoRabbitMQ];
        /// Those of them that another program published.
        foreign: Counter = "warren_messages_foreign_total", "messages", [];
        /// Messages on the exchange that could not be delivered. A rise means that another program sends
        /// what is none.
        malformed: CounterVec<MalformedReason> = "warren_messages_malformed_total", "messages", [];
        /// Second copies of messages that were not delivered. A rise means that senders or replicas tried
        /// again.
        duplicates: Counter = "warren_duplicates_total", "messages", [];
        /// Times that messages may have been missed while not reading from RabbitMQ. Clients were told.
        gaps: Counter = "warren_gaps_total", "gaps", [];
        /// From the date of a message to the moment when it was handed to the workers, clocks of replicas
        /// included; of messages whose date has fractions of a second and is at most an hour off. A rise
        /// means that clients get messages late.
        broadcast_latency: Histogram = "warren_publish_to_broadcast_seconds", "seconds", [];
        /// Messages written to clients: each counts once for each of its listeners.
        deliveries: Counter = "warren_deliveries_total", "deliveries", [];
        /// Bytes written to clients.
        delivered_bytes: Counter = "warren_delivered_bytes_total", "bytes", [];
        /// Writes to clients. Deliveries divided by it tells how well messages share a write.
        writes: Counter = "warren_writes_total", "writes", [];
        /// Bytes of messages that were compressed, before: each once, for all clients that take it so.
        compression_input: Counter = "warren_compression_input_bytes_total", "bytes", [];
        /// And after. The share that it is of them tells what compression is good for.
        compression_output: Counter = "warren_compression_output_bytes_total", "bytes", [];
        /// Bytes that wait for the slowest client of this replica, as of the last second. At the limit it
        /// is closed.
        backlog: Gauge = "warren_client_backlog_max_bytes", "bytes", [];
        /// The most that may wait for a client, WARREN_CLIENT_BACKLOG.
        backlog_limit: Gauge = "warren_client_backlog_limit_bytes", "bytes", [];
        /// Clients for which more than half of the limit waits, as of the last second. A rise means that
        /// more is sent than their lines can take.
        slow_clients: Gauge = "warren_slow_clients", "clients", [WarrenSlowClients];
    }
    "Memory and log" {
        /// Channels with listeners or recent messages, summed over the workers: one that was heard of
        /// counts once for each.
        channels: Gauge = "warren_channels", "channels", [];
        /// Channels that clients listen to, summed over the clients.
        subscriptions: Gauge = "warren_subscriptions", "listeners", [];
        /// What the recent messages take in memory, for all workers. WARREN_HISTORY_BYTES is its limit.
        history: Gauge = "warren_history_bytes", "bytes", [];
        /// Consumers that read the log again, for clients that come back. It stays up when they want more
        /// than the log can give.
        replay_consumers: Gauge = "warren_replay_consumers", "consumers", [];
        /// Stretches that were read from the log again. A rise means that clients were away for longer
        /// than the memory reaches.
        replay_pages: Counter = "warren_replay_pages_total", "pages", [];
    }
    "RabbitMQ" {
        /// 1 while the connection works. At 0 the replica is unready. Without RabbitMQ there is none.
        amqp_up: GaugeVec<SessionRole> = "warren_amqp_up", "0 or 1",
            [WarrenReplicaDeaf, WarrenNoRabbitMQ, WarrenConfirmLatency];
        /// Connections that were lost or could not be made.
        amqp_reconnects: CounterVec<ConnectionRole> = "warren_amqp_reconnects_total", "attempts", [];
        /// 1 while RabbitMQ takes no messages because of an alarm of its own: memory, or disk.
        amqp_blocked: Gauge = "warren_amqp_blocked", "0 or 1", [];
        /// How long it took none.
        amqp_blocked_time: TimeCounter = "warren_amqp_blocked_seconds_total", "seconds",
            [WarrenReplicaDeaf, WarrenConfirmLatency, WarrenRabbitMQAlarm];
        /// 1 while what this replica publishes comes back to it. At 0 its clients get nothing.
        hearing: Gauge = "warren_hearing", "0 or 1", [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// Times that two canaries in a row were missing and everything was rebuilt.
        deaf: Counter = "warren_deaf_total", "rebuilds", [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// From the publish of a canary to its return: what a message takes through RabbitMQ.
        canary_round_trip: Histogram = "warren_canary_round_trip_seconds", "seconds", [];
        /// Canaries that had not come back when the next was due. A rise means that something takes
        /// seconds.
        canary_misses: Counter = "warren_canary_misses_total", "canaries", [WarrenCanaryMisses];
    }
    "Log" {
        /// Events of the log that no other metric counts; docs/logs.md says what each means.
        events: CounterVec<EventName> = "warren_events_total", "events", [];
    }
    "Threads" {
        /// How late a thread gets around to what is due, asked every 200 ms. A rise means that it has
        /// more to do than its CPU allows.
        loop_lag: HistogramVec<Worker> = "warren_event_loop_lag_seconds", "seconds", [WarrenEventLoopLag];
        /// Time in which a thread was not waiting. At 1 a second it does nothing but work.
        runtime_busy: TimeCounterVec<Worker> = "warren_runtime_busy_seconds_total", "seconds", [];
        /// Times that a thread had nothing to do.
        runtime_parks: CounterVec<Worker> = "warren_runtime_parks_total", "parks", [];
        /// Tasks of a thread; every connection is one.
        runtime_tasks: GaugeVec<Worker> = "warren_runtime_tasks", "tasks", [];
        /// Tasks that another thread has woken and that have not had their turn.
        runtime_queued: GaugeVec<Worker> = "warren_runtime_queued_tasks", "tasks", [];
    }
    "Traces" {
        /// Spans that the collector has taken. Compare it with those that were dropped.
        spans_exported: Counter = "warren_spans_exported_total", "spans", [];
        /// Spans that did not get to the collector. A rise of queue_full means that it is slower than the
        /// spans come, of not_exported that it is away, refuses them, or had not taken the last ones when
        /// the replica ended.
        spans_dropped: CounterVec<SpanDropCause> = "warren_spans_dropped_total", "spans", [];
    }
    "The process" {
        /// CPU time that was used. At the limit of the container everything is late.
        process_cpu: TimeCounter = "process_cpu_seconds_total", "seconds", [];
        /// Memory that is resident. At the limit of the container the replica is killed.
        process_resident: Gauge = "process_resident_memory_bytes", "bytes", [];
        /// Memory that is mapped.
        process_virtual: Gauge = "process_virtual_memory_bytes", "bytes", [];
        /// Files that are open; every connection is one.
        process_fds: Gauge = "process_open_fds", "files", [];
        /// Files that may be open.
        process_max_fds: Gauge = "process_max_fds", "files", [];
        /// Threads.
        process_threads: Gauge = "process_threads", "threads", [];
        /// When it began, in seconds since 1970. A change means that it was restarted.
        process_start: Gauge = "process_start_time_seconds", "seconds", [WarrenNoRabbitMQ];
    }
}
