//! The one declaration of every metric: name, unit, labels with their values, and the alerts that read
//! it. The comment is the help text; it says what a rise means.

use super::declare::{Declaration, Labels, Section, metrics};
use super::handle::{
    Count, Counts, Handle, Latencies, Latency, Level, Levels, Seconds, SecondsEach, declare,
};
use crate::events;
use Labels::{None, One, Two, Worker};
use prometheus::Registry;
use warren_protocol::websocket::CLOSE_LABELS;

const VERSION: Labels = One("version", &[env!("CARGO_PKG_VERSION")]);
const PHASE: Labels = One("phase", &["running", "unready", "draining", "closed"]);
const SERVED: Labels = One("transport", &["websocket", "events"]);
const SENT: Labels = One("transport", &["websocket", "http"]);
const CLOSE: Labels = Two(["code", "reason"], CLOSE_LABELS);
const REFUSED: Labels = One(
    "cause",
    &["bad_request", "no_websocket", "origin_not_allowed", "shutting_down", "too_many_connections"],
);
const REJECTED: Labels = One(
    "cause",
    &[
        "bad_request",
        "origin_not_allowed",
        "rate_limited",
        "shutting_down",
        "timed_out",
        "too_large",
    ],
);
const OUTCOME: Labels = One(
    "outcome",
    &["confirmed", "publish_timeout", "publish_refused", "buffer_full", "shutting_down"],
);
const MALFORMED: Labels =
    One("reason", &["not_utf8", "too_large", "bad_channel", "control", "unreadable"]);
const RESUMED: Labels =
    One("outcome", &["memory", "log", "expired", "unknown", "malformed", "live", "unreadable"]);
const EVENT: Labels = One("event", events::OWN);
const LOST: Labels = One("cause", &["queue_full", "not_exported"]);
const SIDE: Labels = One("role", &["publish", "consume"]);
const ROLE: Labels = One("role", &["publish", "consume", "replay"]);

