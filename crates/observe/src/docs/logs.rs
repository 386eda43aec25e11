//! docs/logs.md, from the declarations.

use crate::events::{Declaration, SECTIONS, Series};
use crate::metrics;
use std::fmt::Write;

const HEAD: &str = "\
# Logs

<!-- Generated from crates/observe/src/events/table.rs by `make docs`. -->

Each event has one line on standard error, as text or as a JSON object (`WARREN_LOG_FORMAT`), and one
increment of a counter, so that lines and counters agree.

```text
{\"timestamp\":\"2026-01-02T03:04:05.678901Z\",\"level\":\"WARN\",\"message\":\"a message was not published\",\"event\":\"publish_failed\",\"count\":1,\"outcome\":\"publish_timeout\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}
2026-01-02T03:04:05.678901Z  WARN a message was not published event=\"publish_failed\" count=1 outcome=\"publish_timeout\" trace_id=0af7651916cd43dd8448eb211c80319c
```

- **`event`** is the name of the event. It stays the same when the message changes. A line without it
  comes from a library.
- **Counters.** If another metric counts an event, the field with the name of its label identifies the
  series. All other events count in `warren_events_total`, by `event`.
- **Bursts.** Where the table says `10 s` or `60 s`, the first event has a line at once. Then there is
  at most one line in that time, for each event and series. `count` is the number of events that it stands
  for; its other fields are those of the last one. The rest of a burst has a line when that time is over,
  and when the replica stops. The counts of all lines add up to the increase of the counter, unless the
  replica is killed.
- **`trace_id`** is the id of the message's [trace](tracing.md), recorded or not. A caller's own id is
  shown even if no traces are exported. The field is missing if the message has no trace.
- **Not in the lines:** texts of messages, names that clients choose (channels, origins, keys, ids), and
  secrets. Text of other programs, such as RabbitMQ's reasons, is cut at 1 KiB and cannot begin a line.
- **Levels.** INFO: normal, or caused by a client. WARN: worth a look. ERROR: someone must act.
- **Fewer lines.** `WARREN_LOG=warn`, or all but one event: `WARREN_LOG=info,warren::client_closed=off`.
  Events that have no line are still counted.
";

/// The text of docs/logs.md.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(text, "\n## {}\n", section.title);
        text.push_str(
            "\n| event | level | lines | message | fields | counter | meaning |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for event in section.events {
            let Declaration { name, level, message, meaning, .. } = event;
            let lines =
                event.quiet.map_or("each".to_owned(), |quiet| format!("{} s", quiet.as_secs()));
            let fields = event.fields.iter().map(|field| format!("`{field}`"));
            let (fields, counter) = (fields.collect::<Vec<_>>().join(", "), event.increment());
            let _ = writeln!(
                text,
                "| `{name}` | {level} | {lines} | {message} | {fields} | {counter} | {meaning} |"
            );
        }
    }
    text
}

impl Declaration {
    /// The metric that counts the event.
    #[expect(clippy::expect_used, reason = "a row that names a missing metric does not compile")]
    pub fn metric(&self) -> &'static metrics::Declaration {
        let field = self.counter.unwrap_or("events");
        let mut metrics = metrics::SECTIONS.iter().flat_map(|section| section.metrics);
        metrics.find(|metric| metric.field == field).expect("each row names a metric")
    }

    /// The counter and its series, in the form of the document.
    fn increment(&self) -> String {
        let metric = self.metric();
        let name = metric.name;
        match self.series {
            Some(Series::Value(value)) => {
                let label = metric.labels.names.last().unwrap_or(&"");
                format!("`{name}{{{label}=\"{value}\"}}`")
            }
            Some(Series::Field(field)) => format!("`{name}` by `{field}`"),
            None => format!("`{name}`"),
        }
    }
}
