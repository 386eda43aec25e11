//! From ended spans to the collector: a bounded queue, and a thread of its own that empties it.
//!
//! Whoever ends a span never waits: when the queue is full, the span is dropped and counted. What
//! cannot be exported is dropped and counted, too, and told once a minute at most.

use super::TraceSettings;
use super::client::Client;
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

/// How long the last spans may take to be exported when the process ends.
const FLUSH: Duration = Duration::from_secs(2);
/// What the thread may take beyond that.
const SLACK: Duration = Duration::from_secs(1);
/// How often it is looked whether a batch is full.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is told what did not fit.
const TELL: Duration = Duration::from_secs(1);

/// The way of ended spans to the thread that exports them.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<SpanData>,
    crowded: Arc<Crowded>,
    reporter: Arc<Reporter>,
}

impl Queue {
    pub(super) fn push(&self, span: SpanData) {
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.crowded.add(),
            // The thread has ended: nobody delivers any more.
            Err(TrySendError::Closed(_)) => self.reporter.emit(Event::SpansAbandoned),
        }
    }
}

/// How many did not fit, until that is told: whoever ends a span is on the way of a message, and
/// writes no line.
#[derive(Debug, Default)]
struct Crowded(AtomicU64);

impl Crowded {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn emit(&self, reporter: &Reporter) {
        let count = self.0.swap(0, Ordering::Relaxed);
        if count > 0 {
            reporter.emit_times(count, Event::SpansQueueFull);
        }
    }
}

/// The other end.
#[derive(Debug)]
pub(super) struct Exporter {
    closing: watch::Sender<bool>,
    done: oneshot::Receiver<()>,
}

impl Exporter {
    /// Exports what waits, within [`FLUSH`].
    pub(super) async fn close(self) {
        self.closing.send_replace(true);
        let _ = timeout(FLUSH + SLACK, self.done).await;
    }
}

/// Starts the thread.
pub(super) fn start(
    settings: &TraceSettings,
    resource: &Resource,
    reporter: &Arc<Reporter>,
) -> io::Result<(Arc<Queue>, Exporter)> {
    let client = http::client().timeout(settings.timeout).build().map_err(io::Error::other)?;
    let client = Client::new(client);
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_endpoint(settings.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        // Of all attempts; the client bounds each.
        .with_timeout(settings.export_timeout)
        .with_headers(settings.headers.clone())
        .build()
        .map_err(io::Error::other)?;
    exporter.set_resource(resource);
    let (sender, queue) = mpsc::channel(settings.queue);
    let (closing, closed) = watch::channel(false);
    let (finished, done) = oneshot::channel();
    let crowded = Arc::new(Crowded::default());
    let task = Task {
        queue,
        spans: Vec::new(),
        flying: 0,
        batch: settings.batch,
        delay: settings.delay,
        timeout: settings.export_timeout,
        exporter,
        client,
        reporter: reporter.clone(),
    };
    // Not among those who deliver messages: encoding hundreds of spans takes a while.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let unfit = crowded.clone();
    std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
        runtime.block_on(task.run(closed, &unfit));
        let _ = finished.send(());
        runtime.shutdown_background();
    })?;
    let queue = Queue { sender, crowded, reporter: reporter.clone() };
    Ok((Arc::new(queue), Exporter { closing, done }))
}

struct Task {
    queue: mpsc::Receiver<SpanData>,
    /// The next batch.
    spans: Vec<SpanData>,
    /// Spans that are being exported.
    flying: u64,
    batch: usize,
    delay: Duration,
    timeout: Duration,
    exporter: opentelemetry_otlp::SpanExporter,
    client: Client,
    reporter: Arc<Reporter>,
}

impl Task {
    /// Exports until it is to end, then what is left, and tells what remains.
    async fn run(mut self, mut closing: watch::Receiver<bool>, crowded: &Crowded) {
        let reporter = self.reporter.clone();
        let telling = async {
            loop {
                sleep(TELL).await;
                crowded.emit(&reporter);
            }
        };
        let mut ending = closing.clone();
        tokio::select! {
            () = self.work(&mut closing) => {}
            () = telling => {}
            () = async {
                closed(&mut ending).await;
                sleep(FLUSH).await;
            } => {}
        }
        crowded.emit(&reporter);
        self.leave();
    }

    /// Counts what nobody exports any more.
    fn leave(&mut self) {
        self.queue.close();
        let mut left = self.flying + self.spans.len() as u64;
        while self.queue.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            self.reporter.emit_times(left, Event::SpansAbandoned);
        }
    }

    async fn work(&mut self, closing: &mut watch::Receiver<bool>) {
        self.serve(closing).await;
        loop {
            self.fill();
            if self.spans.is_empty() {
                return;
            }
            self.export().await;
        }
    }

    /// Exports batches when they are full, or when their first span has waited long enough. Only the
    /// first wakes this thread: that costs whoever ends a span more than the span. What is being
    /// exported when it is to end is finished.
    async fn serve(&mut self, closing: &mut watch::Receiver<bool>) {
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
                    () = sleep_until(due.min(Instant::now() + LOOK)) => self.fill(),
                }
            }
            if let Some(wait) = self.export().await {
                tokio::select! {
                    () = closed(closing) => return,
                    () = sleep(wait) => {}
                }
            }
        }
    }

    /// Takes what waits, as far as it makes a batch.
    fn fill(&mut self) {
        while self.spans.len() < self.batch
            && let Ok(span) = self.queue.try_recv()
        {
            self.spans.push(span);
        }
    }

    /// Exports a batch. Says how long the collector wants to be left alone.
    async fn export(&mut self) -> Option<Duration> {
        let spans = std::mem::replace(&mut self.spans, Vec::with_capacity(self.batch));
        self.flying = spans.len() as u64;
        let result = timeout(self.timeout, self.exporter.export(spans)).await;
        let count = std::mem::take(&mut self.flying);
        let report = self.client.report();
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
        report.wait
    }
}

/// Waits until it is to end.
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

    /// Ended spans, one for each call.
    fn span() -> SpanData {
        let (sender, mut queue) = mpsc::channel(1);
        let reporter = Arc::new(Reporter::new());
        let queue_of = Queue { sender, crowded: Arc::default(), reporter };
        drop(crate::traces::tracer::always(Arc::new(queue_of)).frame());
        queue.try_recv().unwrap()
    }

    #[test]
    fn what_does_not_fit_is_told_by_another_and_what_comes_too_late_is_left() {
        let (sender, receiver) = mpsc::channel(1);
        let reporter = Arc::new(Reporter::new());
        let crowded = Arc::new(Crowded::default());
        let queue = Queue { sender, crowded: crowded.clone(), reporter: reporter.clone() };
        (0..4).for_each(|_| queue.push(span()));
        assert_eq!(dropped(&reporter, "queue_full"), 0, "nothing is told on the way of a message");
        crowded.emit(&reporter);
        crowded.emit(&reporter);
        assert_eq!(dropped(&reporter, "queue_full"), 3);
        drop(receiver);
        queue.push(span());
        assert_eq!((dropped(&reporter, "queue_full"), dropped(&reporter, "not_exported")), (3, 1));
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_counted() {
        // It is connected to, and that is all.
        let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", hole.local_addr().unwrap());
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
