//! Exports ended spans to the collector: a bounded queue, and a thread that empties it.
//!
//! Ending a span never waits. If the queue is full, the span is dropped and counted. Spans that cannot
//! be exported are dropped and counted as well, with a line once a minute at most. ADR 0018 says why this
//! is not the SDK's batch processor.

use super::TraceSettings;
use super::export_client::ExportClient;
use crate::events::{Event, SanitizedText};
use crate::reporter::Reporter;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use warren_client::http;

/// Time for the export of the last spans when the process stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the thread to end after that.
const FLUSH_SLACK: Duration = Duration::from_secs(1);
/// Interval at which the size of a batch is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Interval at which dropped spans are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The queue of ended spans for the thread that exports them.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<SpanData>,
    dropped_spans: Arc<DroppedSpans>,
    reporter: Arc<Reporter>,
}

impl Queue {
    pub(super) fn push(&self, span: SpanData) {
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.dropped_spans.add(),
            // The thread has ended: this span cannot be exported.
            Err(TrySendError::Closed(_)) => self.reporter.emit(Event::SpansAbandoned),
        }
    }
}

/// Spans that did not fit into the queue and are not yet reported. Code that ends a span is on the way of a
/// message, and writes no line.
#[derive(Debug, Default)]
struct DroppedSpans(AtomicU64);

impl DroppedSpans {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self, reporter: &Reporter) {
        let count = self.0.swap(0, Ordering::Relaxed);
        if count > 0 {
            reporter.emit_times(count, Event::SpansQueueFull);
        }
    }
}

/// Stops the thread.
#[derive(Debug)]
pub(super) struct Exporter {
    closing: watch::Sender<bool>,
    done: oneshot::Receiver<()>,
}

impl Exporter {
    /// Exports the queued spans, within [`FLUSH_TIMEOUT`].
    pub(super) async fn close(self) {
        self.closing.send_replace(true);
        let _ = timeout(FLUSH_TIMEOUT + FLUSH_SLACK, self.done).await;
    }
}

/// Starts the thread that exports spans.
pub(super) fn start(
    settings: &TraceSettings,
    resource: &Resource,
    reporter: &Arc<Reporter>,
) -> io::Result<(Arc<Queue>, Exporter)> {
    let client = http::client().timeout(settings.timeout).build().map_err(io::Error::other)?;
    let client = ExportClient::new(client);
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_endpoint(settings.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        // For all attempts together. The client limits each one.
        .with_timeout(settings.export_timeout)
        .with_headers(settings.headers.clone())
        .build()
        .map_err(io::Error::other)?;
    exporter.set_resource(resource);
    let (sender, queue) = mpsc::channel(settings.queue);
    let (closing, closed) = watch::channel(false);
    let (finished, done) = oneshot::channel();
    let dropped_spans = Arc::new(DroppedSpans::default());
    let task = ExportTask {
        queue,
        spans: Vec::new(),
        in_flight: 0,
        batch: settings.batch,
        delay: settings.delay,
        timeout: settings.export_timeout,
        exporter,
        client,
        reporter: reporter.clone(),
    };
    // A thread of its own, because encoding hundreds of spans would delay messages.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dropped = dropped_spans.clone();
    std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
        runtime.block_on(task.run(closed, &dropped));
        let _ = finished.send(());
        runtime.shutdown_background();
    })?;
    let queue = Queue { sender, dropped_spans, reporter: reporter.clone() };
    Ok((Arc::new(queue), Exporter { closing, done }))
}

struct ExportTask {
    queue: mpsc::Receiver<SpanData>,
    /// The next batch.
    spans: Vec<SpanData>,
    /// Spans that are being exported.
    in_flight: u64,
    batch: usize,
    delay: Duration,
    timeout: Duration,
    exporter: opentelemetry_otlp::SpanExporter,
    client: ExportClient,
    reporter: Arc<Reporter>,
}

impl ExportTask {
    /// Exports spans until the process stops, then the rest, and reports those that remain.
    async fn run(mut self, mut closing: watch::Receiver<bool>, dropped_spans: &DroppedSpans) {
        let reporter = self.reporter.clone();
        let reporting = async {
            loop {
                sleep(REPORT_INTERVAL).await;
                dropped_spans.report(&reporter);
            }
        };
        let mut ending = closing.clone();
        tokio::select! {
            () = self.work(&mut closing) => {}
            () = reporting => {}
            () = async {
                closed(&mut ending).await;
                sleep(FLUSH_TIMEOUT).await;
            } => {}
        }
        dropped_spans.report(&reporter);
        self.abandon();
    }

