//! docs/logs.md, from the declarations.

use crate::events::{Declaration, SECTIONS, Series};
use crate::metrics;
use std::fmt::Write;

const HEAD: &str = "\
# Logs

<!-- Made from crates/observe/src/events/table.rs by `make docs`. -->

Every event is one line on standard error, as text or as a JSON object (`WARREN_LOG_FORMAT`), and one
rise of a counter, so that the two agree.

```text
{\"timestamp\":\"2026-01-02T03:04:05.678901Z\",\"level\":\"WARN\",\"message\":\"a message was not published\",\"event\":\"publish_failed\",\"count\":1,\"outcome\":\"publish_timeout\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}
2026-01-02T03:04:05.678901Z  WARN a message was not published event=\"publish_failed\" count=1 outcome=\"publish_timeout\" trace_id=0af7651916cd43dd8448eb211c80319c
```

- **`event`** is the name, and stays when the message is worded anew. A line without it is a library's.
- **Counters.** What another metric counts, it counts; the field with the name of its label says in which
  series. All else counts in `warren_events_total`, by `event`.
- **Bursts.** Where the table says `10 s` or `60 s`, the first is told at once, and then there is one line
  in that time at most, for each event and series. `count` says how many it stands for; the other fields
  are those of the last. What is left is told when it is due, and when the replica ends, so that the
  counts of all lines are what the counter rose by. Only a replica that is killed takes some with it.
- **`trace_id`** is of the [trace](tracing.md) that the message is in, recorded or not. A caller's own is
  shown even where no traces are exported. A message that is in none has none.
- **What is not in it**: what was said, names that clients choose (channels, origins, keys, ids), and
  secrets. Text of other programs, such as RabbitMQ's reasons, is cut at 1 KiB and cannot begin a line.
- **Levels.** INFO is usual, or a client's doing; WARN is worth a look; ERROR is for somebody to act on.
- **Less of it.** `WARREN_LOG=warn`, or without one event `WARREN_LOG=info,warren::client_closed=off`.
  What is not shown is counted all the same.
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
            let lines = event.quiet.map_or("each".to_owned(), |it| format!("{} s", it.as_secs()));
            let fields = event.fields.iter().map(|field| format!("`{field}`"));
            let (fields, counter) = (fields.collect::<Vec<_>>().join(", "), event.rise());
            let _ = writeln!(
                text,
                "| `{name}` | {level} | {lines} | {message} | {fields} | {counter} | {meaning} |"
            );
        }
    }
    text
}

impl Declaration {
    /// The metric that counts it.
    #[expect(clippy::expect_used, reason = "a row that names another field does not compile")]
    pub fn metric(&self) -> &'static metrics::Declaration {
        let field = self.counter.unwrap_or("events");
        let mut metrics = metrics::SECTIONS.iter().flat_map(|section| section.metrics);
        metrics.find(|metric| metric.field == field).expect("a row names a metric")
    }

    /// The counter, and which of its series, as the document has it.
    fn rise(&self) -> String {
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
