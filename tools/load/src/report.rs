//! The report, as text and as JSON.

use crate::latency::Percentiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The share of a core above which the load measures itself.
const SATURATED: f64 = 0.9;

/// The results of a run. docs/performance.md describes each field.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether messages were confirmed, and all of them delivered to all clients.
    pub(crate) passed: bool,
    pub(crate) connections: Connections,
    pub(crate) messages: Messages,
    pub(crate) deliveries: Deliveries,
    /// `None` if nothing was delivered.
    pub(crate) latency: Option<Percentiles>,
    pub(crate) load: Load,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Connections {
    pub(crate) accepted: u64,
    /// Time to open them, in seconds.
    pub(crate) seconds: f64,
    /// Accepted connections by the name of their replica.
    pub(crate) replicas: BTreeMap<String, u64>,
    /// Connections that were not accepted, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Connections that the server ended or that broke, by close code; 1006 without one.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// `gap` frames received.
    pub(crate) gaps: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Messages {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    /// By error code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Sent, and neither confirmed nor refused.
    pub(crate) unanswered: u64,
    /// Due and not sent, because the server read no more from the publishers.
    pub(crate) held_back: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Deliveries {
    /// Confirmed messages times clients.
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    /// Deliveries a second while messages were published.
    pub(crate) per_second: f64,
    /// Expected and not delivered.
    pub(crate) lost: u64,
    /// Those of `lost` to clients whose connection had ended.
    pub(crate) lost_to_closed: u64,
    pub(crate) duplicated: u64,
    /// Delivered after a message that the same publisher sent later.
    pub(crate) out_of_order: u64,
}

/// The CPU use of the load itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Load {
    /// Time in which messages were published, in seconds.
    pub(crate) seconds: f64,
    /// The share of a core used in that time.
    pub(crate) busy: f64,
    /// The share of a core used in the busiest second.
    pub(crate) busiest: f64,
    pub(crate) saturated: bool,
}

impl Load {
    pub(crate) fn new(seconds: f64, busy: f64, busiest: f64) -> Self {
        Self { seconds, busy, busiest, saturated: busy.max(busiest) > SATURATED }
    }
}

impl Report {
    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, messages, deliveries, load, .. } = self;
        let refused = sum(&connections.refused);
        writeln!(
            f,
            "connections   {} accepted in {:.1} s, {refused} refused, {} closed, {} gaps",
            connections.accepted,
            connections.seconds,
            sum(&connections.closed),
            connections.gaps
        )?;
        list(f, "on", &connections.replicas)?;
        list(f, "refused:", &connections.refused)?;
        list(f, "closed:", &connections.closed)?;
        writeln!(
            f,
            "messages      {} sent, {} confirmed, {} refused, {} unanswered, {} held back",
            messages.sent,
            messages.confirmed,
            sum(&messages.refused),
            messages.unanswered,
            messages.held_back
        )?;
        list(f, "refused:", &messages.refused)?;
        writeln!(
            f,
            "deliveries    {} of {} expected, {:.0}/s",
            deliveries.delivered, deliveries.expected, deliveries.per_second
        )?;
        let closed = match deliveries.lost_to_closed {
            0 => String::new(),
            closed => format!(", of these {closed} to closed connections"),
        };
        writeln!(f, "lost          {}{closed}", deliveries.lost)?;
        writeln!(f, "duplicated    {}", deliveries.duplicated)?;
        writeln!(f, "out of order  {}", deliveries.out_of_order)?;
        if let Some(Percentiles { p50, p90, p99, max }) = self.latency {
            writeln!(
                f,
                "latency       p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"
            )?;
        }
        write!(
            f,
            "load          {:.0} % of its core, {:.0} % in the busiest second",
            100.0 * load.busy,
            100.0 * load.busiest
        )?;
        if load.saturated {
            write!(
                f,
                "\nIts core was full: rates and latencies are those of the load, not of the servers. Use \
                 fewer clients or a lower rate, or several loads on other cores."
            )?;
        }
        Ok(())
    }
}

fn sum<K>(counts: &BTreeMap<K, u64>) -> u64 {
    counts.values().sum()
}

/// Writes one line for each count.
fn list<K: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counts: &BTreeMap<K, u64>,
) -> fmt::Result {
    for (name, count) in counts {
        writeln!(f, "              {title} {name}: {count}")?;
    }
    Ok(())
}
