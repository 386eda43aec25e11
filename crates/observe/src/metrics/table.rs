//! The one declaration of every metric: name, unit, labels, and the alerts that use it. The comment is the
//! help text; it says what an increase means.

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
    "Replica" {
        /// Always 1. Its label is the version.
        build_info: GaugeVec<Version> = "warren_build_info", "always 1", [];
        /// 1 while the replica is ready for clients. At 0 load balancers send it no new clients.
        ready: Gauge = "warren_ready", "0 or 1", [];
        /// 1 for the current phase of the replica. A replica that stays in draining or closed for longer
        /// than the sum of its periods has clients or unconfirmed messages left.
        phase: GaugeVec<Phase> = "warren_phase", "0 or 1", [WarrenDrainStuck];
        /// Replicas on the roster, this one included. If fewer than the running replicas, some do not
        /// receive each other's control messages.
        replicas: Gauge = "warren_replicas", "replicas", [];
    }
    "Connections" {
        /// Open connections of clients.
        connections: GaugeVec<Transport> = "warren_connections", "connections",
            [WarrenSlowClients, WarrenConnectionsNearLimit, WarrenReconnectStorm, WarrenUnevenConnections,
            WarrenDrainStuck];
        /// Number of connections at which handshakes are refused.
        connections_limit: Gauge = "warren_connections_limit", "connections",
            [WarrenConnectionsNearLimit];
        /// Connections that were opened. A rate far above normal means that connections are closed and
        /// clients reconnect.
        opened: CounterVec<Transport> = "warren_connections_opened_total", "connections",
            [WarrenReconnectStorm, WarrenUnevenConnections];
        /// Connections that ended, by close code and reason; gone without a close frame. An increase of
        /// too_slow means clients that do not read, of no_pong and gone a broken network.
        closed: CounterVec<ConnectionEnd> = "warren_connections_closed_total", "connections",
            [WarrenSlowClients, WarrenReconnectStorm];
        /// Handshakes that were answered with an error. An increase of too_many_connections means that
        /// more replicas are needed, of any other cause that a client is at fault.
        refused: CounterVec<HandshakeRefusal> = "warren_handshakes_refused_total", "handshakes", [];
        /// Clients that resumed after a message id: recovered from memory or from the log; any other
        /// outcome is the reason of a failure. An increase means many interruptions.
        resumes: CounterVec<ResumeOutcome> = "warren_resumes_total", "resumes", [];
    }
    "Publishing" {
        /// Messages from clients that were accepted for publishing.
        received: CounterVec<PublishTransport> = "warren_messages_received_total", "messages", [];
        /// Messages from clients that were answered with an error before any attempt to publish them. The
        /// sender is at fault, except for shutting_down, which is normal during an update.
        rejected: CounterVec<MessageRejection> = "warren_messages_rejected_total", "messages", [];
        /// Messages by the outcome of publishing. An increase of any outcome but confirmed means that
        /// senders got errors.
        published: CounterVec<PublishOutcome> = "warren_messages_published_total", "messages",
            [WarrenPublishFailures];
        /// Messages that RabbitMQ returned because nothing was bound to the exchange; they are published
        /// again. An increase means that another program deletes queues or bindings.
        returned: Counter = "warren_messages_returned_total", "messages", [];
        /// Accepted messages that are not yet confirmed or refused. An increase means that RabbitMQ is slow
        /// or unavailable.
        unconfirmed: Gauge = "warren_messages_unconfirmed", "messages", [];
        /// Size of the publish buffer, which holds the unconfirmed messages. At the limit senders get
        /// errors.
        publish_buffer: Gauge = "warren_publish_buffer_bytes", "bytes", [];
        /// Limit of the publish buffer, WARREN_PUBLISH_BUFFER.
        publish_buffer_limit: Gauge = "warren_publish_buffer_limit_bytes", "bytes", [];
        /// Time from the acceptance of a message to RabbitMQ's confirm. An increase means that RabbitMQ is
        /// slow and senders wait.
        confirm_latency: Histogram = "warren_publish_confirm_seconds", "seconds",
            [WarrenConfirmLatency];
    }
    "Delivery" {
        /// Messages read from RabbitMQ, canaries included. Constant on a deaf replica; rises fast on a
        /// replica that catches up.
        consumed: Counter = "warren_messages_consumed_total", "messages", [WarrenNoRabbitMQ];
        /// Messages read from RabbitMQ that another program published.
        foreign: Counter = "warren_messages_foreign_total", "messages", [];
        /// Messages on the exchange that cannot be delivered. An increase means that another program
        /// publishes messages of an invalid form.
        malformed: CounterVec<MalformedReason> = "warren_messages_malformed_total", "messages", [];
        /// Second copies of messages, which were not delivered. An increase means that publishers or
        /// replicas published again.
        duplicates: Counter = "warren_duplicates_total", "messages", [];
        /// Times that messages may be missing because the replica was not reading from RabbitMQ. Its
        /// clients were told.
        gaps: Counter = "warren_gaps_total", "gaps", [];
        /// Time from the date of a message to its broadcast to the workers. Includes the difference of the
        /// replicas' clocks. Only messages whose date has fractions of a second and is at most an hour
        /// off. An increase means that clients get messages late.
        broadcast_latency: Histogram = "warren_publish_to_broadcast_seconds", "seconds", [];
        /// Messages written to clients, once for each subscriber.
        deliveries: Counter = "warren_deliveries_total", "deliveries", [];
        /// Bytes written to clients.
        delivered_bytes: Counter = "warren_delivered_bytes_total", "bytes", [];
        /// Writes to clients. Deliveries divided by writes is the number of messages that share a write.
        writes: Counter = "warren_writes_total", "writes", [];
        /// Size of messages before compression. Each message counts once for all clients that take it
        /// compressed.
        compression_input: Counter = "warren_compression_input_bytes_total", "bytes", [];
        /// Size of the same messages after compression. Divided by the size before, it is the effect of
        /// compression.
        compression_output: Counter = "warren_compression_output_bytes_total", "bytes", [];
        /// Largest backlog of a client of this replica in the last second. At the limit its connection is
        /// closed.
        backlog: Gauge = "warren_client_backlog_max_bytes", "bytes", [];
        /// Limit of the backlog of a client, WARREN_CLIENT_BACKLOG.
        backlog_limit: Gauge = "warren_client_backlog_limit_bytes", "bytes", [];
        /// Clients whose backlog exceeds half of the limit, in the last second. An increase means that
        /// more is sent than their networks can carry.
        slow_clients: Gauge = "warren_slow_clients", "clients", [WarrenSlowClients];
    }
    "Memory and log" {
        /// Channels with subscriptions or recent messages, summed over the workers: a channel counts once
        /// for each worker that has it.
        channels: Gauge = "warren_channels", "channels", [];
        /// Subscriptions of all clients.
        subscriptions: Gauge = "warren_subscriptions", "subscriptions", [];
        /// Memory of the recent messages, which all workers share. The limit is WARREN_HISTORY_BYTES.
        history: Gauge = "warren_history_bytes", "bytes", [];
        /// Consumers that replay the log for clients that resume. Stays up if clients ask for more than the
        /// log can deliver.
        replay_consumers: Gauge = "warren_replay_consumers", "consumers", [];
        /// Pages that were replayed from the log. An increase means that clients were away for longer than
        /// the memory reaches back.
        replay_pages: Counter = "warren_replay_pages_total", "pages", [];
    }
    "RabbitMQ" {
        /// 1 while the session with RabbitMQ is established. At 0 the replica is unready. No series without
        /// RabbitMQ.
        amqp_up: GaugeVec<SessionRole> = "warren_amqp_up", "0 or 1",
            [WarrenReplicaDeaf, WarrenNoRabbitMQ, WarrenConfirmLatency];
        /// Connections that were lost or could not be established.
        amqp_reconnects: CounterVec<ConnectionRole> = "warren_amqp_reconnects_total", "attempts", [];
        /// 1 while RabbitMQ blocks publishers because of an alarm: low memory or disk.
        amqp_blocked: Gauge = "warren_amqp_blocked", "0 or 1", [];
        /// Time during which RabbitMQ blocked publishers.
        amqp_blocked_time: TimeCounter = "warren_amqp_blocked_seconds_total", "seconds",
            [WarrenReplicaDeaf, WarrenConfirmLatency, WarrenRabbitMQAlarm];
        /// 1 while this replica receives what it publishes. At 0 its clients receive nothing.
        hearing: Gauge = "warren_hearing", "0 or 1", [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// Times that two canaries in a row were missed, and the topology was rebuilt.
        deaf: Counter = "warren_deaf_total", "rebuilds", [WarrenReplicaDeaf, WarrenCanaryMisses];
        /// Time from the publish of a canary to its return: the latency of a message through RabbitMQ.
        canary_round_trip: Histogram = "warren_canary_round_trip_seconds", "seconds", [];
        /// Canaries that had not returned when the next one was due. An increase means delays of seconds.
        canary_misses: Counter = "warren_canary_misses_total", "canaries", [WarrenCanaryMisses];
    }
    "Log output" {
        /// Events of the log output that no other metric counts; docs/logs.md describes each.
        events: CounterVec<EventName> = "warren_events_total", "events", [];
    }
    "Threads" {
        /// Delay with which a thread runs a timer of 200 ms. An increase means that its CPU is overloaded.
        loop_lag: HistogramVec<Worker> = "warren_event_loop_lag_seconds", "seconds", [WarrenEventLoopLag];
        /// Time in which a thread was not idle. At 1 per second it is saturated.
        runtime_busy: TimeCounterVec<Worker> = "warren_runtime_busy_seconds_total", "seconds", [];
        /// Times that a thread became idle.
        runtime_parks: CounterVec<Worker> = "warren_runtime_parks_total", "parks", [];
        /// Tasks of a thread. Each connection is one.
        runtime_tasks: GaugeVec<Worker> = "warren_runtime_tasks", "tasks", [];
        /// Tasks that another thread woke and that have not run yet.
        runtime_queued: GaugeVec<Worker> = "warren_runtime_queued_tasks", "tasks", [];
    }
    "Traces" {
        /// Spans that the collector accepted.
        spans_exported: Counter = "warren_spans_exported_total", "spans", [];
        /// Spans that did not reach the collector. An increase of queue_full means that spans are created
        /// faster than the collector accepts them, of not_exported that the collector is unavailable,
        /// refuses spans, or had not accepted the last ones when the replica stopped.
        spans_dropped: CounterVec<SpanDropCause> = "warren_spans_dropped_total", "spans", [];
    }
    "Process" {
        /// CPU time used. At the limit of the container everything is slow.
        process_cpu: TimeCounter = "process_cpu_seconds_total", "seconds", [];
        /// Resident memory. At the limit of the container the replica is killed.
        process_resident: Gauge = "process_resident_memory_bytes", "bytes", [];
        /// Virtual memory.
        process_virtual: Gauge = "process_virtual_memory_bytes", "bytes", [];
        /// Open files. Each connection is one.
        process_fds: Gauge = "process_open_fds", "files", [];
        /// Limit of open files.
        process_max_fds: Gauge = "process_max_fds", "files", [];
        /// Threads.
        process_threads: Gauge = "process_threads", "threads", [];
        /// Start time, in seconds since 1970. A change means a restart.
        process_start: Gauge = "process_start_time_seconds", "seconds", [WarrenNoRabbitMQ];
    }
}
