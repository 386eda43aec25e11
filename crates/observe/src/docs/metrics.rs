//! docs/metrics.md, from the declarations.

use crate::labels::{Label, Version};
use crate::metrics::{BUCKETS, Declaration, Labels, SECTIONS, WORKER};
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str = "\
# Metrics

<!-- Made from crates/observe/src/metrics/table.rs by `make docs`. -->

`GET /metrics` on the admin port, in Prometheus' text format. What to do when an alert fires is in
[operations.md](operations.md#runbook).

## The law

- A name begins with `warren_`. The usual `process_*` are the exception.
- Seconds and bytes are the only units of measure, and stand in the name. All else is counted, and the
  name says what.
- A counter ends in `_total`, and nothing else does. Rates and ratios are left to the query.
- The values of a label are listed here. None comes from a client, a message or another program, so
  that nobody outside can make series.
- Series that are known beforehand begin at 0: a rate sees the first rise.
- One fact is one metric: what can be added up is not counted a second time.
- The help text says what it is, and what a rise means where that is not plain.

Tests hold all of it: the names, this page, and that a scrape has what is declared and nothing else.
Counting takes no lock and no memory where messages are delivered: each worker has figures of its
own, which a scrape adds up.
";

/// The text of docs/metrics.md.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let buckets = BUCKETS.map(|bound| bound.to_string()).join(", ");
    let _ = write!(text, "\nHistograms have these buckets, in seconds: {buckets}.\n");
    for section in SECTIONS {
        let _ = write!(text, "\n## {}\n", section.title);
        text.push_str(
            "\n| metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
        );
        for metric in section.metrics {
            let Declaration { name, help, kind, unit, labels, .. } = metric;
            let (kind, labels) = (kind.name(), describe(labels));
            let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
        }
    }
    text.push_str("\n## Which alert reads what\n\n| alert | metrics |\n| --- | --- |\n");
    for (alert, names) in alerts() {
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let link = alert.to_lowercase();
        let _ = writeln!(text, "| [{alert}](operations.md#{link}) | {names} |");
    }
    text
}

/// Each alert, with the metrics that it reads.
fn alerts() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut alerts = BTreeMap::<_, Vec<_>>::new();
    for metric in SECTIONS.iter().flat_map(|section| section.metrics) {
        for alert in metric.alerts {
            alerts.entry(*alert).or_default().push(metric.name);
        }
    }
    alerts
}

fn describe(labels: &Labels) -> String {
    let quote = |values: &[&str]| {
        values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" ")
    };
    let names = labels.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match labels.names {
        [] => String::new(),
        // The version would change the document with every release.
        names if names == Version::NAMES => "`version`: of the program".to_owned(),
        [WORKER] => {
            "`worker`: `main`, which speaks to RabbitMQ, and `0`, `1`, … for each of `WARREN_WORKERS`"
                .to_owned()
        }
        _ => {
            let values = labels.values().iter().map(|values| quote(values)).collect::<Vec<_>>();
            format!("{names}: {}", values.join(", "))
        }
    }
}
