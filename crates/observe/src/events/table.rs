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
        "Start and end" {
            /// Clients can connect; `connections` is how many. It may not be ready yet.
            Serving = "serving", INFO, EACH, "serving: open http://{address}",
                {address: SocketAddr, admin: SocketAddr, replica: SanitizedText, workers: usize, connections: usize, version: &'static str}, own;
            /// There is no RabbitMQ: fine to try it out, wrong for more than one replica.
            EmbeddedBroker = "embedded_broker", WARN, EACH,
                "embedded broker: messages reach the clients of this process only; set WARREN_AMQP_URL to join replicas through RabbitMQ", own;
            /// Which nodes are tried, and which exchange is shared.
            Connecting = "connecting", INFO, EACH, "joining replicas through RabbitMQ", {nodes: SanitizedText, exchange: SanitizedText}, own;
            /// Spans go to this collector.
            ExportingTraces = "exporting_traces", INFO, EACH, "exporting traces", {to: SanitizedText, sampling: SanitizedText}, own;
            /// Raise the file limit, or set `WARREN_MAX_CONNECTIONS` to what there is.
            ConnectionsLimited = "connections_limited", WARN, EACH,
                "WARREN_MAX_CONNECTIONS is more than the file limit allows; the lower counts",
                {configured: usize, allowed: usize}, own;
            /// SIGTERM or SIGINT has come.
            ShutdownRequested = "shutdown_requested", INFO, EACH, "stopping; a second signal ends it at once", own;
            /// A phase of the end began: `unready`, `draining`, `closed`.
            PhaseChanged = "phase_changed", INFO, EACH, "shutdown", {phase: Phase}, own;
            /// Newcomers wait until the end instead of going elsewhere.
            ListenerCloseFailed = "listener_close_failed", WARN, EACH, "cannot close the listener early", {problem: SanitizedText}, own;
            /// So many did not settle in time and are cut: RabbitMQ did not confirm what they sent, or they do
            /// not read.
            DrainTimedOut = "drain_timed_out", WARN, EACH, "clients remain after the drain period", {connections: usize}, own;
            /// The last line of an end in order.
            Stopped = "stopped", INFO, EACH, "done", own;
            /// A second signal came before that.
            ForcedExit = "forced_exit", WARN, EACH, "ended at once", own;
            /// The last line of one that cannot go on; the exit code is 70.
            Failed = "failed", ERROR, EACH, "cannot go on", {problem: SanitizedText}, own;
        }
        "Clients" {
            /// A handshake was answered with an error: `too_many_connections` asks for more replicas,
            /// `shutting_down` is usual in an update, all else is a client that does it wrong.
            HandshakeRefused = "handshake_refused", INFO, SUMMED, "a handshake was refused", {cause: HandshakeRefusal}, refused[cause];
            /// A client was closed because of what it did, or did not: `too_slow` does not read, `no_pong`
            /// vanished, `log_unreadable` and `replay_expired` could not get what they missed; all else is a client
            /// that does it wrong.
            ClientClosed = "client_closed", INFO, SUMMED, "a client was closed", {reason: ConnectionEnd}, closed[reason];
            /// A client came back and was told that what it missed is not known: `expired` was away for longer
            /// than is kept, `unknown` comes from another log, `malformed` sent no id of ours, and with `live`
            /// nothing is kept.
            ResumeFailed = "resume_failed", INFO, SUMMED, "a client could not go on where it was", {outcome: ResumeOutcome}, resumes[outcome];
            /// A client came back and the log could not be read for it. It is closed and tries again.
            LogUnreadable = "log_unreadable", WARN, SUMMED, "the log cannot be read for those who come back", {problem: SanitizedText}, resumes[ResumeOutcome::Unreadable];
        }
        "Messages in" {
            /// A message was answered with an error, and not even tried to publish: the sender's doing, but for
            /// `shutting_down`, which is usual in an update.
            MessageRejected = "message_rejected", INFO, SUMMED, "a message was rejected", {cause: MessageRejection, trace_id: TraceField}, rejected[cause];
            /// A message did not get out, or is not known to; its sender was told. RabbitMQ is away, slow or
            /// refuses; `shutting_down` is usual in the last moment of a drain.
            PublishFailed = "publish_failed", WARN, SUMMED, "a message was not published", {outcome: PublishOutcome, trace_id: TraceField}, published[outcome];
            /// Nothing was bound to the exchange. Everything is declared anew, and the message published again.
            /// Somebody deletes queues or bindings.
            MessageReturned = "message_returned", WARN, SUMMED, "RabbitMQ returned a message", {trace_id: TraceField}, returned;
        }
        "Messages out" {
            /// Another program publishes what is no message. Its trace may tell which.
            MessageMalformed = "message_malformed", WARN, SUMMED, "messages on the exchange that cannot be delivered", {reason: MalformedReason, trace_id: TraceField}, malformed[reason];
            /// Messages may have been missed while this replica was away; its clients were told. With `log` the
            /// log was deleted, or too short. With `live` it comes with each connection, the first one included.
            Gap = "gap", WARN, SUMMED, "messages may be missing; clients were told", gaps;
        }
        "RabbitMQ" {
            /// A connection stands.
            Connected = "connected", INFO, EACH, "connected to RabbitMQ", {role: ConnectionRole, node: SanitizedText}, own;
            /// A node does not take a connection; the next one is tried. `replay` is for clients that come back.
            ConnectFailed = "connect_failed", WARN, SUMMED, "cannot connect to RabbitMQ", {role: ConnectionRole, problem: SanitizedText}, amqp_reconnects[role];
            /// A session for reading begins.
            ConsumingStarted = "consuming_started", INFO, EACH, "reading from RabbitMQ", {exchange: SanitizedText}, own;
            /// It ended, and another follows. The replica is unready meanwhile.
            ConsumingStopped = "consuming_stopped", WARN, EACH, "no longer reading from RabbitMQ", {problem: SanitizedText}, amqp_reconnects[ConnectionRole::Consume];
            /// A session for publishing began. What waited is published.
            PublishingStarted = "publishing_started", INFO, EACH, "publishing to RabbitMQ", {exchange: SanitizedText}, own;
            /// It ended, and another follows. What is sent meanwhile waits.
            PublishingStopped = "publishing_stopped", WARN, EACH, "no longer publishing to RabbitMQ", {problem: SanitizedText}, amqp_reconnects[ConnectionRole::Publish];
            /// The log is there with another `WARREN_LOG_MAX_AGE` or `_BYTES`, which cannot be changed from here.
            RetentionMismatch = "retention_mismatch", WARN, SUMMED, "the log stays as it is", {problem: SanitizedText}, own;
            /// RabbitMQ is short of memory or of disk.
            AlarmRaised = "alarm_raised", WARN, EACH, "RabbitMQ has an alarm and takes no messages", {reason: SanitizedText}, own;
            /// No longer.
            AlarmCleared = "alarm_cleared", INFO, EACH, "RabbitMQ takes messages again", own;
            /// A canary had not come back when the next was due. Something takes seconds; after two in a row
            /// it is deaf.
            CanaryMissed = "canary_missed", WARN, SUMMED, "a canary did not come back in time", canary_misses;
            /// Both connections stand, and yet `missing` canaries in a row did not come back.
            Deaf = "deaf", ERROR, EACH, "deaf: own messages do not come back; rebuilding the topology", {missing: u32}, deaf;
            /// What this replica publishes comes back to it: it is ready.
            Hearing = "hearing", INFO, EACH, "hears its own messages", own;
        }
        "Traces" {
            /// Spans come faster than they are exported. `count` is of spans.
            SpansQueueFull = "spans_queue_full", WARN, SELDOM, "spans come faster than they are exported", spans_dropped[SpanDropCause::QueueFull];
            /// The collector is away or refuses them, all or some. `count` is of spans.
            SpansNotExported = "spans_not_exported", WARN, SELDOM, "traces cannot be exported", {problem: SanitizedText}, spans_dropped[SpanDropCause::NotExported];
            /// The replica ended with spans that the collector did not take in time. `count` is of spans.
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
