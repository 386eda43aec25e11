//! The documents that describe configuration, metrics and log output agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use warren_observe::{docs, events, metrics};

fn metrics() -> impl Iterator<Item = &'static metrics::Declaration> {
    metrics::SECTIONS.iter().flat_map(|section| section.metrics)
}

fn events() -> impl Iterator<Item = &'static events::Declaration> {
    events::SECTIONS.iter().flat_map(|section| section.events)
}

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The metrics in an expression, by their declared names.
fn metrics_of(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    words
        .filter(|word| word.starts_with("warren_") || word.starts_with("process_"))
        .map(|word| {
            ["_seconds_bucket", "_seconds_sum", "_seconds_count"]
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .map_or(word, |stem| &word[..stem.len() + "_seconds".len()])
        })
        .collect()
}

#[test]
fn configuration_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == warren_config::markdown(), "docs/configuration.md: run `make docs`");
}

#[test]
fn metrics_document_is_up_to_date() {
    assert!(document("metrics.md") == docs::metrics(), "docs/metrics.md: run `make docs`");
}

#[test]
fn runbook_has_exactly_the_alerts_that_read_metrics() {
    let operations = document("operations.md");
    let headings = operations.lines().filter_map(|line| line.strip_prefix("### Warren"));
    let runbook: BTreeSet<_> = headings.map(|name| format!("Warren{name}")).collect();
    let read = metrics().flat_map(|metric| metric.alerts).map(|alert| (*alert).to_owned());
    assert_eq!(read.collect::<BTreeSet<_>>(), runbook);
}

#[test]
fn alert_rules_read_exactly_their_declared_metrics() {
    let rules = document("../charts/warren/rules/warren.yaml");
    let mut read = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let (name, rest) = rule.split_once('\n').unwrap();
        let (expression, _) = rest.split_once("labels:").unwrap();
        read.insert(name, metrics_of(expression));
    }
    let mut declared_as = BTreeMap::<_, BTreeSet<_>>::new();
    for metric in metrics() {
        for alert in metric.alerts {
            declared_as.entry(*alert).or_default().insert(metric.name);
        }
    }
    assert_eq!(read, declared_as, "rules, and crates/observe/src/metrics/table.rs");
}

#[test]
fn documents_name_only_existing_metrics() {
    let names: BTreeSet<_> = metrics().map(|metric| metric.name).collect();
    for name in ["operations.md", "protocol.md", "../README.md"] {
        let text = document(name);
        let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        for word in words.filter(|word| word.starts_with("warren_")) {
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            // A prefix of several names, as in a pattern.
            let prefix = ["warren_", "warren_rabbitmq"].contains(&word);
            assert!(prefix || names.contains(stem.unwrap_or(word)), "{word} in {name}");
        }
    }
}

#[test]
fn logs_document_is_up_to_date() {
    assert!(document("logs.md") == docs::logs(), "docs/logs.md: run `make docs`");
}

#[test]
fn runbook_searches_only_for_existing_log_lines() {
    let text = document("operations.md");
    let mut patterns = 0;
    for command in text.lines().filter(|line| line.starts_with("kubectl logs")) {
        let Some((_, pattern)) = command.split_once("grep -E '") else { continue };
        for words in pattern.trim_end_matches('\'').split('|') {
            assert!(events().any(|event| event.message.contains(words)), "{words}: {command}");
            patterns += 1;
        }
    }
    assert!(patterns > 3);
}
