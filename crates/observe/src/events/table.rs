//! The one declaration of every event: name, level, how often there is a line, message, fields, and the
//! metric that counts it. The comment is its meaning for operators.

use super::declare::{
    Declaration, EACH, SELDOM, SUMMED, Section, Series, counter, declare_events, label, series,
};
#[cfg(test)]
use super::field::sample;
use super::field::{Field, SanitizedText, TraceField};
use super::rate_limiter::RateKey;
use crate::labels::{
    ConnectionEnd, ConnectionRole, HandshakeRefusal, Label, MalformedReason, MessageRejection,
    PublishOutcome, ResumeOutcome, SpanDropCause,
};
use crate::phase::Phase;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::Level;

/// Passes the table to another macro: one makes the events, and one counts them.
///
/// A row has the name of the variant, the value of the field `event`, the level, how often there is a
/// line, the message, the fields, and the metric that counts it. `own` stands for `warren_events_total`;
/// in brackets is the series, by the value of a field or a fixed one.
macro_rules! event_table {
    ($callback:ident) => {
        $callback! {
        "Start and shutdown" {
            /// The replica accepts clients at `address`, with the health checks and metrics at `admin`.
            Serving = "serving", INFO, EACH, "serving: open http://{address}",
                {address: SocketAddr, admin: SocketAddr, replica: SanitizedText, workers: usize, connections: usize, version: &'static str}, own;
            /// No RabbitMQ is configured. Fine for a trial; wrong for more than one replica.
            EmbeddedBroker = "embedded_broker", WARN, EACH,
                "embedded broker: messages reach the clients of this process only; set WARREN_AMQP_URL to join replicas through RabbitMQ", own;
            /// The nodes that are tried, and the exchange that the replicas share.
            Connecting = "connecting", INFO, EACH, "joining replicas through RabbitMQ", {nodes: SanitizedText, exchange: SanitizedText}, own;
            /// Spans are sent to this collector.
            ExportingTraces = "exporting_traces", INFO, EACH, "exporting traces", {to: SanitizedText, sampling: SanitizedText}, own;
            /// Raise the file limit, or set `WARREN_MAX_CONNECTIONS` to what it allows.
            ConnectionsLimited = "connections_limited", WARN, EACH,
                "WARREN_MAX_CONNECTIONS is more than the file limit allows; the file limit applies",
                {configured: usize, allowed: usize}, own;
            /// SIGTERM or SIGINT was received.
            ShutdownRequested = "shutdown_requested", INFO, EACH, "shutdown requested; a second signal exits at once", own;
            /// A phase of the shutdown began: `unready`, `draining`, `closed`.
            PhaseChanged = "phase_changed", INFO, EACH, "shutdown phase changed", {phase: Phase}, own;
            /// New clients wait until the end of the drain instead of connecting to another replica.
            ListenerCloseFailed = "listener_close_failed", WARN, EACH, "cannot close the listener early", {problem: SanitizedText}, own;
            /// Clients that did not finish in time, and are disconnected: RabbitMQ did not confirm their
            /// messages, or they do not read.
            DrainTimedOut = "drain_timed_out", WARN, EACH, "clients remain after the drain period", {connections: usize}, own;
            /// The last line of a complete shutdown.
            Stopped = "stopped", INFO, EACH, "stopped", own;
            /// A second signal was received before the shutdown was complete.
            ForcedExit = "forced_exit", WARN, EACH, "second signal: exiting at once", own;
            /// The last line of a replica that cannot continue; its exit code is 70.
            Failed = "failed", ERROR, EACH, "fatal error", {problem: SanitizedText}, own;
        }
        "Clients" {
            /// A handshake was answered with an error. `too_many_connections`: more replicas are needed.
            /// `shutting_down` is normal during an update. With any other cause the client is at fault.
            HandshakeRefused = "handshake_refused", INFO, SUMMED, "a handshake was refused", {cause: HandshakeRefusal}, refused[cause];
            /// The replica closed a connection. `too_slow`: the client does not read. `no_pong`: it vanished.
            /// `log_unreadable`, `replay_expired`: it could not get the messages that it missed. With any other
            /// reason the client is at fault.
            ClientClosed = "client_closed", INFO, SUMMED, "a client was closed", {reason: ConnectionEnd}, closed[reason];
            /// A client could not resume, and was told. `expired`: it was away for longer than messages are
            /// kept. `unknown`: its id is of another log. `malformed`: its id has no valid form. `live`: nothing
            /// is kept in this delivery mode.
            ResumeFailed = "resume_failed", INFO, SUMMED, "a client could not resume", {outcome: ResumeOutcome}, resumes[outcome];
            /// The log could not be read for a client that resumes. Its connection is closed, and it retries.
            LogUnreadable = "log_unreadable", WARN, SUMMED, "the log cannot be read for clients that resume", {problem: SanitizedText}, resumes[ResumeOutcome::Unreadable];
        }
        "Publishing" {
            /// A message was answered with an error before any attempt to publish it. The sender is at fault,
            /// except for `shutting_down`, which is normal during an update.
            MessageRejected = "message_rejected", INFO, SUMMED, "a message was rejected", {cause: MessageRejection, trace_id: TraceField}, rejected[cause];
            /// A message was not published, or not known to be; its sender was told. RabbitMQ is unavailable,
            /// slow or refuses it; `shutting_down` is normal at the end of a drain.
            PublishFailed = "publish_failed", WARN, SUMMED, "a message was not published", {outcome: PublishOutcome, trace_id: TraceField}, published[outcome];
            /// Nothing was bound to the exchange. The topology is declared again, and the message published
            /// again. Another program deletes queues or bindings.
            MessageReturned = "message_returned", WARN, SUMMED, "RabbitMQ returned a message", {trace_id: TraceField}, returned;
        }
        "Delivery" {
            /// Another program publishes messages of an invalid form. The trace may show which.
            MessageMalformed = "message_malformed", WARN, SUMMED, "a message on the exchange cannot be delivered", {reason: MalformedReason, trace_id: TraceField}, malformed[reason];
            /// Messages may be missing because this replica was not reading; its clients were told. With `log`:
            /// the log was deleted, or is too short. With `live`: logged for each connection, the first included.
            Gap = "gap", WARN, SUMMED, "messages may be missing; clients were told", gaps;
        }
        "RabbitMQ" {
            /// A connection is established.
            Connected = "connected", INFO, EACH, "connected to RabbitMQ", {role: ConnectionRole, node: SanitizedText}, own;
            /// A node did not accept a connection; the next one is tried. `replay` is for clients that resume.
            ConnectFailed = "connect_failed", WARN, SUMMED, "cannot connect to RabbitMQ", {role: ConnectionRole, problem: SanitizedText}, amqp_reconnects[role];
            /// A session for reading began.
            ConsumingStarted = "consuming_started", INFO, EACH, "reading from RabbitMQ", {exchange: SanitizedText}, own;
            /// The session for reading ended, and another one follows. Until then the replica is unready.
            ConsumingStopped = "consuming_stopped", WARN, EACH, "no longer reading from RabbitMQ", {problem: SanitizedText}, amqp_reconnects[ConnectionRole::Consume];
            /// A session for publishing began. Messages that were waiting are published.
            PublishingStarted = "publishing_started", INFO, EACH, "publishing to RabbitMQ", {exchange: SanitizedText}, own;
            /// The session for publishing ended, and another one follows. Until then messages wait.
            PublishingStopped = "publishing_stopped", WARN, EACH, "no longer publishing to RabbitMQ", {problem: SanitizedText}, amqp_reconnects[ConnectionRole::Publish];
            /// The log exists with other values of `WARREN_LOG_MAX_AGE` or `_BYTES`, which Warren cannot change.
            RetentionMismatch = "retention_mismatch", WARN, SUMMED, "the log keeps its present retention", {problem: SanitizedText}, own;
            /// RabbitMQ blocks publishers: low memory or disk.
            AlarmRaised = "alarm_raised", WARN, EACH, "RabbitMQ has an alarm and blocks publishers", {reason: SanitizedText}, own;
            /// The alarm ended.
            AlarmCleared = "alarm_cleared", INFO, EACH, "RabbitMQ accepts messages again", own;
            /// A canary had not returned when the next one was due: something takes seconds. After two in a
            /// row the replica is deaf.
            CanaryMissed = "canary_missed", WARN, SUMMED, "a canary did not return in time", canary_misses;
            /// Both sessions are established, but `missing` canaries in a row did not return.
            Deaf = "deaf", ERROR, EACH, "deaf: own messages do not return; rebuilding the topology", {missing: u32}, deaf;
            /// The replica receives what it publishes, and is ready.
            Hearing = "hearing", INFO, EACH, "hearing: own messages return", own;
        }
        "Traces" {
            /// Spans are created faster than they are exported. `count` is the number of spans.
            SpansQueueFull = "spans_queue_full", WARN, SELDOM, "spans were dropped because the queue is full", spans_dropped[SpanDropCause::QueueFull];
            /// The collector is unavailable, or refuses some or all spans. `count` is the number of spans.
            SpansNotExported = "spans_not_exported", WARN, SELDOM, "traces cannot be exported", {problem: SanitizedText}, spans_dropped[SpanDropCause::NotExported];
            /// The replica stopped with spans that the collector had not accepted in time. `count` is the number
            /// of spans.
            SpansAbandoned = "spans_abandoned", WARN, SELDOM, "the last spans were not exported in time", spans_dropped[SpanDropCause::NotExported];
        }
        }
    };
}
pub(crate) use event_table;

event_table!(declare_events);

impl Label for EventName {
    const NAMES: &'static [&'static str] = &["event"];
    /// The events that no other metric counts.
    const ALL: &'static [Self] = {
        const COUNT: usize = count();
        const OWN: [EventName; COUNT] = own();
        &OWN
    };

    fn value(self) -> &'static str {
        self.value()
    }
}

const fn count() -> usize {
    let (mut count, mut index) = (0, 0);
    while index < EventName::COUNTED.len() {
        count += EventName::COUNTED[index].1 as usize;
        index += 1;
    }
    count
}

const fn own<const COUNT: usize>() -> [EventName; COUNT] {
    let (mut own, mut count, mut index) = ([EventName::COUNTED[0].0; COUNT], 0, 0);
    while index < EventName::COUNTED.len() {
        if EventName::COUNTED[index].1 {
            own[count] = EventName::COUNTED[index].0;
            count += 1;
        }
        index += 1;
    }
    own
}
