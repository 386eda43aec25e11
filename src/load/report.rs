//! What came of it, as text and as JSON.

use super::latency::Percentiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Above this share of a core, what the load measures is the load itself.
const SATURATED: f64 = 0.9;

/// See docs/performance.md for what each of these means.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether something was published and confirmed, and all of it reached everyone.
    pub passed: bool,
    pub connections: Connections,
    pub messages: Messages,
    pub deliveries: Deliveries,
    /// In milliseconds. None if nothing was delivered.
    pub latency: Option<Percentiles>,
    pub load: Load,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Connections {
    pub accepted: u64,
    /// How long it took to open them, in seconds.
    pub seconds: f64,
    /// Of those accepted, by name of the replica.
    pub replicas: BTreeMap<String, u64>,
    /// Those that were not accepted, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Those that ended by themselves, by close code; 1006 without one.
    pub closed: BTreeMap<u16, u64>,
    /// `gap` frames that came.
    pub gaps: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Messages {
    pub sent: u64,
    pub confirmed: u64,
    /// By error code.
    pub refused: BTreeMap<String, u64>,
    /// Neither confirmed nor refused.
    pub unanswered: u64,
    /// Not sent, although it was time: the server took no more from the publishers.
    pub held_back: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Deliveries {
    /// Confirmed messages, to each client.
    pub expected: u64,
    pub delivered: u64,
    /// How many there were in a second while messages were published.
    pub per_second: f64,
    /// Expected, and not delivered.
    pub lost: u64,
    /// Of those lost, to clients whose connection had ended.
    pub lost_to_closed: u64,
    pub duplicated: u64,
    /// After a message that the same publisher sent later.
    pub out_of_order: u64,
}

/// The process that makes the load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Load {
    /// How long messages were published, in seconds.
    pub seconds: f64,
    /// The share of a core that it used meanwhile.
    pub busy: f64,
    /// The same in the busiest second.
    pub busiest: f64,
    pub saturated: bool,
}

impl Load {
    pub(super) fn new(seconds: f64, busy: f64, busiest: f64) -> Self {
        Self { seconds, busy, busiest, saturated: busy.max(busiest) > SATURATED }
    }
}

impl Report {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
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

/// One line for each, if there is any.
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
