//! The naming rules of docs/metrics.md that a declaration alone can break.

use super::declare::{Declaration, Kind};
use super::table::SECTIONS;
use std::collections::HashSet;

/// Words of units that are not base units.
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

fn violations(metric: &Declaration) -> Vec<&'static str> {
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
        ("a histogram measures seconds", *kind != Kind::Histogram || *unit == "seconds"),
        ("the unit ends the name", !measure || stem.ends_with(&format!("_{unit}"))),
        ("only seconds and bytes are units in a name", measure || !suffix),
        ("base units", !words.iter().any(|word| NOT_BASE.contains(word))),
        ("a name contains a label only if it is the whole name", {
            let all = |label: &&str| words.as_slice() == ["warren", *label];
            labels.iter().filter(|label| !all(label)).all(|label| !words.contains(label))
        }),
        (
            "names of labels are letters",
            labels
                .iter()
                .all(|label| label.chars().all(|c| c.is_ascii_lowercase()) && *label != "le"),
        ),
        ("values are unique", {
            let values = metric.labels.values();
            values.iter().filter_map(|it| it.last()).collect::<HashSet<_>>().len() == values.len()
        }),
        ("a label has few values", metric.labels.values().len() <= 32),
        ("the help text is sentences", help.ends_with('.') && help.len() > 7),
    ]
    .into_iter()
    .filter_map(|(rule, kept)| (!kept).then_some(rule))
    .collect()
}

#[test]
fn declarations_follow_the_rules() {
    let metrics: Vec<_> = SECTIONS.iter().flat_map(|section| section.metrics).collect();
    for metric in &metrics {
        let violations = violations(metric);
        assert!(violations.is_empty(), "{}: {violations:?}", metric.name);
    }
    let names: HashSet<_> = metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics.len(), "a name is declared once");
}

#[test]
fn violations_are_found() {
    use super::declare::Labels;
    let violations_of = |name, kind, unit, help, labels| {
        violations(&Declaration { field: "it", name, help, kind, unit, labels, alerts: &[] })
    };
    let rules_of = |name, kind, unit| violations_of(name, kind, unit, "It is so.", Labels::NONE);
    assert!(rules_of("warren_it_seconds", Kind::Histogram, "seconds").is_empty());
    assert!(rules_of("warren_it_seconds_total", Kind::Counter, "seconds").is_empty());
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
        assert_ne!(rules_of(name, kind, unit), [""; 0], "{name}");
    }
    let one = Labels { names: &["worker"], values: || vec![vec!["a"], vec!["a"]] };
    assert_eq!(violations_of("warren_worker_tasks", Kind::Gauge, "its", "Help", one).len(), 3);
}