metrics! {
    "The replica" {
        /// Always 1; its label tells what runs.
        build_info: Levels = "warren_build_info", "always 1", VERSION, [];
        /// 1 while the replica is ready for clients. At 0 load balancers send it nobody.
        ready: Level = "warren_ready", "0 or 1", None, [];
        /// 1 for the phase that the replica is in. One that stays in draining or closed for longer than
        /// its periods add up to does not get rid of its clients, or of what it promised them.
        phase: Levels = "warren_phase", "0 or 1", PHASE, [WarrenDrainStuck];
        /// Replicas on the roster, this one included. Fewer than run: some do not hear each other.
        replicas: Level = "warren_replicas", "replicas", None, [];
    }
    "Connections" {
        /// Clients that are connected.
        connections: Levels = "warren_connections", "connections", SERVED,
            [WarrenSlowClients, WarrenConnectionsNearLimit, WarrenReconnectStorm, WarrenUnevenConnections,
            WarrenDrainStuck];
        /// Connections above which handshakes are refused.
        connections_limit: Level = "warren_connections_limit", "connections", None,
            [WarrenConnectionsNearLimit];
        /// Connections that were opened. Far more than usual: something closes them, and they come back.
        opened: Counts = "warren_connections_opened_total", "connections", SERVED,
            [WarrenReconnectStorm, WarrenUnevenConnections];
        /// Connections that ended, by the table of close codes; 'gone' without a word. A rise of too_slow
        /// means clients that do not read, of no_pong and gone a network that breaks.
        closed: Counts = "warren_connections_closed_total", "connections", CLOSE,
            [WarrenSlowClients, WarrenReconnectStorm];
        /// Handshakes that were answered with an error. A rise of too_many_connections means that
        /// replicas are to be added, of the others that a client does it wrong.
        refused: Counts = "warren_handshakes_refused_total", "handshakes", REFUSED, [];
        /// Clients that came back with the id of a message: what followed was read from 'memory' or from
        /// the 'log'; anything else is why it could not be. A rise means many interruptions.
        resumes: Counts = "warren_resumes_total", "resumes", RESUMED, [];
    }
    "Messages in" {
        /// Messages from clients that were accepted for publishing.
        received: Counts = "warren_messages_received_total", "messages", SENT, [];
        /// Messages from clients that were not even tried to publish, and answered with an error. A rise is
        /// the senders' doing; of shutting_down it is usual in an update.
        rejected: Counts = "warren_messages_rejected_total", "messages", REJECTED, [];
        /// Messages by what became of them. A rise of anything but confirmed means that senders got errors.
        published: Counts = "warren_messages_published_total", "messages", OUTCOME,
            [WarrenPublishFailures];
        /// Messages that RabbitMQ returned, since nothing was bound to the exchange; they are published
        /// again. A rise means that somebody deletes queues or bindings.
        returned: Count = "warren_messages_returned_total", "messages", None, [];
        /// Messages that were accepted and are neither confirmed nor refused. A rise means that RabbitMQ
        /// does not keep up, or is away.
        unconfirmed: Level = "warren_messages_unconfirmed", "messages", None, [];
        /// What these take of the buffer. At its limit senders get errors.
        publish_buffer: Level = "warren_publish_buffer_bytes", "bytes", None, [];
        /// The most that it may hold, WARREN_PUBLISH_BUFFER.
        publish_buffer_limit: Level = "warren_publish_buffer_limit_bytes", "bytes", None, [];
        /// From the acceptance of a message to RabbitMQ's confirmation. A rise means that senders wait,
        /// and that RabbitMQ is slow.
        confirm_latency: Latency = "warren_publish_confirm_seconds", "seconds", None,
            [WarrenConfirmLatency];
    }
    "Messages out" {
        /// Messages read from RabbitMQ, canaries included. It stands still on a deaf replica, and rises
        /// fast on one that is behind.
        consumed: Count = "warren_messages_consumed_total", "messages", None, [WarrenNoRabbitMQ];
        /// Those of them that another program published.
        foreign: Count = "warren_messages_foreign_total", "messages", None, [];
        /// Messages on the exchange that could not be delivered. A rise means that another program sends
        /// what is none.
        malformed: Counts = "warren_messages_malformed_total", "messages", MALFORMED, [];
        /// Second copies of messages that were not delivered. A rise means that senders or replicas tried
        /// again.
        duplicates: Count = "warren_duplicates_total", "messages", None, [];
        /// Times that messages may have been missed while not reading from RabbitMQ. Clients were told.
        gaps: Count = "warren_gaps_total", "gaps", None, [];
        /// From the date of a message to the moment when it was handed to the workers, clocks of replicas
        /// included; of messages whose date has fractions of a second and is at most an hour off. A rise
        /// means that clients get messages late.
        broadcast_latency: Latency = "warren_publish_broadcast_seconds", "seconds", None, [];
        /// Messages written to clients: each counts once for each of its listeners.
        deliveries: Count = "warren_deliveries_total", "deliveries", None, [];
        /// Bytes written to clients.
        delivered_bytes: Count = "warren_delivered_bytes_total", "bytes", None, [];
        /// Writes to clients. Deliveries divided by it tells how well messages share a write.
        writes: Count = "warren_writes_total", "writes", None, [];
        /// Bytes of messages that were compressed, before: each once, for all clients that take it so.
        compression_input: Count = "warren_compression_input_bytes_total", "bytes", None, [];
        /// And after. The share that it is of them tells what compression is good for.
        compression_output: Count = "warren_compression_output_bytes_total", "bytes", None, [];
        /// Bytes that wait for the slowest client of this replica, as of the last second. At the limit it
        /// is closed.
        backlog: Level = "warren_client_backlog_max_bytes", "bytes", None, [];
        /// The most that may wait for a client, WARREN_CLIENT_BACKLOG.
        backlog_limit: Level = "warren_client_backlog_limit_bytes", "bytes", None, [];
        /// Clients for which more than half of the limit waits, as of the last second. A rise means that
        /// more is sent than their lines can take.
        slow_clients: Level = "warren_slow_clients", "clients", None, [WarrenSlowClients];
    }
    "Memory and log" {
        /// Channels with listeners or recent messages, summed over the workers: one that was heard of
        /// counts once for each.
        channels: Level = "warren_channels", "channels", None, [];
        /// Channels that clients listen to, summed over the clients.
        listeners: Level = "warren_listeners", "listeners", None, [];
        /// What the recent messages take in memory, for all workers. WARREN_HISTORY_BYTES is its limit.
        history: Level = "warren_history_bytes", "bytes", None, [];
        /// Consumers that read the log again, for clients that come back. It stays up when they want more
        /// than the log can give.
        log_readers: Level = "warren_log_readers", "consumers", None, [];
        /// Stretches that were read from the log again. A rise means that clients were away for longer
        /// than the memory reaches.
        log_stretches: Count = "warren_log_stretches_total", "stretches", None, [];
    }
    "RabbitMQ" {
        /// 1 while the connection works. At 0 the replica is unready. Without RabbitMQ there is none.
        amqp_up: Levels = "warren_amqp_up", "0 or 1", SIDE,
            [WarrenReplicaDeaf, WarrenNoRabbitMQ, WarrenConfirmLatency];
        /// Connections that were lost or could not be made.
        amqp_reconnects: Counts = "warren_amqp_reconnects_total", "attempts", ROLE, [];
        /// 1 while RabbitMQ takes no messages because of an alarm of its own: memory, or disk.
        amqp_blocked: Level = "warren_amqp_blocked", "0 or 1", None, [];
        /// How long it took none.
        amqp_blocked_time: Seconds = "warren_amqp_blocked_seconds_total", "seconds", None,
            [WarrenReplicaDeaf, WarrenConfirmLatency, WarrenRabbitMQAlarm];
        /// 1 while what this replica publishes comes back to it. At 0 its clients get nothing.
        hearing: Level = "warren_hearing", "0 or 1", None, [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// Times that two canaries in a row were missing and everything was rebuilt.
        deaf: Count = "warren_deaf_total", "rebuilds", None, [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// From the publish of a canary to its return: what a message takes through RabbitMQ.
        canary_round_trip: Latency = "warren_canary_round_trip_seconds", "seconds", None, [];
        /// Canaries that had not come back when the next was due. A rise means that something takes
        /// seconds.
        canary_misses: Count = "warren_canary_misses_total", "canaries", None, [WarrenCanaryMisses];
    }
    "Log" {
        /// Events of the log that no other metric counts; docs/logs.md says what each means.
        events: Counts = "warren_events_total", "events", EVENT, [];
    }
    "Threads" {
        /// How late a thread gets around to what is due, asked every 200 ms. A rise means that it has
        /// more to do than its CPU allows.
        loop_lag: Latencies = "warren_event_loop_lag_seconds", "seconds", Worker, [WarrenEventLoopLag];
        /// Time in which a thread was not waiting. At 1 a second it does nothing but work.
        runtime_busy: SecondsEach = "warren_runtime_busy_seconds_total", "seconds", Worker, [];
        /// Times that a thread had nothing to do.
        runtime_parks: Counts = "warren_runtime_parks_total", "parks", Worker, [];
        /// Tasks of a thread; every connection is one.
        runtime_tasks: Levels = "warren_runtime_tasks", "tasks", Worker, [];
        /// Tasks that another thread has woken and that have not had their turn.
        runtime_queued: Levels = "warren_runtime_queued_tasks", "tasks", Worker, [];
    }
    "Traces" {
        /// Spans that the collector has taken. Compare it with those that were dropped.
        spans_exported: Count = "warren_spans_exported_total", "spans", None, [];
        /// Spans that did not get to the collector. A rise of queue_full means that it is slower than the
        /// spans come, of not_exported that it is away, refuses them, or had not taken the last ones when
        /// the replica ended.
        spans_dropped: Counts = "warren_spans_dropped_total", "spans", LOST, [];
    }
    "The process" {
        /// CPU time that was used. At the limit of the container everything is late.
        process_cpu: Seconds = "process_cpu_seconds_total", "seconds", None, [];
        /// Memory that is resident. At the limit of the container the replica is killed.
        process_resident: Level = "process_resident_memory_bytes", "bytes", None, [];
        /// Memory that is mapped.
        process_virtual: Level = "process_virtual_memory_bytes", "bytes", None, [];
        /// Files that are open; every connection is one.
        process_fds: Level = "process_open_fds", "files", None, [];
        /// Files that may be open.
        process_max_fds: Level = "process_max_fds", "files", None, [];
        /// Threads.
        process_threads: Level = "process_threads", "threads", None, [];
        /// When it began, in seconds since 1970. A change means that it was restarted.
        process_start: Level = "process_start_time_seconds", "seconds", None, [WarrenNoRabbitMQ];
    }
}
