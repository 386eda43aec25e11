//! The law of docs/metrics.md, as far as a declaration alone can break it.

use super::declare::{Declaration, Kind};
use super::table::SECTIONS;
use std::collections::HashSet;

/// Words that would be in the name of a metric in other than base units.
const NOT_BASE: [&str; 12] = [
    "ms",
    "millis",
    "milliseconds",
    "micros",
    "minutes",
    "hours",
    "kb",
    "kib",
    "mb",
    "mib",
    "percent",
    "ratio",
];

fn breaches(metric: &Declaration) -> Vec<&'static str> {
    let Declaration { name, help, kind, unit, .. } = metric;
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let words: Vec<_> = name.split('_').collect();
    let process = name.starts_with("process_");
    let measure = ["seconds", "bytes"].contains(unit);
    let suffix = ["_seconds", "_bytes"].iter().any(|suffix| stem.ends_with(suffix));
    let labels = metric.labels.names;
    [
        ("the prefix is warren_", name.starts_with("warren_") || process),
        ("lower case", name.chars().all(|c| c.is_ascii_lowercase() || c == '_')),
        ("a counter ends in _total", (*kind == Kind::Counter) == name.ends_with("_total")),
        ("a histogram is of seconds", *kind != Kind::Histogram || *unit == "seconds"),
        ("the unit ends the name", !measure || stem.ends_with(&format!("_{unit}"))),
        ("only seconds and bytes are units in a name", measure || !suffix),
        ("base units", !words.iter().any(|word| NOT_BASE.contains(word))),
        ("a label stands in a name only if it is all of it", {
            let all = |label: &&str| words.as_slice() == ["warren", *label];
            labels.iter().filter(|label| !all(label)).all(|label| !words.contains(label))
        }),
        (
            "labels are named by letters",
            labels
                .iter()
                .all(|label| label.chars().all(|c| c.is_ascii_lowercase()) && *label != "le"),
        ),
        ("series differ", {
            let values = metric.labels.values();
            values.iter().filter_map(|it| it.last()).collect::<HashSet<_>>().len() == values.len()
        }),
        ("labels are few", metric.labels.values().len() <= 32),
        ("the help is sentences", help.ends_with('.') && help.len() > 7),
    ]
    .into_iter()
    .filter_map(|(rule, kept)| (!kept).then_some(rule))
    .collect()
}

#[test]
fn every_declaration_keeps_the_law() {
    let metrics: Vec<_> = SECTIONS.iter().flat_map(|section| section.metrics).collect();
    for metric in &metrics {
        let breaches = breaches(metric);
        assert!(breaches.is_empty(), "{}: {breaches:?}", metric.name);
    }
    let names: HashSet<_> = metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics.len(), "a name is declared once");
}

#[test]
fn the_law_is_one_that_can_be_broken() {
    use super::declare::Labels;
    let breaks = |name, kind, unit, help, labels| {
        breaches(&Declaration { field: "it", name, help, kind, unit, labels, alerts: &[] })
    };
    let fine = |name, kind, unit| breaks(name, kind, unit, "It is so.", Labels::NONE);
    assert!(fine("warren_it_seconds", Kind::Histogram, "seconds").is_empty());
    assert!(fine("warren_it_seconds_total", Kind::Counter, "seconds").is_empty());
    for (name, kind, unit) in [
        ("it_seconds", Kind::Histogram, "seconds"),
        ("warren_It", Kind::Gauge, "its"),
        ("warren_it", Kind::Counter, "its"),
        ("warren_it_total", Kind::Gauge, "its"),
        ("warren_it", Kind::Gauge, "bytes"),
        ("warren_it_bytes", Kind::Gauge, "its"),
        ("warren_it_ms", Kind::Gauge, "its"),
        ("warren_its", Kind::Histogram, "its"),
    ] {
        assert_ne!(fine(name, kind, unit), [""; 0], "{name}");
    }
    let one = Labels { names: &["worker"], values: || vec![vec!["a"], vec!["a"]] };
    assert_eq!(breaks("warren_worker_tasks", Kind::Gauge, "its", "Help", one).len(), 3);
}