    /// Counts the spans that are not exported any more.
    fn abandon(&mut self) {
        self.queue.close();
        let mut left = self.in_flight + self.spans.len() as u64;
        while self.queue.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            self.reporter.emit_times(left, Event::SpansAbandoned);
        }
    }

    async fn work(&mut self, closing: &mut watch::Receiver<bool>) {
        self.export_batches(closing).await;
        loop {
            self.fill();
            if self.spans.is_empty() {
                return;
            }
            self.export().await;
        }
    }

    /// Exports batches when they are full, or when their first span has waited for the delay. Only the first
    /// span of a batch wakes this thread, because waking it costs more than the span. An export that runs
    /// when the process stops is completed.
    async fn export_batches(&mut self, closing: &mut watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = closed(closing) => return,
                count = self.queue.recv_many(&mut self.spans, self.batch) => if count == 0 {
                    return;
                }
            }
            let due = Instant::now() + self.delay;
            while self.spans.len() < self.batch && Instant::now() < due {
                tokio::select! {
                    () = closed(closing) => return,
                    () = sleep_until(due.min(Instant::now() + POLL_INTERVAL)) => self.fill(),
                }
            }
            if let Some(delay) = self.export().await {
                tokio::select! {
                    () = closed(closing) => return,
                    () = sleep(delay) => {}
                }
            }
        }
    }

    /// Adds queued spans to the batch until it is full.
    fn fill(&mut self) {
        while self.spans.len() < self.batch
            && let Ok(span) = self.queue.try_recv()
        {
            self.spans.push(span);
        }
    }

    /// Exports a batch. Returns the time until the collector accepts the next one.
    async fn export(&mut self) -> Option<Duration> {
        let spans = std::mem::replace(&mut self.spans, Vec::with_capacity(self.batch));
        self.in_flight = spans.len() as u64;
        let result = timeout(self.timeout, self.exporter.export(spans)).await;
        let count = std::mem::take(&mut self.in_flight);
        let report = self.client.take_report();
        let (lost, problem) = match result {
            Ok(Ok(())) => (report.refused.min(count), report.problem),
            Ok(Err(error)) if report.problem.is_empty() => (count, error.to_string()),
            Ok(Err(_)) => (count, report.problem),
            Err(_) => (count, "no answer in time".to_owned()),
        };
        self.reporter.spans_exported(count - lost);
        if lost > 0 {
            self.reporter
                .emit_times(lost, Event::SpansNotExported { problem: SanitizedText::of(problem) });
        }
        report.delay
    }
}

/// Waits until the process stops.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::Traces;
    use std::ffi::OsString;

    fn dropped(reporter: &Reporter, cause: &str) -> u64 {
        let series = format!("warren_spans_dropped_total{{cause=\"{cause}\"}} ");
        let text = String::from_utf8(reporter.render()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
        value.parse().unwrap()
    }

    /// An ended span.
    fn span() -> SpanData {
        let (sender, mut queue) = mpsc::channel(1);
        let reporter = Arc::new(Reporter::new());
        let queue_of = Queue { sender, dropped_spans: Arc::default(), reporter };
        drop(crate::traces::tracer::always(Arc::new(queue_of)).frame());
        queue.try_recv().unwrap()
    }

    #[test]
    fn full_queue_and_closed_queue_count_dropped_spans() {
        let (sender, receiver) = mpsc::channel(1);
        let reporter = Arc::new(Reporter::new());
        let dropped_spans = Arc::new(DroppedSpans::default());
        let queue =
            Queue { sender, dropped_spans: dropped_spans.clone(), reporter: reporter.clone() };
        (0..4).for_each(|_| queue.push(span()));
        assert_eq!(dropped(&reporter, "queue_full"), 0, "no line on the way of a message");
        dropped_spans.report(&reporter);
        dropped_spans.report(&reporter);
        assert_eq!(dropped(&reporter, "queue_full"), 3);
        drop(receiver);
        queue.push(span());
        assert_eq!((dropped(&reporter, "queue_full"), dropped(&reporter, "not_exported")), (3, 1));
    }

    #[tokio::test]
    async fn spans_left_at_shutdown_are_counted() {
        // It accepts connections and never responds.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ];
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let settings = TraceSettings::from_vars(vars).unwrap();
        let reporter = Arc::new(Reporter::new());
        let traces = Traces::start(settings.as_ref(), "replica", &reporter).unwrap();
        (0..3).for_each(|_| drop(traces.tracer.frame()));
        traces.close().await;
        assert_eq!(dropped(&reporter, "not_exported"), 3);
    }
}
