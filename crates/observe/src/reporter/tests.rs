//! Every event of the table: its line is as declared, and agrees with its counter.

use super::Reporter;
use crate::events::{Event, SECTIONS, SanitizedText, Series, TraceField};
use crate::labels::MessageRejection;
use crate::logging::subscriber;
use crate::metrics;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use warren_config::LogFormat;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are written during a call.
fn lines(format: LogFormat, emit: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = subscriber(format, "info", false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, emit);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

/// All counters of events that are not zero.
fn counted(reporter: &Reporter) -> BTreeMap<String, f64> {
    let counters = metrics::SECTIONS.iter().flat_map(|section| section.metrics);
    let counters: BTreeSet<_> =
        counters.filter(|it| it.kind == metrics::Kind::Counter).map(|it| it.name).collect();
    let text = String::from_utf8(reporter.render()).unwrap();
    let series = text.lines().filter_map(|line| line.rsplit_once(' '));
    let series = series.filter(|(series, _)| {
        let name = series.split('{').next().unwrap();
        name.starts_with("warren_") && counters.contains(name)
    });
    let values = series.map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
    values.filter(|(_, value)| *value > 0.0).collect()
}

#[test]
fn event_has_declared_line_and_counter() {
    for (declaration, event) in Event::samples() {
        let reporter = Reporter::new();
        let event_text = format!("{event:?}");
        let lines = lines(LogFormat::Json, || reporter.emit(event));
        let [line] = &lines[..] else { panic!("{event_text}: {lines:?}") };
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["event"], declaration.name);
        assert_eq!(line["level"], declaration.level.to_string());
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with(declaration.message.split('{').next().unwrap()), "{line}");
        let mut fields = declaration.fields.to_vec();
        fields.extend(["timestamp", "level", "event", "message"]);
        if declaration.quiet.is_some() {
            assert_eq!(line["count"], 1);
            fields.push("count");
        }
        let keys: BTreeSet<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, fields.into_iter().collect(), "{line}");

        // One series has increased, and the line identifies it.
        let counted: Vec<_> = counted(&reporter).into_iter().collect();
        let [(series, count)] = &counted[..] else { panic!("{event_text}: {counted:?}") };
        assert_eq!(*count, 1.0, "{series}");
        let metric = declaration.metric();
        assert!(series.starts_with(metric.name), "{series} for {event_text}");
        if let Some(label) = metric.labels.names.last() {
            let shown = declaration.fields.contains(label);
            let by_label = declaration.series == Some(Series::Field(label));
            assert!(!shown || by_label, "{event_text} shows another series");
            let value = match declaration.series {
                None => declaration.name,
                Some(Series::Value(value)) => value,
                Some(Series::Field(field)) => {
                    assert_eq!(field, *label, "a field is named as the label is");
                    line[field].as_str().unwrap()
                }
            };
            assert!(series.contains(&format!("{label}=\"{value}\"")), "{series} for {event_text}");
        }
    }
}

#[test]
fn burst_has_few_lines_with_the_counts_of_the_counter() {
    let reporter = Reporter::new();
    let emit = |cause| {
        reporter.emit(Event::MessageRejected { cause, trace_id: TraceField::of(None) });
    };
    let lines = lines(LogFormat::Json, || {
        for _ in 0..500 {
            emit(MessageRejection::RateLimited);
            emit(MessageRejection::TooLarge);
        }
        reporter.flush_log();
        reporter.flush_log();
    });
    assert_eq!(lines.len(), 4, "{lines:?}");
    let mut sums = BTreeMap::<_, f64>::new();
    for line in lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        let series = format!(
            "warren_messages_rejected_total{{cause=\"{}\"}}",
            line["cause"].as_str().unwrap()
        );
        *sums.entry(series).or_default() += line["count"].as_f64().unwrap();
    }
    assert_eq!(sums, counted(&reporter));
    assert!(sums.values().all(|sum| *sum == 500.0));
}

#[test]
fn text_cannot_forge_a_line() {
    let forged = "x\"\r\n2026-01-02T03:04:05Z ERROR done event=\"stopped\"\u{1b}[2J\u{9b}31m\u{2028}\0{}\
                  \",\"event\":\"stopped\"}\n{\"event\":\"stopped\"}";
    let emit = || {
        let reporter = Reporter::new();
        reporter.emit(Event::ConsumingStopped { problem: SanitizedText::of(forged) });
        reporter.emit(Event::AlarmRaised { reason: SanitizedText::of(forged) });
        reporter.emit(Event::LogUnreadable { problem: SanitizedText::of(forged.repeat(1000)) });
    };
    let text = lines(LogFormat::Text, emit);
    assert_eq!(text.len(), 3, "{text:?}");
    for line in &text {
        assert!(!line.contains(char::is_control) && line.len() < 3000, "{line:?}");
        // A quoted text cannot end the quotes.
        assert!(!line.contains(" event=\"stopped\""), "{line:?}");
    }
    let json = lines(LogFormat::Json, emit);
    assert_eq!(json.len(), 3, "{json:?}");
    for line in &json {
        assert!(!line.contains(char::is_control), "{line:?}");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["event"], "stopped");
    }
}

#[test]
fn event_names_are_unique_prefixes() {
    let declared = || SECTIONS.iter().flat_map(|section| section.events);
    for event in declared() {
        let letters = event.name.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_');
        assert!(letters && !event.name.is_empty(), "{}", event.name);
        assert!(event.meaning.ends_with('.') && event.meaning.len() > 7, "{}", event.name);
        // A filter for an event also applies to events whose name begins with it.
        let like: Vec<_> = declared().filter(|it| it.name.starts_with(event.name)).collect();
        assert_eq!(like.len(), 1, "{like:?}");
    }
}
