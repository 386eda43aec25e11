//! docs/metrics.md, from the declarations.

use crate::labels::{Label, Version};
use crate::metrics::{BUCKETS, Declaration, Labels, SECTIONS, WORKER};
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str = "\
# Metrics

<!-- Generated from crates/observe/src/metrics/table.rs by `make docs`. -->

`GET /metrics` on the admin port, in Prometheus' text format. [operations.md](operations.md#runbook)
describes what to do when an alert fires.

## Rules

- A name begins with `warren_`, except for the usual `process_*`.
- Seconds and bytes are the only units, and are part of the name. All other metrics count things, and
  the name says which.
- A counter ends in `_total`; no other metric does. Rates and ratios are computed by queries.
- The values of a label are listed here. None comes from a client, a message or another program, so
  that no outsider can create series.
- Declared series begin at 0, so that a rate includes the first increase.
- One fact is one metric: sums are computed by queries.
- The help text says what a metric is, and what an increase means unless that is obvious.

Tests verify these rules, this page, and that a scrape contains the declared metrics and no others.
Counting on the way of a message takes no lock and allocates no memory: each worker has its own
counters, which a scrape adds up.
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
    text.push_str("\n## Metrics of the alerts\n\n| alert | metrics |\n| --- | --- |\n");
    for (alert, names) in alerts() {
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let link = alert.to_lowercase();
        let _ = writeln!(text, "| [{alert}](operations.md#{link}) | {names} |");
    }
    text
}

/// Each alert with the metrics that it uses.
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
            "`worker`: `main`, which communicates with RabbitMQ, and `0`, `1`, … for each of `WARREN_WORKERS`"
                .to_owned()
        }
        _ => {
            let values = labels.values().iter().map(|values| quote(values)).collect::<Vec<_>>();
            format!("{names}: {}", values.join(", "))
        }
    }
}
